//! One pipeline at work: sleeps until a pass is due, runs it, and says how it went.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::schedule::spread;
use engine::{PassError, Pipeline, Ports, Report, Schedule, Watch};
use models::{ForecastError, Forecaster};
use tokio::sync::watch;
use tracing::Instrument;
use tsdb::Timestamp;

use crate::app::App;

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

/// Runs `pipeline` until `stop` says so. A pass that has begun is finished first.
pub async fn work(pipeline: Pipeline, ports: Ports, app: App, mut stop: watch::Receiver<bool>) {
    let (mut worker, mut watch) = tokio::select! {
        started = Worker::start(pipeline, ports, app) => started,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(worker.until_next()) => {}
        }
        worker.run_due(&mut watch).await;
    }
}

/// What comes before the first pass, where `/health` names the stages.
const START: &str = "start";

/// How soon the source and the store of what was written see what is new.
async fn settling(ports: &Ports) -> Result<(Duration, Duration), PassError> {
    Ok((ports.source.settles_after().await?, ports.written.settles_after().await?))
}

/// Makes the model ready, off the threads that serve others.
async fn prepare(model: &Arc<dyn Forecaster>) -> Result<(), ForecastError> {
    let model = model.clone();
    let panicked = |_| Err(ForecastError::new("model", "it panicked while it was made ready"));
    tokio::task::spawn_blocking(move || model.prepare()).await.unwrap_or_else(panicked)
}

struct Worker {
    app: App,
    name: String,
    datasource: String,
    spread: Duration,
    anomaly: Option<Ticks>,
    forecast: Ticks,
}

impl Worker {
    /// Finds out how soon the stores see what is written and how far an earlier run came, and makes the model ready;
    /// tries again, ever more slowly, until they answer.
    async fn start(mut pipeline: Pipeline, ports: Ports, app: App) -> (Self, Watch) {
        let started = now();
        let mut worker = Self::new(&pipeline, app, started);
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
        let begin = started - pipeline.data_delay;
        let mut watch = Watch::new(pipeline, ports);
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
        worker.go_on(&mut watch, judged, begin);
        (worker, watch)
    }

    /// Goes on where an earlier run ended, or begins.
    fn go_on(&mut self, watch: &mut Watch, judged: Option<Timestamp>, begin: Timestamp) {
        match (judged, &mut self.anomaly) {
            (Some(time), Some(ticks)) => {
                tracing::info!(pipeline = self.name, from = %time, "takes up where an earlier run ended");
                // What was missed is due at once.
                ticks.last = ticks.last.min(time);
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

    fn new(pipeline: &Pipeline, app: App, started: Timestamp) -> Self {
        let ticks = |schedule: &Schedule| Ticks { schedule: schedule.clone(), last: schedule.last_until(started) };
        let shortest = pipeline.forecast_schedule.largest_gap().min(pipeline.anomaly_schedule.largest_gap());
        Self {
            app,
            spread: spread(&pipeline.name, shortest),
            anomaly: pipeline.mode.scores().then(|| ticks(&pipeline.anomaly_schedule)),
            forecast: ticks(&pipeline.forecast_schedule),
            name: pipeline.name.clone(),
            datasource: pipeline.datasource.clone(),
        }
    }

    fn until_next(&self) -> Duration {
        let ticks = self.anomaly.iter().chain([&self.forecast]);
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
    }

    async fn run(&self, watch: &mut Watch, stage: Stage, tick: Timestamp, missed: u64) {
        let metrics = &self.app.metrics;
        if missed > 0 {
            metrics.skipped(&self.name, stage.name(), missed);
        }
        let start = Instant::now();
        let span = tracing::info_span!("pass", pipeline = self.name, stage = stage.name(), %tick);
        let outcome = match stage {
            Stage::Anomaly => watch.judge(tick).instrument(span).await,
            Stage::Forecast => watch.forecast(tick).instrument(span).await,
        };
        let (took, word) = (start.elapsed(), if outcome.is_ok() { "success" } else { "error" });
        metrics.pass(&self.name, stage.name(), took, word);
        match outcome {
            Ok(report) => self.succeeded(stage, tick, took, &report),
            Err(error) => self.failed(stage, &error),
        }
    }

    fn succeeded(&self, stage: Stage, tick: Timestamp, took: Duration, report: &Report) {
        let (pipeline, stage) = (self.name.as_str(), stage.name());
        for warning in &report.warnings {
            tracing::warn!(pipeline, stage, warning, "not all is well");
        }
        for rejected in &report.rejected {
            let (reason, samples, message) = (rejected.reason, rejected.samples, &rejected.message);
            tracing::warn!(pipeline, stage, reason, samples, message, "the store refused samples");
        }
        let Report { series, scored, anomalous, written, .. } = *report;
        let took_seconds = took.as_secs_f64();
        tracing::info!(pipeline, stage, %tick, series, scored, anomalous, written, took_seconds, "pass");
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

    fn failed(&self, stage: Stage, error: &PassError) {
        tracing::error!(pipeline = self.name, stage = stage.name(), failed = error.stage(), "{error}");
        self.app.status.failed(&self.name, stage.name(), error.to_string());
        self.blame(error);
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
