//! Whether the data of a pipeline still are what its model was made for: watched beside its passes, told, and followed
//! by a training where the pipeline has one.

use engine::drift::{Drift, Event, Sample};
use engine::{Pipeline, Watch};
use tokio::sync::mpsc;
use tsdb::Timestamp;

use crate::app::App;
use crate::database::{DatabaseError, drifts};
use crate::jobs::{self, Kind, NewJob};

/// For how long one drift is the reason of one training at most, in milliseconds: a day.
const COOL_DOWN_MS: i64 = 24 * 60 * 60 * 1000;

/// How many passes may wait to be looked at while the database is away; what no longer fits is left out.
const ROOM: usize = 64;

/// What passes have counted.
type Counted = Vec<(Timestamp, Sample)>;

/// A pipeline that is watched for drifts, by a task of its own: no pass waits for the database.
pub(crate) struct Drifting(mpsc::Sender<Counted>);

impl Drifting {
    /// Watches `pipeline` as long as this lives.
    pub(crate) fn of(app: &App, pipeline: &Pipeline) -> Self {
        let (counted, received) = mpsc::channel(ROOM);
        tokio::spawn(Looker::of(pipeline).work(app.clone(), received));
        Self(counted)
    }

    /// Takes in what the passes of `watch` have counted.
    pub(crate) fn look(&self, watch: &mut Watch) {
        let samples = watch.take_samples();
        if !samples.is_empty() {
            // Where there is no room, the database has been away for long, and that is told elsewhere.
            let _ = self.0.try_send(samples);
        }
    }
}

/// Who looks for drifts of a pipeline.
struct Looker {
    name: String,
    /// None until what was known before has been read.
    known: Option<Drift>,
    trains: bool,
}

impl Looker {
    fn of(pipeline: &Pipeline) -> Self {
        Self { name: pipeline.name.clone(), known: None, trains: pipeline.training.is_some() }
    }

    /// Looks at what passes count. Where the database can't be asked, it is tried with the next pass.
    async fn work(mut self, app: App, mut received: mpsc::Receiver<Counted>) {
        while let Some(samples) = received.recv().await {
            if let Err(error) = self.take_in(&app, samples).await {
                tracing::warn!(pipeline = self.name, "drifts are not looked for: {error}");
            }
        }
    }

    async fn take_in(&mut self, app: &App, samples: Counted) -> Result<(), DatabaseError> {
        let name = self.name.clone();
        let mut drift = match self.known.take() {
            Some(known) => known,
            None => drifts::state(&app.database, &name).await?,
        };
        let before = drift.hour();
        let mut events = vec![];
        for (hour, sample) in samples {
            events.extend(drift.observe(hour, &sample));
        }
        for (kind, level) in drift.levels() {
            app.metrics.drift(&name, kind.name(), level);
        }
        let is_new_hour = drift.hour() != before;
        self.known = Some(drift);
        for event in &events {
            self.found(app, event).await?;
        }
        if let Some(drift) = self.known.as_ref().filter(|_| is_new_hour) {
            drifts::keep(&app.database, &name, drift, app.now()).await?;
        }
        Ok(())
    }

    async fn found(&self, app: &App, event: &Event) -> Result<(), DatabaseError> {
        let name = self.name.as_str();
        tracing::warn!(pipeline = name, kind = event.kind.name(), at = %event.at, "the data have drifted: {event}");
        drifts::insert(&app.database, name, event).await?;
        if !self.trains {
            return Ok(());
        }
        let job = NewJob {
            kind: Kind::Train,
            pipeline: name.to_owned(),
            body: serde_json::Value::Null,
            priority: 0,
            created_by: "drift".into(),
            idempotency_key: Some(format!("drift:{name}:{}", event.at.millis().div_euclid(COOL_DOWN_MS))),
        };
        if let Err(error) = jobs::submit(app, job).await {
            tracing::error!(pipeline = name, "the training that a drift asks for was not submitted: {error}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::page::Limit;
    use crate::config::Config;
    use crate::daemon::assemble;
    use engine::Scored;
    use tsdb::{Frame, Labels, Step};

    const HOUR_MS: i64 = 60 * 60 * 1000;

    /// What is counted of an hour of the values `level`, forecast as 100.
    fn hour(at: i64, level: f64) -> Vec<(Timestamp, Sample)> {
        let step = Step::from_millis(60_000).unwrap();
        let frame = |value: f64| {
            let start = Timestamp::from_millis(at * HOUR_MS);
            Frame::new(vec![Labels::metric("m")], start, step, 60, vec![value; 60]).unwrap()
        };
        let (y, yhat, yhat_lower, yhat_upper) = (frame(level), frame(100.0), frame(90.0), frame(110.0));
        Sample::of(&Scored { y, yhat, yhat_lower, yhat_upper, score: frame(0.5) })
    }

    #[tokio::test]
    async fn a_drift_is_recorded_told_and_followed_by_one_training() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("openanomaly.yaml");
        std::fs::write(&file, "datasources: {default: {path: store}}\n").unwrap();
        let config = Config::load(&file, &|_| None).unwrap();
        let (app, _) = assemble(&file, config, false).await.unwrap();
        let text = "{name: p, query: m, training: {schedule: 1d}}";
        let mut looker = Looker::of(&Pipeline::parse(text, "test").unwrap());
        for at in 0..24 * 30 {
            if at == 24 * 20 {
                // A restart goes on with what was known.
                looker = Looker::of(&Pipeline::parse(text, "test").unwrap());
            }
            let samples = hour(at, if at < 24 * 18 { 101.0 } else { 180.0 });
            looker.take_in(&app, samples).await.unwrap();
        }
        let found = drifts::list(&app.database, None, None, Limit::default()).await.unwrap();
        let mut kinds: Vec<&str> = found.iter().map(|row| row.kind.as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["coverage", "error", "input"], "{found:?}");
        assert!(app.metrics.render().contains("openanomaly_drift{pipeline=\"p\",kind=\"error\"}"));
        let jobs = "SELECT kind, created_by, idempotency_key FROM jobs ORDER BY idempotency_key";
        let jobs: Vec<(String, String, String)> = sqlx::query_as(jobs).fetch_all(&app.database.pool).await.unwrap();
        let days: std::collections::BTreeSet<i64> = found.iter().map(|row| row.at_ms / COOL_DOWN_MS).collect();
        let expected: Vec<_> =
            days.iter().map(|day| ("train".to_owned(), "drift".to_owned(), format!("drift:p:{day}"))).collect();
        assert_eq!(jobs, expected);
    }
}
