//! Ports that count and time what goes through them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use models::{Forecast, ForecastError, Forecaster, Request, Usage};
use tracing::Instrument;
use tsdb::{Answer, Frame, Limits, RangeQuery, Read, ReadError, Write, WriteError, Written};

use super::{ErrorLabels, KindLabels, Metrics, ModelLabels, StoreLabels};

/// A port of `pipeline` to `datasource`, measured.
pub struct MeteredStore<S> {
    /// The port itself.
    pub inner: S,
    /// Where the figures go.
    pub metrics: Arc<Metrics>,
    /// Whose port it is.
    pub pipeline: String,
    /// To what.
    pub datasource: String,
}

impl<S> MeteredStore<S> {
    fn labels(&self) -> StoreLabels {
        StoreLabels { pipeline: self.pipeline.clone(), datasource: self.datasource.clone() }
    }

    fn failed(&self, error: &ReadError) {
        let labels = KindLabels { pipeline: self.pipeline.clone(), kind: error.fault.kind().into() };
        self.metrics.read_errors.get_or_create(&labels).inc();
    }
}

#[async_trait]
impl Read for MeteredStore<Arc<dyn Read>> {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        let (metrics, labels, start) = (&self.metrics, self.labels(), Instant::now());
        let span = tracing::info_span!("read", datasource = self.datasource, query = query.query());
        let answer = self.inner.read(query, limits).instrument(span).await;
        metrics.read_duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
        match &answer {
            Ok(answer) => {
                metrics.read_bytes.get_or_create(&labels).inc_by(answer.bytes);
                metrics.read_series.get_or_create(&labels).set(answer.frame.series().len() as i64);
                metrics.read_samples.get_or_create(&labels).inc_by(answer.frame.samples() as u64);
            }
            Err(error) => self.failed(error),
        }
        answer
    }

    async fn ended(&self, query: &RangeQuery, limits: &Limits) -> Result<Option<Frame>, ReadError> {
        let span = tracing::info_span!("ended", datasource = self.datasource, query = query.query());
        self.inner.ended(query, limits).instrument(span).await.inspect_err(|error| self.failed(error))
    }

    async fn settles_after(&self) -> Result<Duration, ReadError> {
        self.inner.settles_after().await.inspect_err(|error| self.failed(error))
    }
}

#[async_trait]
impl Write for MeteredStore<Arc<dyn Write>> {
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError> {
        let (metrics, labels, start) = (&self.metrics, self.labels(), Instant::now());
        let span = tracing::info_span!("write", datasource = self.datasource);
        let written = self.inner.write(frames).instrument(span).await;
        metrics.write_duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
        match &written {
            Ok(written) => {
                metrics.write_samples.get_or_create(&labels).inc_by(written.samples);
                metrics.write_retries.get_or_create(&labels).inc_by(written.retries);
            }
            Err(_) => drop(metrics.write_errors.get_or_create(&labels).inc()),
        }
        written
    }

    async fn takes_ahead(&self) -> Duration {
        self.inner.takes_ahead().await
    }
}

/// A pipeline's model, measured.
pub struct MeteredModel {
    /// The model itself.
    pub inner: Arc<dyn Forecaster>,
    /// Where the figures go.
    pub metrics: Arc<Metrics>,
    /// Whose model it is.
    pub pipeline: String,
    /// Its id.
    pub model: String,
    /// What the models behind it had done when that was last looked at: series and seconds, by their ids.
    pub seen: Mutex<HashMap<String, (u64, f64)>>,
}

impl Forecaster for MeteredModel {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        let (metrics, start) = (&self.metrics, Instant::now());
        let labels = self.labels(&self.model);
        let forecast = self.inner.forecast(request);
        metrics.forecast_duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
        metrics.forecast_batch.get_or_create(&labels).observe(request.contexts.len() as f64);
        match &forecast {
            Ok(forecast) => {
                let failed = forecast.failures().len() as u64;
                metrics.forecast_series.get_or_create(&labels).inc_by(forecast.series() as u64 - failed);
                if failed > 0 {
                    self.failed("series", failed);
                }
            }
            Err(_) => self.failed("batch", 1),
        }
        self.used();
        forecast
    }

    fn prepare(&self) -> Result<(), ForecastError> {
        let start = Instant::now();
        let outcome = self.inner.prepare();
        self.metrics.model_load.get_or_create(&self.labels(&self.model)).set(start.elapsed().as_secs_f64());
        outcome
    }

    fn takes_joint(&self) -> bool {
        self.inner.takes_joint()
    }

    fn waits(&self) -> bool {
        self.inner.waits()
    }

    fn usage(&self) -> Vec<Usage> {
        self.inner.usage()
    }
}

impl MeteredModel {
    fn labels(&self, model: &str) -> ModelLabels {
        ModelLabels { pipeline: self.pipeline.clone(), model: model.to_owned() }
    }

    /// A model that never fails has no counter of failures.
    fn failed(&self, kind: &'static str, count: u64) {
        let labels = ErrorLabels { pipeline: self.pipeline.clone(), model: self.model.clone(), kind };
        self.metrics.forecast_errors.get_or_create(&labels).inc_by(count);
    }

    /// What the models behind this one have done so far.
    fn used(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for Usage { model, series, seconds } in self.inner.usage() {
            let labels = self.labels(&model);
            let (series_before, seconds_before) = seen.insert(model, (series, seconds)).unwrap_or_default();
            self.metrics.cascade_series.get_or_create(&labels).inc_by(series.saturating_sub(series_before));
            self.metrics.cascade_seconds.get_or_create(&labels).inc_by((seconds - seconds_before).max(0.0));
        }
    }
}
