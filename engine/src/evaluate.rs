//! What scores are worth against what is known to have happened.
//!
//! An *event* is a run of points that are labelled as anomalous. Alarms (points with a score of a threshold or more) are
//! read as somebody on call would: an event is caught by an alarm from its start until a little after its end; alarms
//! around an event, in its zone, are no false ones; other alarms are false, close ones are one alarm together, and an
//! alarm that goes on counts again every hour. [`Rules`] has the figures.

mod curve;
mod fit;
mod sweep;
mod vus;

use tsdb::{Step, Timestamp};

pub use curve::Curve;
pub use fit::Fit;
pub use sweep::{Reading, readings};
pub use vus::vus_pr;

const MINUTE: i64 = 60_000;

/// How alarms and events are read, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So long after its end an event is still caught by an alarm: 5 minutes, or a step.
    pub grace: i64,
    /// So long before an event alarms are not false: 5 minutes, or a step.
    pub zone_before: i64,
    /// So long after an event alarms are not false: 30 minutes, or 3 steps.
    pub zone_after: i64,
    /// Alarms this close to each other are one: 10 minutes, or 2 steps.
    pub merge: i64,
    /// After this long an alarm that goes on counts again: an hour.
    pub again: i64,
    /// How long a point lasts.
    pub step: i64,
}

impl Rules {
    /// The rules for series of `step`.
    pub fn of(step: Step) -> Self {
        let step = step.millis();
        Self {
            grace: (5 * MINUTE).max(step),
            zone_before: (5 * MINUTE).max(step),
            zone_after: (30 * MINUTE).max(3 * step),
            merge: (10 * MINUTE).max(2 * step),
            again: 60 * MINUTE,
            step,
        }
    }

    /// How often alarms from `first` to `last` are told of.
    fn notifications(&self, first: i64, last: i64) -> u64 {
        ((last - first + self.step) as u64).div_ceil(self.again as u64)
    }
}

/// A run of points that are labelled as anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The first of them.
    pub first: usize,
    /// The last of them.
    pub last: usize,
}

/// The runs of `labels` that are true.
pub fn events(labels: &[bool]) -> Vec<Event> {
    let mut found: Vec<Event> = vec![];
    for at in (0..labels.len()).filter(|at| labels[*at]) {
        match found.last_mut() {
            Some(event) if event.last + 1 == at => event.last = at,
            _ => found.push(Event { first: at, last: at }),
        }
    }
    found
}

/// The points of one series that are judged, in the order of time; all four are equally long.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// When each of them was.
    pub times: &'a [Timestamp],
    /// Their scores; NaN where there is none, which is never an alarm.
    pub scores: &'a [f64],
    /// Whether each is part of an event.
    pub labels: &'a [bool],
    /// Whether alarms there count as nothing, neither as right nor as false; no such point is part of an event.
    pub neither: &'a [bool],
}

impl Judged<'_> {
    fn time(&self, at: usize) -> i64 {
        self.times[at].millis()
    }

    /// Whether the point at `at` has a score above `threshold`, and counts.
    fn is_alarm(&self, at: usize, threshold: f64) -> bool {
        self.scores[at] > threshold && !self.neither[at]
    }

    /// The points that catch `event`.
    fn window(&self, event: &Event, rules: &Rules) -> std::ops::Range<usize> {
        let end = self.time(event.last) + rules.grace;
        event.first..self.times.partition_point(|time| time.millis() <= end)
    }

    /// At which points an alarm is not false: those in the zone of an event, and those that count as nothing.
    pub fn zones(&self, events: &[Event], rules: &Rules) -> Vec<bool> {
        let mut zones = self.neither.to_vec();
        for event in events {
            let (from, until) = (self.time(event.first) - rules.zone_before, self.time(event.last) + rules.zone_after);
            let first = self.times.partition_point(|time| time.millis() < from);
            let end = self.times.partition_point(|time| time.millis() <= until);
            zones[first..end].fill(true);
        }
        zones
    }

    /// The first point that catches `event` with a score above `threshold`.
    pub fn caught(&self, event: &Event, threshold: f64, rules: &Rules) -> Option<usize> {
        self.window(event, rules).find(|at| self.is_alarm(*at, threshold))
    }

    /// Whether one of the points from `first` to `last` that have a score above `threshold` catches one of `events`.
    pub fn hits(&self, events: &[Event], first: usize, last: usize, threshold: f64, rules: &Rules) -> bool {
        let alarm = |at: usize| first <= at && at <= last && self.is_alarm(at, threshold);
        events.iter().any(|event| self.window(event, rules).any(alarm))
    }

    /// The days from the first point to the last.
    pub fn days(&self) -> f64 {
        match (self.times.first(), self.times.last()) {
            (Some(first), Some(last)) => (last.seconds() - first.seconds()) / 86_400.0,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_runs() {
        let runs = |text: &str| {
            let labels: Vec<bool> = text.chars().map(|mark| mark == '#').collect();
            events(&labels).iter().map(|event| (event.first, event.last)).collect::<Vec<_>>()
        };
        for (text, expected) in
            [("", vec![]), ("...", vec![]), ("#", vec![(0, 0)]), ("##.#..###", vec![(0, 1), (3, 3), (6, 8)])]
        {
            assert_eq!(runs(text), expected, "{text}");
        }
    }

    #[test]
    fn an_alarm_that_goes_on_counts_again_every_hour() {
        let rules = Rules::of(Step::from_millis(MINUTE).unwrap());
        for (minutes, expected) in [(0, 1), (59, 1), (60, 2), (119, 2), (120, 3)] {
            assert_eq!(rules.notifications(0, minutes * MINUTE), expected, "{minutes}");
        }
    }
}
