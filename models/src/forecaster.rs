//! The port that every model stands behind.

use std::time::Duration;

use crate::forecast::{Forecast, Levels};

/// What a model is asked: what comes next in each of many series.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The history of each series, oldest first; a gap is NaN. Lengths may differ, all end at `end`.
    pub contexts: &'a [&'a [f64]],
    /// The time of the last point of every context, in milliseconds since the Unix epoch.
    pub end_ms: i64,
    /// The distance between two points.
    pub step: Duration,
    /// How many points ahead to forecast.
    pub horizon: usize,
    /// Which quantiles to answer.
    pub levels: &'a Levels,
}

/// Forecasts batches of series. An implementation is shared between threads and does its own batching.
///
/// The forecast of a series depends on its own context only, never on what else is in the batch, unless the
/// model says that it looks at all series together. The same request always gives the same answer.
pub trait Forecaster: Send + Sync {
    /// Quantiles for every series of the request, in its order. A series about which nothing can be said, as one
    /// without a single value, is answered with NaN; short, constant, gappy, huge and tiny ones are normal input.
    ///
    /// # Errors
    /// The whole request can't be answered.
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError>;
}

/// A forecast that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("model {model}: {message}")]
pub struct ForecastError {
    /// The model's id.
    pub model: String,
    /// What went wrong.
    pub message: String,
}
