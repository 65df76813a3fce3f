//! What scoring of history would have shown: counted a piece at a time, a line a series ([`Tally`]); judged against what
//! is known to have happened ([`result`]), compared with what another pipeline would have shown ([`diff`]), and held
//! against what people said of it ([`cases`]; [`claims`] are what they knew). Alerts of several series are incidents together
//! ([`group`]).

pub mod cases;
pub mod claims;
pub mod diff;
pub mod group;
pub mod result;
pub mod scope;

use std::collections::BTreeMap;

use tsdb::{Labels, Step, Timestamp};

use crate::evaluate::Judged;
use crate::incident::Lasting;
use crate::score::Scored;
use claims::{Claim, Claimed, Claims};
use result::{Against, Alert, SeriesResult};
use scope::labels_of;

/// How many points may lie between two anomalous ones of the same incident.
const PAUSE: usize = 3;

/// How many incidents of a series are kept; of the others only the number.
const MOST_INCIDENTS: usize = 100;

/// What was counted so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    patience: usize,
    claims: Claims,
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
    /// What is known of it.
    claimed: Claimed,
    /// What is held against that; nothing where no event is known of any series.
    alarms: Alarms,
}

/// The alarms of a series, of each event also the first point and the last, and the one after it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Alarms {
    times: Vec<Timestamp>,
    scores: Vec<f64>,
    labels: Vec<bool>,
    neither: Vec<bool>,
    /// Whether the newest point is part of an event.
    is_in_event: bool,
}

impl Alarms {
    fn push(&mut self, time: Timestamp, lasting: f64, claim: Option<Claim>) {
        let (was_in_event, is_event) = (self.is_in_event, claim == Some(Claim::Event));
        self.is_in_event = is_event;
        // Of the points of an event that are no alarm, the first and the last say how long it is.
        if is_event && was_in_event && self.ends_idle() {
            self.forget_last();
        }
        if is_event || was_in_event || lasting > 1.0 {
            self.times.push(time);
            self.scores.push(lasting);
            self.labels.push(is_event);
            self.neither.push(claim == Some(Claim::Neither));
        }
    }

    /// Whether the newest point is no alarm, and not the first of its event.
    fn ends_idle(&self) -> bool {
        let is_alarm = self.scores.last().is_some_and(|score| *score > 1.0);
        !is_alarm && self.labels.iter().rev().nth(1) == Some(&true)
    }

    fn forget_last(&mut self) {
        self.times.pop();
        self.scores.pop();
        self.labels.pop();
        self.neither.pop();
    }

    fn against(&self, step: Step) -> Against {
        let Self { times, scores, labels, neither, .. } = self;
        Against::of_alarms(&Judged { times, scores, labels, neither }, step)
    }
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
    /// somebody is told, and of which `claims` are known.
    pub fn new(patience: usize, claims: Claims) -> Self {
        Self { patience, claims, series: BTreeMap::new() }
    }

    /// Counts the next piece; pieces come in order.
    pub fn add(&mut self, scored: &Scored) {
        let has_events = self.claims.has_events();
        for (row, (labels, scores)) in scored.score.rows().enumerate() {
            let name = labels.to_string();
            let claimed = || self.claims.of(&name, &labels_of(labels));
            let new = || Line { lasting: Lasting::new(self.patience), claimed: claimed(), ..Line::default() };
            let line = self.series.entry(name.clone()).or_insert_with(new);
            let (y, lower, upper) = (scored.y.row(row), scored.yhat_lower.row(row), scored.yhat_upper.row(row));
            for (point, score) in scores.iter().enumerate() {
                line.since = line.since.saturating_add(1);
                let lasting = line.lasting.push(*score);
                if score.is_nan() {
                    continue;
                }
                let time = scored.score.time(point);
                if has_events {
                    line.alarms.push(time, lasting, line.claimed.at(time));
                }
                line.points += 1;
                line.inside += usize::from(lower[point] <= y[point] && y[point] <= upper[point]);
                line.anomalous += usize::from(*score > 1.0);
                if lasting > 1.0 {
                    line.told(time.millis(), *score);
                }
            }
        }
    }

    /// The series, by their names.
    pub fn series(&self) -> &BTreeMap<String, Line> {
        &self.series
    }

    /// The series as they are held against what people said ([`cases`]), and against what is known to have happened, at the
    /// threshold 1 alone and without a word on single alerts: of very many incidents the first ones. Points `step` apart were
    /// looked at, from the first time to the last; days are those of the points that got a score.
    pub fn results(&self, step: Step, from: Timestamp, until: Timestamp) -> Vec<SeriesResult> {
        let result = |(name, line): (&String, &Line)| SeriesResult {
            step_seconds: step.seconds(),
            from_ms: from.millis(),
            until_ms: until.millis(),
            days: line.points as f64 * step.seconds() / 86_400.0,
            against: self.claims.has_events().then(|| line.alarms.against(step)),
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
    use super::cases::{Case, Said};
    use super::result::Trial;
    use super::scope::Scope;
    use super::*;
    use crate::evaluate::{Curve, Fit};
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

    /// Events and what counts as nothing, by the second; what a replay of all points says of them.
    fn check(patience: usize, cases: &[(i64, i64, Said)], scores: &[f64], known: (usize, usize, u64)) {
        let case = |&(from, until, said): &(i64, i64, Said)| {
            let (id, note) = (String::new(), String::new());
            Case { id, scope: Scope::parse("up"), from_ms: from * 1000, until_ms: until * 1000, said, note }
        };
        let claims = Claims::said(&cases.iter().map(case).collect::<Vec<_>>());
        let step = Step::from_millis(1000).unwrap();
        let times: Vec<Timestamp> = (0..scores.len()).map(|at| Timestamp::from_seconds(at as i64)).collect();
        let claimed = claims.of("up", &labels_of(&Labels::metric("up")));
        let is = |claim| times.iter().map(|time| claimed.at(*time) == Some(claim)).collect::<Vec<bool>>();
        let trial = Trial {
            series: "up".into(),
            labels: labels_of(&Labels::metric("up")),
            step,
            patience,
            times: &times,
            scores,
            truth: Some((&is(Claim::Event), &is(Claim::Neither))),
            fit: Fit::default(),
            vus_window: 0,
        };
        let expected = trial.judge(&mut Curve::default()).against.unwrap();
        let caught = expected.events.iter().filter(|event| event.caught_ms.is_some()).count();
        assert_eq!((expected.events.len(), caught, expected.false_alarms), known, "{cases:?}");
        for cut in [0, 1, 50, 102, 103, 4000] {
            let mut tally = Tally::new(patience, claims.clone());
            tally.add(&scored(0, &scores[..cut]));
            tally.add(&scored(cut as i64, &scores[cut..]));
            let results = tally.results(step, times[0], times[times.len() - 1]);
            let found = results[0].against.clone().unwrap();
            assert_eq!(
                (&found.events, found.false_alarms),
                (&expected.events, expected.false_alarms),
                "{cases:?} {cut}"
            );
        }
    }

    #[test]
    fn what_is_known_is_held_against_the_alarms_as_a_replay_does() {
        let mut scores = vec![0.5; 10_000];
        for at in [90, 91, 92, 103, 104, 105, 106, 107, 5000, 5001, 5002, 5003, 9000] {
            scores[at] = 2.0;
        }
        let (anomaly, nothing) = (Said::Anomaly, Said::Expected);
        check(0, &[(100, 110, anomaly)], &scores, (1, 1, 2));
        check(0, &[(100, 102, anomaly), (104, 110, anomaly)], &scores, (2, 2, 2));
        check(0, &[(100, 110, anomaly), (4990, 5001, nothing)], &scores, (1, 1, 2));
        check(0, &[(100, 110, anomaly), (4990, 5010, nothing), (9000, 9000, Said::Maintenance)], &scores, (1, 1, 0));
        check(0, &[(100, 110, anomaly), (7000, 7010, anomaly)], &scores, (2, 1, 2));
        check(3, &[(100, 110, anomaly), (9000, 9001, anomaly)], &scores, (2, 1, 1));
    }

    #[test]
    fn without_events_nothing_is_held_against_a_series() {
        let mut tally = Tally::default();
        tally.add(&scored(0, &[2.0, 0.0]));
        let (from, until) = (Timestamp::from_seconds(0), Timestamp::from_seconds(1));
        let result = tally.results(Step::from_millis(1000).unwrap(), from, until).remove(0);
        assert_eq!((result.against, result.days), (None, 2.0 / 86_400.0));
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
