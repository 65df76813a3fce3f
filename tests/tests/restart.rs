//! The service on its own store, killed and started again.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::path::Path;
use std::time::Duration;

use tests::{Scene, Service, eventually, now, sleep_until};
use tsdb::embedded::{Embedded, EmbeddedOptions};
use tsdb::{Write, Written};

const PIPELINE: &str = "
name: requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 1m
forecast_schedule: 10s
anomaly_schedule: 2s
model: {id: seasonal_naive, parameters: {season: 40s}}
";

/// The store, as soon as nobody else holds it.
async fn open(folder: &Path) -> Embedded {
    eventually("the store", async || Embedded::open(folder, &EmbeddedOptions::default()).ok()).await
}

/// Writes the scene into a store in `folder`, which is closed again: one process at a time can open it.
async fn fill(folder: &Path, scene: &Scene) {
    let store = open(folder).await;
    let Written { samples, rejected, .. } = store.write(std::slice::from_ref(&scene.frame)).await.unwrap();
    assert_eq!((samples as usize, rejected), (scene.frame.samples(), vec![]));
    store.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_outlives_kill_9_and_no_score_is_missing_or_different() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let scene = Scene::now(90);
    fill(&path, &scene).await;
    let config = format!("datasources: {{default: {{path: '{}'}}}}\n", path.display());
    let mut service = Service::configured(&config, &[], &[("requests.yaml", PIPELINE)]);
    let mut kills = 0;
    while now() < scene.start + Duration::from_secs(25) {
        // Not in step with the passes, so that they are hit at different places.
        tokio::time::sleep(Duration::from_millis(5300 + 700 * kills)).await;
        service.kill();
        kills += 1;
        service.start_again();
    }
    let until = now();
    sleep_until(until + Duration::from_secs(6)).await;
    let health = service.health().await;
    assert_eq!(health["status"], "ok", "{health}");
    assert!(service.stop() && kills >= 3, "a service that is told to stop ends well");
    let log = service.log();
    let is_well = ["ERROR", "panicked", "could not be found out"].iter().all(|trouble| !log.contains(trouble));
    assert!(is_well, "{log}");
    assert_eq!(log.matches("takes up where an earlier run ended").count() as u64, kills, "{log}");
    let store = open(&path).await;
    let (first, last) = scene.check_scores(&store, PIPELINE, Duration::ZERO).await;
    assert!(first <= scene.start + Duration::from_secs(10), "begins at {first}, not at {}", scene.start);
    assert!(last >= until, "ends at {last}, before {until}");
}
