//! What scoring of history would have shown: counted a piece at a time, a line a series ([`Tally`]); judged against what
//! is known to have happened ([`result`]), compared with what another pipeline would have shown ([`diff`]), and held
//! against what people said of it ([`cases`]). Alerts of several series are incidents together ([`group`]).

pub mod cases;
pub mod diff;
pub mod group;
pub mod result;
pub mod scope;

use std::collections::BTreeMap;

use tsdb::{Labels, Step, Timestamp};

use crate::incident::Lasting;
use crate::score::Scored;
use result::{Alert, SeriesResult};
use scope::labels_of;

/// How many points may lie between two anomalous ones of the same incident.
const PAUSE: usize = 3;

/// How many incidents of a series are kept; of the others only the number.
const MOST_INCIDENTS: usize = 100;

/// What was counted so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    patience: usize,
    series: BTreeMap<String, Line>,
}

/// What was counted of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// Points that got a score.
    pub points: usize,
    /// Points whose score is above 1.
    pub anomalous: usize,
    /// Points inside the band.
    pub inside: usize,
    /// How many incidents there were.
    pub incidents: usize,
    /// The first of them.
    pub first_incidents: Vec<Incident>,
    /// How many points ago the last one was that somebody would have been told of.
    since: usize,
    lasting: Lasting,
}

/// Anomalous points that lie close to each other, from when somebody would have been told. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// The first anomalous point.
    pub start_ms: i64,
    /// The last one.
    pub end_ms: i64,
    /// The one with the highest score.
    pub peak_ms: i64,
    /// That score.
    pub peak_score: f64,
    /// How many points are anomalous.
    pub points: usize,
}

impl Tally {
    /// Nothing yet, of a pipeline where a score must stay above 1 for `patience` steps after the first point before
    /// somebody is told.
    pub fn new(patience: usize) -> Self {
        Self { patience, series: BTreeMap::new() }
    }

    /// Counts the next piece; pieces come in order.
    pub fn add(&mut self, scored: &Scored) {
        for (row, (labels, scores)) in scored.score.rows().enumerate() {
            let new = || Line { lasting: Lasting::new(self.patience), ..Line::default() };
            let line = self.series.entry(labels.to_string()).or_insert_with(new);
            let (y, lower, upper) = (scored.y.row(row), scored.yhat_lower.row(row), scored.yhat_upper.row(row));
            for (point, score) in scores.iter().enumerate() {
                line.since = line.since.saturating_add(1);
                let lasting = line.lasting.push(*score);
                if score.is_nan() {
                    continue;
                }
                line.points += 1;
                line.inside += usize::from(lower[point] <= y[point] && y[point] <= upper[point]);
                line.anomalous += usize::from(*score > 1.0);
                if lasting > 1.0 {
                    line.told(scored.score.time(point).millis(), *score);
                }
            }
        }
    }

    /// The series, by their names.
    pub fn series(&self) -> &BTreeMap<String, Line> {
        &self.series
    }

    /// The series as they are held against what people said ([`cases`]): of very many incidents the first ones. Points
    /// `step` apart were looked at, from the first time to the last.
    pub fn results(&self, step: Step, from: Timestamp, until: Timestamp) -> Vec<SeriesResult> {
        let result = |(name, line): (&String, &Line)| SeriesResult {
            step_seconds: step.seconds(),
            from_ms: from.millis(),
            until_ms: until.millis(),
            days: (until.seconds() - from.seconds()) / 86_400.0,
            ..line.result(name)
        };
        self.series.iter().map(result).collect()
    }

    /// All series together; without their incidents, but for the number.
    pub fn total(&self) -> Line {
        let mut total = Line::default();
        for line in self.series.values() {
            total.points += line.points;
            total.anomalous += line.anomalous;
            total.inside += line.inside;
            total.incidents += line.incidents;
        }
        total
    }
}

impl Line {
    /// The part of the points inside the band; `None` without any.
    pub fn coverage(&self) -> Option<f64> {
        (self.points > 0).then(|| self.inside as f64 / self.points as f64)
    }

    fn result(&self, name: &str) -> SeriesResult {
        let labels = name.parse::<Labels>().unwrap_or_else(|_| Labels::metric(name));
        let alert = |incident: &Incident| Alert {
            from_ms: incident.start_ms,
            until_ms: incident.end_ms,
            peak_ms: incident.peak_ms,
            peak_score: incident.peak_score,
            points: incident.points,
            verdict: None,
        };
        SeriesResult {
            series: name.to_owned(),
            labels: labels_of(&labels),
            step_seconds: 0.0,
            from_ms: 0,
            until_ms: 0,
            days: 0.0,
            points: self.points,
            scored: self.points,
            anomalous: self.anomalous,
            coverage: self.coverage(),
            loss: None,
            alerts: self.first_incidents.iter().map(alert).collect(),
            against: None,
        }
    }

    /// Somebody would have been told of this point.
    fn told(&mut self, at_ms: i64, score: f64) {
        let goes_on = self.incidents > 0 && self.since <= PAUSE + 1;
        self.since = 0;
        if !goes_on {
            self.incidents += 1;
            if self.first_incidents.len() < MOST_INCIDENTS {
                let (start_ms, end_ms, peak_ms) = (at_ms, at_ms, at_ms);
                self.first_incidents.push(Incident { start_ms, end_ms, peak_ms, peak_score: score, points: 1 });
            }
            return;
        }
        if self.incidents > self.first_incidents.len() {
            return;
        }
        if let Some(incident) = self.first_incidents.last_mut() {
            (incident.end_ms, incident.points) = (at_ms, incident.points + 1);
            if score > incident.peak_score {
                (incident.peak_ms, incident.peak_score) = (at_ms, score);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::Frame;

    fn scored(start: i64, scores: &[f64]) -> Scored {
        let frame = |values: Vec<f64>| {
            let (step, start) = (Step::from_millis(1000).unwrap(), Timestamp::from_seconds(start));
            Frame::new(vec![Labels::metric("up")], start, step, scores.len(), values).unwrap()
        };
        let flat = |value: f64| frame(vec![value; scores.len()]);
        let [yhat, yhat_lower, yhat_upper] = [flat(0.0), flat(-1.0), flat(1.0)];
        Scored { y: frame(scores.to_vec()), yhat, yhat_lower, yhat_upper, score: frame(scores.to_vec()) }
    }

    #[test]
    fn however_it_is_cut_the_count_is_the_same() {
        let scores = [0.0, 2.0, 3.0, 0.5, f64::NAN, 0.1, 2.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.2];
        let mut whole = Tally::default();
        whole.add(&scored(0, &scores));
        let line = whole.total();
        assert_eq!((line.points, line.anomalous, line.inside, line.incidents), (12, 4, 8, 2));
        let [first, second] = whole.series()["up"].first_incidents[..] else { panic!("{whole:?}") };
        assert_eq!((first.start_ms, first.end_ms, first.peak_ms, first.points), (1000, 6000, 2000, 3));
        assert_eq!((second.start_ms, second.peak_score, second.points), (11_000, 5.0, 1));
        for cut in 1..scores.len() {
            let mut tally = Tally::default();
            tally.add(&scored(0, &scores[..cut]));
            tally.add(&scored(cut as i64, &scores[cut..]));
            assert_eq!(tally, whole, "{cut}");
        }
    }

    #[test]
    fn of_very_many_incidents_the_number_is_kept() {
        let scores: Vec<f64> = (0..1000).map(|at| if at % 5 == 0 { 2.0 } else { 0.0 }).collect();
        let mut tally = Tally::default();
        tally.add(&scored(0, &scores));
        let line = &tally.series()["up"];
        assert_eq!((line.incidents, line.first_incidents.len()), (200, MOST_INCIDENTS));
    }
}
