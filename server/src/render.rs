//! What people see: tables, charts and files of what was scored or forecast.
//!
//! Everything here is a pure function of its input that writes to the writer it is given.

pub mod backtest;
pub mod chart;
pub mod explanation;
pub mod export;
#[cfg(test)]
pub(crate) mod fixture;
pub mod format;
pub mod html;
pub mod prediction;
pub mod table;

use std::time::Duration;

use engine::Scored;

pub use engine::incident::Incident;

/// What one detection found, and how.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where the series come from: a path or a URL.
    pub source: String,
    /// The settings used, as name and value, in the order to show them in.
    pub settings: Vec<(String, String)>,
    /// The points that were judged.
    pub scored: Scored,
    /// Runs of anomalous points, worst first.
    pub incidents: Vec<Incident>,
    /// How long forecasting and scoring took.
    pub took: Duration,
}

impl Report {
    /// How many points have a score.
    pub fn points_scored(&self) -> usize {
        self.scored.score.samples()
    }

    /// The rows to draw: those with the worst incidents first, and the rest in their order.
    pub fn worst_first(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = self.incidents.iter().map(|incident| incident.series).collect();
        rows.extend(0..self.scored.y.series().len());
        let mut seen = std::collections::HashSet::new();
        rows.retain(|row| seen.insert(*row));
        rows
    }
}
