//! `/api/v1/instances`: the processes that share the database, and the pipelines that each runs.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::page::Page;
use super::problem::Problem;
use crate::app::App;
use crate::database::leases::{self, View};

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { viewer: OpenApiRouter::new().routes(routes!(list)), ..Routes::default() }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Instance {
    /// Its id.
    id: String,
    /// The host that it runs on.
    host: String,
    /// The program's version.
    version: String,
    /// When it began, RFC 3339.
    started_at: String,
    /// When it was last heard of, RFC 3339.
    seen_at: String,
    /// Whether it is the one that answers.
    is_self: bool,
    /// The pipelines that it runs.
    pipelines: Vec<String>,
}

/// The processes that live, in the order in which they began.
#[utoipa::path(get, path = "/api/v1/instances", tag = "service", responses((status = 200, body = Page<Instance>)))]
async fn list(State(app): State<App>) -> Result<Json<Page<Instance>>, Problem> {
    let takeover = app.current().config.takeover;
    let View { holders, .. } = leases::view(&app.database, takeover).await?;
    let instances = leases::instances(&app.database, takeover).await?;
    let held = |id: &str| holders.iter().filter(|(_, holder)| *holder == id).map(|(name, _)| name.clone()).collect();
    let at = |millis| Timestamp::from_millis(millis).to_string();
    let instance = |one: leases::Instance| Instance {
        pipelines: held(&one.id),
        is_self: one.id == app.instance,
        id: one.id,
        host: one.host,
        version: one.version,
        started_at: at(one.started_ms),
        seen_at: at(one.seen_ms),
    };
    Ok(Json(Page { items: instances.into_iter().map(instance).collect(), next: None }))
}
