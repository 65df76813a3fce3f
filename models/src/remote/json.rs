//! The JSON that the first OpenAnomaly spoke with its models: a request a series.
//!
//! Numbers are read straight into vectors, so that a hostile answer takes little more memory than it is long, and
//! nesting is bounded by serde_json.

use bytes::Bytes;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::answer::{Answer, wrong};
use super::batch::Batch;
use super::client::Reply;
use super::fault::{Fault, readable};

/// A question about a series, or about those of an Arrow file beside it.
#[derive(Serialize)]
struct Question<'a> {
    prediction_length: usize,
    quantiles: &'a [f64],
    parameters: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Gappy<'a>>,
}

/// Values of which those that are no finite number are `null`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gappy<'a>(pub(super) &'a [f64]);

impl Serialize for Gappy<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

/// What is asked about the one series of `batch`.
pub(super) fn question(batch: &Batch<'_>, parameters: &Map<String, Value>) -> Bytes {
    body(&Question {
        prediction_length: batch.horizon(),
        quantiles: batch.levels(),
        parameters,
        context: Some(Gappy(batch.context(0))),
    })
}

/// What is asked about series that are sent beside it.
pub(super) fn question_beside(batch: &Batch<'_>, parameters: &Map<String, Value>) -> String {
    let question =
        Question { prediction_length: batch.horizon(), quantiles: batch.levels(), parameters, context: None };
    serde_json::to_string(&question).unwrap_or_default()
}

/// The JSON of something whose maps have text for keys and whose `Serialize` never fails, so that writing it can't.
pub(super) fn body(content: &impl Serialize) -> Bytes {
    serde_json::to_vec(content).unwrap_or_default().into()
}

#[derive(Deserialize)]
struct Document {
    mean: Option<Numbers>,
    forecast: Option<Numbers>,
    #[serde(default)]
    quantiles: Quantiles,
}

/// Reads the answer about one series.
pub(super) fn answer(reply: &Reply) -> Result<Answer, Fault> {
    let found: Document = parse(reply)?;
    let point = found.mean.or(found.forecast).map(|numbers| numbers.0);
    if found.quantiles.0.is_empty() && point.is_none() {
        return Err(wrong(format!("its answer has neither quantiles nor a mean: {}", readable(&reply.body))));
    }
    Ok(Answer { quantiles: found.quantiles.levels()?, point })
}

/// Reads an answer in JSON.
///
/// # Errors
/// It is HTML, no JSON, or JSON of another form; the error shows where.
pub(super) fn parse<T: DeserializeOwned>(reply: &Reply) -> Result<T, Fault> {
    let body = &reply.body;
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => return Err(wrong("its answer is empty")),
        Some(b'<') => return Err(wrong(format!("its answer is HTML, not a forecast: {}", readable(body)))),
        _ if reply.is_html => return Err(wrong(format!("its answer is HTML, not a forecast: {}", readable(body)))),
        _ => {}
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        mistake(&path, &error.into_inner(), body)
    })?;
    deserializer.end().map_err(|error| mistake(".", &error, body))?;
    Ok(found)
}

fn mistake(path: &str, error: &serde_json::Error, body: &[u8]) -> Fault {
    if error.is_data() {
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        return wrong(format!("its answer is not as the protocol says: {place}{error}"));
    }
    let lines = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let at = (lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1)).min(body.len());
    let near = readable(&body[at.saturating_sub(10)..(at + 20).min(body.len())]);
    wrong(format!("its answer is no JSON: {error}, near `{near}`"))
}

/// A list of numbers of which a `null` is NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Numbers(pub(super) Vec<f64>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = vec![];
        deserializer.deserialize_seq(Push { into: &mut numbers, nested: false })?;
        Ok(Self(numbers))
    }
}

/// A tensor's numbers, nested or flat, row-major; a `null` is NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Flat(pub(super) Vec<f64>);

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = vec![];
        deserializer.deserialize_seq(Push { into: &mut numbers, nested: true })?;
        Ok(Self(numbers))
    }
}

/// Reads a number, or a list of what it reads, onto the end of a vector.
struct Push<'a> {
    into: &'a mut Vec<f64>,
    nested: bool,
}

/// An element of a list that [`Push`] reads.
struct Element<'a> {
    into: &'a mut Vec<f64>,
    nested: bool,
}

impl<'de> Visitor<'de> for Push<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Element { into: self.into, nested: self.nested })?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.into.push(value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.visit_f64(f64::NAN)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        if !self.nested {
            return Err(A::Error::custom("invalid type: list, expected a number"));
        }
        Push { into: self.into, nested: true }.visit_seq(list)
    }
}

/// Rows by their levels, as they stand there, doubles included.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Quantiles(Vec<(String, Vec<f64>)>);

impl Quantiles {
    /// The rows with their levels as numbers.
    pub(super) fn levels(self) -> Result<Vec<(f64, Vec<f64>)>, Fault> {
        let level = |name: &str| {
            let found = name.parse().ok().filter(|level| (0.0..=1.0).contains(level));
            found.ok_or_else(|| wrong(format!("its quantile {:?} is no level from 0 to 1", readable(name.as_bytes()))))
        };
        self.0.into_iter().map(|(name, row)| Ok((level(&name)?, row))).collect()
    }
}

impl<'de> Deserialize<'de> for Quantiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Quantiles;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("quantiles by their levels")
            }

            fn visit_unit<E: Error>(self) -> Result<Quantiles, E> {
                Ok(Quantiles::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Quantiles, A::Error> {
                let mut rows = vec![];
                while let Some((name, Numbers(row))) = map.next_entry()? {
                    rows.push((name, row));
                }
                Ok(Quantiles(rows))
            }
        }
        deserializer.deserialize_any(Rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Answer, Fault> {
        answer(&Reply { body: text.as_bytes().to_vec(), is_html: false })
    }

    #[test]
    fn good_answers_are_read() {
        let both =
            read(r#" {"mean": [1, 2.5], "x": [[{}]], "quantiles": {"0.10": [1, -2], "0.9": [3e1, null]}}"#).unwrap();
        assert_eq!(both.point, Some(vec![1.0, 2.5]));
        assert_eq!((both.quantiles[0].clone(), both.quantiles[1].1[0]), ((0.1, vec![1.0, -2.0]), 30.0));
        assert!(both.quantiles[1].1[1].is_nan());
        assert_eq!(read(r#"{"forecast": [1], "quantiles": null}"#).unwrap().point, Some(vec![1.0]));
    }

    #[test]
    fn wrong_answers_are_told_apart() {
        let deep = format!("{{\"mean\": {}", "[".repeat(100_000));
        let deep_elsewhere = format!("{{\"x\": {}", "[".repeat(100_000));
        for (text, words) in [
            ("", "its answer is empty"),
            (" \n", "its answer is empty"),
            ("<html><title>Sign in</title>", "its answer is HTML, not a forecast: <html><title>Sign in"),
            ("{}", "neither quantiles nor a mean: {}"),
            (r#"{"detail": "no such model"}"#, "no such model"),
            ("[1, 2]", "not as the protocol says"),
            ("7", "not as the protocol says"),
            ("{\"mean\": [1, NaN, 2]}", "no JSON: expected value at line 1 column 14, near `ean\": [1, NaN, 2]}`"),
            ("{\n\"mean\":\n[-Infinity]}", "no JSON: invalid number at line 3"),
            (r#"{"mean": [1e999]}"#, "no JSON: number out of range"),
            (r#"{"mean": [1], "mean": [2]}"#, "duplicate field `mean`"),
            (r#"{"mean": ["1"]}"#, "mean[0]: invalid type: string"),
            (r#"{"mean": [[1]]}"#, "mean[0]: invalid type: list"),
            (r#"{"mean": [{"x": 1}]}"#, "mean[0]: invalid type: map"),
            (r#"{"mean": [true]}"#, "mean[0]: invalid type: boolean"),
            (r#"{"mean": 3}"#, "mean: invalid type: integer"),
            (r#"{"mean": [1], "quantiles": [[1]]}"#, "quantiles: invalid type: sequence"),
            (r#"{"quantiles": {"low": [1]}}"#, "its quantile \"low\" is no level"),
            (r#"{"quantiles": {"10": [1]}}"#, "its quantile \"10\" is no level"),
            (r#"{"quantiles": {"nan": [1]}}"#, "its quantile \"nan\" is no level"),
            (r#"{"mean": [1]} x"#, "no JSON: trailing characters"),
            (r#"{"mean": [1"#, "no JSON: EOF"),
            (&deep, "mean[0]: "),
            (&deep_elsewhere, "no JSON: EOF"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error} lacks {words}");
            assert!(error.len() < 700, "{error}");
        }
        assert!(matches!(answer(&Reply { body: b"hello".to_vec(), is_html: true }), Err(Fault::Answer(_))));
    }

    #[test]
    fn tensors_may_be_nested() {
        let read = |text: &str| serde_json::from_str::<Flat>(text).map(|flat| flat.0);
        assert_eq!(read("[1, 2, 3]").unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(read("[[[1], [2]], [[3]], []]").unwrap(), [1.0, 2.0, 3.0]);
        assert!(read("[[true]]").is_err() && read("3").is_err() && read(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn gaps_are_null() {
        assert_eq!(body(&Gappy(&[1.5, f64::NAN, f64::INFINITY, -2.0])), "[1.5,null,null,-2.0]");
    }
}
