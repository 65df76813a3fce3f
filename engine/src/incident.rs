//! Which anomalous points belong together: those of a series in episodes, episodes of several series in incidents.

use std::time::Duration;

use tsdb::{Frame, Labels, Step, Timestamp};

use crate::score::Scored;

mod group;
mod lasting;
mod severity;
mod telling;

pub use group::{has_lasted, inherited, together};
pub use lasting::Lasting;
pub use severity::{FULL_SCORE, Severity, weight};
pub use telling::{Telling, telling};

/// How many points may usually lie between two anomalous ones of the same incident.
pub const PAUSE: usize = 3;

/// A run of points of one series whose score is above 1; short pauses inside are part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The row of the series.
    pub series: usize,
    /// The first point above 1.
    pub first: usize,
    /// The last point above 1.
    pub last: usize,
    /// How many points are above 1.
    pub points: usize,
    /// The point with the highest score.
    pub peak: usize,
    /// The highest score.
    pub score: f64,
}

/// The incidents of all series, the highest score first. Points above 1 that at most `pause` other points lie
/// between belong to the same incident.
pub fn incidents(score: &Frame, pause: usize) -> Vec<Incident> {
    let mut all: Vec<Incident> =
        score.rows().enumerate().flat_map(|(series, (_, row))| of_series(series, row, pause)).collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (a.series, a.first).cmp(&(b.series, b.first))));
    all
}

fn of_series(series: usize, scores: &[f64], pause: usize) -> Vec<Incident> {
    let mut found: Vec<Incident> = vec![];
    for (at, &score) in scores.iter().enumerate().filter(|(_, score)| **score > 1.0) {
        match found.last_mut() {
            Some(open) if at - open.last <= pause + 1 => {
                open.last = at;
                open.points += 1;
                if score > open.score {
                    (open.peak, open.score) = (at, score);
                }
            }
            _ => found.push(Incident { series, first: at, last: at, points: 1, peak: at, score }),
        }
    }
    found
}

/// A point whose score is above 1, and what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// Its score.
    pub score: f64,
    /// What came.
    pub actual: f64,
    /// What was expected.
    pub expected: f64,
    /// The lower edge of the band.
    pub lower: f64,
    /// The upper edge of the band.
    pub upper: f64,
}

/// The anomalous points of one series, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomalous {
    /// The source series.
    pub series: Labels,
    /// Its points whose score is above 1.
    pub points: Vec<Point>,
}

/// What of `scored` is anomalous: the series that have a score above 1, with these points only.
pub fn anomalous(scored: &Scored) -> Vec<Anomalous> {
    let Scored { y, yhat, yhat_lower, yhat_upper, score } = scored;
    let of_row = |(row, (series, scores)): (usize, (&Labels, &[f64]))| {
        let above = scores.iter().enumerate().filter(|(_, score)| **score > 1.0);
        let point = |(at, &score): (usize, &f64)| Point {
            at: y.time(at),
            score,
            actual: y.row(row)[at],
            expected: yhat.row(row)[at],
            lower: yhat_lower.row(row)[at],
            upper: yhat_upper.row(row)[at],
        };
        Anomalous { series: series.clone(), points: above.map(point).collect() }
    };
    score.rows().enumerate().map(of_row).filter(|found| !found.points.is_empty()).collect()
}

/// How far apart two anomalous points of the same incident are at most, on a grid of `step`.
pub fn reach(step: Step) -> Duration {
    step.times(PAUSE + 1)
}

/// Points of one series whose score is above 1, with short pauses between them, by their times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// The first point above 1.
    pub first: Timestamp,
    /// The last point above 1.
    pub last: Timestamp,
    /// The point with the highest score.
    pub peak: Point,
    /// How many points are above 1.
    pub points: u64,
}

/// An episode, and which of those that were known are in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The whole.
    pub episode: Episode,
    /// The known ones, by their number. None where it is new, several where points have come that lie between them.
    pub known: Vec<usize>,
}

/// What becomes of the `known` episodes of a series when `points` come: those that grow or are joined, and new ones.
/// What lies inside a known episode was counted when that was made, so the same points may come again and change
/// nothing.
pub fn join(known: &[Episode], points: &[Point], reach: Duration) -> Vec<Joined> {
    let is_new = |point: &&Point| !known.iter().any(|one| (one.first..=one.last).contains(&point.at));
    let known = known.iter().enumerate().map(|(at, episode)| Joined { episode: *episode, known: vec![at] });
    let single = |point: &Point| Episode { first: point.at, last: point.at, peak: *point, points: 1 };
    let fresh = points.iter().filter(is_new).map(|point| Joined { episode: single(point), known: vec![] });
    let mut all: Vec<Joined> = known.chain(fresh).collect();
    all.sort_by_key(|one| one.episode.first);
    all.dedup_by(|one, before| one.known.is_empty() && one.episode.first == before.episode.first);
    let mut joined: Vec<(Joined, usize)> = vec![];
    for one in all {
        match joined.last_mut() {
            Some((open, parts)) if one.episode.first <= open.episode.last + reach => {
                open.episode.absorb(&one.episode);
                open.known.extend(one.known);
                *parts += 1;
            }
            _ => joined.push((one, 1)),
        }
    }
    let has_changed = |(one, parts): &(Joined, usize)| *parts > 1 || one.known.is_empty();
    joined.into_iter().filter(has_changed).map(|(one, _)| one).collect()
}

impl Episode {
    /// Adds `other`, which does not begin before it.
    fn absorb(&mut self, other: &Self) {
        self.last = self.last.max(other.last);
        self.points += other.points;
        if other.peak.score > self.peak.score {
            self.peak = other.peak;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// Points at these seconds, whose scores are given.
    fn points(of: &[(i64, f64)]) -> Vec<Point> {
        let point =
            |&(seconds, score)| Point { at: at(seconds), score, actual: 9.0, expected: 5.0, lower: 4.0, upper: 6.0 };
        of.iter().map(point).collect()
    }

    /// All episodes after `points` came to `known`, each as first, last, number of points and peak in seconds.
    fn after(known: &mut Vec<Episode>, of: &[(i64, f64)]) -> Vec<(i64, i64, u64, i64)> {
        let joined = join(known, &points(of), Duration::from_secs(4));
        let gone: Vec<usize> = joined.iter().flat_map(|one| one.known.clone()).collect();
        let mut kept = known.clone().into_iter().enumerate().filter(|(at, _)| !gone.contains(at));
        let mut all: Vec<Episode> = kept.by_ref().map(|(_, one)| one).collect();
        all.extend(joined.iter().map(|one| one.episode));
        all.sort_by_key(|one| one.first);
        known.clone_from(&all);
        let seconds = |time: Timestamp| time.millis() / 1000;
        all.iter().map(|one| (seconds(one.first), seconds(one.last), one.points, seconds(one.peak.at))).collect()
    }

    #[test]
    fn points_extend_an_episode_within_reach_and_begin_another_beyond() {
        let mut known = vec![];
        assert_eq!(after(&mut known, &[(10, 2.0), (14, 3.0)]), [(10, 14, 2, 14)]);
        assert_eq!(after(&mut known, &[(18, 2.5), (23, 9.0)]), [(10, 18, 3, 14), (23, 23, 1, 23)]);
    }

    #[test]
    fn the_same_points_again_change_nothing() {
        let mut known = vec![];
        let points = [(10, 2.0), (12, 3.0), (30, 2.0)];
        let once = after(&mut known, &points);
        assert_eq!(join(&known, &self::points(&points), Duration::from_secs(4)), []);
        assert_eq!(after(&mut known, &[(12, 3.0), (30, 2.0), (33, 1.5)])[0], once[0]);
        assert_eq!(after(&mut vec![], &[(5, 2.0), (5, 2.0)]), [(5, 5, 1, 5)], "doubled points count once");
    }

    #[test]
    fn a_history_that_comes_late_joins_what_lies_around_it() {
        let mut known = vec![];
        after(&mut known, &[(10, 2.0), (18, 5.0), (40, 2.0)]);
        assert_eq!(after(&mut known, &[(14, 3.0)]), [(10, 18, 3, 18), (40, 40, 1, 40)]);
        assert_eq!(after(&mut known, &[(7, 9.0)]), [(7, 18, 4, 7), (40, 40, 1, 40)]);
    }

    #[test]
    fn only_what_is_above_one_is_handed_out() {
        let frame = |values: &[f64]| {
            let series = vec![Labels::metric("a"), Labels::metric("b")];
            Frame::new(series, at(0), Step::from_millis(1000).unwrap(), 2, values.to_vec()).unwrap()
        };
        let (band, score) = (frame(&[5.0; 4]), frame(&[1.0, f64::NAN, 0.0, 2.0]));
        let (y, lower) = (frame(&[1.0, f64::NAN, 3.0, 7.0]), frame(&[4.0; 4]));
        let scored = Scored { y, yhat: band.clone(), yhat_lower: lower, yhat_upper: band, score };
        let point = Point { at: at(1), score: 2.0, actual: 7.0, expected: 5.0, lower: 4.0, upper: 5.0 };
        assert_eq!(anomalous(&scored), [Anomalous { series: Labels::metric("b"), points: vec![point] }]);
    }

    fn check(rows: &[&[f64]], pause: usize, expected: &[(usize, usize, usize, usize, usize)]) {
        let series = (0..rows.len()).map(|row| Labels::metric(&format!("m{row}"))).collect();
        let points = rows[0].len();
        let frame =
            Frame::new(series, Timestamp::default(), Step::from_millis(1000).unwrap(), points, rows.concat()).unwrap();
        let found: Vec<_> =
            incidents(&frame, pause).iter().map(|i| (i.series, i.first, i.last, i.points, i.peak)).collect();
        assert_eq!(found, expected, "{rows:?} with pauses of {pause}");
    }

    #[test]
    fn points_above_one_are_grouped_and_the_worst_comes_first() {
        let nan = f64::NAN;
        check(&[&[0.0, 1.0, nan]], 0, &[]);
        check(&[&[2.0, 3.0, 0.0, 4.0]], 0, &[(0, 3, 3, 1, 3), (0, 0, 1, 2, 1)]);
        check(&[&[2.0, 3.0, 0.0, 4.0]], 1, &[(0, 0, 3, 3, 3)]);
        check(&[&[2.0, nan, nan, 2.0]], 1, &[(0, 0, 0, 1, 0), (0, 3, 3, 1, 3)]);
        check(&[&[2.0, 0.0], &[0.0, f64::INFINITY]], 3, &[(1, 1, 1, 1, 1), (0, 0, 0, 1, 0)]);
    }
}
