//! Trains the model of a pipeline that comes with the request, now.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use engine::Pipeline;
use engine::store::Document;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tsdb::Frame;
use utoipa::ToSchema;

use super::inline::Series;
use super::{Admitted, adhoc_ports, checked, gridded};
use crate::api::incoming::unfit;
use crate::api::problem::Problem;
use crate::app::App;
use crate::assembly::Trust;
use crate::auth::Caller;
use crate::database::models as table;
use crate::jobs::task::JobError;
use crate::jobs::train::{Training, history};
use crate::registry::{self, Evaluation, Wish};

/// Trainings at a time; each uses all cores.
static TRAINING: Semaphore = Semaphore::const_new(1);

/// What was trained.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Trained {
    /// `success`.
    status: &'static str,
    /// What became of it, for people.
    message: String,
    /// The version's id in the registry; null after a dry run.
    model_id: Option<String>,
    /// The model's id.
    model: String,
    /// The parameters that were found.
    #[schema(value_type = Object)]
    parameters: Value,
    /// How they did on the tail of the history, beside those of the pipeline and those in use.
    #[schema(value_type = Object)]
    evaluation: Value,
}

/// Trains the model of a pipeline now, on the history that its query answers or on series that come with the request. The
/// version is kept as a candidate of the pipeline of that name: a person promotes it.
#[utoipa::path(post, path = "/execute/train", tag = "execute", request_body = super::Order,
    responses((status = 200, body = Trained), (status = 502, description = "the datasource or the trainer failed")))]
pub(super) async fn train(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    admitted: Admitted,
) -> Result<Json<Trained>, Problem> {
    let mut order = admitted.order;
    let series = order.series.take();
    let (document, dry_run) = (order.document(series.is_some())?, order.dry_run);
    let (pipeline, frame) = data(&app, document, series).await?;
    let current = table::current(&app.database, &pipeline.name).await?;
    let current = current.and_then(|version| registry::learned(&pipeline, &version));
    let _turn = TRAINING.acquire().await.expect("it is never closed");
    let resources = app.current().assembly.resources_for(Trust::Api);
    let trained = Training::start(resources, pipeline.clone(), frame, current).end().await.map_err(failed)?;
    let mut model_id = None;
    if !dry_run {
        let wish = Wish { id: app.new_id(), by: caller.name, promote: false };
        model_id = Some(registry::keep(&app, &pipeline, &trained, &wish).await?.id);
    }
    Ok(Json(Trained {
        status: "success",
        message: trained.verdict.reason.clone(),
        model_id,
        model: trained.model.id.clone(),
        parameters: Value::Object(trained.model.parameters.clone()),
        evaluation: serde_json::to_value(Evaluation::of(&trained)).map_err(|error| Problem::internal(&error))?,
    }))
}

/// What the model is trained on: the series of the request, or the history of the pipeline.
async fn data(app: &App, document: Document, series: Option<Vec<Series>>) -> Result<(Pipeline, Frame), Problem> {
    if let Some(series) = series {
        let (pipeline, found) = gridded(document, series)?;
        app.current().assembly.check(&pipeline, Trust::Api).map_err(|error| unfit(&error))?;
        return Ok((pipeline, found.frame));
    }
    let pipeline = checked(&document)?;
    let ports = adhoc_ports(app, &pipeline)?;
    let frame = history(app, &pipeline, &*ports.source).await.map_err(failed)?;
    Ok((pipeline, frame))
}

fn failed(error: JobError) -> Problem {
    match error {
        JobError::Failed(reason) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "training_failed", reason),
        other => Problem::new(StatusCode::BAD_GATEWAY, "training_failed", other.to_string()),
    }
}
