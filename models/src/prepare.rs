//! One context made fit for a model: gaps known, leading ones cut off, centred and scaled.
//!
//! Everything behind this works on numbers around 0 with a spread around 1, so that a series at 1e9 with a spread
//! of 1, or one of 1e-12, loses no digits and needs no thresholds of its own.

use std::time::Duration;

/// A value beyond this can't be subtracted from another one without overflow, and is taken for a gap.
const LARGEST: f64 = 1e300;

/// The context of one series, from its first value on, in units of its own spread around its own median.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Centred and scaled values, oldest first; a gap is NaN, and the first one is none.
    pub(crate) values: Vec<f64>,
    /// How many of them are no gaps: at least one.
    pub(crate) present: usize,
    /// The time of the last point, in milliseconds since the Unix epoch.
    pub(crate) end_ms: i64,
    /// The distance between two points, in milliseconds.
    pub(crate) step_ms: i64,
    /// The smallest standard deviation that a forecast may state, scaled.
    pub(crate) floor: f64,
    /// The least and the greatest value, scaled.
    pub(crate) range: (f64, f64),
    centre: f64,
    scale: f64,
}

impl Series {
    /// `None` where there is no value at all. Infinite and absurd values count as gaps.
    pub(crate) fn new(context: &[f64], end_ms: i64, step: Duration) -> Option<Self> {
        let first = context.iter().position(|value| is_value(*value))?;
        let mut sorted: Vec<f64> = context[first..].iter().copied().filter(|value| is_value(*value)).collect();
        let present = sorted.len();
        let centre = median(&mut sorted);
        let (scale, floor) = spread(&mut sorted, centre);
        let values: Vec<f64> = context[first..].iter().map(|value| scaled(*value, centre, scale)).collect();
        let range = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        Some(Self { values, present, end_ms, step_ms, floor: floor / scale, range, centre, scale })
    }

    /// A scaled value in the units of the data, always finite for a finite one.
    pub(crate) fn original(&self, value: f64) -> f64 {
        (self.scale * value + self.centre).clamp(-f64::MAX, f64::MAX)
    }

    /// The values without their gaps.
    pub(crate) fn observed(&self) -> Vec<f64> {
        self.values.iter().copied().filter(|value| !value.is_nan()).collect()
    }

    /// The last value that is no gap.
    #[cfg(test)]
    pub(crate) fn last(&self) -> f64 {
        self.values.iter().rev().copied().find(|value| !value.is_nan()).unwrap_or(0.0)
    }

    /// The values with every gap filled: with the mean of what was there one season before and after where
    /// `season` (in points) is given, else and where both are missing too on the line between its neighbours.
    /// A gap at the end holds the last value.
    pub(crate) fn filled(&self, season: Option<usize>) -> Vec<f64> {
        let mut filled = self.values.clone();
        if self.present == filled.len() {
            return filled;
        }
        if let Some(season) = season {
            fill_from_seasons(&mut filled, &self.values, season);
        }
        interpolate(&mut filled);
        filled
    }

    /// How many points of history there are, gaps after the first value included.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

fn is_value(value: f64) -> bool {
    value.abs() < LARGEST
}

fn scaled(value: f64, centre: f64, scale: f64) -> f64 {
    if is_value(value) { (value - centre) / scale } else { f64::NAN }
}

/// The median, which is the mean of the two middle ones of an even number. Reorders `values`; 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lower / 2.0 + upper / 2.0
}

/// A scale to work in and the least standard deviation to state, both in the units of the data and above zero.
///
/// The scale is the median absolute deviation, or the mean one where more than half of the values are equal.
fn spread(values: &mut [f64], centre: f64) -> (f64, f64) {
    for value in values.iter_mut() {
        *value = (*value - centre).abs();
    }
    let mean = values.iter().map(|deviation| deviation / values.len() as f64).sum::<f64>();
    let mad = median(values);
    let precision = 1e-12 * centre.abs();
    if mad > precision {
        (mad, (1e-4 * mad).max(precision))
    } else if mean > precision {
        (mean, (1e-6 * mean).max(precision).max(f64::MIN_POSITIVE))
    } else {
        // Constant up to what a float can tell: a width that a chart does not show, but a real change leaves.
        let width = (1e-9 * centre.abs()).max(1e-12);
        (width, width)
    }
}

/// Gaps become the mean of the nearest values a whole number of seasons before and after.
fn fill_from_seasons(filled: &mut [f64], values: &[f64], season: usize) {
    for (at, value) in filled.iter_mut().enumerate().filter(|(_, value)| value.is_nan()) {
        let before = (1..=at / season).map(|back| values[at - back * season]).find(|found| !found.is_nan());
        let after = (at + season..values.len()).step_by(season).map(|next| values[next]).find(|next| !next.is_nan());
        *value = match (before, after) {
            (Some(before), Some(after)) => f64::midpoint(before, after),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => f64::NAN,
        };
    }
}

fn interpolate(values: &mut [f64]) {
    let mut last: Option<usize> = None;
    for at in 0..values.len() {
        if values[at].is_nan() {
            continue;
        }
        let from = last.unwrap_or(at);
        let slope = (values[at] - values[from]) / (at - from).max(1) as f64;
        for gap in from + 1..at {
            values[gap] = values[from] + slope * (gap - from) as f64;
        }
        last = Some(at);
    }
    if let Some(last) = last {
        let held = values[last];
        values[last + 1..].fill(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    fn series(context: &[f64]) -> Series {
        Series::new(context, 0, Duration::from_secs(60)).unwrap()
    }

    fn check_filled(context: &[f64], season: Option<usize>, expected: &[f64]) {
        let series = series(context);
        let filled: Vec<f64> = series.filled(season).iter().map(|value| series.original(*value)).collect();
        assert_eq!(filled.len(), expected.len());
        for (found, expected) in filled.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{filled:?}");
        }
    }

    #[test]
    fn gaps_are_filled() {
        check_filled(&[NAN, NAN, 1.0, NAN, 3.0, NAN], None, &[1.0, 2.0, 3.0, 3.0]);
        check_filled(&[1.0, 5.0, 2.0, NAN, 3.0, 9.0], Some(2), &[1.0, 5.0, 2.0, 7.0, 3.0, 9.0]);
        check_filled(&[4.0], None, &[4.0]);
        check_filled(&[1.0, f64::INFINITY, 3.0], None, &[1.0, 2.0, 3.0]);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        for context in [&[][..], &[NAN, NAN], &[f64::INFINITY, NAN], &[1e305]] {
            assert!(Series::new(context, 0, Duration::from_secs(1)).is_none());
        }
    }

    #[test]
    fn an_offset_costs_no_digits() {
        let series = series(&[1e9, 1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0, 1e9 + 4.0]);
        assert_eq!(series.values, [-2.0, -1.0, 0.0, 1.0, 2.0]);
        assert_eq!(series.last(), 2.0);
        assert!(series.floor < 0.01);
    }

    #[test]
    fn a_constant_has_a_positive_floor() {
        for value in [0.0, 5.0, -1e15, 1e-300] {
            let series = series(&[value; 10]);
            assert!(series.floor > 0.0 && series.original(0.0) == value, "{value}");
        }
    }
}
