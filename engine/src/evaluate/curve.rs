//! One threshold for many series: are their scores comparable?

use super::Reading;

/// How many thresholds are looked at.
const THRESHOLDS: usize = 400;

/// The highest and the lowest of them.
const RANGE: (f64, f64) = (1000.0, 0.01);

/// What each of a fixed row of thresholds would have done to all series together. Its size does not grow with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The sum of the shares of their events that are caught, for each threshold.
    caught: Vec<f64>,
    false_alarms: Vec<u64>,
    series: usize,
    days: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { caught: vec![0.0; THRESHOLDS], false_alarms: vec![0; THRESHOLDS], series: 0, days: 0.0 }
    }
}

/// The thresholds, falling, the same factor between each and the next.
fn threshold(at: usize) -> f64 {
    let (high, low) = RANGE;
    high * (low / high).powf(at as f64 / (THRESHOLDS - 1) as f64)
}

impl Curve {
    /// Adds a series of so many `events` and `days`, whose `readings` those are.
    pub fn add(&mut self, readings: &[Reading], events: usize, days: f64) {
        self.days += days;
        self.series += usize::from(events > 0);
        let mut reached = 0;
        for at in 0..THRESHOLDS {
            reached += readings[reached..].partition_point(|reading| reading.threshold >= threshold(at));
            let Some(reading) = reached.checked_sub(1).map(|last| readings[last]) else { continue };
            self.false_alarms[at] += reading.false_alarms;
            if events > 0 {
                self.caught[at] += reading.caught as f64 / events as f64;
            }
        }
    }

    /// Adds the series of another.
    pub fn join(&mut self, other: &Self) {
        self.caught.iter_mut().zip(&other.caught).for_each(|(sum, caught)| *sum += caught);
        self.false_alarms.iter_mut().zip(&other.false_alarms).for_each(|(sum, count)| *sum += count);
        self.series += other.series;
        self.days += other.days;
    }

    /// The threshold, and the mean share of the events of a series that it catches, with at most `a_day` false alarms a
    /// day and series; the best one, and of those that are as good the middle one, which is the furthest from what would
    /// be worse. `None` where there is no event at all.
    pub fn best(&self, a_day: f64) -> Option<(f64, f64)> {
        let series = (self.series > 0).then_some(self.series as f64)?;
        let affordable = |at: &usize| self.false_alarms[*at] as f64 <= a_day * self.days + 1e-9;
        let most = (0..THRESHOLDS).filter(affordable).map(|at| self.caught[at]).max_by(f64::total_cmp)?;
        let good: Vec<usize> = (0..THRESHOLDS).filter(affordable).filter(|at| self.caught[*at] >= most).collect();
        Some((threshold(good[good.len() / 2]), most / series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(threshold: f64, caught: usize, false_alarms: u64) -> Reading {
        Reading { threshold, caught, delay_ms: 0, false_alarms }
    }

    #[test]
    fn one_threshold_serves_series_whose_scores_are_comparable() {
        let mut alike = Curve::default();
        alike.add(&[reading(5.0, 1, 0), reading(0.5, 1, 9)], 1, 1.0);
        alike.add(&[reading(4.0, 2, 0), reading(0.6, 2, 9)], 2, 1.0);
        let (threshold, recall) = alike.best(0.0).unwrap();
        // Halfway between 4, below which both are caught, and 0.6, where false alarms begin.
        assert!((recall - 1.0).abs() < 1e-12 && (threshold - 1.55).abs() < 0.05, "{threshold} {recall}");

        let mut apart = Curve::default();
        apart.add(&[reading(0.2, 1, 0)], 1, 1.0);
        apart.add(&[reading(9.0, 0, 5), reading(4.0, 1, 9)], 1, 1.0);
        assert!(apart.best(0.0).unwrap().1 < 1e-12, "what catches the one wakes for nothing at the other");
        assert!((apart.best(4.5).unwrap().1 - 1.0).abs() < 1e-12);

        let mut joined = Curve::default();
        joined.join(&apart);
        joined.join(&Curve::default());
        assert_eq!(joined, apart);
    }

    #[test]
    fn without_events_there_is_no_share_of_them() {
        let mut curve = Curve::default();
        assert_eq!(curve.best(1.0), None);
        curve.add(&[reading(5.0, 0, 1)], 0, 1.0);
        curve.add(&[], 0, 1.0);
        assert_eq!(curve.best(1.0), None);
    }
}
