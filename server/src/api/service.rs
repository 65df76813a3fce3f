//! `/metrics` and `/health`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use crate::app::App;
use crate::daemon::status::Health;
use crate::metrics::{self, exposition};

/// How long a part may take to say how it goes.
const PATIENCE: Duration = Duration::from_secs(3);

/// The routes.
pub(super) fn routes() -> Routes {
    let mut open = OpenApiRouter::new().routes(routes!(ready)).routes(routes!(live));
    for path in ["/healthz", "/startup"] {
        open = open.route(path, get(live));
    }
    for path in ["/health", "/readiness", "/ready"] {
        open = open.route(path, get(ready).post(ready));
    }
    Routes { open, viewer: OpenApiRouter::new().routes(routes!(metrics_text)), ..Routes::default() }
}

/// The service's own metrics, in the OpenMetrics text format where that is accepted, else in that of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String, content_type = exposition::PROMETHEUS)))]
async fn metrics_text(State(app): State<App>, headers: HeaderMap) -> Response {
    metrics::jobs::refresh(&app).await;
    metrics::incidents::refresh(&app).await;
    exposition::answer(app.metrics.render(), &headers)
}

/// Whether the process lives, and has started: it listens only after that.
#[utoipa::path(get, path = "/health/live", tag = "service", responses((status = 200)))]
async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// How the service and each of its parts go.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    #[serde(flatten)]
    health: Health,
    /// What it stands on, by name.
    parts: BTreeMap<String, Part>,
}

/// How one part goes.
#[derive(Debug, Serialize, ToSchema)]
struct Part {
    /// `ok` or `failing`.
    status: &'static str,
    /// Why it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Part {
    fn of<E: ToString>(outcome: Result<(), E>) -> Self {
        let reason = outcome.err().map(|error| error.to_string());
        Self { status: if reason.is_none() { "ok" } else { "failing" }, reason }
    }
}

/// How each part goes. A service that runs is ready even where a pipeline, the store of pipelines or a datasource
/// fails, since the others go on: the answer says which and why. It is not ready where it can do nothing at all:
/// without its database, and when it stops.
#[utoipa::path(get, path = "/health/ready", tag = "service",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "not ready")))]
async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let health = app.status.health();
    let stopping = if app.stopping.is_cancelled() { Err("the service stops") } else { Ok(()) };
    let failing = health.pipelines.values().filter(|pipeline| !pipeline.errors.is_empty()).count();
    let failing = if failing == 0 { Ok(()) } else { Err(format!("{failing} of {}", health.pipelines.len())) };
    let mut parts = BTreeMap::from([
        ("database".to_owned(), Part::of(within(app.database.check()).await)),
        ("pipelines".to_owned(), Part::of(failing)),
        ("service".to_owned(), Part::of(stopping)),
        ("store".to_owned(), Part::of(within(app.store.get("")).await)),
    ]);
    let mut unreachable = app.status.datasources();
    for name in app.current().config.datasources.keys() {
        let outcome = unreachable.remove(name).map_or(Ok(()), Err);
        parts.insert(format!("datasource {name}"), Part::of(outcome));
    }
    let is_ready = parts["database"].reason.is_none() && parts["service"].reason.is_none();
    let is_well = parts.values().all(|part| part.reason.is_none());
    let status = if is_well { health.status } else { "degraded" };
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { health: Health { status, ..health }, parts }))
}

/// What a part answers in a moment.
async fn within<T, E: ToString>(answer: impl Future<Output = Result<T, E>>) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(outcome) => outcome.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
