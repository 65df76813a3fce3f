//! What comes in: bodies whose faults are told by their path.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::{Fault, Problem};

/// A JSON body.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        if !kind.starts_with("application/json") && !kind.contains("+json") {
            let detail = format!("the body is {kind}; send application/json");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(&mut json).map(Self).map_err(|error| {
            let path = Some(error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
            let error = error.into_inner();
            let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            let mut problem = Problem::new(status, "invalid_body", "the body is not as it should be");
            let (line, column) = (Some(error.line() as u64), Some(error.column() as u64));
            problem.errors = vec![Fault { path, message: error.to_string(), line, column }];
            problem
        })
    }
}

/// A body that could not be read to its end.
pub(super) fn unread(error: &BytesRejection) -> Problem {
    let is_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
    Problem::new(error.status(), if is_large { "too_large" } else { "invalid_request" }, error.body_text())
}
