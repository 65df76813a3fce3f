//! Documents of pipelines as MongoDB keeps them.

use engine::store::Document;
use mongodb::bson::{Bson, DateTime, Document as Raw};
use serde_json::{Number, Value};

/// Fields that are kept beside a pipeline and are none of its own: MongoDB's key, and what the original service and
/// others note.
const NOTES: [&str; 4] = ["_id", "created_at", "updated_at", "_version"];

/// The pipeline's own fields of what is kept.
pub fn document(raw: &Raw) -> Document {
    raw.iter()
        .filter(|(key, _)| !NOTES.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), json(value)))
        .collect()
}

/// What is to be kept of `document`, with the notes beside `before`, where there was something: a time of change is
/// set to `now`, and a number of changes counts on.
pub fn raw(document: &Document, before: Option<&Raw>, now: DateTime) -> Raw {
    let mut raw: Raw = document.iter().map(|(key, value)| (key.clone(), bson(value))).collect();
    for (key, value) in before.into_iter().flatten().filter(|(key, _)| NOTES.contains(&key.as_str())) {
        let value = match (key.as_str(), value) {
            ("updated_at", Bson::DateTime(_)) => Bson::DateTime(now),
            ("updated_at", Bson::String(_)) => Bson::String(now.try_to_rfc3339_string().unwrap_or_default()),
            ("_version", Bson::Int32(count)) => Bson::Int32(count.wrapping_add(1)),
            ("_version", Bson::Int64(count)) => Bson::Int64(count.wrapping_add(1)),
            (_, value) => value.clone(),
        };
        raw.insert(key.clone(), value);
    }
    raw
}

/// Times become text, as YAML has them; so does whatever else JSON doesn't know.
fn json(value: &Bson) -> Value {
    match value {
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Boolean(value) => (*value).into(),
        Bson::Int32(value) => (*value).into(),
        Bson::Int64(value) => (*value).into(),
        Bson::Double(value) => Number::from_f64(*value).map_or_else(|| infinite(*value).into(), Value::Number),
        Bson::String(value) => value.clone().into(),
        Bson::Array(values) => values.iter().map(json).collect(),
        Bson::Document(fields) => fields.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
        Bson::DateTime(value) => value.try_to_rfc3339_string().unwrap_or_else(|_| value.to_string()).into(),
        Bson::ObjectId(value) => value.to_hex().into(),
        Bson::Decimal128(value) => {
            let text = value.to_string();
            text.parse().ok().and_then(Number::from_f64).map_or(Value::String(text), Value::Number)
        }
        other => other.to_string().into(),
    }
}

/// How YAML writes what JSON has no number for.
fn infinite(value: f64) -> &'static str {
    match value {
        _ if value.is_nan() => ".nan",
        _ if value > 0.0 => ".inf",
        _ => "-.inf",
    }
}

fn bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32),
            None => Bson::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(value) => Bson::String(value.clone()),
        Value::Array(values) => Bson::Array(values.iter().map(bson).collect()),
        Value::Object(fields) => Bson::Document(fields.iter().map(|(key, value)| (key.clone(), bson(value))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{doc, oid::ObjectId};
    use serde_json::json;

    const NOW: i64 = 1_700_000_000_000;

    fn object(value: Value) -> Document {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn documents_come_back_as_they_were_put() {
        let documents = [
            json!({"name": "a", "query": "ü{a=\"☃\"}", "enabled": true, "max_series": 10_000_000_000_i64}),
            json!({"z": 1, "a": 1.0, "m": -0.5, "nested": {"list": [1, [2.5, null], {"$date": "x", "a.b": []}]}}),
            json!({}),
        ];
        for given in documents {
            let given = object(given);
            let kept = raw(&given, None, DateTime::from_millis(NOW));
            assert_eq!(serde_json::to_string(&document(&kept)).unwrap(), serde_json::to_string(&given).unwrap());
        }
    }

    #[test]
    fn what_json_does_not_know_becomes_text() {
        let check = |value: Bson, expected: Value| assert_eq!(json(&value), expected);
        check(Bson::DateTime(DateTime::from_millis(NOW)), json!("2023-11-14T22:13:20Z"));
        check(Bson::Double(f64::NEG_INFINITY), json!("-.inf"));
        check(Bson::Decimal128("2.5".parse().unwrap()), json!(2.5));
        check(Bson::ObjectId(ObjectId::from_bytes([1; 12])), json!("010101010101010101010101"));
        check(Bson::Undefined, json!(null));
    }

    #[test]
    fn notes_are_kept_apart_and_kept() {
        let old = DateTime::from_millis(0);
        let before = doc! {"_id": 7, "name": "a", "created_at": old, "updated_at": old, "_version": 3, "query": "x"};
        assert_eq!(Value::Object(document(&before)), json!({"name": "a", "query": "x"}));
        let kept = raw(&object(json!({"name": "a", "query": "y"})), Some(&before), DateTime::from_millis(NOW));
        let now = DateTime::from_millis(NOW);
        let expected = doc! {"name": "a", "query": "y", "_id": 7, "created_at": old, "updated_at": now, "_version": 4};
        assert_eq!(kept, expected);
    }
}
