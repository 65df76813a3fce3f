//! What comes in after the `?`: parameters whose faults are told by their name.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use tsdb::Timestamp;

use super::problem::{Fault, Problem};

/// The parameters of a query. One that is a list may be given several times, any other once.
#[derive(Debug, Clone)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::invalid(error.body_text()))?;
        read(pairs).map(Self)
    }
}

fn read<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, Problem> {
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        if value.contains('\0') {
            // Not every database takes it, and nothing is called so.
            return Err(wrong(name, "it holds a character NUL"));
        }
        given.entry(name).or_default().push(value);
    }
    let given = given.into_iter().map(|(name, values)| (name, Values(values)));
    serde_path_to_error::deserialize(MapDeserializer::new(given)).map_err(|error| {
        let path = Some(error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
        wrong(path, error.into_inner().to_string())
    })
}

/// A parameter that is wrong.
pub(super) fn wrong(name: impl Into<String>, message: impl Into<String>) -> Problem {
    let detail = "a parameter of the query is not as it should be";
    let mut problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_request", detail);
    problem.errors = vec![Fault { path: name.into(), message: message.into(), line: None, column: None }];
    problem
}

/// All that was given under one name.
struct Values(Vec<String>);

type Fail = serde::de::value::Error;

impl Values {
    fn one(self) -> Result<String, Fail> {
        let count = self.0.len();
        let mut values = self.0.into_iter();
        values.next().filter(|_| count == 1).ok_or_else(|| Fail::custom(format!("it is given {count} times")))
    }

    fn parsed<T: std::str::FromStr>(self, what: &str) -> Result<T, Fail> {
        let text = self.one()?;
        text.parse().map_err(|_| Fail::custom(format!("`{text}` is no {what}")))
    }
}

impl<'de> IntoDeserializer<'de, Fail> for Values {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Values {
    type Error = Fail;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_string(self.one()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        visitor.visit_enum(self.one()?.into_deserializer())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_bool(self.parsed("`true` or `false`")?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_u64(self.parsed("whole number from 0 on")?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_i64(self.parsed("whole number")?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_f64(self.parsed("number")?)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 u8 u16 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// Reads an RFC 3339 time of a parameter or a body.
///
/// # Errors
/// A text that is no such time.
pub fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| D::Error::custom(format!("`{text}` is no time such as 2026-01-31T10:00:00Z"));
    let time: jiff::Timestamp = text.parse().map_err(wrong)?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

/// The same where it may be left out; to be used with `#[serde(default)]`.
///
/// # Errors
/// A text that is no such time.
pub fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    time(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::page::Limit;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Filters {
        name: Option<String>,
        label: Vec<String>,
        least: Option<f64>,
        open: Option<bool>,
        limit: Limit,
        role: Option<crate::auth::Role>,
        #[serde(deserialize_with = "optional_time")]
        since: Option<Timestamp>,
    }

    fn filters(query: &str) -> Result<Filters, String> {
        let uri = format!("http://host/path?{query}").parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        read(pairs).map_err(|problem| format!("{}: {}", problem.errors[0].path, problem.errors[0].message))
    }

    #[test]
    fn parameters_become_what_they_stand_for() {
        assert_eq!(filters(""), Ok(Filters::default()));
        let found =
            filters("label=a:b&name=x&label=c%3Ad&least=1.5&open=true&limit=7&role=admin&since=1970-01-01T00:00:01Z");
        let found = found.unwrap();
        assert_eq!(found.label, ["a:b", "c:d"]);
        assert_eq!((found.name.as_deref(), found.least, found.open), (Some("x"), Some(1.5), Some(true)));
        assert_eq!((found.limit.items(), found.since), (7, Some(Timestamp::from_seconds(1))));
        assert_eq!(found.role, Some(crate::auth::Role::Admin));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |query: &str, part: &str| {
            let error = filters(query).unwrap_err();
            assert!(error.contains(part), "{query}: {error} doesn't say {part}");
        };
        check("limit=0", "limit: 0 is no limit from 1 to 1000");
        check("limit=many", "limit: `many` is no whole number");
        check("name=a&name=b", "name: it is given 2 times");
        check("least=high", "least: `high` is no number");
        check("open=yes", "open: `yes` is no `true` or `false`");
        check("role=king", "role: unknown variant `king`");
        check("name=a%00", "name: it holds a character NUL");
        check("since=today", "since: `today` is no time such as");
        check("lable=a:b", "unknown field `lable`, expected one of");
    }
}
