//! What a pipeline can name: the models that the program knows, for whoever writes one.

use axum::Json;
use models::{DEFAULT, Entry, MODELS};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { viewer: OpenApiRouter::new().routes(routes!(catalogue)), ..Routes::default() }
}

/// What a pipeline can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct Catalogue {
    /// The models that run in this process, or are reached from it.
    models: Vec<ModelEntry>,
}

/// A model that a pipeline can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct ModelEntry {
    /// Its id, for `model.id`.
    id: &'static str,
    /// What it does, in a line.
    summary: &'static str,
    /// Whether it is used where a pipeline names none.
    is_default: bool,
    /// What can be set under `model.parameters`.
    parameters: Vec<ModelParameter>,
}

/// A parameter of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct ModelParameter {
    /// Its key.
    name: &'static str,
    /// What holds where it is not set.
    default: &'static str,
    /// What it does, and in which units.
    meaning: &'static str,
}

/// The models that a pipeline can name, and what can be set.
#[utoipa::path(get, path = "/api/v1/catalogue", tag = "catalogue", responses((status = 200, body = Catalogue)))]
async fn catalogue() -> Json<Catalogue> {
    Json(Catalogue { models: MODELS.iter().map(describe).collect() })
}

fn describe(entry: &Entry) -> ModelEntry {
    let parameter =
        |one: &models::Parameter| ModelParameter { name: one.name, default: one.default, meaning: one.meaning };
    ModelEntry {
        id: entry.id,
        summary: entry.summary,
        is_default: entry.id == DEFAULT,
        parameters: entry.parameters.iter().map(parameter).collect(),
    }
}
