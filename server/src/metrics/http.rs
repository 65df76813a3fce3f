//! What requests of the API cost.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::BoxFuture;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tower::Service;

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
    connections: Gauge,
}

impl Default for Requests {
    fn default() -> Self {
        Self { duration: histograms(), in_flight: Gauge::default(), connections: Gauge::default() }
    }
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        register!(registry, self,
            duration: "http_request_duration_seconds", "Time until a request was answered, by method, route and class of status";
            in_flight: "http_requests_in_flight", "Requests that are being answered";
            connections: "http_connections", "Connections that are open";
        );
    }

    /// The same maker of services, one for each connection, with the connections counted.
    pub(crate) fn connected<M>(&self, maker: M) -> Connections<M> {
        Connections { maker, open: self.connections.clone() }
    }
}

/// Something that is counted as long as it lives, however it ends.
struct Counted(Gauge);

impl Counted {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Makes a service for each connection, and counts those that are open.
#[derive(Clone)]
pub(crate) struct Connections<M> {
    maker: M,
    open: Gauge,
}

/// The service of one connection.
#[derive(Clone)]
pub(crate) struct Connection<S> {
    service: S,
    _counted: Arc<Counted>,
}

impl<M, T> Service<T> for Connections<M>
where
    M: Service<T, Error = Infallible>,
    M::Future: Send + 'static,
{
    type Response = Connection<M::Response>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.maker.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        let (made, counted) = (self.maker.call(target), Arc::new(Counted::begin(&self.open)));
        Box::pin(async move { Ok(Connection { service: made.await?, _counted: counted }) })
    }
}

impl<S: Service<R>, R> Service<R> for Connection<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.service.call(request)
    }
}

/// Times every request. What no route matches is counted as the route `none`: paths that somebody makes up must not
/// become series.
pub async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let requests = &app.metrics.http;
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let (method, start) = (method(request.method()), Instant::now());
    let _counted = Counted::begin(&requests.in_flight);
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
