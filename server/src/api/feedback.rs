//! `/api/v1/feedback`: what people say of incidents and ranges. It moves the thresholds of what is alike, silences ranges,
//! and is what a pipeline is tested against.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tsdb::{Labels, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::page::{Cursor, Limit, Page};
use super::params::{Params, optional_time};
use super::problem::{Fault, Problem};
use crate::app::App;
use crate::auth::Caller;
use crate::database::feedback::{self as table, Filter};
use crate::database::incidents;

/// The longest note, in characters.
const LONGEST_NOTE: usize = 10_000;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes {
        viewer: OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)),
        editor: OpenApiRouter::new().routes(routes!(create)).routes(routes!(remove)),
        ..Routes::default()
    }
}

/// What was it?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It was rightly found: the threshold of what is alike is lowered.
    Anomaly,
    /// It was nothing unusual: the threshold of what is alike is raised, for a while and not without bounds.
    Expected,
    /// Somebody was at work: the range is neither scored nor learned from.
    Maintenance,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Expected => "expected",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What somebody said of an incident or a range.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Feedback {
    /// Its id.
    id: String,
    /// The incident that it is about, where it is about one.
    incident: Option<String>,
    /// The pipeline.
    pipeline: String,
    /// The labels of the series that it is about; those that are not named may be any.
    #[schema(value_type = Object)]
    labels: Map<String, Value>,
    /// The first point that it is about, RFC 3339.
    from: String,
    /// The last point that it is about, RFC 3339.
    until: String,
    /// `anomaly`, `expected` or `maintenance`.
    verdict: String,
    /// What else was said.
    note: String,
    /// When it was said, RFC 3339.
    created_at: String,
    /// By whom.
    created_by: String,
    /// The series that it is about: those that have all labels of any of these.
    #[schema(value_type = Vec<Object>)]
    series: Vec<Map<String, Value>>,
    /// To which side they deviated, `above` or `below`; null where nothing was found there, so that no threshold moves.
    side: Option<String>,
    /// The highest score that was found there.
    score: Option<f64>,
}

impl From<table::Feedback> for Feedback {
    fn from(row: table::Feedback) -> Self {
        let at = |millis| Timestamp::from_millis(millis).to_string();
        let object = |labels: &Labels| labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let series = row.scope().iter().map(object).collect();
        Self {
            id: row.id,
            incident: row.incident,
            pipeline: row.pipeline,
            labels: serde_json::from_str(&row.labels).unwrap_or_default(),
            from: at(row.start_ms),
            until: at(row.end_ms),
            verdict: row.verdict,
            note: row.note,
            created_at: at(row.created_ms),
            created_by: row.created_by,
            series,
            side: row.side,
            score: row.score,
        }
    }
}

/// A verdict on an `incident`, or else on a range of the series of a `pipeline` that have these `labels`. On an incident,
/// `labels` say which series are alike; without them only its own are.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFeedback {
    /// The incident.
    #[serde(default)]
    incident: Option<String>,
    /// The pipeline, where no incident is given.
    #[serde(default)]
    pipeline: Option<String>,
    /// The labels that the series have; where none are given, all series of the pipeline, or those of the incident.
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    /// The first point, where no incident is given.
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The last point, where no incident is given.
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// What it was.
    verdict: Verdict,
    /// What else there is to say.
    #[serde(default)]
    #[schema(max_length = 10000)]
    note: String,
}

/// What feedback is about.
struct Subject {
    incident: Option<String>,
    pipeline: String,
    labels: String,
    start_ms: i64,
    end_ms: i64,
    scope: String,
    /// The point with the highest score, where anything was found: what came, what was expected, and the score.
    peak: Option<(f64, f64, f64)>,
}

/// How many series of an incident a verdict is about at most; those that contribute most.
const MOST_SERIES: i64 = 1000;

/// A body with one field that is wrong.
fn wrong(path: &str, message: impl Into<String>) -> Problem {
    let detail = "the feedback is not as it should be";
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail);
    problem.errors = vec![Fault { path: path.into(), message: message.into(), line: None, column: None }];
    problem
}

impl NewFeedback {
    async fn subject(&self, app: &App) -> Result<Subject, Problem> {
        match &self.incident {
            Some(incident) => self.on_incident(app, incident).await,
            None => self.on_range(app).await,
        }
    }

    async fn on_incident(&self, app: &App, incident: &str) -> Result<Subject, Problem> {
        let others =
            [("pipeline", self.pipeline.is_some()), ("from", self.from.is_some()), ("until", self.until.is_some())];
        if let Some((name, _)) = others.iter().find(|(_, is_given)| *is_given) {
            return Err(wrong(name, format!("`{name}` follows from the incident; leave it out")));
        }
        let missing = || wrong("incident", "there is no such incident, or none any more");
        let id = super::page::id(incident).ok_or_else(missing)?;
        let row = incidents::get(&app.database, id).await?.ok_or_else(missing)?;
        let (labels, scope) = match self.given_labels()? {
            Some(given) => (given.to_string(), Value::Array(vec![given])),
            None => {
                let members = incidents::members(&app.database, &[id], None, MOST_SERIES).await?;
                let labels = |one: &incidents::Member| serde_json::from_str(&one.labels).unwrap_or_default();
                (row.labels, Value::Array(members.iter().map(labels).collect()))
            }
        };
        Ok(Subject {
            incident: Some(row.id),
            pipeline: row.pipeline,
            labels,
            start_ms: row.start_ms,
            end_ms: row.end_ms,
            scope: scope.to_string(),
            peak: Some((row.peak_actual, row.peak_expected, row.peak_score)),
        })
    }

    async fn on_range(&self, app: &App) -> Result<Subject, Problem> {
        let missing = |name| wrong(name, format!("give an `incident`, or a `{name}`"));
        let pipeline = self.pipeline.clone().ok_or_else(|| missing("pipeline"))?;
        let from = self.from.ok_or_else(|| missing("from"))?;
        let until = self.until.ok_or_else(|| missing("until"))?;
        if until < from {
            return Err(wrong("until", format!("{until} lies before `from`, {from}")));
        }
        let labels = self.given_labels()?.unwrap_or_else(|| serde_json::json!({}));
        if pipeline.contains('\0') || app.store.get(&pipeline).await?.is_none() {
            return Err(wrong("pipeline", format!("there is no pipeline `{pipeline}`")));
        }
        let found = incidents::episodes_between(&app.database, &pipeline, (from, until), MOST_SERIES).await?;
        let has_all = |one: &&incidents::Member| {
            let own: Value = serde_json::from_str(&one.labels).unwrap_or_default();
            labels.as_object().is_some_and(|labels| labels.iter().all(|(name, value)| own.get(name) == Some(value)))
        };
        let highest = found.iter().filter(has_all).max_by(|a, b| a.peak_score.total_cmp(&b.peak_score));
        Ok(Subject {
            incident: None,
            pipeline,
            labels: labels.to_string(),
            start_ms: from.millis(),
            end_ms: until.millis(),
            scope: serde_json::json!([labels]).to_string(),
            peak: highest.map(|one| (one.peak_actual, one.peak_expected, one.peak_score)),
        })
    }

    /// The labels that were given, as an object.
    fn given_labels(&self) -> Result<Option<Value>, Problem> {
        let Some(labels) = &self.labels else { return Ok(None) };
        if labels.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(wrong("labels", "a label holds a character NUL"));
        }
        Ok(Some(serde_json::json!(labels)))
    }
}

/// Says what an incident or a range was.
#[utoipa::path(post, path = "/api/v1/feedback", tag = "feedback", request_body = NewFeedback,
    responses((status = 201, body = Feedback, headers(("Location" = String)))))]
async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<NewFeedback>,
) -> Result<impl IntoResponse, Problem> {
    if body.note.chars().count() > LONGEST_NOTE || body.note.contains('\0') {
        return Err(wrong("note", format!("at most {LONGEST_NOTE} characters are allowed, none of them NUL")));
    }
    let Subject { incident, pipeline, labels, start_ms, end_ms, scope, peak } = body.subject(&app).await?;
    let side = peak.map(|(actual, expected, _)| if actual >= expected { "above" } else { "below" });
    let row = table::Feedback {
        id: app.new_id(),
        incident,
        pipeline,
        labels,
        start_ms,
        end_ms,
        verdict: body.verdict.name().into(),
        note: body.note,
        created_ms: app.now().millis(),
        created_by: caller.name,
        scope: Some(scope),
        side: side.map(str::to_owned),
        score: peak.map(|(.., score)| score),
        deviation: peak.map(|(actual, expected, _)| (actual - expected).abs()),
    };
    table::insert(&app.database, row.clone()).await?;
    app.advice.hurry();
    let location = format!("/api/v1/feedback/{}", row.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(Feedback::from(row))))
}

/// Which feedback is listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    pipeline: Option<String>,
    incident: Option<String>,
    verdict: Option<Verdict>,
    #[serde(deserialize_with = "optional_time")]
    from: Option<Timestamp>,
    #[serde(deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    limit: Limit,
    cursor: Option<Cursor>,
}

/// Feedback, the newest first.
#[utoipa::path(get, path = "/api/v1/feedback", tag = "feedback",
    params(
        ("pipeline" = Option<String>, Query, description = "that on one pipeline"),
        ("incident" = Option<String>, Query, description = "that on one incident"),
        ("verdict" = Option<Verdict>, Query, description = "that with one verdict"),
        ("from" = Option<String>, Query, format = DateTime, description = "that on ranges which end then or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "that on ranges which begin before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<Feedback>)))]
async fn list(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<Feedback>>, Problem> {
    let Filters { pipeline, incident, verdict, from, until, limit, cursor } = filters;
    let verdict = verdict.map(|verdict| verdict.name().to_owned());
    let filter = Filter { pipeline, incident, verdict, from, until, after: cursor };
    let rows = table::list(&app.database, filter, limit).await?;
    let page = Page::of(rows, limit, |row| Cursor { at_ms: row.created_ms, id: row.id.clone() });
    Ok(Json(page.map(Feedback::from)))
}

/// One verdict.
#[utoipa::path(get, path = "/api/v1/feedback/{id}", tag = "feedback", params(("id" = String, Path)),
    responses((status = 200, body = Feedback), (status = 404, description = "there is none of this id")))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Feedback>, Problem> {
    let missing = || Problem::not_found(format!("there is no feedback `{id}`"));
    let row = table::get(&app.database, super::page::id(&id).ok_or_else(missing)?).await?;
    Ok(Json(row.ok_or_else(missing)?.into()))
}

/// Takes a verdict back.
#[utoipa::path(delete, path = "/api/v1/feedback/{id}", tag = "feedback", params(("id" = String, Path)),
    responses((status = 204), (status = 404, description = "there is none of this id")))]
async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found(format!("there is no feedback `{id}`"));
    let was_there = table::delete(&app.database, super::page::id(&id).ok_or_else(missing)?).await?;
    app.advice.hurry();
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}
