//! Who changed what: every request that may change something, once it is done or refused.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::{Caller, Peer};
use crate::api::layers::RequestId;
use crate::api::problem::Problem;
use crate::app::App;
use crate::database::audit_log::{self, Record};

/// What is sent by methods that change something, and changes nothing that the service keeps.
const CHANGES_NOTHING: [&str; 7] = [
    "/execute/",
    "/api/v1/execute/",
    "/api/v1/labels",
    "/api/v1/query",
    "/api/v1/series",
    "/api/v1/validate",
    "/api/v1/write",
];

/// Writes down what a request has done.
pub async fn audit(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_change = !request.method().is_safe() && !CHANGES_NOTHING.iter().any(|start| path.starts_with(start));
    if !is_change {
        return next.run(request).await;
    }
    let mut record = record(&app, &request);
    let response = next.run(request).await;
    let status = response.status();
    if status.is_success() || status == StatusCode::FORBIDDEN {
        record.detail = outcome(&response);
        write(&app, record).await;
    }
    response
}

/// What a request is about to do.
fn record(app: &App, request: &Request) -> Record {
    let extensions = request.extensions();
    let path = extensions.get::<MatchedPath>().map_or(request.uri().path(), MatchedPath::as_str);
    Record {
        id: app.new_id(),
        at_ms: app.now().millis(),
        actor: extensions.get::<Caller>().map(|caller| caller.name.clone()).unwrap_or_default(),
        action: format!("{} {path}", request.method()),
        subject: request.uri().path().to_owned(),
        detail: String::new(),
        address: Peer::of(extensions).to_string(),
        request_id: extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
    }
}

/// Writes down a login, or an attempt at one. Whoever is not known is `?`: what was typed may have been a password.
pub async fn login(app: &App, name: Option<&str>, peer: Peer, request_id: &str, detail: &str) {
    let path = "/api/v1/login".to_owned();
    let record = Record {
        id: app.new_id(),
        at_ms: app.now().millis(),
        actor: name.unwrap_or("?").to_owned(),
        action: format!("{} {path}", Method::POST),
        subject: path,
        detail: detail.to_owned(),
        address: peer.to_string(),
        request_id: request_id.to_owned(),
    };
    write(app, record).await;
}

fn outcome(response: &Response) -> String {
    let code = response.extensions().get::<Problem>().map(|problem| format!(" {}", problem.code));
    format!("{}{}", response.status().as_u16(), code.unwrap_or_default())
}

async fn write(app: &App, record: Record) {
    if let Err(error) = audit_log::insert(&app.database, &record).await {
        let Record { actor, action, subject, detail, .. } = record;
        tracing::error!(actor, action, subject, detail, "a change is not in the audit log: {error}");
    }
}
