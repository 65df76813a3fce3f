//! `/api/v1/keys`: keys for machines.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::page::Page;
use super::params::optional_time;
use super::problem::Problem;
use crate::app::App;
use crate::auth::keys::{self, KeyError, NewKey};
use crate::auth::{Caller, Role};
use crate::database::api_keys::{self, ApiKey};

/// The routes.
pub(super) fn routes() -> Routes {
    let admin = OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke));
    Routes { admin, ..Routes::default() }
}

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct KeyView {
    /// What stands in the key itself.
    id: String,
    /// What people call it.
    name: String,
    /// What its holder may do.
    role: Role,
    /// How many requests a second it may make on average, where that is not what holds for all.
    requests_per_second: Option<f64>,
    /// When it was made, in RFC 3339.
    created: String,
    /// Who made it.
    created_by: String,
    /// From when on it is void.
    expires: Option<String>,
    /// When it was last used, to a quarter of a minute.
    used: Option<String>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            role: key.role,
            requests_per_second: key.requests_per_second,
            created: super::time(key.created_ms),
            created_by: key.created_by,
            expires: key.expires_ms.map(super::time),
            used: key.used_ms.map(super::time),
        }
    }
}

/// A key that is to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyWish {
    /// What people call it: letters, digits, `.`, `_`, `@` and `-`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@-]+$")]
    name: String,
    /// What its holder may do.
    role: Role,
    /// From when on it is void, in RFC 3339.
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    expires: Option<Timestamp>,
    /// How many requests a second it may make on average; it may make ten times as many at once.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1_000_000)]
    requests_per_second: Option<f64>,
}

/// A key that was made.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct NewKeyView {
    /// The key. Nobody can see it again.
    key: String,
    /// All else.
    #[serde(flatten)]
    about: KeyView,
}

/// All keys.
#[utoipa::path(get, path = "/api/v1/keys", tag = "access", responses((status = 200, body = Page<KeyView>)))]
async fn list(State(app): State<App>) -> Result<Json<Page<KeyView>>, Problem> {
    app.auth.keys.write_uses(&app.database).await?;
    let items = api_keys::list(&app.database).await?.into_iter().map(KeyView::from).collect();
    Ok(Json(Page { items, next: None }))
}

/// Makes a key, and shows it this once.
#[utoipa::path(post, path = "/api/v1/keys", tag = "access", responses(
    (status = 201, body = NewKeyView),
    (status = 409, description = "there is one of this name"),
))]
async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(wish): Body<KeyWish>,
) -> Result<Response, Problem> {
    let new = NewKey {
        name: wish.name,
        role: wish.role,
        expires_ms: wish.expires.map(Timestamp::millis),
        requests_per_second: wish.requests_per_second,
    };
    let (key, row) = keys::create(&app.database, new, &caller.name, app.now()).await?;
    app.auth.changed();
    let view = NewKeyView { key, about: row.into() };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Revokes a key: in this process at once, in others within two seconds.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "access",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "it is void"), (status = 404, description = "there is none of this id")))]
async fn revoke(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if !keys::is_id(&id) || !api_keys::delete(&app.database, &id).await? {
        return Err(Problem::not_found(format!("there is no key with the id `{id}`")));
    }
    app.auth.keys.forget(&id);
    app.auth.changed();
    Ok(StatusCode::NO_CONTENT)
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Invalid(reason) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_key", reason),
            KeyError::Exists(_) => Self::new(StatusCode::CONFLICT, "already_exists", error.to_string()),
            KeyError::Database(error) => error.into(),
        }
    }
}
