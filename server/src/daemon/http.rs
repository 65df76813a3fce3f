//! `/metrics` and `/health`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use super::status::Status;
use crate::metrics::{self, Metrics};

/// What the handlers need.
#[derive(Clone)]
pub struct Parts {
    /// The service's own metrics.
    pub metrics: Arc<Metrics>,
    /// How each pipeline goes.
    pub status: Arc<Status>,
}

/// The routes. A service that runs is ready even where a pipeline fails, since the others go on: the answer says
/// which and why, and the status code stays 200.
pub fn routes(parts: Parts) -> Router {
    let mut router = Router::new().route("/metrics", get(metrics_text));
    for path in ["/health/live", "/healthz", "/startup"] {
        router = router.route(path, get(|| async { Json(serde_json::json!({"status": "ok"})) }));
    }
    for path in ["/health", "/health/ready", "/readiness"] {
        router = router.route(path, get(health));
    }
    router.with_state(parts)
}

async fn metrics_text(State(parts): State<Parts>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], parts.metrics.render())
}

async fn health(State(parts): State<Parts>) -> impl IntoResponse {
    Json(parts.status.health())
}
