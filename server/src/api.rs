//! The HTTP API: one file a resource. A handler is in the group of the least role that may call it.

pub mod anomalies;
mod audit;
pub mod backup;
pub mod body;
pub mod catalogue;
pub mod chart;
pub mod datasources;
mod describe;
mod drifts;
mod etag;
mod execute;
pub mod feedback;
mod incoming;
pub mod instances;
pub mod jobs;
mod keys;
pub mod layers;
mod login;
pub mod models;
mod original;
pub mod outline;
pub mod page;
pub mod params;
mod pipelines;
pub mod problem;
mod query;
pub mod runs;
pub mod serve;
pub mod service;
mod silences;
mod triggers;
mod users;
mod validate;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::auth::{self, Role};

/// The handlers of a resource, by who may call them.
#[derive(Default)]
pub struct Routes {
    /// Anybody, without a credential: health and nothing else.
    pub open: OpenApiRouter<App>,
    /// Whoever may look.
    pub viewer: OpenApiRouter<App>,
    /// Whoever may change pipelines and start jobs.
    pub editor: OpenApiRouter<App>,
    /// Whoever manages users and keys.
    pub admin: OpenApiRouter<App>,
}

impl Routes {
    /// These and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            open: self.open.merge(other.open),
            viewer: self.viewer.merge(other.viewer),
            editor: self.editor.merge(other.editor),
            admin: self.admin.merge(other.admin),
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenAnomaly",
        description = "Finds what is unusual in metrics: pipelines, their runs and incidents, jobs, models and feedback."
    ),
    components(schemas(problem::Problem, crate::jobs::Kind))
)]
struct Document;

/// Every resource. A new one is a file and a line here.
fn resources() -> Routes {
    Routes::default()
        .and(anomalies::routes())
        .and(audit::routes())
        .and(backup::routes())
        .and(catalogue::routes())
        .and(chart::routes())
        .and(crate::page::routes())
        .and(datasources::routes())
        .and(drifts::routes())
        .and(execute::routes())
        .and(feedback::routes())
        .and(instances::routes())
        .and(jobs::routes())
        .and(keys::routes())
        .and(login::routes())
        .and(models::routes())
        .and(original::routes())
        .and(pipelines::routes())
        .and(query::routes())
        .and(runs::routes())
        .and(service::routes())
        .and(silences::routes())
        .and(triggers::routes())
        .and(users::routes())
        .and(validate::routes())
}

/// A time in RFC 3339, of milliseconds since the Unix epoch.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// The whole API, and its description.
pub fn router(app: App) -> (Router, utoipa::openapi::OpenApi) {
    let Routes { open, viewer, editor, admin } = resources();
    let closed = [(viewer, Role::Viewer), (editor, Role::Editor), (admin, Role::Admin)]
        .into_iter()
        .map(|(routes, role)| {
            routes.layer(from_fn(move |request: Request, next: Next| auth::require(role, request, next)))
        })
        .fold(OpenApiRouter::with_openapi(Document::openapi()), OpenApiRouter::merge)
        .layer(from_fn_with_state(app.clone(), auth::audit::audit))
        .layer(from_fn_with_state(app.clone(), auth::identify));
    let (router, document) = closed.merge(open).split_for_parts();
    let document = describe::complete(document);
    let about = describe::routes(document.clone()).layer(from_fn_with_state(app.clone(), auth::identify));
    let router = router.with_state(app.clone()).merge(about);
    (layers::wrap(router, &app), document)
}
