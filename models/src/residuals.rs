//! What is left of the data when the forecast is taken away, as a distribution.

use distrs::Normal;

use crate::prepare::median;

/// How many residuals must lie beyond an empirical quantile for it to be believed.
const BEYOND: f64 = 5.0;
/// From how many robust standard deviations on a residual counts as no more than that.
const CLIP: f64 = 4.0;
/// Below this number of residuals only their scale is used.
const FEW: usize = 20;

/// Where a standard normal variable stays below with probability `level` (Wichura 1988, AS 241, in `distrs`).
pub(crate) fn normal(level: f64) -> f64 {
    Normal::ppf(level, 0.0, 1.0)
}

/// The distribution of residuals, robust against a few of them.
///
/// Its quantiles are the empirical ones (linear interpolation, Hyndman & Fan's type 7) of the residuals winsorised
/// at 4 robust standard deviations around their median, where at least 5 residuals lie beyond. Farther out it goes
/// on as a normal distribution with the robust standard deviation, so that every level has a finite quantile.
/// Where more than half of the residuals are equal, winsorising leaves alone all but the outermost 5 on either side:
/// what is rare but regular is no outlier then.
#[derive(Debug, Clone)]
pub(crate) struct Residuals {
    sorted: Vec<f64>,
    centre: f64,
    sd: f64,
}

impl Residuals {
    /// `residuals` must be finite; `None` where there is none.
    pub(crate) fn new(residuals: Vec<f64>) -> Option<Self> {
        let mut distribution = Self::plain(residuals)?;
        distribution.winsorise();
        Some(distribution)
    }

    /// The same without winsorising: for values whose own quantiles are asked for.
    pub(crate) fn plain(mut residuals: Vec<f64>) -> Option<Self> {
        if residuals.is_empty() {
            return None;
        }
        sort(&mut residuals);
        let centre = middle(&residuals);
        let sd = robust_deviation(&residuals, centre);
        Some(Self { sorted: residuals, centre, sd })
    }

    fn winsorise(&mut self) {
        let (mut low, mut high) = (self.centre - CLIP * self.sd, self.centre + CLIP * self.sd);
        if mostly_equal(&self.sorted, self.centre) {
            let last = self.sorted.len() - 1;
            low = low.min(self.sorted[last.min(BEYOND as usize)]);
            high = high.max(self.sorted[last.saturating_sub(BEYOND as usize)]);
        }
        for residual in &mut self.sorted {
            *residual = residual.clamp(low, high);
        }
    }

    /// The robust standard deviation.
    pub(crate) fn deviation(&self) -> f64 {
        self.sd
    }

    /// The mean of the winsorised residuals.
    pub(crate) fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len() as f64
    }

    /// The robust standard deviation, larger where it is itself uncertain because there are few residuals.
    pub(crate) fn uncertain_deviation(&self) -> f64 {
        let n = self.sorted.len();
        if n < FEW { self.sd * (1.0 + 2.0 / n as f64) } else { self.sd }
    }

    /// The quantile at `level`, strictly between 0 and 1.
    pub(crate) fn quantile(&self, level: f64) -> f64 {
        let n = self.sorted.len();
        if n < FEW {
            return self.centre + self.uncertain_deviation() * normal(level);
        }
        let least = BEYOND / n as f64;
        let believed = level.clamp(least, 1.0 - least);
        let tail = if believed == level { 0.0 } else { normal(level) - normal(believed) };
        self.empirical(believed) + self.sd * tail
    }

    fn empirical(&self, level: f64) -> f64 {
        let at = level * (self.sorted.len() - 1) as f64;
        let below = at.floor() as usize;
        let above = (below + 1).min(self.sorted.len() - 1);
        let share = at - below as f64;
        self.sorted[below] + share * (self.sorted[above] - self.sorted[below])
    }
}

/// Sorts finite numbers, as integers of the same order: that compares faster.
fn sort(values: &mut [f64]) {
    // The bits of a negative number count backwards, but for the sign.
    let turn = |bits: i64| bits ^ (((bits >> 63) as u64) >> 1) as i64;
    let mut keys: Vec<i64> = values.iter().map(|value| turn(value.to_bits() as i64)).collect();
    keys.sort_unstable();
    for (value, key) in values.iter_mut().zip(keys) {
        *value = f64::from_bits(turn(key) as u64);
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
}

/// Whether more than half of the numbers are their median `centre`, so that their median absolute deviation is 0.
fn mostly_equal(sorted: &[f64], centre: f64) -> bool {
    let equal = sorted.partition_point(|value| *value <= centre) - sorted.partition_point(|value| *value < centre);
    2 * equal > sorted.len()
}

/// The standard deviation around `centre` of what is winsorised at [`CLIP`] times the one that the median absolute
/// deviation implies for normal data: nearly as precise as the plain one there, yet moved little by an incident.
///
/// Where more than half of the numbers are equal, the median absolute deviation is 0 and says nothing; the clip is
/// then set by the mean absolute deviation of all but the outermost twentieth on either side.
fn robust_deviation(sorted: &[f64], centre: f64) -> f64 {
    let mut deviations: Vec<f64> = sorted.iter().map(|value| (value - centre).abs()).collect();
    let mut first = 1.4826 * median(&mut deviations);
    if first <= 0.0 {
        let cut = sorted.len() / 20;
        let kept = &sorted[cut..sorted.len() - cut];
        first = 1.2533 * kept.iter().map(|value| (value - centre).abs()).sum::<f64>() / kept.len() as f64;
    }
    let limit = CLIP * first;
    let squares = deviations.iter().map(|deviation| deviation.min(limit).powi(2)).sum::<f64>();
    (squares / sorted.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn normals(n: usize) -> Vec<f64> {
        (0..n).map(|i| normal((i as f64 + 0.5) / n as f64)).collect()
    }

    #[test]
    fn normal_residuals_have_normal_quantiles() {
        let residuals = Residuals::new(normals(2000)).unwrap();
        for level in [0.0001, 0.01, 0.05, 0.5, 0.9, 0.975, 0.99999] {
            let (found, expected) = (residuals.quantile(level), normal(level));
            assert!((found - expected).abs() < 0.05, "{level}: {found}, not {expected}");
        }
        assert!((residuals.deviation() - 1.0).abs() < 0.01);
    }

    #[test]
    fn an_incident_widens_it_little() {
        let mut values = normals(2000);
        values[..100].fill(1e6);
        let residuals = Residuals::new(values).unwrap();
        assert!(residuals.deviation() < 1.5);
        assert!(residuals.quantile(0.999) < 8.0);
    }

    #[test]
    fn quantiles_rise_for_any_number() {
        for n in [1, 2, 3, 10, 19, 20, 21, 50, 500] {
            let residuals = Residuals::new(normals(n)).unwrap();
            let levels = [1e-6, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0 - 1e-6];
            let quantiles = levels.map(|level| residuals.quantile(level));
            assert!(quantiles.is_sorted() && quantiles.iter().all(|value| value.is_finite()), "{n}: {quantiles:?}");
        }
        assert!(Residuals::new(vec![]).is_none());
    }

    #[test]
    fn rare_but_regular_values_are_kept() {
        for share in [0.033, 0.065, 0.116] {
            let mut random = StdRng::seed_from_u64(11);
            let values: Vec<f64> = (0..2016).map(|_| f64::from(u8::from(random.random_bool(share)))).collect();
            for made in [Residuals::new, Residuals::plain] {
                let found = made(values.clone()).unwrap().quantile(0.975);
                assert!(found >= 0.9, "{found} with {share}");
            }
        }
    }

    #[test]
    fn mostly_equal_residuals_have_a_scale() {
        let mut values = vec![0.0; 100];
        values[90..].fill(1.0);
        assert!(Residuals::new(values).unwrap().deviation() > 0.0);
        assert_eq!(Residuals::new(vec![3.0; 10]).unwrap().deviation(), 0.0);
    }
}
