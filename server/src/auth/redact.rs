//! Documents as they may be shown to whoever may not change them: without what may be a secret.

use serde_json::{Map, Value};

/// What stands in a secret's place.
pub const HIDDEN: &str = "…";

/// What the names of secrets have in them.
const WORDS: [&str; 7] = ["password", "secret", "token", "api_key", "apikey", "authorization", "credential"];

/// Hides what may be a secret in a document: the headers of remote models, values under names that say so, and the
/// user and password of a URL with its query.
pub fn document(document: &mut Map<String, Value>) {
    for (name, value) in document {
        let name = name.to_lowercase().replace('-', "_");
        // Names an environment variable, and is none of its value.
        let is_name = name.ends_with("_env");
        if name == "headers" || (!is_name && WORDS.iter().any(|word| name.contains(word))) {
            hide(value);
        } else {
            inside(value);
        }
    }
}

fn inside(value: &mut Value) {
    match value {
        Value::Object(map) => document(map),
        Value::Array(values) => values.iter_mut().for_each(inside),
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => *text = url(text),
        _ => {}
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null => {}
        other => *other = HIDDEN.into(),
    }
}

/// A URL without its user and password, and without the values of its query. What is no URL is hidden.
pub fn url(text: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(text) else { return HIDDEN.into() };
    if !url.username().is_empty() || url.password().is_some() {
        // A URL that can't have them has none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    if url.query().is_none() && url.fragment().is_none() && !text.contains('@') {
        return text.to_owned();
    }
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_all_else_stays() {
        let check = |given: Value, expected: Value| {
            let mut found = given.as_object().unwrap().clone();
            document(&mut found);
            assert_eq!(Value::Object(found), expected, "{given}");
        };
        let plain = serde_json::json!({
            "name": "cpu", "query": "rate(tokens_total[5m])", "prometheus_url": "http://vm:8428",
            "model": {"parameters": {"bearer_token_env": "REMOTE_MODEL_TOKEN", "season": 24}},
        });
        check(plain.clone(), plain);
        check(
            serde_json::json!({"prometheus_url": "http://me:s3cret@vm:8428/base?key=s3cret#s3cret", "model": {
                "endpoint": "https://s3cret@models/x",
                "parameters": {"headers": {"X-Key": "s3cret"}, "api-key": "s3cret", "token": ["s3cret"], "password": null},
            }}),
            serde_json::json!({"prometheus_url": "http://vm:8428/base", "model": {
                "endpoint": "https://models/x",
                "parameters": {"headers": {"X-Key": "…"}, "api-key": "…", "token": ["…"], "password": null},
            }}),
        );
        check(serde_json::json!({"a": ["http://s3cret:x@"]}), serde_json::json!({"a": ["…"]}));
    }
}
