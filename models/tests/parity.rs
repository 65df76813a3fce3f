//! The published architectures answer what their own packages answer: in one run, beyond it, with gaps, ragged, with
//! groups and covariates; and what a series is told depends neither on what else is asked nor on where it lies.
//!
//! `models/parity.sh` makes small models of random weights, asks the packages, and runs this.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use models::onnx::Settings;
use models::{Covariate, Forecast, Forecaster, Levels, ModelSpec, Request, Resources, build};
use serde::Deserialize;
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

/// A question to a package, and its answer.
#[derive(Deserialize)]
struct Case {
    name: String,
    contexts: Vec<Row>,
    /// Contexts of one number are forecast together.
    groups: Option<Vec<i64>>,
    covariates: Option<Vec<Known>>,
    horizon: usize,
    levels: Vec<f64>,
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

fn fixture(family: &str) -> Fixture {
    let path = folder().join(family).join("cases.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
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
fn error<'a>(context: &[f64], found: impl Iterator<Item = &'a f64>, expected: impl Iterator<Item = &'a f64>) -> f64 {
    let (mean, deviation) = location(context);
    let one = |(found, expected): (&f64, &f64)| {
        let error = (found - expected).abs() / (deviation + (expected - mean).abs());
        if error.is_nan() { f64::INFINITY } else { error }
    };
    found.zip(expected).map(one).fold(0.0, f64::max)
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

    fn largest_error(&self, model: &dyn Forecaster) -> f64 {
        self.questions().iter().map(|(group, members)| self.error_of(model, *group, members)).fold(0.0, f64::max)
    }

    fn error_of(&self, model: &dyn Forecaster, group: Option<i64>, members: &[usize]) -> f64 {
        let contexts: Vec<&[f64]> = members.iter().map(|at| self.contexts[*at].0.as_slice()).collect();
        let known = self.covariates.iter().flatten().filter(|known| Some(known.group) == group);
        let covariates: Vec<Covariate<'_>> = known
            .map(|known| Covariate {
                past: &known.past.0,
                future: known.future.as_ref().map(|future| future.0.as_slice()).unwrap_or_default(),
            })
            .collect();
        let expected: Vec<Vec<Vec<f64>>> = members.iter().map(|member| in_order(&self.expected[*member])).collect();
        let mut worst = 0.0_f64;
        for (place, level) in self.levels.iter().enumerate() {
            // One at a time: several are kept apart where the package lets them meet.
            let level = Levels::new(vec![*level]).unwrap();
            let request = Request {
                together: members.len() > 1 && group.is_some(),
                covariates: &covariates,
                ..Request::new(&contexts, END_MS, STEP, self.horizon, &level)
            };
            let found = model.forecast(&request).unwrap();
            assert!(found.failures().is_empty(), "{}: {:?}", self.name, found.failures());
            for (at, (context, expected)) in contexts.iter().zip(&expected).enumerate() {
                worst = worst.max(error(context, found.of(at).iter(), expected[place].iter()));
            }
        }
        worst
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
    let fixture = fixture(family);
    let model = model(family, json!({"least_context": 1}));
    let mut failed = vec![];
    for case in &fixture.cases {
        let error = case.largest_error(&*model);
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
    for horizon in [24, 200] {
        let all = ask(&*model, &rows, horizon, &LEVELS);
        for (at, context) in rows.iter().enumerate() {
            let alone = ask(&*model, &[context], horizon, &LEVELS);
            let error = error(context, all.of(at).iter(), alone.of(0).iter());
            assert!(error < 1e-5, "{family}: series {at} of {} points is {error:.2e} off among others", context.len());
        }
    }
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
            let error = error(&plain, back.iter(), found.of(0).iter());
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
}

#[test]
#[ignore = "not checked against the packages: that takes models/parity.sh"]
fn toto() {
    check("toto");
}
