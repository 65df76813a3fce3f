//! The service on a real server, from the series that it reads to the alert that fires.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{History, Pipeline};
use tests::{Prometheus, Service, Setup, VictoriaMetrics, load, now, sleep_until};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, Step, Timestamp};

const STEP: Step = Step::from_millis(5000).unwrap();
const SERIES: usize = 500;
const ANOMALOUS: usize = 10;
const DAY: usize = 24 * 60 * 12;
/// How many points lie in the future when the service starts.
const AHEAD: usize = 30;
/// How long after the start the incidents begin.
const INCIDENT: Duration = Duration::from_secs(35);

const PIPELINE: &str = "
name: requests
query: requests_per_second
step: 5s
context_window: 1h
prediction_horizon: 2m
forecast_schedule: 1m
anomaly_schedule: 5s
model: {id: seasonal_naive, parameters: {season: 5m}}
anomaly: {confidence_level: 0.9999, scale: 2}
output: {write_forecast: false}
";

/// A season of 60 points with noise; in the first series, ten times as much from `incident` on.
fn value(row: usize, time: Timestamp, incident: Timestamp) -> f64 {
    let point = time.millis() / STEP.millis();
    let noise = ((point as u64 * 31 + row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1 << 24) as f64;
    let usual = 100.0 + 20.0 * ((point + row as i64) as f64 / 60.0 * std::f64::consts::TAU).sin() + noise;
    if row < ANOMALOUS && time >= incident { usual * 10.0 } else { usual }
}

fn labels(row: usize) -> Labels {
    let metric = Labels::metric("requests_per_second").with("instance", &format!("host-{row}:9100"));
    metric.with("job", "web").with("zone", if row.is_multiple_of(2) { "a" } else { "b" })
}

/// A day of history and the points to come.
struct Scene {
    start: Timestamp,
    incident: Timestamp,
}

impl Scene {
    /// A scene that begins now.
    fn now() -> Self {
        let start = now().floor(STEP);
        Self { start, incident: (start + INCIDENT).floor(STEP) }
    }

    fn frame(&self, first: Timestamp, points: usize) -> Frame {
        let time = |point: usize| first + STEP.times(point);
        let row = |row| (0..points).map(move |point| value(row, time(point), self.incident));
        Frame::new((0..SERIES).map(labels).collect(), first, STEP, points, (0..SERIES).flat_map(row).collect()).unwrap()
    }

    /// Writes everything by remote write, an hour at a time, since Prometheus takes no sample that is older.
    async fn load(&self, connection: &Connection) {
        let first = self.start - STEP.times(DAY);
        for hour in (0..DAY + AHEAD).step_by(360) {
            let frame = self.frame(first + STEP.times(hour), 360.min(DAY + AHEAD - hour));
            let written = load(connection, &frame).await;
            assert_eq!(written.samples as usize, frame.samples(), "{:?}", written.rejected);
        }
    }

    /// What the pipeline must have written of the points from `first` to `last`.
    fn expected(
        &self,
        first: Timestamp,
        last: Timestamp,
        settles_after: Duration,
    ) -> BTreeMap<(String, Labels), Vec<f64>> {
        let mut pipeline = Pipeline::parse(PIPELINE, "test").unwrap();
        pipeline.data_delay = settles_after;
        let model = models::build(&pipeline.model, &models::Resources::default()).unwrap();
        let history = History::of(self.frame(first - STEP.times(1500), 1500 + AHEAD + 20));
        let scored = engine::replay(&pipeline, &*model, &history, first - STEP.duration(), last).unwrap();
        let mut expected = BTreeMap::new();
        for (kind, frame) in scored.named() {
            for (source, values) in frame.rows() {
                let output = source.with("__name__", "").with("source", "requests_per_second");
                let output = output.with("pipeline", "requests").with("model", "seasonal_naive");
                expected.insert((kind.to_string(), output), values.to_vec());
            }
        }
        expected
    }
}

async fn read(reader: &QueryRange, query: String, first: Timestamp, last: Timestamp) -> Frame {
    let query = RangeQuery::new(query, first, last, STEP).unwrap();
    reader.read(&query, &Limits::default()).await.unwrap().frame
}

/// The first and the last point at which `kind` was written, having checked that every series has every point
/// between them, under the right labels, with the value of an undisturbed run.
async fn check_scores(scene: &Scene, reader: &QueryRange) -> (Timestamp, Timestamp) {
    let settles_after = reader.settles_after().await.unwrap();
    let (from, to) = (scene.start - STEP.times(30), scene.start + STEP.times(AHEAD));
    let times = read(reader, "timestamp(anomaly_score)".into(), from, to).await;
    let written = times.values().iter().filter(|seconds| seconds.is_finite());
    let (first, last) = written.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(*at), high.max(*at)));
    let (first, last) = (Timestamp::from_seconds(first as i64), Timestamp::from_seconds(last as i64));
    let expected = scene.expected(first, last, settles_after);
    assert_eq!(expected.len(), 5 * SERIES);
    for kind in ["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"] {
        let times = read(reader, format!("timestamp({kind})"), first, last).await;
        let values = read(reader, kind.into(), first, last).await;
        assert_eq!(values.series().len(), SERIES, "{kind}");
        for (labels, row) in values.rows() {
            let labels = labels.with("__name__", "");
            let want = expected.get(&(kind.into(), labels.clone())).unwrap_or_else(|| panic!("{kind}{labels}?"));
            let at = times.series().iter().position(|known| *known == labels).unwrap();
            for (point, (got, want)) in row.iter().zip(want).enumerate() {
                let time = times.time(point);
                assert_eq!(times.row(at)[point], time.seconds(), "{kind}{labels} is missing at {time}");
                // A store keeps 15 digits of a value, and a narrow band is a small difference of large ones.
                assert!((got - want).abs() <= 1e-7 * want.abs().max(1.0), "{kind}{labels} at {time}: {got} ≠ {want}");
            }
        }
    }
    (first, last)
}

/// Every point of the incident scores above 1, and no other point does.
async fn check_incident(scene: &Scene, reader: &QueryRange, first: Timestamp, last: Timestamp) {
    let scores = read(reader, "anomaly_score".into(), first, last).await;
    for (labels, row) in scores.rows() {
        let is_hit = (0..ANOMALOUS).any(|row| labels.get("instance") == Some(&format!("host-{row}:9100")));
        for (point, score) in row.iter().enumerate() {
            let is_incident = is_hit && scores.time(point) >= scene.incident;
            assert_eq!(*score > 1.0, is_incident, "{labels} scores {score} at {}", scores.time(point));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_series_of_victoria_metrics_get_their_scores() {
    let server = VictoriaMetrics::start().await;
    let scene = Scene::now();
    scene.load(&server.connection()).await;
    server.flush().await;
    let service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    sleep_until(scene.incident + Duration::from_secs(40)).await;
    let metrics = service.metrics().await;
    assert!(metrics.contains("openanomaly_series_tracked{pipeline=\"requests\"} 500"), "{metrics}");
    let mut service = service;
    assert!(service.stop(), "a service that is told to stop ends well");
    server.flush().await;
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let (first, last) = check_scores(&scene, &reader).await;
    assert!(last >= scene.incident + Duration::from_secs(20), "{first} – {last}");
    check_incident(&scene, &reader, first, last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_no_score_is_missing_doubled_or_different() {
    let server = VictoriaMetrics::start().await;
    let scene = Scene::now();
    scene.load(&server.connection()).await;
    server.flush().await;
    let mut service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    let mut kills = 0;
    while now() < scene.start + Duration::from_secs(80) {
        // Not in step with the passes, so that they are hit at different places.
        tokio::time::sleep(Duration::from_millis(17_300 + 1100 * kills)).await;
        service.kill();
        kills += 1;
        service.start_again();
    }
    tokio::time::sleep(Duration::from_secs(25)).await;
    service.stop();
    server.flush().await;
    assert!(kills >= 3);
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let (first, last) = check_scores(&scene, &reader).await;
    assert!(last >= scene.start + Duration::from_secs(85), "{first} – {last}");
    for line in export(server.url()).await.lines() {
        let series: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut times: Vec<i64> =
            series["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap()).collect();
        let all = times.len();
        times.sort_unstable();
        times.dedup();
        assert_eq!(times.len(), all, "doubled: {line}");
    }
}

const RULES: &str = "
groups:
- name: anomalies
  interval: 1s
  rules:
  - alert: Anomaly
    expr: anomaly_score > 1
";

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_prometheus_fires_for_the_incidents_and_not_before() {
    let server = Prometheus::start(&Setup { rules: Some(RULES.into()), ..Setup::default() }).await;
    let scene = Scene::now();
    scene.load(&server.connection()).await;
    let mut service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    sleep_until(scene.incident + Duration::from_secs(30)).await;
    assert!(service.stop());
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let (first, last) = check_scores(&scene, &reader).await;
    check_incident(&scene, &reader, first, last).await;
    let firing = read(&reader, "ALERTS{alertstate=\"firing\"}".into(), first, now()).await;
    assert_eq!(firing.series().len(), ANOMALOUS);
    for (labels, row) in firing.rows() {
        let since = row.iter().position(|value| !value.is_nan()).unwrap();
        assert!(firing.time(since) >= scene.incident, "{labels} fires at {}", firing.time(since));
        assert_eq!(labels.get("source"), Some("requests_per_second"));
    }
}

/// Every sample of every score, as VictoriaMetrics keeps it: a line a series.
async fn export(url: &str) -> String {
    reqwest::get(format!("{url}/api/v1/export?match[]=anomaly_score")).await.unwrap().text().await.unwrap()
}
