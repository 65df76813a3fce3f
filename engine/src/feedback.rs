//! How what people say of incidents moves the threshold for those that are alike.
//!
//! A verdict is about a pattern: series with certain labels, deviating to one side, by so much, at about these hours.
//! It holds for points after it was given, so that no score of the past changes by it, and wears off: it counts in full
//! for 30 days and then less every day, until after 90 days nothing of it is left. At other hours of the day it counts
//! half. Where several verdicts are about a point, the newest counts.
//!
//! - `expected` raises the threshold, from 1 to a little above the highest score of the incident (at full count). It
//!   never hides what is twice as large as the incident, in score or in the units of the data: from its size to twice
//!   that, the threshold goes back to 1.
//! - `anomaly` lowers the threshold, to 0.7 at full count.
//!
//! The score is divided by the threshold, so that 1 stays the edge.

use tsdb::{Labels, Timestamp};

use crate::score::HIGHEST_SCORE;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How many days a verdict counts in full, and after how many nothing of it is left.
const DAYS: (u32, u32) = (30, 90);

/// How far the threshold is raised beyond the incident's highest score.
const MARGIN: f64 = 1.1;

/// What is this many times as large as the incident is never hidden.
const TOO_LARGE: f64 = 2.0;

/// The threshold after the verdict `anomaly`, at full count.
const LOWERED: f64 = 0.7;

/// How many milliseconds before and after the incident's hours are its hours too.
const AROUND_MS: i64 = 60 * 60 * 1000;

/// How much a verdict counts at other hours.
const OTHER_HOURS: f64 = 0.5;

/// What was said that moves a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was rightly found.
    Anomaly,
    /// It was nothing unusual.
    Expected,
}

/// To which side a point deviates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above what was expected.
    Above,
    /// Below it.
    Below,
}

impl Side {
    /// That of `actual` where `expected` was.
    pub fn of(actual: f64, expected: f64) -> Self {
        if actual >= expected { Self::Above } else { Self::Below }
    }
}

/// A verdict on an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its id.
    pub id: String,
    /// What was said.
    pub said: Said,
    /// Which series it is about: those that have all labels of any of these.
    pub scope: Vec<Labels>,
    /// The side to which the incident deviated.
    pub side: Side,
    /// The incident's highest score.
    pub score: f64,
    /// Its distance from the expected value there, in the units of the data.
    pub deviation: f64,
    /// The incident's first point.
    pub from: Timestamp,
    /// Its last point.
    pub until: Timestamp,
    /// When it was given.
    pub given: Timestamp,
}

/// A point that was scored, as far as verdicts are about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// To which side it deviates.
    pub side: Side,
    /// Its score, before any verdict.
    pub score: f64,
    /// Its distance from the expected value, in the units of the data.
    pub deviation: f64,
}

/// What a verdict does to a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved<'a> {
    /// The verdict.
    pub verdict: &'a Verdict,
    /// The threshold instead of 1; the score is divided by it.
    pub threshold: f64,
}

impl Verdict {
    /// Whether it is about the series `labels`.
    pub fn is_for(&self, labels: &Labels) -> bool {
        self.scope.iter().any(|scope| scope.iter().all(|(name, value)| labels.get(name) == Some(value)))
    }

    /// How much it counts at `at`, from 0 to 1.
    fn count(&self, at: Timestamp) -> f64 {
        if at <= self.given {
            return 0.0;
        }
        let days = (at.millis() - self.given.millis()) as f64 / DAY_MS as f64;
        let (full, over) = (f64::from(DAYS.0), f64::from(DAYS.1));
        let left = ((over - days) / (over - full)).clamp(0.0, 1.0);
        if self.has_hours_of(at) { left } else { left * OTHER_HOURS }
    }

    /// Whether `at` is, on whatever day, at the hours of the incident.
    fn has_hours_of(&self, at: Timestamp) -> bool {
        let long = self.until.millis() - self.from.millis() + 2 * AROUND_MS;
        (at.millis() - self.from.millis() + AROUND_MS).rem_euclid(DAY_MS) <= long
    }

    /// The threshold for `point` of a series that this verdict is about.
    fn threshold(&self, point: &Seen) -> f64 {
        let count = self.count(point.at);
        match self.said {
            Said::Anomaly => 1.0 - (1.0 - LOWERED) * count,
            Said::Expected => self.raised(point, 1.0 + (MARGIN * self.score.max(1.0) - 1.0) * count),
        }
    }

    /// The threshold `full` where the point is no larger than that, and ever less up to twice the incident's size.
    fn raised(&self, point: &Seen, full: f64) -> f64 {
        let whole = self.score.max(1.0);
        let by_deviation = if self.deviation > 0.0 { point.deviation / self.deviation } else { 0.0 };
        let size = (point.score / whole).max(by_deviation) * whole;
        let end = TOO_LARGE * whole;
        if size <= full {
            return full;
        }
        if size >= end || full >= end {
            return 1.0;
        }
        // The score goes on from 1, without a jump, to what it is at twice the size.
        let score = 1.0 + (size - full) * (end - 1.0) / (end - full);
        (size / score).max(1.0)
    }
}

/// What the newest of `verdicts` that is about `point` does to it; all of them are about its series.
pub fn moved<'a>(verdicts: &'a [Verdict], point: &Seen) -> Option<Moved<'a>> {
    let about = verdicts.iter().filter(|one| one.side == point.side && one.count(point.at) > 0.0);
    let newest = about.max_by_key(|one| one.given)?;
    Some(Moved { verdict: newest, threshold: newest.threshold(point) })
}

/// The `score` of what came, and what was expected, divided by the threshold that `verdicts` on its series have moved.
pub fn heeded(verdicts: &[Verdict], at: Timestamp, (actual, expected): (f64, f64), score: f64) -> f64 {
    // Most series have none, and most points are no candidates.
    if verdicts.is_empty() || score.is_nan() || score == 0.0 {
        return score;
    }
    let seen = Seen { at, side: Side::of(actual, expected), score, deviation: (actual - expected).abs() };
    moved(verdicts, &seen).map_or(score, |moved| (score / moved.threshold).min(HIGHEST_SCORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    /// On an incident of `m{host="a"}` from 10:00 to 11:00 that went up to a score of 4, 20 above what was expected;
    /// given at noon.
    fn verdict(said: Said) -> Verdict {
        Verdict {
            id: "v".into(),
            said,
            scope: vec![labels("m{host=\"a\"}")],
            side: Side::Above,
            score: 4.0,
            deviation: 20.0,
            from: at(10 * HOUR),
            until: at(11 * HOUR),
            given: at(12 * HOUR),
        }
    }

    /// The score that is left of `score`, 5 a unit of it away from what was expected, `hours` after midnight.
    fn left(said: Said, series: &str, hours: i64, score: f64) -> f64 {
        let seen = Seen { at: at(hours * HOUR), side: Side::Above, score, deviation: 5.0 * score };
        let verdicts: Vec<Verdict> = [verdict(said)].into_iter().filter(|one| one.is_for(&labels(series))).collect();
        moved(&verdicts, &seen).map_or(score, |moved| score / moved.threshold)
    }

    fn check(said: Said, series: &str, hours: i64, score: f64, expected: f64) {
        let found = left(said, series, hours, score);
        assert!((found - expected).abs() < 1e-6, "{said:?} {series} at {hours} h: {score} became {found}");
    }

    const A: &str = "m{host=\"a\", zone=\"b\"}";

    #[test]
    fn what_was_expected_once_is_below_the_threshold_the_next_day() {
        check(Said::Expected, A, 24 + 10, 4.0, 4.0 / 4.4);
        check(Said::Expected, A, 24 + 12, 2.2, 0.5);
        check(Said::Expected, A, 24 + 9, 4.4, 1.0);
    }

    #[test]
    fn what_is_twice_as_large_is_never_hidden() {
        for hours in [24 + 10, 24 + 20, 24 * 40 + 10] {
            check(Said::Expected, A, hours, 8.0, 8.0);
            check(Said::Expected, A, hours, 900.0, 900.0);
        }
        let mut last = 0.0;
        for score in (0..100).map(|tenth| f64::from(tenth) / 10.0) {
            let found = left(Said::Expected, A, 24 + 10, score);
            assert!(found >= last && found - last < 0.3, "{score} became {found} after {last}: no jumps");
            last = found;
        }
    }

    #[test]
    fn a_band_without_width_hides_nothing_that_is_far_in_its_own_units() {
        let verdicts = [Verdict { score: 1000.0, ..verdict(Said::Expected) }];
        let left = |deviation: f64| {
            let seen = Seen { at: at(34 * HOUR), side: Side::Above, score: 1000.0, deviation };
            1000.0 / moved(&verdicts, &seen).unwrap().threshold
        };
        assert!(left(20.0) < 1.0 && (left(40.0) - 1000.0).abs() < 1e-6, "{} {}", left(20.0), left(40.0));
    }

    #[test]
    fn other_series_sides_and_times_are_not_concerned() {
        check(Said::Expected, "m{host=\"b\"}", 34, 4.0, 4.0);
        check(Said::Expected, "n{host=\"a\"}", 34, 4.0, 4.0);
        check(Said::Expected, A, 11, 4.0, 4.0);
        check(Said::Expected, A, 12, 4.0, 4.0);
        let below = Seen { at: at(34 * HOUR), side: Side::Below, score: 4.0, deviation: 20.0 };
        assert_eq!(moved(&[verdict(Said::Expected)], &below), None);
        let nobody = Verdict { scope: vec![], ..verdict(Said::Expected) };
        assert!(!nobody.is_for(&labels(A)));
    }

    #[test]
    fn it_counts_half_at_other_hours_and_wears_off() {
        check(Said::Expected, A, 24 + 20, 2.7, 1.0);
        // A month and half of the two months after it: half of the count at its own hours.
        check(Said::Expected, A, 12 + 24 * 60 + 22, 1.0, 1.0 / (1.0 + 3.4 * (90.0 - 60.0 - 22.0 / 24.0) / 60.0));
        check(Said::Expected, A, 12 + 24 * 90, 4.0, 4.0);
        check(Said::Anomaly, A, 24 + 10, 0.7, 1.0);
        check(Said::Anomaly, A, 24 + 20, 0.85, 1.0);
        check(Said::Anomaly, A, 12 + 24 * 90, 0.85, 0.85);
    }

    #[test]
    fn the_newest_verdict_counts() {
        let first = verdict(Said::Expected);
        let second = Verdict { id: "w".into(), given: at(13 * HOUR), ..verdict(Said::Anomaly) };
        let seen = Seen { at: at(34 * HOUR), side: Side::Above, score: 2.0, deviation: 10.0 };
        for verdicts in [[first.clone(), second.clone()], [second, first]] {
            assert_eq!(moved(&verdicts, &seen).unwrap().verdict.id, "w");
        }
    }

    #[test]
    fn a_score_is_divided_by_the_threshold() {
        let verdicts = [verdict(Said::Expected)];
        let check = |values: (f64, f64), score: f64, expected: f64| {
            let found = heeded(&verdicts, at(34 * HOUR), values, score);
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{values:?} {score}: {found}");
        };
        check((15.0, 5.0), 2.0, 2.0 / 4.4);
        check((5.0, 15.0), 2.0, 2.0);
        check((60.0, 5.0), 11.0, 11.0);
        check((5.0, 5.0), 0.0, 0.0);
        check((f64::NAN, f64::NAN), f64::NAN, f64::NAN);
        assert_eq!(heeded(&[], at(34 * HOUR), (15.0, 5.0), 2.0), 2.0);
        let lower = [Verdict { score: 2.0, ..verdict(Said::Anomaly) }];
        assert_eq!(heeded(&lower, at(34 * HOUR), (15.0, 5.0), 900.0), HIGHEST_SCORE);
    }

    /// The scores of a replay, in which the last point of the first series is a spike, after `verdicts`.
    fn replayed(verdicts: Vec<Verdict>) -> Vec<f64> {
        use crate::judge::Judge;
        use crate::testing::{LastValue, pipeline, wave};
        let mut frame = wave(2, 81);
        frame.row_mut(0)[80] = 100.0;
        let history = crate::History::of(frame);
        let mut judge = Judge::new(pipeline().into());
        judge.heed(verdicts.into());
        let (scored, _) = crate::replay::go_on(&mut judge, &LastValue, &history, at(60), at(80)).unwrap();
        scored.score.values().to_vec()
    }

    #[test]
    fn a_replay_heeds_what_was_said_before_its_points() {
        let plain = replayed(vec![]);
        let spike = plain[19];
        assert!(spike > 2.0, "{plain:?}");
        let said = |given: i64| Verdict {
            scope: vec![labels("up{row=\"0\"}")],
            score: spike,
            deviation: 1000.0,
            from: at(0),
            until: at(100),
            given: at(given),
            ..verdict(Said::Expected)
        };
        let heeded = replayed(vec![said(79)]);
        assert!((heeded[19] * 1.1 - 1.0).abs() < 0.01, "{} of {spike}", heeded[19]);
        assert_eq!((&heeded[..19], &heeded[20..]), (&plain[..19], &plain[20..]), "no other point has changed");
        assert_eq!(replayed(vec![said(80)]), plain, "it was given too late");
    }
}
