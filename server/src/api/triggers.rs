//! Runs of a pipeline that somebody wants now: each is a job in the queue.

use axum::Json;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::pipelines::found;
use super::problem::Problem;
use crate::app::App;
use crate::auth::Caller;
use crate::jobs::{Kind, NewJob, submit};

/// The routes, under the original's paths and under ours.
pub(super) fn routes() -> Routes {
    let triggers = || {
        OpenApiRouter::new()
            .routes(routes!(inference))
            .routes(routes!(train))
            .routes(routes!(forecast))
            .routes(routes!(anomaly))
            .routes(routes!(trigger_forecast))
            .routes(routes!(trigger_anomaly))
            .routes(routes!(trigger_training))
    };
    Routes { editor: triggers().merge(OpenApiRouter::new().nest("/api/v1", triggers())), ..Routes::default() }
}

/// What was queued.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Queued {
    /// What will happen, for people.
    message: &'static str,
    /// The job's id.
    task_id: String,
}

type Answer = Result<(StatusCode, Json<Queued>), Problem>;

/// Who wants which pipeline run.
struct Wish {
    app: App,
    name: String,
    created_by: String,
    idempotency_key: Option<String>,
}

impl FromRequestParts<App> for Wish {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let Path(name) = Path::from_request_parts(parts, app).await.map_err(IntoResponse::into_response)?;
        let caller = parts.extensions.get::<Caller>().ok_or_else(|| Problem::unauthorized().into_response())?;
        let key = parts.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let (created_by, idempotency_key) = (caller.name.clone(), key.map(str::to_owned));
        Ok(Self { app: app.clone(), name, created_by, idempotency_key })
    }
}

impl Wish {
    async fn queue(self, kind: Kind, message: &'static str) -> Answer {
        let stored = found(&self.app, &self.name).await?;
        stored.checked.as_ref().map_err(Problem::from)?;
        let job = NewJob {
            kind,
            pipeline: self.name,
            body: serde_json::json!({}),
            priority: 0,
            created_by: self.created_by,
            idempotency_key: self.idempotency_key,
        };
        let task_id = submit(&self.app, job).await?;
        Ok((StatusCode::ACCEPTED, Json(Queued { message, task_id })))
    }
}

/// Queues a forecast and a check of a pipeline.
#[utoipa::path(post, path = "/pipelines/{name}/inference", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn inference(wish: Wish) -> Answer {
    wish.queue(Kind::Inference, "Inference run triggered").await
}

/// Queues the training of a pipeline's model.
#[utoipa::path(post, path = "/pipelines/{name}/train", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn train(wish: Wish) -> Answer {
    wish.queue(Kind::Train, "Training run triggered").await
}

/// Queues a forecast of a pipeline.
#[utoipa::path(post, path = "/pipelines/{name}/forecast", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn forecast(wish: Wish) -> Answer {
    wish.queue(Kind::Predict, "Forecast run triggered").await
}

/// Queues a check of what has come since a pipeline's last pass.
#[utoipa::path(post, path = "/pipelines/{name}/anomaly", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn anomaly(wish: Wish) -> Answer {
    wish.queue(Kind::Detect, "Anomaly check triggered").await
}

/// Queues a forecast of a pipeline.
#[utoipa::path(post, path = "/pipelines/{name}/trigger_forecast", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn trigger_forecast(wish: Wish) -> Answer {
    forecast(wish).await
}

/// Queues a check of what has come since a pipeline's last pass.
#[utoipa::path(post, path = "/pipelines/{name}/trigger_anomaly", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn trigger_anomaly(wish: Wish) -> Answer {
    anomaly(wish).await
}

/// Queues the training of a pipeline's model.
#[utoipa::path(post, path = "/pipelines/{name}/trigger_training", tag = "triggers",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Queued), (status = 404), (status = 422)))]
async fn trigger_training(wish: Wish) -> Answer {
    train(wish).await
}
