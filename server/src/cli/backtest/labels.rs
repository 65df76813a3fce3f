//! What is known to have happened, and what people said: from files and from a running service.

use std::collections::BTreeMap;
use std::path::Path;

use engine::backtest::cases::Case;
use engine::backtest::claims::Claims;
use engine::backtest::scope::Scope;
use reqwest::Method;
use serde_json::Value;

use crate::cli::CliError;
use crate::cli::client::{ServiceArgs, ask};
use crate::cli::source::time;

/// Reads the columns `series`, `from` and `to` of a CSV file; a line without a series is about all of them.
///
/// # Errors
/// The file can't be read, a column is missing, or a time is none.
pub(super) fn read(path: &Path) -> Result<Claims, CliError> {
    let wrong = |reason: String| CliError::Source { origin: path.display().to_string(), reason };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|e| wrong(e.to_string()))?;
    let titles = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let column = |names: &[&str]| {
        let found = titles.iter().position(|title| names.iter().any(|name| title.eq_ignore_ascii_case(name)));
        found.ok_or_else(|| {
            let there = titles.iter().collect::<Vec<_>>().join(", ");
            wrong(format!("there is no column `{}`; there are {there}", names[0]))
        })
    };
    let (series, from) = (column(&["series"])?, column(&["from", "start"])?);
    let to = column(&["to", "until", "end"])?;
    let mut claims = Claims::default();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let at = |column: usize| {
            let text = record.get(column).unwrap_or("");
            time(text).map_err(|why| wrong(format!("line {line}: `{text}`: {why}")))
        };
        let (from, to) = (at(from)?, at(to)?);
        if to < from {
            return Err(wrong(format!("line {line}: {to} lies before {from}")));
        }
        claims.add_event(Scope::parse(record.get(series).unwrap_or("")), from, to);
    }
    Ok(claims)
}

/// The verdicts that a running service has of `pipeline`, or of all of them, the oldest first.
///
/// # Errors
/// The service can't be asked, or what it answers are no verdicts.
pub(super) fn feedback(service: &ServiceArgs, pipeline: Option<&str>) -> Result<Vec<Case>, CliError> {
    let wrong = || {
        let reason = "the answer has no list of verdicts; is this OpenAnomaly?".into();
        CliError::Source { origin: service.server.clone(), reason }
    };
    let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let filter = pipeline.map(|name| format!("&pipeline={}", escape(name))).unwrap_or_default();
    let (mut cases, mut cursor) = (vec![], String::new());
    loop {
        let body = ask(service, Method::GET, &format!("/api/v1/feedback?limit=1000{filter}{cursor}"), &[], None)?.body;
        for item in body["items"].as_array().ok_or_else(wrong)? {
            cases.push(case(item).ok_or_else(wrong)?);
        }
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", escape(next)),
            None => break,
        }
    }
    cases.reverse();
    Ok(cases)
}

/// A verdict as the service tells it.
fn case(item: &Value) -> Option<Case> {
    let text = |name: &str| item[name].as_str();
    let labels = |one: &Value| -> Option<BTreeMap<String, String>> {
        let pairs = one.as_object()?.iter();
        Some(pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
    };
    let named = labels(&item["labels"])?;
    // Services of before tell no series.
    let series = item["series"].as_array().map(|series| series.iter().filter_map(labels).collect());
    Some(Case {
        id: text("id")?.to_owned(),
        scope: Scope::any_of(series.unwrap_or_else(|| vec![named])),
        from_ms: time(text("from")?).ok()?.millis(),
        until_ms: time(text("until")?).ok()?.millis(),
        said: serde_json::from_value(item["verdict"].clone()).ok()?,
        note: text("note").unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use engine::backtest::cases::Said;
    use engine::backtest::claims::Claim;
    use tsdb::Timestamp;

    use super::*;

    fn claims(text: &str) -> Result<Claims, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    /// The seconds that are known to be part of an event of the series `name` of the host `a`.
    fn seconds(claims: &Claims, name: &str) -> Vec<i64> {
        let own = claims.of(name, &BTreeMap::from([("host".to_owned(), "a".to_owned())]));
        (0..100).filter(|second| own.at(Timestamp::from_seconds(*second)) == Some(Claim::Event)).collect()
    }

    #[test]
    fn a_line_is_a_range_of_a_series() {
        let text = "series,from,to\nweb,1970-01-01T00:00:10Z,20\n\"{host=\"\"a\"\"}\", 30 ,40\n,50,50\ndb,60,70\n";
        let claims = claims(text).unwrap();
        assert_eq!(seconds(&claims, "web"), (10..=20).chain(30..=40).chain([50]).collect::<Vec<_>>());
        assert_eq!(seconds(&claims, "db"), (30..=40).chain([50]).chain(60..=70).collect::<Vec<_>>());
        assert_eq!(seconds(&self::claims("end,start,series\n2,1,\n").unwrap(), "x"), [1, 2]);
    }

    #[test]
    fn what_is_no_range_is_said() {
        for (text, expected) in [
            ("", "no column `series`"),
            ("series,from\nweb,1\n", "no column `to`; there are series, from"),
            ("series,from,to\nweb,1,soon\n", "line 2: `soon`"),
            ("series,from,to\nweb,5,2\n", "line 2: 1970-01-01T00:00:02Z lies before 1970-01-01T00:00:05Z"),
            ("series,from,to\nweb,5\n", "line"),
        ] {
            let error = claims(text).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn verdicts_are_read_as_the_service_writes_them() {
        let mut item = serde_json::json!({
            "id": "1", "incident": null, "pipeline": "web", "labels": {"host": "a"}, "note": "deploy",
            "from": "1970-01-01T00:00:10Z", "until": "1970-01-01T00:00:20Z", "verdict": "maintenance",
        });
        let case = case(&item).unwrap();
        assert_eq!((case.from_ms, case.until_ms, case.said), (10_000, 20_000, Said::Maintenance));
        assert_eq!(self::case(&serde_json::json!({"id": "1"})), None);
        assert!(case.scope.holds("x", &BTreeMap::from([("host".to_owned(), "a".to_owned())])));
        item["series"] = serde_json::json!([{"host": "b"}, {"host": "c"}]);
        let case = self::case(&item).unwrap();
        for (host, expected) in [("a", false), ("b", true), ("c", true)] {
            assert_eq!(case.scope.holds("x", &BTreeMap::from([("host".to_owned(), host.to_owned())])), expected);
        }
    }
}
