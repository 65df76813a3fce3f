//! Pipelines: what happens between reading a range and writing its scores.
//!
//! `schedule` says which passes are due → `tsdb` answers a frame → `context` splits it into what the model sees and
//! what is to be judged → a forecaster answers quantiles → `band` says what was expected → `score` says how far
//! outside it was → `output` names it all → `tsdb` writes it.

pub mod backfill;
pub mod backtest;
pub mod band;
pub mod budget;
pub mod calendar;
pub mod calibrate;
pub mod context;
pub mod covariates;
pub mod drift;
pub mod evaluate;
pub mod explain;
pub mod feedback;
pub mod incident;
pub mod judge;
pub mod mask;
pub mod outlook;
pub mod output;
mod panel;
pub mod pass;
pub mod pipeline;
pub mod presence;
pub mod replay;
mod report;
pub mod schedule;
pub mod score;
pub mod silence;
pub mod store;
#[cfg(test)]
mod testing;
pub mod train;
mod warm;

pub use context::History;
pub use judge::Judge;
pub use mask::LevelShift;
pub use pass::{PassError, Ports, Report, Standing, Watch};
pub use pipeline::Pipeline;
pub use replay::replay;
pub use schedule::{Schedule, ScheduleError};
pub use score::Scored;
pub use silence::Silence;
