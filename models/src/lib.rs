//! History in, forecast out.
//!
//! Every model is a [`Forecaster`]: a batch of contexts goes in, quantiles `[series, level, step ahead]` come out.
//! Only this crate knows tensors and algorithms.

mod buckets;
pub mod forecast;
pub mod forecaster;
mod mstl;
mod prepare;
pub mod registry;
mod residuals;
mod rough;
mod season;
mod seasonal_naive;
mod smoothing;
mod stl;
mod univariate;
mod zscore;

#[cfg(test)]
mod check;

pub use forecast::{Forecast, LevelError, Levels};
pub use forecaster::{ForecastError, Forecaster, Request};
pub use registry::{BuildError, Built, DEFAULT, Entry, MODELS, Parameter, build};
