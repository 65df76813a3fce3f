//! When somebody is called, and whether there was a reason.

use std::time::Duration;

use data::Incident;
use tsdb::{Frame, Timestamp};

/// So many points above 1 in a row are an alert.
pub const IN_A_ROW: usize = 3;

/// A single point with a score of at least this is an alert at once, if the next one is above 1 as well.
pub const HUGE: f64 = 10.0;

/// Alerts of one series that at most so many points lie between are one.
pub const PAUSE: usize = 12;

/// A stretch of one series that somebody is called for.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The row of the series.
    pub row: usize,
    /// The first point above 1.
    pub start: Timestamp,
    /// The point at which the rule was met.
    pub called: Timestamp,
    /// The last point above 1.
    pub last: Timestamp,
    /// The highest score.
    pub score: f64,
}

/// The alerts of all rows, by row and time: runs of points above 1 that have [`IN_A_ROW`] points, or two of which the
/// first has a score of [`HUGE`]. A gap ends a run.
pub fn alerts(score: &Frame) -> Vec<Alert> {
    (0..score.series().len()).flat_map(|row| of_row(score, row)).collect()
}

fn of_row(frame: &Frame, row: usize) -> Vec<Alert> {
    let scores = frame.row(row);
    let mut found: Vec<Alert> = vec![];
    let mut first = 0;
    for run in scores.chunk_by(|a, b| (*a > 1.0) == (*b > 1.0)) {
        if let Some(alert) = call(run).map(|called| Alert {
            row,
            start: frame.time(first),
            called: frame.time(first + called),
            last: frame.time(first + run.len() - 1),
            score: run.iter().copied().fold(0.0, f64::max),
        }) {
            match found.last_mut() {
                Some(open) if alert.start <= open.last + frame.step().times(PAUSE + 1) => {
                    (open.last, open.score) = (alert.last, open.score.max(alert.score));
                }
                _ => found.push(alert),
            }
        }
        first += run.len();
    }
    found
}

/// At which point of a run somebody is called.
fn call(run: &[f64]) -> Option<usize> {
    let above = run.first().is_some_and(|score| *score > 1.0);
    let huge = run.windows(2).position(|pair| pair[0] >= HUGE).map(|at| at + 1);
    let long = (run.len() >= IN_A_ROW).then_some(IN_A_ROW - 1);
    huge.into_iter().chain(long).min().filter(|_| above)
}

/// What became of an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The incident.
    pub incident: Incident,
    /// The first alert in its time; none where it was missed.
    pub alert: Option<Alert>,
}

impl Verdict {
    /// How long after the first point of the incident somebody was called.
    pub fn delay(&self) -> Option<Duration> {
        let millis = self.alert.as_ref()?.called.millis() - self.incident.start.millis();
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}

/// What became of each incident, and the alerts that have no point of any incident. What follows from an incident
/// after its end, such as the return to normal of what a model has got used to, counts as false.
pub fn compare(incidents: &[Incident], alerts: &[Alert]) -> (Vec<Verdict>, Vec<Alert>) {
    let during = |alert: &Alert, incident: &Incident| {
        alert.row == incident.row && alert.start < incident.end && alert.last >= incident.start
    };
    let explained = |alert: &Alert| incidents.iter().any(|incident| during(alert, incident));
    let false_alarms = alerts.iter().filter(|alert| !explained(alert)).cloned().collect();
    let verdict = |incident: &Incident| {
        let alert = alerts.iter().find(|alert| during(alert, incident)).cloned();
        Verdict { incident: incident.clone(), alert }
    };
    (incidents.iter().map(verdict).collect(), false_alarms)
}

#[cfg(test)]
mod tests {
    use data::IncidentKind;
    use tsdb::{Labels, Step};

    use super::*;

    const NAN: f64 = f64::NAN;

    fn found(scores: &[f64]) -> Vec<Alert> {
        let step = Step::from_millis(1000).unwrap();
        let series = vec![Labels::metric("up")];
        alerts(&Frame::new(series, Timestamp::default(), step, scores.len(), scores.to_vec()).unwrap())
    }

    fn check(scores: &[f64], expected: &[(i64, i64, i64)]) {
        let seconds = |time: Timestamp| time.millis() / 1000;
        let found = found(scores);
        let times: Vec<_> = found.iter().map(|a| (seconds(a.start), seconds(a.called), seconds(a.last))).collect();
        assert_eq!(times, expected, "{scores:?}");
    }

    #[test]
    fn somebody_is_called_for_runs_and_for_huge_scores() {
        check(&[], &[]);
        check(&[2.0, 2.0, 0.5, 2.0, 2.0], &[]);
        check(&[0.0, 2.0, 1.1, 1.1, 3.0, 1.0], &[(1, 3, 4)]);
        check(&[2.0, 2.0, NAN, 2.0], &[]);
        check(&[0.0, 12.0, 0.0, 0.0], &[]);
        check(&[0.0, 12.0, 1.5, 0.0], &[(1, 2, 2)]);
        check(&[0.0, 0.0, 2.0, 2.0, 2.0], &[(2, 4, 4)]);
    }

    #[test]
    fn neighbours_are_one_alert() {
        let near = [&[2.0; 3][..], &[0.0; PAUSE], &[5.0; 4]].concat();
        check(&near, &[(0, 2, 2 + PAUSE as i64 + 4)]);
        assert_eq!(found(&near)[0].score, 5.0);
        let far = [&[2.0; 3][..], &[0.0; PAUSE + 1], &[5.0; 4]].concat();
        assert_eq!(found(&far).len(), 2);
    }

    #[test]
    fn alerts_are_finds_or_false() {
        let at = Timestamp::from_seconds;
        let incident = |row, start, end| Incident {
            row,
            series: Labels::metric("up"),
            kind: IncidentKind::Spike,
            start: at(start),
            end: at(end),
        };
        let alert =
            |row, start, last| Alert { row, start: at(start), called: at(start + 10), last: at(last), score: 2.0 };
        let incidents = vec![incident(0, 100, 200), incident(1, 100, 200)];
        let alerts =
            [alert(0, 0, 50), alert(0, 150, 160), alert(1, 200, 300), alert(1, 3800, 3900), alert(2, 150, 160)];
        let (verdicts, wrong) = compare(&incidents, &alerts);
        assert_eq!(verdicts[0].delay(), Some(Duration::from_secs(60)));
        assert_eq!(verdicts[1].delay(), None, "what comes after it is no find");
        assert_eq!(wrong, [0, 2, 3, 4].map(|at| alerts[at].clone()));
    }
}
