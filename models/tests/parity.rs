//! The published architectures answer what their own packages answer: in one run, beyond it, with gaps, ragged, with
//! groups and covariates; and what a series is told depends neither on what else is asked nor on where it lies.
//!
//! `models/parity.sh` makes small models of random weights, asks the packages, and runs this.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that fails says where, and by how much")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use models::onnx::Settings;
use models::{Covariate, Forecast, Forecaster, Levels, ModelSpec, Request, Resources, build};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const END_MS: i64 = 1_700_000_000_000;
const STEP: Duration = Duration::from_secs(60);
const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

/// `cases.json` of one family.
#[derive(Deserialize)]
struct Fixture {
    /// The largest [`error`].
    tolerance: f64,
    cases: Vec<Case>,
}

/// `manifest.json` of one family.
#[derive(Deserialize)]
struct Manifest {
    /// The model's own levels, rising.
    quantiles: Vec<f64>,
}

/// A question to a package, and its answer.
#[derive(Deserialize)]
struct Case {
    name: String,
    contexts: Vec<Row>,
    /// Contexts of one number are forecast together.
    groups: Option<Vec<i64>>,
    covariates: Option<Vec<Known>>,
    horizon: usize,
    /// `[series, level, step ahead]`.
    expected: Vec<Vec<Vec<f64>>>,
}

/// A covariate of a group.
#[derive(Deserialize)]
struct Known {
    group: i64,
    past: Row,
    future: Option<Row>,
}

/// Values, oldest first; a gap is null in the file and NaN here.
#[derive(Deserialize)]
#[serde(from = "Vec<Option<f64>>")]
struct Row(Vec<f64>);

impl From<Vec<Option<f64>>> for Row {
    fn from(values: Vec<Option<f64>>) -> Self {
        Self(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env::var_os("OPENANOMALY_PARITY").expect("OPENANOMALY_PARITY names the folder of models/parity.sh"))
}

/// A file of a family.
fn read<T: DeserializeOwned>(family: &str, file: &str) -> T {
    serde_json::from_str(&fs::read_to_string(folder().join(family).join(file)).unwrap()).unwrap()
}

fn model(family: &str, parameters: Value) -> Arc<dyn Forecaster> {
    let settings = Settings { folder: Some(folder()), ..Settings::default() };
    let mut all: Map<String, Value> = parameters.as_object().unwrap().clone();
    all.insert("file".to_owned(), json!(format!("{family}/model.onnx")));
    build(&ModelSpec::local("onnx", all), &Resources::new(settings)).unwrap()
}

fn ask(model: &dyn Forecaster, contexts: &[&[f64]], horizon: usize, levels: &[f64]) -> Forecast {
    let levels = Levels::new(levels.to_vec()).unwrap();
    model.forecast(&Request::new(contexts, END_MS, STEP, horizon, &levels)).unwrap()
}

/// Mean and deviation of what is there.
fn location(context: &[f64]) -> (f64, f64) {
    let seen: Vec<f64> = context.iter().copied().filter(|value| value.is_finite()).collect();
    let count = seen.len() as f64;
    let mean = seen.iter().sum::<f64>() / count;
    (mean, (seen.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
}

/// The largest distance of two answers to `context`, relative to its deviation and how far from its mean they are.
fn error(context: &[f64], found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mean, deviation) = location(context);
    let one = |(found, expected): (&f64, &f64)| {
        let error = (found - expected).abs() / (deviation + (expected - mean).abs());
        if error.is_nan() { f64::INFINITY } else { error }
    };
    found.iter().zip(expected).map(one).fold(0.0, f64::max)
}

impl Case {
    /// Every group, with its members; without groups, all contexts, each on its own.
    fn questions(&self) -> Vec<(Option<i64>, Vec<usize>)> {
        let Some(groups) = &self.groups else { return vec![(None, (0..self.contexts.len()).collect())] };
        let mut known = groups.clone();
        known.sort_unstable();
        known.dedup();
        let members = |id| (0..groups.len()).filter(|at| groups[*at] == id).collect();
        known.into_iter().map(|id| (Some(id), members(id))).collect()
    }

    fn largest_error(&self, model: &dyn Forecaster, native: &[f64]) -> f64 {
        self.questions()
            .iter()
            .map(|(group, members)| self.error_of(model, native, *group, members))
            .fold(0.0, f64::max)
    }

    fn error_of(&self, model: &dyn Forecaster, native: &[f64], group: Option<i64>, members: &[usize]) -> f64 {
        let contexts: Vec<&[f64]> = members.iter().map(|at| self.contexts[*at].0.as_slice()).collect();
        let known = self.covariates.iter().flatten().filter(|known| Some(known.group) == group);
        let covariates: Vec<Covariate<'_>> = known
            .map(|known| Covariate {
                past: &known.past.0,
                future: known.future.as_ref().map(|future| future.0.as_slice()).unwrap_or_default(),
            })
            .collect();
        // One level at a time: several are kept apart where the package lets them meet.
        let one = |level: &f64| {
            let level = Levels::new(vec![*level]).unwrap();
            let request = Request {
                together: members.len() > 1 && group.is_some(),
                covariates: &covariates,
                ..Request::new(&contexts, END_MS, STEP, self.horizon, &level)
            };
            let found = model.forecast(&request).unwrap();
            assert!(found.failures().is_empty(), "{}: {:?}", self.name, found.failures());
            found
        };
        let found: Vec<Forecast> = native.iter().map(one).collect();
        let series = contexts.iter().zip(members).enumerate();
        series.map(|(at, (context, member))| self.error_of_series(context, *member, at, &found)).fold(0.0, f64::max)
    }

    /// `found` has a forecast for each of the model's own levels, in order; series `member` is the one at `at` of it.
    fn error_of_series(&self, context: &[f64], member: usize, at: usize, found: &[Forecast]) -> f64 {
        let expected = &self.expected[member];
        if expected.len() == found.len() {
            let pairs = in_order(expected).into_iter().zip(found);
            return pairs.map(|(row, found)| error(context, found.of(at), &row)).fold(0.0, f64::max);
        }
        // What a package answers at some of its levels may cross the others: then it is found at another one.
        let nearest = |step: usize, value: f64| {
            let all = found.iter().map(|found| error(context, &found.of(at)[step..=step], &[value]));
            all.fold(f64::INFINITY, f64::min)
        };
        let steps = expected.iter().flat_map(|row| row.iter().enumerate());
        steps.map(|(step, value)| nearest(step, *value)).fold(0.0, f64::max)
    }
}

/// `[level, step ahead]` with the values of each step in order: what packages answer may cross.
fn in_order(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut sorted = rows.to_vec();
    for step in 0..rows[0].len() {
        let mut column: Vec<f64> = rows.iter().map(|row| row[step]).collect();
        column.sort_unstable_by(f64::total_cmp);
        for (row, value) in sorted.iter_mut().zip(column) {
            row[step] = value;
        }
    }
    sorted
}

fn check(family: &str) {
    let (fixture, manifest): (Fixture, Manifest) = (read(family, "cases.json"), read(family, "manifest.json"));
    let model = model(family, json!({"least_context": 1}));
    let mut failed = vec![];
    for case in &fixture.cases {
        let error = case.largest_error(&*model, &manifest.quantiles);
        println!("{family} {}: {error:.2e}", case.name);
        if error > fixture.tolerance {
            failed.push(format!("{}: {error:.2e}", case.name));
        }
    }
    assert!(failed.is_empty(), "{family}: farther than {} from its package: {failed:?}", fixture.tolerance);
    assert!(fixture.cases.len() >= 15, "{family}: only {} cases", fixture.cases.len());
    check_independent(family, &fixture);
    check_awkward(family);
}

/// Alone, each series is told what it is told among others.
fn check_independent(family: &str, fixture: &Fixture) {
    let model = model(family, json!({"least_context": 1}));
    let rows: Vec<&[f64]> =
        fixture.cases.iter().flat_map(|case| case.contexts.iter().map(|row| row.0.as_slice())).collect();
    let mut worst = 0.0_f64;
    for horizon in [24, 200] {
        let all = ask(&*model, &rows, horizon, &LEVELS);
        for (at, context) in rows.iter().enumerate() {
            let alone = ask(&*model, &[context], horizon, &LEVELS);
            worst = worst.max(error(context, all.of(at), alone.of(0)));
        }
    }
    println!("{family} alone and among others: {worst:.2e}");
    assert!(worst < 1e-5, "{family}: a series is {worst:.2e} off among others");
}

/// A season of 24 points and something that looks like noise, of 1 in all.
fn wave(points: usize) -> Vec<f64> {
    let at = |i: usize| (i as f64 / 24.0 * std::f64::consts::TAU).sin() + 0.3 * (i as f64 * 12.9898).sin();
    (0..points).map(at).collect()
}

fn check_awkward(family: &str) {
    let model = model(family, json!({}));
    let plain = wave(300);
    let mapped = |factor: f64, offset: f64| plain.iter().map(|value| offset + factor * value).collect::<Vec<_>>();
    let (far, tiny, huge) = (mapped(1.0, 1e9), mapped(1e-9, 0.0), mapped(1e12, -1e14));
    let (constant, missing, short) = (vec![5.0; 300], vec![f64::NAN; 300], wave(3));
    let contexts = [&plain[..], &far, &tiny, &huge, &constant, &missing, &short, &[]];
    for level in LEVELS {
        // One at a time: how far apart they are kept at least depends on how many digits there are.
        let found = ask(&*model, &contexts, 100, &[level]);
        for (at, factor, offset) in [(1, 1.0, 1e9), (2, 1e-9, 0.0), (3, 1e12, -1e14)] {
            let back: Vec<f64> = found.of(at).iter().map(|value| (value - offset) / factor).collect();
            let error = error(&plain, &back, found.of(0));
            assert!(error < 1e-4, "{family}: {factor} x + {offset} is forecast {error:.2e} off at {level}");
        }
    }
    let found = ask(&*model, &contexts, 100, &LEVELS);
    assert!(found.of(4).iter().all(|value| (value - 5.0).abs() < 1e-6), "{family}: a constant goes on");
    let (mean, deviation) = location(&short);
    let near = |value: &f64| (value - mean).abs() < 3.0 * deviation;
    assert!(found.of(6).iter().all(near), "{family}: three points are their own forecast: {:?}", found.of(6));
    for nothing in [5, 7] {
        assert!(found.of(nothing).iter().all(|value| value.is_nan()), "{family}: something is said of nothing");
    }
}

#[test]
#[ignore = "not checked against the packages: that takes models/parity.sh"]
fn chronos_bolt() {
    check("bolt");
}

#[test]
#[ignore = "not checked against the packages: that takes models/parity.sh"]
fn chronos_2() {
    check("chronos2");
}

#[test]
#[ignore = "not checked against the packages: that takes models/parity.sh"]
fn timesfm() {
    check("timesfm25");
    let (model, levels) = (model("timesfm25", json!({})), Levels::new(vec![0.5]).unwrap());
    let error = model.forecast(&Request::new(&[&wave(100)], END_MS, STEP, 1100, &levels)).unwrap_err();
    assert!(error.to_string().contains("1024 steps ahead, not 1100"), "{error}");
}

#[test]
#[ignore = "not checked against the packages: that takes models/parity.sh"]
fn toto() {
    check("toto");
}
