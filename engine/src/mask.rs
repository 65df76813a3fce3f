//! What a model must not learn from: points that were anomalous, for as long as they may be an incident.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use tsdb::{Labels, Step, Timestamp};

use crate::incident;

/// An incident is hidden where its highest score is above this: what is hardly outside belongs to the usual points that a
/// band leaves out, and without them a model would take the rest for narrower than it is, turn after turn.
pub const HIDDEN_ABOVE: f64 = 2.0;

/// A series that has lain outside its band for so long that this is how it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelShift {
    /// The source series.
    pub series: Labels,
    /// Its first point at the new level.
    pub since: Timestamp,
    /// When that was accepted, and the model began to learn from it.
    pub at: Timestamp,
    /// The median of what came before, as long as the shift has lasted; NaN where nothing did.
    pub from: f64,
    /// The median of what came since.
    pub to: f64,
}

/// Anomalous points of a series that belong together.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Timestamp,
    last: Timestamp,
    /// When its score was above [`HIDDEN_ABOVE`] for the first time.
    hidden: Option<Timestamp>,
    /// When it was accepted as a shift.
    accepted: Option<Timestamp>,
}

/// The anomalous points of a series as far back as contexts reach, and from when to when they are hidden.
#[derive(Clone, Debug)]
pub struct Runs {
    /// The longest that a run is hidden.
    limit: Duration,
    /// How far apart two points of a run are at most.
    reach: Duration,
    runs: VecDeque<Run>,
}

impl Runs {
    /// No points yet, of a series on a grid of `step`. What is anomalous for longer than `limit` is learned.
    pub fn new(limit: Duration, step: Step) -> Self {
        Self { limit, reach: incident::reach(step), runs: VecDeque::new() }
    }

    /// Takes in the score of a point; points come in the order of time. Answers the first point of the run that this one
    /// has made a shift of the level.
    pub fn note(&mut self, time: Timestamp, score: f64) -> Option<Timestamp> {
        if score.is_nan() || score <= 1.0 {
            return None;
        }
        let goes_on = self.runs.back().is_some_and(|run| time <= run.last + self.reach);
        if !goes_on {
            self.drop_unhidden();
            self.runs.push_back(Run { first: time, last: time, hidden: None, accepted: None });
        }
        let run = self.runs.back_mut()?;
        run.last = time;
        if score > HIDDEN_ABOVE {
            run.hidden.get_or_insert(time);
        }
        let is_shift = run.hidden.is_some() && run.accepted.is_none() && time >= run.first + self.limit;
        is_shift.then(|| {
            run.accepted = Some(time);
            run.first
        })
    }

    /// A run that has ended and was never hidden has no say any more.
    fn drop_unhidden(&mut self) {
        if self.runs.back().is_some_and(|run| run.hidden.is_none()) {
            self.runs.pop_back();
        }
    }

    /// Forgets the runs that ended before `time`.
    pub fn forget_before(&mut self, time: Timestamp) {
        while self.runs.front().is_some_and(|run| run.last + self.reach < time) {
            self.runs.pop_front();
        }
    }

    /// What is hidden from a forecast whose context ends with `origin`: incidents, and as many points after them as a pause
    /// may have. It is a matter of the points up to `origin` alone.
    pub fn hidden(&self, origin: Timestamp) -> impl Iterator<Item = Range<Timestamp>> + '_ {
        let is_hidden = move |run: &&Run| {
            run.hidden.is_some_and(|from| from <= origin) && run.accepted.is_none_or(|until| origin < until)
        };
        // Up to where the run might go on: so it doesn't matter whether it did, which nobody knew at `origin`.
        let end = origin + Duration::from_millis(1);
        self.runs.iter().filter(is_hidden).map(move |run| run.first..(run.last + self.reach).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// Of the scores of seconds from 0 on, with a limit of 10 s: the seconds that a forecast of `origin` doesn't see, and
    /// when a shift was told, with its begin.
    fn check(scores: &[f64], origin: i64, hidden: &[i64], shift: Option<(i64, i64)>) {
        let mut runs = Runs::new(Duration::from_secs(10), Step::from_millis(1000).unwrap());
        let note = |(second, score): (i64, &f64)| Some((second, runs.note(at(second), *score)?.millis() / 1000));
        let told: Vec<(i64, i64)> = (0..).zip(scores).filter_map(note).collect();
        assert_eq!(told, shift.into_iter().collect::<Vec<_>>(), "{scores:?}");
        let ranges: Vec<Range<Timestamp>> = runs.hidden(at(origin)).collect();
        let found: Vec<i64> =
            (0..scores.len() as i64).filter(|second| ranges.iter().any(|range| range.contains(&at(*second)))).collect();
        assert_eq!(found, hidden, "{scores:?} at {origin}");
    }

    #[test]
    fn an_incident_is_hidden_and_what_is_hardly_outside_is_not() {
        check(&[0.5, 3.0, 4.0, 0.5, 0.5, 0.5, 0.5, 0.5], 7, &[1, 2, 3, 4, 5], None);
        check(&[0.5, 1.5, 1.9, 0.5, 0.5], 4, &[], None);
        check(&[1.2, 0.5, 3.0, 0.5, 1.1, 0.5], 5, &[0, 1, 2, 3, 4, 5], None);
        check(&[1.2, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0], 6, &[5, 6], None);
        check(&[f64::NAN, 3.0, f64::NAN, 3.0], 3, &[1, 2, 3], None);
        check(&[0.5; 5], 4, &[], None);
    }

    #[test]
    fn a_forecast_knows_the_points_before_it_only() {
        let scores = [0.5, 1.5, 3.0, 3.0, 0.5, 3.0];
        check(&scores, 0, &[], None);
        check(&scores, 1, &[], None);
        check(&scores, 2, &[1, 2], None);
        check(&scores, 4, &[1, 2, 3, 4], None);
        check(&scores[..5], 4, &[1, 2, 3, 4], None);
        check(&scores, 5, &[1, 2, 3, 4, 5], None);
    }

    #[test]
    fn what_lasts_longer_than_the_limit_is_learned_from_its_begin() {
        let mut scores = [vec![0.5, 0.5], vec![3.0; 15], vec![0.5; 5], vec![3.0], vec![0.5]].concat();
        check(&scores, 11, &(2..=11).collect::<Vec<_>>(), Some((12, 2)));
        check(&scores, 12, &[], Some((12, 2)));
        check(&scores, 23, &[22, 23], Some((12, 2)));
        // A pause that is longer than that between the points of an incident begins it anew.
        scores[8..13].fill(0.5);
        check(&scores, 12, &(2..11).collect::<Vec<_>>(), None);
    }

    #[test]
    fn what_contexts_do_not_reach_is_forgotten() {
        let mut runs = Runs::new(Duration::from_secs(10), Step::from_millis(1000).unwrap());
        for second in [1, 20, 40] {
            runs.note(at(second), 5.0);
        }
        runs.forget_before(at(20));
        assert_eq!(runs.hidden(at(100)).count(), 2);
    }
}
