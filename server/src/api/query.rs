//! The embedded store as if it were a Prometheus: enough for Grafana, and for whoever writes to one.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::pipeline::duration;
use serde::Serialize;
use serde_json::{Map, Value};
use tsdb::embedded::{Embedded, is_scalar};
use tsdb::prometheus::answer::{Outcome, Refusal, Success};
use tsdb::prometheus::decode::write_request;
use tsdb::{Labels, Limits, RangeQuery, Read, ReadError, ReadFault, Step, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::layers::is_kind;
use crate::app::App;

/// Points of one series in an answer, as in Prometheus.
const MOST_POINTS: usize = 11_000;

/// Series in an answer.
const MOST_SERIES: usize = 10_000;

/// How much larger than a body may be what it unpacks to.
const UNPACKED: usize = 8;

const LIMITS: Limits = Limits { series: MOST_SERIES, samples: 20_000_000, bytes: 1 << 30 };

/// The routes.
pub(super) fn routes() -> Routes {
    Routes {
        viewer: OpenApiRouter::new()
            .routes(routes!(query))
            .routes(routes!(query_range))
            .routes(routes!(series))
            .routes(routes!(labels))
            .routes(routes!(values)),
        editor: OpenApiRouter::new().routes(routes!(write)),
        ..Routes::default()
    }
}

/// An answer in Prometheus's shape.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "it only describes what is answered")]
struct PrometheusAnswer {
    status: String,
    data: Value,
}

/// A refusal in Prometheus's shape.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes what is answered")]
struct PrometheusError {
    status: String,
    error_type: String,
    error: String,
}

/// Why a request is not answered, as Prometheus says it.
struct Refused(StatusCode, Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn bad(message: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, Refusal::new("bad_data", message))
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        match error.fault {
            ReadFault::Query { kind, message } if kind == "bad_data" => bad(message),
            ReadFault::Local(message) => {
                tracing::error!("the embedded store failed: {message}");
                Self(StatusCode::INTERNAL_SERVER_ERROR, Refusal::new("internal", message))
            }
            fault => Self(StatusCode::UNPROCESSABLE_ENTITY, Refusal::new("execution", fault.to_string())),
        }
    }
}

/// The parameters of a request, from its address and, where it is a form, its body.
struct Params(Vec<(String, String)>);

impl FromRequest<App> for Params {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let read = |uri: &axum::http::Uri| Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(mut pairs) = read(request.uri()).map_err(|error| bad(error.body_text()))?;
        if is_kind(request.headers(), "application/x-www-form-urlencoded") {
            let form = axum::Form::<Vec<(String, String)>>::from_request(request, app).await;
            pairs.extend(form.map_err(|error| bad(error.body_text()))?.0);
        }
        Ok(Self(pairs))
    }
}

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn needed(&self, name: &str) -> Result<&str, Refused> {
        self.get(name).ok_or_else(|| bad(format!("the parameter `{name}` is missing")))
    }

    fn selectors(&self) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == "match[]").map(|(_, value)| value.clone()).collect()
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = || bad(format!("`{name}` is `{text}`; expected seconds since 1970 or RFC 3339"));
        let millis = match text.parse::<f64>() {
            // The end of the year 9999 and its counterpart: beyond, there is nothing, and sums stay within bounds.
            Ok(seconds) => (seconds * 1000.0).clamp(-253_402_300_799_999.0, 253_402_300_799_999.0),
            Err(_) => text.parse::<jiff::Timestamp>().map_err(|_| wrong())?.as_millisecond() as f64,
        };
        if millis.is_nan() { Err(wrong()) } else { Ok(Some(Timestamp::from_millis(millis.round() as i64))) }
    }

    fn step(&self) -> Result<Step, Refused> {
        let text = self.needed("step")?;
        let wrong = || bad(format!("`step` is `{text}`; expected seconds or a duration such as 15s, at least 1ms"));
        let duration = match text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
            Err(_) => duration::parse(text).map_err(|_| wrong())?,
        };
        Step::from_duration(duration).ok_or_else(wrong)
    }

    /// From when to when series are looked for: all the time, unless it is said.
    fn range(&self) -> Result<(Timestamp, Timestamp), Refused> {
        let (first, last) = (Timestamp::from_millis(i64::MIN / 4), Timestamp::from_millis(i64::MAX / 4));
        Ok((self.time("start")?.unwrap_or(first), self.time("end")?.unwrap_or(last)))
    }

    fn store(&self, app: &App) -> Result<std::sync::Arc<Embedded>, Refused> {
        let name = self.get("datasource");
        let missing = || {
            let message = match name {
                Some(name) => format!("the datasource `{name}` is no embedded store"),
                None => "no datasource is an embedded store".into(),
            };
            Refused(StatusCode::NOT_FOUND, Refusal::new("not_found", message))
        };
        app.current().assembly.embedded_store(name).ok_or_else(missing)
    }

    async fn series(&self, app: &App) -> Result<Vec<Labels>, Refused> {
        let (store, (start, end)) = (self.store(app)?, self.range()?);
        Ok(store.series(&self.selectors(), start, end, MOST_SERIES).await?)
    }
}

/// A query at one time. The parameters of a POST may stand in a form.
#[utoipa::path(method(get, post), path = "/api/v1/query", tag = "prometheus",
    params(
        ("query" = String, Query, description = "PromQL"),
        ("time" = Option<String>, Query, description = "Seconds since 1970, or RFC 3339; now where it is left out"),
        ("datasource" = Option<String>, Query, description = "Which embedded store"),
    ),
    responses((status = 200, body = PrometheusAnswer), (status = 400, body = PrometheusError),
        (status = 404, body = PrometheusError), (status = 422, body = PrometheusError)))]
async fn query(State(app): State<App>, params: Params) -> Result<Json<Success<Outcome>>, Refused> {
    let (store, query) = (params.store(&app)?, params.needed("query")?);
    let time = params.time("time")?.unwrap_or_else(|| app.now());
    let step = Step::from_millis(1000).expect("a second is positive");
    let range = RangeQuery::anywhere(query, time, time, step).expect("one point is a range");
    let frame = store.read(&range, &LIMITS).await?.frame;
    Ok(Json(Success::new(if is_scalar(query) { Outcome::scalar(&frame) } else { Outcome::vector(&frame) })))
}

/// A query over a range. The parameters of a POST may stand in a form.
#[utoipa::path(method(get, post), path = "/api/v1/query_range", tag = "prometheus",
    params(
        ("query" = String, Query, description = "PromQL"),
        ("start" = String, Query, description = "Seconds since 1970, or RFC 3339"),
        ("end" = String, Query, description = "Seconds since 1970, or RFC 3339"),
        ("step" = String, Query, description = "Seconds, or a duration such as 15s"),
        ("datasource" = Option<String>, Query, description = "Which embedded store"),
    ),
    responses((status = 200, body = PrometheusAnswer), (status = 400, body = PrometheusError),
        (status = 404, body = PrometheusError), (status = 422, body = PrometheusError)))]
async fn query_range(State(app): State<App>, params: Params) -> Result<Json<Success<Outcome>>, Refused> {
    let (store, query) = (params.store(&app)?, params.needed("query")?);
    params.needed("start")?;
    params.needed("end")?;
    let ((start, end), step) = (params.range()?, params.step()?);
    let range = RangeQuery::anywhere(query, start, end, step).ok_or_else(|| bad("`end` is before `start`"))?;
    if range.points() > MOST_POINTS {
        return Err(bad(format!("{} points a series at this step, {MOST_POINTS} at most", range.points())));
    }
    Ok(Json(Success::new(Outcome::matrix(&store.read(&range, &LIMITS).await?.frame))))
}

/// Which series there are. The parameters of a POST may stand in a form.
#[utoipa::path(method(get, post), path = "/api/v1/series", tag = "prometheus",
    params(
        ("match[]" = Vec<String>, Query, description = "Selectors: series that any of them names"),
        ("start" = Option<String>, Query), ("end" = Option<String>, Query),
        ("datasource" = Option<String>, Query, description = "Which embedded store"),
    ),
    responses((status = 200, body = PrometheusAnswer), (status = 400, body = PrometheusError),
        (status = 404, body = PrometheusError), (status = 422, body = PrometheusError)))]
async fn series(State(app): State<App>, params: Params) -> Result<Json<Success<Vec<Map<String, Value>>>>, Refused> {
    if params.selectors().is_empty() {
        return Err(bad("the parameter `match[]` is missing"));
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
    let found = params.series(&app).await?;
    Ok(Json(Success::new(found.iter().map(|labels| labels.iter().map(owned).collect()).collect())))
}

/// Which labels there are. The parameters of a POST may stand in a form.
#[utoipa::path(method(get, post), path = "/api/v1/labels", tag = "prometheus",
    params(
        ("match[]" = Option<Vec<String>>, Query, description = "Selectors: labels of series that any of them names"),
        ("start" = Option<String>, Query), ("end" = Option<String>, Query),
        ("datasource" = Option<String>, Query, description = "Which embedded store"),
    ),
    responses((status = 200, body = PrometheusAnswer), (status = 400, body = PrometheusError),
        (status = 404, body = PrometheusError), (status = 422, body = PrometheusError)))]
async fn labels(State(app): State<App>, params: Params) -> Result<Json<Success<Vec<String>>>, Refused> {
    let found = params.series(&app).await?;
    Ok(Json(Success::new(sorted(found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name))))))
}

/// Which values a label has.
#[utoipa::path(get, path = "/api/v1/label/{name}/values", tag = "prometheus",
    params(
        ("name" = String, Path, description = "The label; `__name__` for the metrics' names"),
        ("match[]" = Option<Vec<String>>, Query, description = "Selectors: values in series that any of them names"),
        ("start" = Option<String>, Query), ("end" = Option<String>, Query),
        ("datasource" = Option<String>, Query, description = "Which embedded store"),
    ),
    responses((status = 200, body = PrometheusAnswer), (status = 400, body = PrometheusError),
        (status = 404, body = PrometheusError), (status = 422, body = PrometheusError)))]
async fn values(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<Success<Vec<String>>>, Refused> {
    let found = params.series(&app).await?;
    Ok(Json(Success::new(sorted(found.iter().filter_map(|labels| labels.get(&name))))))
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let words: std::collections::BTreeSet<&str> = words.collect();
    words.into_iter().map(str::to_owned).collect()
}

/// Remote write 1.0: a protobuf message, compressed by snappy. A sample that can't be taken is told, and is never the
/// reason that others are lost.
#[utoipa::path(post, path = "/api/v1/write", tag = "prometheus",
    params(("datasource" = Option<String>, Query, description = "Which embedded store")),
    request_body(content = Vec<u8>, content_type = "application/x-protobuf"),
    responses((status = 204, description = "taken"), (status = 400, body = PrometheusError),
        (status = 404, body = PrometheusError)))]
async fn write(
    State(app): State<App>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.contains("write.v2") {
        let message = "remote write 2.0 is not taken; send 1.0";
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, Refusal::new("bad_data", message)));
    }
    let store = Params(pairs).store(&app)?;
    let most = app.current().config.limits.body_bytes.saturating_mul(UNPACKED);
    let series = write_request(&body, most).map_err(|error| bad(error.to_string()))?;
    let failed = |error: tsdb::WriteError| {
        tracing::error!("{error}");
        Refused(StatusCode::INTERNAL_SERVER_ERROR, Refusal::new("internal", "the store failed; the log says why"))
    };
    let written = store.append(series).await.map_err(failed)?;
    match written.rejected.first() {
        None => Ok(StatusCode::NO_CONTENT),
        Some(first) => Err(bad(format!("{} samples are {}: {}", first.samples, first.reason, first.message))),
    }
}
