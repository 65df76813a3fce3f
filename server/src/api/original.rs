//! Pipelines under the paths of the original program, and in its shapes: the documents themselves, nothing around them.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use engine::store::Document;
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::incoming::Posted;
use super::pipelines::{PipelineDocument, found, made, make, patched, put, shown, shown_always, take_out, visible};
use super::problem::Problem;
use crate::app::App;
use crate::auth::Caller;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes {
        viewer: OpenApiRouter::new().routes(routes!(list)).routes(routes!(read)),
        editor: OpenApiRouter::new().routes(routes!(create)).routes(routes!(replace, change, remove)),
        ..Routes::default()
    }
}

/// The documents of all pipelines.
#[utoipa::path(get, path = "/pipelines", tag = "original", responses((status = 200, body = Vec<PipelineDocument>)))]
async fn list(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<Json<Vec<Document>>, Problem> {
    let found = app.store.list().await?.pipelines.into_iter();
    Ok(Json(found.map(|stored| visible(stored, &caller).document).collect()))
}

/// The document of one pipeline.
#[utoipa::path(get, path = "/pipelines/{name}", tag = "original",
    params(("name" = String, Path, description = "Its name"), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = PipelineDocument, headers(("ETag" = String))),
        (status = 304, description = "the version that the reader has"),
        (status = 404, description = "there is none of this name"),
    ))]
async fn read(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(found(&app, &name).await?, &caller);
    Ok(shown(&headers, &stored, || stored.document.clone()))
}

/// Makes a pipeline.
#[utoipa::path(post, path = "/pipelines", tag = "original",
    request_body(content((PipelineDocument = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 201, body = PipelineDocument, headers(("ETag" = String), ("Location" = String))),
        (status = 409, description = "there is one of this name, or the store is only read"),
    ))]
async fn create(State(app): State<App>, posted: Posted) -> Result<Response, Problem> {
    let stored = make(&app, posted).await?;
    Ok(made(&format!("/pipelines/{}", stored.name), &stored, &stored.document))
}

/// Puts a pipeline in the place of the one of its name, or makes it.
#[utoipa::path(put, path = "/pipelines/{name}", tag = "original",
    params(
        ("name" = String, Path, description = "Its name, as in the document"),
        ("If-Match" = Option<String>, Header, description = "The version that is replaced"),
        ("If-None-Match" = Option<String>, Header, description = "`*` where none may be there"),
    ),
    request_body(content((PipelineDocument = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 200, body = PipelineDocument, description = "replaced", headers(("ETag" = String))),
        (status = 201, body = PipelineDocument, description = "made", headers(("ETag" = String), ("Location" = String))),
        (status = 409, description = "the store is only read"),
        (status = 412, description = "it is not as it was expected to be"),
    ))]
async fn replace(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    posted: Posted,
) -> Result<Response, Problem> {
    let (stored, is_new) = put(&app, &name, &headers, posted).await?;
    let document = &stored.document;
    Ok(if is_new { made(&format!("/pipelines/{name}"), &stored, document) } else { shown_always(&stored, document) })
}

/// Changes fields of a pipeline: a JSON Merge Patch, in which `null` takes a field out.
#[utoipa::path(patch, path = "/pipelines/{name}", tag = "original",
    params(
        ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The version that is changed"),
    ),
    request_body(content((PipelineDocument = "application/merge-patch+json"), (PipelineDocument = "application/json"))),
    responses(
        (status = 200, body = PipelineDocument, headers(("ETag" = String))),
        (status = 404, description = "there is none of this name"),
        (status = 409, description = "the store is only read"),
        (status = 412, description = "it is not as it was expected to be"),
    ))]
async fn change(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(patch): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let stored = patched(&app, &name, &headers, &patch).await?;
    Ok(shown_always(&stored, &stored.document))
}

/// Takes a pipeline out.
#[utoipa::path(delete, path = "/pipelines/{name}", tag = "original",
    params(
        ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The version that is taken out"),
    ),
    responses(
        (status = 204, description = "it is gone"),
        (status = 404, description = "there is none of this name"),
        (status = 409, description = "the store is only read"),
        (status = 412, description = "it is not as it was expected to be"),
    ))]
async fn remove(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<StatusCode, Problem> {
    take_out(&app, &name, &headers).await
}
