//! From the tree to typed fields: finds each by its key, fills in defaults, and collects all that is wrong.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::document::{Entry, Node, Value};
use super::error::Place;

/// A field's value, and where it was written: what a later check needs to complain about it.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
    /// The field from the top of the pipeline.
    pub(super) field: String,
    /// Whether it stands in the document; else it is the default.
    pub(super) written: bool,
}

/// `None` where the field was left out and has no default, and where it is wrong and was reported.
pub(super) type Field<T> = Option<At<T>>;

/// Something wrong at a place.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) field: String,
    pub(super) message: String,
}

/// Collects what is wrong, and knows which field is being read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    path: String,
}

/// What it means that a field isn't there.
pub(super) enum Absent {
    Nothing,
    Wrong,
    Default(serde_json::Value),
}

/// A kind of field.
pub(super) trait Read: Sized {
    /// `None` where `node` is nothing of the kind, which is then reported to `reader`.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;
}

impl Reader {
    /// Reports that the field being read is wrong.
    pub(super) fn refuse<T>(&mut self, place: Place, message: impl Into<String>) -> Option<T> {
        self.problems.push(Problem { place, field: self.path.clone(), message: message.into() });
        None
    }

    /// Reports that a field already read is wrong.
    pub(super) fn refuse_at<T, U>(&mut self, at: &At<U>, message: impl Into<String>) -> Option<T> {
        self.problems.push(Problem { place: at.place, field: at.field.clone(), message: message.into() });
        None
    }

    pub(super) fn expected<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.refuse(node.place, format!("found {}; expected {expected}", node.value))
    }

    /// Runs `read` with `key` added to the path.
    pub(super) fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !key.starts_with('[') {
            self.path.push('.');
        }
        self.path.extend(key.chars().take(60).flat_map(char::escape_debug));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// The entries of a map whose keys are all in `known`, each there once; others are reported.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, known: &[&str]) -> Option<&'n [Entry]> {
        let Value::Map(entries) = &node.value else {
            return self.expected(node, &format!("a map of fields, such as `{}: …`", known[0]));
        };
        for (i, entry) in entries.iter().enumerate() {
            if !known.contains(&entry.key.as_str()) {
                self.unknown(entry, known);
            }
            self.repeated(&entries[..i], entry);
        }
        Some(entries)
    }

    pub(super) fn repeated(&mut self, before: &[Entry], entry: &Entry) {
        if let Some(first) = before.iter().find(|first| first.key == entry.key) {
            let message = format!("is written twice, first in line {}; keep one", first.place.line);
            self.within(&entry.key, |reader| reader.refuse::<()>(entry.place, message));
        }
    }

    fn unknown(&mut self, entry: &Entry, known: &[&str]) {
        let message = match successor(&self.path, &entry.key) {
            Some(successor) => successor.to_owned(),
            None => match nearest(&entry.key, known) {
                Some(near) => format!("is no field that is known here; did you mean `{near}`?"),
                None => format!("is no field that is known here; there are {}", known.join(", ")),
            },
        };
        self.within(&entry.key, |reader| reader.refuse::<()>(entry.place, message));
    }

    /// The field `key` of the map `node`, or its default. An empty value (`key:`) is the same as none.
    pub(super) fn field<T: Read>(&mut self, node: &Node, entries: &[Entry], key: &str, absent: Absent) -> Field<T> {
        let written = entries.iter().find(|entry| entry.key == key && !matches!(entry.value.value, Value::Null));
        self.within(key, |reader| match (written, absent) {
            (Some(entry), _) => reader.at(&entry.value, true),
            (None, Absent::Default(default)) => {
                reader.at(&Node { value: Value::from_json(default, node.place), place: node.place }, false)
            }
            (None, Absent::Wrong) => reader.refuse(node.place, "is missing"),
            (None, Absent::Nothing) => None,
        })
    }

    pub(super) fn at<T: Read>(&mut self, node: &Node, written: bool) -> Field<T> {
        let value = T::read(node, self)?;
        Some(At { value, place: node.place, field: self.path.clone(), written })
    }

    /// The position of a word among those allowed.
    pub(super) fn choice(&mut self, node: &Node, words: &[&str]) -> Option<usize> {
        let found = match &node.value {
            Value::Text(word) => word.as_str(),
            _ => return self.expected(node, &format!("one of {}", words.join(", "))),
        };
        if let Some(position) = words.iter().position(|word| *word == found) {
            return Some(position);
        }
        let hint = nearest(found, words).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        self.expected(node, &format!("one of {}{hint}", words.join(", ")))
    }
}

/// The known word that `found` was most likely meant to be.
pub(super) fn nearest<'w>(found: &str, known: &[&'w str]) -> Option<&'w str> {
    // A long word is no typing error, and comparing it would take long.
    if found.len() > 64 {
        return None;
    }
    let found = found.to_lowercase();
    let likeness = |word: &str| strsim::jaro_winkler(&found, word);
    known.iter().copied().filter(|word| likeness(word) > 0.8).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// What replaces a field that the original has and we don't.
fn successor(path: &str, key: &str) -> Option<&'static str> {
    (path == "training" && key.starts_with("kafka_")).then_some(
        "there is no Kafka; webhook events will say that a training is due. Neither is supported yet; leave it out",
    )
}

/// A struct whose fields are read by [`Reader`] and described in the JSON Schema from one table. Each line is the
/// field's documentation, its key, its name and type, then its default or `required`.
macro_rules! document {
    (@absent) => { Absent::Nothing };
    (@absent required) => { Absent::Wrong };
    (@absent $default:tt) => { Absent::Default(serde_json::json!($default)) };
    (
        $(#[$meta:meta])* struct $name:ident;
        $( $(#[$field_meta:meta])* $key:literal $field:ident: $type:ty $(= $default:tt)? $(, $required:ident)?; )*
    ) => {
        #[derive(Clone, Debug, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        pub(super) struct $name {
            $(
                $(#[$field_meta])*
                #[schemars(rename = $key)]
                $(#[schemars(extend("default" = $default))])?
                $(#[schemars($required)])?
                pub(super) $field: Field<$type>,
            )*
        }

        impl Read for $name {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let entries = reader.entries(node, &[$($key),*])?;
                $(
                    let $field = reader.field(node, entries, $key, document!(@absent $($default)? $($required)?));
                )*
                Some(Self { $($field),* })
            }
        }
    };
}

/// An enum of words. Each line is the word's documentation, the word and the variant.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident; $( $(#[$word_meta:meta])* $word:literal $variant:ident; )*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
        $(#[$meta])*
        $vis enum $name {
            $( $(#[$word_meta])* #[schemars(rename = $word)] $variant, )*
        }

        impl Read for $name {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let position = reader.choice(node, &[$($word),*])?;
                Some([$(Self::$variant),*][position])
            }
        }
    };
}

pub(super) use {document, words};

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
