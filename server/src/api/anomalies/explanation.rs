//! Why an incident was found.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::api::params::{Params, wrong};
use crate::api::problem::Problem;
use crate::app::App;
use crate::explanation::{self, ExplainError, Explanation};

/// What is explained.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    series: Option<String>,
}

impl From<ExplainError> for Problem {
    fn from(error: ExplainError) -> Self {
        let text = error.to_string();
        match error {
            ExplainError::NoIncident(_) => Self::not_found(text),
            ExplainError::NoMember { .. } => wrong("series", text),
            ExplainError::NoPipeline(_) => Self::not_found(text),
            ExplainError::Document(errors) => Self::from(&errors),
            ExplainError::Database(error) => error.into(),
            ExplainError::Store(error) => error.into(),
            ExplainError::Assembly(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_pipeline", text),
            ExplainError::Pass(_) => Self::new(StatusCode::BAD_GATEWAY, "datasource_failed", text),
        }
    }
}

/// Why an incident was found, in sentences: what was expected of its worst point and why, what came, how unusual that is,
/// who else was part of it, what people said, and whether its score can be made again from the same data, model and
/// configuration; with the time around it, to be drawn.
#[utoipa::path(get, path = "/api/v1/anomalies/{id}/explanation", tag = "anomalies",
    params(
        ("id" = String, Path),
        ("series" = Option<String>, Query, description = "a series of the incident, as PromQL writes it; the one with the highest score where none is named")),
    responses(
        (status = 200, body = Explanation),
        (status = 404, description = "there is no such incident, or none any more; or its pipeline is gone"),
        (status = 502, description = "its datasource can't be read")))]
pub(super) async fn explanation(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(Which { series }): Params<Which>,
) -> Result<Json<Explanation>, Problem> {
    let missing = || Problem::from(ExplainError::NoIncident(id.clone()));
    let id = crate::api::page::id(&id).ok_or_else(missing)?;
    Ok(Json(explanation::of(&app, id, series.as_deref()).await?))
}
