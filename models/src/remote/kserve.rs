//! KServe's time-series forecast: `POST /v1/timeseries/forecast`, as in `kserve/protocol/rest/timeseries/types.py` of
//! KServe 0.21.
//!
//! It knows no gaps, so that they are filled by straight lines, and no steps of several units: a step of five minutes
//! is said to be of a minute, which is all that models make of it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Answer, wrong};
use super::batch::Batch;
use super::client::Reply;
use super::fault::{Fault, readable};
use super::json::{Numbers, Quantiles, body, parse};

const KIND: &str = "univariate_time_series";

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    inputs: Vec<Input>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct Input {
    r#type: &'static str,
    name: String,
    series: Vec<f64>,
    frequency: &'static str,
    start_timestamp: String,
}

#[derive(Serialize)]
struct Options<'a> {
    horizon: usize,
    quantiles: &'a [f64],
    #[serde(flatten)]
    parameters: &'a Map<String, Value>,
}

/// What `model` is asked about the series of `batch`.
pub(super) fn question(model: &str, batch: &Batch<'_>, parameters: &Map<String, Value>) -> Bytes {
    let input = |(at, context): (usize, &[f64])| Input {
        r#type: KIND,
        name: at.to_string(),
        series: filled(context),
        frequency: frequency(batch.step_ns()),
        start_timestamp: second(batch.past_ms(context.len() - 1)),
    };
    body(&Question {
        model,
        inputs: batch.contexts().enumerate().map(input).collect(),
        options: Options { horizon: batch.horizon(), quantiles: batch.levels(), parameters },
    })
}

/// The time to the second, as KServe's own model reads it.
fn second(ms: i64) -> String {
    let time = jiff::Timestamp::from_second(ms.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_string()
}

/// The longest unit that is no longer than a step.
fn frequency(step_ns: i128) -> &'static str {
    const SECOND: i128 = 1_000_000_000;
    match step_ns / SECOND {
        ..60 => "second",
        60..3600 => "minute",
        3600..86_400 => "hour",
        86_400..604_800 => "day",
        _ => "week",
    }
}

/// Gaps become straight lines between their neighbours, or the last value at the end. The first value is there.
fn filled(context: &[f64]) -> Vec<f64> {
    let mut values = context.to_vec();
    let mut last = 0;
    for at in 1..values.len() {
        if !values[at].is_finite() {
            continue;
        }
        let (from, to, gap) = (values[last], values[at], (at - last) as f64);
        for (done, value) in values[last + 1..at].iter_mut().enumerate() {
            let part = (done + 1) as f64 / gap;
            *value = from * (1.0 - part) + to * part;
        }
        last = at;
    }
    let end = values.get(last).copied().unwrap_or(0.0);
    values.iter_mut().skip(last + 1).for_each(|value| *value = end);
    values
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    error: Option<Mistake>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Mistake {
    message: String,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    error: Option<Mistake>,
    #[serde(default)]
    content: Vec<Forecast>,
}

#[derive(Deserialize)]
struct Forecast {
    r#type: String,
    name: String,
    mean_forecast: Option<Numbers>,
    #[serde(default)]
    quantiles: Quantiles,
}

/// Reads the forecasts of the series of `batch`, in its order.
pub(super) fn answers(reply: &Reply, batch: &Batch<'_>) -> Result<Vec<Result<Answer, Fault>>, Fault> {
    let found: Document = parse(reply)?;
    if let Some(error) = found.error {
        return Err(says(&error));
    }
    let mut answers: Vec<Option<Result<Answer, Fault>>> = vec![None; batch.len()];
    // An output is for one input; where it failed only its place tells which.
    let is_one_each = found.outputs.len() == batch.len();
    for (place, output) in found.outputs.into_iter().enumerate() {
        if let Some(error) = output.error {
            let fault = says(&error);
            match answers.get_mut(place) {
                Some(answer) if is_one_each => *answer = Some(Err(fault)),
                _ => return Err(fault),
            }
            continue;
        }
        for forecast in output.content {
            put(&mut answers, forecast)?;
        }
    }
    let missing = |at: usize| Err(wrong(format!("its answer lacks the series \"{at}\"")));
    Ok(answers.into_iter().enumerate().map(|(at, answer)| answer.unwrap_or_else(|| missing(at))).collect())
}

fn says(error: &Mistake) -> Fault {
    wrong(format!("it says {:?}", readable(error.message.as_bytes())))
}

fn put(answers: &mut [Option<Result<Answer, Fault>>], forecast: Forecast) -> Result<(), Fault> {
    let known = |name: &str| name.parse::<usize>().ok().filter(|at| at.to_string() == name);
    let Some(place) = known(&forecast.name).and_then(|at| answers.get_mut(at)) else {
        let name = readable(forecast.name.as_bytes());
        return Err(wrong(format!("it answers about the series {name:?}, about which nothing was asked")));
    };
    *place = Some(match place {
        Some(_) => Err(wrong("it answers twice about the series")),
        None if forecast.r#type != KIND => {
            Err(wrong(format!("its type is {:?}, not {KIND}", readable(forecast.r#type.as_bytes()))))
        }
        None => {
            let point = forecast.mean_forecast.map(|numbers| numbers.0);
            forecast.quantiles.levels().map(|quantiles| Answer { quantiles, point })
        }
    });
    Ok(())
}
