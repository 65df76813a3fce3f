//! A YAML document as a tree in which every node knows where it was written.
//!
//! A tree, because serde stops at the first thing that is wrong and we want to report all of them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Options, Spanned, UserMessageFormatter};

use super::error::Place;

/// The most bytes of one file: far above any that a person writes, and small enough to be read at once.
const MAX_BYTES: usize = 1 << 20;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What YAML can say. Keys keep their order, and may repeat: the reader of the map reports that.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// Reads every document of `text`; those that are empty are left out.
///
/// # Errors
/// What is no YAML, and where; also what is too large, too deep or an alias bomb.
pub(super) fn load(text: &str) -> Result<Vec<Node>, (Place, String)> {
    if text.len() > MAX_BYTES {
        return Err((Place::default(), format!("is {} bytes; a file has at most {MAX_BYTES}", text.len())));
    }
    // The reader would take a NUL for the end of the file and say nothing about what follows.
    if let Some(at) = text.find('\0') {
        return Err((place_of(text, at), "is no YAML: a NUL byte stands here".into()));
    }
    let roots: Result<Vec<Spanned<Value>>, _> = serde_saphyr::from_str_multiple_with_options(text, options());
    match roots {
        Ok(roots) => Ok(roots.into_iter().map(Node::from).collect()),
        Err(error) => Err((error.location().map(Place::from).unwrap_or_default(), reason(&error))),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_events: 100_000, max_nodes: 50_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000, max_replay_stack_depth: 8 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

fn place_of(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let line = before.lines().count().max(1) as u64 + u64::from(before.ends_with('\n'));
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    Place { line, column }
}

/// The reader's reason without its own "line 1, column 2", which the error says already, and what to do about it.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.render_with_formatter(&UserMessageFormatter);
    let text = text.trim_start_matches("error: ");
    let text = text[..text.find(" at line ").unwrap_or(text.len())].trim();
    if text.contains("too large") || text.contains("recursion limit") {
        return format!("is too large, too deep or repeats itself too often for a file of pipelines ({text})");
    }
    let hint = HINTS.iter().find(|(part, _)| text.contains(part)).map(|(_, hint)| format!("; {hint}"));
    format!("is no YAML: {text}{}", hint.unwrap_or_default())
}

/// What is most often behind the parser's messages.
const HINTS: [(&str, &str); 6] = [
    ("mapping values", "put a text that holds `: ` in quotes, and begin the fields of one map in one column"),
    ("anchor or alias", "put a text that begins with * or & in quotes"),
    ("unknown value", "an alias (*name) needs its anchor (&name) before it; put a text that begins with * in quotes"),
    ("tabs", "indent with spaces"),
    ("quoted scalar", "is a quote missing at the end of a text?"),
    ("string scalar", "a key is a text"),
];

impl Node {
    /// The node as JSON; of a key that is written twice, the last one counts.
    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => i64::try_from(*value).map_or_else(|_| (*value as f64).into(), Json::from),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        // Where the value stands, not where an alias or a merge repeats it: that is the place to correct.
        Self { value: spanned.value, place: spanned.defined.into() }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            items.push(item.into());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Value>>()?;
            entries.push(Entry { key: key.value, place: key.defined.into(), value: value.into() });
        }
        Ok(Value::Map(entries))
    }
}

impl Value {
    /// The default of a field, as it stands in the table of fields.
    pub(super) fn from_json(json: serde_json::Value, place: Place) -> Self {
        use serde_json::Value as Json;
        let node = |json| Node { value: Self::from_json(json, place), place };
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer.into()),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(node).collect()),
            Json::Object(map) => {
                let entry = |(key, value)| Entry { key, place, value: node(value) };
                Self::Map(map.into_iter().map(entry).collect())
            }
        }
    }

    /// The same as JSON; `None` for what JSON can't say: NaN and the infinities.
    pub(super) fn to_json(&self) -> Option<serde_json::Value> {
        use serde_json::{Number, Value as Json};
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Integer(value) => Json::Number(Number::from_i128(*value)?),
            Self::Float(value) => Json::Number(Number::from_f64(*value)?),
            Self::Text(text) => Json::String(text.clone()),
            Self::List(items) => Json::Array(items.iter().map(|item| item.value.to_json()).collect::<Option<_>>()?),
            Self::Map(entries) => {
                let pairs = entries.iter().map(|entry| Some((entry.key.clone(), entry.value.value.to_json()?)));
                Json::Object(pairs.collect::<Option<_>>()?)
            }
        })
    }
}

impl fmt::Display for Value {
    /// What was found, in words, and never longer than a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("empty"),
            Self::Bool(value) => write!(f, "the truth value {value}"),
            Self::Integer(value) => write!(f, "the number {value}"),
            Self::Float(value) if value.is_nan() => f.write_str("NaN, which is no number"),
            Self::Float(value) => write!(f, "the number {value}"),
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}

/// A text as it is shown in a message: in quotes, control characters escaped, cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    let count = text.chars().count();
    if count <= 60 {
        return format!("{text:?}");
    }
    format!("{:?}… ({count} characters)", text.chars().take(50).collect::<String>())
}
