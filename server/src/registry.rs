//! Which trained version of its model a pipeline runs with.
//!
//! A version holds for the model and the parameters that it was trained from: where the pipeline's document names others,
//! it is set aside until the pipeline is trained again, so that nothing that a person writes is overruled.

use std::collections::BTreeMap;

use engine::Pipeline;
use engine::train::{Candidate, Trained, Verdict};
use models::{ModelSpec, Resources};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::database::models::{self as table, Version};
use crate::database::{Database, DatabaseError};

/// The current versions, by pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Current(BTreeMap<String, Version>);

impl Current {
    /// Those of the database.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(database: &Database) -> Result<Self, DatabaseError> {
        let versions = table::all_current(database).await?;
        Ok(Self(versions.into_iter().map(|version| (version.pipeline.clone(), version)).collect()))
    }

    /// `pipeline` with what its current version has learned.
    pub fn applied(&self, pipeline: Pipeline) -> Pipeline {
        let version = self.0.get(&pipeline.name);
        with(pipeline, version)
    }

    /// The number of the version that `pipeline`, as its document says, runs with.
    pub fn version(&self, pipeline: &Pipeline) -> Option<i64> {
        self.0.get(&pipeline.name).filter(|version| learned(pipeline, version).is_some()).map(|one| one.version)
    }
}

/// `pipeline` with what its current version has learned.
///
/// # Errors
/// The database's.
pub async fn applied(database: &Database, pipeline: Pipeline) -> Result<Pipeline, DatabaseError> {
    let current = table::current(database, &pipeline.name).await?;
    Ok(with(pipeline, current.as_ref()))
}

fn with(mut pipeline: Pipeline, version: Option<&Version>) -> Pipeline {
    if let Some(model) = version.and_then(|version| learned(&pipeline, version)) {
        pipeline.model = model;
    }
    pipeline
}

/// The model of `pipeline` as `version` has it, where that was trained from the same and can be built.
pub fn learned(pipeline: &Pipeline, version: &Version) -> Option<ModelSpec> {
    if version.base != hash(&pipeline.model) {
        return None;
    }
    let parameters: Map<String, Value> = serde_json::from_str(&version.parameters).ok()?;
    let model = ModelSpec { parameters, ..pipeline.model.clone() };
    models::build(&model, &Resources::default()).is_ok().then_some(model)
}

/// A hash of a model, where it runs and what it is told.
pub fn hash(model: &ModelSpec) -> String {
    let url = model.endpoint.as_ref().map(|endpoint| endpoint.url.as_str());
    let text = serde_json::json!([model.id, url, model.parameters]).to_string();
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// How a version was evaluated.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation<'a> {
    /// What the tail says.
    #[serde(flatten)]
    pub verdict: &'a Verdict,
    /// What was compared before the tail.
    pub candidates: &'a [Candidate],
    /// How many series were looked at.
    pub series: usize,
    /// The last point before the tail, RFC 3339.
    pub tail_after: String,
    /// The last point of the tail, RFC 3339.
    pub tail_until: String,
}

impl<'a> Evaluation<'a> {
    /// That of `trained`.
    pub fn of(trained: &'a Trained) -> Self {
        Self {
            verdict: &trained.verdict,
            candidates: &trained.candidates,
            series: trained.series,
            tail_after: trained.tail.0.to_string(),
            tail_until: trained.tail.1.to_string(),
        }
    }
}

/// Who has a version trained, and whether it may become current.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The id that the version gets: the same wish makes one version.
    pub id: String,
    /// Who wants it.
    pub by: String,
    /// Whether it becomes current where it is no worse; else a person decides.
    pub promote: bool,
}

/// Keeps what was trained from `pipeline`, as it stands in its document; makes it current where it is no worse than what
/// it would replace.
///
/// # Errors
/// The database's.
pub async fn keep(app: &App, pipeline: &Pipeline, trained: &Trained, wish: &Wish) -> Result<Version, DatabaseError> {
    let place = pipeline.training.as_ref().and_then(|training| training.endpoint.clone());
    let source = place.map_or_else(|| "trained here".to_owned(), |url| format!("trained at {url}"));
    let reason = match (trained.verdict.no_worse, wish.promote) {
        (true, false) => format!("{}; it was not asked to take its place", trained.verdict.reason),
        _ => trained.verdict.reason.clone(),
    };
    let version = Version {
        id: wish.id.clone(),
        pipeline: pipeline.name.clone(),
        version: 0,
        state: "candidate".into(),
        reason,
        model: trained.model.id.clone(),
        source: format!("{source}, on {} series until {}", trained.series, trained.tail.1),
        hash: hash(&trained.model),
        parameters: Value::Object(trained.model.parameters.clone()).to_string(),
        base: hash(&pipeline.model),
        evaluation: serde_json::to_string(&Evaluation::of(trained)).unwrap_or_default(),
        created_ms: app.now().millis(),
        created_by: wish.by.clone(),
        current_ms: None,
    };
    let is_new = table::insert(&app.database, &version).await?;
    if is_new && wish.promote && trained.verdict.no_worse {
        let (name, now) = (&pipeline.name, app.now().millis());
        table::promote(&app.database, name, Some(&version.id), &version.reason, false, now).await?;
    }
    Ok(table::get(&app.database, &version.id).await?.unwrap_or(version))
}
