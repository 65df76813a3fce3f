//! `/api/v1/anomalies`: incidents, which are anomalous points that belong together.

mod events;
mod explanation;

use axum::Json;
use axum::extract::{Path, State};
use engine::incident::Severity;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::feedback::Feedback;
use super::page::{Cursor, Limit, Page};
use super::params::{Params, optional_time, wrong};
use super::problem::Problem;
use crate::app::App;
use crate::database::incidents::{self as table, Filter, Incident};
use crate::database::{DatabaseError, feedback};

/// The routes.
pub(super) fn routes() -> Routes {
    let viewer = OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(events::events));
    let viewer = viewer.routes(routes!(explanation::explanation));
    Routes { viewer, ..Routes::default() }
}

/// An incident: points whose score is above 1, of one series or of several of a pipeline that deviate together.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Anomaly {
    /// Its id.
    id: String,
    /// The pipeline.
    pipeline: String,
    /// `info`, `warning` or `critical`: by how far and for how long the series that contributes most deviates, and how
    /// many do.
    severity: String,
    /// What it is about, in a line.
    summary: String,
    /// The series of the point with the highest score, as PromQL writes it.
    series: String,
    /// That series' labels; the metric's name is `__name__`.
    #[schema(value_type = Object)]
    labels: Map<String, Value>,
    /// The first point above 1, RFC 3339.
    started_at: String,
    /// The last point above 1 so far, RFC 3339.
    ended_at: String,
    /// Whether it may still go on.
    open: bool,
    /// Whether it has not lasted yet as long as the pipeline's `anomaly.for` asks for.
    pending: bool,
    /// How many points are above 1.
    points: i64,
    /// The point with the highest score.
    peak: Peak,
    /// How many series are part of it.
    series_count: i64,
    /// How many series the pipeline watched then; null where that is not known.
    watched: Option<i64>,
    /// The labels that tell its series from the others, the most telling first.
    telling: Vec<Telling>,
    /// Its episodes, those that contribute most first: of a list the first 20, else up to 1000.
    members: Vec<Member>,
    /// When it was first recorded, RFC 3339.
    created_at: String,
    /// When it last changed, RFC 3339.
    changed_at: String,
    /// What people said of it.
    feedback: Vec<Feedback>,
}

/// A label that many series of an incident have, and few others.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Telling {
    /// The label's name.
    name: String,
    /// Its value.
    value: String,
    /// How many series of the incident have it.
    inside: usize,
    /// Of how many.
    members: usize,
    /// How many of the other series of the pipeline have it.
    outside: usize,
    /// Of how many.
    others: usize,
    /// All of it, in words.
    text: String,
}

impl From<engine::incident::Telling> for Telling {
    fn from(told: engine::incident::Telling) -> Self {
        let text = told.to_string();
        let engine::incident::Telling { name, value, inside, members, outside, others } = told;
        Self { name, value, inside, members, outside, others, text }
    }
}

/// An episode: points of one series above 1, with short pauses between them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Member {
    /// The source series, as PromQL writes it.
    series: String,
    /// Its labels.
    #[schema(value_type = Object)]
    labels: Map<String, Value>,
    /// The first point above 1, RFC 3339.
    started_at: String,
    /// The last point above 1 so far, RFC 3339.
    ended_at: String,
    /// How many points are above 1.
    points: i64,
    /// What part of the incident it is, from 0 to 1: its highest score, up to 10, times its points.
    share: f64,
    /// The point with the highest score.
    peak: Peak,
}

/// The point of an incident with the highest score. What is infinite is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Peak {
    /// When, RFC 3339.
    at: String,
    /// Its score.
    score: f64,
    /// What came.
    actual: Option<f64>,
    /// What was expected.
    expected: Option<f64>,
    /// The lower edge of the band.
    lower: Option<f64>,
    /// The upper edge of the band.
    upper: Option<f64>,
}

/// The episodes of an incident that are shown in a list.
const FEW: i64 = 20;

/// The episodes of an incident that are shown of one.
const MANY: i64 = 1000;

fn at(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

impl Peak {
    fn new(at_ms: i64, score: f64, [actual, expected, lower, upper]: [f64; 4]) -> Self {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let (actual, expected, lower, upper) = (finite(actual), finite(expected), finite(lower), finite(upper));
        Self { at: at(at_ms), score, actual, expected, lower, upper }
    }
}

impl Member {
    fn of(row: &table::Member, weight: f64) -> Self {
        let values = [row.peak_actual, row.peak_expected, row.peak_lower, row.peak_upper];
        Self {
            series: row.series.clone(),
            labels: serde_json::from_str(&row.labels).unwrap_or_default(),
            started_at: at(row.start_ms),
            ended_at: at(row.end_ms),
            points: row.points,
            share: if weight > 0.0 { row.weight / weight } else { 0.0 },
            peak: Peak::new(row.peak_ms, row.peak_score, values),
        }
    }
}

/// `12 series · 11 of 12 have zone=b, and none of the other 40`, or the series where there is only one.
fn summary(row: &Incident, telling: &[Telling]) -> String {
    if row.members < 2 {
        return row.series.clone();
    }
    let told = telling.first().map(|told| format!(" · {}", told.text));
    format!("{} series{}", row.members, told.unwrap_or_default())
}

impl Anomaly {
    /// How `row` with its `members` is shown at `now`, with what was said of it in `feedback`.
    fn of(row: Incident, members: &[table::Member], feedback: &[feedback::Feedback], now: Timestamp) -> Self {
        let members: Vec<Member> = members.iter().map(|member| Member::of(member, row.weight)).collect();
        let labels: Vec<Map<String, Value>> = members.iter().map(|member| member.labels.clone()).collect();
        let said = feedback.iter().filter(|one| one.is_about(&row, &labels)).cloned().map(Feedback::from).collect();
        let telling: Vec<Telling> = row.telling().into_iter().map(Telling::from).collect();
        let values = [row.peak_actual, row.peak_expected, row.peak_lower, row.peak_upper];
        Self {
            summary: summary(&row, &telling),
            labels: serde_json::from_str(&row.labels).unwrap_or_default(),
            started_at: at(row.start_ms),
            ended_at: at(row.end_ms),
            open: row.open_until_ms >= now.millis(),
            pending: row.confirmed == 0,
            points: row.points,
            peak: Peak::new(row.peak_ms, row.peak_score, values),
            series_count: row.members,
            watched: Some(row.watched).filter(|watched| *watched > 0),
            telling,
            members,
            created_at: at(row.created_ms),
            changed_at: at(row.changed_ms),
            id: row.id,
            pipeline: row.pipeline,
            severity: row.severity,
            series: row.series,
            feedback: said,
        }
    }

    /// How `rows` are shown, with `most` of their episodes and what was said of them.
    async fn all(app: &App, rows: Vec<Incident>, series: Option<&str>, most: i64) -> Result<Vec<Self>, DatabaseError> {
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let feedback = feedback::about(&app.database, &rows).await?;
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let members = table::members(&app.database, &ids, series, most).await?;
        let now = app.now();
        let of = |row: Incident| {
            let own: Vec<table::Member> = members.iter().filter(|one| one.incident == row.id).cloned().collect();
            Self::of(row, &own, &feedback, now)
        };
        Ok(rows.into_iter().map(of).collect())
    }
}

/// Which incidents are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    pipeline: Option<String>,
    series: Option<String>,
    label: Vec<String>,
    #[serde(deserialize_with = "optional_time")]
    from: Option<Timestamp>,
    #[serde(deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    min_score: Option<f64>,
    severity: Option<Severity>,
    pending: bool,
    open: Option<bool>,
    limit: Limit,
    cursor: Option<Cursor>,
}

/// `name:value`.
fn label(text: &str) -> Result<(String, String), Problem> {
    let pair = text.split_once(':').filter(|(name, _)| !name.is_empty());
    let wrong = || wrong("label", format!("`{text}` is no label such as `instance:web-1`"));
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(wrong)
}

/// Incidents, those that began last first.
#[utoipa::path(get, path = "/api/v1/anomalies", tag = "anomalies",
    params(
        ("pipeline" = Option<String>, Query, description = "those of one pipeline"),
        ("series" = Option<String>, Query, description = "those that this series is part of, as PromQL writes it; of their episodes only its own are told"),
        ("label" = Option<Vec<String>>, Query, description = "those of which a series has this label, as `name:value`; may be given several times"),
        ("from" = Option<String>, Query, format = DateTime, description = "those that end then or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "those that begin before"),
        ("min_score" = Option<f64>, Query, description = "those whose highest score is at least this"),
        ("severity" = Option<String>, Query, description = "those that are at least so bad: `info`, `warning` or `critical`"),
        ("pending" = Option<bool>, Query, description = "those too that have not lasted yet as long as their pipeline asks for"),
        ("open" = Option<bool>, Query, description = "those that may still go on, or those that may not"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<Anomaly>)))]
async fn list(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<Anomaly>>, Problem> {
    let Filters { pipeline, series, label: labels, from, until, min_score, severity, pending, open, limit, cursor } =
        filters;
    let labels = labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?;
    let open = open.map(|open| (open, app.now()));
    let filter = Filter {
        pipeline,
        series: series.clone(),
        labels,
        from,
        until,
        min_score,
        severity,
        pending,
        open,
        after: cursor,
    };
    let rows = table::list(&app.database, filter, limit).await?;
    let Page { items, next } = Page::of(rows, limit, |row| Cursor { at_ms: row.start_ms, id: row.id.clone() });
    Ok(Json(Page { items: Anomaly::all(&app, items, series.as_deref(), FEW).await?, next }))
}

/// One incident.
#[utoipa::path(get, path = "/api/v1/anomalies/{id}", tag = "anomalies", params(("id" = String, Path)),
    responses(
        (status = 200, body = Anomaly),
        (status = 404, description = "there is no such incident, or none any more")))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Anomaly>, Problem> {
    let missing = || Problem::not_found(format!("there is no incident `{id}`, or none any more"));
    let row = table::get(&app.database, super::page::id(&id).ok_or_else(missing)?).await?.ok_or_else(missing)?;
    Ok(Json(Anomaly::all(&app, vec![row], None, MANY).await?.pop().ok_or_else(missing)?))
}
