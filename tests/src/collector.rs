//! A collector of traces that keeps what it gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its headers.
    pub headers: HeaderMap,
    /// What the process says of itself.
    pub resource: BTreeMap<String, String>,
    /// Its spans.
    pub spans: Vec<Span>,
}

type Batches = Arc<Mutex<Vec<Batch>>>;

/// Takes traces by OTLP over HTTP, as protobuf.
pub struct Collector {
    url: String,
    batches: Batches,
    task: JoinHandle<()>,
}

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let batches = Batches::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(batches.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it is not stopped") });
        Self { url, batches, task }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that has come so far.
    pub fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All spans of this name that have come so far.
    pub fn spans(&self, name: &str) -> Vec<Span> {
        self.batches().into_iter().flat_map(|batch| batch.spans).filter(|span| span.name == name).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(batches): State<Batches>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    for of in request.resource_spans {
        let resource = attributes(&of.resource.unwrap_or_default().attributes);
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans).collect();
        let batch = Batch { headers: headers.clone(), resource, spans };
        batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }
    StatusCode::OK
}

/// Attributes as text.
pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}
