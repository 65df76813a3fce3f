//! Pipelines: made, read, changed and taken out.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::Pipeline;
use engine::store::{Document, Expected, StoreError, Stored};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::incoming::{ORIGIN, Posted, admit, faults, invalid};
use super::problem::{Fault, Problem};
use super::{Routes, etag};
use crate::app::App;
use crate::auth::{Caller, Role, redact};
use crate::daemon::status::PipelineStatus;

/// How often a change that names no version is made again after somebody else's came in between.
const ATTEMPTS: usize = 4;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes {
        viewer: OpenApiRouter::new().routes(routes!(list)).routes(routes!(read)),
        editor: OpenApiRouter::new().routes(routes!(create)).routes(routes!(replace, change, remove)),
        ..Routes::default()
    }
}

/// A pipeline, what is known of it, and how it goes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct PipelineView {
    /// Its name.
    name: String,
    /// Its document, as it was written.
    #[schema(value_type = Object)]
    document: Document,
    /// The document's version, which is its `ETag`.
    version: String,
    /// Where it is kept.
    origin: String,
    /// Whether it is kept where the API changes nothing.
    read_only: bool,
    /// How it goes, where it runs.
    status: Option<PipelineStatus>,
    /// What is wrong with the document.
    errors: Vec<Fault>,
}

impl PipelineView {
    pub(super) fn of(app: &App, stored: &Stored) -> Self {
        let mut statuses = app.status.health().pipelines;
        Self {
            status: statuses.remove(&stored.name),
            errors: stored.checked.as_ref().err().map(faults).unwrap_or_default(),
            name: stored.name.clone(),
            document: stored.document.clone(),
            version: stored.version.as_str().into(),
            origin: stored.origin.clone(),
            read_only: stored.is_read_only,
        }
    }
}

/// Pipelines, a page of them.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Pipelines {
    items: Vec<PipelineView>,
    /// Where the next page begins; there is only one.
    next: Option<String>,
}

/// What is put into the place of a pipeline, or of a part of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(value_type = Object, as = PipelineDocument)]
pub(super) struct PipelineDocument(Map<String, Value>);

/// All pipelines.
#[utoipa::path(get, path = "/api/v1/pipelines", tag = "pipelines", responses((status = 200, body = Pipelines)))]
async fn list(State(app): State<App>, Extension(caller): Extension<Caller>) -> Result<Json<Pipelines>, Problem> {
    let found = app.store.list().await?.pipelines.into_iter().map(|stored| visible(stored, &caller));
    Ok(Json(Pipelines { items: found.map(|stored| PipelineView::of(&app, &stored)).collect(), next: None }))
}

/// One pipeline.
#[utoipa::path(get, path = "/api/v1/pipelines/{name}", tag = "pipelines",
    params(("name" = String, Path, description = "Its name"), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = PipelineView, headers(("ETag" = String))),
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
    Ok(shown(&headers, &stored, || PipelineView::of(&app, &stored)))
}

/// Makes a pipeline.
#[utoipa::path(post, path = "/api/v1/pipelines", tag = "pipelines",
    request_body(content((PipelineDocument = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 201, body = PipelineView, headers(("ETag" = String), ("Location" = String))),
        (status = 409, description = "there is one of this name, or the store is only read"),
    ))]
async fn create(State(app): State<App>, posted: Posted) -> Result<Response, Problem> {
    let stored = make(&app, posted).await?;
    Ok(made(&format!("/api/v1/pipelines/{}", stored.name), &stored, PipelineView::of(&app, &stored)))
}

/// Puts a pipeline in the place of the one of its name, or makes it.
#[utoipa::path(put, path = "/api/v1/pipelines/{name}", tag = "pipelines",
    params(
        ("name" = String, Path, description = "Its name, as in the document"),
        ("If-Match" = Option<String>, Header, description = "The version that is replaced"),
        ("If-None-Match" = Option<String>, Header, description = "`*` where none may be there"),
    ),
    request_body(content((PipelineDocument = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 200, body = PipelineView, description = "replaced", headers(("ETag" = String))),
        (status = 201, body = PipelineView, description = "made", headers(("ETag" = String), ("Location" = String))),
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
    let view = PipelineView::of(&app, &stored);
    Ok(if is_new { made(&format!("/api/v1/pipelines/{name}"), &stored, view) } else { shown_always(&stored, view) })
}

/// Changes fields of a pipeline: a JSON Merge Patch, in which `null` takes a field out.
#[utoipa::path(patch, path = "/api/v1/pipelines/{name}", tag = "pipelines",
    params(
        ("name" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The version that is changed"),
    ),
    request_body(content((PipelineDocument = "application/merge-patch+json"), (PipelineDocument = "application/json"))),
    responses(
        (status = 200, body = PipelineView, headers(("ETag" = String))),
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
    Ok(shown_always(&stored, PipelineView::of(&app, &stored)))
}

/// Takes a pipeline out.
#[utoipa::path(delete, path = "/api/v1/pipelines/{name}", tag = "pipelines",
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

/// The pipeline `name`.
pub(super) async fn found(app: &App, name: &str) -> Result<Stored, Problem> {
    app.store.get(name).await?.ok_or_else(|| StoreError::Missing { name: name.into() }.into())
}

/// A pipeline as `caller` may see it: who may not change it sees no secrets in it.
pub(super) fn visible(mut stored: Stored, caller: &Caller) -> Stored {
    if caller.role < Role::Editor {
        redact::document(&mut stored.document);
    }
    stored
}

/// Stores a pipeline that must not be there yet.
pub(super) async fn make(app: &App, posted: Posted) -> Result<Stored, Problem> {
    let name = &posted.pipeline.name;
    let taken = || {
        let detail = format!("there is a pipeline `{name}` already; PUT changes it");
        Problem::new(StatusCode::CONFLICT, "already_exists", detail)
    };
    if app.store.get(name).await?.is_some() {
        return Err(taken());
    }
    app.store.put(posted.document, &Expected::Absent).await.map_err(|error| match error {
        StoreError::Conflict { .. } => taken(),
        other => other.into(),
    })
}

/// Stores a pipeline under the name in its path; says whether it is a new one.
pub(super) async fn put(app: &App, name: &str, headers: &HeaderMap, posted: Posted) -> Result<(Stored, bool), Problem> {
    agree(name, &posted.pipeline)?;
    let before = app.store.get(name).await?;
    let expected = etag::expected(headers, before.as_ref())?;
    let stored = app.store.put(posted.document, &expected).await?;
    Ok((stored, before.is_none()))
}

fn agree(name: &str, pipeline: &Pipeline) -> Result<(), Problem> {
    let message = || format!("found `{}`; the path says `{name}`, and a pipeline keeps its name", pipeline.name);
    if pipeline.name == name { Ok(()) } else { Err(invalid("name", message())) }
}

/// Stores a pipeline with some of its fields changed.
pub(super) async fn patched(
    app: &App,
    name: &str,
    headers: &HeaderMap,
    patch: &Map<String, Value>,
) -> Result<Stored, Problem> {
    for attempt in 1.. {
        let before = found(app, name).await?;
        if before.is_read_only {
            return Err(StoreError::ReadOnly { name: name.into(), origin: before.origin }.into());
        }
        let is_free = etag::expected(headers, Some(&before))? == Expected::Anything;
        let document = merged(before.document, patch);
        let pipeline = Pipeline::from_document(&document, ORIGIN).map_err(|errors| without_places(&errors))?;
        agree(name, &pipeline)?;
        admit(app, &pipeline)?;
        match app.store.put(document, &Expected::Version(before.version)).await {
            Err(StoreError::Conflict { .. }) if is_free && attempt < ATTEMPTS => {}
            outcome => return Ok(outcome?),
        }
    }
    unreachable!("the last attempt returns")
}

/// The places are those of the changed document, which the caller has never seen.
fn without_places(errors: &engine::pipeline::PipelineErrors) -> Problem {
    let mut problem = Problem::from(errors);
    problem.errors.iter_mut().for_each(|fault| (fault.line, fault.column) = (None, None));
    problem
}

/// `document` with `patch` merged into it (RFC 7396).
fn merged(mut document: Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    for (key, value) in patch {
        let value = match value {
            Value::Null => {
                document.shift_remove(key);
                continue;
            }
            Value::Object(patch) => {
                let before = document.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
                Value::Object(merged(before, patch))
            }
            other => other.clone(),
        };
        document.insert(key.clone(), value);
    }
    document
}

/// Takes the pipeline `name` out of its store.
pub(super) async fn take_out(app: &App, name: &str, headers: &HeaderMap) -> Result<StatusCode, Problem> {
    let before = found(app, name).await?;
    let expected = etag::expected(headers, Some(&before))?;
    app.store.delete(name, &expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A pipeline that was asked for, unless the reader has it.
pub(super) fn shown<T: Serialize>(headers: &HeaderMap, stored: &Stored, body: impl FnOnce() -> T) -> Response {
    if etag::is_known(headers, stored) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag::of(stored))]).into_response();
    }
    shown_always(stored, body())
}

/// A pipeline and its version.
pub(super) fn shown_always<T: Serialize>(stored: &Stored, body: T) -> Response {
    ([(header::ETAG, etag::of(stored))], Json(body)).into_response()
}

/// A pipeline that is new, and where it is.
pub(super) fn made<T: Serialize>(path: &str, stored: &Stored, body: T) -> Response {
    let path = HeaderValue::from_str(path).expect("a pipeline's name has no other characters");
    (StatusCode::CREATED, [(header::LOCATION, path)], shown_always(stored, body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_follows_the_examples_of_the_rfc() {
        for (before, patch, after) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let map = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
            let text = Value::Object(merged(map(before), &map(patch))).to_string();
            assert_eq!(text, after, "{before} and {patch}");
        }
    }
}
