//! Whether a document is right: all that is wrong with it at once, each with its place.

use axum::Json;
use axum::extract::State;
use engine::Pipeline;
use engine::pipeline::PipelineErrors;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::incoming::{ORIGIN, Text, admit, fault, faults};
use super::pipelines::PipelineDocument;
use super::problem::{Fault, Problem};
use crate::app::App;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { viewer: OpenApiRouter::new().routes(routes!(validate)), ..Routes::default() }
}

/// What was found in a document.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Verdict {
    /// Whether it could be run as it is.
    valid: bool,
    /// What is wrong with it, in the document's order.
    errors: Vec<Fault>,
    /// The names of its pipelines that are right.
    pipelines: Vec<String>,
}

/// Checks a document of one or more pipelines, as a file would be checked, and whether what they need is here.
/// Nothing is stored.
#[utoipa::path(post, path = "/api/v1/validate", tag = "pipelines",
    request_body(content((PipelineDocument = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = Verdict)))]
async fn validate(State(app): State<App>, Text { text, .. }: Text) -> Json<Verdict> {
    let mut verdict = Verdict { valid: false, errors: vec![], pipelines: vec![] };
    for outcome in Pipeline::parse_all(&text, ORIGIN) {
        match checked(&app, outcome) {
            Ok(name) => verdict.pipelines.push(name),
            Err(errors) => verdict.errors.extend(errors),
        }
    }
    if verdict.errors.is_empty() && verdict.pipelines.is_empty() {
        verdict.errors.push(fault("", "holds no pipeline; expected one with `name` and `query`", [None; 2]));
    }
    verdict.valid = verdict.errors.is_empty();
    Json(verdict)
}

/// The name of a pipeline that is right and finds what it needs.
fn checked(app: &App, outcome: Result<Pipeline, PipelineErrors>) -> Result<String, Vec<Fault>> {
    let pipeline = outcome.map_err(|errors| faults(&errors))?;
    admit(app, &pipeline).map_err(|Problem { errors, .. }| errors)?;
    Ok(pipeline.name)
}
