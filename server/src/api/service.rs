//! `/metrics` and `/health`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use crate::app::App;
use crate::daemon::status::Health;
use crate::metrics::{self, exposition};

/// The routes.
pub(super) fn routes() -> Routes {
    let mut open = OpenApiRouter::new().routes(routes!(ready)).routes(routes!(live));
    for path in ["/healthz", "/startup"] {
        open = open.route(path, get(live));
    }
    for path in ["/health", "/readiness"] {
        open = open.route(path, get(ready));
    }
    Routes { open, viewer: OpenApiRouter::new().routes(routes!(metrics_text)), ..Routes::default() }
}

/// The service's own metrics, in the OpenMetrics text format where that is accepted, else in that of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String, content_type = exposition::PROMETHEUS)))]
async fn metrics_text(State(app): State<App>, headers: HeaderMap) -> Response {
    metrics::jobs::refresh(&app).await;
    exposition::answer(app.metrics.render(), &headers)
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health/live", tag = "service", responses((status = 200)))]
async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// How each part goes. A service that runs is ready even where a pipeline fails, since the others go on: the answer
/// says which and why, and the status code stays 200.
#[utoipa::path(get, path = "/health/ready", tag = "service", responses((status = 200, body = Health)))]
async fn ready(State(app): State<App>) -> Json<Health> {
    Json(app.status.health())
}
