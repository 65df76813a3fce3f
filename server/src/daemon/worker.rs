//! One pipeline at work: sleeps until a pass is due, runs it, and says how it went.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::outlook::newest;
use engine::schedule::spread;
use engine::{PassError, Pipeline, Ports, Report, Schedule, Standing, Watch};
use models::{ForecastError, Forecaster};
use tokio::sync::watch;
use tracing::Instrument;
use tsdb::Timestamp;

use super::drifting::Drifting;
use super::journal::Entry;
use super::standings::AtWork;
use crate::app::App;
use crate::database::incidents::Scene;
use crate::database::runs::{self, Prediction, Run};
use crate::jobs::{self, Kind, NewJob};
use crate::recipe::Recipe;

/// Now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Anomaly,
    Forecast,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Forecast => "forecast",
        }
    }
}

/// A schedule and the last of its times that was attended to.
struct Ticks {
    schedule: Schedule,
    last: Timestamp,
}

impl Ticks {
    /// The newest time that is due at `now`, and how many before it were never attended to.
    fn due(&mut self, now: Timestamp) -> Option<(Timestamp, u64)> {
        let tick = self.schedule.last_until(now);
        if tick <= self.last {
            return None;
        }
        let mut missed = 0;
        let mut time = self.schedule.next_after(self.last);
        while time < tick && missed < 1_000_000 {
            missed += 1;
            time = self.schedule.next_after(time);
        }
        self.last = tick;
        Some((tick, missed))
    }
}

/// Runs `pipeline`, with the trained `version` of its model where there is one, until `stop` says so. A pass that has begun
/// is finished first. `recipe` says what its scores are made with.
pub async fn work(
    pipeline: Pipeline,
    version: Option<i64>,
    recipe: Arc<Recipe>,
    ports: Ports,
    app: App,
    mut stop: watch::Receiver<bool>,
) {
    let (mut worker, mut watch) = tokio::select! {
        started = Worker::start(pipeline, version, recipe, ports, app) => started,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(worker.until_next()) => {}
        }
        worker.run_due(&mut watch).await;
    }
    *worker.app.standings.seat(&worker.name).await = None;
}

/// How long the start of a pipeline waits to hear which passes are done.
const DONE_PATIENCE: Duration = Duration::from_secs(2);

/// What comes before the first pass, where `/health` names the stages.
const START: &str = "start";

/// How soon the source and the store of what was written see what is new.
pub(crate) async fn settling(ports: &Ports) -> Result<(Duration, Duration), PassError> {
    Ok((ports.source.settles_after().await?, ports.written.settles_after().await?))
}

/// Makes the model ready, off the threads that serve others.
async fn prepare(model: &Arc<dyn Forecaster>) -> Result<(), ForecastError> {
    let model = model.clone();
    let panicked = |_| Err(ForecastError::new("model", "it panicked while it was made ready"));
    tokio::task::spawn_blocking(move || model.prepare()).await.unwrap_or_else(panicked)
}

/// The newest time of each schedule that a pass was run for.
#[derive(Default)]
struct Done {
    anomaly: Option<Timestamp>,
    forecast: Option<Timestamp>,
}

struct Worker {
    app: App,
    name: String,
    datasource: String,
    version: Option<i64>,
    scene: Scene,
    drifting: Drifting,
    spread: Duration,
    anomaly: Option<Ticks>,
    forecast: Ticks,
    training: Option<Ticks>,
}

impl Worker {
    /// Finds out how soon the stores see what is written and how far an earlier run came, and makes the model ready;
    /// tries again, ever more slowly, until they answer.
    async fn start(
        mut pipeline: Pipeline,
        version: Option<i64>,
        recipe: Arc<Recipe>,
        ports: Ports,
        app: App,
    ) -> (Self, Watch) {
        let started = now();
        let mut worker = Self::new(&pipeline, version, app, started);
        if let Some(version) = version {
            tracing::info!(pipeline = worker.name, version, "runs with the trained version of its model");
        }
        // No job may judge points before it is known which are this worker's.
        let mut seat = worker.app.standings.seat(&worker.name).await;
        let mut wait = Duration::from_secs(1);
        let (source_settles, written_settles) = loop {
            match settling(&ports).await {
                Ok(times) => break times,
                Err(error) => worker.wait_after(&error, &mut wait).await,
            }
        };
        let model = ports.model.clone();
        while let Err(error) = prepare(&model).await {
            worker.wait_after(&error.into(), &mut wait).await;
        }
        // What has not settled is not complete.
        pipeline.data_delay = pipeline.data_delay.max(source_settles);
        worker.scene = Scene::of(&pipeline).made_with(recipe);
        let begin = started - pipeline.data_delay;
        let mut watch = Watch::new(pipeline, ports);
        let done = worker.done(started).await;
        worker.forecast.last = done.forecast.unwrap_or(worker.forecast.last).min(worker.forecast.last);
        if worker.anomaly.is_none() {
            worker.app.status.cleared(&worker.name, START);
            return (worker, watch);
        }
        // What an earlier run wrote in its last moments can't be seen before it has settled.
        tokio::time::sleep(written_settles).await;
        let judged = loop {
            match watch.resume(started - worker.app.current().config.catch_up, now()).await {
                Ok(judged) => break judged,
                Err(error) => worker.wait_after(&error, &mut wait).await,
            }
        };
        worker.app.status.cleared(&worker.name, START);
        worker.go_on(&mut watch, judged, begin, done.anomaly);
        let standing = watch.standing();
        *seat = Some(AtWork { since: standing.judged_until.unwrap_or(begin), standing });
        (worker, watch)
    }

    /// The newest times of the schedules that passes were run for, by whatever process.
    async fn done(&self, now: Timestamp) -> Done {
        let since = now - self.app.current().config.catch_up;
        let ticks = runs::last_ticks(&self.app.database, &self.name, since);
        let Ok(Ok(ticks)) = tokio::time::timeout(DONE_PATIENCE, ticks).await else { return Done::default() };
        let last = |stage: Stage| ticks.iter().find(|(name, _)| name == stage.name()).map(|(_, tick)| *tick);
        Done { anomaly: last(Stage::Anomaly), forecast: last(Stage::Forecast) }
    }

    /// Goes on where an earlier run ended, or begins.
    fn go_on(&mut self, watch: &mut Watch, judged: Option<Timestamp>, begin: Timestamp, done: Option<Timestamp>) {
        match (judged, &mut self.anomaly) {
            (Some(time), Some(ticks)) => {
                tracing::info!(pipeline = self.name, from = %time, "takes up where an earlier run ended");
                // What was missed is due at once; a pass that was run is not run again.
                ticks.last = ticks.last.min(done.map_or(time, |done| done.max(time)));
            }
            _ => watch.begin_after(begin),
        }
    }

    async fn wait_after(&self, error: &PassError, wait: &mut Duration) {
        tracing::error!(pipeline = self.name, again_in_seconds = wait.as_secs(), "can't begin yet: {error}");
        self.app.status.failed(&self.name, START, error.to_string());
        self.blame(error);
        tokio::time::sleep(*wait).await;
        *wait = (*wait * 2).min(Duration::from_secs(60));
    }

    fn new(pipeline: &Pipeline, version: Option<i64>, app: App, started: Timestamp) -> Self {
        let ticks = |schedule: &Schedule| Ticks { schedule: schedule.clone(), last: schedule.last_until(started) };
        let shortest = pipeline.forecast_schedule.largest_gap().min(pipeline.anomaly_schedule.largest_gap());
        Self {
            drifting: Drifting::of(&app, pipeline),
            app,
            version,
            scene: Scene::of(pipeline),
            spread: spread(&pipeline.name, shortest),
            anomaly: pipeline.mode.scores().then(|| ticks(&pipeline.anomaly_schedule)),
            forecast: ticks(&pipeline.forecast_schedule),
            training: pipeline.training.as_ref().map(|training| ticks(&training.schedule)),
            name: pipeline.name.clone(),
            datasource: pipeline.datasource.clone(),
        }
    }

    fn until_next(&self) -> Duration {
        let ticks = self.anomaly.iter().chain([&self.forecast]).chain(&self.training);
        let next = ticks.map(|ticks| ticks.schedule.next_after(ticks.last) + self.spread).min();
        let millis = next.map_or(i64::MAX, |next| next.millis().saturating_sub(now().millis()));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Runs what is due. Judging comes first, since a point is judged by a forecast that did not see it.
    async fn run_due(&mut self, watch: &mut Watch) {
        let at = now() - self.spread;
        if let Some((tick, missed)) = self.anomaly.as_mut().and_then(|ticks| ticks.due(at)) {
            self.run(watch, Stage::Anomaly, tick, missed).await;
        }
        if let Some((tick, missed)) = self.forecast.due(at) {
            self.run(watch, Stage::Forecast, tick, missed).await;
        }
        if let Some((tick, _)) = self.training.as_mut().and_then(|ticks| ticks.due(at)) {
            self.submit_training(tick).await;
        }
    }

    /// Has the model trained, by whichever process is free; several that think it is due make one job.
    async fn submit_training(&self, tick: Timestamp) {
        let job = NewJob {
            kind: Kind::Train,
            pipeline: self.name.clone(),
            body: serde_json::Value::Null,
            priority: 0,
            created_by: "schedule".into(),
            idempotency_key: Some(format!("train:{}:{tick}", self.name)),
        };
        if let Err(error) = jobs::submit(&self.app, job).await {
            tracing::error!(pipeline = self.name, "the training that is due was not submitted: {error}");
        }
    }

    /// Judges what has come, and looks for what has gone; jobs that judge too wait meanwhile, and it for them.
    async fn judge(&self, watch: &mut Watch, tick: Timestamp) -> Result<Report, PassError> {
        let mut seat = self.app.standings.seat(&self.name).await;
        let before = (*seat).map_or(watch.standing(), |at_work| at_work.standing);
        watch.take_over(before);
        let since = (*seat).map_or(tick, |at_work| at_work.since);
        // Should this be cut off, nobody knows what was written.
        let unsure = Standing { unsure_until: before.unsure_until.max(Some(tick)), ..before };
        *seat = Some(AtWork { since, standing: unsure });
        self.advise(watch);
        let mut outcome = watch.judge(tick).await;
        if let Ok(report) = &mut outcome {
            watch.call_roll(report).await;
        }
        *seat = Some(AtWork { since, standing: watch.standing() });
        outcome
    }

    /// Tells what people have said since.
    fn advise(&self, watch: &mut Watch) {
        let silences = self.app.advice.silences(watch.pipeline());
        if silences != watch.silences() {
            watch.silence(silences);
        }
        watch.heed(self.app.advice.verdicts(&self.name));
    }

    async fn run(&mut self, watch: &mut Watch, stage: Stage, tick: Timestamp, missed: u64) {
        let metrics = self.app.metrics.clone();
        if missed > 0 {
            metrics.skipped(&self.name, stage.name(), missed);
        }
        let (id, started, start) = (self.app.new_id(), now(), Instant::now());
        let span = tracing::info_span!("pass", run = id, pipeline = self.name, stage = stage.name(), %tick);
        let outcome = match stage {
            Stage::Anomaly => self.judge(watch, tick).instrument(span).await,
            Stage::Forecast => watch.forecast(tick).instrument(span).await,
        };
        let (took, word) = (start.elapsed(), if outcome.is_ok() { "success" } else { "error" });
        metrics.pass(&self.name, stage.name(), took, word);
        self.note(watch, stage, record(&self.app, &self.name, id.clone(), stage, (tick, started, took), &outcome));
        self.drifting.look(watch);
        match outcome {
            Ok(report) => self.succeeded(&id, stage, tick, took, &report),
            Err(error) => self.failed(&id, stage, &error),
        }
    }

    /// Has the pass remembered, what it found, and what is known of its forecast.
    fn note(&mut self, watch: &mut Watch, stage: Stage, run: Run) {
        let found = watch.take_anomalous();
        let pipeline = watch.pipeline();
        let made = stage == Stage::Forecast && run.error.is_none();
        let prediction = made.then(|| Prediction {
            run: run.id.clone(),
            pipeline: pipeline.name.clone(),
            model: pipeline.model.id.clone(),
            model_version: self.version,
            origin_ms: newest(pipeline, Timestamp::from_millis(run.tick_ms)).millis(),
            step_ms: pipeline.step.millis(),
            horizon: whole(pipeline.horizon_points),
            series: run.series,
            made_ms: run.started_ms + run.took_ms,
        });
        self.app.journal.note(Entry::Run(run, prediction.map(Box::new)));
        if !found.is_empty() {
            self.scene = self.scene.clone().watching(watch.series());
            self.app.journal.note(Entry::Anomalous(self.scene.clone(), found));
        }
    }

    fn succeeded(&self, run: &str, stage: Stage, tick: Timestamp, took: Duration, report: &Report) {
        let (pipeline, stage) = (self.name.as_str(), stage.name());
        for warning in &report.warnings {
            tracing::warn!(run, pipeline, stage, warning, "not all is well");
        }
        for rejected in &report.rejected {
            let (reason, samples, message) = (rejected.reason, rejected.samples, &rejected.message);
            tracing::warn!(run, pipeline, stage, reason, samples, message, "the store refused samples");
        }
        let Report { series, scored, anomalous, written, .. } = *report;
        let took_seconds = took.as_secs_f64();
        tracing::info!(run, pipeline, stage, %tick, series, scored, anomalous, written, took_seconds, "pass");
        self.app.metrics.succeeded(pipeline, stage, now(), tick, report);
        self.app.status.succeeded(pipeline, stage, now());
        self.app.status.reached(&self.datasource);
    }

    /// Says of the datasource that it is not to be reached, where that is what has happened.
    fn blame(&self, error: &PassError) {
        if error.is_retryable() {
            self.app.status.unreachable(&self.datasource, error.to_string());
        }
    }

    fn failed(&self, run: &str, stage: Stage, error: &PassError) {
        tracing::error!(run, pipeline = self.name, stage = stage.name(), failed = error.stage(), "{error}");
        self.app.status.failed(&self.name, stage.name(), error.to_string());
        self.blame(error);
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What is remembered of a pass that was part of `job`.
pub(crate) fn record_of_job(
    app: &App,
    pipeline: &str,
    job: &str,
    scores: bool,
    started: Timestamp,
    outcome: &Result<Report, PassError>,
) -> Run {
    let stage = if scores { Stage::Anomaly } else { Stage::Forecast };
    let took = Duration::from_millis(u64::try_from(now().millis() - started.millis()).unwrap_or(0));
    let run = record(app, pipeline, app.new_id(), stage, (started, started, took), outcome);
    Run { job: Some(job.to_owned()), ..run }
}

/// What is remembered of a pass: the time of the schedule, when it began, how long it took, and how it went.
fn record(
    app: &App,
    pipeline: &str,
    id: String,
    stage: Stage,
    (tick, started, took): (Timestamp, Timestamp, Duration),
    outcome: &Result<Report, PassError>,
) -> Run {
    let none = Report::default();
    let report = outcome.as_ref().unwrap_or(&none);
    let rejected = report.rejected.iter().map(|rejected| rejected.samples).sum::<u64>();
    Run {
        id,
        pipeline: pipeline.into(),
        stage: stage.name().into(),
        tick_ms: tick.millis(),
        started_ms: started.millis(),
        took_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
        outcome: if outcome.is_ok() { "success" } else { "error" }.into(),
        series: whole(report.series),
        scored: whole(report.scored),
        anomalous: whole(report.anomalous),
        written: i64::try_from(report.written).unwrap_or(i64::MAX),
        rejected: i64::try_from(rejected).unwrap_or(i64::MAX),
        error: outcome.as_ref().err().map(|error| error.to_string().replace('\0', "\u{fffd}")),
        instance: app.instance.clone(),
        job: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_time_is_due_and_the_missed_ones_are_counted() {
        let at = Timestamp::from_seconds;
        let mut ticks = Ticks { schedule: Schedule::Every(Duration::from_secs(60)), last: at(120) };
        assert_eq!(ticks.due(at(179)), None);
        assert_eq!(ticks.due(at(180)), Some((at(180), 0)));
        assert_eq!(ticks.due(at(180)), None);
        assert_eq!(ticks.due(at(433)), Some((at(420), 3)));
        assert_eq!(ticks.due(at(100)), None, "a clock that goes back makes nothing due");
    }
}
