//! Answers as Prometheus gives them, for whoever asks a store of ours as if it were one.

use serde::Serialize;

use crate::frame::Frame;
use crate::labels::Labels;
use crate::time::Timestamp;

/// An answer: `{"status": "success", "data": …}`.
#[derive(Debug, Clone, Serialize)]
pub struct Success<T> {
    status: &'static str,
    data: T,
}

impl<T: Serialize> Success<T> {
    /// The answer that holds `data`.
    pub fn new(data: T) -> Self {
        Self { status: "success", data }
    }
}

/// A refusal: `{"status": "error", "errorType": "bad_data", "error": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    status: &'static str,
    error_type: &'static str,
    error: String,
}

impl Refusal {
    /// The refusal of a kind (`bad_data`, `execution`, `not_found`, `internal`), for a reason.
    pub fn new(error_type: &'static str, error: impl Into<String>) -> Self {
        Self { status: "error", error_type, error: error.into() }
    }
}

/// What a query answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum Outcome {
    /// Of each series all points.
    Matrix(Vec<Matrix>),
    /// Of each series one point.
    Vector(Vec<Vector>),
    /// A number.
    Scalar(Point),
}

/// A series and its points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    #[serde(serialize_with = "metric")]
    metric: Labels,
    values: Vec<Point>,
}

/// A series and one point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Vector {
    #[serde(serialize_with = "metric")]
    metric: Labels,
    value: Point,
}

/// A time in seconds, and a value as text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point(f64, String);

impl Point {
    fn new(time: Timestamp, value: f64) -> Self {
        Self(time.seconds(), text(value))
    }
}

/// A value as Prometheus writes it.
fn text(value: f64) -> String {
    match value {
        value if value == f64::INFINITY => "+Inf".into(),
        value if value == f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

impl Outcome {
    /// All values of a frame; gaps are left out.
    pub fn matrix(frame: &Frame) -> Self {
        let series = frame.rows().map(|(metric, values)| {
            let values = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
            let values = values.map(|(at, value)| Point::new(frame.time(at), *value)).collect();
            Matrix { metric: metric.clone(), values }
        });
        Self::Matrix(series.collect())
    }

    /// The first values of a frame.
    pub fn vector(frame: &Frame) -> Self {
        let series = frame.rows().filter(|(_, values)| !values[0].is_nan());
        let series = series.map(|(metric, values)| {
            let (metric, value) = (metric.clone(), Point::new(frame.start(), values[0]));
            Vector { metric, value }
        });
        Self::Vector(series.collect())
    }

    /// The first value of a frame that is a number's; NaN where it has none.
    pub fn scalar(frame: &Frame) -> Self {
        let value = frame.values().first().copied().unwrap_or(f64::NAN);
        Self::Scalar(Point::new(frame.start(), value))
    }
}

/// Labels as an object.
pub fn metric<S: serde::Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Step;

    #[test]
    fn answers_look_like_those_of_prometheus() {
        let step = Step::from_millis(500).unwrap();
        let series = vec!["up{job=\"a\"}".parse().unwrap(), "down".parse().unwrap()];
        let values = vec![1.0, f64::NAN, 0.25, f64::NAN, f64::INFINITY, -1e21];
        let frame = Frame::new(series, Timestamp::from_seconds(7), step, 3, values).unwrap();
        let check = |outcome: Outcome, expected: &str| {
            assert_eq!(serde_json::to_string(&Success::new(outcome)).unwrap(), expected);
        };
        check(
            Outcome::matrix(&frame),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[7.0,"1"],[8.0,"0.25"]]},{"metric":{"__name__":"down"},"values":[[7.5,"+Inf"],[8.0,"-1000000000000000000000"]]}]}}"#,
        );
        check(
            Outcome::vector(&frame),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[7.0,"1"]}]}}"#,
        );
        check(Outcome::scalar(&frame), r#"{"status":"success","data":{"resultType":"scalar","result":[7.0,"1"]}}"#);
        let refusal = serde_json::to_string(&Refusal::new("bad_data", "no")).unwrap();
        assert_eq!(refusal, r#"{"status":"error","errorType":"bad_data","error":"no"}"#);
    }
}
