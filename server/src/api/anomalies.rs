//! `/api/v1/anomalies`: incidents, which are anomalous points of one series that belong together.

mod events;

use axum::Json;
use axum::extract::{Path, State};
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
    Routes { viewer, ..Routes::default() }
}

/// An incident: points of one series whose score is above 1, with short pauses between them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Anomaly {
    /// Its id.
    id: String,
    /// The pipeline.
    pipeline: String,
    /// The source series, as PromQL writes it.
    series: String,
    /// The source series' labels; the metric's name is `__name__`.
    #[schema(value_type = Object)]
    labels: Map<String, Value>,
    /// The first point above 1, RFC 3339.
    started_at: String,
    /// The last point above 1 so far, RFC 3339.
    ended_at: String,
    /// Whether it may still go on.
    open: bool,
    /// How many points are above 1.
    points: i64,
    /// The point with the highest score.
    peak: Peak,
    /// When it was first recorded, RFC 3339.
    created_at: String,
    /// When it last changed, RFC 3339.
    changed_at: String,
    /// What people said of it. It changes no score yet.
    feedback: Vec<Feedback>,
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

impl Anomaly {
    /// How `row` is shown at `now`, with what was said of it in `feedback`.
    fn of(row: Incident, feedback: &[feedback::Feedback], now: Timestamp) -> Self {
        let at = |millis| Timestamp::from_millis(millis).to_string();
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let labels: Map<String, Value> = serde_json::from_str(&row.labels).unwrap_or_default();
        let said = feedback.iter().filter(|one| one.is_about(&row, &labels)).cloned().map(Feedback::from).collect();
        Self {
            labels,
            started_at: at(row.start_ms),
            ended_at: at(row.end_ms),
            open: row.open_until_ms >= now.millis(),
            points: row.points,
            peak: Peak {
                at: at(row.peak_ms),
                score: row.peak_score,
                actual: finite(row.peak_actual),
                expected: finite(row.peak_expected),
                lower: finite(row.peak_lower),
                upper: finite(row.peak_upper),
            },
            created_at: at(row.created_ms),
            changed_at: at(row.changed_ms),
            id: row.id,
            pipeline: row.pipeline,
            series: row.series,
            feedback: said,
        }
    }

    /// How `rows` are shown, with what was said of them.
    async fn all(app: &App, rows: Vec<Incident>) -> Result<Vec<Self>, DatabaseError> {
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let feedback = feedback::about(&app.database, &rows).await?;
        let now = app.now();
        Ok(rows.into_iter().map(|row| Self::of(row, &feedback, now)).collect())
    }
}

/// Which incidents are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    pipeline: Option<String>,
    label: Vec<String>,
    #[serde(deserialize_with = "optional_time")]
    from: Option<Timestamp>,
    #[serde(deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    min_score: Option<f64>,
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
        ("label" = Option<Vec<String>>, Query, description = "those of series with this label, as `name:value`; may be given several times"),
        ("from" = Option<String>, Query, format = DateTime, description = "those that end then or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "those that begin before"),
        ("min_score" = Option<f64>, Query, description = "those whose highest score is at least this"),
        ("open" = Option<bool>, Query, description = "those that may still go on, or those that may not"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<Anomaly>)))]
async fn list(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<Anomaly>>, Problem> {
    let Filters { pipeline, label: labels, from, until, min_score, open, limit, cursor } = filters;
    let labels = labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?;
    let open = open.map(|open| (open, app.now()));
    let filter = Filter { pipeline, labels, from, until, min_score, open, after: cursor };
    let rows = table::list(&app.database, filter, limit).await?;
    let Page { items, next } = Page::of(rows, limit, |row| Cursor { at_ms: row.start_ms, id: row.id.clone() });
    Ok(Json(Page { items: Anomaly::all(&app, items).await?, next }))
}

/// One incident.
#[utoipa::path(get, path = "/api/v1/anomalies/{id}", tag = "anomalies", params(("id" = String, Path)),
    responses(
        (status = 200, body = Anomaly),
        (status = 404, description = "there is no such incident, or none any more")))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Anomaly>, Problem> {
    let missing = || Problem::not_found(format!("there is no incident `{id}`, or none any more"));
    let row = table::get(&app.database, super::page::id(&id).ok_or_else(missing)?).await?.ok_or_else(missing)?;
    Ok(Json(Anomaly::all(&app, vec![row]).await?.pop().ok_or_else(missing)?))
}
