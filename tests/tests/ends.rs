//! Series that end and series that just stop, on real servers: scores that end, and what is missing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::time::Duration;

use engine::output::SCORE_KINDS;
use serde_json::Value;
use tests::{Prometheus, Service, Setup, VictoriaMetrics, eventually, load, now};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, STALE, Step, Timestamp};

const PIPELINE: &str = "
name: requests
query: requests
step: 5s
context_window: 15m
prediction_horizon: 2m
forecast_schedule: 1m
anomaly_schedule: 5s
model: {id: seasonal_naive, parameters: {season: 1m}}
output: {write_forecast: false}
";

const STEP: Step = Step::from_millis(5000).unwrap();
/// What lies behind when the service starts, and what lies ahead.
const BEHIND: usize = 180;
const AHEAD: usize = 60;
/// How long after the start the first series ends: by then the service is at work.
const END: Duration = Duration::from_secs(30);
/// How long before the start the second one was seen last. After five minutes it is missing.
const STOP: Duration = Duration::from_secs(255);

fn series(what: &str) -> Labels {
    Labels::metric("requests").with("series", what)
}

fn value(time: Timestamp) -> f64 {
    let point = time.millis() / STEP.millis();
    let noise = ((point as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1 << 24) as f64;
    100.0 + 10.0 * (point as f64 / 12.0 * std::f64::consts::TAU).sin() + noise
}

/// A frame of series, each with the value of a time that it is given.
fn frame(first: Timestamp, points: usize, rows: &[(&str, &dyn Fn(Timestamp) -> f64)]) -> Frame {
    let times = || (0..points).map(|point| first + STEP.times(point));
    let values = rows.iter().flat_map(|(_, value)| times().map(value)).collect();
    Frame::new(rows.iter().map(|(name, _)| series(name)).collect(), first, STEP, points, values).unwrap()
}

/// The series that end, stop and go on; a server that looks back shows the second one for as long as `lookback`.
fn scene(start: Timestamp, lookback: Duration) -> Frame {
    let ends = |time| match time {
        time if time < start + END => value(time),
        time if time == start + END => STALE,
        _ => f64::NAN,
    };
    let stops = |time| if time <= start - STOP - lookback { value(time) } else { f64::NAN };
    frame(start - STEP.times(BEHIND), BEHIND + AHEAD, &[("ends", &ends), ("stops", &stops), ("goes on", &value)])
}

/// The series of the metric that had this value at any time since `start`.
async fn with_value(reader: &QueryRange, metric: &str, wanted: f64, start: Timestamp) -> Vec<Labels> {
    let query = RangeQuery::new(format!("{metric} == {wanted}"), start, now(), STEP).unwrap();
    let frame = reader.read(&query, &Limits::default()).await.unwrap().frame;
    frame.series().iter().map(|labels| labels.with("__name__", "")).collect()
}

/// Starts the service on a server that holds the scene, and waits until it has said of each series what has become of it;
/// `flush` makes visible what was written.
async fn check(url: &str, connection: &Connection, start: Timestamp, flush: impl AsyncFn()) {
    let reader = QueryRange::new(connection, 0).unwrap();
    let service = Service::start(url, &[("requests.yaml", PIPELINE)]);
    let stops = series("stops").with("__name__", "").with("pipeline", "requests").with("model", "seasonal_naive");
    let stops = stops.with("source", "requests");
    eventually("the end of a series", async || service.log().contains("series have ended").then_some(())).await;
    let missing = eventually("a series that is missing", async || {
        flush().await;
        Some(with_value(&reader, "missing", 1.0, start).await).filter(|missing| !missing.is_empty())
    });
    assert_eq!(missing.await, std::slice::from_ref(&stops));
    let metrics = service.metrics().await;
    for line in [
        "openanomaly_series_missing{pipeline=\"requests\"} 1",
        "openanomaly_series_ended_total{pipeline=\"requests\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(with_value(&reader, "missing", 0.0, start).await.is_empty());
    let log = service.log();
    let says = |level: &str, text: &str, series: &str| {
        let is_it = |line: &&str| line.contains(level) && line.contains(text) && line.contains(series);
        assert_eq!(log.lines().filter(is_it).count(), 1, "{text}: {log}");
    };
    says("INFO", "series have ended", "ends");
    says("WARN", "series are missing", "stops");
    check_marks(&reader, start).await;
    load(connection, &frame(now().floor(STEP), 30, &[("stops", &value)])).await;
    let back = eventually("a series that has come again", async || {
        flush().await;
        Some(with_value(&reader, "missing", 0.0, start).await).filter(|back| !back.is_empty())
    });
    assert_eq!(back.await, [stops]);
    eventually("no series that is missing", async || {
        service.metrics().await.contains("openanomaly_series_missing{pipeline=\"requests\"} 0\n").then_some(())
    })
    .await;
    let log = service.log();
    assert!(log.contains("have come again") && !log.contains("could not be found out"), "{log}");
}

/// The scores of the series that has ended, and of no other, are marked right behind the last of them.
async fn check_marks(reader: &QueryRange, start: Timestamp) {
    for kind in SCORE_KINDS {
        let query = RangeQuery::new(kind, start, start + END + Duration::from_secs(60), STEP).unwrap();
        let marks = reader.ended(&query, &Limits::default()).await.unwrap().unwrap();
        let [labels] = marks.series() else { panic!("{kind}: {:?}", marks.series()) };
        assert_eq!((labels.name(), labels.get("series")), (kind, Some("ends")));
        let first = marks.row(0).iter().position(|mark| !mark.is_nan()).unwrap();
        assert_eq!(marks.time(first), start + END, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_victoria_metrics() {
    let server = VictoriaMetrics::start().await;
    let start = now().floor(STEP);
    load(&server.connection(), &scene(start, Duration::ZERO)).await;
    server.flush().await;
    check(server.url(), &server.connection(), start, async || server.flush().await).await;
    // As it is kept: one marker, the last sample of all.
    for kind in SCORE_KINDS {
        let url = format!("{}/api/v1/export?match[]={kind}{{series=\"ends\"}}", server.url());
        let export = reqwest::get(url).await.unwrap().text().await.unwrap();
        let kept: Value = serde_json::from_str(&export).unwrap();
        let mut samples: Vec<(i64, bool)> = std::iter::zip(
            kept["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap()),
            kept["values"].as_array().unwrap().iter().map(Value::is_null),
        )
        .collect();
        samples.sort_unstable();
        let marks: Vec<i64> = samples.iter().filter(|(_, is_mark)| *is_mark).map(|(time, _)| *time).collect();
        assert_eq!(marks, [(start + END).millis()], "{kind}: {export}");
        assert_eq!(samples.last().unwrap().0, marks[0], "{kind}: {export}");
        assert!(samples.len() > 1, "{kind}: {export}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_prometheus() {
    let server = Prometheus::start(&Setup::default()).await;
    let start = now().floor(STEP);
    load(&server.connection(), &scene(start, Duration::from_secs(300))).await;
    check(server.url(), &server.connection(), start, async || ()).await;
}
