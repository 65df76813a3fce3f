//! Pipelines that come in: as JSON or YAML, checked, with the place of every mistake.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use engine::Pipeline;
use engine::pipeline::PipelineErrors;
use engine::store::Document;

use super::body::unread;
use super::layers::is_kind;
use super::problem::{Fault, Problem};
use crate::app::{App, Current};
use crate::assembly::{AssemblyError, Trust};

/// What messages call a body.
pub(super) const ORIGIN: &str = "the body";

/// The media types of YAML.
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

/// A body that is text: JSON or YAML.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    is_yaml: bool,
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_yaml = is_yaml(request.headers())?;
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        if bytes.is_empty() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "there is no body; send a document"));
        }
        let text = String::from_utf8(bytes.into()).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Problem::new(StatusCode::BAD_REQUEST, "invalid_body", format!("the body is no UTF-8 at byte {at}"))
        })?;
        Ok(Self { text, is_yaml })
    }
}

fn is_yaml(headers: &HeaderMap) -> Result<bool, Problem> {
    let is_json = |kind: &str| kind == "application/json" || kind.ends_with("+json");
    match headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("unreadable")) {
        _ if YAML.iter().any(|kind| is_kind(headers, kind)) => Ok(true),
        None => Ok(false),
        Some(kind) if is_json(kind.split(';').next().unwrap_or_default().trim()) => Ok(false),
        Some(kind) => {
            let detail = format!("the body is {kind}; send application/json or application/yaml");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
        }
    }
}

/// The document of one pipeline, as it was written, and the pipeline that it is.
#[derive(Debug, Clone)]
pub(super) struct Posted {
    pub(super) document: Document,
    pub(super) pipeline: Pipeline,
}

impl FromRequest<App> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let Text { text, is_yaml } = Text::from_request(request, app).await?;
        let document = if is_yaml { None } else { Some(json(&text)?) };
        let pipeline = Pipeline::parse(&text, ORIGIN).map_err(|errors| Problem::from(&errors))?;
        let document = document.or_else(|| Pipeline::documents(&text).pop()).unwrap_or_default();
        admit(app, &pipeline)?;
        Ok(Self { document, pipeline })
    }
}

/// An object of JSON, its numbers and the order of its keys as they are written.
fn json(text: &str) -> Result<Document, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        let mut problem = Problem::new(status, "invalid_body", "the body is no JSON object");
        let place = [error.line() as u64, error.column() as u64].map(Some);
        problem.errors = vec![fault("", error.to_string(), place)];
        problem
    })
}

/// A fault at a field.
pub(super) fn fault(path: &str, message: impl Into<String>, [line, column]: [Option<u64>; 2]) -> Fault {
    Fault { path: path.into(), message: message.into(), line, column }
}

/// A pipeline that is wrong in one field, where its place isn't known.
pub(super) fn invalid(path: &str, message: impl Into<String>) -> Problem {
    let detail = "the pipeline is not right";
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_pipeline", detail);
    problem.errors = vec![fault(path, message, [None; 2])];
    problem
}

/// Whether a pipeline that comes in by the API finds what it needs here, and may ask what it wants to ask.
pub(super) fn admit(app: &App, pipeline: &Pipeline) -> Result<(), Problem> {
    let Current { config, assembly } = app.current();
    config.check(pipeline).map_err(|reason| invalid("datasource", reason))?;
    assembly.check(pipeline, Trust::Api).map_err(|error| unfit(&error))
}

/// Why a pipeline's parts can't be made: what the caller can mend is told with its field.
pub(super) fn unfit(error: &AssemblyError) -> Problem {
    match error {
        AssemblyError::Model { source, .. } => invalid("model", source.to_string()),
        AssemblyError::Client { .. } | AssemblyError::Datasource { .. } => invalid("datasource", error.to_string()),
        AssemblyError::Egress { field, source, .. } => invalid(field, source.to_string()),
        _ => Problem::internal(error),
    }
}

/// What is wrong with a document, one fault a mistake.
pub(super) fn faults(errors: &PipelineErrors) -> Vec<Fault> {
    Problem::from(errors).errors
}
