//! How many incidents the alerts of the series of one pipeline are: what somebody would have been told.

use std::time::Duration;

use tsdb::{Step, Timestamp};

use super::result::{Alert, SeriesResult};
use crate::incident::{Episode, Point, reach, together};

/// How many incidents the alerts of `results` are, which are series of one pipeline on one grid: alerts that belong
/// together ([`together`]) are one.
pub fn incidents(results: &[SeriesResult]) -> usize {
    let episodes: Vec<Episode> = results.iter().flat_map(|one| &one.alerts).map(episode).collect();
    let step = results.first().and_then(|one| Step::from_millis((one.step_seconds * 1000.0).round() as i64));
    together(&episodes, step.map_or(Duration::ZERO, reach)).len()
}

fn episode(alert: &Alert) -> Episode {
    let at = Timestamp::from_millis;
    let unknown = f64::NAN;
    let peak = Point {
        at: at(alert.peak_ms),
        score: alert.peak_score,
        actual: unknown,
        expected: unknown,
        lower: unknown,
        upper: unknown,
    };
    Episode { first: at(alert.from_ms), last: at(alert.until_ms), peak, points: alert.points as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A series with alerts of five points each that begin at these minutes.
    fn series(name: &str, begins: &[i64]) -> SeriesResult {
        let minute = 60_000;
        let alert = |begin: &i64| {
            let (from_ms, until_ms) = (begin * minute, (begin + 4) * minute);
            Alert { from_ms, until_ms, peak_ms: from_ms, peak_score: 3.0, points: 5, verdict: None }
        };
        SeriesResult {
            series: name.into(),
            labels: BTreeMap::new(),
            step_seconds: 60.0,
            from_ms: 0,
            until_ms: 1000 * minute,
            days: 1.0,
            points: 1000,
            scored: 1000,
            anomalous: 5 * begins.len(),
            coverage: None,
            loss: None,
            alerts: begins.iter().map(alert).collect(),
            against: None,
        }
    }

    #[test]
    fn alerts_of_several_series_at_the_same_time_are_one_incident() {
        for (rows, expected) in [
            (vec![], 0),
            (vec![series("a", &[])], 0),
            (vec![series("a", &[10, 100])], 2),
            (vec![series("a", &[10, 100]), series("b", &[12, 300]), series("c", &[14])], 3),
            (vec![series("a", &[10]), series("b", &[40])], 2),
        ] {
            assert_eq!(incidents(&rows), expected);
        }
    }
}
