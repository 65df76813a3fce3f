//! Seasonal-trend decomposition by loess.
//!
//! STL after R. B. Cleveland, W. S. Cleveland, J. E. McRae and I. Terpenning (1990), "STL: a seasonal-trend
//! decomposition procedure based on loess", Journal of Official Statistics 6(1), and its extension to several
//! seasons, MSTL, after K. Bandara, R. J. Hyndman and C. Bergmeir (2021), arXiv:2107.13462. The inner loop only:
//! outliers are dealt with before.
//!
//! On equally spaced points and without robustness weights, loess is a fixed linear map. It depends on the number
//! of points and on the window only, so all weights are worked out once for all series of one length, in a [`Plan`]:
//! a decomposition is then nothing but dot products and running sums.

/// How often season and trend are refined in turn (the original's n_i).
const INNER_LOOPS: usize = 2;
/// How often all seasons are refined in turn, where there are several.
const ROUNDS: usize = 2;

/// Loess of one degree and window over a number of points, as dot products at every few points, with lines between.
#[derive(Debug)]
struct Loess {
    n: usize,
    anchors: Vec<Anchor>,
    kernels: Vec<Vec<f64>>,
}

/// A point that is fitted: where it is, where its window starts and which kernel it uses.
#[derive(Debug)]
struct Anchor {
    at: usize,
    from: usize,
    kernel: usize,
}

impl Loess {
    fn new(n: usize, window: usize, degree: u8, jump: usize) -> Self {
        let mut loess = Self { n, anchors: vec![], kernels: vec![] };
        let mut inner = None;
        let places = (0..n).step_by(jump.clamp(1, n.max(2) - 1)).chain(std::iter::once(n - 1));
        for at in places {
            if loess.anchors.last().is_some_and(|last| last.at == at) {
                continue;
            }
            let width = window.min(n);
            let from = at.saturating_sub(width / 2).min(n - width);
            let centred = window < n && at == from + width / 2;
            let kernel = match inner.filter(|_| centred) {
                Some(known) => known,
                None => {
                    loess.kernels.push(kernel(at as f64 - from as f64, width, n, window, degree));
                    loess.kernels.len() - 1
                }
            };
            if centred {
                inner = Some(kernel);
            }
            loess.anchors.push(Anchor { at, from, kernel });
        }
        loess
    }

    /// `smooth` becomes the smoothed `values`.
    fn apply(&self, values: &[f64], smooth: &mut [f64]) {
        let (mut left, mut left_at) = (0.0, 0);
        for anchor in &self.anchors {
            let kernel = &self.kernels[anchor.kernel];
            let value = dot(kernel, &values[anchor.from..anchor.from + kernel.len()]);
            let slope = (value - left) / (anchor.at - left_at).max(1) as f64;
            for (steps, between) in smooth[left_at..anchor.at].iter_mut().enumerate() {
                *between = left + slope * steps as f64;
            }
            (left, left_at) = (value, anchor.at);
        }
        smooth[self.n - 1] = left;
    }

    /// The weights of the values in each result of [`Loess::apply`].
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::with_capacity(self.n);
        for pair in self.anchors.windows(2) {
            let steps = pair[1].at - pair[0].at;
            rows.extend((0..steps).map(|step| self.between(&pair[0], &pair[1], step as f64 / steps as f64)));
        }
        rows.extend(self.anchors.last().map(|last| self.between(last, last, 0.0)));
        rows
    }

    /// The weights a `share` of the way from one anchor to the next, whose window ends no earlier.
    fn between(&self, left: &Anchor, right: &Anchor, share: f64) -> Row {
        let (before, after) = (&self.kernels[left.kernel], &self.kernels[right.kernel]);
        let apart = right.from - left.from;
        let mut weights = vec![0.0; apart + after.len()];
        for (weight, part) in weights.iter_mut().zip(before) {
            *weight = (1.0 - share) * part;
        }
        for (weight, part) in weights[apart..].iter_mut().zip(after) {
            *weight += share * part;
        }
        Row::new(left.from, weights)
    }

    fn bytes(&self) -> usize {
        let weights: usize = self.kernels.iter().map(Vec::len).sum();
        size_of_val(&*self.anchors) + weights * size_of::<f64>()
    }
}

/// The weights of neighbouring points in a sum; all others have none.
#[derive(Debug)]
struct Row {
    from: usize,
    weights: Vec<f64>,
}

impl Row {
    /// Without the zeros at either end of `weights`, which start at the point `from`.
    fn new(from: usize, weights: Vec<f64>) -> Self {
        let first = weights.iter().position(|weight| *weight != 0.0).unwrap_or(0);
        let end = weights.iter().rposition(|weight| *weight != 0.0).map_or(0, |last| last + 1);
        Self { from: from + first, weights: weights[first..end].to_vec() }
    }

    fn weight(&self, point: usize) -> f64 {
        point.checked_sub(self.from).and_then(|at| self.weights.get(at)).copied().unwrap_or(0.0)
    }

    fn squares(&self) -> f64 {
        self.weights.iter().map(|weight| weight * weight).sum()
    }
}

/// The weights of `width` neighbouring points for the fit at `at`, counted from the first of them; `window` may
/// reach beyond the `n` points that there are.
fn kernel(at: f64, width: usize, n: usize, window: usize, degree: u8) -> Vec<f64> {
    let reach = at.max(width as f64 - 1.0 - at) + (window.saturating_sub(n) / 2) as f64;
    let mut weights: Vec<f64> = (0..width).map(|point| tricube((point as f64 - at).abs() / reach)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    if degree > 0 {
        tilt(&mut weights, at, n);
    }
    weights
}

/// The tricube weight at a distance in units of the reach, with the original's margins at both ends.
fn tricube(distance: f64) -> f64 {
    if distance <= 0.001 {
        1.0
    } else if distance <= 0.999 {
        (1.0 - distance.powi(3)).powi(3)
    } else {
        0.0
    }
}

/// From the weights of a local mean to those of a local line.
fn tilt(weights: &mut [f64], at: f64, n: usize) {
    let moment = |power: i32, from: f64| -> f64 {
        weights.iter().enumerate().map(|(point, weight)| weight * (point as f64 - from).powi(power)).sum()
    };
    let centre = moment(1, 0.0);
    let variance = moment(2, centre);
    if variance.sqrt() > 0.001 * (n as f64 - 1.0) {
        let slope = (at - centre) / variance;
        for (point, weight) in weights.iter_mut().enumerate() {
            *weight *= slope * (point as f64 - centre) + 1.0;
        }
    }
}

/// In eight sums at once: the compiler may not reorder one sum by itself.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    rest + sums.iter().sum::<f64>()
}

/// The smoother of one point of the cycle over all cycles, from one cycle before the first to one after the last:
/// `cycles + 2` rows of about a window each, however many cycles there are.
fn cycle_smoother(cycles: usize, window: usize) -> Vec<Row> {
    let inside = Loess::new(cycles, window, 0, window.div_ceil(10)).rows();
    let width = window.min(cycles);
    let before = Row::new(0, kernel(-1.0, width, cycles, window, 0));
    let after = Row::new(cycles - width, kernel(width as f64, width, cycles, window, 0));
    std::iter::once(before).chain(inside).chain(std::iter::once(after)).collect()
}

/// Everything about STL that depends on the number of points, the period and the seasonal window only.
#[derive(Debug)]
pub(crate) struct Plan {
    n: usize,
    period: usize,
    /// For points of the cycle that occur `n / period + 1` times, and for those that occur once less.
    often: Vec<Row>,
    seldom: Vec<Row>,
    low_pass: Loess,
    trend: Loess,
}

impl Plan {
    /// `n` points are at least two periods of at least 2; `window` is odd, in cycles.
    pub(crate) fn new(n: usize, period: usize, window: usize) -> Self {
        let trend = odd((1.5 * period as f64 / (1.0 - 1.5 / window as f64)).ceil() as usize);
        let low_pass = odd(period);
        Self {
            n,
            period,
            often: cycle_smoother(n / period + 1, window),
            seldom: cycle_smoother(n / period, window),
            low_pass: Loess::new(n, low_pass, 1, low_pass.div_ceil(10)),
            trend: Loess::new(n, trend, 1, trend.div_ceil(10)),
        }
    }

    /// How much wider the errors of a forecast are than the residuals of the fit, for white noise: the season has
    /// been fitted to the very noise that the residuals lack, and brings another part of it into the forecast.
    pub(crate) fn inflation(&self) -> f64 {
        let rows = &self.seldom[1..self.seldom.len() - 1];
        let kept: f64 = rows.iter().enumerate().map(|(at, row)| 1.0 - 2.0 * row.weight(at) + row.squares()).sum();
        let ahead = 1.0 + rows.last().map_or(0.0, Row::squares);
        (ahead / (kept / rows.len() as f64).max(0.05)).sqrt()
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.often.iter().chain(&self.seldom);
        let rows: usize = rows.map(|row| size_of::<Row>() + size_of_val(&*row.weights)).sum();
        rows + self.low_pass.bytes() + self.trend.bytes()
    }

    /// Splits `values`: `season` and `trend` are overwritten.
    fn decompose(&self, values: &[f64], season: &mut [f64], trend: &mut [f64], work: &mut Work) {
        let (n, period) = (self.n, self.period);
        let extended = n + 2 * period;
        trend.fill(0.0);
        work.resize(extended);
        for _ in 0..INNER_LOOPS {
            subtract(values, trend, &mut work.rest[..n]);
            self.smooth_cycles(&work.rest[..n], &mut work.cycles);
            moving_average(&work.cycles, period, &mut work.first);
            moving_average(&work.first[..=extended - period], period, &mut work.second);
            moving_average(&work.second[..n + 2], 3, &mut work.first);
            self.low_pass.apply(&work.first[..n], &mut work.second[..n]);
            subtract(&work.cycles[period..period + n], &work.second[..n], season);
            subtract(values, season, &mut work.rest[..n]);
            self.trend.apply(&work.rest[..n], trend);
        }
    }

    /// All points of the cycle at once: row after row is a weighted sum of whole cycles.
    fn smooth_cycles(&self, values: &[f64], smooth: &mut [f64]) {
        let period = self.period;
        let split = self.n % period;
        smooth.fill(0.0);
        for (rows, phases) in [(&self.often, 0..split), (&self.seldom, split..period)] {
            for (at, row) in rows.iter().enumerate().filter(|_| !phases.is_empty()) {
                let to = at * period;
                for (cycle, weight) in (row.from..).zip(&row.weights) {
                    let from = cycle * period;
                    let cycle = &values[from + phases.start..from + phases.end];
                    for (sum, value) in smooth[to + phases.start..to + phases.end].iter_mut().zip(cycle) {
                        *sum += weight * value;
                    }
                }
            }
        }
    }
}

fn odd(window: usize) -> usize {
    (window | 1).max(3)
}

fn subtract(a: &[f64], b: &[f64], difference: &mut [f64]) {
    for ((difference, a), b) in difference.iter_mut().zip(a).zip(b) {
        *difference = a - b;
    }
}

/// `averages[i]` becomes the mean of `values[i..i + window]`.
fn moving_average(values: &[f64], window: usize, averages: &mut [f64]) {
    let mut sum: f64 = values[..window].iter().sum();
    let part = 1.0 / window as f64;
    averages[0] = sum * part;
    let steps = values[window..].iter().zip(values);
    for (average, (next, gone)) in averages[1..].iter_mut().zip(steps) {
        sum += next - gone;
        *average = sum * part;
    }
}

/// Room for the intermediate series of a decomposition.
#[derive(Debug, Default)]
struct Work {
    rest: Vec<f64>,
    cycles: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Work {
    fn resize(&mut self, n: usize) {
        for part in [&mut self.rest, &mut self.cycles, &mut self.first, &mut self.second] {
            part.resize(n, 0.0);
        }
    }
}

/// Level and seasons of a series; what is left is the series minus all of them.
#[derive(Debug, Clone)]
pub(crate) struct Decomposition {
    /// The smooth level.
    #[cfg_attr(not(test), allow(dead_code, reason = "the level is forecast from what the seasons leave"))]
    pub(crate) trend: Vec<f64>,
    /// One season for each plan.
    pub(crate) seasons: Vec<Vec<f64>>,
}

/// Splits `values`, without gaps, with the plans for its length, by rising period.
pub(crate) fn decompose<'a>(values: &[f64], plans: impl Iterator<Item = &'a Plan> + Clone) -> Decomposition {
    let n = values.len();
    let mut seasons: Vec<Vec<f64>> = plans.clone().map(|_| vec![0.0; n]).collect();
    let (mut trend, mut work, mut rest) = (vec![0.0; n], Work::default(), values.to_vec());
    let rounds = if seasons.len() > 1 { ROUNDS } else { 1 };
    for _ in 0..rounds {
        for (plan, season) in plans.clone().zip(&mut seasons) {
            rest.iter_mut().zip(season.iter()).for_each(|(rest, season)| *rest += season);
            plan.decompose(&rest, season, &mut trend, &mut work);
            rest.iter_mut().zip(season.iter()).for_each(|(rest, season)| *rest -= season);
        }
    }
    Decomposition { trend, seasons }
}

#[cfg(test)]
mod tests {
    use augurs::mstl::stlrs;

    use super::*;
    use crate::check::seasonal;

    /// The library works in f32: a fifty-thousandth of the range of 25 is what its arithmetic leaves over sums of
    /// thousands of values.
    fn check(n: usize, periods: &[usize]) {
        let waves = periods
            .iter()
            .map(|period| seasonal(n, *period, 5))
            .reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
        let values: Vec<f64> = waves.unwrap().iter().enumerate().map(|(i, value)| value + 0.01 * i as f64).collect();
        let single: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let expected = stlrs::MstlParams::new().fit(&single, periods).unwrap();
        let plans: Vec<Plan> =
            periods.iter().zip([11, 15]).map(|(period, window)| Plan::new(n, *period, window)).collect();
        let found = decompose(&values, plans.iter());
        for (found, expected) in found.seasons.iter().zip(expected.seasonal()) {
            check_close(n, found, expected);
        }
        check_close(n, &found.trend, expected.trend());
    }

    fn check_close(n: usize, found: &[f64], expected: &[f32]) {
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - f64::from(*expected)).abs() < 5e-4, "{n}: {found}, not {expected} at {at}");
        }
    }

    #[test]
    fn it_agrees_with_a_library() {
        check(2016, &[288]);
        check(2000, &[288]);
        check(576, &[288]);
        check(100, &[7]);
        check(95, &[24]);
        check(14, &[7]);
        check(61, &[2]);
        check(500, &[24, 168]);
        check(2016, &[144, 1008]);
    }

    #[test]
    fn many_cycles_take_little_memory() {
        let plan = Plan::new(100_000, 4, 11);
        assert!(plan.bytes() < 20_000_000, "{} bytes", plan.bytes());
        assert!(plan.inflation() > 1.0 && plan.inflation() < 1.5, "{}", plan.inflation());
    }

    #[test]
    fn a_pure_season_is_found() {
        let values: Vec<f64> = (0..120).map(|i| f64::from(i % 12) - 5.5).collect();
        let found = decompose(&values, [Plan::new(120, 12, 11)].iter());
        for (value, season) in values.iter().zip(&found.seasons[0]) {
            assert!((value - season).abs() < 0.05, "{season}, not {value}");
        }
    }
}
