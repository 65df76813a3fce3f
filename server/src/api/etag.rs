//! Versions in headers: `ETag`, `If-Match` and `If-None-Match`, so that two editors can't overwrite each other.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use engine::store::{Expected, Stored, Version};

use super::problem::Problem;

/// What a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// `*`: whatever there is.
    Any,
    /// One of these.
    Versions(Vec<String>),
}

impl Named {
    fn includes(&self, version: &Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.iter().any(|named| named == version.as_str()),
        }
    }
}

fn named(headers: &HeaderMap, name: HeaderName) -> Option<Named> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let tags = || lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    // A proxy that compresses makes a tag weak; the document behind it is the same.
    let bare = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned();
    match lines.is_empty() {
        true => None,
        false if tags().any(|tag| tag == "*") => Some(Named::Any),
        false => Some(Named::Versions(tags().map(bare).collect())),
    }
}

/// The version as a header.
pub(super) fn of(stored: &Stored) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", stored.version.as_str())).expect("a version is hexadecimal")
}

/// Whether the reader has this version already.
pub(super) fn is_known(headers: &HeaderMap, stored: &Stored) -> bool {
    named(headers, header::IF_NONE_MATCH).is_some_and(|known| known.includes(&stored.version))
}

/// What must hold for a change to be made, where `found` is what is there now.
///
/// # Errors
/// It doesn't hold already.
pub(super) fn expected(headers: &HeaderMap, found: Option<&Stored>) -> Result<Expected, Problem> {
    let failed = |detail: &str| Err(Problem::new(StatusCode::PRECONDITION_FAILED, "conflict", detail));
    if let Some(unwanted) = named(headers, header::IF_NONE_MATCH) {
        return match found {
            Some(found) if unwanted.includes(&found.version) => failed("the pipeline is there already"),
            Some(found) => Ok(Expected::Version(found.version.clone())),
            None => Ok(Expected::Absent),
        };
    }
    match (named(headers, header::IF_MATCH), found) {
        (None, _) => Ok(Expected::Anything),
        (Some(_), None) => failed("there is no such pipeline"),
        (Some(wanted), Some(found)) if wanted.includes(&found.version) => Ok(Expected::Version(found.version.clone())),
        _ => failed("the pipeline was changed since it was read; read it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stored() -> Stored {
        let document = json!({"name": "a", "query": "up"}).as_object().unwrap().clone();
        let checked = engine::Pipeline::from_document(&document, "a");
        let (name, origin, version) = ("a".into(), "a".into(), Version::named("abc"));
        Stored { name, origin, document, version, is_read_only: false, checked }
    }

    /// What a change is held to, as `header: value` and whether there is a pipeline of the version `abc`.
    fn check(line: &str, is_there: bool, outcome: Result<Expected, ()>) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        let found = is_there.then(stored);
        assert_eq!(expected(&headers, found.as_ref()).map_err(drop), outcome, "{line}, {is_there}");
    }

    #[test]
    fn conditions_become_what_the_store_expects() {
        let abc = || Ok(Expected::Version(Version::named("abc")));
        check("if-match: \"abc\"", true, abc());
        check("if-match: \"x\", \"abc\"", true, abc());
        check("if-match: W/\"abc\"", true, abc());
        check("if-match: *", true, abc());
        check("if-match: \"x\"", true, Err(()));
        check("if-match: \"\"", true, Err(()));
        check("if-match: \"abc\"", false, Err(()));
        check("if-match: *", false, Err(()));
        check("if-none-match: *", false, Ok(Expected::Absent));
        check("if-none-match: *", true, Err(()));
        check("if-none-match: \"abc\"", true, Err(()));
        check("if-none-match: \"x\"", true, abc());
        check("accept: *", true, Ok(Expected::Anything));
        check("accept: *", false, Ok(Expected::Anything));
    }

    #[test]
    fn a_reader_that_has_it_is_told_so() {
        let has = |value| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            is_known(&headers, &stored())
        };
        assert!(has("\"abc\"") && has("W/\"abc\"") && has("*") && has("\"x\", \"abc\""));
        assert!(!has("\"x\"") && !is_known(&HeaderMap::new(), &stored()));
        assert_eq!(of(&stored()), "\"abc\"");
    }
}
