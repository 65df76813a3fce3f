//! `/api/v1/silences`: when nothing is judged, and who says so.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use crate::advice::Notice;
use crate::app::App;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { viewer: OpenApiRouter::new().routes(routes!(list)), ..Routes::default() }
}

/// A time at which series are neither scored nor learned from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct SilenceFound {
    /// Who says so: `alertmanager`, `grafana` or `feedback`.
    source: String,
    /// Its id there.
    id: String,
    /// The pipeline that it is about; null where it may be any.
    pipeline: Option<String>,
    /// What a series must fulfil, such as `zone="b"`.
    matchers: Vec<String>,
    /// Its first moment, RFC 3339.
    from: String,
    /// The first moment after it, RFC 3339.
    until: String,
    /// What people wrote to it.
    comment: String,
}

impl From<Notice> for SilenceFound {
    fn from(notice: Notice) -> Self {
        let matchers = notice.conditions();
        let Notice { source, id, from, until, comment, pipeline, .. } = notice;
        let (from, until) = (from.to_string(), until.to_string());
        Self { source: source.to_owned(), id, pipeline, matchers, from, until, comment }
    }
}

/// All silences that were heard of.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Silences {
    /// Those that end last first.
    items: Vec<SilenceFound>,
}

/// When nothing is judged, beside the pipelines' own calendars: what people said as feedback, and what the Alertmanager and
/// the Grafana of the configuration say.
#[utoipa::path(get, path = "/api/v1/silences", tag = "feedback", responses((status = 200, body = Silences)))]
async fn list(State(app): State<App>) -> Json<Silences> {
    let mut notices = app.advice.notices();
    notices.sort_by_key(|notice| std::cmp::Reverse(notice.until));
    Json(Silences { items: notices.into_iter().map(SilenceFound::from).collect() })
}
