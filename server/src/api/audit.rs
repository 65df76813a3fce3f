//! `/api/v1/audit`: who changed what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tsdb::Timestamp;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::page::{Cursor, Limit, Page};
use super::params::{Params, optional_time};
use super::problem::Problem;
use crate::app::App;
use crate::database::audit_log::{self, Filter, Record};

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { admin: OpenApiRouter::new().routes(routes!(list)), ..Routes::default() }
}

/// One change, or one that was refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct AuditRecord {
    /// Its id.
    id: String,
    /// When, in RFC 3339.
    time: String,
    /// Who: a user's name, or `key:` and a key's, `oidc:` and a subject, `admin-key`, `anonymous`, `?`.
    actor: String,
    /// What was done: a method, and the route.
    action: String,
    /// To what.
    subject: String,
    /// How it ended: a status, and an error's code.
    detail: String,
    /// From which address.
    address: String,
    /// The request's id.
    request_id: String,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Of whom.
    actor: Option<String>,
    /// About what, such as `/api/v1/pipelines/cpu`, or what lies below it.
    subject: Option<String>,
    /// Not before this time, in RFC 3339.
    #[serde(deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time, in RFC 3339.
    #[serde(deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "access", params(Wanted),
    responses((status = 200, body = Page<AuditRecord>)))]
async fn list(State(app): State<App>, Params(wanted): Params<Wanted>) -> Result<Json<Page<AuditRecord>>, Problem> {
    let limit = wanted.limit;
    let (actor, subject) = (wanted.actor.unwrap_or_default(), wanted.subject.unwrap_or_default());
    if [&actor, &subject].iter().any(|text| text.contains('\0')) {
        return Err(Problem::invalid("`actor` and `subject` are texts without null characters"));
    }
    let filter = Filter {
        actor,
        subject,
        from_ms: wanted.since.map(Timestamp::millis),
        until_ms: wanted.until.map(Timestamp::millis),
        before: wanted.cursor.map(|cursor| (cursor.at_ms, cursor.id)),
    };
    let found = audit_log::list(&app.database, &filter, limit.rows()).await?;
    let page = Page::of(found, limit, |record| Cursor { at_ms: record.at_ms, id: record.id.clone() });
    Ok(Json(page.map(AuditRecord::from)))
}

impl From<Record> for AuditRecord {
    fn from(record: Record) -> Self {
        let Record { id, at_ms, actor, action, subject, detail, address, request_id } = record;
        Self { id, time: super::time(at_ms), actor, action, subject, detail, address, request_id }
    }
}
