//! What there is to see of one series: an overview, and a closer look at what matters most in it.

use engine::Scored;
use engine::backtest::result::{Alert, Known, SeriesResult, Verdict};
use tsdb::Timestamp;

/// How many points an overview has, at most.
const OVERVIEW: usize = 800;

/// How many moments are looked at closely, at most.
const MOMENTS: usize = 4;

/// How many points a closer look has, at most.
const CLOSE: usize = 200;

/// How many points it shows around a moment, at least, on either side.
const AROUND: usize = 40;

/// The values of one series over a range, as they are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// The time of the first point, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The distance between points, in milliseconds.
    pub step_ms: i64,
    /// Score, value, expected value, lower and upper edge.
    pub rows: [Vec<f64>; 5],
}

impl Strip {
    /// The same with at most `most` points: of each few the one with the highest score, so that nothing is lost which
    /// somebody looks for.
    #[must_use]
    pub fn thin(&self, most: usize) -> Self {
        let points = self.rows[0].len();
        let every = points.div_ceil(most.max(1)).max(1);
        let starts = (0..points).step_by(every);
        let chosen: Vec<usize> = starts.map(|start| worst(&self.rows, start..(start + every).min(points))).collect();
        let rows = self.rows.each_ref().map(|row| chosen.iter().map(|at| row[*at]).collect());
        Self { start_ms: self.start_ms, step_ms: self.step_ms * every as i64, rows }
    }
}

/// What a moment is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// An event without an alert.
    Missed,
    /// An alert without an event.
    False,
    /// An alert that caught an event.
    Hit,
    /// An alert of which the labels say nothing.
    Alert,
}

/// A moment that is worth a closer look.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// What it is.
    pub kind: Kind,
    /// Its first point, in milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// Its last one.
    pub until_ms: i64,
    /// The highest score; none where it was missed.
    pub score: Option<f64>,
    /// The values around it.
    pub strip: Strip,
}

/// What there is to see of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// What the series is called.
    pub series: String,
    /// How much there is to see: pictures of more come first.
    pub interest: f64,
    /// The whole of it.
    pub overview: Strip,
    /// Its alerts.
    pub alerts: Vec<Alert>,
    /// What is known to have happened.
    pub events: Vec<Known>,
    /// What is looked at closely, the worst first.
    pub moments: Vec<Moment>,
}

impl Picture {
    /// The picture of the row `at` of what was scored. `actual` are the values on the grid of the history, which begins
    /// where `scored` does or earlier and ends with it; `offset` is how far the times of the input are behind the grid.
    pub fn new(result: &SeriesResult, scored: &Scored, at: usize, actual: &[f64], offset: i64) -> Self {
        let sheet = Sheet { scored, at, actual: &actual[actual.len() - scored.score.points()..], offset };
        let alerts = result.alerts.clone();
        let events = result.against.as_ref().map(|against| against.events.clone()).unwrap_or_default();
        let missed = events.iter().filter(|event| event.caught_ms.is_none()).count() as f64;
        let false_alarms = alerts.iter().filter(|alert| alert.verdict == Some(Verdict::False)).count() as f64;
        Self {
            series: result.series.clone(),
            interest: 2.0 * missed + false_alarms + 0.1 * alerts.len() as f64,
            overview: sheet.strip(0..scored.score.points(), OVERVIEW),
            moments: sheet.moments(&alerts, &events),
            alerts,
            events,
        }
    }
}

struct Sheet<'a> {
    scored: &'a Scored,
    at: usize,
    actual: &'a [f64],
    offset: i64,
}

impl Sheet<'_> {
    fn strip(&self, range: std::ops::Range<usize>, most: usize) -> Strip {
        let row = |frame: &tsdb::Frame| frame.row(self.at)[range.clone()].to_vec();
        let Scored { yhat, yhat_lower, yhat_upper, score, .. } = self.scored;
        let rows = [row(score), self.actual[range.clone()].to_vec(), row(yhat), row(yhat_lower), row(yhat_upper)];
        let start_ms = score.time(range.start).millis() + self.offset;
        Strip { start_ms, step_ms: score.step().millis(), rows }.thin(most)
    }

    fn moments(&self, alerts: &[Alert], events: &[Known]) -> Vec<Moment> {
        let mut all: Vec<(Kind, i64, i64, Option<f64>)> = vec![];
        let missed = events.iter().filter(|event| event.caught_ms.is_none());
        // Half of them may be misses, so that false alarms are seen too.
        all.extend(missed.take(MOMENTS / 2).map(|event| (Kind::Missed, event.from_ms, event.until_ms, None)));
        let kind = |alert: &Alert| match alert.verdict {
            Some(Verdict::False) => Some(Kind::False),
            Some(Verdict::Hit) => Some(Kind::Hit),
            Some(Verdict::Near) => None,
            None => Some(Kind::Alert),
        };
        let mut told: Vec<_> = alerts.iter().filter_map(|alert| Some((kind(alert)?, alert))).collect();
        told.sort_by(|(a, x), (b, y)| {
            (*a == Kind::Hit).cmp(&(*b == Kind::Hit)).then(y.peak_score.total_cmp(&x.peak_score))
        });
        all.extend(told.iter().map(|(kind, alert)| (*kind, alert.from_ms, alert.until_ms, Some(alert.peak_score))));
        all.truncate(MOMENTS);
        all.into_iter().map(|(kind, from_ms, until_ms, score)| self.moment(kind, from_ms, until_ms, score)).collect()
    }

    fn moment(&self, kind: Kind, from_ms: i64, until_ms: i64, score: Option<f64>) -> Moment {
        let points = self.scored.score.points();
        let place = |ms: i64| self.scored.score.nearest(Timestamp::from_millis(ms - self.offset));
        let (first, last) = (place(from_ms).unwrap_or(0), place(until_ms).unwrap_or(points.saturating_sub(1)));
        let around = AROUND.max(last - first);
        let range = first.saturating_sub(around)..(last + around + 1).min(points);
        Moment { kind, from_ms, until_ms, score, strip: self.strip(range, CLOSE) }
    }
}

/// The point with the highest score; where none has a score, the first that has a value.
fn worst(rows: &[Vec<f64>; 5], mut points: std::ops::Range<usize>) -> usize {
    let [score, y, ..] = rows;
    let first = points.start;
    let scored = points.clone().filter(|at| score[*at].is_finite());
    let worst = scored.max_by(|a, b| score[*a].total_cmp(&score[*b]));
    worst.or_else(|| points.find(|at| y[*at].is_finite())).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(score: &[f64], y: &[f64], most: usize, expected: &[f64]) {
        let rest = || vec![0.0; y.len()];
        let strip = Strip { start_ms: 0, step_ms: 10, rows: [score.to_vec(), y.to_vec(), rest(), rest(), rest()] };
        let thin = strip.thin(most);
        assert_eq!(format!("{:?}", thin.rows[1]), format!("{expected:?}"));
        assert_eq!(thin.step_ms, 10 * y.len().div_ceil(most).max(1) as i64);
    }

    #[test]
    fn the_worst_point_is_never_lost_and_gaps_are_passed_over() {
        const GAP: f64 = f64::NAN;
        check(&[0.1, 9.0, 0.2, 0.3], &[1.0, 2.0, 3.0, 4.0], 1, &[2.0]);
        check(&[0.1, 9.0, 0.2, 0.3, 0.4], &[1.0, 2.0, 3.0, 4.0, 5.0], 3, &[2.0, 4.0, 5.0]);
        check(&[0.1, 9.0], &[1.0, 2.0], 2, &[1.0, 2.0]);
        check(&[GAP, GAP, GAP, 0.3], &[GAP, 2.0, 3.0, 4.0], 2, &[2.0, 4.0]);
        check(&[], &[], 3, &[]);
    }
}
