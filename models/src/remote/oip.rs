//! The Open Inference Protocol, version 2, over HTTP: KServe, Triton, MLServer and others.
//! <https://github.com/kserve/open-inference-protocol>, `inference_rest.md`
//!
//! It says how tensors travel and not which ones a forecaster has; those are ours:
//!
//! | tensor | type and shape | meaning |
//! |---|---|---|
//! | `context` | FP64 `[series, time]` | histories, oldest first, padded at the left; 0 where `observed` is false |
//! | `observed` | BOOL `[series, time]` | whether there is a value: JSON has no NaN |
//! | `horizon` | INT64 `[1]` | how many points ahead |
//! | `levels` | FP64 `[level]` | the quantile levels, rising |
//! | `quantiles` (output) | FP32 or FP64 `[series, level, horizon]` | the forecast |

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::{Answer, wrong};
use super::batch::Batch;
use super::client::Reply;
use super::fault::Fault;
use super::json::{Flat, body, parse};

#[derive(Serialize)]
struct Question<'a> {
    parameters: &'a Map<String, Value>,
    inputs: [Value; 4],
    outputs: [Value; 1],
}

/// What is asked about the series of `batch`.
pub(super) fn question(batch: &Batch<'_>, parameters: &Map<String, Value>) -> Bytes {
    let time = batch.contexts().map(<[f64]>::len).max().unwrap_or(0);
    let padding = |context: &[f64]| std::iter::repeat_n(f64::NAN, time - context.len());
    let all: Vec<f64> = batch.contexts().flat_map(|context| padding(context).chain(context.iter().copied())).collect();
    let observed: Vec<bool> = all.iter().map(|value| value.is_finite()).collect();
    let context: Vec<f64> = all.iter().map(|value| if value.is_finite() { *value } else { 0.0 }).collect();
    let shape = [batch.len(), time];
    let levels = batch.levels();
    body(&Question {
        parameters,
        inputs: [
            json!({"name": "context", "shape": shape, "datatype": "FP64", "data": context}),
            json!({"name": "observed", "shape": shape, "datatype": "BOOL", "data": observed}),
            json!({"name": "horizon", "shape": [1], "datatype": "INT64", "data": [batch.horizon()]}),
            json!({"name": "levels", "shape": [levels.len()], "datatype": "FP64", "data": levels}),
        ],
        outputs: [json!({"name": "quantiles"})],
    })
}

#[derive(Deserialize)]
struct Document {
    error: Option<String>,
    #[serde(default)]
    outputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(default)]
    data: Option<Flat>,
}

/// Reads the forecasts of the series of `batch`, in its order.
pub(super) fn answers(reply: &Reply, batch: &Batch<'_>) -> Result<Vec<Result<Answer, Fault>>, Fault> {
    let found: Document = parse(reply)?;
    if let Some(error) = found.error {
        return Err(wrong(format!("it says {error:?}")));
    }
    let mut tensors = found.outputs.into_iter().filter(|tensor| tensor.name == "quantiles");
    let (tensor, another) =
        (tensors.next().ok_or_else(|| wrong("its answer lacks the output quantiles"))?, tensors.next());
    if another.is_some() {
        return Err(wrong("its output quantiles is there twice"));
    }
    let values = checked(tensor, [batch.len(), batch.levels().len(), batch.horizon()])?;
    let size = batch.levels().len() * batch.horizon();
    let rows = |series: &[f64]| {
        batch.levels().iter().copied().zip(series.chunks(batch.horizon()).map(<[f64]>::to_vec)).collect()
    };
    Ok(values.chunks(size.max(1)).map(|series| Ok(Answer { quantiles: rows(series), point: None })).collect())
}

fn checked(tensor: Tensor, shape: [usize; 3]) -> Result<Vec<f64>, Fault> {
    if !matches!(tensor.datatype.as_str(), "FP16" | "FP32" | "FP64") {
        return Err(wrong(format!("its output quantiles is of type {:?}, not FP32 or FP64", tensor.datatype)));
    }
    if tensor.shape != shape {
        return Err(wrong(format!(
            "its output quantiles has the shape {:?} where {shape:?} was asked for",
            tensor.shape
        )));
    }
    let Some(Flat(values)) = tensor.data else {
        return Err(wrong("its output quantiles has no data in JSON"));
    };
    let expected = shape.iter().product::<usize>();
    match values.len() {
        length if length == expected => Ok(values),
        length => Err(wrong(format!("its output quantiles has {length} values where {expected} were asked for"))),
    }
}
