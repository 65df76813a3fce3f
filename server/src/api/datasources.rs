//! The datasources of the configuration, without their secrets.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::params::Params;
use super::problem::Problem;
use crate::app::App;

/// The most names that are answered at once.
const MOST: usize = 1000;

/// The routes.
pub(super) fn routes() -> Routes {
    let viewer = OpenApiRouter::new().routes(routes!(list)).routes(routes!(metrics));
    Routes { viewer, ..Routes::default() }
}

/// What stands behind a datasource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DatasourceKind {
    /// A Prometheus, VictoriaMetrics or alike.
    Server,
    /// The store inside this process.
    Embedded,
}

/// A datasource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct DatasourceItem {
    /// Its name; a pipeline that names none uses `default`.
    name: String,
    /// What stands behind it.
    kind: DatasourceKind,
}

/// All datasources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct DatasourceList {
    /// By name.
    items: Vec<DatasourceItem>,
}

/// Names of metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct MetricList {
    /// By name.
    items: Vec<String>,
}

/// Which metrics.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MetricQuery {
    /// What the names hold; all where it isn't given.
    #[serde(rename = "match", default)]
    matching: String,
}

/// The datasources that pipelines can name.
#[utoipa::path(get, path = "/api/v1/datasources", tag = "datasources",
    responses((status = 200, body = DatasourceList)))]
async fn list(State(app): State<App>) -> Json<DatasourceList> {
    let config = app.current().config;
    let kind = |embedded| if embedded { DatasourceKind::Embedded } else { DatasourceKind::Server };
    let item = |(name, source): (&String, &crate::config::Datasource)| DatasourceItem {
        name: name.clone(),
        kind: kind(source.path.is_some()),
    };
    Json(DatasourceList { items: config.datasources.iter().map(item).collect() })
}

/// The names of the metrics of a datasource, at most a thousand; none where it can't tell.
#[utoipa::path(get, path = "/api/v1/datasources/{name}/metrics", tag = "datasources",
    params(("name" = String, Path, description = "The datasource"), MetricQuery),
    responses(
        (status = 200, body = MetricList),
        (status = 404, description = "there is no such datasource"),
        (status = 502, description = "it can't be read"),
    ))]
async fn metrics(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(query): Params<MetricQuery>,
) -> Result<Json<MetricList>, Problem> {
    let missing = || Problem::not_found(format!("there is no datasource `{name}`"));
    let source = app.current().assembly.source(&name).ok_or_else(missing)?;
    let failed = |error: tsdb::ReadError| Problem::new(StatusCode::BAD_GATEWAY, "datasource_failed", error.to_string());
    let mut items = source.metrics().await.map_err(failed)?;
    items.retain(|metric| metric.contains(&query.matching));
    items.truncate(MOST);
    Ok(Json(MetricList { items }))
}
