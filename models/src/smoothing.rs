//! Exponential smoothing with additive errors: level, damped trend and season, in the state space form of R. J.
//! Hyndman, A. B. Koehler, J. K. Ord and R. D. Snyder (2008), "Forecasting with exponential smoothing", chapter 2.
//!
//! Each surprise is cut off at three robust standard deviations before it moves the state, as S. Gelper, R. Fried and
//! C. Croux (2010), "Robust forecasting with exponential and Holt–Winters smoothing", do it: a spike hardly moves the
//! level, and a lasting shift is learned within some tens of points.
//!
//! The parameters are the best of a fixed grid, refined around the best level weight. Eight points of the grid run
//! through the data side by side, since a single one would wait for its own last result at every step.

use crate::prepare::median;

/// How many parameter sets run side by side.
const LANES: usize = 8;
/// From as many of the last points the weights are chosen: older ones add little to what a few numbers need.
const SEARCHED: usize = 1000;
/// The level weights tried first.
const ALPHAS: [f64; LANES] = [0.01, 0.03, 0.08, 0.15, 0.3, 0.5, 0.7, 0.95];
/// Trends tried, as (trend weight as a part of the level weight, damping).
const TRENDS: [(f64, f64); 3] = [(0.02, 0.98), (0.15, 0.9), (0.05, 0.999)];
/// Season weights tried, as a part of what the level weight leaves.
const GAMMAS: [f64; 2] = [0.02, 0.2];
/// By which factor a further component must lower the mean squared error to be worth it.
const WORTH: f64 = 0.99;
/// From how many robust standard deviations on a surprise counts as no more than that.
const CLIP: f64 = 3.0;
/// A step of no more than this, in units of the series' spread, is none but for rounding.
const STILL: f64 = 1e-9;

/// The weights of one model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Weights {
    alpha: f64,
    beta: f64,
    gamma: f64,
    phi: f64,
}

/// Where smoothing starts, and what it may learn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// The season at each point of a cycle; a single 0 where there is none.
    pub(crate) cycle: &'a [f64],
    /// Whether the season changes with time.
    pub(crate) seasonal: bool,
    /// Whether a trend may be followed.
    pub(crate) trend: bool,
}

/// A model that has seen all of a series.
#[derive(Debug, Clone)]
pub(crate) struct Smoothed {
    weights: Weights,
    level: f64,
    slope: f64,
    cycle: Vec<f64>,
    seen: usize,
    /// How the next point was missed, at every point but the first few.
    pub(crate) surprises: Vec<f64>,
}

impl Smoothed {
    /// Fits to `values`, whose gaps are NaN; `None` where there are fewer than ten values.
    pub(crate) fn fit(values: &[f64], start: Start<'_>) -> Option<Self> {
        if values.iter().filter(|value| !value.is_nan()).count() < 10 {
            return None;
        }
        let fit = Fit::new(values, start.cycle);
        let mut best = fit.best(ALPHAS.map(|alpha| Weights { alpha, ..Weights::default() }));
        let trends = if start.trend { &TRENDS[..] } else { &[] };
        for (share, phi) in trends {
            let tried = fit.best(ALPHAS.map(|alpha| Weights { alpha, beta: share * alpha, phi: *phi, gamma: 0.0 }));
            best = better(best, tried);
        }
        let gammas = if start.seasonal { &GAMMAS[..] } else { &[] };
        for share in gammas {
            let with = |alpha: f64| Weights { gamma: share * (1.0 - alpha), ..scaled(best.1, alpha) };
            best = better(best, fit.best(ALPHAS.map(with)));
        }
        let refined = fit.best(between(best.1.alpha).map(|alpha| scaled(best.1, alpha)));
        let weights = if refined.0 < best.0 { refined.1 } else { best.1 };
        Some(fit.finish(weights))
    }

    /// What is expected `ahead` steps after the first one ahead.
    pub(crate) fn point(&self, ahead: usize) -> f64 {
        let season = self.cycle[(self.seen + ahead) % self.cycle.len()];
        self.level + self.damped(ahead + 1) * self.slope + season
    }

    /// The standard deviation `0..horizon` steps after the first one ahead, in units of that of the first.
    pub(crate) fn widening(&self, horizon: usize) -> Vec<f64> {
        let Weights { alpha, beta, gamma, .. } = self.weights;
        let mut variance = 1.0;
        (1..=horizon)
            .map(|ahead| {
                let now = f64::sqrt(variance);
                let again = if ahead % self.cycle.len() == 0 { gamma } else { 0.0 };
                variance += (alpha + beta * self.damped(ahead) + again).powi(2);
                now
            })
            .collect()
    }

    /// By how many of its last changes the trend moves the level within `steps`.
    fn damped(&self, steps: usize) -> f64 {
        let phi = self.weights.phi;
        phi * (1.0 - phi.powi(i32::try_from(steps).unwrap_or(i32::MAX))) / (1.0 - phi)
    }
}

/// The second where it is so much better that its further component is worth it.
fn better(best: (f64, Weights), tried: (f64, Weights)) -> (f64, Weights) {
    if tried.0 < WORTH * best.0 { tried } else { best }
}

/// The same model with another level weight.
fn scaled(weights: Weights, alpha: f64) -> Weights {
    Weights {
        alpha,
        beta: weights.beta * alpha / weights.alpha,
        gamma: weights.gamma * (1.0 - alpha) / (1.0 - weights.alpha),
        phi: weights.phi,
    }
}

/// Eight level weights between those of the grid on either side of `alpha`.
fn between(alpha: f64) -> [f64; LANES] {
    let at = ALPHAS.iter().position(|known| *known >= alpha).unwrap_or(LANES - 1);
    let low = if at == 0 { 0.002 } else { ALPHAS[at - 1] };
    let high = ALPHAS.get(at + 1).copied().unwrap_or(0.999);
    std::array::from_fn(|lane| low + (high - low) * (lane + 1) as f64 / (LANES + 1) as f64)
}

/// A series and what every run over it shares.
struct Fit<'a> {
    values: &'a [f64],
    cycle: &'a [f64],
    level: f64,
    limit: f64,
    /// Where the search starts, and at which level.
    search: (usize, f64),
    warm_up: usize,
}

impl<'a> Fit<'a> {
    fn new(values: &'a [f64], cycle: &'a [f64]) -> Self {
        let rest: Vec<f64> = values.iter().enumerate().map(|(at, value)| value - cycle[at % cycle.len()]).collect();
        let level_at = |from: usize| {
            median(&mut rest[from..].iter().copied().filter(|value| !value.is_nan()).take(9).collect::<Vec<_>>())
        };
        let from = values.len().saturating_sub(SEARCHED);
        let (level, search) = (level_at(0), (from, level_at(from)));
        let warm_up = (values.len() / 4).min(20);
        Self { values, cycle, level, limit: CLIP * step_deviation(&rest), search, warm_up }
    }

    /// The mean of the squared surprises, cut off, of the best of eight models.
    fn best(&self, weights: [Weights; LANES]) -> (f64, Weights) {
        let costs = if self.cycle.len() == 1 { self.costs::<false>(&weights) } else { self.costs::<true>(&weights) };
        let best = (0..LANES).min_by(|a, b| costs[*a].total_cmp(&costs[*b])).unwrap_or(0);
        (costs[best], weights[best])
    }

    fn costs<const SEASON: bool>(&self, weights: &[Weights; LANES]) -> [f64; LANES] {
        let alpha = weights.map(|weights| weights.alpha);
        let beta = weights.map(|weights| weights.beta);
        let gamma = weights.map(|weights| weights.gamma);
        let phi = weights.map(|weights| weights.phi);
        let (from, level) = self.search;
        let (mut level, mut slope, mut costs) = ([level; LANES], [0.0; LANES], [0.0; LANES]);
        let mut cycle: Vec<[f64; LANES]> =
            if SEASON { self.cycle.iter().map(|value| [*value; LANES]).collect() } else { vec![] };
        let mut phase = from % self.cycle.len();
        for (at, value) in self.values[from..].iter().enumerate() {
            let counts = if at >= self.warm_up && !value.is_nan() { 1.0 } else { 0.0 };
            let season = if SEASON { cycle[phase] } else { [0.0; LANES] };
            let mut moved = season;
            for lane in 0..LANES {
                let drift = phi[lane] * slope[lane];
                let expected = level[lane] + drift;
                let missed = if value.is_nan() { 0.0 } else { value - expected - season[lane] };
                let surprise = missed.min(self.limit).max(-self.limit);
                level[lane] = expected + alpha[lane] * surprise;
                slope[lane] = drift + beta[lane] * surprise;
                moved[lane] += gamma[lane] * surprise;
                costs[lane] += counts * surprise * surprise;
            }
            if SEASON {
                cycle[phase] = moved;
                phase = if phase + 1 == cycle.len() { 0 } else { phase + 1 };
            }
        }
        costs
    }

    /// One more run with the chosen weights, which keeps the state and the surprises.
    fn finish(&self, weights: Weights) -> Smoothed {
        let (mut level, mut slope, mut cycle) = (self.level, 0.0, self.cycle.to_vec());
        let mut surprises = Vec::with_capacity(self.values.len());
        for (at, value) in self.values.iter().enumerate() {
            let phase = at % cycle.len();
            slope *= weights.phi;
            level += slope;
            if value.is_nan() {
                continue;
            }
            let missed = value - level - cycle[phase];
            let surprise = missed.clamp(-self.limit, self.limit);
            level += weights.alpha * surprise;
            slope += weights.beta * surprise;
            cycle[phase] += weights.gamma * surprise;
            if at >= self.warm_up || surprises.is_empty() {
                surprises.push(missed);
            }
        }
        Smoothed { weights, level, slope, cycle, seen: self.values.len(), surprises }
    }
}

/// The robust standard deviation of the steps from one value to the next; tiny but above zero where nothing moves.
///
/// Where most steps are none at all, those that are some tell what is usual: a limit near zero would never let the
/// level follow a series made of steps.
fn step_deviation(values: &[f64]) -> f64 {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let mut sizes: Vec<f64> = present.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let mut typical = median(&mut sizes);
    if typical <= STILL {
        sizes.retain(|size| *size > STILL);
        typical = median(&mut sizes);
    }
    (1.4826 * typical).max(STILL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::noise;

    const FLAT: Start<'_> = Start { cycle: &[0.0], seasonal: false, trend: true };

    #[test]
    fn white_noise_has_a_slow_level_and_a_walk_a_fast_one() {
        let steps = noise(1000, 1);
        assert!(Smoothed::fit(&steps, FLAT).unwrap().weights.alpha < 0.05);
        let walk: Vec<f64> = steps
            .iter()
            .scan(0.0, |sum, step| {
                *sum += step;
                Some(*sum)
            })
            .collect();
        assert!(Smoothed::fit(&walk, FLAT).unwrap().weights.alpha > 0.8);
    }

    #[test]
    fn a_line_goes_on_for_a_while() {
        let line: Vec<f64> = noise(500, 2).iter().enumerate().map(|(i, noise)| 0.5 * i as f64 + 0.1 * noise).collect();
        let fitted = Smoothed::fit(&line, FLAT).unwrap();
        assert!((fitted.point(4) - 252.0).abs() < 1.0, "{}", fitted.point(4));
    }

    #[test]
    fn a_spike_is_forgotten_and_a_shift_is_learned() {
        let mut values = noise(600, 3);
        values[590] = 1e3;
        assert!(Smoothed::fit(&values, FLAT).unwrap().point(0).abs() < 2.0);
        for value in &mut values[300..] {
            *value += 20.0;
        }
        assert!((Smoothed::fit(&values, FLAT).unwrap().point(0) - 20.0).abs() < 2.0);
    }

    #[test]
    fn a_step_without_noise_is_learned() {
        for after in [40, 288, 2000] {
            let mut values = vec![-0.5; 28 * 288];
            values.resize(28 * 288 + after, 1.5);
            let found = Smoothed::fit(&values, FLAT).unwrap().point(0);
            assert!((found - 1.5).abs() < 0.05, "{found} after {after} points");
        }
    }

    #[test]
    fn a_line_with_a_gap_at_every_second_point_goes_on() {
        let mut values: Vec<f64> = (0..500).map(|i| 0.01 * f64::from(i)).collect();
        values.iter_mut().step_by(2).for_each(|value| *value = f64::NAN);
        let found = Smoothed::fit(&values, FLAT).unwrap().point(0);
        assert!((found - 5.0).abs() < 0.1, "{found}");
    }

    #[test]
    fn few_values_are_too_few() {
        let mut values = vec![f64::NAN; 100];
        values[..9].fill(1.0);
        assert!(Smoothed::fit(&values, FLAT).is_none());
    }
}
