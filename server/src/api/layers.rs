//! What every request passes through, whatever it asks for.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;
use tracing::field::Empty;

use super::problem::Problem;
use crate::app::App;
use crate::{metrics, traces};

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a request that is taken over from its header.
const LONGEST_ID: usize = 128;

/// How much of an error that is no [`Problem`] yet is told.
const LONGEST_DETAIL: usize = 4096;

/// What pages may do: everything comes from this service, and nobody shows it inside another page.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// The id of a request, for handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// The same routes with limits, errors as problems, ids, compression and what browsers are told.
pub(super) fn wrap(router: Router, app: &App) -> Router {
    router
        .fallback(nowhere)
        .layer(from_fn_with_state(app.clone(), limit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(app.clone()))
        .layer(from_fn_with_state(app.clone(), trace))
        .layer(from_fn_with_state(app.clone(), metrics::http::measure))
        .layer(CompressionLayer::new())
}

async fn nowhere(request: Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Problem::internal(&format!("a panic: {}", said.unwrap_or("without words"))).into_response()
}

/// Pages of the configured origins may ask; a reload of the configuration holds at once.
fn cors(app: App) -> CorsLayer {
    let is_allowed = move |origin: &HeaderValue, _: &axum::http::request::Parts| {
        let origins = &app.current().config.cors_origins;
        origins.iter().any(|known| known == "*" || known.as_bytes() == origin.as_bytes())
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            REQUEST_ID,
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, REQUEST_ID])
}

/// Holds a request to the configured size and time. Streams have all the time until the service stops.
async fn limit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let limits = app.current().config.limits.clone();
    DefaultBodyLimit::max(limits.body_bytes).apply(&mut request);
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => until_stopped(response, &app),
        Err(_) => {
            let detail = format!("there was no answer within {:?}", limits.timeout);
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

fn until_stopped(response: Response, app: &App) -> Response {
    if !is_kind(response.headers(), "text/event-stream") {
        return response;
    }
    let stopped = app.stopping.clone().cancelled_owned();
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(stopped)))
}

/// Gives a request its id and its span, and sees that an error is a problem that names the id.
async fn trace(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = given_id(request.headers()).unwrap_or_else(|| app.new_id());
    request.extensions_mut().insert(RequestId(id.clone()));
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = request.method().as_str();
    let span = tracing::info_span!(
        "request",
        request_id = id,
        method,
        path,
        status = Empty,
        took_seconds = Empty,
        otel.kind = "server",
        otel.status_code = Empty
    );
    traces::join(&span, &format!("{method} {path}"), request.headers());
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = with_problem(response, &id).await;
    span.record("status", response.status().as_u16());
    span.record("took_seconds", started.elapsed().as_secs_f64());
    span.in_scope(|| tracing::debug!("answered"));
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    add_headers(response.headers_mut(), &id);
    response
}

/// The id that a request brings, where it is one that may stand in a log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    ((1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_sane)).then(|| id.to_owned())
}

/// The same answer; where it is an error in words only, as frameworks give it, a problem with these words.
async fn with_problem(response: Response, id: &str) -> Response {
    let status = response.status();
    if status.as_u16() < 400 || is_kind(response.headers(), "application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let mut problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None => Problem::new(status, code(status), words(body, status).await),
    };
    problem.request_id = Some(id.to_owned());
    let (told, body) = problem.into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(told.headers);
    Response::from_parts(parts, body)
}

async fn words(body: Body, status: StatusCode) -> String {
    let bytes = to_bytes(body, LONGEST_DETAIL).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if text.is_empty() { status.canonical_reason().unwrap_or("an error").to_lowercase() } else { text }
}

fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        status if status.is_client_error() => "invalid_request",
        _ => "internal",
    }
}

fn add_headers(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Whether the content is of the media type `kind`, with whatever parameters.
pub(super) fn is_kind(headers: &HeaderMap, kind: &str) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|given| given.trim().eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_may_stand_in_a_log_are_taken_over() {
        let long = "a".repeat(LONGEST_ID);
        let too_long = "a".repeat(LONGEST_ID + 1);
        for (given, is_taken) in [
            ("0198f6c2-7d1e", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\tb", false),
        ] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(given).unwrap())]);
            assert_eq!(given_id(&headers).is_some(), is_taken, "{given}");
        }
        assert_eq!(given_id(&HeaderMap::new()), None);
    }
}
