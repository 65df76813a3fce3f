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
    /// Whether all series are one joint input (multivariate), each helping to forecast the others.
    pub together: bool,
    /// Further inputs, for every series of the request alike.
    pub covariates: &'a [Covariate<'a>],
}

impl<'a> Request<'a> {
    /// Asks for each series on its own.
    pub fn new(contexts: &'a [&'a [f64]], end_ms: i64, step: Duration, horizon: usize, levels: &'a Levels) -> Self {
        Self { contexts, end_ms, step, horizon, levels, together: false, covariates: &[] }
    }

    /// Whether a series is to be forecast from more than its own past.
    pub fn is_joint(&self) -> bool {
        self.together || !self.covariates.is_empty()
    }
}

/// An input beside the series that are forecast.
#[derive(Debug, Clone, Copy)]
pub struct Covariate<'a> {
    /// Its history, ending at `end` as the contexts do; a gap is NaN.
    pub past: &'a [f64],
    /// What is known of it for the horizon: as many points as that has, or none; a gap is NaN.
    pub future: &'a [f64],
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
    /// The whole request can't be answered, as where it [is joint](Request::is_joint) and the model is not.
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError>;

    /// Loads what forecasts need, so that the first one is no slower than the others, and says what stands in the way.
    ///
    /// # Errors
    /// A model that can't be had now.
    fn prepare(&self) -> Result<(), ForecastError> {
        Ok(())
    }

    /// Whether a request may [be joint](Request::is_joint), as far as can be told before the model is loaded.
    fn takes_joint(&self) -> bool {
        false
    }

    /// Whether a forecast waits for somebody else rather than computes: it must not hold a thread for computing.
    fn waits(&self) -> bool {
        false
    }

    /// What the models that this one asks have done since it was built; none where it asks none.
    fn usage(&self) -> Vec<Usage> {
        vec![]
    }
}

/// What one of the models behind a model has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Its id.
    pub model: String,
    /// How many series it has forecast.
    pub series: u64,
    /// How long that took.
    pub seconds: f64,
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

impl ForecastError {
    /// The model `model` failed as `message` says.
    pub fn new(model: impl Into<String>, message: impl ToString) -> Self {
        Self { model: model.into(), message: message.to_string() }
    }
}
