//! `/api/v1/login`, `/api/v1/logout` and `/api/v1/me`.

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::layers::RequestId;
use super::problem::Problem;
use crate::app::App;
use crate::auth::credential::set_cookie;
use crate::auth::{Caller, Peer, Role, audit, origin, users};
use crate::database::users as rows;

/// The routes.
pub(super) fn routes() -> Routes {
    let viewer = OpenApiRouter::new().routes(routes!(me)).routes(routes!(logout)).routes(routes!(change_password));
    Routes { open: OpenApiRouter::new().routes(routes!(login)), viewer, ..Routes::default() }
}

/// Who wants in.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The user's name.
    name: String,
    /// Their password.
    password: String,
}

/// A login that has succeeded.
#[derive(Clone, Serialize, ToSchema)]
struct LoggedIn {
    /// To be sent as `Authorization: Bearer …`; a browser has it as a cookie.
    token: String,
    /// How many seconds it lasts.
    expires_in: u64,
    /// The user's name.
    name: String,
    /// What they may do.
    role: Role,
}

/// Who asks.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Me {
    /// A user's name, or `key:` and a key's, `oidc:` and a subject, `admin-key`, `anonymous`.
    name: String,
    /// What they may do.
    role: Role,
}

/// Another password.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The password of now.
    old: String,
    /// The one that takes its place.
    #[schema(min_length = 12, max_length = 1024)]
    new: String,
}

/// Gives a token, and to a browser a cookie with it, for a name and a password.
#[utoipa::path(post, path = "/api/v1/login", tag = "access",
    responses((status = 200, body = LoggedIn), (status = 401, description = "the name or the password is wrong")))]
async fn login(
    State(app): State<App>,
    peer: Peer,
    OriginalUri(uri): OriginalUri,
    id: Option<Extension<RequestId>>,
    headers: HeaderMap,
    Body(Login { name, password }): Body<Login>,
) -> Result<Response, Problem> {
    let (config, id) = (app.current().config, id.map(|Extension(RequestId(id))| id).unwrap_or_default());
    origin::check(&Method::POST, &uri, &headers, &config.cors_origins)?;
    app.auth.may_try(&peer.counted())?;
    // What can be no name or no password takes as long as what can, and is not remembered.
    let is_possible = users::check_name(&name).is_ok() && password.len() <= users::MOST_PASSWORD;
    let (user, password) = if is_possible {
        app.auth.may_try(&format!("user:{name}"))?;
        (rows::get(&app.database, &name).await?, password)
    } else {
        (None, String::new())
    };
    let is_right = app.auth.hasher.is_right(&password, user.as_ref().map(|user| user.password_hash.as_str())).await;
    let known = user.as_ref().map(|user| user.name.as_str());
    let Some(user) = user.as_ref().filter(|_| is_right) else {
        audit::login(&app, known, peer, &id, "401 unauthorized").await;
        let detail = "the name or the password is wrong";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
    };
    audit::login(&app, known, peer, &id, "200").await;
    let (length, is_secure) = (config.auth.session, config.tls.is_some() || is_forwarded_https(&headers));
    let token = app.auth.sessions.token(user, app.now(), length);
    let cookie = set_cookie(&token, length.as_secs(), is_secure);
    let body = LoggedIn { token, expires_in: length.as_secs(), name: user.name.clone(), role: user.role };
    Ok(([(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".into())], Json(body)).into_response())
}

/// Whether a proxy says that it is asked over TLS. Who says so wrongly gets a cookie that is no use to them.
fn is_forwarded_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

/// Takes the cookie of a browser away.
#[utoipa::path(post, path = "/api/v1/logout", tag = "access", responses((status = 204, description = "it is gone")))]
async fn logout(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let is_secure = app.current().config.tls.is_some() || is_forwarded_https(&headers);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie("", 0, is_secure))])
}

/// Who asks, and what they may do.
#[utoipa::path(get, path = "/api/v1/me", tag = "access", responses((status = 200, body = Me)))]
async fn me(Extension(Caller { name, role }): Extension<Caller>) -> Json<Me> {
    Json(Me { name, role })
}

/// Changes the password of the user who asks, and ends their tokens.
#[utoipa::path(post, path = "/api/v1/me/password", tag = "access", responses(
    (status = 204, description = "it is changed"),
    (status = 409, description = "who asks is no user with a password, or the old password is wrong"),
))]
async fn change_password(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(PasswordChange { old, new }): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let conflict = |detail: &str| Problem::new(StatusCode::CONFLICT, "no_such_password", detail);
    let user = rows::get(&app.database, &caller.name).await?;
    let user = user.ok_or_else(|| conflict("only users who log in with a password can change it"))?;
    app.auth.may_try(&format!("user:{}", user.name))?;
    if !app.auth.hasher.is_right(&old, Some(&user.password_hash)).await {
        return Err(conflict("the old password is wrong"));
    }
    users::set_password(&app.database, &app.auth.hasher, (&user.name, &new), app.now()).await?;
    app.auth.sessions.forget(&user.name);
    Ok(StatusCode::NO_CONTENT)
}
