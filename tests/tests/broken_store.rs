//! The service on servers that misbehave: one clear error each, no harm to the others, and nothing missing afterwards.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::time::Duration;

use tests::{Fickle, Mood, Prometheus, Scene, Service, Setup, VictoriaMetrics, eventually, load, now, sleep_until};
use tsdb::Read;
use tsdb::prometheus::QueryRange;

/// A way to misbehave, and what the service is to make of it.
struct Case {
    name: &'static str,
    /// The requests that are met by `mood`.
    path: &'static str,
    mood: Mood,
    /// What the error says.
    says: &'static [&'static str],
    /// The metric that counts it, without the pipeline's label.
    counted: (&'static str, &'static str),
}

const fn read(name: &'static str, mood: Mood, kind: &'static str, says: &'static [&'static str]) -> Case {
    Case { name, path: "/api/v1/query_range", mood, says, counted: ("openanomaly_read_errors_total", kind) }
}

const CASES: &[Case] = &[
    read(
        "page",
        Mood::Says("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>Please log in</html>\n"),
        "malformed",
        &["reading `", "malformed at byte 0"],
    ),
    read(
        "broken",
        Mood::Says("HTTP/1.1 500 Internal Server Error\r\n\r\nouch!"),
        "status",
        &["reading `", "status 500: ouch!"],
    ),
    read(
        "busy",
        Mood::Says("HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n\r\nslowly!"),
        "status",
        &["reading `", "status 429: slowly!"],
    ),
    read(
        "cut",
        Mood::Says(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"status\":\"success\",\"data\"",
        ),
        "truncated",
        &["reading `", "ends in the middle, after 26 bytes"],
    ),
    read(
        "garbage",
        Mood::Says(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"success\",\"data\":{\"resul\u{7}\":]",
        ),
        "malformed",
        &["reading `", "malformed at byte"],
    ),
    read(
        "refusing",
        Mood::Says(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\r\n{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"I don't like this\"}",
        ),
        "query",
        &["reading `", "the query is refused (bad_data): I don't like this"],
    ),
    read(
        "erring",
        Mood::Says(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"error\",\"errorType\":\"internal\",\"error\":\"out of luck\"}",
        ),
        "query",
        &["reading `", "internal", "out of luck"],
    ),
    read("hanging", Mood::Hangs, "timeout", &["reading `", "no whole answer within 1s"]),
    read("closing", Mood::Says(""), "connection", &["reading `", "no connection"]),
    read("no_http", Mood::Says("220 smtp.example.org ESMTP ready\r\n"), "connection", &["reading `", "no connection"]),
    Case {
        name: "full",
        path: "/api/v1/write",
        mood: Mood::Says("HTTP/1.1 503 Service Unavailable\r\n\r\nno room left"),
        says: &["writing to", "503", "no room left"],
        counted: ("openanomaly_write_errors_total", ""),
    },
    Case {
        name: "deaf",
        path: "/api/v1/write",
        mood: Mood::Hangs,
        says: &["writing to", "tried"],
        counted: ("openanomaly_write_errors_total", ""),
    },
];

fn pipeline(name: &str) -> String {
    format!(
        "name: {name}\nquery: requests\ndatasource: {name}\nstep: 2s\ncontext_window: 2m\nprediction_horizon: 1m\n\
         forecast_schedule: 10s\nanomaly_schedule: 2s\nmodel: {{id: seasonal_naive, parameters: {{season: 40s}}}}\n\
         output: {{write_forecast: false}}\n"
    )
}

/// One service, a datasource and a pipeline for each case, and one of each without any fault.
struct Stage {
    server: Prometheus,
    scene: Scene,
    servers: Vec<Fickle>,
    service: Service,
}

impl Stage {
    async fn set(ahead: usize, mood: impl Fn(&Case) -> Mood) -> Self {
        let server = Prometheus::start(&Setup::default()).await;
        let scene = Scene::now(ahead);
        load(&server.connection(), &scene.frame).await;
        let mut servers = vec![];
        let mut config = format!("datasources:\n  healthy: {{url: '{}'}}\n", server.url());
        for case in CASES {
            let fickle = Fickle::start(server.url(), case.path).await;
            fickle.change(mood(case));
            config += &format!("  {}: {{url: '{}', timeout: 1s}}\n", case.name, fickle.url());
            servers.push(fickle);
        }
        let files: Vec<(String, String)> = names().map(|name| (format!("{name}.yaml"), pipeline(name))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let service = Service::configured(&config, &[], &files);
        Self { server, scene, servers, service }
    }

    /// Waits until every pipeline has succeeded and has no error.
    async fn all_are_well(&self) {
        eventually("an end of all faults", async || {
            let health = self.service.health().await;
            let is_well =
                |name| health["pipelines"][name]["last_success"].is_string() && error(&health, name).is_none();
            (health["status"] == "ok" && names().all(is_well)).then_some(())
        })
        .await;
    }

    /// Waits until every case has its error, while the pipeline without a fault goes on.
    async fn all_have_failed(&self) {
        let before = self.service.health().await["pipelines"]["healthy"]["last_success"].clone();
        for case in CASES {
            let what = format!("the error of `{}`", case.name);
            let health = eventually(&what, async || {
                let health = self.service.health().await;
                error(&health, case.name).is_some().then_some(health)
            })
            .await;
            let error = error(&health, case.name).unwrap();
            assert!(case.says.iter().all(|part| error.contains(part)), "{}: {error}", case.name);
            assert_eq!(health["status"], "degraded");
        }
        eventually("the other pipeline going on", async || {
            let health = self.service.health().await;
            assert_eq!(error(&health, "healthy"), None);
            (health["pipelines"]["healthy"]["last_success"] != before).then_some(())
        })
        .await;
    }

    /// Checks what the log and the metrics say once nothing fails any more: one line a failure, and each counted.
    async fn check_reports(&self) {
        let (metrics, log) = (self.service.metrics().await, self.service.log());
        assert!(!log.contains("panicked"), "{log}");
        assert!(!metrics.contains("_errors_total{pipeline=\"healthy\""), "{metrics}");
        for case in CASES {
            let (metric, kind) = case.counted;
            let counts =
                |line: &&str| line.starts_with(metric) && line.contains(&format!("pipeline=\"{}\"", case.name));
            let found: Vec<&str> = metrics.lines().filter(counts).collect();
            assert!(found.len() == 1 && found[0].contains(kind), "{}: {found:?} instead of {kind}", case.name);
            let count: usize = found[0].rsplit(' ').next().unwrap().parse().unwrap();
            let field = format!("pipeline=\"{}\"", case.name);
            let lines: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") && line.contains(&field)).collect();
            assert!(lines.iter().all(|line| case.says.iter().all(|part| line.contains(part))), "{lines:#?}");
            assert_eq!(lines.len(), count, "{lines:#?}");
        }
    }

    /// Checks that every pipeline has written every score, until a moment ago.
    async fn check_scores(mut self) {
        let until = now();
        sleep_until(until + Duration::from_secs(6)).await;
        assert!(self.service.stop());
        let reader = QueryRange::new(&self.server.connection(), 0).unwrap();
        for name in names() {
            let (first, last) = self.scene.check_scores(&reader, &pipeline(name), Duration::ZERO).await;
            assert!(first <= self.scene.start + Duration::from_secs(20), "{name} begins at {first}");
            assert!(last >= until.min(self.scene.end()), "{name} ends at {last}");
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name).chain(["healthy"])
}

fn error(health: &serde_json::Value, name: &str) -> Option<String> {
    health["pipelines"][name]["errors"].as_object()?.values().next()?.as_str().map(String::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_fall_ill_are_reported_and_made_up_for() {
    let stage = Stage::set(60, |_| Mood::Well).await;
    stage.all_are_well().await;
    for (case, server) in CASES.iter().zip(&stage.servers) {
        server.change(case.mood);
    }
    stage.all_have_failed().await;
    stage.servers.iter().for_each(|server| server.change(Mood::Well));
    stage.all_are_well().await;
    stage.check_reports().await;
    stage.check_scores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_ill_from_the_start_are_reported_and_made_up_for() {
    let stage = Stage::set(60, |case| case.mood).await;
    stage.all_have_failed().await;
    stage.servers.iter().for_each(|server| server.change(Mood::Well));
    stage.all_are_well().await;
    stage.check_reports().await;
    stage.check_scores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_server_is_not_up_yet_does_not_hide_how_soon_it_settles() {
    let server = VictoriaMetrics::start().await;
    let scene = Scene::now(60);
    load(&server.connection(), &scene.frame).await;
    server.flush().await;
    let gateway = Fickle::start(server.url(), "/").await;
    gateway.change(Mood::Says("HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\n\r\n<html>no upstream</html>"));
    let config = format!("datasources: {{web: {{url: '{}'}}}}\n", gateway.url());
    let mut service = Service::configured(&config, &[], &[("web.yaml", &pipeline("web"))]);
    let health = eventually("the error", async || {
        let health = service.health().await;
        error(&health, "web").is_some().then_some(health)
    })
    .await;
    assert!(error(&health, "web").unwrap().contains("status 502"), "{health}");
    gateway.change(Mood::Well);
    sleep_until(scene.start + Duration::from_secs(25)).await;
    assert!(service.stop());
    server.flush().await;
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let settles_after = reader.settles_after().await.unwrap();
    assert!(settles_after > Duration::ZERO);
    let (first, last) = scene.check_scores(&reader, &pipeline("web"), settles_after).await;
    assert!(first < last, "{first} – {last}");
}
