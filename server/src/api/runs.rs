//! `/api/v1/runs`: what ran, how long, what it wrote, why it failed.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::page::{Cursor, Limit, Page};
use super::params::{Params, optional_time};
use super::problem::Problem;
use crate::app::App;
use crate::database::runs::{self as table, Filter};

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { viewer: OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)), ..Routes::default() }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It did all that it should.
    Success,
    /// It failed.
    Error,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

/// A pass of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Run {
    /// Its id, which the log has too.
    id: String,
    /// The pipeline.
    pipeline: String,
    /// `anomaly` where points were judged, `forecast` where a forecast was made.
    stage: String,
    /// The time of the schedule that it was run for, RFC 3339.
    tick_at: String,
    /// When it began, RFC 3339.
    started_at: String,
    /// How long it took.
    took_seconds: f64,
    /// `success` or `error`.
    outcome: String,
    /// Series whose history is kept.
    series: i64,
    /// Points that got a score.
    scored: i64,
    /// Points whose score is above 1.
    anomalous: i64,
    /// Samples that the store took.
    written: i64,
    /// Samples that the store refused.
    rejected: i64,
    /// Why it failed.
    error: Option<String>,
    /// The process that ran it.
    instance: String,
    /// The job that it was part of, where it was none of the schedule's.
    job: Option<String>,
}

/// A pass of a pipeline, and the forecast that it made.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RunDetail {
    /// The pass.
    #[serde(flatten)]
    run: Run,
    /// What is known of its forecast, where it made one.
    prediction: Option<Prediction>,
}

/// What is known of a forecast. Its values are in the store of series.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Prediction {
    /// The model's id.
    model: String,
    /// Which trained version of it.
    model_version: Option<i64>,
    /// The last point that the model saw, RFC 3339.
    origin_at: String,
    /// How far apart its points are.
    step_seconds: f64,
    /// How many points it has.
    horizon: i64,
    /// Of how many series.
    series: i64,
    /// When it was made, RFC 3339.
    made_at: String,
}

fn at(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

impl From<table::Run> for Run {
    fn from(row: table::Run) -> Self {
        Self {
            id: row.id,
            pipeline: row.pipeline,
            stage: row.stage,
            tick_at: at(row.tick_ms),
            started_at: at(row.started_ms),
            took_seconds: seconds(row.took_ms),
            outcome: row.outcome,
            series: row.series,
            scored: row.scored,
            anomalous: row.anomalous,
            written: row.written,
            rejected: row.rejected,
            error: row.error,
            instance: row.instance,
            job: row.job,
        }
    }
}

impl From<table::Prediction> for Prediction {
    fn from(row: table::Prediction) -> Self {
        Self {
            model: row.model,
            model_version: row.model_version,
            origin_at: at(row.origin_ms),
            step_seconds: seconds(row.step_ms),
            horizon: row.horizon,
            series: row.series,
            made_at: at(row.made_ms),
        }
    }
}

/// Which runs are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    pipeline: Option<String>,
    stage: Option<String>,
    outcome: Option<Outcome>,
    #[serde(deserialize_with = "optional_time")]
    since: Option<Timestamp>,
    #[serde(deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    limit: Limit,
    cursor: Option<Cursor>,
}

/// Passes of pipelines, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs",
    params(
        ("pipeline" = Option<String>, Query, description = "those of one pipeline"),
        ("stage" = Option<String>, Query, description = "those of one stage: `anomaly` or `forecast`"),
        ("outcome" = Option<Outcome>, Query, description = "those with one outcome"),
        ("since" = Option<String>, Query, format = DateTime, description = "those that began then or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "those that began before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<Run>)))]
async fn list(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<Run>>, Problem> {
    let Filters { pipeline, stage, outcome, since, until, limit, cursor } = filters;
    let outcome = outcome.map(|outcome| outcome.name().to_owned());
    let filter = Filter { pipeline, stage, outcome, since, until, after: cursor };
    let rows = table::list(&app.database, filter, limit).await?;
    let page = Page::of(rows, limit, |row| Cursor { at_ms: row.started_ms, id: row.id.clone() });
    Ok(Json(page.map(Run::from)))
}

/// One pass.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = RunDetail), (status = 404, description = "there is no such run, or none any more")))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<RunDetail>, Problem> {
    let missing = || Problem::not_found(format!("there is no run `{id}`, or none any more"));
    let id = super::page::id(&id).ok_or_else(missing)?;
    let run = table::get(&app.database, id).await?.ok_or_else(missing)?;
    let prediction = table::prediction(&app.database, id).await?;
    Ok(Json(RunDetail { run: run.into(), prediction: prediction.map(Prediction::from) }))
}
