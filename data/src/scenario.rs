//! A whole fleet over time.

use std::ops::Range;
use std::time::Duration;

use tsdb::{Frame, Step, Timestamp};

use crate::chance::Chance;
use crate::clock::Clock;
use crate::incident::{Agenda, Incident, Span};
use crate::series::{Series, SeriesKind};

/// What is to be generated. The same scenario always gives the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Everything that is chance comes from it.
    pub seed: u64,
    /// The time of the point 0.
    pub start: Timestamp,
    /// The distance between points. At most a few minutes, or short incidents fall between them.
    pub step: Step,
    /// How many series: ten a host, in the order of [`SeriesKind::ALL`]. More series leave the first ones as they are.
    pub series: usize,
    /// Time from the start without incidents.
    pub warm_up: Duration,
    /// A series that has incidents has at most one in every such stretch of time, and none where it is `None`.
    pub incident_every: Option<Duration>,
}

/// Values, and what is wrong with them.
#[derive(Clone, Debug)]
pub struct Generated {
    /// `series × points`; a missing scrape is NaN.
    pub frame: Frame,
    /// What goes wrong, by time.
    pub incidents: Vec<Incident>,
}

/// The first `points` points of a scenario with their incidents.
pub fn generate(scenario: &Scenario, points: usize) -> Generated {
    Generated { frame: scenario.frame(0..points), incidents: scenario.incidents(0..points) }
}

impl Scenario {
    /// A scenario with a week of warm-up and at most one incident a series in every three days after it.
    pub fn new(seed: u64, start: Timestamp, step: Step, series: usize) -> Self {
        let day = Duration::from_secs(86_400);
        Self { seed, start, step, series, warm_up: 7 * day, incident_every: Some(3 * day) }
    }

    /// The points of that range of indices. Frames of adjacent ranges put together are the frame of the whole range.
    pub fn frame(&self, points: Range<usize>) -> Frame {
        let series: Vec<Series> = self.all().collect();
        let mut values = vec![f64::NAN; series.len() * points.len()];
        for (series, row) in series.iter().zip(values.chunks_mut(points.len().max(1))) {
            self.fill(series, points.start as u64, row);
        }
        let labels = series.iter().map(Series::labels).collect();
        Frame::new(labels, self.clock().time(points.start as u64), self.step, points.len(), values)
            .expect("every series has its points, and no two hosts have the same number")
    }

    /// The incidents that touch the points of that range of indices, by time.
    pub fn incidents(&self, points: Range<usize>) -> Vec<Incident> {
        let clock = self.clock();
        let mut incidents = vec![];
        for (row, series) in self.all().enumerate() {
            incidents.extend(self.spans(&series, points.start as u64, points.end as u64).iter().map(|span| Incident {
                row,
                series: series.labels(),
                kind: span.kind,
                start: clock.time(span.first),
                end: clock.time(span.end),
            }));
        }
        incidents.sort_by_key(|incident| (incident.start, incident.row));
        incidents
    }

    fn all(&self) -> impl Iterator<Item = Series> {
        let seed = Chance::new(self.seed);
        (0..self.series).map(move |row| Series::new(seed, row))
    }

    fn clock(&self) -> Clock {
        Clock::new(self.start, self.step)
    }

    fn spans(&self, series: &Series, from: u64, to: u64) -> Vec<Span> {
        let Some(every) = self.incident_every.filter(|every| series.has_incidents && !every.is_zero()) else {
            return vec![];
        };
        let days = |time: Duration| time.as_secs_f64() / 86_400.0;
        let peak = match series.kind {
            SeriesKind::Network => (series.job.0, Some(series.job.1)),
            _ => (series.host.peak, None),
        };
        let agenda = Agenda {
            chance: series.incidents,
            kinds: series.kind.incidents(),
            clock: self.clock(),
            warm_up: days(self.warm_up),
            every: days(every),
            peak,
        };
        agenda.spans(from, to)
    }

    /// Writes the points from `from` on into `row`.
    fn fill(&self, series: &Series, from: u64, row: &mut [f64]) {
        let clock = self.clock();
        let counts = series.kind == SeriesKind::RequestCounter;
        let first = if counts { last_restart(&clock, series, from) } else { from };
        let to = from + row.len() as u64;
        let mut spans = self.spans(series, first, to).into_iter().peekable();
        let (mut total, mut cycle) = (0.0, f64::NAN);
        for index in first..to {
            let at = clock.moment(index);
            while spans.next_if(|span| span.end <= index).is_some() {}
            let upset = spans.peek().filter(|span| span.first <= index).map(|span| span.upset(index));
            let mut value = series.value(at, upset);
            if counts {
                if at.cycle(series.host.restart) != cycle {
                    (total, cycle) = (0.0, at.cycle(series.host.restart));
                }
                total += libm::floor(value * clock.step_seconds());
                value = total;
            }
            if index >= from && !series.is_missing(at) {
                row[(index - from) as usize] = value;
            }
        }
    }
}

/// The first point after the last restart before `index`: a counter is the sum from there.
fn last_restart(clock: &Clock, series: &Series, index: u64) -> u64 {
    let cycle = |index: u64| clock.moment(index).cycle(series.host.restart);
    let now = cycle(index);
    let mut first = index;
    while first > 0 && cycle(first - 1) == now {
        first -= 1;
    }
    first
}

#[cfg(test)]
mod tests;
