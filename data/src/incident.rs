//! What goes wrong, when, and for how long.

use std::fmt;

use tsdb::{Labels, Timestamp};

use crate::chance::Chance;
use crate::clock::Clock;

/// What an incident looks like in its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    /// Far up for a few points.
    Spike,
    /// Down by more than half.
    Dip,
    /// Down to zero.
    Outage,
    /// Up for hours, then back.
    LevelShift,
    /// Slower and slower, to some multiple of the usual duration.
    LatencyDegradation,
    /// A good part of all requests fails.
    ErrorBurst,
    /// More comes in than goes out, for an hour or two.
    QueueBuildUp,
    /// Memory grows faster than its daily pattern, until the process is restarted.
    Leak,
    /// The daily peak, or the daily job, doesn't come.
    MissingPeak,
}

impl IncidentKind {
    /// The shortest and the longest duration, in days.
    fn duration(self) -> (f64, f64) {
        let minutes = match self {
            Self::Spike => (15.0, 30.0),
            Self::Dip | Self::Outage => (20.0, 60.0),
            Self::LevelShift => (240.0, 480.0),
            Self::LatencyDegradation => (45.0, 120.0),
            Self::ErrorBurst => (15.0, 45.0),
            Self::QueueBuildUp => (60.0, 150.0),
            Self::Leak => (240.0, 600.0),
            Self::MissingPeak => (240.0, 360.0),
        };
        (minutes.0 / 1440.0, minutes.1 / 1440.0)
    }

    /// How much of its full strength an incident has after the part `progress` of its duration.
    fn envelope(self, progress: f64) -> f64 {
        match self {
            Self::LatencyDegradation => (3.0 * progress).min(1.0),
            Self::QueueBuildUp | Self::Leak => progress,
            _ => 1.0,
        }
    }
}

impl fmt::Display for IncidentKind {
    /// In snake case, as in the JSON of `generate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spike => "spike",
            Self::Dip => "dip",
            Self::Outage => "outage",
            Self::LevelShift => "level_shift",
            Self::LatencyDegradation => "latency_degradation",
            Self::ErrorBurst => "error_burst",
            Self::QueueBuildUp => "queue_build_up",
            Self::Leak => "leak",
            Self::MissingPeak => "missing_peak",
        })
    }
}

/// One thing that goes wrong in one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The row of the series in every frame of the scenario.
    pub row: usize,
    /// The series.
    pub series: Labels,
    /// What it looks like.
    pub kind: IncidentKind,
    /// The first point that is not as usual.
    pub start: Timestamp,
    /// The first point after `start` that is as usual again.
    pub end: Timestamp,
}

/// An incident on the grid: its points are `first..end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) kind: IncidentKind,
    pub(crate) first: u64,
    pub(crate) end: u64,
    strength: f64,
}

/// What an incident does to one point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upset {
    pub(crate) kind: IncidentKind,
    /// How much of the full effect there is at this point, in [0, 1].
    pub(crate) envelope: f64,
    strength: f64,
}

impl Span {
    /// What it does to the point at `index`, which must be one of its own.
    pub(crate) fn upset(&self, index: u64) -> Upset {
        let progress = (index - self.first + 1) as f64 / (self.end - self.first) as f64;
        Upset { kind: self.kind, envelope: self.kind.envelope(progress), strength: self.strength }
    }
}

impl Upset {
    /// The effect at this point, where the full one is between `low` and `high`.
    pub(crate) fn size(&self, low: f64, high: f64) -> f64 {
        self.envelope * (low + (high - low) * self.strength)
    }
}

/// When the incidents of one series come: at most one in every window of `every` days after `warm_up` days.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agenda<'a> {
    pub(crate) chance: Chance,
    pub(crate) kinds: &'a [IncidentKind],
    pub(crate) clock: Clock,
    /// Days without incidents at the start.
    pub(crate) warm_up: f64,
    /// The length of a window in days.
    pub(crate) every: f64,
    /// The time of day of the peak that can be missing, and how long it lasts where it is a job, both in days.
    pub(crate) peak: (f64, Option<f64>),
}

/// How many of the windows have an incident.
const SHARE: f64 = 0.8;

impl Agenda<'_> {
    /// The incidents that touch the points `from..to`, in order.
    pub(crate) fn spans(&self, from: u64, to: u64) -> Vec<Span> {
        let window = |index| ((self.clock.moment(index).age - self.warm_up) / self.every).max(0.0) as u64;
        let spans = (window(from)..=window(to)).filter_map(|window| self.span(window));
        spans.filter(|span| span.first < to && span.end > from).collect()
    }

    /// The incident of one window. It leaves a twentieth free at both ends, so that two of them don't touch.
    fn span(&self, window: u64) -> Option<Span> {
        let chance = self.chance.of(window);
        if self.kinds.is_empty() || chance.uniform(0) > SHARE {
            return None;
        }
        let kind = self.kinds[(chance.bits(1) % self.kinds.len() as u64) as usize];
        let (low, high) = kind.duration();
        let days = match self.peak.1 {
            Some(job) if kind == IncidentKind::MissingPeak => job,
            _ => chance.between(2, low, high),
        };
        let begin = self.warm_up + self.every * (window as f64 + 0.05);
        let slack = self.every * 0.9 - days;
        let age = match kind {
            IncidentKind::MissingPeak => self.peak_after(begin + days / 2.0) - days / 2.0,
            _ => begin + slack * chance.uniform(3),
        };
        let (first, points) = (self.clock.index(age), self.clock.points(days));
        let fits = slack > 0.0 && age <= begin + slack;
        fits.then(|| Span { kind, first, end: first + points, strength: chance.uniform(4) })
    }

    /// The first peak at least `age` days after the start.
    fn peak_after(&self, age: f64) -> f64 {
        let day = self.clock.first_day();
        libm::ceil(day + age - self.peak.0) + self.peak.0 - day
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::Step;

    fn agenda(kinds: &[IncidentKind]) -> Agenda<'_> {
        let clock = Clock::new(Timestamp::from_seconds(1_700_000_000), Step::from_millis(60_000).unwrap());
        Agenda { chance: Chance::new(1), kinds, clock, warm_up: 7.0, every: 2.0, peak: (0.6, None) }
    }

    #[test]
    fn incidents_wait_for_the_warm_up_and_never_touch() {
        let kinds = [IncidentKind::Spike, IncidentKind::MissingPeak, IncidentKind::LevelShift];
        let spans = agenda(&kinds).spans(0, 60 * 1440);
        assert!(spans.len() > 15, "{}", spans.len());
        assert!(spans[0].first >= 7 * 1440);
        assert!(spans.windows(2).all(|pair| pair[0].end + 60 < pair[1].first));
        assert!(kinds.iter().all(|kind| spans.iter().any(|span| span.kind == *kind)));
    }

    #[test]
    fn a_cut_has_the_incidents_of_the_whole() {
        let kinds = [IncidentKind::Leak];
        let whole = agenda(&kinds).spans(0, 60 * 1440);
        let cut = agenda(&kinds).spans(20 * 1440, 21 * 1440);
        assert!(cut.iter().all(|span| whole.contains(span)));
        assert!(agenda(&[]).spans(0, 60 * 1440).is_empty());
    }
}
