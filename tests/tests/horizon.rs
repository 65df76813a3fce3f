//! Forecasts in stores that take the future, and in those that don't.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::time::Duration;

use tests::{Prometheus, Scene, Service, Setup, VictoriaMetrics, eventually, load, now, sleep_until};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Frame, Limits, RangeQuery, Read, Step, Timestamp};

const PIPELINE: &str = "
name: web-requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 15m
forecast_schedule: 10s
anomaly_schedule: 2s
data_delay: 4s
model: {id: seasonal_naive, parameters: {season: 40s}}
output: {write_forecast: true}
";

const STEP: Step = Step::from_millis(2000).unwrap();
const KINDS: [&str; 3] = ["type=\"mean\"", "quantile=\"0.1\"", "quantile=\"0.9\""];

async fn read(reader: &QueryRange, query: &str, first: Timestamp, last: Timestamp) -> Frame {
    let query = RangeQuery::new(query, first, last, STEP).unwrap();
    reader.read(&query, &Limits::default()).await.unwrap().frame
}

/// The points of `frame` from `first` to `last`.
fn cut(frame: &Frame, first: Timestamp, last: Timestamp) -> Frame {
    let (from, to) = (frame.index(first).unwrap(), frame.index(last).unwrap());
    let values = frame.rows().flat_map(|(_, row)| row[from..=to].to_vec()).collect();
    Frame::new(frame.series().to_vec(), first, frame.step(), to - from + 1, values).unwrap()
}

/// Writes the points that lie ahead when their time has come.
async fn live(connection: Connection, scene: Scene) {
    let mut time = scene.start + STEP;
    while time <= scene.end() {
        sleep_until(time).await;
        load(&connection, &cut(&scene.frame, time, time)).await;
        time = time + STEP;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_future_is_refused_a_forecast_stands_at_its_own_time_and_scores_go_on() {
    let server = Prometheus::start(&Setup::default()).await;
    let scene = Scene::now(60);
    load(&server.connection(), &cut(&scene.frame, scene.frame.start(), scene.start)).await;
    let writer = tokio::spawn(live(server.connection(), scene.clone()));
    let mut service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    let until = scene.start + Duration::from_secs(40);
    sleep_until(until + Duration::from_secs(8)).await;
    // Nothing came from the future that would make the server refuse the present.
    let metrics = server.get("/metrics").await.unwrap();
    let newest = metrics.lines().find_map(|line| line.strip_prefix("prometheus_tsdb_head_max_time "));
    let newest: f64 = newest.unwrap().parse().unwrap();
    assert!(newest <= now().millis() as f64, "{newest} lies ahead");
    assert!(service.stop() && !service.log().contains("refused"), "{}", service.log());
    writer.abort();
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let (first, last) = scene.check_scores(&reader, PIPELINE, Duration::ZERO).await;
    assert!(first <= scene.start + Duration::from_secs(10) && last >= until, "{first} – {last}");
    for kind in KINDS {
        let query = format!("openanomaly_web_requests_forecast{{{kind}, horizon=\"15m\", source=\"requests\"}}");
        let made = read(&reader, &format!("timestamp({query})"), scene.start, now()).await;
        assert_eq!(made.series().len(), 5, "{kind}");
        for (labels, row) in made.rows() {
            let mut times: Vec<i64> = row.iter().filter(|time| time.is_finite()).map(|time| *time as i64).collect();
            times.dedup();
            // Forecasts are due every 10 s, and see data that is 4 s old.
            assert!(times.len() >= 4 && times.iter().all(|time| (time + 4) % 10 == 0), "{labels}: {times:?}");
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 10), "{labels}: {times:?}");
        }
    }
    let other = read(&reader, "openanomaly_web_requests_forecast{horizon=\"\"}", scene.start, now()).await;
    assert!(other.is_empty(), "{:?}", other.series());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_future_is_taken_a_forecast_stands_in_it() {
    let server = VictoriaMetrics::start().await;
    let scene = Scene::now(60);
    load(&server.connection(), &scene.frame).await;
    server.flush().await;
    let mut service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    eventually("a forecast", async || {
        let health = service.metrics().await;
        let done = "openanomaly_passes_total{pipeline=\"web-requests\",stage=\"forecast\",outcome=\"success\"}";
        health.contains(done).then_some(())
    })
    .await;
    assert!(service.stop() && !service.log().contains("refused"), "{}", service.log());
    server.flush().await;
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    // The forecast saw data that is a little old, and so ends a little before its horizon from now.
    let (first, last) = (now().ceil(STEP), now() + Duration::from_secs(14 * 60));
    let mut rows = vec![];
    for kind in KINDS {
        let query = format!("openanomaly_web_requests_forecast{{{kind}, source=\"requests\"}}");
        let ahead = read(&reader, &query, first, last).await;
        let times = read(&reader, &format!("timestamp({query})"), first, last).await;
        assert_eq!((ahead.series().len(), times.series().len()), (5, 5), "{kind}");
        assert!(ahead.values().iter().all(|value| value.is_finite()), "{kind}");
        for (labels, row) in times.rows() {
            assert!((0..).zip(row).all(|(at, time)| *time == times.time(at).seconds()), "{labels}: {row:?}");
            assert_eq!(labels.get("horizon"), None);
        }
        rows.push(ahead.row(1).to_vec());
    }
    let [mean, low, high] = [0, 1, 2].map(|kind| &rows[kind]);
    assert!(low.iter().zip(mean).zip(high).all(|((low, mean), high)| low <= mean && mean <= high));
}
