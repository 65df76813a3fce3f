//! History in, forecast out.
//!
//! Every model is a [`Forecaster`]: a batch of contexts goes in, quantiles `[series, level, step ahead]` come out.
//! Only this crate knows tensors and algorithms.

pub mod forecast;
pub mod forecaster;

pub use forecast::{Forecast, LevelError, Levels};
pub use forecaster::{ForecastError, Forecaster, Request};
