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
