//! Configuration that changes while the service runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use serde_json::Value;
use tests::{Prometheus, Scene, Service, Setup, eventually, load};
use tsdb::prometheus::QueryRange;
use tsdb::{Limits, RangeQuery, Read, Step};

/// A pipeline `name` that scores `query` every second by `model`.
fn pipeline(name: &str, query: &str, model: &str) -> String {
    format!(
        "name: {name}\nquery: {query}\nstep: 2s\ncontext_window: 2m\nprediction_horizon: 1m\nforecast_schedule: 10s\n\
         anomaly_schedule: 2s\nmodel: {{id: {model}}}\noutput: {{write_forecast: false}}\n"
    )
}

async fn server() -> Prometheus {
    let server = Prometheus::start(&Setup::default()).await;
    load(&server.connection(), &Scene::now(90).frame).await;
    server
}

fn is_ok(health: &Value, name: &str) -> bool {
    let pipeline = &health["pipelines"][name];
    pipeline["last_success"].is_string() && pipeline["errors"].as_object().is_some_and(|errors| errors.is_empty())
}

/// Waits until the pipeline `name` has succeeded once more, and says what `/health` says then.
async fn goes_on(service: &Service, name: &str) -> Value {
    let before = service.health().await["pipelines"][name]["last_success"].clone();
    eventually(&format!("{name} going on"), async || {
        let health = service.health().await;
        (is_ok(&health, name) && health["pipelines"][name]["last_success"] != before).then_some(health)
    })
    .await
}

/// Waits until `/health` and the log say `parts` of a fault of the configuration.
async fn says(service: &Service, parts: &[&str]) {
    let has_all = |text: &str| parts.iter().all(|part| text.contains(part));
    eventually(&format!("{parts:?} in /health"), async || {
        let health = service.health().await;
        let errors: Vec<&str> = health["config_errors"].as_array()?.iter().filter_map(Value::as_str).collect();
        (health["status"] == "degraded" && errors.iter().any(|error| has_all(error))).then_some(())
    })
    .await;
    let log = service.log();
    assert!(log.lines().any(|line| line.contains("ERROR") && has_all(line)), "no line of the log has {parts:?}");
}

/// Waits until all is well.
async fn is_mended(service: &Service) {
    eventually("an end of all faults", async || {
        let health = service.health().await;
        (health["status"] == "ok" && health["config_errors"].as_array()?.is_empty()).then_some(())
    })
    .await;
}

/// Waits until `server` holds scores of the pipeline `name` made by `model`.
async fn is_scored_by(server: &Prometheus, name: &str, model: &str) {
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let query = format!("last_over_time(anomaly_score{{pipeline={name:?}, model={model:?}}}[1m])");
    eventually(&format!("scores by {model}"), async || {
        let now = tests::now();
        let query =
            RangeQuery::new(query.as_str(), now - std::time::Duration::from_secs(4), now, Step::from_millis(2000)?)?;
        let answer = reader.read(&query, &Limits::default()).await.unwrap();
        (!answer.frame.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_come_change_break_and_go() {
    let server = server().await;
    let service = Service::start(server.url(), &[("a.yaml", &pipeline("a", "requests", "mad"))]);
    goes_on(&service, "a").await;
    service.write("b.yaml", &pipeline("b", "requests", "mad"));
    goes_on(&service, "b").await;
    service.write("b.yaml", &pipeline("b", "requests", "seasonal_naive"));
    is_scored_by(&server, "b", "seasonal_naive").await;
    // A pipeline that is no longer right goes on as it was.
    service.write("b.yaml", &pipeline("b", "requests", "seasonal_naif"));
    says(&service, &["b.yaml:8:13", "pipeline `b`", "model.id", "seasonal_naif"]).await;
    goes_on(&service, "b").await;
    goes_on(&service, "a").await;
    assert!(service.metrics().await.contains("openanomaly_pipelines 2\n"));
    // So it does where its file is no YAML at all.
    service.write("b.yaml", "name: b\nquery: [requests\n");
    says(&service, &["b.yaml:2"]).await;
    goes_on(&service, "b").await;
    // A name that is taken leaves it to the first that had it.
    service.write("c.yaml", &pipeline("a", "requests", "zscore"));
    says(&service, &["c.yaml", "pipeline `a`", "the same name"]).await;
    goes_on(&service, "a").await;
    service.remove("c.yaml");
    service.write("b.yaml", &pipeline("b", "requests", "zscore"));
    is_mended(&service).await;
    is_scored_by(&server, "b", "zscore").await;
    service.remove("b.yaml");
    eventually("b's end", async || service.health().await["pipelines"]["b"].is_null().then_some(())).await;
    service.write("a.yaml", &(pipeline("a", "requests", "mad") + "enabled: false\n"));
    eventually("a's end", async || service.metrics().await.contains("openanomaly_pipelines 0\n").then_some(())).await;
    let mut service = service;
    assert!(service.stop() && !service.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datasource_that_can_not_be_used_leaves_the_pipeline_as_it_was() {
    let server = server().await;
    let good = pipeline("a", "requests", "mad");
    let service = Service::start(server.url(), &[("a.yaml", &good)]);
    goes_on(&service, "a").await;
    service.write("a.yaml", &(good.clone() + "prometheus_url: 'gopher://nowhere'\n"));
    service.write("b.yaml", &(pipeline("b", "requests", "mad") + "prometheus_url: 'gopher://nowhere'\n"));
    says(&service, &["a.yaml", "gopher://nowhere"]).await;
    says(&service, &["b.yaml", "gopher://nowhere"]).await;
    goes_on(&service, "a").await;
    service.remove("b.yaml");
    service.write("a.yaml", &good);
    is_mended(&service).await;
    goes_on(&service, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_put_in() {
    let server = server().await;
    let environment = [("SUITE_URL", server.url()), ("SUITE_METRIC", "requests")];
    let pipelines = [
        ("a.yaml", pipeline("a", "${SUITE_METRIC}", "mad")),
        ("b.yaml", pipeline("b", "${SUITE_NONE:-requests}", "mad")),
        ("c.yaml", pipeline("c", "${SUITE_NONE}", "mad")),
    ];
    let pipelines = pipelines.each_ref().map(|(name, text)| (*name, text.as_str()));
    let service = Service::configured("datasources: {default: {url: '${SUITE_URL}'}}\n", &environment, &pipelines);
    for name in ["a", "b"] {
        goes_on(&service, name).await;
        is_scored_by(&server, name, "mad").await;
    }
    says(&service, &["c.yaml:2", "`SUITE_NONE` is not set"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_keeps_the_old_one() {
    let server = server().await;
    let good = format!("datasources: {{default: {{url: '{}'}}}}\n", server.url());
    let service = Service::configured(&good, &[], &[("a.yaml", &pipeline("a", "requests", "mad"))]);
    goes_on(&service, "a").await;
    for (config, parts) in [
        ("datasources: {default: {url: 'http://x'\n", ["openanomaly.yaml", "openanomaly.yaml"]),
        ("datasources: {default: {}}\n", ["openanomaly.yaml", "datasource `default`"]),
        ("datasources: {default: {url: x}}\ncatchup: 1h\n", ["openanomaly.yaml", "catchup"]),
        ("datasources: {default: {url: 'gopher://x'}}\n", ["datasource `default`", "gopher://x"]),
        ("datasources: {default: {url: '${SUITE_NONE}'}}\n", ["openanomaly.yaml:2", "SUITE_NONE"]),
    ] {
        service.configure(config);
        says(&service, &parts).await;
        goes_on(&service, "a").await;
    }
    let metrics = service.metrics().await;
    assert!(metrics.contains("openanomaly_config_reloads_total{outcome=\"error\"} 5\n"), "{metrics}");
    service.configure(&good);
    is_mended(&service).await;
    goes_on(&service, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_what_no_watch_sees() {
    let server = server().await;
    let service = Service::start(server.url(), &[("a.yaml", &pipeline("a", "requests", "mad"))]);
    goes_on(&service, "a").await;
    // The link stays as it is, and the folder that it leads to is not watched.
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target.yaml");
    std::fs::write(&target, pipeline("b", "requests", "mad")).unwrap();
    std::os::unix::fs::symlink(&target, service.file("b.yaml")).unwrap();
    goes_on(&service, "b").await;
    std::fs::write(&target, pipeline("b", "requests", "zscore")).unwrap();
    service.hang_up();
    is_scored_by(&server, "b", "zscore").await;
    goes_on(&service, "a").await;
}
