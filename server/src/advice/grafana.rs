//! Annotations of a Grafana that have certain tags: `GET /api/annotations`. Its other tags that look like `zone:b` or
//! `zone=b` say which series it is about, and `pipeline:NAME` which pipeline.

use std::time::Duration;

use engine::silence::Operator;
use serde::Deserialize;
use tsdb::Timestamp;

use super::{AskError, Condition, Notice, get, token};
use crate::config::service::Grafana;

/// How far back annotations are asked for.
const BACK: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// How many are asked for.
const MOST: &str = "5000";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotation {
    id: i64,
    time: i64,
    // Absent or the same as `time` where it is a point.
    #[serde(default)]
    time_end: i64,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    text: String,
}

/// What the annotations of the Grafana of `config` silence.
pub(super) async fn ask(config: &Grafana, now: Timestamp) -> Result<Vec<Notice>, AskError> {
    let mut url = config.url.clone();
    let path = format!("{}/api/annotations", url.path().trim_end_matches('/'));
    url.set_path(&path);
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("type", "annotation").append_pair("limit", MOST);
        query.append_pair("from", &(now - BACK).millis().to_string());
        query.append_pair("to", &(now + BACK).millis().to_string());
        query.extend_pairs(config.tags.iter().map(|tag| ("tags", tag)));
    }
    let annotations: Vec<Annotation> = get(url, token(config.token.as_ref(), config.token_file.as_ref())?).await?;
    Ok(annotations.into_iter().filter_map(|one| notice(one, &config.tags)).collect())
}

/// The notice that an annotation is; none where it is a point, or lacks a tag that it must have.
fn notice(annotation: Annotation, tags: &[String]) -> Option<Notice> {
    let has_all = tags.iter().all(|tag| annotation.tags.contains(tag));
    if !has_all || annotation.time_end <= annotation.time {
        return None;
    }
    let own = annotation.tags.iter().filter(|tag| !tags.contains(tag)).filter_map(|tag| condition(tag));
    Some(Notice {
        source: "grafana",
        id: annotation.id.to_string(),
        from: Timestamp::from_millis(annotation.time),
        until: Timestamp::from_millis(annotation.time_end),
        comment: annotation.text,
        pipeline: None,
        conditions: own.collect(),
    })
}

/// The condition that a tag is, if it looks like one.
fn condition(tag: &str) -> Option<Condition> {
    let (label, value) = tag.split_once([':', '='])?;
    let (label, value) = (label.trim(), value.trim());
    let is_name = !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| Condition { label: label.to_owned(), operator: Operator::Equal, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let annotation: Annotation = serde_json::from_str(text).unwrap();
        let found = notice(annotation, &["maintenance".to_owned()]).map(|notice| notice.conditions());
        assert_eq!(
            found.as_deref(),
            expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).as_deref()
        );
    }

    #[test]
    fn tags_say_what_an_annotation_silences() {
        let with = |tags: &str| {
            format!(
                r#"{{"id": 1, "dashboardUID": "x", "panelId": 2, "time": 1000, "timeEnd": 9000, "tags": {tags}, "text": "t"}}"#
            )
        };
        check(&with(r#"["maintenance"]"#), Some(&[]));
        check(&with(r#"["maintenance", "zone:b", "deploy", "host = a"]"#), Some(&["zone=\"b\"", "host=\"a\""]));
        check(&with(r#"["maintenance", "http://x"]"#), Some(&["http=\"//x\""]));
        check(&with(r#"["deploy", "zone:b"]"#), None);
        check(r#"{"id": 1, "time": 1000, "timeEnd": 1000, "tags": ["maintenance"]}"#, None);
        check(r#"{"id": 1, "time": 1000, "tags": ["maintenance"]}"#, None);
    }
}
