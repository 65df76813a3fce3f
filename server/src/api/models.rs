//! `/api/v1/models`: the models of the program, and the trained versions of those of pipelines.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use models::MODELS;
use models::entry::{Entry, Parameter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::page::{Cursor, Limit, Page};
use super::params::Params;
use super::problem::Problem;
use crate::app::App;
use crate::auth::Caller;
use crate::database::models as table;
use crate::registry;

/// How many trained versions are told beside the models.
const NEWEST: i64 = 100;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes {
        viewer: OpenApiRouter::new()
            .routes(routes!(list))
            .routes(routes!(current))
            .routes(routes!(versions))
            .routes(routes!(get)),
        editor: OpenApiRouter::new().routes(routes!(promote)).routes(routes!(rollback)),
        ..Routes::default()
    }
}

/// A model of the program.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Model {
    /// What a pipeline names it by.
    pub id: &'static str,
    /// Other names under which it is accepted.
    pub aliases: &'static [&'static str],
    /// What it does, in a line.
    pub summary: &'static str,
    /// What can be set.
    pub parameters: Vec<Setting>,
    /// Whether training finds settings for it.
    pub trainable: bool,
}

/// A parameter of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// What holds where it is not set.
    pub default: &'static str,
    /// What it does, and in which units.
    pub meaning: &'static str,
}

impl From<&Entry> for Model {
    fn from(entry: &Entry) -> Self {
        let Entry { id, aliases, summary, .. } = *entry;
        let setting = |Parameter { name, default, meaning }: &Parameter| Setting { name, default, meaning };
        let trainable = models::tuning::is_tunable(&models::ModelSpec::local(id, serde_json::Map::new()));
        Self { id, aliases, summary, parameters: entry.parameters.iter().map(setting).collect(), trainable }
    }
}

/// A trained version of the model of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Version {
    /// Its id.
    pub id: String,
    /// The pipeline whose model it is.
    pub pipeline: String,
    /// Its number among the pipeline's versions, from 1.
    pub version: i64,
    /// `current`, `retired` where it once was, or `candidate`.
    pub state: String,
    /// Why it is in this state.
    pub reason: String,
    /// The model's id.
    pub model: String,
    /// What it was trained by and on.
    pub source: String,
    /// A hash of the model and its parameters.
    pub hash: String,
    /// The parameters.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// How it did on the tail of the history, beside the untrained model and the version in use then.
    #[schema(value_type = Object)]
    pub evaluation: Value,
    /// When it was trained, RFC 3339.
    pub created: String,
    /// By whose wish.
    pub created_by: String,
    /// When it last became current.
    pub current_since: Option<String>,
}

impl From<table::Version> for Version {
    fn from(row: table::Version) -> Self {
        let time = |millis| Timestamp::from_millis(millis).to_string();
        let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
        Self {
            parameters: json(&row.parameters),
            evaluation: json(&row.evaluation),
            id: row.id,
            pipeline: row.pipeline,
            version: row.version,
            state: row.state,
            reason: row.reason,
            model: row.model,
            source: row.source,
            hash: row.hash,
            created: time(row.created_ms),
            created_by: row.created_by,
            current_since: row.current_ms.map(time),
        }
    }
}

/// What there is to choose from, and what was trained.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Models {
    /// The models of the program.
    pub models: Vec<Model>,
    /// The newest trained versions, at most 100; `/api/v1/models/versions` has all.
    pub versions: Vec<Version>,
}

/// The models of the program with their parameters, and the newest trained versions.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, body = Models)))]
async fn list(State(app): State<App>) -> Result<Json<Models>, Problem> {
    let versions = table::list(&app.database, None, None, NEWEST).await?;
    let versions = versions.into_iter().map(Version::from).collect();
    Ok(Json(Models { models: MODELS.iter().map(Model::from).collect(), versions }))
}

/// Whose versions are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Whose {
    pipeline: Option<String>,
}

/// The versions that pipelines run with, in the order of the pipelines.
#[utoipa::path(get, path = "/api/v1/models/current", tag = "models",
    params(("pipeline" = Option<String>, Query, description = "that of one pipeline")),
    responses((status = 200, body = Page<Version>), (status = 400)))]
async fn current(State(app): State<App>, Params(whose): Params<Whose>) -> Result<Json<Page<Version>>, Problem> {
    let mut found = table::all_current(&app.database).await?;
    found.retain(|version| whose.pipeline.as_ref().is_none_or(|name| *name == version.pipeline));
    Ok(Json(Page { items: found.into_iter().map(Version::from).collect(), next: None }))
}

/// Which versions are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    pipeline: Option<String>,
    limit: Limit,
    cursor: Option<Cursor>,
}

/// Trained versions, the newest first.
#[utoipa::path(get, path = "/api/v1/models/versions", tag = "models",
    params(
        ("pipeline" = Option<String>, Query, description = "those of one pipeline"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<Version>), (status = 400)))]
async fn versions(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<Version>>, Problem> {
    let Filters { pipeline, limit, cursor } = filters;
    if pipeline.as_ref().is_some_and(|name| name.contains(char::is_control)) {
        return Ok(Json(Page { items: vec![], next: None }));
    }
    let after = cursor.map(|cursor| (cursor.at_ms, cursor.id));
    let rows = table::list(&app.database, pipeline.as_deref(), after, limit.rows()).await?;
    let page = Page::of(rows, limit, |row| Cursor { at_ms: row.created_ms, id: row.id.clone() });
    Ok(Json(page.map(Version::from)))
}

/// A model of the program, or a trained version.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Found {
    /// A model of the program.
    Model(Model),
    /// A trained version.
    Version(Box<Version>),
}

/// A model of the program by its name, or a trained version by its id.
#[utoipa::path(get, path = "/api/v1/models/{id}", tag = "models", params(("id" = String, Path)),
    responses((status = 200, body = Found), (status = 404, description = "there is no such model or version")))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Found>, Problem> {
    if let Some(entry) = MODELS.iter().find(|entry| entry.id == id || entry.aliases.contains(&id.as_str())) {
        return Ok(Json(Found::Model(entry.into())));
    }
    Ok(Json(Found::Version(Box::new(one(&app, &id).await?.into()))))
}

async fn one(app: &App, id: &str) -> Result<table::Version, Problem> {
    let missing = || Problem::not_found(format!("there is no trained version `{}`", id.escape_debug()));
    let is_id = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let row = if is_id { table::get(&app.database, id).await? } else { None };
    row.ok_or_else(missing)
}

/// Makes a trained version the one that its pipeline runs with, within seconds in all processes.
#[utoipa::path(post, path = "/api/v1/models/{id}/promote", tag = "models", params(("id" = String, Path)),
    responses(
        (status = 200, body = Version),
        (status = 404, description = "there is no such version"),
        (status = 409, description = "the pipeline has another model or other parameters by now")))]
async fn promote(
    State(app): State<App>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Version>, Problem> {
    let version = one(&app, &id).await?;
    if version.state == "current" {
        return Ok(Json(version.into()));
    }
    let stored = app.store.get(&version.pipeline).await?.and_then(|stored| stored.checked.ok());
    if stored.is_some_and(|pipeline| registry::learned(&pipeline, &version).is_none()) {
        let name = &version.pipeline;
        return Err(conflict(format!(
            "pipeline `{name}` has another model or other parameters than this was trained from"
        )));
    }
    let (name, reason) = (&version.pipeline, format!("promoted by {}", caller.name));
    table::promote(&app.database, name, Some(&id), &reason, false, app.now().millis()).await?;
    Ok(Json(one(&app, &id).await?.into()))
}

/// What a pipeline runs with after a version was taken back.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RolledBack {
    /// The version; null where there was none before, so that the pipeline's own parameters hold.
    pub current: Option<Version>,
}

/// Takes the current version of a pipeline back: the one that was current before is current again.
#[utoipa::path(post, path = "/api/v1/models/{id}/rollback", tag = "models", params(("id" = String, Path)),
    responses(
        (status = 200, body = RolledBack),
        (status = 404, description = "there is no such version"),
        (status = 409, description = "it is not the current one")))]
async fn rollback(
    State(app): State<App>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RolledBack>, Problem> {
    let version = one(&app, &id).await?;
    if version.state != "current" {
        return Err(conflict(format!("version {} of `{}` is not the current one", version.version, version.pipeline)));
    }
    let before = table::previous(&app.database, &version.pipeline).await?;
    let reason = format!("version {} was rolled back by {}", version.version, caller.name);
    let id = before.as_ref().map(|before| before.id.as_str());
    table::promote(&app.database, &version.pipeline, id, &reason, true, app.now().millis()).await?;
    let current = table::current(&app.database, &version.pipeline).await?;
    Ok(Json(RolledBack { current: current.map(Version::from) }))
}

fn conflict(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", detail)
}
