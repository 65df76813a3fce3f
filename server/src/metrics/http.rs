//! What requests of the API cost.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Histograms, histograms};
use crate::app::App;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// The requests of the API.
#[derive(Clone)]
pub(crate) struct Requests {
    duration: Histograms<RequestLabels>,
    in_flight: Gauge,
}

impl Default for Requests {
    fn default() -> Self {
        Self { duration: histograms(), in_flight: Gauge::default() }
    }
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        register!(registry, self,
            duration: "http_request_duration_seconds", "Time until a request was answered, by method, route and class of status";
            in_flight: "http_requests_in_flight", "Requests that are being answered";
        );
    }
}

/// A request that is being answered, or was given up by who asked.
struct InFlight(Gauge);

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Times every request. What no route matches is counted as the route `none`: paths that somebody makes up must not
/// become series.
pub async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let requests = &app.metrics.http;
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let (method, start) = (method(request.method()), Instant::now());
    let _in_flight = InFlight::begin(&requests.in_flight);
    let response = next.run(request).await;
    let labels = RequestLabels { method, route, status: class(response.status().as_u16()) };
    requests.duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    response
}

/// The method's name; those that nobody has heard of are one.
fn method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn class(status: u16) -> &'static str {
    match status {
        0..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
