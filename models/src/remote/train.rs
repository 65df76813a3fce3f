//! Training behind a URL: history in, the name of a model out.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::batch::past_ms;
use super::client::{Call, Client, Content};
use super::fault::{Fault, readable};
use super::json::{body, parse};
use super::options::Options;
use super::wait;
use crate::entry::BuildError;
use crate::forecaster::ForecastError;
use crate::resources::Resources;
use crate::spec::{Endpoint, ModelSpec};

/// How long training may take where nothing is said about that.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What a model is trained on.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// Series by their ids, oldest value first; a gap is NaN. Lengths may differ, all end at `end`.
    pub series: &'a [(&'a str, &'a [f64])],
    /// The time of the last point of every series, in milliseconds since the Unix epoch.
    pub end_ms: i64,
    /// The distance between two points.
    pub step: Duration,
}

/// What training made: at least one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Trained {
    /// The model's id at the endpoint.
    pub model_id: Option<String>,
    /// Where the model lies.
    pub artifact_uri: Option<String>,
}

/// Why nothing was trained.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrainError {
    /// The endpoint or a parameter is wrong.
    #[error(transparent)]
    Parameters(#[from] BuildError),
    /// The endpoint did not do it.
    #[error(transparent)]
    Failed(#[from] ForecastError),
}

/// Trains the model of `spec` at `endpoint`, which is that of the trainer. The parameters are those of a remote model:
/// [ours](super::PARAMETERS), and what the trainer is told.
///
/// It blocks until the endpoint has answered, by default for at most an hour.
///
/// # Errors
/// A wrong endpoint or parameter; no answer, or one that names no model.
pub fn train(
    spec: &ModelSpec,
    endpoint: &Endpoint,
    training: &Training<'_>,
    resources: &Resources,
) -> Result<Trained, TrainError> {
    let options = Options::new(spec, endpoint, TIMEOUT)?;
    let client = Client::new(&options, resources);
    let failed = |what: String| {
        let name = if spec.id.is_empty() { "remote" } else { &spec.id };
        ForecastError::new(name, format!("{}: {what}", client.endpoint()))
    };
    let question = Question { data: Data(training), parameters: &options.parameters };
    let call = Call {
        url: options.url.clone(),
        content: Content::Json(body(&question)),
        limit: options.limit(0),
        seed: training.end_ms as u64,
    };
    let reply = wait(client.send(&call)).map_err(|fault| failed(fault.to_string()))?;
    let reply = reply.map_err(|fault| failed(fault.to_string()))?;
    let trained: Trained = parse(&reply).map_err(|fault| failed(fault.to_string()))?;
    if trained.model_id.is_none() && trained.artifact_uri.is_none() {
        let what = format!("its answer has neither model_id nor artifact_uri: {}", readable(&reply.body));
        return Err(failed(Fault::Answer(what).to_string()).into());
    }
    Ok(trained)
}

#[derive(Serialize)]
struct Question<'a> {
    data: Data<'a>,
    parameters: &'a Map<String, Value>,
}

/// A row a point.
struct Data<'a>(&'a Training<'a>);

#[derive(Serialize)]
struct Row<'a> {
    unique_id: &'a str,
    ds: String,
    y: f64,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Training { series, end_ms, step } = *self.0;
        let step_ns = step.as_nanos() as i128;
        let row = |id, back, y| Row { unique_id: id, ds: time(past_ms(end_ms, step_ns, back)), y };
        serializer.collect_seq(
            series.iter().flat_map(|(id, values)| {
                values.iter().enumerate().map(move |(at, y)| row(*id, values.len() - 1 - at, *y))
            }),
        )
    }
}

/// The time in ISO 8601.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_point() {
        let series: [(&str, &[f64]); 2] = [("a", &[1.0, f64::NAN]), ("b", &[3.5])];
        let training = Training { series: &series, end_ms: 1_700_000_000_000, step: Duration::from_secs(60) };
        let question = Question { data: Data(&training), parameters: &Map::new() };
        assert_eq!(
            body(&question),
            "{\"data\":[{\"unique_id\":\"a\",\"ds\":\"2023-11-14T22:12:20Z\",\"y\":1.0},\
             {\"unique_id\":\"a\",\"ds\":\"2023-11-14T22:13:20Z\",\"y\":null},\
             {\"unique_id\":\"b\",\"ds\":\"2023-11-14T22:13:20Z\",\"y\":3.5}],\"parameters\":{}}"
        );
    }
}
