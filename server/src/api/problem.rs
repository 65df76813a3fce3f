//! Errors as `application/problem+json` (RFC 9457), each with a stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use engine::pipeline::PipelineErrors;
use engine::store::StoreError;

use crate::auth::Role;
use crate::database::DatabaseError;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The status code of the answer.
    pub status: u16,
    /// What went wrong, as a word that never changes.
    pub code: &'static str,
    /// The same, for people.
    pub title: &'static str,
    /// This case of it, for people.
    pub detail: String,
    /// What is wrong in the body, all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// The request's id, which the header `x-request-id` has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// After how many seconds it may be tried again, for the header `retry-after`.
    #[serde(skip)]
    pub retry_after_seconds: Option<u32>,
}

/// One thing that is wrong in a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Where in the document, such as `anomaly.threshold`; empty where the whole is meant.
    pub path: String,
    /// What was found, and what is allowed.
    pub message: String,
    /// The line, from 1, where the document is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl Problem {
    /// A problem with a status, a code and what happened.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            status: status.as_u16(),
            code,
            title,
            detail: detail.into(),
            errors: vec![],
            request_id: None,
            retry_after_seconds: None,
        }
    }

    /// What was asked for is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// The request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// Something that isn't the caller's fault. What exactly goes to the log.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!("a request failed: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed; its log says why")
    }

    /// A credential is needed.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "send an API key or a token: Authorization: Bearer …")
    }

    /// It was too often; `wait` is to pass before the next time.
    pub fn too_many(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u32;
        let detail = format!("these are too many requests; wait {seconds} s");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail);
        Self { retry_after_seconds: Some(seconds), ..problem }
    }

    /// The credential doesn't reach.
    pub fn forbidden(role: Role) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("this needs the role {}", role.name()))
    }
}

impl From<&PipelineErrors> for Problem {
    fn from(errors: &PipelineErrors) -> Self {
        let fault = |error: &engine::pipeline::PipelineError| Fault {
            path: error.field.clone(),
            message: error.message.clone(),
            line: (error.place.line > 0).then_some(error.place.line),
            column: (error.place.line > 0).then_some(error.place.column),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_pipeline", "the pipeline is not right");
        problem.errors = errors.errors().iter().map(fault).collect();
        problem
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Invalid(errors) => return errors.into(),
            StoreError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
            StoreError::ReadOnly { .. } => (StatusCode::CONFLICT, "read_only"),
            StoreError::Missing { .. } => (StatusCode::NOT_FOUND, "not_found"),
            StoreError::Conflict { .. } => (StatusCode::PRECONDITION_FAILED, "conflict"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.clone())).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        // Whoever knows the request's id puts it in.
        response.extensions_mut().insert(self);
        response
    }
}
