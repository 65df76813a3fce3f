//! The demo: a fleet with known incidents, watched by real pipelines at an accelerated clock.
//!
//! Nothing is pretended but the data and the clock. The generated points are written to the embedded store, the
//! pipelines of `config/demo` read them from there and write their scores back, and what is found is told from the
//! scores that are in the store at the end.

pub mod alerts;
pub mod live;
pub mod outcome;
pub mod pipelines;
pub mod show;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data::Scenario;
use engine::pipeline::PipelineErrors;
use engine::{PassError, Pipeline, Ports, Report, Watch};
use futures_util::future::try_join_all;
use tsdb::{ReadError, Step, Timestamp, Write, WriteError};

use crate::assembly::{Assembly, AssemblyError, Trust};
use crate::config::{Config, Datasource};
use crate::daemon::worker;
use crate::metrics::Metrics;

const DAY: Duration = Duration::from_secs(86_400);

/// What the pipelines learn from before they judge. Nothing goes wrong in it.
const WARM_UP: Duration = Duration::from_secs(14 * 86_400);

/// A series that has incidents has at most one in so long a time.
const INCIDENT_EVERY: Duration = Duration::from_secs(7 * 86_400);

/// The distance between points: that of the pipelines.
const STEP: Step = Step::from_millis(300_000).expect("it is above zero");

/// Monday, the 5th of January 2026. The same for every run, so that a seed always gives the same.
const START: Timestamp = Timestamp::from_seconds(1_767_571_200);

/// How much time passes from one round of passes to the next.
const TICK: Duration = Duration::from_secs(3600);

/// Why the demo broke off.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A pipeline that comes with the program.
    #[error(transparent)]
    Pipeline(#[from] PipelineErrors),
    /// The store or a model can't be made.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// A pass failed.
    #[error("pipeline `{pipeline}`: {source}")]
    Pass {
        /// Whose.
        pipeline: String,
        /// Why.
        source: PassError,
    },
    /// The generated points can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The scores can't be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How large the demo is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Everything that is chance comes from it.
    pub seed: u64,
    /// How many series the fleet has.
    pub series: usize,
    /// How long it is watched after the warm-up of two weeks.
    pub watched: Duration,
}

impl Plan {
    /// What is generated.
    pub fn scenario(&self) -> Scenario {
        let incident_every = Some(INCIDENT_EVERY.min(self.watched));
        Scenario { warm_up: WARM_UP, incident_every, ..Scenario::new(self.seed, START, STEP, self.series) }
    }

    /// The indices of the points that are judged.
    pub fn watched(&self) -> Range<usize> {
        // The first round ends on a full hour, as forecasts do, and not a point before it.
        let first = STEP.count(WARM_UP) + 1;
        first..first + STEP.count(self.watched)
    }
}

/// What has been done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Passes of all pipelines, of both kinds.
    pub passes: u64,
    /// Points that got a score.
    pub scored: u64,
    /// Samples that the store took from the pipelines.
    pub written: u64,
}

/// The fleet, the store and the pipelines.
pub struct Demo {
    plan: Plan,
    scenario: Scenario,
    assembly: Assembly,
    sink: Arc<dyn Write>,
    metrics: Arc<Metrics>,
    watched: Vec<Watched>,
    /// The first point that is not written yet.
    next: usize,
    figures: Figures,
    /// Why another model is used than the pipelines name.
    instead: Option<String>,
}

/// A pipeline at work, and when its last forecast was due.
struct Watched {
    watch: Watch,
    ports: Ports,
    forecast: Timestamp,
}

impl Demo {
    /// Opens the store in `folder`, writes the warm-up, and lets every pipeline make its first forecast.
    ///
    /// # Errors
    /// The store can't be opened or written, or a pass fails.
    pub async fn start(plan: Plan, folder: &Path, metrics: Arc<Metrics>) -> Result<Self, DemoError> {
        let assembly = Assembly::new(&configuration(folder))?;
        let (pipelines, resources) = (pipelines::shipped()?, assembly.resources().clone());
        let fitting = tokio::task::spawn_blocking(move || pipelines::fit(pipelines, &resources));
        let (pipelines, instead) = fitting.await.expect("making a model ready doesn't panic");
        let watched = pipelines.into_iter().map(|pipeline| {
            let ports = assembly.ports(&pipeline, Trust::Operator, &metrics)?;
            let watch = Watch::new(pipeline, ports.clone());
            Ok(Watched { watch, ports, forecast: Timestamp::default() })
        });
        let watched = watched.collect::<Result<Vec<_>, AssemblyError>>()?;
        let sink = assembly.sink("default").expect("the configuration has it");
        let (scenario, figures) = (plan.scenario(), Figures::default());
        let mut demo = Self { plan, scenario, assembly, sink, metrics, watched, next: 0, figures, instead };
        demo.write(plan.watched().start).await?;
        let newest = demo.now();
        demo.watched.iter_mut().for_each(|one| one.watch.begin_after(newest));
        demo.pass().await?;
        Ok(demo)
    }

    /// The time of the newest point.
    pub fn now(&self) -> Timestamp {
        START + STEP.times(self.next) - STEP
    }

    /// How large the demo is.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// What has been done so far.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Why another model is used than the pipelines name, if one is.
    pub fn instead(&self) -> Option<&str> {
        self.instead.as_deref()
    }

    /// The pipelines.
    pub fn pipelines(&self) -> impl Iterator<Item = &Pipeline> {
        self.watched.iter().map(|one| one.watch.pipeline())
    }

    /// Goes through the whole time that is to be watched, and calls `progress` with the time after every round.
    ///
    /// # Errors
    /// The store can't be written, or a pass fails.
    pub async fn play(&mut self, mut progress: impl FnMut(Timestamp)) -> Result<(), DemoError> {
        let end = self.plan.watched().end;
        while self.next < end {
            self.advance(STEP.count(TICK).min(end - self.next)).await?;
            progress(self.now());
        }
        Ok(())
    }

    /// Lets so many points come, and runs the passes that are due then.
    ///
    /// # Errors
    /// The store can't be written, or a pass fails.
    pub async fn advance(&mut self, points: usize) -> Result<(), DemoError> {
        self.write(self.next + points).await?;
        self.pass().await
    }

    /// Writes the points before the index `end`.
    async fn write(&mut self, end: usize) -> Result<(), WriteError> {
        self.sink.write(&[self.scenario.frame(self.next..end)]).await?;
        self.next = end;
        Ok(())
    }

    /// One round: all pipelines side by side, each first judges and then forecasts where that is due.
    async fn pass(&mut self) -> Result<(), DemoError> {
        let (now, metrics) = (self.now(), &self.metrics);
        for figures in try_join_all(self.watched.iter_mut().map(|one| one.pass(now, metrics))).await? {
            self.figures.passes += figures.passes;
            self.figures.scored += figures.scored;
            self.figures.written += figures.written;
        }
        Ok(())
    }

    /// Closes the store, so that it can be opened again quickly.
    pub fn close(self) {
        drop((self.watched, self.sink));
        self.assembly.close();
    }
}

impl Watched {
    /// Judging comes first, since a point is judged by a forecast that did not see it.
    async fn pass(&mut self, now: Timestamp, metrics: &Metrics) -> Result<Figures, DemoError> {
        let mut figures = Figures::default();
        let started = Instant::now();
        let outcome = self.watch.judge(now).await;
        self.count("anomaly", now, started, outcome, metrics, &mut figures)?;
        let due = self.watch.pipeline().forecast_schedule.last_until(now);
        if due > self.forecast {
            let started = Instant::now();
            let outcome = self.watch.forecast(due).await;
            self.count("forecast", due, started, outcome, metrics, &mut figures)?;
            self.forecast = due;
        }
        Ok(figures)
    }

    fn count(
        &self,
        stage: &'static str,
        due: Timestamp,
        started: Instant,
        outcome: Result<Report, PassError>,
        metrics: &Metrics,
        figures: &mut Figures,
    ) -> Result<(), DemoError> {
        let pipeline = &self.watch.pipeline().name;
        let word = if outcome.is_ok() { "success" } else { "error" };
        metrics.pass(pipeline, stage, started.elapsed(), word);
        let report = outcome.map_err(|source| DemoError::Pass { pipeline: pipeline.clone(), source })?;
        metrics.succeeded(pipeline, stage, worker::now(), due, &report);
        figures.passes += 1;
        figures.scored += report.scored as u64;
        figures.written += report.written;
        Ok(())
    }
}

/// A service with nothing but the store in `folder`.
fn configuration(folder: &Path) -> Config {
    let store = Datasource { path: Some(folder.to_owned()), ..Datasource::default() };
    Config { datasources: BTreeMap::from([("default".to_string(), store)]), catch_up: DAY, ..Config::default() }
}
