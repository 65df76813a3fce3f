//! The kinds of fields: what each accepts, what it says about anything else, and how the JSON Schema tells it.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::document::{Entry, Node, Value, quoted};
use super::duration;
use super::read::{At, Read, Reader};
use crate::silence::{Matcher, MatcherError, Operator};

impl Read for String {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                reader.expected(node, "a text; put it in quotes if it is one")
            }
            Value::List(_) | Value::Map(_) => {
                reader.expected(node, "a text; put it in quotes if it is one that begins with [ or {")
            }
            Value::Null => reader.expected(node, "a text"),
        }
    }
}

impl Read for bool {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => reader.expected(node, "true or false"),
        }
    }
}

impl Read for f64 {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Integer(value) => Some(*value as f64),
            Value::Float(value) if !value.is_nan() => Some(*value),
            _ => reader.expected(node, "a number"),
        }
    }
}

impl Read for usize {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Integer(value) if usize::try_from(*value).is_ok() => usize::try_from(*value).ok(),
            _ => reader.expected(node, "a whole number, 0 or more"),
        }
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return reader.expected(node, "a list");
        };
        let read = |(i, item)| reader.within(&format!("[{i}]"), |reader| T::read(item, reader));
        let items: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        items.into_iter().collect()
    }
}

impl Read for serde_json::Map<String, serde_json::Value> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return reader.expected(node, "a map of parameters");
        };
        for (i, entry) in entries.iter().enumerate() {
            reader.repeated(&entries[..i], entry);
        }
        match node.value.to_json() {
            Some(serde_json::Value::Object(map)) => Some(map),
            _ => reader.refuse(node.place, "holds a number that is not finite; expected finite numbers"),
        }
    }
}

/// A Prometheus duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length(pub(super) Duration);

impl Read for Length {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            _ => return reader.expected(node, "a duration such as 30s, 1h30m or 2w"),
        };
        match duration::parse(&text) {
            Ok(length) => Some(Self(length)),
            Err(error) => {
                let message = format!("{} at character {}: {error}", quoted(&text), error.at + 1);
                reader.refuse(node.place, message)
            }
        }
    }
}

impl JsonSchema for Length {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(0|(?=[0-9])([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"
        })
    }
}

/// A cron pattern or a duration. Which of them, and whether it is one, is for [`crate::Schedule`] to say.
#[derive(Clone, Debug)]
pub(super) struct ScheduleText(pub(super) String);

impl Read for ScheduleText {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self(text.clone())),
            _ => reader.expected(node, "a cron pattern such as \"*/5 * * * *\" or a duration such as 30s"),
        }
    }
}

impl JsonSchema for ScheduleText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["*/5 * * * *", "0 30 2 * * MON-FRI", "@hourly", "30s"] })
    }
}

/// One number, or one for what is below the expected value and one for what is above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair(pub(super) f64, pub(super) f64);

impl Read for Pair {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Integer(_) | Value::Float(_) => f64::read(node, reader).map(|both| Self(both, both)),
            Value::List(items) if items.len() == 2 => {
                Some(Self(f64::read(&items[0], reader)?, f64::read(&items[1], reader)?))
            }
            _ => reader.expected(node, "a number, or two as in [below, above]"),
        }
    }
}

impl JsonSchema for Pair {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pair".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "number" },
            { "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 }
        ] })
    }
}

/// The lowest and the highest value; `-inf` and `inf` where there is no bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range(pub(super) f64, pub(super) f64);

impl Range {
    fn bound(node: &Node, reader: &mut Reader) -> Option<f64> {
        match &node.value {
            Value::Text(text) => match text.as_str() {
                "inf" | "+inf" | "Inf" | "+Inf" => Some(f64::INFINITY),
                "-inf" | "-Inf" => Some(f64::NEG_INFINITY),
                _ => reader.expected(node, "a number, -inf or inf"),
            },
            _ => f64::read(node, reader),
        }
    }
}

impl Read for Range {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::List(items) if items.len() == 2 => {
                Some(Self(Self::bound(&items[0], reader)?, Self::bound(&items[1], reader)?))
            }
            _ => reader.expected(node, "two numbers as in [lowest, highest]; -inf and inf where there is no bound"),
        }
    }
}

impl JsonSchema for Range {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Range".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array", "minItems": 2, "maxItems": 2,
            "items": { "anyOf": [{ "type": "number" }, { "enum": ["-inf", "inf", "+inf", "-Inf", "Inf", "+Inf"] }] }
        })
    }
}

/// Labels and the templates of their values, in the order of the document.
#[derive(Clone, Debug)]
pub(super) struct Templates(pub(super) Vec<At<(String, String)>>);

impl Read for Templates {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return reader.expected(node, "a map of labels, such as `__name__: $VAR`");
        };
        let mut labels = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            reader.repeated(&entries[..i], entry);
            // One that is no text is reported, and doesn't keep the others from being checked.
            if let Some(label) = reader.within(&entry.key, |reader| reader.at::<String>(&entry.value, true)) {
                let At { value, place, field, written } = label;
                labels.push(At { value: (entry.key.clone(), value), place, field, written });
            }
        }
        Some(Self(labels))
    }
}

impl JsonSchema for Templates {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MetricFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": { "__name__": { "type": "string", "pattern": r"\$VAR" } },
            "additionalProperties": { "type": "string" }
        })
    }
}

/// Conditions on labels: a map of labels and values, or a list of texts such as `zone!="b"`.
#[derive(Clone, Debug)]
pub(super) struct MatcherTexts(pub(super) Vec<At<Matcher>>);

impl Read for MatcherTexts {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                for (i, entry) in entries.iter().enumerate() {
                    reader.repeated(&entries[..i], entry);
                }
                let read = |entry: &Entry| {
                    let text = reader.within(&entry.key, |reader| reader.at::<String>(&entry.value, true))?;
                    matcher(&text, Matcher::new(&entry.key, Operator::Equal, &text.value), reader)
                };
                all(entries.iter().map(read))
            }
            Value::List(items) => {
                let read = |(i, item)| {
                    let text = reader.within(&format!("[{i}]"), |reader| reader.at::<String>(item, true))?;
                    matcher(&text, text.value.parse(), reader)
                };
                all(items.iter().enumerate().map(read))
            }
            _ => reader.expected(node, "a map of labels and values, or a list of matchers such as `zone!=\"b\"`"),
        }
    }
}

/// Goes through all of them, so that every wrong one is reported.
fn all(matchers: impl Iterator<Item = Option<At<Matcher>>>) -> Option<MatcherTexts> {
    let matchers: Vec<Option<At<Matcher>>> = matchers.collect();
    matchers.into_iter().collect::<Option<_>>().map(MatcherTexts)
}

fn matcher(text: &At<String>, made: Result<Matcher, MatcherError>, reader: &mut Reader) -> Option<At<Matcher>> {
    match made {
        Ok(value) => Some(At { value, place: text.place, field: text.field.clone(), written: true }),
        Err(error) => reader.refuse_at(text, error.to_string()),
    }
}

impl JsonSchema for MatcherTexts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Matchers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "object", "additionalProperties": { "type": "string" } },
            { "type": "array", "items": { "type": "string", "pattern": "=|!~" } }
        ] })
    }
}
