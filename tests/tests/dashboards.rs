//! Every expression of the dashboards and alert rules answers something about a service that runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Prometheus, Scene, Service, Setup, VictoriaMetrics, eventually, load};
use tsdb::prometheus::Connection;
use tsdb::prometheus::client::{Client, Direction};

const PIPELINE: &str = "
name: requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 20s
forecast_schedule: 4s
anomaly_schedule: 2s
model: {id: seasonal_naive, parameters: {season: 40s}}
";

/// Fails at every pass.
const BROKEN: &str = "{name: broken, query: requests, step: 2s, anomaly_schedule: 2s, max_series: 1}";

/// What a service doesn't count where nothing is wrong with it: a model or a store that fails, jobs that nobody wants,
/// models that are no cascade; series that are missing; and alerts that ask for more series or points than there are here.
const QUIET: [&str; 10] = [
    "openanomaly_forecast_errors_total",
    "openanomaly_write_errors_total",
    "openanomaly_write_rejected_total",
    "openanomaly_passes_skipped_total",
    "openanomaly_jobs",
    "openanomaly_cascade_series_total",
    "(missing[10m]) == 1",
    "(missing{pipeline",
    ">= 10",
    "> 1000",
];

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// All values of the fields `names`, wherever they are.
fn fields(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if names.contains(&name.as_str()) => found.push(text.clone()),
                    value => fields(value, names, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, names, found)),
        _ => {}
    }
}

/// The expressions of all dashboards and of Grafana's rules, as Grafana asks them.
fn expressions() -> Vec<String> {
    let mut found = vec![];
    for folder in ["grafana", "alerts/grafana"] {
        for file in std::fs::read_dir(config().join(folder)).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| yaml(&text));
            fields(&value, &["expr"], &mut found);
        }
    }
    let filled = |expression: String| {
        let all = [("$__rate_interval", "10s"), ("$__range", "30s"), ("$above", "0"), ("$job", ".*")];
        let all = all.into_iter().chain([("$instance", ".*"), ("$pipeline", ".*"), ("$source", ".*")]);
        all.fold(expression, |text, (name, value)| text.replace(name, value))
    };
    found.into_iter().map(filled).collect()
}

/// The expressions of a file of rules.
fn yaml(text: &str) -> Value {
    let expressions = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    expressions.map(|line| serde_json::json!({"expr": serde_json::from_str::<String>(line).unwrap()})).collect()
}

/// The metrics that the variables of the dashboards ask for, each with the label whose values it is about.
fn variables() -> Vec<(String, String)> {
    let mut found = vec![];
    for file in std::fs::read_dir(config().join("grafana")).unwrap() {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        fields(&board["templating"], &["definition"], &mut found);
    }
    let parts = |text: String| {
        let inner = text.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        (selector.split('{').next().unwrap().to_owned(), label.to_owned())
    };
    found.into_iter().map(parts).collect()
}

async fn ask(url: &str, expression: &str) -> Result<Vec<Value>, String> {
    let client = Client::new(&Connection::new(url)).unwrap();
    let request = client.request("GET".parse().unwrap(), Direction::Read, "/api/v1/query");
    let answer = request.query(&[("query", expression)]).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    match answer["data"]["result"].as_array() {
        Some(found) if answer["status"] == "success" => Ok(found.clone()),
        _ => Err(answer["error"].to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_answers_something() {
    let address = tests::free_address();
    let setup = Setup { scrape: Some(address.clone()), ..Setup::default() };
    let prometheus = Prometheus::start(&setup).await;
    let scene = Scene::now(60);
    load(&prometheus.connection(), &scene.frame).await;
    let pipelines = [("requests.yaml", PIPELINE), ("broken.yaml", BROKEN)];
    let config = format!("datasources: {{default: {{url: '{}'}}}}\n", prometheus.url());
    let service = Service::listening(address, &config, &[], &pipelines);
    let up = "count(anomaly_score) > 0 and on () openanomaly_pass_lag_seconds{stage=\"forecast\"}";
    eventually("scores", async || ask(prometheus.url(), up).await.ok().filter(|found| !found.is_empty())).await;
    let expressions = expressions();
    assert!(expressions.len() > 60, "{expressions:#?}");
    let mut left: Vec<&String> =
        expressions.iter().filter(|text| !QUIET.iter().any(|quiet| text.contains(quiet))).collect();
    // Rates need more than one scrape.
    for _ in 0..150 {
        let mut silent = vec![];
        for text in &left {
            let found = ask(prometheus.url(), text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
            if found.is_empty() {
                silent.push(*text);
            }
        }
        left = silent;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(left.is_empty(), "nobody answers {left:#?}\n{}", service.log());
    for (metric, label) in variables() {
        let found = ask(prometheus.url(), &metric).await.unwrap();
        assert!(found.iter().all(|series| series["metric"][&label].is_string()) && !found.is_empty(), "{metric}");
    }
    // The others are at least right, here and there.
    let victoria_metrics = VictoriaMetrics::start().await;
    for text in &expressions {
        for url in [prometheus.url(), victoria_metrics.url()] {
            ask(url, text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
