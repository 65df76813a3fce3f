//! Finding seasons: a day and a week first, then whatever period the autocorrelation shows.
//!
//! A period is convincing where the series, less its own moving average over one period, is like itself one period
//! before. A random walk or a trend is not: what its moving average leaves forgets itself long before.

use std::cell::RefCell;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use crate::prepare::Series;
use crate::rough::Rough;

const DAY_MS: i64 = 86_400_000;
/// How alike the cycles of a day or week must be: there, a season explains more than estimating it costs.
const PLAUSIBLE: f64 = 0.2;
/// How alike they must be where there is no more reason for that period than for any other, or only two to compare.
const CONVINCING: f64 = 0.4;
/// The shortest period that is looked for, and the fewest points in which.
const SHORTEST: usize = 4;
const FEWEST: usize = 24;
/// A shorter period is taken for the true one where its peak is nearly as high as the highest.
const NEARLY: f64 = 0.8;
/// Values farther out, in the series' own scale, count as this far: a spike is like nothing else.
const CLIP: f64 = 8.0;

thread_local! {
    /// Keeps the twiddle factors of the lengths that this thread has seen.
    static PLANNER: RefCell<FftPlanner<f64>> = RefCell::new(FftPlanner::new());
}

/// The periods that are convincing in `series`, in points, rising: a day, a week, both, or one other.
pub(super) fn detect(series: &Series) -> Vec<usize> {
    if series.present < FEWEST || series.present < series.len() / 2 {
        return vec![];
    }
    let mut values = series.filled(None);
    values.iter_mut().for_each(|value| *value = value.clamp(-CLIP, CLIP));
    let known = calendar(&values, series.step_ms);
    if known.is_empty() { other(&values).into_iter().collect() } else { known }
}

/// A day, and a week in what the day leaves.
fn calendar(values: &[f64], step_ms: i64) -> Vec<usize> {
    let mut periods = vec![];
    let mut rest = values.to_vec();
    for millis in [DAY_MS, 7 * DAY_MS] {
        let period = usize::try_from((millis + step_ms / 2) / step_ms).unwrap_or(usize::MAX);
        if period < SHORTEST || period > values.len() / 2 {
            continue;
        }
        let enough = if values.len() < 3 * period { CONVINCING } else { PLAUSIBLE };
        if twofold(&rest, period) > enough {
            let rough = Rough::new(values, period);
            rest.iter_mut().enumerate().for_each(|(at, value)| *value -= rough.at(at));
            periods.push(period);
        }
    }
    periods
}

/// The period with the highest peak of the autocorrelation, of which the series holds three or more.
fn other(values: &[f64]) -> Option<usize> {
    let longest = values.len() / 3;
    let correlations = autocorrelations(&less_average(values, longest), longest + 1);
    // Peaks before the first zero belong to the series' own smoothness.
    let zero = correlations.iter().position(|correlation| *correlation < 0.0)?;
    let is_peak =
        |lag: &usize| correlations[*lag] >= correlations[lag - 1] && correlations[*lag] >= correlations[lag + 1];
    let peaks = || (zero.max(SHORTEST)..longest).filter(is_peak);
    let highest = peaks().map(|lag| correlations[lag]).max_by(f64::total_cmp)?;
    let near = peaks().find(|lag| correlations[*lag] >= NEARLY * highest)?;
    let period = sharpened(&correlations, near);
    // What chance brings about among points that each remember `zero` others, and the best of many lags is taken.
    let chance = (2.5 * (zero as f64).sqrt()).max(4.0) / ((values.len() - period) as f64).sqrt();
    (highest > 0.0 && twofold(values, period) > CONVINCING.max(chance)).then_some(period)
}

/// How alike the cycles are, one and, where there are four or more, two periods apart: a walk may look like itself
/// one period before by chance, hardly two periods before as well.
fn twofold(values: &[f64], period: usize) -> f64 {
    let once = likeness(values, period, 1);
    if values.len() < 4 * period { once } else { once.min(likeness(values, period, 2)) }
}

/// The period around `near` whose multiples have the highest correlations: noise moves one peak by a point, not all.
fn sharpened(correlations: &[f64], near: usize) -> usize {
    let slack = near / 20 + 1;
    let multiples = (correlations.len() - 1) / (near + slack);
    let score = |period: &usize| (1..=multiples).map(|multiple| correlations[multiple * period]).sum::<f64>();
    let around = near - slack..=near + slack;
    if multiples == 0 {
        return near;
    }
    around.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(near)
}

/// The correlation of the series, less its moving average over a period, with itself some `cycles` before.
fn likeness(values: &[f64], period: usize, cycles: usize) -> f64 {
    let rest = if values.len() < 4 * period { less_line(values) } else { less_average(values, period) };
    let lag = (cycles * period).min(rest.len());
    let (now, before) = (&rest[lag..], &rest[..rest.len() - lag]);
    let together: f64 = now.iter().zip(before).map(|(now, before)| now * before).sum();
    let power = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let scale = (power(now) * power(before)).sqrt();
    if scale > 1e-9 { together / scale } else { 0.0 }
}

/// What the straight line of least squares leaves.
fn less_line(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let slope = values.iter().enumerate().map(|(at, value)| (at as f64 - middle) * value).sum::<f64>()
        / (n * (n * n - 1.0) / 12.0).max(1.0);
    values.iter().enumerate().map(|(at, value)| value - mean - slope * (at as f64 - middle)).collect()
}

/// What the centred moving average over `window` points leaves, where it has all its points.
fn less_average(values: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    // An even window counts its two ends half each, so that a period of that length averages out.
    let (ends, count) = if window.is_multiple_of(2) { (0.5, window) } else { (1.0, window) };
    let mut inner: f64 = values[1..2 * half].iter().sum();
    (half..values.len() - half)
        .map(|at| {
            let average = (inner + ends * (values[at - half] + values[at + half])) / count as f64;
            inner += values[at + half] - values[at - half + 1];
            values[at] - average
        })
        .collect()
}

/// Autocorrelations at the lags `0..lags`, by way of the power spectrum.
fn autocorrelations(values: &[f64], lags: usize) -> Vec<f64> {
    let size = (values.len() + lags).next_power_of_two();
    let mut buffer: Vec<Complex<f64>> = values.iter().map(|value| Complex::new(*value, 0.0)).collect();
    buffer.resize(size, Complex::new(0.0, 0.0));
    // The transform of the power, which is real and even, is its inverse up to a factor.
    let forward = PLANNER.with_borrow_mut(|planner| planner.plan_fft_forward(size));
    forward.process(&mut buffer);
    buffer.iter_mut().for_each(|value| *value = Complex::new(value.norm_sqr(), 0.0));
    forward.process(&mut buffer);
    let power = buffer[0].re.max(f64::MIN_POSITIVE);
    buffer.iter().take(lags).map(|value| value.re / power).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::{noise, seasonal};

    fn check(what: &str, values: &[f64], step_seconds: u64, expected: &[usize]) {
        let series = Series::new(values, 0, Duration::from_secs(step_seconds)).unwrap();
        assert_eq!(detect(&series), expected, "{what} of {}", values.len());
    }

    fn sum(a: &[f64], b: impl Iterator<Item = f64>) -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a + b).collect()
    }

    fn walk(n: usize, seed: u64) -> Vec<f64> {
        noise(n, seed)
            .iter()
            .scan(0.0, |sum, step| {
                *sum += step;
                Some(*sum)
            })
            .collect()
    }

    #[test]
    fn days_and_weeks_are_found() {
        let day = seasonal(2016, 288, 1);
        check("day", &day, 300, &[288]);
        check("two days", &seasonal(600, 288, 2), 300, &[288]);
        check("day with a trend", &sum(&day, (0..).map(|i| 0.05 * f64::from(i))), 300, &[288]);
        check("day on a walk", &sum(&day, walk(2016, 3).into_iter().map(|value| 0.2 * value)), 300, &[288]);
        let loud = noise(2016, 4);
        check("day in loud noise", &sum(&day, loud.iter().map(|value| 4.0 * value)), 300, &[288]);
        let weekend = (0..).map(|hour: usize| if hour / 24 % 7 > 4 { -12.0 } else { 0.0 });
        check("day and week", &sum(&seasonal(24 * 42, 24, 5), weekend), 3600, &[24, 168]);
        let mut spiky = day.clone();
        spiky[1000] = 1e6;
        check("day with a spike", &spiky, 300, &[288]);
        let mut gappy = day;
        gappy[300..700].fill(f64::NAN);
        check("day with a gap", &gappy, 300, &[288]);
    }

    #[test]
    fn other_periods_are_found() {
        for (n, period) in [(240, 20), (512, 24), (2016, 60), (2016, 200), (100, 7)] {
            check("other", &seasonal(n, period, 6), 15, &[period]);
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let mut mistaken = 0;
        for seed in 0..40 {
            for n in [30, 60, 240, 2016] {
                check("noise", &noise(n, seed), 300, &[]);
                let series = Series::new(&walk(n, seed), 0, Duration::from_secs(300)).unwrap();
                mistaken += detect(&series).len();
            }
        }
        assert!(mistaken <= 3, "{mistaken} of 160 walks have a season");
        check("line", &(0..500).map(f64::from).collect::<Vec<_>>(), 300, &[]);
        check("constant", &[3.0; 700], 300, &[]);
        check("step", &(0..700).map(|i| f64::from(u8::from(i > 350))).collect::<Vec<_>>(), 300, &[]);
        check("short", &seasonal(20, 4, 1), 300, &[]);
    }

    #[test]
    fn averages_of_a_whole_period_leave_the_season() {
        let wave: Vec<f64> = (0..40).map(|i| if i % 4 < 2 { 1.0 } else { -1.0 }).collect();
        assert!(less_average(&wave, 4).iter().zip(&wave[2..]).all(|(a, b)| (a - b).abs() < 1e-12));
        let line: Vec<f64> = (0..40).map(f64::from).collect();
        assert!(less_average(&line, 5).iter().chain(&less_line(&line)).all(|rest| rest.abs() < 1e-9));
    }
}
