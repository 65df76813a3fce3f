//! What the service tells of itself: traces, a log for machines, and metrics.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::{Collector, Scene, Service, attributes, eventually};
use tsdb::Write as _;
use tsdb::embedded::{Embedded, EmbeddedOptions};
use tsdb::prometheus::Connection;
use tsdb::prometheus::client::{Client, Direction};

const PIPELINE: &str = "
name: requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 1m
forecast_schedule: 4s
anomaly_schedule: 2s
model: {id: seasonal_naive, parameters: {season: 40s}}
";

/// A trace of somebody else's, and the span of it that a request comes from.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A service with its own store that has something in it, and `more` in its configuration.
async fn service(store: &Path, more: &str, environment: &[(&str, &str)]) -> Service {
    let filled = Embedded::open(store, &EmbeddedOptions::default()).unwrap();
    filled.write(std::slice::from_ref(&Scene::now(120).frame)).await.unwrap();
    filled.close().unwrap();
    let config = format!("datasources: {{default: {{path: '{}'}}}}\n{more}", store.display());
    let service = Service::configured(&config, environment, &[("requests.yaml", PIPELINE)]);
    eventually("the service", async || service.health().await["status"].is_string().then_some(())).await;
    service
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn ask(service: &Service, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = Client::new(&Connection::new(format!("http://{}", service.address()))).unwrap();
    let request = client.request("GET".parse().unwrap(), Direction::Read, path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_reach_a_collector() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let otlp = format!("otlp: {{endpoint: '{}/', headers: {{x-tenant: me}}}}\n", collector.url());
    let mut service = service(&folder.path().join("store"), &otlp, &[]).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    ask(&service, "/metrics", &[("traceparent", &traceparent)]).await;
    let pass = eventually("a pass with all its parts", async || {
        let passes = collector.spans("pass");
        passes.into_iter().find(|pass| {
            let has = |name| collector.spans(name).iter().any(|span| span.parent_span_id == pass.span_id);
            ["read", "forecast", "score", "write"].into_iter().all(has)
        })
    })
    .await;
    let of = attributes(&pass.attributes);
    assert_eq!((of["pipeline"].as_str(), of["stage"].as_str()), ("requests", "anomaly"), "{of:?}");
    // What has not been sent when the service stops is sent then.
    assert!(service.stop(), "{}", service.log());
    let request = collector.spans("GET /metrics").into_iter().find(|span| hex(&span.trace_id) == TRACE);
    let request = request.unwrap_or_else(|| panic!("the trace goes on in none of {:#?}", collector.batches()));
    let of = attributes(&request.attributes);
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind, of["status"].as_str()), (PARENT, 2, "200"));
    let batch = &collector.batches()[0];
    assert_eq!(batch.headers["x-tenant"], "me");
    assert_eq!(batch.resource["service.name"], "openanomaly");
    assert_eq!(batch.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(batch.resource["service.instance.id"].len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_disturbs_nobody_and_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let otlp = "otlp: {endpoint: 'http://127.0.0.1:9', headers: {authorization: Bearer confidential}}\n";
    let mut service = service(&folder.path().join("store"), otlp, &[]).await;
    eventually("a warning", async || service.log().contains("traces can't be sent").then_some(())).await;
    eventually("passes", async || {
        let done = "openanomaly_passes_total{pipeline=\"requests\",stage=\"anomaly\",outcome=\"success\"}";
        let metrics = service.metrics().await;
        let count = metrics.lines().find_map(|line| line.strip_prefix(done)?.trim().parse::<u64>().ok());
        count.filter(|count| *count >= 8)
    })
    .await;
    assert!(service.stop());
    let log = service.log();
    assert_eq!(log.matches("traces can't be sent").count(), 1, "{log}");
    assert!(!log.contains("confidential"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_for_machines_is_objects_with_ids_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let more = "otlp: {endpoint: 'http://127.0.0.1:9', headers: {authorization: '${SECRET}'}}\n";
    let environment =
        [("OPENANOMALY_LOG_FORMAT", "json"), ("OPENANOMALY_LOG_LEVEL", "debug"), ("SECRET", "Bearer confidential")];
    let mut service = service(&folder.path().join("store"), more, &environment).await;
    eventually("a pass", async || service.log().contains("\"message\":\"pass\"").then_some(())).await;
    ask(&service, "/health", &[("x-request-id", "of-mine"), ("authorization", "Bearer confidential")]).await;
    assert!(service.stop());
    let log = service.log();
    assert!(!log.contains("confidential") && !log.contains("otel."), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(["timestamp", "level", "target"].iter().all(|name| line[name].is_string()), "{line}");
    }
    assert!(lines.iter().any(|line| line["request_id"] == "of-mine" && line["path"] == "/health"), "{log}");
    let pass = lines.iter().find(|line| line["message"] == "pass").unwrap();
    assert_eq!((&pass["pipeline"], &pass["level"]), (&"requests".into(), &"INFO".into()), "{pass}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_nothing_wrong_with_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder.path().join("store"), "", &[]).await;
    let text = eventually("both kinds of passes", async || {
        let text = ask(&service, "/metrics", &[]).await.text().await.unwrap();
        let has =
            |stage| text.contains(&format!("openanomaly_pass_lag_seconds{{pipeline=\"requests\",stage=\"{stage}\"}}"));
        (has("anomaly") && has("forecast")).then_some(text)
    })
    .await;
    assert!(!text.contains("# EOF") && text.contains("# TYPE openanomaly_read_samples_total counter\n"), "{text}");
    for name in [
        "http_request_duration_seconds_count{method=\"GET\",route=\"/metrics\",status=\"2xx\"}",
        "forecast_batch_size_sum",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "database_errors_total 0",
        "http_connections ",
        "build_info{version=",
    ] {
        assert!(text.contains(&format!("\nopenanomaly_{name}")), "{name} is not in\n{text}");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: apt-get install prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
    let accept = ("accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    let answer = ask(&service, "/metrics", &[accept]).await;
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(answer.text().await.unwrap().ends_with("# EOF\n"));
}
