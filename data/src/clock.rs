//! From the index of a point to the time of day, and back.

use tsdb::{Step, Timestamp};

/// Milliseconds of a day.
const DAY: f64 = 86_400_000.0;

/// The grid of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    step: Step,
}

/// One point of the grid. Days are counted in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The index of the point.
    pub(crate) index: u64,
    /// Days since 1970, with their fraction.
    pub(crate) day: f64,
    /// Days since the scenario began.
    pub(crate) age: f64,
}

impl Clock {
    /// The grid from `start`.
    pub(crate) fn new(start: Timestamp, step: Step) -> Self {
        Self { start, step }
    }

    /// The point at `index`.
    pub(crate) fn moment(&self, index: u64) -> Moment {
        let age = index as f64 * self.step.millis() as f64 / DAY;
        Moment { index, day: self.time(index).millis() as f64 / DAY, age }
    }

    /// The time of the point at `index`.
    pub(crate) fn time(&self, index: u64) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + index as i64 * self.step.millis())
    }

    /// The first point that is at least `age` days from the start.
    pub(crate) fn index(&self, age: f64) -> u64 {
        libm::ceil(age.max(0.0) * DAY / self.step.millis() as f64) as u64
    }

    /// How many points `days` are, at least three: fewer can't be told from noise.
    pub(crate) fn points(&self, days: f64) -> u64 {
        self.index(days).max(3)
    }

    /// Days since 1970 at the start.
    pub(crate) fn first_day(&self) -> f64 {
        self.moment(0).day
    }

    /// Seconds from one point to the next.
    pub(crate) fn step_seconds(&self) -> f64 {
        self.step.millis() as f64 / 1000.0
    }
}

impl Moment {
    /// How many whole days have passed since the last point before 1970 at which the time of day was `fraction`.
    pub(crate) fn cycle(&self, fraction: f64) -> f64 {
        libm::floor(self.day - fraction)
    }

    /// The part of a day since the time of day was `fraction`, in [0, 1).
    pub(crate) fn since(&self, fraction: f64) -> f64 {
        self.day - fraction - self.cycle(fraction)
    }

    /// Whether it is a Saturday or a Sunday.
    pub(crate) fn is_weekend(&self) -> bool {
        // The first of January 1970 was a Thursday.
        (libm::floor(self.day) as i64 + 3).rem_euclid(7) >= 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekends_and_hours_are_those_of_the_calendar() {
        // Friday the 17th of November 2023, 12:00.
        let clock = Clock::new(Timestamp::from_seconds(1_700_222_400), Step::from_millis(3_600_000).unwrap());
        for (index, weekend) in [(0, false), (11, false), (12, true), (59, true), (60, false)] {
            assert_eq!(clock.moment(index).is_weekend(), weekend, "hour {index}");
        }
        assert!((clock.moment(6).since(0.5) - 0.25).abs() < 1e-9);
        assert_eq!(clock.index(0.5), 12);
        assert_eq!(clock.points(0.01), 3);
    }
}
