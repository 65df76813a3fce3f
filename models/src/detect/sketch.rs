//! Quantiles of a long stream in bounded memory.

/// How far apart the edges of neighbouring bins are, as a ratio.
const RATIO: f64 = 1.06;

/// How many bins there are: 12 decades.
const BINS: usize = 480;

/// What the lowest bin begins with; everything below counts as nothing.
const LOWEST: f64 = 1e-6;

/// A histogram of non-negative numbers in logarithmic bins, in which what is old counts ever less. A quantile is
/// within 3% of the true one.
///
/// The bins are those of DDSketch (Masson, Rim and Lee, VLDB 2019, section 2.1) with their number fixed.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    bins: Vec<f32>,
    total: f64,
    weight: f64,
    growth: f64,
}

impl Sketch {
    /// An empty one, in which a number counts half as much as one that is `half_life` numbers younger.
    pub(super) fn new(half_life: f64) -> Self {
        Self { bins: vec![0.0; BINS], total: 0.0, weight: 1.0, growth: 2f64.powf(1.0 / half_life) }
    }

    /// Counts `value`.
    pub(super) fn push(&mut self, value: f64) {
        let position = (value.max(LOWEST) / LOWEST).ln() / RATIO.ln();
        self.bins[(position as usize).min(BINS - 1)] += self.weight as f32;
        self.total += self.weight;
        self.weight *= self.growth;
        if self.weight > 1e12 {
            self.shrink(1e-12);
            self.weight *= 1e-12;
        }
    }

    /// Makes all that was counted so far count `factor` times as much as it does.
    pub(super) fn shrink(&mut self, factor: f64) {
        self.bins.iter_mut().for_each(|bin| *bin *= factor as f32);
        self.total *= factor;
    }

    /// The `level` quantile; 0 where nothing was counted.
    pub(super) fn quantile(&self, level: f64) -> f64 {
        let mut above = (1.0 - level) * self.total;
        for (at, bin) in self.bins.iter().enumerate().rev() {
            let bin = f64::from(*bin);
            if bin > 0.0 && above < bin {
                let inside = 1.0 - above / bin;
                return if at == 0 { 0.0 } else { LOWEST * RATIO.powf(at as f64 + inside) };
            }
            above -= bin;
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut sketch = Sketch::new(1e9);
        assert_eq!(sketch.quantile(0.5), 0.0);
        (1..=10_000).for_each(|at| sketch.push(f64::from(at) * 1e-3));
        for level in [0.01, 0.5, 0.95, 0.999] {
            let (found, expected) = (sketch.quantile(level), level * 10.0);
            assert!((found / expected - 1.0).abs() < 0.03, "{level}: {found} instead of {expected}");
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut sketch = Sketch::new(100.0);
        (0..1000).for_each(|_| sketch.push(5.0));
        (0..1000).for_each(|_| sketch.push(0.0));
        assert_eq!(sketch.quantile(0.99), 0.0);
        (0..1000).for_each(|_| sketch.push(1e9));
        assert!(sketch.quantile(0.5) > 1e5, "what is beyond the last bin lies in it");
    }
}
