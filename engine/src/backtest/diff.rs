//! Which alerts a change adds, and which it takes away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::result::{Alert, SeriesResult};

/// An alert of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// What the series is called.
    pub series: String,
    /// The alert.
    pub alert: Alert,
}

/// An alert that there is before and after, but not at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// What the series is called.
    pub series: String,
    /// The alert as it was.
    pub before: Alert,
    /// As it is now.
    pub after: Alert,
}

/// What differs between the alerts of two replays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// Alerts that there were not before.
    pub added: Vec<Told>,
    /// Alerts that there are no more.
    pub gone: Vec<Told>,
    /// Alerts that begin or end at another time.
    pub moved: Vec<Moved>,
    /// How many alerts are as they were.
    pub same: usize,
    /// Series that only one of both has; nothing is said of their alerts.
    pub unmatched: Vec<String>,
}

impl Diff {
    /// What `after` adds to `before` and takes away. Series are matched by their names; alerts of one series that overlap,
    /// or are no further apart than points of one incident, are the same alert.
    pub fn of(before: &[SeriesResult], after: &[SeriesResult]) -> Self {
        let by_name = |results: &'_ [SeriesResult]| -> BTreeMap<String, usize> {
            results.iter().enumerate().map(|(at, one)| (one.series.clone(), at)).collect()
        };
        let (old, new) = (by_name(before), by_name(after));
        let mut diff = Self::default();
        for (name, &at) in &old {
            match new.get(name) {
                Some(&other) => diff.add(&before[at], &after[other]),
                None => diff.unmatched.push(name.clone()),
            }
        }
        diff.unmatched.extend(new.keys().filter(|name| !old.contains_key(*name)).cloned());
        diff
    }

    fn add(&mut self, before: &SeriesResult, after: &SeriesResult) {
        let near = (before.step_seconds.max(after.step_seconds) * 1000.0) as i64 * (crate::incident::PAUSE as i64 + 1);
        let meets = |a: &Alert, b: &Alert| a.from_ms <= b.until_ms + near && b.from_ms <= a.until_ms + near;
        // Only what both looked at can be compared.
        let (from, until) = (before.from_ms.max(after.from_ms), before.until_ms.min(after.until_ms));
        let looked_at = |alert: &&Alert| alert.until_ms >= from && alert.from_ms <= until;
        let told = |alert: &Alert| Told { series: after.series.clone(), alert: *alert };
        for old in before.alerts.iter().filter(looked_at) {
            match after.alerts.iter().find(|new| meets(old, new)) {
                None => self.gone.push(told(old)),
                Some(new) if (new.from_ms, new.until_ms) == (old.from_ms, old.until_ms) => self.same += 1,
                Some(new) => self.moved.push(Moved { series: after.series.clone(), before: *old, after: *new }),
            }
        }
        let is_new = |new: &&Alert| !before.alerts.iter().any(|old| meets(old, new));
        self.added.extend(after.alerts.iter().filter(looked_at).filter(is_new).map(told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, alerts: &[(i64, i64)]) -> SeriesResult {
        let alert = |&(from_ms, until_ms): &(i64, i64)| Alert {
            from_ms,
            until_ms,
            peak_ms: from_ms,
            peak_score: 2.0,
            points: 1,
            verdict: None,
        };
        SeriesResult {
            series: name.into(),
            labels: BTreeMap::new(),
            step_seconds: 0.001,
            from_ms: 0,
            until_ms: 1000,
            days: 1.0,
            points: 1000,
            scored: 1000,
            anomalous: 0,
            coverage: None,
            loss: None,
            alerts: alerts.iter().map(alert).collect(),
            against: None,
        }
    }

    /// Alerts before and after; the first times of those added and gone, how many are moved and the same.
    fn check(before: &[(i64, i64)], after: &[(i64, i64)], added: &[i64], gone: &[i64], moved: usize, same: usize) {
        let diff = Diff::of(&[series("a", before)], &[series("a", after)]);
        let firsts = |told: &[Told]| told.iter().map(|one| one.alert.from_ms).collect::<Vec<_>>();
        assert_eq!((firsts(&diff.added), firsts(&diff.gone)), (added.to_vec(), gone.to_vec()), "{before:?} {after:?}");
        assert_eq!((diff.moved.len(), diff.same), (moved, same), "{before:?} {after:?}");
    }

    #[test]
    fn alerts_are_added_gone_moved_or_the_same() {
        check(&[], &[], &[], &[], 0, 0);
        check(&[(10, 20)], &[(10, 20)], &[], &[], 0, 1);
        check(&[(10, 20)], &[(12, 30)], &[], &[], 1, 0);
        check(&[(10, 20)], &[(24, 30)], &[], &[], 1, 0);
        check(&[(10, 20)], &[(25, 30)], &[25], &[10], 0, 0);
        check(&[(10, 20), (90, 95)], &[(90, 95), (500, 501)], &[500], &[10], 0, 1);
    }

    #[test]
    fn an_alert_that_falls_apart_is_no_new_one() {
        check(&[(10, 100)], &[(10, 20), (90, 100)], &[], &[], 1, 0);
        check(&[(10, 20), (90, 100)], &[(10, 100)], &[], &[], 2, 0);
    }

    #[test]
    fn what_only_one_has_looked_at_is_not_compared() {
        let (old, mut new) = (series("a", &[(10, 20), (500, 510)]), series("a", &[]));
        new.from_ms = 100;
        let diff = Diff::of(&[old.clone(), series("b", &[(1, 2)])], &[new, series("c", &[(1, 2)])]);
        assert_eq!((diff.gone.len(), diff.added.len()), (1, 0));
        assert_eq!(diff.unmatched, ["b", "c"]);
    }
}
