//! What a job is told, and the pipeline that it is for.

use std::sync::Arc;

use engine::store::Document;
use engine::{Pipeline, Ports};
use serde::{Deserialize, Serialize};
use tsdb::Timestamp;

use super::task::{JobError, Task};
use crate::app::{App, Current};
use crate::assembly::Trust;
use crate::recipe::Recipe;
use crate::registry;

/// What a job is told beside its pipeline. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// The first point that is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The last point that is looked at; now where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The pipeline itself, where it is kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
}

impl Orders {
    /// Those of a job's body; a body that says nothing is none.
    ///
    /// # Errors
    /// A body that a newer version has written.
    pub fn read(body: &str) -> Result<Self, JobError> {
        let orders: Option<Self> = serde_json::from_str(body)
            .map_err(|error| JobError::Failed(format!("what the job is told can't be read: {error}")))?;
        Ok(orders.unwrap_or_default())
    }

    /// The first and the last point: from the one that must be given to the other, or `now`.
    ///
    /// # Errors
    /// No first point.
    pub fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), JobError> {
        let from = self.from.ok_or_else(|| JobError::Failed("the job has no `from`".into()))?;
        Ok((Timestamp::from_millis(from), self.until.map_or(now, Timestamp::from_millis)))
    }
}

/// The pipeline of a job as its document says, and who has written it.
///
/// # Errors
/// There is none, or it is wrong.
pub async fn pipeline(task: &Task, orders: &Orders) -> Result<(Pipeline, Trust), JobError> {
    let (_, pipeline, trust) = documented(task, orders).await?;
    Ok((pipeline, trust))
}

/// The same, with the document.
async fn documented(task: &Task, orders: &Orders) -> Result<(Document, Pipeline, Trust), JobError> {
    let wrong = |errors: engine::pipeline::PipelineErrors| JobError::Failed(errors.to_string());
    if let Some(document) = &orders.document {
        let pipeline = Pipeline::from_document(document, "the job's pipeline").map_err(wrong)?;
        return Ok((document.clone(), pipeline, Trust::Api));
    }
    let name = task.work.pipeline.as_deref().unwrap_or_default();
    let stored = task.app.store.get(name).await?;
    let stored = stored.ok_or_else(|| JobError::Failed(format!("there is no pipeline `{name}`")))?;
    let trust = Trust::of(&stored);
    Ok((stored.document, stored.checked.map_err(wrong)?, trust))
}

/// A pipeline that a job can run.
pub struct Ready {
    /// The pipeline, with what it has learned.
    pub pipeline: Pipeline,
    /// Where it reads and writes, and its model, which is ready.
    pub ports: Ports,
    /// What its scores are made with.
    pub recipe: Arc<Recipe>,
}

/// The pipeline of a job with what it has learned, and its ports.
///
/// # Errors
/// There is no such pipeline, or it is wrong, or its parts are not there.
pub async fn ready(task: &Task, orders: &Orders) -> Result<(Pipeline, Ports), JobError> {
    let Ready { pipeline, ports, .. } = recorded(task, orders).await?;
    Ok((pipeline, ports))
}

/// The same for a job that records incidents.
///
/// # Errors
/// As before.
pub async fn recorded(task: &Task, orders: &Orders) -> Result<Ready, JobError> {
    let (document, pipeline, trust) = documented(task, orders).await?;
    let current = registry::Current::read(&task.app.database).await?;
    let version = current.version(&pipeline);
    let pipeline = current.applied(pipeline);
    let recipe = Recipe::of((&document, trust), &pipeline, version, task.app.current().assembly.resources());
    let ports = ports(&task.app, &pipeline, trust)?;
    let model = ports.model.clone();
    let prepared = tokio::task::spawn_blocking(move || model.prepare());
    let panicked = |_| JobError::Failed("the model panicked while it was made ready".into());
    task.unless_stopped(prepared).await?.map_err(panicked)?.map_err(|error| JobError::Again(error.to_string()))?;
    Ok(Ready { pipeline, ports, recipe: Arc::new(recipe) })
}

/// Where `pipeline`, which `trust` has written, reads and writes.
///
/// # Errors
/// A part is not there, or may not be asked.
pub fn ports(app: &App, pipeline: &Pipeline, trust: Trust) -> Result<Ports, JobError> {
    let Current { config, assembly } = app.current();
    config.check(pipeline).map_err(JobError::Failed)?;
    Ok(assembly.ports(pipeline, trust, &app.metrics)?)
}
