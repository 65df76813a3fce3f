//! `/api/v1/users`: people who log in with a password.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::page::Page;
use super::problem::Problem;
use crate::app::App;
use crate::auth::Role;
use crate::auth::users::{self, UserError};
use crate::database::users as rows;

/// The routes.
pub(super) fn routes() -> Routes {
    let admin = OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(change, remove));
    Routes { admin, ..Routes::default() }
}

/// A user.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct UserView {
    /// Their name.
    name: String,
    /// What they may do.
    role: Role,
    /// When they were added, in RFC 3339.
    created: String,
    /// When their password was set.
    changed: String,
}

impl From<rows::User> for UserView {
    fn from(user: rows::User) -> Self {
        let (created, changed) = (super::time(user.created_ms), super::time(user.changed_ms));
        Self { name: user.name, role: user.role, created, changed }
    }
}

/// A user who is to be added.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserWish {
    /// Their name: letters, digits, `.`, `_`, `@` and `-`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@-]+$")]
    name: String,
    /// Their password.
    #[schema(min_length = 12, max_length = 1024)]
    password: String,
    /// What they may do.
    role: Role,
}

/// What is to be changed of a user.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// Another password, which ends their tokens.
    #[schema(min_length = 12, max_length = 1024, nullable = false)]
    password: Option<String>,
    /// What they may do from now on.
    #[schema(nullable = false)]
    role: Option<Role>,
}

/// All users.
#[utoipa::path(get, path = "/api/v1/users", tag = "access", responses((status = 200, body = Page<UserView>)))]
async fn list(State(app): State<App>) -> Result<Json<Page<UserView>>, Problem> {
    let items = rows::list(&app.database).await?.into_iter().map(UserView::from).collect();
    Ok(Json(Page { items, next: None }))
}

/// Adds a user.
#[utoipa::path(post, path = "/api/v1/users", tag = "access", responses(
    (status = 201, body = UserView),
    (status = 409, description = "there is one of this name"),
))]
async fn create(State(app): State<App>, Body(wish): Body<UserWish>) -> Result<(StatusCode, Json<UserView>), Problem> {
    let pair = (wish.name.as_str(), wish.password.as_str());
    let user = users::add(&app.database, &app.auth.hasher, pair, wish.role, app.now()).await?;
    app.auth.changed();
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// Changes the password or the role of a user.
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "access",
    params(("name" = String, Path, description = "Their name")),
    responses((status = 200, body = UserView), (status = 404, description = "there is none of this name")))]
async fn change(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(change): Body<UserChange>,
) -> Result<Json<UserView>, Problem> {
    if let Some(password) = &change.password {
        users::set_password(&app.database, &app.auth.hasher, (&name, password), app.now()).await?;
    }
    if let Some(role) = change.role {
        users::set_role(&app.database, &name, role).await?;
    }
    app.auth.sessions.forget(&name);
    let user = rows::get(&app.database, &name).await?.ok_or(UserError::Missing(name))?;
    Ok(Json(user.into()))
}

/// Removes a user, and ends their tokens.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "access",
    params(("name" = String, Path, description = "Their name")),
    responses((status = 204, description = "they are gone"), (status = 404, description = "there is none of this name")))]
async fn remove(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    users::remove(&app.database, &name).await?;
    app.auth.sessions.forget(&name);
    app.auth.changed();
    Ok(StatusCode::NO_CONTENT)
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(reason) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_user", reason),
            UserError::Exists(_) => Self::new(StatusCode::CONFLICT, "already_exists", error.to_string()),
            UserError::Missing(_) => Self::not_found(error.to_string()),
            UserError::Database(error) => error.into(),
        }
    }
}
