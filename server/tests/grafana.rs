//! The dashboards and alert rules for Grafana are what Grafana reads, as far as that can be seen without it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(config().join("grafana")).unwrap().map(|file| file.unwrap().path());
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        (file.display().to_string(), serde_json::from_str(&text).unwrap())
    };
    files.map(read).collect()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).unwrap_or_else(|| panic!("{path} is a list in {value}"))
}

#[test]
fn dashboards_have_what_grafana_asks_for() {
    let found = dashboards();
    let uids: BTreeSet<&str> = found.iter().map(|(_, board)| board["uid"].as_str().unwrap()).collect();
    assert_eq!((found.len(), uids.len()), (2, 2));
    for (file, board) in &found {
        assert!(board["schemaVersion"].as_u64().unwrap() >= 36 && board["title"].is_string(), "{file}");
        assert!(board.get("id").is_none(), "{file}: Grafana gives out ids itself");
        let variables: Vec<&str> =
            list(board, "/templating/list").iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(variables[0], "datasource", "{file}: the others ask it");
        for variable in &list(board, "/templating/list")[1..] {
            let is_asked = variable["type"] == "textbox" || variable["datasource"]["uid"] == "${datasource}";
            assert!(is_asked, "{file}: {variable}");
        }
        check_panels(file, board, &variables);
    }
}

fn check_panels(file: &str, board: &Value, variables: &[&str]) {
    let mut ids = BTreeSet::new();
    let mut taken: Vec<[u64; 4]> = vec![];
    for panel in list(board, "/panels") {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title}: the id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24 && h > 0, "{file}: {title} is too wide");
        let meets = |[a, b, c, d]: &[u64; 4]| x < a + c && *a < x + w && y < b + d && *b < y + h;
        assert!(!taken.iter().any(meets), "{file}: {title} lies on another panel");
        taken.push([x, y, w, h]);
        if panel["type"] == "row" {
            continue;
        }
        let kinds = ["stat", "timeseries", "table", "state-timeline"];
        assert!(kinds.contains(&panel["type"].as_str().unwrap()), "{file}: {title}: a panel of Grafana itself");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {title}");
        let mut refs = BTreeSet::new();
        for target in list(panel, "/targets") {
            assert!(refs.insert(target["refId"].as_str().unwrap()), "{file}: {title}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
            check_variables(file, target["expr"].as_str().unwrap(), variables);
        }
    }
}

/// Every `$name` is a variable of the dashboard, or one that Grafana has.
fn check_variables(file: &str, expression: &str, variables: &[&str]) {
    for part in expression.split('$').skip(1) {
        let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let known = variables.contains(&name.as_str()) || ["__rate_interval", "__range"].contains(&name.as_str());
        assert!(known, "{file}: ${name} in {expression}");
    }
}

#[test]
fn alert_rules_have_what_grafana_asks_for() {
    let mut uids = BTreeSet::new();
    for file in std::fs::read_dir(config().join("alerts/grafana")).unwrap() {
        let file = file.unwrap().path();
        let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let file = file.display();
        assert_eq!(rules["apiVersion"], 1, "{file}");
        for group in list(&rules, "/groups") {
            for field in ["name", "folder", "interval"] {
                assert!(group[field].is_string(), "{file}: {field}");
            }
            for rule in list(group, "/rules") {
                let uid = rule["uid"].as_str().unwrap();
                assert!(uids.insert(uid.to_owned()) && uid.len() <= 40, "{file}: {uid}");
                check_rule(&format!("{file}: {uid}"), rule);
            }
        }
    }
    assert!(uids.len() >= 10, "{uids:?}");
}

fn check_rule(place: &str, rule: &Value) {
    for field in ["title", "for"] {
        assert!(rule[field].is_string(), "{place}: {field}");
    }
    assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{place}");
    assert!(["OK", "NoData", "Alerting"].contains(&rule["noDataState"].as_str().unwrap()), "{place}");
    assert!(["OK", "Error", "Alerting"].contains(&rule["execErrState"].as_str().unwrap()), "{place}");
    let [query, condition] = list(rule, "/data") else { panic!("{place}: a query and a condition") };
    assert_eq!(rule["condition"], condition["refId"], "{place}");
    assert!(query["model"]["expr"].is_string() && query["relativeTimeRange"]["from"].as_u64() > Some(0), "{place}");
    assert_eq!((&condition["datasourceUid"], &condition["model"]["type"]), (&"__expr__".into(), &"threshold".into()));
    assert_eq!(condition["model"]["expression"], query["refId"], "{place}");
    let evaluator = &list(condition, "/model/conditions")[0]["evaluator"];
    assert!(["gt", "lt"].contains(&evaluator["type"].as_str().unwrap()) && evaluator["params"][0].is_number());
    for model in [query, condition] {
        assert_eq!(model["refId"], model["model"]["refId"], "{place}");
    }
}
