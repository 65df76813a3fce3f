//! `/api/v1/drifts`: when data were found to be no longer what a pipeline's model was made for.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::page::{Cursor, Limit, Page};
use super::params::Params;
use super::problem::Problem;
use crate::app::App;
use crate::database::drifts::{self as table, Row};

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { viewer: OpenApiRouter::new().routes(routes!(list)), ..Routes::default() }
}

/// A drift that was found.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct DriftFound {
    /// Its id.
    id: String,
    /// The pipeline.
    pipeline: String,
    /// `error`, `coverage` or `input`.
    kind: String,
    /// When, RFC 3339.
    at: String,
    /// How it was before: the mean relative error, or the part of points outside the band; of the input, 0.
    before: f64,
    /// How it was on the last day; of the input, the largest difference of the cumulative distributions.
    now: f64,
}

impl From<Row> for DriftFound {
    fn from(row: Row) -> Self {
        let Row { id, pipeline, kind, at_ms, usual, found } = row;
        Self { id, pipeline, kind, at: Timestamp::from_millis(at_ms).to_string(), before: usual, now: found }
    }
}

/// Which drifts are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    pipeline: Option<String>,
    limit: Limit,
    cursor: Option<Cursor>,
}

/// Drifts that were found, the newest first.
#[utoipa::path(get, path = "/api/v1/drifts", tag = "anomalies",
    params(
        ("pipeline" = Option<String>, Query, description = "those of one pipeline"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<DriftFound>)))]
async fn list(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<DriftFound>>, Problem> {
    let Filters { pipeline, limit, cursor } = filters;
    let rows = table::list(&app.database, pipeline, cursor, limit).await?;
    let page = Page::of(rows, limit, |row| Cursor { at_ms: row.at_ms, id: row.id.clone() });
    Ok(Json(page.map(DriftFound::from)))
}
