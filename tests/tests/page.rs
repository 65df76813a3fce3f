//! What the page asks for, of a service on a real server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use reqwest::Client;
use serde_json::Value;
use tests::{Prometheus, Scene, Service, Setup, eventually, load};

const PIPELINE: &str = "
name: requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 1m
forecast_schedule: 10s
anomaly_schedule: 2s
model: {id: mad}
anomaly: {calibration: none}
output: {write_forecast: false}
";

/// The answer of `path`, and its status.
async fn get(service: &Service, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
    let request = Client::new().get(format!("http://{}{path}", service.address())).query(query);
    let Ok(answer) = request.send().await else { return (0, Value::Null) };
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

async fn start() -> (Prometheus, Service) {
    let server = Prometheus::start(&Setup::default()).await;
    load(&server.connection(), &Scene::now(20).frame).await;
    let service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    (server, service)
}

fn row<'a>(chart: &'a Value, name: &str) -> &'a [Value] {
    chart[name].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_has_what_was_written_and_before_it_what_was_read() {
    let (_server, service) = start().await;
    let worst = eventually("an anomalous series", async || {
        let (_, list) = get(&service, "/api/v1/pipelines/requests/series", &[]).await;
        let first = list["items"].as_array()?.first()?.clone();
        (first["max_score"].as_f64()? > 1.0).then_some(first)
    })
    .await;
    assert_eq!(worst["series"], r#"requests{instance="host-0"}"#, "the series that is ten times as high comes first");
    assert_eq!(worst["labels"]["__name__"], "requests");
    let from = (tests::now() - std::time::Duration::from_secs(300)).to_string();
    let query = [("series", worst["series"].as_str().unwrap()), ("from", from.as_str())];
    let (status, chart) = get(&service, "/api/v1/pipelines/requests/chart", &query).await;
    assert_eq!(status, 200, "{chart}");
    let points = row(&chart, "timestamps").len();
    assert!((140..=151).contains(&points), "{points} points of two seconds in five minutes");
    for name in ["y", "yhat", "yhat_lower", "yhat_upper", "anomaly_score"] {
        assert_eq!(row(&chart, name).len(), points, "{name}");
    }
    let scored = row(&chart, "anomaly_score").iter().position(Value::is_f64).unwrap();
    assert!(scored > 0, "what lies before the start has no score");
    assert!(row(&chart, "y")[..scored].iter().filter(|value| value.is_f64()).count() > scored / 2, "but values");
    assert!(row(&chart, "anomaly_score").iter().filter_map(Value::as_f64).any(|score| score > 1.0));
    assert_eq!(chart["warnings"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_time_is_thinned_and_what_is_wrong_is_said() {
    let (_server, service) = start().await;
    eventually("the service", async || (get(&service, "/health/live", &[]).await.0 == 200).then_some(())).await;
    let check = async |path: &str, query: &[(&str, &str)], status: u16, part: &str| {
        let (found, body) = get(&service, path, query).await;
        assert_eq!(found, status, "{path} {query:?}: {body}");
        assert!(body.to_string().contains(part), "{path} {query:?}: {body} doesn't say {part}");
    };
    let (chart, list) = ("/api/v1/pipelines/requests/chart", "/api/v1/pipelines/requests/series");
    let (series, day) = (("series", "requests{instance=\"host-0\"}"), ("from", "2026-01-01T00:00:00Z"));
    let (_, long) = get(&service, chart, &[series, day, ("until", "2026-01-02T00:00:00Z")]).await;
    assert!(row(&long, "y").len() <= 2001 && long["step_seconds"].as_f64().unwrap() > 40.0, "{}", long["step_seconds"]);
    check(chart, &[series, ("from", "1990-01-01T00:00:00Z")], 400, "at most 200000 are read").await;
    check(chart, &[series, day, ("until", "2025-01-01T00:00:00Z")], 400, "`from` must lie before `until`").await;
    check(chart, &[("series", "requests{instance=1}")], 400, "a value must be in quotes").await;
    check(chart, &[], 400, "missing field `series`").await;
    check(chart, &[series, ("form", "1")], 400, "unknown field").await;
    check(list, &[("until", "yesterday")], 400, "`yesterday` is no time").await;
    check("/api/v1/pipelines/none/series", &[], 404, "there is no pipeline `none`").await;
    check("/api/v1/pipelines/none/chart", &[series], 404, "there is no pipeline `none`").await;
    check("/api/v1/datasources", &[], 200, r#"{"name":"default","kind":"server"}"#).await;
    check("/api/v1/datasources/default/metrics", &[("match", "reques")], 200, r#""requests""#).await;
    check("/api/v1/datasources/default/metrics", &[("match", "nothing")], 200, r#"{"items":[]}"#).await;
    check("/api/v1/datasources/none/metrics", &[], 404, "there is no datasource `none`").await;
    check("/api/v1/catalogue", &[], 200, r#""id":"mstl""#).await;
}
