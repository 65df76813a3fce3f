//! How bad an incident is: how far, for how long, and how many series.

use serde::{Deserialize, Serialize};

/// A score beyond this weighs no more: a band that is nearly flat gives any score, and means no more by it.
pub const FULL_SCORE: f64 = 10.0;

/// From this weight on an incident is a warning: three points at a score of 3.4, or ten just outside the band.
const WARNING: f64 = 10.0;

/// From this weight on it is critical: six points at the full score, or an hour of minutes just outside the band.
const CRITICAL: f64 = 60.0;

/// So many series, and such a part of all, make it worse than each of them is.
const MANY: (usize, f64) = (10, 0.2);

/// How bad an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth looking at soon.
    Warning,
    /// Worth looking at now.
    Critical,
}

impl Severity {
    /// All of them, from the least.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// Its name: `info`, `warning` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// That of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// That of an incident whose heaviest episode has this `weight`, of `series` of the `watched` series of a pipeline.
    pub fn of(weight: f64, series: usize, watched: usize) -> Self {
        let own = match weight {
            heavy if heavy >= CRITICAL => 2,
            heavy if heavy >= WARNING => 1,
            _ => 0,
        };
        let are_many = series >= MANY.0 && series as f64 >= MANY.1 * watched as f64;
        Self::ALL[(own + usize::from(are_many)).min(2)]
    }
}

/// What an episode contributes to its incident: its highest score, up to [`FULL_SCORE`], times its points above 1.
pub fn weight(score: f64, points: u64) -> f64 {
    score.min(FULL_SCORE) * points as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_score_duration_and_series() {
        for ((score, points), (series, watched), expected) in [
            ((1.5, 1), (1, 1), Severity::Info),
            ((9.0, 1), (1, 1), Severity::Info),
            ((1000.0, 1), (1, 1), Severity::Warning),
            ((3.4, 3), (1, 100), Severity::Warning),
            ((1.1, 60), (1, 100), Severity::Critical),
            ((10.0, 6), (1, 100), Severity::Critical),
            ((1.5, 1), (10, 50), Severity::Warning),
            ((1.5, 1), (9, 9), Severity::Info),
            ((1.5, 1), (10, 51), Severity::Info),
            ((10.0, 9), (50, 50), Severity::Critical),
        ] {
            let found = Severity::of(weight(score, points), series, watched);
            assert_eq!(found, expected, "{score} × {points} on {series} of {watched}");
        }
        assert_eq!(Severity::ALL.map(|one| Severity::named(one.name())), Severity::ALL.map(Some));
        assert_eq!(Severity::named("bad"), None);
    }
}
