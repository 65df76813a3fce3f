//! What real receivers make of samples that they don't take.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::{Prometheus, Setup, VictoriaMetrics, load};
use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{QueryRange, RemoteWrite};
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, Step, Timestamp, Write, Written};

fn step() -> Step {
    Step::from_millis(60_000).unwrap()
}

/// The grid point `minutes` from now.
fn at(minutes: i64) -> Timestamp {
    let now = Timestamp::from_millis(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(now.floor(step()).millis() + minutes * 60_000)
}

/// `series` series `up{at="0"}` and on, each with `values` from `start`.
fn frame(start: Timestamp, series: std::ops::Range<usize>, values: &[f64]) -> Frame {
    let labels: Vec<_> = series.map(|at| Labels::metric("up").with("at", &at.to_string())).collect();
    let values = values.repeat(labels.len());
    let points = values.len() / labels.len();
    Frame::new(labels, start, step(), points, values).unwrap()
}

fn rejected(written: &Written) -> Vec<(&'static str, u64)> {
    written.rejected.iter().map(|r| (r.reason, r.samples)).collect()
}

async fn check_prometheus(setup: Setup, first: Frame, second: Frame, taken: u64, refused: (&'static str, u64)) {
    let server = Prometheus::start(&setup).await;
    let before = load(&server.connection(), &first).await;
    assert_eq!((before.samples as usize, before.rejected), (first.samples(), vec![]));
    let written = load(&server.connection(), &second).await;
    assert_eq!((written.samples, rejected(&written)), (taken, vec![refused]), "{written:?}");
    let reader = QueryRange::new(&server.connection(), 1).unwrap();
    let query = RangeQuery::new("last_over_time(up[1ms])", at(-200), at(0), step()).unwrap();
    let frame = reader.read(&query, &Limits::default()).await.unwrap().frame;
    assert_eq!(frame.samples() as u64, first.samples() as u64 + taken);
}

#[tokio::test]
async fn prometheus_takes_the_others_of_a_request_with_samples_out_of_order() {
    // Three of a hundred series are there already, newer: of each, two samples come too late.
    let (first, second) = (frame(at(-3), 40..43, &[1.0]), frame(at(-5), 0..100, &[2.0, 3.0]));
    check_prometheus(Setup::default(), first, second, 2 * 97, ("out_of_order", 6)).await;
}

#[tokio::test]
async fn prometheus_takes_what_lies_within_its_bounds() {
    // A sample for now moves the bound to an hour ago.
    let (first, second) = (frame(at(0), 500..501, &[1.0]), frame(at(-120), 0..20, &[2.0; 100]));
    check_prometheus(Setup::default(), first, second, 20 * 40, ("too_old", 20 * 60)).await;
}

#[tokio::test]
async fn prometheus_takes_the_others_of_a_request_with_another_value_for_a_time() {
    let (first, second) = (frame(at(-3), 7..8, &[1.0]), frame(at(-3), 0..50, &[2.0, 3.0]));
    check_prometheus(Setup::default(), first, second, 2 * 49 + 1, ("duplicate", 1)).await;
}

#[tokio::test]
async fn prometheus_with_a_window_takes_what_lies_in_it() {
    let setup = Setup { out_of_order_window: Some(Duration::from_secs(1800)), ..Setup::default() };
    let (first, second) = (frame(at(0), 0..2, &[1.0]), frame(at(-85), 0..2, &[2.0; 80]));
    let server = Prometheus::start(&setup).await;
    load(&server.connection(), &first).await;
    let written = load(&server.connection(), &second).await;
    let (reason, lost) = rejected(&written)[0];
    assert_eq!((reason, written.samples + lost), ("too_old", 160), "{written:?}");
    assert!((2 * 22..=2 * 26).contains(&written.samples), "{written:?}");
}

#[tokio::test]
async fn victoria_metrics_takes_two_days_ahead_and_prometheus_nothing() {
    let victoria_metrics = VictoriaMetrics::start().await;
    let prometheus = Prometheus::start(&Setup::default()).await;
    for (connection, days) in [(victoria_metrics.connection(), 2), (prometheus.connection(), 0)] {
        let writer = RemoteWrite::new(&connection, Options::default()).unwrap();
        assert_eq!(writer.takes_ahead().await, Duration::from_secs(days * 86_400));
    }
}

#[tokio::test]
async fn remote_write_and_import_lead_to_the_same_answer() {
    let values = [1.0, 0.1, f64::NAN, -3.5];
    let frame = frame(at(-10), 0..30, &values);
    let mut answers = vec![];
    for by_import in [true, false] {
        let server = VictoriaMetrics::start().await;
        if by_import {
            server.import(&frame).await;
        } else {
            load(&server.connection(), &frame).await;
        }
        server.flush().await;
        let reader = QueryRange::new(&server.connection(), 1).unwrap();
        let query = RangeQuery::new("sort(last_over_time(up[1ms]))", frame.start(), frame.end(), step()).unwrap();
        let answer = reader.read(&query, &Limits::default()).await.unwrap().frame;
        assert_eq!((answer.series().len(), answer.samples()), (30, 90));
        let mut rows: Vec<String> = answer.rows().map(|(labels, row)| format!("{labels} {row:?}")).collect();
        rows.sort();
        answers.push(rows);
    }
    assert_eq!(answers[0], answers[1]);
}
