//! What people said of alerts, as cases that every change must keep.

use serde::{Deserialize, Serialize};
use tsdb::Step;

use crate::evaluate::Rules;

use super::result::SeriesResult;
use super::scope::Scope;

/// What somebody said that a range was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// There must be an alert.
    Anomaly,
    /// There must be none: it was nothing unusual.
    Expected,
    /// There must be none: somebody was at work.
    Maintenance,
}

/// One case. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it is called.
    pub id: String,
    /// Of which series it is said.
    pub scope: Scope,
    /// The first point that it is said of.
    pub from_ms: i64,
    /// The last one.
    pub until_ms: i64,
    /// What was said.
    pub said: Said,
    /// What else was said.
    pub note: String,
}

/// How a case went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it was said.
    Kept,
    /// There is an alert where none must be, or none where one must be.
    Broken,
    /// No series of its scope was judged at that time.
    NotCovered,
}

impl Case {
    /// How it went in a replay. `anomaly` is kept by an alert of any series of its scope that overlaps it or comes a little
    /// later, as an event is caught; the others are broken by one that overlaps them.
    pub fn outcome(&self, results: &[SeriesResult]) -> Outcome {
        let is_meant = |one: &&SeriesResult| {
            self.scope.holds(&one.series, &one.labels)
                && one.scored > 0
                && one.from_ms <= self.until_ms
                && one.until_ms >= self.from_ms
        };
        let meant: Vec<&SeriesResult> = results.iter().filter(is_meant).collect();
        let is_alerted = meant.iter().any(|one| {
            let until_ms = self.until_ms + if self.said == Said::Anomaly { grace(one) } else { 0 };
            one.alerts.iter().any(|alert| alert.from_ms <= until_ms && alert.until_ms >= self.from_ms)
        });
        match (meant.is_empty(), is_alerted == (self.said == Said::Anomaly)) {
            (true, _) => Outcome::NotCovered,
            (false, true) => Outcome::Kept,
            (false, false) => Outcome::Broken,
        }
    }
}

/// How long after its end something is still caught, in milliseconds.
fn grace(one: &SeriesResult) -> i64 {
    Step::from_millis((one.step_seconds * 1000.0) as i64).map_or(0, |step| Rules::of(step).grace)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::backtest::result::Alert;

    fn results() -> [SeriesResult; 1] {
        let alert = Alert { from_ms: 100, until_ms: 120, peak_ms: 100, peak_score: 2.0, points: 3, verdict: None };
        let labels = [("host".to_owned(), "a".to_owned())].into();
        [SeriesResult {
            series: "cpu".into(),
            labels,
            step_seconds: 1.0,
            from_ms: 50,
            until_ms: 500,
            days: 1.0,
            points: 450,
            scored: 450,
            anomalous: 3,
            coverage: None,
            loss: None,
            alerts: vec![alert],
            against: None,
        }]
    }

    #[test]
    fn a_case_is_kept_broken_or_not_covered() {
        let label = |value: &str| BTreeMap::from([("host".to_owned(), value.to_owned())]);
        for (host, from_ms, until_ms, said, expected) in [
            ("a", 110, 115, Said::Anomaly, Outcome::Kept),
            ("a", 0, 100, Said::Anomaly, Outcome::Kept),
            ("a", 60, 99, Said::Anomaly, Outcome::Kept),
            ("a", 60, 99, Said::Expected, Outcome::Kept),
            ("a", 200, 300, Said::Anomaly, Outcome::Broken),
            ("a", 110, 115, Said::Expected, Outcome::Broken),
            ("a", 90, 400, Said::Maintenance, Outcome::Broken),
            ("a", 121, 400, Said::Expected, Outcome::Kept),
            ("a", 0, 49, Said::Anomaly, Outcome::NotCovered),
            ("a", 501, 600, Said::Expected, Outcome::NotCovered),
            ("b", 110, 115, Said::Anomaly, Outcome::NotCovered),
        ] {
            let scope = Scope::labels(label(host));
            let case = Case { id: "1".into(), scope, from_ms, until_ms, said, note: String::new() };
            assert_eq!(case.outcome(&results()), expected, "{case:?}");
        }
    }
}
