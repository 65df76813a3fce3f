//! What a replay shows of each series, and of all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tsdb::{Step, Timestamp};

use crate::evaluate::{Curve, Event, Fit, Judged, Reading, Rules, events, readings, vus_pr};
use crate::incident::{Lasting, PAUSE, reach};

/// A score above this is anomalous.
const EDGE: f64 = 1.0;

const DAYS_A_WEEK: f64 = 7.0;

/// What the labels say of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It caught an event.
    Hit,
    /// It lies just beside an event, or where alerts count as nothing: neither a hit nor false.
    Near,
    /// There was nothing.
    False,
}

/// Anomalous points that lie close to each other: what somebody would have been told of, from when they would have been.
/// Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The first point that somebody would have been told of: the first anomalous one, or, where scores must stay above 1
    /// for some time, the first one after that.
    pub from_ms: i64,
    /// The last one.
    pub until_ms: i64,
    /// The one with the highest score.
    pub peak_ms: i64,
    /// That score.
    pub peak_score: f64,
    /// How many points from then on are anomalous.
    pub points: usize,
    /// What the labels say of it, where there are any.
    pub verdict: Option<Verdict>,
}

/// What is known to have happened, and whether there was an alert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The first point of the event.
    pub from_ms: i64,
    /// The last one.
    pub until_ms: i64,
    /// When it was caught, if it was.
    pub caught_ms: Option<i64>,
}

/// What the best threshold for this series alone would catch, if only so many false alarms were allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budgeted {
    /// The threshold; none where nothing can be caught.
    pub threshold: Option<f64>,
    /// The share of the events that it catches.
    pub recall: f64,
}

/// A series held against its labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// The events.
    pub events: Vec<Known>,
    /// False alarms: see [`crate::evaluate`].
    pub false_alarms: u64,
    /// Volume under the surface of precision and recall; none without events.
    pub vus_pr: Option<f64>,
    /// With at most one false alarm a day; none without events.
    pub one_a_day: Option<Budgeted>,
    /// With at most one false alarm a week; none without events.
    pub one_a_week: Option<Budgeted>,
}

/// What a replay shows of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesResult {
    /// What it is called.
    pub series: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The distance between points.
    pub step_seconds: f64,
    /// The first point that was judged.
    pub from_ms: i64,
    /// The last one.
    pub until_ms: i64,
    /// The days between them.
    pub days: f64,
    /// Points that were judged.
    pub points: usize,
    /// Points of those that got a score.
    pub scored: usize,
    /// Points whose score is above 1.
    pub anomalous: usize,
    /// The part of the points inside the band.
    pub coverage: Option<f64>,
    /// The mean pinball loss of the band's edges and the median, over the mean change from point to point.
    pub loss: Option<f64>,
    /// What somebody would have been told of.
    pub alerts: Vec<Alert>,
    /// The labels' word on it, where there are labels.
    pub against: Option<Against>,
}

/// One series to be judged.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    /// What it is called.
    pub series: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The distance between points.
    pub step: Step,
    /// How many steps a score must stay above a threshold after the first point before somebody is told.
    pub patience: usize,
    /// The times of the points that are judged, rising.
    pub times: &'a [Timestamp],
    /// Their scores; NaN where there is none.
    pub scores: &'a [f64],
    /// Whether each is part of an event, and whether alarms there count as nothing, where that is known.
    pub truth: Option<(&'a [bool], &'a [bool])>,
    /// How well the band held them.
    pub fit: Fit,
    /// How far the buffer of the volume under the surface reaches, in points.
    pub vus_window: usize,
}

impl Trial<'_> {
    /// Judges the series, and adds what each threshold would have done to `curve`.
    pub fn judge(&self, curve: &mut Curve) -> SeriesResult {
        let (none, lasting) = (vec![false; self.times.len()], self.lasting());
        let (labels, neither) = self.truth.unwrap_or((&none, &none));
        let judged = Judged { times: self.times, scores: &lasting, labels, neither };
        let (rules, events) = (Rules::of(self.step), events(judged.labels));
        let vus_pr = || self.vus_pr(&judged);
        let against = self.truth.map(|_| Against { vus_pr: vus_pr(), ..against(&judged, &events, &rules, curve) });
        let time = |time: Option<&Timestamp>| time.map_or(0, |time| time.millis());
        SeriesResult {
            series: self.series.clone(),
            labels: self.labels.clone(),
            step_seconds: self.step.seconds(),
            from_ms: time(self.times.first()),
            until_ms: time(self.times.last()),
            days: judged.days(),
            points: self.times.len(),
            scored: self.scores.iter().filter(|score| !score.is_nan()).count(),
            anomalous: self.scores.iter().filter(|score| **score > EDGE).count(),
            coverage: self.fit.coverage(),
            loss: self.fit.loss(),
            alerts: self.alerts(&judged, &events, &rules),
            against,
        }
    }

    /// The volume under the surface over the points that count.
    fn vus_pr(&self, judged: &Judged<'_>) -> Option<f64> {
        let counts = || (0..judged.labels.len()).filter(|at| !judged.neither[*at]);
        let scores: Vec<f64> = counts().map(|at| self.scores[at]).collect();
        let labels: Vec<bool> = counts().map(|at| judged.labels[at]).collect();
        vus_pr(&scores, &labels, self.vus_window)
    }

    /// The scores as far as they have lasted: above a threshold where somebody would have been told.
    fn lasting(&self) -> Vec<f64> {
        let mut lasting = Lasting::new(self.patience);
        let mut newest: Option<(i64, f64)> = None;
        let mut told = Vec::with_capacity(self.scores.len());
        for (time, &score) in self.times.iter().zip(self.scores) {
            let cell = time.millis().div_euclid(self.step.millis());
            let value = match newest {
                Some((last, value)) if cell == last => value,
                _ => {
                    let missing = newest.map_or(0, |(last, _)| cell - last - 1);
                    // More than are looked back at change nothing.
                    for _ in 0..missing.min((self.patience + PAUSE + 1) as i64) {
                        lasting.push(f64::NAN);
                    }
                    lasting.push(score)
                }
            };
            newest = Some((cell, value));
            told.push(value);
        }
        told
    }

    /// The alerts: anomalous points that have lasted and are no further apart than those of one incident.
    fn alerts(&self, judged: &Judged<'_>, events: &[Event], rules: &Rules) -> Vec<Alert> {
        let zones = judged.zones(events, rules);
        let above: Vec<usize> = (0..self.scores.len()).filter(|at| judged.scores[*at] > EDGE).collect();
        let is_one = |a: &usize, b: &usize| self.times[*b] <= self.times[*a] + reach(self.step);
        let alert = |points: &[usize]| {
            let (first, last) = (points[0], points[points.len() - 1]);
            let peak = points.iter().copied().max_by(|a, b| self.scores[*a].total_cmp(&self.scores[*b]));
            let peak = peak.unwrap_or(first);
            let verdict = self.truth.map(|_| match () {
                () if judged.hits(events, first, last, EDGE, rules) => Verdict::Hit,
                () if points.iter().all(|at| zones[*at]) => Verdict::Near,
                () => Verdict::False,
            });
            let time = |at: usize| self.times[at].millis();
            Alert {
                from_ms: time(first),
                until_ms: time(last),
                peak_ms: time(peak),
                peak_score: self.scores[peak],
                points: points.len(),
                verdict,
            }
        };
        above.chunk_by(is_one).map(alert).collect()
    }
}

fn against(judged: &Judged<'_>, events: &[Event], rules: &Rules, curve: &mut Curve) -> Against {
    let (readings, days) = (readings(judged, rules), judged.days());
    curve.add(&readings, events.len(), days);
    let budgeted = |a_day: f64| {
        let best = Reading::best(&readings, a_day * days);
        let recall = best.map_or(0.0, |best| best.caught as f64 / events.len() as f64);
        (!events.is_empty()).then_some(Budgeted { threshold: best.map(|best| best.threshold), recall })
    };
    let (one_a_day, one_a_week) = (budgeted(1.0), budgeted(1.0 / DAYS_A_WEEK));
    Against { one_a_day, one_a_week, ..Against::at_edge(judged, events, rules, &readings) }
}

impl Against {
    /// What the threshold 1 alone shows of points whose `events` and `readings` those are.
    fn at_edge(judged: &Judged<'_>, events: &[Event], rules: &Rules, readings: &[Reading]) -> Self {
        let known = |event: &Event| Known {
            from_ms: judged.times[event.first].millis(),
            until_ms: judged.times[event.last].millis(),
            caught_ms: judged.caught(event, EDGE, rules).map(|at| judged.times[at].millis()),
        };
        let above = readings.partition_point(|reading| reading.threshold > EDGE);
        Self {
            events: events.iter().map(known).collect(),
            false_alarms: above.checked_sub(1).map_or(0, |at| readings[at].false_alarms),
            vus_pr: None,
            one_a_day: None,
            one_a_week: None,
        }
    }

    /// The same of points of which only those may be left out that are no alarm at 1, part of no event, and stand next to
    /// none.
    pub(super) fn of_alarms(judged: &Judged<'_>, step: Step) -> Self {
        let (rules, events) = (Rules::of(step), events(judged.labels));
        Self::at_edge(judged, &events, &rules, &readings(judged, &rules))
    }
}

/// What the labels say of all series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overall {
    /// Series that have events.
    pub series: usize,
    /// Their events.
    pub events: usize,
    /// Events that were caught.
    pub caught: usize,
    /// The share of the events that was caught.
    pub recall: Option<f64>,
    /// Events that were caught over those and the false alarms.
    pub precision: Option<f64>,
    /// The median time from the start of an event that was caught to its first alarm, in minutes.
    pub delay_minutes: Option<f64>,
    /// Alerts away from any event.
    pub false_alerts: usize,
    /// False alarms of all series: an alert that goes on counts again every hour.
    pub false_alarms: u64,
    /// The same for one series and a week.
    pub false_alarms_a_week: Option<f64>,
    /// The mean over the series that have events.
    pub vus_pr: Option<f64>,
    /// The mean recall where each series has its best threshold of one false alarm a day.
    pub recall_one_a_day: Option<f64>,
    /// The same for one false alarm a week.
    pub recall_one_a_week: Option<f64>,
    /// The mean recall with one threshold for all series and one false alarm a day and series.
    pub shared_one_a_day: Option<Budgeted>,
    /// The same for one false alarm a week and series.
    pub shared_one_a_week: Option<Budgeted>,
}

/// What a replay shows of all series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many series there are.
    pub series: usize,
    /// The days that were judged, all series together.
    pub days: f64,
    /// Points that were judged.
    pub points: usize,
    /// Points that got a score.
    pub scored: usize,
    /// Points whose score is above 1.
    pub anomalous: usize,
    /// The mean part of the points inside the band, over the series.
    pub coverage: Option<f64>,
    /// The mean loss of the bands, over the series.
    pub loss: Option<f64>,
    /// What somebody would have been told of.
    pub alerts: usize,
    /// The same for one series and a week.
    pub alerts_a_week: Option<f64>,
    /// How many incidents the alerts are, where those of several series that belong together are one.
    #[serde(default)]
    pub incidents: usize,
    /// The labels' word on it, where any series has labels.
    pub against: Option<Overall>,
}

impl Summary {
    /// Of all series, whose alerts are so many incidents; `curve` is what each threshold would have done to them.
    pub fn of(results: &[SeriesResult], incidents: usize, curve: &Curve) -> Self {
        let days: f64 = results.iter().map(|one| one.days).sum();
        let alerts = results.iter().map(|one| one.alerts.len()).sum();
        Self {
            series: results.len(),
            days,
            points: results.iter().map(|one| one.points).sum(),
            scored: results.iter().map(|one| one.scored).sum(),
            anomalous: results.iter().map(|one| one.anomalous).sum(),
            coverage: mean(results.iter().filter_map(|one| one.coverage)),
            loss: mean(results.iter().filter_map(|one| one.loss)),
            alerts,
            alerts_a_week: a_week(alerts as f64, days),
            incidents,
            against: Overall::of(results, curve),
        }
    }
}

impl Overall {
    /// What the labels say of those of the series that have any; `None` where none has.
    pub fn of(results: &[SeriesResult], curve: &Curve) -> Option<Self> {
        let labelled: Vec<(&SeriesResult, &Against)> =
            results.iter().filter_map(|one| Some((one, one.against.as_ref()?))).collect();
        if labelled.is_empty() {
            return None;
        }
        let each = || labelled.iter().map(|(_, against)| *against);
        let events: Vec<&Known> = each().flat_map(|against| &against.events).collect();
        let mut delays: Vec<i64> = events.iter().filter_map(|event| Some(event.caught_ms? - event.from_ms)).collect();
        let (caught, false_alarms) = (delays.len(), each().map(|against| against.false_alarms).sum::<u64>());
        let share = |part: usize, whole: f64| (whole > 0.0).then_some(part as f64 / whole);
        let shared =
            |a_day| curve.best(a_day).map(|(threshold, recall)| Budgeted { threshold: Some(threshold), recall });
        Some(Self {
            series: each().filter(|against| !against.events.is_empty()).count(),
            events: events.len(),
            caught,
            recall: share(caught, events.len() as f64),
            precision: share(caught, caught as f64 + false_alarms as f64),
            delay_minutes: median(&mut delays).map(|delay| delay / 60_000.0),
            false_alerts: labelled.iter().map(|(one, _)| of_verdict(one, Verdict::False)).sum(),
            false_alarms,
            false_alarms_a_week: a_week(false_alarms as f64, labelled.iter().map(|(one, _)| one.days).sum()),
            vus_pr: mean(each().filter_map(|against| against.vus_pr)),
            recall_one_a_day: mean(each().filter_map(|against| Some(against.one_a_day?.recall))),
            recall_one_a_week: mean(each().filter_map(|against| Some(against.one_a_week?.recall))),
            shared_one_a_day: shared(1.0),
            shared_one_a_week: shared(1.0 / DAYS_A_WEEK),
        })
    }
}

fn of_verdict(one: &SeriesResult, verdict: Verdict) -> usize {
    one.alerts.iter().filter(|alert| alert.verdict == Some(verdict)).count()
}

fn a_week(count: f64, days: f64) -> Option<f64> {
    (days > 0.0).then(|| count / days * DAYS_A_WEEK)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn median(values: &mut [i64]) -> Option<f64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    let upper = *values.get(middle)? as f64;
    Some(if values.len() % 2 == 1 { upper } else { (upper + values[middle - 1] as f64) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn result(scores: &[f64], truth: Option<&str>, curve: &mut Curve) -> SeriesResult {
        patient(0, scores, truth, curve)
    }

    fn patient(patience: usize, scores: &[f64], truth: Option<&str>, curve: &mut Curve) -> SeriesResult {
        let times: Vec<Timestamp> = (0..scores.len()).map(|at| Timestamp::from_millis(at as i64 * MINUTE)).collect();
        let marked = |marks: &str, wanted: char| marks.chars().map(|mark| mark == wanted).collect::<Vec<bool>>();
        let truth = truth.map(|marks| (marked(marks, '#'), marked(marks, '-')));
        let trial = Trial {
            series: "a".into(),
            labels: BTreeMap::new(),
            step: Step::from_millis(MINUTE).unwrap(),
            patience,
            times: &times,
            scores,
            truth: truth.as_ref().map(|truth| (&truth.0[..], &truth.1[..])),
            fit: Fit::default(),
            vus_window: 10,
        };
        trial.judge(curve)
    }

    /// A day of minutes with these scores, and otherwise 0.
    fn day(high: &[(usize, f64)]) -> Vec<f64> {
        let mut scores = vec![0.0; 1440];
        high.iter().for_each(|(at, score)| scores[*at] = *score);
        scores
    }

    fn events(runs: &[std::ops::RangeInclusive<usize>]) -> String {
        (0..1440).map(|at| if runs.iter().any(|run| run.contains(&at)) { '#' } else { '.' }).collect()
    }

    #[test]
    fn every_alert_is_a_hit_or_false_or_near_an_event() {
        let scores = day(&[(100, 2.0), (104, 3.0), (300, 1.5), (330, 1.2), (900, 4.0), (909, 2.0), (1200, 1.0)]);
        let labels = events(&[303..=310, 898..=901]);
        let found = result(&scores, Some(&labels), &mut Curve::default());
        let seen: Vec<_> = found
            .alerts
            .iter()
            .map(|alert| (alert.from_ms / MINUTE, alert.until_ms / MINUTE, alert.points, alert.verdict))
            .collect();
        assert_eq!(
            seen,
            [
                (100, 104, 2, Some(Verdict::False)),
                (300, 300, 1, Some(Verdict::Near)),
                (330, 330, 1, Some(Verdict::Near)),
                (900, 900, 1, Some(Verdict::Hit)),
                (909, 909, 1, Some(Verdict::Near)),
            ]
        );
        let against = found.against.unwrap();
        assert_eq!(against.false_alarms, 1);
        let caught: Vec<_> = against.events.iter().map(|event| event.caught_ms.map(|ms| ms / MINUTE)).collect();
        assert_eq!(caught, [None, Some(900)]);
        assert_eq!((found.anomalous, found.scored, found.points), (6, 1440, 1440));
        // The other event would take a threshold of 0, and with it an alarm that goes on all day.
        assert_eq!(against.one_a_day, Some(Budgeted { threshold: Some(4.0), recall: 0.5 }));
    }

    #[test]
    fn where_alarms_count_as_nothing_they_are_neither_right_nor_false() {
        let scores = day(&[(100, 2.0), (300, 3.0), (500, 4.0), (501, 4.0)]);
        let labels: String =
            events(&[98..=101]).chars().enumerate().map(|(at, mark)| if at / 100 == 5 { '-' } else { mark }).collect();
        let found = result(&scores, Some(&labels), &mut Curve::default());
        let verdicts: Vec<_> = found.alerts.iter().map(|alert| alert.verdict).collect();
        assert_eq!(verdicts, [Some(Verdict::Hit), Some(Verdict::False), Some(Verdict::Near)]);
        let against = found.against.unwrap();
        assert_eq!((against.events.len(), against.false_alarms), (1, 1));
        let without = result(&day(&[(100, 2.0), (300, 3.0)]), Some(&events(&[98..=101])), &mut Curve::default());
        let (vus_pr, clean) = (against.vus_pr.unwrap(), without.against.unwrap().vus_pr.unwrap());
        assert!((vus_pr - clean).abs() < 0.05, "{vus_pr} instead of about {clean}");
    }

    #[test]
    fn what_must_last_is_told_when_it_has() {
        let high: Vec<(usize, f64)> =
            (100..=107).chain([300, 303, 306, 309, 500, 501]).map(|at| (at, 2.0)).chain([(101, 5.0)]).collect();
        let labels = events(&[98..=110, 304..=306, 500..=503]);
        let found = patient(5, &day(&high), Some(&labels), &mut Curve::default());
        let seen: Vec<_> = found
            .alerts
            .iter()
            .map(|alert| (alert.from_ms / MINUTE, alert.until_ms / MINUTE, alert.points, alert.verdict))
            .collect();
        assert_eq!(seen, [(105, 107, 3, Some(Verdict::Hit)), (306, 309, 2, Some(Verdict::Hit))]);
        let against = found.against.unwrap();
        let caught: Vec<_> = against.events.iter().map(|event| event.caught_ms.map(|ms| ms / MINUTE)).collect();
        assert_eq!(caught, [Some(105), Some(306), None]);
        assert_eq!((found.anomalous, against.false_alarms), (14, 0));
        let none = patient(8, &day(&high), Some(&labels), &mut Curve::default());
        assert_eq!(none.alerts.iter().map(|alert| alert.from_ms / MINUTE).collect::<Vec<_>>(), [309]);
    }

    #[test]
    fn without_labels_nothing_is_said_of_them() {
        let found = result(&day(&[(5, 2.0)]), None, &mut Curve::default());
        assert_eq!((found.alerts.len(), found.alerts[0].verdict, found.against), (1, None, None));
        let summary = Summary::of(&[], 0, &Curve::default());
        assert_eq!((summary.series, summary.alerts_a_week, summary.against), (0, None, None));
    }

    #[test]
    fn the_summary_is_that_of_all_series() {
        let mut curve = Curve::default();
        let (quiet, loud) = (day(&[(100, 2.0)]), day(&[(102, 5.0), (600, 3.0), (800, 3.0)]));
        let results = [
            result(&quiet, Some(&events(&[100..=110])), &mut curve),
            result(&loud, Some(&events(&[100..=110, 1300..=1301])), &mut curve),
            result(&quiet, Some(&events(&[])), &mut curve),
        ];
        let summary = Summary::of(&results, 5, &curve);
        let all = summary.against.unwrap();
        assert_eq!((all.series, all.events, all.caught, all.false_alarms), (2, 3, 2, 3));
        assert_eq!(all.delay_minutes, Some(1.0));
        assert_eq!(all.precision, Some(0.4));
        assert!((all.recall.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!((all.recall_one_a_day.unwrap() - 0.75).abs() < 1e-12, "{all:?}");
        assert_eq!((summary.alerts, summary.incidents), (5, 5));
        // Three days less three minutes cannot afford three false alarms, which a threshold of 2 would raise.
        let shared = all.shared_one_a_day.unwrap();
        assert!((shared.recall - 0.25).abs() < 1e-12 && shared.threshold.unwrap() > 3.0, "{shared:?}");
    }
}
