//! What holds for every model, over every awkward input.

use std::sync::LazyLock;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::forecast::{Forecast, Levels};
use crate::forecaster::Request;
use crate::registry::build;
use crate::resources::Resources;
use crate::spec::ModelSpec;
use crate::univariate::REACH;

/// Levels far out in both tails, and the median.
pub(crate) const LEVELS: [f64; 7] = [0.00005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99995];

/// What all models of the tests share, so that a graph is loaded once.
pub(crate) static RESOURCES: LazyLock<Resources> = LazyLock::new(Resources::default);

/// A [`Request`] that owns its levels.
pub(crate) struct Asked<'a> {
    pub(crate) contexts: Vec<&'a [f64]>,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) horizon: usize,
}

pub(crate) fn request<'a>(contexts: &[&'a [f64]]) -> Asked<'a> {
    Asked { contexts: contexts.to_vec(), end_ms: 1_700_000_000_000, step_ms: 300_000, horizon: 12 }
}

pub(crate) fn forecast(model: &str, parameters: &str, asked: &Asked<'_>) -> Forecast {
    let levels = Levels::new(LEVELS.to_vec()).unwrap();
    let spec = ModelSpec::local(model, serde_json::from_str(parameters).unwrap());
    let model = build(&spec, &RESOURCES).unwrap();
    let step = Duration::from_millis(asked.step_ms as u64);
    let request = Request::new(&asked.contexts, asked.end_ms, step, asked.horizon, &levels);
    model.forecast(&request).unwrap()
}

pub(crate) fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..n).map(|_| random.sample(StandardNormal)).collect()
}

/// A season of 24 points with an amplitude of 5 and noise of 1.
pub(crate) fn seasonal(n: usize, season: usize, seed: u64) -> Vec<f64> {
    let wave = |i: usize| (std::f64::consts::TAU * i as f64 / season as f64).sin();
    noise(n, seed).iter().enumerate().map(|(i, noise)| 5.0 * wave(i) + noise).collect()
}

fn with_gaps(mut values: Vec<f64>, share: f64, seed: u64) -> Vec<f64> {
    let mut random = StdRng::seed_from_u64(seed);
    for value in &mut values {
        if random.random_bool(share) {
            *value = f64::NAN;
        }
    }
    values
}

fn blanked(range: std::ops::Range<usize>) -> Vec<f64> {
    let mut values = seasonal(240, 24, 1);
    values[range].fill(f64::NAN);
    values
}

fn replaced(range: std::ops::Range<usize>, by: f64) -> Vec<f64> {
    let mut values = seasonal(240, 24, 2);
    values[range].fill(by);
    values
}

/// Every awkward context, with a name.
fn awkward() -> Vec<(&'static str, Vec<f64>)> {
    let base = || seasonal(240, 24, 3);
    let mapped = |change: fn(f64) -> f64| base().into_iter().map(change).collect::<Vec<_>>();
    vec![
        ("empty", vec![]),
        ("one point", vec![7.0]),
        ("two points", vec![7.0, 9.0]),
        ("three points", vec![7.0, 9.0, 8.0]),
        ("five points", vec![1.0, -2.0, 3.0, -4.0, 5.0]),
        ("sixty points", noise(60, 4)),
        ("constant", vec![5.0; 240]),
        ("constant and short", vec![5.0; 4]),
        ("zero", vec![0.0; 240]),
        ("all missing", vec![f64::NAN; 240]),
        ("a tenth missing", with_gaps(base(), 0.1, 5)),
        ("nine tenths missing", with_gaps(base(), 0.9, 6)),
        ("leading gap", blanked(0..150)),
        ("trailing gap", blanked(200..240)),
        ("block missing", blanked(60..180)),
        ("one value left", blanked(1..240)),
        ("season", base()),
        ("no season", noise(240, 7)),
        ("huge", mapped(|value| value * 1e15)),
        ("largest", mapped(|value| value * 1e299)),
        ("tiny", mapped(|value| value * 1e-12)),
        ("subnormal", mapped(|value| value * 1e-310)),
        ("offset", mapped(|value| 1e9 + value)),
        ("integers", mapped(f64::round)),
        ("mostly zero", mapped(|value| if value > 5.5 { 1.0 } else { 0.0 })),
        ("negative", mapped(|value| value - 100.0)),
        ("step", mapped(f64::signum)),
        ("late step", replaced(220..240, 80.0)),
        ("spike", replaced(120..121, 1e6)),
        ("last is a spike", replaced(239..240, -1e6)),
        ("infinite", replaced(100..110, f64::INFINITY)),
        ("trend", (0..240).map(f64::from).collect()),
        ("counter", (0..240).map(|i| f64::from(i * i)).collect()),
        (
            "walk",
            noise(240, 8)
                .iter()
                .scan(0.0, |sum, step| {
                    *sum += step;
                    Some(*sum)
                })
                .collect(),
        ),
    ]
}

/// How exactly a series must be answered the same in another batch, and in other units.
#[derive(Clone, Copy)]
struct Precision {
    /// In 90% bands; 0 where not a bit may differ.
    alone: f64,
    /// In the units of the data, for data with a spread of 1.
    units: f64,
}

/// What is computed in double precision, series by series.
const EXACT: Precision = Precision { alone: 0.0, units: 1e-6 };
/// A graph computes in single precision, and sums up in another order where the shape of the batch is another.
const GRAPH: Precision = Precision { alone: 1e-5, units: 1e-3 };

/// Runs one model over everything that holds for all of them.
fn check(model: &str, parameters: &str) {
    check_to(model, parameters, EXACT);
}

fn check_to(model: &str, parameters: &str, precision: Precision) {
    let cases = awkward();
    let contexts: Vec<&[f64]> = cases.iter().map(|(_, values)| values.as_slice()).collect();
    for horizon in [1, 12, 300] {
        let mut asked = request(&contexts);
        asked.horizon = horizon;
        let all = forecast(model, parameters, &asked);
        assert_eq!((all.series(), all.horizon(), all.levels().len()), (cases.len(), horizon, LEVELS.len()));
        for (at, (name, context)) in cases.iter().enumerate() {
            let what = format!("{model} {parameters}: {name}, horizon {horizon}");
            check_rows(&what, context, &all, at);
        }
    }
    check_independent(model, parameters, precision.alone, &cases, &contexts);
    check_equivariant(model, parameters, precision.units);
}

/// Two runs give the same, and so does each series alone.
fn check_independent(model: &str, parameters: &str, bound: f64, cases: &[(&str, Vec<f64>)], contexts: &[&[f64]]) {
    let all = forecast(model, parameters, &request(contexts));
    assert!(same(&all, &forecast(model, parameters, &request(contexts))), "{model}: two runs differ");
    for (at, (name, context)) in cases.iter().enumerate() {
        let alone = forecast(model, parameters, &request(&[context]));
        let differs = difference(&all, at, &alone, 0);
        assert!(differs <= bound, "{model} {parameters}: {name}: alone it differs from the batch by {differs}");
    }
}

fn same(a: &Forecast, b: &Forecast) -> bool {
    (0..a.series()).all(|series| difference(a, series, b, series) == 0.0)
}

/// By how much the forecasts of two series differ, in 90% bands of the first; not at all if all of both is unknown.
pub(crate) fn difference(a: &Forecast, at: usize, b: &Forecast, other: usize) -> f64 {
    let band = |ahead: usize| a.quantile(at, 5)[ahead] - a.quantile(at, 1)[ahead];
    let horizon = a.horizon();
    let pairs = a.of(at).iter().zip(b.of(other)).enumerate();
    let one = |(place, (a, b)): (usize, (&f64, &f64))| match (a.is_nan(), b.is_nan()) {
        (false, false) if a.to_bits() == b.to_bits() => 0.0,
        (false, false) => (a - b).abs() / band(place % horizon),
        (a, b) => {
            if a && b {
                0.0
            } else {
                f64::INFINITY
            }
        }
    };
    pairs.map(one).fold(0.0, f64::max)
}

/// Finite or all unknown, rising from level to level, wider than nothing, no wider than [`REACH`] ranges.
fn check_rows(what: &str, context: &[f64], forecast: &Forecast, series: usize) {
    let seen = || context.iter().filter(|value| value.abs() < 1e300);
    let rows = forecast.of(series);
    if seen().next().is_none() {
        assert!(rows.iter().all(|value| value.is_nan()), "{what}: something was said about nothing");
        return;
    }
    assert!(rows.iter().all(|value| value.is_finite()), "{what}: not finite: {rows:?}");
    let (low, high) =
        seen().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let room = (2.0 * REACH + 2.0) * (high - low).max(1e-6 * high.abs()).max(1e-6);
    for ahead in 0..forecast.horizon() {
        let column: Vec<f64> = (0..LEVELS.len()).map(|level| forecast.quantile(series, level)[ahead]).collect();
        assert!(column.is_sorted(), "{what}: quantiles cross at {ahead}: {column:?}");
        let width = column[LEVELS.len() - 1] - column[0];
        assert!(width > 0.0 && width <= room, "{what}: {width} wide at {ahead}, with a room of {room}");
        assert!(
            column[0] >= low - room && column[LEVELS.len() - 1] <= high + room,
            "{what}: far out at {ahead}: {column:?}"
        );
    }
}

/// The forecast of `a x + b` is `a` times the forecast of `x`, plus `b`, up to `precision` times the data's spread.
fn check_equivariant(model: &str, parameters: &str, precision: f64) {
    for (name, base) in [("season", seasonal(240, 24, 9)), ("noise", noise(60, 10))] {
        for (factor, offset) in [(1.0, 1e6), (1e-6, 0.0), (1e9, -5.0), (4.0, 1e3)] {
            let changed: Vec<f64> = base.iter().map(|value| factor * value + offset).collect();
            let found = forecast(model, parameters, &request(&[&base, &changed]));
            for (plain, other) in found.of(0).iter().zip(found.of(1)) {
                let expected = factor * plain + offset;
                let close = (other - expected).abs() <= precision * factor.max(offset.abs() * 1e-6);
                assert!(close, "{model} {parameters}: {name} times {factor} plus {offset}: {other}, not {expected}");
            }
        }
    }
}

/// Over 40 generated series: the mean absolute scaled error of the median (against the in-sample seasonal naive
/// error at `season`) and the share of what came that the band from 5% to 95% holds.
fn accuracy(model: &str, parameters: &str, season: usize, make: fn(usize, u64) -> Vec<f64>) -> (f64, f64) {
    const CONTEXT: usize = 480;
    let series: Vec<Vec<f64>> = (0..40).map(|seed| make(CONTEXT + 48, 1000 + seed)).collect();
    let contexts: Vec<&[f64]> = series.iter().map(|values| &values[..CONTEXT]).collect();
    let mut asked = request(&contexts);
    asked.horizon = 48;
    let found = forecast(model, parameters, &asked);
    let (mut errors, mut inside) = (0.0, 0.0);
    for (at, values) in series.iter().enumerate() {
        let naive =
            (season..CONTEXT).map(|i| (values[i] - values[i - season]).abs()).sum::<f64>() / (CONTEXT - season) as f64;
        for ahead in 0..48 {
            let came = values[CONTEXT + ahead];
            errors += (came - found.quantile(at, 3)[ahead]).abs() / naive;
            inside += f64::from(u8::from(came >= found.quantile(at, 1)[ahead] && came <= found.quantile(at, 5)[ahead]));
        }
    }
    let count = (series.len() * 48) as f64;
    (errors / count, inside / count)
}

fn check_accuracy(model: &str, parameters: &str, season: usize, make: fn(usize, u64) -> Vec<f64>, mase: f64) {
    let (error, inside) = accuracy(model, parameters, season, make);
    assert!(error < mase, "{model} {parameters}: MASE {error}, allowed is {mase}");
    assert!((0.84..=0.95).contains(&inside), "{model} {parameters}: a 90% band holds {inside}");
}

fn daily(n: usize, seed: u64) -> Vec<f64> {
    seasonal(n, 24, seed)
}

// The best possible forecast of white noise has a scaled error of 1/√2 = 0.71.

#[test]
fn seasonal_naive() {
    check("seasonal_naive", "{}");
    check("seasonal_naive", r#"{"season": 24}"#);
    check("seasonal_naive", r#"{"season": "none"}"#);
    check_accuracy("seasonal_naive", r#"{"season": 24}"#, 24, daily, 0.85);
    check_accuracy("seasonal_naive", r#"{"season": "none"}"#, 1, noise, 0.8);
}

#[test]
fn zscore() {
    check("zscore", "{}");
    check("zscore", r#"{"seasonal_interval": "2h"}"#);
    check_accuracy("zscore", "{}", 1, noise, 0.75);
}

#[test]
fn mstl() {
    check("mstl", "{}");
    check("mstl", r#"{"season": 24}"#);
    check("mstl", r#"{"season": [12, 48], "trend": false}"#);
    check_accuracy("mstl", r#"{"season": 24}"#, 24, daily, 0.8);
    check_accuracy("mstl", r#"{"season": "none"}"#, 1, noise, 0.75);
}

#[test]
fn holt_winters() {
    check("holt_winters", "{}");
    check("holt_winters", r#"{"season": 24}"#);
    check("holt_winters", r#"{"season": 7, "trend": false}"#);
    check_accuracy("holt_winters", r#"{"season": 24}"#, 24, daily, 0.8);
    check_accuracy("holt_winters", r#"{"season": "none"}"#, 1, noise, 0.75);
}

#[test]
fn seasonal_std() {
    check("std", "{}");
    check("std", r#"{"period": 24}"#);
    // Its level is the median of one last cycle.
    check_accuracy("std", r#"{"period": 24}"#, 24, daily, 0.9);
    check_accuracy("std", r#"{"period": "none"}"#, 1, noise, 0.8);
}

#[test]
fn ets() {
    check("ets", "{}");
    check("ets", r#"{"season": "none", "spec": "ANN"}"#);
    check_accuracy("ets", r#"{"season": "none"}"#, 1, noise, 0.8);
}

#[test]
fn mad() {
    check("mad", "{}");
    check("mad", r#"{"seasonal_interval": "2h", "min_subseason": "10m"}"#);
    check_accuracy("mad", "{}", 1, noise, 0.75);
}

#[test]
fn quantile() {
    check("quantile", "{}");
    check("quantile", r#"{"seasonal_interval": 24, "min_subseason": 2}"#);
    check_accuracy("quantile", "{}", 1, noise, 0.75);
}

#[test]
fn rolling_quantile() {
    check("rolling_quantile", "{}");
    check("rolling_quantile", r#"{"window": 12}"#);
    check_accuracy("rolling_quantile", "{}", 1, noise, 0.75);
}

#[test]
fn nano() {
    // Held, so that the graph stays loaded from one call to the next.
    let held = build(&ModelSpec::local("nano", serde_json::Map::new()), &RESOURCES).unwrap();
    held.prepare().unwrap();
    check_to("nano", "{}", GRAPH);
    check_to("nano", r#"{"context": 100, "least_context": 3, "batch": 3}"#, GRAPH);
}
