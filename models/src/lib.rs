//! History in, forecast out.
//!
//! Every model is a [`Forecaster`]: a batch of contexts goes in, quantiles `[series, level, step ahead]` come out.
//! Only this crate knows tensors and algorithms.

mod auto;
mod buckets;
mod cascade;
pub mod detect;
pub mod entry;
mod ets;
pub mod forecast;
pub mod forecaster;
mod holt_winters;
mod mad;
mod mstl;
pub mod onnx;
pub mod panel;
mod prepare;
mod quantile;
pub mod registry;
pub mod remote;
mod residuals;
pub mod resources;
mod rolling_quantile;
mod rough;
mod season;
mod seasonal_naive;
mod seasonal_std;
mod smoothing;
pub mod spec;
mod stl;
pub mod tuning;
mod univariate;
mod zscore;

#[cfg(test)]
mod check;

pub use entry::{BuildError, Built, Entry, Parameter};
pub use forecast::{Failure, Forecast, LevelError, Levels};
pub use forecaster::{Covariate, ForecastError, Forecaster, Request, Usage};
pub use registry::{DEFAULT, MODELS, build};
pub use resources::{Resolver, Resources};
pub use spec::{Endpoint, Format, Judging, ModelSpec};
