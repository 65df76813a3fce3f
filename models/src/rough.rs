//! A first decomposition into level, one season and rest, of medians only: cheap, and blind to what is short.
//!
//! The classical decomposition by moving averages (Kendall & Stuart; see Hyndman & Athanasopoulos, "Forecasting:
//! principles and practice", 3.4) with a median in the place of each mean.

use crate::prepare::median;

/// Level and season of a series. What is left is the series minus both.
#[derive(Debug, Clone)]
pub(crate) struct Rough {
    /// The level at each point.
    pub(crate) trend: Vec<f64>,
    /// The season at each point of a cycle; the point `t` of the series is at `t % period`.
    pub(crate) cycle: Vec<f64>,
}

impl Rough {
    /// `values` without gaps hold at least two periods; a period of 1 means no season.
    pub(crate) fn new(values: &[f64], period: usize) -> Self {
        let trend = levels(values, if period > 1 { period } else { (values.len() / 8).max(1) });
        let cycle = if period > 1 { cycle(values, &trend, period) } else { vec![0.0] };
        Self { trend, cycle }
    }

    /// Level and season at the point `at` of the series; beyond its end the last level stays.
    pub(crate) fn at(&self, at: usize) -> f64 {
        self.trend[at.min(self.trend.len() - 1)] + self.cycle[at % self.cycle.len()]
    }
}

/// The medians of blocks of `block` points that end with the series, held at the ends, with lines between their
/// centres.
fn levels(values: &[f64], block: usize) -> Vec<f64> {
    let n = values.len();
    let blocks = (n / block).max(1);
    let first = n.saturating_sub(blocks * block);
    let centre = |index: usize| first + index * block + block / 2;
    let mut scratch = values[first..].to_vec();
    let medians: Vec<f64> = scratch.chunks_mut(block).map(median).collect();
    let mut levels = vec![medians[0]; n];
    for (index, pair) in medians.windows(2).enumerate() {
        let slope = (pair[1] - pair[0]) / block as f64;
        for (steps, level) in levels[centre(index)..centre(index + 1)].iter_mut().enumerate() {
            *level = pair[0] + slope * steps as f64;
        }
    }
    let last = medians[medians.len() - 1];
    levels[centre(medians.len() - 1).min(n - 1)..].fill(last);
    levels
}

/// The median over the cycles of what is above the level, at each point of the cycle; around 0.
fn cycle(values: &[f64], trend: &[f64], period: usize) -> Vec<f64> {
    let mut seen = Vec::with_capacity(values.len() / period + 1);
    let mut cycle: Vec<f64> = (0..period)
        .map(|phase| {
            seen.clear();
            seen.extend((phase..values.len()).step_by(period).map(|at| values[at] - trend[at]));
            median(&mut seen)
        })
        .collect();
    let mean = cycle.iter().sum::<f64>() / period as f64;
    cycle.iter_mut().for_each(|value| *value -= mean);
    cycle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_leaves_no_trace() {
        let wave = |i: usize| ((i % 10) as f64 - 4.5) / 2.0;
        let mut values: Vec<f64> = (0..100).map(|i| 3.0 + wave(i)).collect();
        values[42] = 1e6;
        values[61..63].fill(-500.0);
        let rough = Rough::new(&values, 10);
        for at in 0..130 {
            assert!((rough.at(at) - 3.0 - wave(at)).abs() < 1.0, "{} at {at}", rough.at(at));
        }
    }

    #[test]
    fn short_series_have_a_level() {
        for n in 1..10 {
            assert_eq!(Rough::new(&vec![2.0; n], 1).at(n + 3), 2.0);
        }
    }
}
