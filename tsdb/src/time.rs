//! Points in time and the grid that series are read on.

use std::fmt;
use std::num::NonZeroI64;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the Unix epoch, as Prometheus counts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The time `seconds` seconds after the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, with the milliseconds as the fraction.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The last multiple of `step` that is not after this time.
    pub fn floor(self, step: Step) -> Self {
        Self(self.0 - self.0.rem_euclid(step.millis()))
    }

    /// The first multiple of `step` that is not before this time.
    pub fn ceil(self, step: Step) -> Self {
        let floor = self.floor(step);
        if floor == self { self } else { floor + step }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, such as `2026-01-31T10:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Add<Step> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Step) -> Self {
        Self(self.0.saturating_add(rhs.millis()))
    }
}

impl Sub<Step> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Step) -> Self {
        Self(self.0.saturating_sub(rhs.millis()))
    }
}

/// The distance between two neighbouring points of a series: a positive whole number of milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Step(NonZeroI64);

impl Step {
    /// A step of `millis` milliseconds; `None` unless that is positive.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match NonZeroI64::new(millis) {
            Some(step) if step.get() > 0 => Some(Self(step)),
            _ => None,
        }
    }

    /// A step of `duration`; `None` where that is less than a millisecond or beyond what a timestamp can hold.
    pub fn from_duration(duration: Duration) -> Option<Self> {
        i64::try_from(duration.as_millis()).ok().and_then(Self::from_millis)
    }

    /// Milliseconds.
    pub const fn millis(self) -> i64 {
        self.0.get()
    }

    /// Seconds.
    pub fn seconds(self) -> f64 {
        self.millis() as f64 / 1000.0
    }

    /// The same as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis().unsigned_abs())
    }

    /// How many whole steps `duration` holds.
    pub fn count(self, duration: Duration) -> usize {
        usize::try_from(duration.as_millis() / u128::from(self.millis().unsigned_abs())).unwrap_or(usize::MAX)
    }

    /// `count` steps as a duration.
    pub fn times(self, count: usize) -> Duration {
        Duration::from_millis(self.millis().unsigned_abs().saturating_mul(count as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_and_ceil_meet_on_the_grid_and_work_before_the_epoch() {
        let step = Step::from_millis(60_000).unwrap();
        for (millis, floor, ceil) in [(0, 0, 0), (1, 0, 60_000), (60_000, 60_000, 60_000), (-1, -60_000, 0)] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(time.floor(step).millis(), floor);
            assert_eq!(time.ceil(step).millis(), ceil);
        }
    }

    #[test]
    fn a_step_is_positive() {
        assert!(Step::from_millis(0).is_none());
        assert!(Step::from_millis(-5).is_none());
        assert!(Step::from_duration(Duration::from_micros(10)).is_none());
    }
}
