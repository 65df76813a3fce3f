//! A cheap model for all series, and a dear one for those that look suspicious or are hard to forecast.
//!
//! Which model a series gets depends on its own context alone, so that its forecast doesn't depend on what else is in
//! the batch: the cheap model forecasts the end of the context from what is before it, and the dear one is asked where
//! too many of those points fall out of its 95% band, or where it errs more than the last value held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::entry::{BuildError, Built, Entry, Parameter, parse, wrong};
use crate::forecast::{Forecast, Levels};
use crate::forecaster::{ForecastError, Forecaster, Request, Usage};
use crate::registry;
use crate::resources::Resources;
use crate::spec::ModelSpec;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "cascade",
    aliases: &[],
    summary: "a cheap model for all series, a dear one for those that surprise the cheap one or are hard for it",
    parameters: &[
        Parameter {
            name: "cheap",
            default: "mstl",
            meaning: "the model of all series: an id, or {id: …, parameters: {…}}",
        },
        Parameter { name: "dear", default: "nano", meaning: "the model of the others, in the same form" },
        Parameter {
            name: "surprise",
            default: "0.2",
            meaning: "the dear one is asked where more than this part of the newest points is outside the cheap one's 95% band",
        },
        Parameter {
            name: "error",
            default: "1.0",
            meaning: "and where the cheap one's mean absolute error on them is more than this many times that of the last value",
        },
    ],
    build,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    cheap: Named,
    dear: Named,
    surprise: f64,
    error: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { cheap: Named::Id("mstl".into()), dear: Named::Id("nano".into()), surprise: 0.2, error: 1.0 }
    }
}

/// A model named in a parameter.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a model's id, or {id: …, parameters: {…}}")]
enum Named {
    Id(String),
    Spec(Inner),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    id: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

impl Named {
    fn spec(self) -> ModelSpec {
        match self {
            Self::Id(id) => ModelSpec::local(id, Map::new()),
            Self::Spec(inner) => ModelSpec::local(inner.id, inner.parameters),
        }
    }
}

fn build(spec: &ModelSpec, resources: &Resources) -> Built {
    let Parameters { cheap, dear, surprise, error } = parse(&ENTRY, &spec.parameters)?;
    for (name, value) in [("surprise", surprise), ("error", error)] {
        if value.is_nan() || value < 0.0 {
            return Err(wrong(&ENTRY, name, format!("{value} is not 0 or more")));
        }
    }
    let (cheap, dear) = (Part::new("cheap", cheap.spec(), resources)?, Part::new("dear", dear.spec(), resources)?);
    Ok(Arc::new(Cascade { cheap, dear, surprise, error }))
}

/// One of the two models, and what it has done.
struct Part {
    model: Arc<dyn Forecaster>,
    usage: Mutex<Usage>,
}

impl Part {
    fn new(parameter: &str, spec: ModelSpec, resources: &Resources) -> Result<Self, BuildError> {
        if spec.id == ENTRY.id {
            return Err(wrong(&ENTRY, parameter, "a cascade is made of other models".into()));
        }
        let model = registry::build(&spec, resources).map_err(|error| wrong(&ENTRY, parameter, error.to_string()))?;
        Ok(Self { model, usage: Mutex::new(Usage { model: spec.id, series: 0, seconds: 0.0 }) })
    }

    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        let start = Instant::now();
        let forecast = self.model.forecast(request);
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.series += request.contexts.len() as u64;
        usage.seconds += start.elapsed().as_secs_f64();
        forecast
    }

    fn usage(&self) -> Usage {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Cascade {
    cheap: Part,
    dear: Part,
    surprise: f64,
    error: f64,
}

impl Forecaster for Cascade {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        let mut answer = self.cheap.forecast(request)?;
        let chosen = self.chosen(request)?;
        if chosen.is_empty() {
            return Ok(answer);
        }
        let contexts: Vec<&[f64]> = chosen.iter().map(|series| request.contexts[*series]).collect();
        let dear = self.dear.forecast(&Request { contexts: &contexts, ..request.clone() })?;
        for (from, to) in chosen.iter().enumerate() {
            answer.of_mut(*to).copy_from_slice(dear.of(from));
        }
        for failure in dear.failures() {
            answer.fail(chosen[failure.series], &failure.message);
        }
        Ok(answer)
    }

    fn prepare(&self) -> Result<(), ForecastError> {
        self.cheap.model.prepare()?;
        self.dear.model.prepare()
    }

    fn waits(&self) -> bool {
        self.cheap.model.waits() || self.dear.model.waits()
    }

    fn usage(&self) -> Vec<Usage> {
        vec![self.cheap.usage(), self.dear.usage()]
    }
}

impl Cascade {
    /// The series for which the dear model is asked.
    fn chosen(&self, request: &Request<'_>) -> Result<Vec<usize>, ForecastError> {
        // The contexts of one request end at one time, so they are asked about by how much of them is held back.
        let mut by_count: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (series, context) in request.contexts.iter().enumerate().filter(|(_, context)| context.len() > 1) {
            by_count.entry(request.horizon.min(context.len() / 2)).or_default().push(series);
        }
        let levels = Levels::new(vec![0.025, 0.5, 0.975]).expect("they lie between 0 and 1");
        let mut chosen = vec![];
        for (count, series) in by_count {
            let before: Vec<&[f64]> = series.iter().map(|at| split(request.contexts[*at], count).0).collect();
            let step_ms = i64::try_from(request.step.as_millis()).unwrap_or(i64::MAX);
            let end_ms = request.end_ms.saturating_sub(step_ms.saturating_mul(count as i64));
            let forecast = self.cheap.forecast(&Request::new(&before, end_ms, request.step, count, &levels))?;
            let is_chosen = |(row, at): &(usize, usize)| {
                let (before, after) = split(request.contexts[*at], count);
                self.is_suspicious(before, after, forecast.of(*row))
            };
            chosen.extend(series.into_iter().enumerate().filter(is_chosen).map(|(_, at)| at));
        }
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// Whether `after` surprises the `forecast` (`[lower, median, upper][step]`) that was made from `before`.
    fn is_suspicious(&self, before: &[f64], after: &[f64], forecast: &[f64]) -> bool {
        let (Some(last), count) = (before.iter().rfind(|value| value.is_finite()), after.len()) else { return false };
        let (mut present, mut outside, mut error, mut naive) = (0.0, 0.0, 0.0, 0.0);
        for (ahead, value) in after.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let [lower, median, upper] = [0, 1, 2].map(|level| forecast[level * count + ahead]);
            present += 1.0;
            outside += if *value < lower || *value > upper { 1.0 } else { 0.0 };
            error += (value - median).abs();
            naive += (value - last).abs();
        }
        present > 0.0 && (outside > self.surprise * present || error > self.error * naive)
    }
}

/// What is before the last `count` points, and those.
fn split(context: &[f64], count: usize) -> (&[f64], &[f64]) {
    context.split_at(context.len() - count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::seasonal;

    const PARAMETERS: &str = r#"{"cheap": {"id": "seasonal_naive", "parameters": {"season": 24}}, "dear": "mstl"}"#;

    fn model(id: &str, parameters: &str) -> Arc<dyn Forecaster> {
        let spec = ModelSpec::local(id, serde_json::from_str(parameters).unwrap());
        registry::build(&spec, &Resources::default()).unwrap()
    }

    fn forecast(model: &dyn Forecaster, contexts: &[&[f64]]) -> Forecast {
        let levels = Levels::new(vec![0.1, 0.5, 0.9]).unwrap();
        model.forecast(&Request::new(contexts, 1_700_000_000_000, Duration::from_secs(300), 12, &levels)).unwrap()
    }

    /// As usual, and with a new level for the last ten points.
    fn calm_and_shifted() -> (Vec<f64>, Vec<f64>) {
        let calm = seasonal(480, 24, 3);
        let mut shifted = seasonal(480, 24, 4);
        shifted[470..].iter_mut().for_each(|value| *value += 40.0);
        (calm, shifted)
    }

    #[test]
    fn the_dear_model_is_asked_about_what_surprises_the_cheap_one() {
        let (calm, shifted) = calm_and_shifted();
        let cascade = model("cascade", PARAMETERS);
        let found = forecast(&*cascade, &[&calm, &shifted, &calm]);
        let cheap = forecast(&*model("seasonal_naive", r#"{"season": 24}"#), &[&calm]);
        let dear = forecast(&*model("mstl", "{}"), &[&shifted]);
        assert_eq!([found.of(0), found.of(1), found.of(2)], [cheap.of(0), dear.of(0), cheap.of(0)]);
        let series: Vec<u64> = cascade.usage().iter().map(|usage| usage.series).collect();
        assert_eq!(series, [6, 1], "the cheap one forecasts all, and the ends of all");
    }

    #[test]
    fn a_series_gets_the_same_alone() {
        let (calm, shifted) = calm_and_shifted();
        let cascade = model("cascade", PARAMETERS);
        let together = forecast(&*cascade, &[&calm, &shifted, &shifted[300..], &[], &[1.0], &[f64::NAN; 50]]);
        for (at, alone) in [&calm[..], &shifted, &shifted[300..], &[], &[1.0]].into_iter().enumerate() {
            let alone = forecast(&*cascade, &[alone]);
            assert!(together.of(at).iter().zip(alone.of(0)).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())), "{at}");
        }
        assert!(together.of(5).iter().all(|value| value.is_nan()));
    }

    fn check_error(parameters: &str, expected: &[&str]) {
        let spec = ModelSpec::local("cascade", serde_json::from_str(parameters).unwrap());
        let Err(error) = registry::build(&spec, &Resources::default()) else { panic!("{parameters} was built") };
        let error = error.to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn wrong_parts_are_named() {
        check_error(r#"{"cheap": "cascade"}"#, &["parameter cheap", "made of other models"]);
        check_error(r#"{"dear": "cascad"}"#, &["parameter dear", "no model \"cascad\""]);
        check_error(r#"{"dear": {"id": "mstl", "parameters": {"saeson": 1}}}"#, &["parameter dear", "saeson"]);
        check_error(r#"{"dear": 3}"#, &["parameter dear", "a model's id, or {id: "]);
        check_error(r#"{"surprise": -1}"#, &["parameter surprise", "-1 is not 0 or more"]);
        check_error(r#"{"eror": 1}"#, &["eror", "allowed are cheap, dear, surprise, error"]);
    }
}
