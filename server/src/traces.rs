//! Traces, sent to a collector by OTLP over HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

use crate::config::service::Otlp;

/// How often it is said that a collector doesn't answer.
const SAID_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long a stop waits for what is still to be sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one request to the collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address or headers.
    #[error("otlp: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// There is no thread to send from.
    #[error("otlp: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Spans on their way to a collector. They are kept until a batch is full or some seconds have gone by, and sent from
/// a thread of their own; where they come faster than they go, the newest are dropped. Nothing ever waits for them.
pub struct Traces {
    provider: SdkTracerProvider,
    runtime: Runtime,
}

impl Traces {
    /// Begins to send the traces of the process `instance` to the collector that `otlp` names.
    ///
    /// # Errors
    /// Its address is none.
    pub fn start(otlp: &Otlp, instance: &str) -> Result<Self, TracesError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build()?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", otlp.endpoint.trim_end_matches('/')))
            .with_headers(otlp.headers.clone().into_iter().collect::<HashMap<_, _>>())
            .with_timeout(TIMEOUT)
            .build()?;
        let exporter = Exporter {
            inner: Arc::new(exporter),
            runtime: runtime.handle().clone(),
            trouble: Mutex::default(),
            endpoint: otlp.endpoint.clone(),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.ratio))))
            .with_resource(resource(instance))
            .build();
        Ok(Self { provider, runtime })
    }

    /// What takes the spans of `tracing`.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, SdkTracer> {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("openanomaly")).with_location(false)
    }

    /// Sends what is still to be sent, for as long as is bearable.
    pub fn stop(self) {
        // A collector that doesn't answer was told about when it was sent to.
        let _ = self.provider.shutdown_with_timeout(PATIENCE);
        self.runtime.shutdown_background();
    }
}

fn resource(instance: &str) -> Resource {
    Resource::builder()
        .with_service_name("openanomaly")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build()
}

/// Sends batches on the runtime that HTTP needs, and says when that fails.
#[derive(Debug)]
struct Exporter {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    trouble: Mutex<Trouble>,
    endpoint: String,
}

/// What has failed since it was last said.
#[derive(Debug, Default)]
struct Trouble {
    said: Option<Instant>,
    lost: usize,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (inner, spans) = (self.inner.clone(), batch.len());
        let sent = self.runtime.spawn(async move { inner.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        self.tell(&sent, spans);
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

impl Exporter {
    /// One warning now and then, and a word when it is over.
    fn tell(&self, sent: &OTelSdkResult, spans: usize) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let collector = &self.endpoint;
        match sent {
            Ok(()) if trouble.said.is_some() => {
                tracing::info!(collector, "traces are sent again");
                *trouble = Trouble::default();
            }
            Ok(()) => {}
            Err(error) => {
                trouble.lost += spans;
                if trouble.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    tracing::warn!(collector, lost_spans = trouble.lost, "traces can't be sent: {error}");
                    *trouble = Trouble { said: Some(Instant::now()), lost: 0 };
                }
            }
        }
    }
}

/// Headers of a request, as OpenTelemetry reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Makes `span` part of the trace that a request belongs to by its header `traceparent`, if it has one, and calls it
/// `name` there. To be called before the span is entered.
pub fn join(span: &Span, name: &str, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    if parent.span().span_context().is_valid() {
        // Where no traces are sent there is nothing to join.
        let _ = span.set_parent(parent);
    }
    span.context().span().update_name(name.to_owned());
}
