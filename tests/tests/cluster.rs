//! Several processes on one database and one store of series: who runs what, and who goes on when one is killed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use sqlx::{AnyConnection, Connection};
use tests::{Postgres, Scene, Service, VictoriaMetrics, eventually, load, now, sleep_until};
use tsdb::prometheus::QueryRange;
use tsdb::{Read, Timestamp};

/// The pipelines' names.
const NAMES: [&str; 6] = ["p0", "p1", "p2", "p3", "p4", "p5"];

/// How soon another process must go on, which `takeover` leaves room for.
const GOES_ON_WITHIN: Duration = Duration::from_secs(15);

fn pipeline(name: &str) -> String {
    format!(
        "
name: {name}
query: requests
step: 2s
context_window: 2m
prediction_horizon: 1m
forecast_schedule: 10s
anomaly_schedule: 2s
model: {{id: seasonal_naive, parameters: {{season: 40s}}}}
output: {{write_forecast: false}}
"
    )
}

fn start(store: &str, database: &str) -> Service {
    let config = format!("datasources: {{default: {{url: '{store}'}}}}\ndatabase: {{url: '{database}'}}\n");
    let texts: Vec<(String, String)> = NAMES.iter().map(|name| (format!("{name}.yaml"), pipeline(name))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    Service::configured(&config, &[], &files)
}

/// The processes that live, as `service` sees them: the pipelines of each, by whether it is that service itself.
async fn shares(service: &Service) -> Option<Vec<(bool, BTreeSet<String>)>> {
    let answer = reqwest::get(format!("http://{}/api/v1/instances", service.address())).await.ok()?;
    let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
    let names = |one: &Value| -> BTreeSet<String> {
        one["pipelines"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().into()).collect()
    };
    let instances = answer["items"].as_array()?.iter();
    Some(instances.map(|one| (one["is_self"] == true, names(one))).collect())
}

/// The pipelines that `service` runs, once the processes have shared all of them so.
async fn shared(service: &Service, sizes: &[usize]) -> BTreeSet<String> {
    eventually("all pipelines to be shared", async || {
        let shares = shares(service).await?;
        let mut found: Vec<usize> = shares.iter().map(|(_, pipelines)| pipelines.len()).collect();
        found.sort_unstable();
        let own = shares.iter().find(|(is_own, _)| *is_own)?.1.clone();
        let all: BTreeSet<&String> = shares.iter().flat_map(|(_, pipelines)| pipelines).collect();
        (found == sizes && all.len() == NAMES.len()).then_some(own)
    })
    .await
}

/// When each pipeline was first run by another process than before, after `since`.
async fn taken_over(database: &mut AnyConnection, pipelines: &BTreeSet<String>, since: Timestamp) -> Option<Timestamp> {
    let query = "SELECT pipeline, MIN(started_ms) FROM runs WHERE started_ms > $1 AND stage = 'anomaly' \
                 AND outcome = 'success' GROUP BY pipeline";
    let rows: Vec<(String, i64)> = sqlx::query_as(query).bind(since.millis()).fetch_all(database).await.ok()?;
    let first: BTreeMap<String, i64> = rows.into_iter().collect();
    let times: Vec<i64> = pipelines.iter().filter_map(|name| first.get(name)).copied().collect();
    (times.len() == pipelines.len()).then(|| Timestamp::from_millis(times.into_iter().max().unwrap()))
}

/// A scene in `store`.
async fn scene(store: &VictoriaMetrics, ahead: usize) -> Scene {
    let scene = Scene::now(ahead);
    assert_eq!(load(&store.connection(), &scene.frame).await.samples as usize, scene.frame.samples());
    store.flush().await;
    scene
}

/// Every pipeline has scored every point up to `until`, as an undisturbed run would have.
async fn check_scores(store: &VictoriaMetrics, scene: &Scene, until: Timestamp) {
    store.flush().await;
    let reader = QueryRange::new(&store.connection(), 0).unwrap();
    let settles_after = reader.settles_after().await.unwrap();
    for name in NAMES {
        let (_, last) = scene.check_scores(&reader, &pipeline(name), settles_after).await;
        assert!(last + settles_after + Duration::from_secs(4) >= until, "{name} ends at {last}, before {until}");
    }
}

/// Two processes share the pipelines on `url`; one is killed, comes back, and is stopped.
async fn check(url: &str) {
    let store = VictoriaMetrics::start().await;
    let scene = scene(&store, 150).await;
    let mut first = start(store.url(), url);
    shared(&first, &[6]).await;
    let mut second = start(store.url(), url);
    let own = shared(&first, &[3, 3]).await;
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.unwrap();
    let begun = now();
    eventually("passes of all", async || taken_over(&mut database, &names(), begun).await).await;

    first.kill();
    let killed = now();
    let own_runs = async || taken_over(&mut database, &own, killed).await;
    let went_on = eventually("the other to go on", own_runs).await;
    let took = Duration::from_millis(u64::try_from(went_on.millis() - killed.millis()).unwrap());
    assert!(took <= GOES_ON_WITHIN, "the other went on after {took:?}");
    assert_eq!(shared(&second, &[6]).await, names());

    first.start_again();
    let own = shared(&first, &[3, 3]).await;
    assert!(first.stop(), "a service that is told to stop ends well");
    let stopped = now();
    eventually("the other to go on", async || taken_over(&mut database, &own, stopped).await).await;
    let until = now();
    sleep_until(until + Duration::from_secs(4)).await;
    assert!(second.stop(), "a service that is told to stop ends well");

    let query = "SELECT pipeline, stage, tick_ms FROM runs GROUP BY pipeline, stage, tick_ms HAVING COUNT(*) > 1";
    let doubled: Vec<(String, String, i64)> = sqlx::query_as(query).fetch_all(&mut database).await.unwrap();
    assert_eq!(doubled, [], "passes that ran twice");
    let left: Vec<(String,)> = sqlx::query_as("SELECT id FROM instances").fetch_all(&mut database).await.unwrap();
    assert!(left.len() <= 1, "only the process that was killed is left: {left:?}");
    check_scores(&store, &scene, until).await;
    check_doubles(store.url()).await;
    let log = first.log() + &second.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

fn names() -> BTreeSet<String> {
    NAMES.map(String::from).into()
}

/// No sample of a score was written twice.
async fn check_doubles(store: &str) {
    let url = format!("{store}/api/v1/export?match[]=anomaly_score");
    for line in reqwest::get(url).await.unwrap().text().await.unwrap().lines() {
        let series: Value = serde_json::from_str(line).unwrap();
        let mut times: Vec<i64> =
            series["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap()).collect();
        let all = times.len();
        times.sort_unstable();
        times.dedup();
        assert_eq!(times.len(), all, "doubled: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_postgresql_share_the_pipelines_and_take_over() {
    let server = Postgres::start().await;
    check(&server.database("state").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_file_run_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    check(&format!("sqlite:{}", folder.path().join("state.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_passes_go_on() {
    let mut server = Postgres::start().await;
    let store = VictoriaMetrics::start().await;
    let scene = scene(&store, 100).await;
    let url = server.database("state").await;
    let mut service = start(store.url(), &url);
    shared(&service, &[6]).await;
    server.stop();
    let health = eventually("the outage to be seen", async || {
        let health = service.health().await;
        health["database"].is_string().then_some(health)
    });
    assert_eq!(health.await["status"], "degraded");
    let lost = now();
    // Longer than the leases last.
    sleep_until(lost + Duration::from_secs(14)).await;
    server.start_again().await;
    eventually("the database to be seen again", async || {
        let health = service.health().await;
        (health["status"] == "ok" && health["database"].is_null()).then_some(())
    })
    .await;
    let until = now();
    shared(&service, &[6]).await;
    assert!(service.stop());
    check_scores(&store, &scene, until).await;
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(&url).await.unwrap();
    let query = "SELECT COUNT(*) FROM runs WHERE started_ms BETWEEN $1 AND $2";
    let query = sqlx::query_as(query).bind(lost.millis()).bind((lost + Duration::from_secs(10)).millis());
    let (during,): (i64,) = query.fetch_one(&mut database).await.unwrap();
    assert!(during > 0, "what ran meanwhile is recorded afterwards");
}
