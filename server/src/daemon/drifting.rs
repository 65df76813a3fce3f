//! Whether the data of a pipeline still are what its model was made for: watched beside its passes, told, and followed
//! by a training where the pipeline has one.

use engine::drift::{Drift, Event, Sample};
use engine::{Pipeline, Watch};
use tsdb::Timestamp;

use crate::app::App;
use crate::database::drifts;
use crate::jobs::{self, Kind, NewJob};

/// For how long one drift is the reason of one training at most, in milliseconds: a day.
const COOL_DOWN_MS: i64 = 24 * 60 * 60 * 1000;

/// A pipeline that is watched for drifts.
pub(crate) struct Drifting {
    /// None until what was known before has been read.
    known: Option<Drift>,
    trains: bool,
}

impl Drifting {
    /// That of `pipeline`, of which nothing has been looked at yet.
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        Self { known: None, trains: pipeline.training.is_some() }
    }

    /// Takes in what the passes of `watch` have counted. Where the database can't be asked, it is tried with the next
    /// pass; what was counted meanwhile is lost.
    pub(crate) async fn look(&mut self, app: &App, watch: &mut Watch) {
        let samples = watch.take_samples();
        if samples.is_empty() {
            return;
        }
        let name = watch.pipeline().name.clone();
        if let Err(error) = self.take_in(app, &name, samples).await {
            tracing::warn!(pipeline = name, "drifts are not looked for: {error}");
        }
    }

    async fn take_in(
        &mut self,
        app: &App,
        name: &str,
        samples: Vec<(Timestamp, Sample)>,
    ) -> Result<(), crate::database::DatabaseError> {
        let mut drift = match self.known.take() {
            Some(known) => known,
            None => drifts::state(&app.database, name).await?,
        };
        let before = drift.hour();
        let mut events = vec![];
        for (hour, sample) in samples {
            events.extend(drift.observe(hour, &sample));
        }
        for (kind, level) in drift.levels() {
            app.metrics.drift(name, kind.name(), level);
        }
        let is_new_hour = drift.hour() != before;
        self.known = Some(drift);
        for event in &events {
            self.found(app, name, event).await?;
        }
        if let Some(drift) = self.known.as_ref().filter(|_| is_new_hour) {
            drifts::keep(&app.database, name, drift, app.now()).await?;
        }
        Ok(())
    }

    async fn found(&self, app: &App, name: &str, event: &Event) -> Result<(), crate::database::DatabaseError> {
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
        let mut drifting = Drifting::of(&Pipeline::parse(text, "test").unwrap());
        for at in 0..24 * 30 {
            if at == 24 * 20 {
                // A restart goes on with what was known.
                drifting = Drifting::of(&Pipeline::parse(text, "test").unwrap());
            }
            let samples = hour(at, if at < 24 * 18 { 101.0 } else { 180.0 });
            drifting.take_in(&app, "p", samples).await.unwrap();
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
