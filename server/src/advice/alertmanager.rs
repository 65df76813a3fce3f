//! The silences of an Alertmanager: `GET /api/v2/silences`. Those that have expired are told too, for as long as it
//! remembers them: their time was silenced all the same.

use engine::silence::Operator;
use serde::Deserialize;
use tsdb::Timestamp;

use super::{AskError, Condition, Notice, get, token};
use crate::config::service::Alertmanager;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertmanagerSilence {
    id: String,
    starts_at: jiff::Timestamp,
    ends_at: jiff::Timestamp,
    #[serde(default)]
    comment: String,
    matchers: Vec<AlertmanagerMatcher>,
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertmanagerMatcher {
    name: String,
    value: String,
    is_regex: bool,
    // Alertmanager before 0.22 knows no negative ones.
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

/// What the Alertmanager of `config` silences, has silenced, or will.
pub(super) async fn ask(config: &Alertmanager) -> Result<Vec<Notice>, AskError> {
    let mut url = config.url.clone();
    let path = format!("{}/api/v2/silences", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let silences: Vec<AlertmanagerSilence> =
        get(url, token(config.bearer_token.as_ref(), config.bearer_token_file.as_ref())?).await?;
    Ok(silences.into_iter().filter(has_been).map(notice).collect())
}

/// A silence that was taken back before it began is expired from its beginning on.
fn has_been(silence: &AlertmanagerSilence) -> bool {
    silence.status.state != "expired" || silence.starts_at < silence.ends_at
}

fn notice(silence: AlertmanagerSilence) -> Notice {
    let condition = |one: AlertmanagerMatcher| Condition {
        operator: match (one.is_regex, one.is_equal) {
            (false, true) => Operator::Equal,
            (false, false) => Operator::NotEqual,
            (true, true) => Operator::Matches,
            (true, false) => Operator::MatchesNot,
        },
        label: one.name,
        value: one.value,
    };
    Notice {
        source: "alertmanager",
        id: silence.id,
        from: Timestamp::from_millis(silence.starts_at.as_millisecond()),
        until: Timestamp::from_millis(silence.ends_at.as_millisecond()),
        comment: silence.comment,
        pipeline: None,
        conditions: silence.matchers.into_iter().map(condition).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_are_read_as_alertmanager_writes_them() {
        let text = r#"[{"id": "a", "status": {"state": "active"}, "updatedAt": "2026-01-01T00:00:00.000Z",
            "comment": "disks", "createdBy": "ana", "startsAt": "2026-01-01T00:00:00.000Z",
            "endsAt": "2026-01-01T01:00:00.000Z", "matchers": [
                {"name": "host", "value": "a|b", "isRegex": true, "isEqual": false},
                {"name": "zone", "value": "c", "isRegex": false}]},
          {"id": "b", "status": {"state": "expired"}, "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "2026-01-01T00:00:00Z", "matchers": []}]"#;
        let silences: Vec<AlertmanagerSilence> = serde_json::from_str(text).unwrap();
        let notices: Vec<Notice> = silences.into_iter().filter(has_been).map(notice).collect();
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].conditions(), ["host!~\"a|b\"", "zone=\"c\""]);
        assert_eq!(
            (notices[0].until.millis() - notices[0].from.millis(), notices[0].comment.as_str()),
            (3_600_000, "disks")
        );
    }
}
