//! What judges points by several series at once: a panel is a group of series over the same times, and each point of it is
//! judged by what the group usually does.
//!
//! Nothing is kept from one call to the next. What is learned comes from the context, which ends with the origin of a
//! forecast: so a score depends on the clock and on data alone.

use std::time::Duration;

mod forest;
mod peers;
mod random;
mod reason;
#[cfg(test)]
mod tests;

pub(crate) use forest::ENTRY as FOREST;
pub(crate) use peers::ENTRY as PEERS;
pub use reason::{Others, Part, Reason, Value};

use crate::registry;
use crate::spec::ModelSpec;

/// Series of one group over the same times, oldest first.
#[derive(Debug, Clone)]
pub struct Panel<'a> {
    /// The values, all rows of one length; a gap is NaN, and what can't be a number is one.
    pub rows: &'a [Vec<f64>],
    /// How many of the points are the context: they are learned from. Those after them are judged.
    pub known: usize,
    /// The time of the first point, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The distance between points.
    pub step: Duration,
    /// The part of the points that a band is to hold, where it is one of quantiles.
    pub confidence: f64,
}

impl Panel<'_> {
    /// The number of points, context and all.
    fn points(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }
}

/// What is said of one point of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// What was expected.
    pub expected: f64,
    /// The lower edge of what is usual.
    pub lower: f64,
    /// The upper edge of what is usual.
    pub upper: f64,
    /// 0 where the point is like the context, 1 where it is worth an alert; `None` where the distance from the expected
    /// value in half-widths of the band says it.
    pub score: Option<f64>,
}

/// A detector of points that several series make odd together.
#[derive(Debug, Clone, PartialEq)]
pub enum Detector {
    /// An isolation forest over vectors of all values of a group.
    Forest(forest::Settings),
    /// Each series of a group against the others at the same time.
    Peers(peers::Settings),
}

impl Detector {
    /// The detector that the model of `spec` is, with its defaults where its parameters are wrong, which
    /// [`crate::build`] tells; `None` where it is none.
    pub(crate) fn of(spec: &ModelSpec) -> Option<Self> {
        let entry = registry::entry(&spec.id).filter(|_| spec.endpoint.is_none())?;
        match entry.id {
            id if id == FOREST.id => Some(Self::Forest(forest::Settings::of(spec).unwrap_or_default())),
            id if id == PEERS.id => Some(Self::Peers(peers::Settings::of(spec).unwrap_or_default())),
            _ => None,
        }
    }

    /// An isolation forest with its defaults.
    pub fn forest() -> Self {
        Self::Forest(forest::Settings::default())
    }

    /// The labels whose values are equal within a group: none of them where all series are one. `None` where each series
    /// is a group of its own.
    pub fn group_by(&self) -> Option<&[String]> {
        match self {
            Self::Forest(settings) => settings.group_by.as_deref(),
            Self::Peers(settings) => Some(&settings.group_by),
        }
    }

    /// What is found of the points after the context, for each row of `panel`; `None` where nothing can be said, as of
    /// gaps.
    pub fn judge(&self, panel: &Panel<'_>) -> Vec<Vec<Option<Found>>> {
        let found = match self {
            Self::Forest(settings) => forest::judge(settings, panel),
            Self::Peers(settings) => peers::judge(settings, panel),
        };
        debug_assert_eq!(found.len(), panel.rows.len(), "every row is answered");
        found
    }

    /// Why the newest point of `row` was found as it was; `None` where nothing was found of it.
    pub fn reason(&self, panel: &Panel<'_>, row: usize) -> Option<Reason> {
        match self {
            Self::Forest(settings) => forest::reason(settings, panel, row),
            Self::Peers(settings) => peers::reason(settings, panel, row).map(Reason::Others),
        }
    }
}

/// The quantile `level` of `sorted`, between its two nearest values.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = level.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// What is known of `values`, rising.
fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut known: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    known
}
