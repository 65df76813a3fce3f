mod receiver;

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use super::*;
use crate::prometheus::connection::{Auth, Retry};
use crate::write::STALE;
use crate::{Labels, Step};
use receiver::{Receiver, Reply};

const NOW: i64 = 1_700_000_000_000;

fn step() -> Step {
    Step::from_millis(60_000).unwrap()
}

fn frame_at(start: i64, rows: &[(&str, &[f64])]) -> Frame {
    let series = rows.iter().map(|(name, _)| name.parse().unwrap()).collect();
    let values = rows.iter().flat_map(|(_, values)| values.iter().copied()).collect();
    Frame::new(series, Timestamp::from_millis(start), step(), rows[0].1.len(), values).unwrap()
}

fn frame(rows: &[(&str, &[f64])]) -> Frame {
    frame_at(NOW, rows)
}

/// `series` series of `points` points each.
fn wide(series: usize, points: usize) -> Frame {
    let labels = (0..series).map(|at| Labels::metric("up").with("at", &at.to_string())).collect();
    let values = (0..series * points).map(|at| at as f64).collect();
    Frame::new(labels, Timestamp::from_millis(NOW), step(), points, values).unwrap()
}

fn connection(url: &str) -> Connection {
    let retry = Retry { attempts: 5, first_wait: Duration::from_millis(1), longest_wait: Duration::from_millis(5) };
    Connection { timeout: Duration::from_millis(500), retry, ..Connection::new(url) }
}

fn writer(url: &str, options: Options) -> RemoteWrite {
    RemoteWrite::new(&connection(url), options).unwrap()
}

fn small(samples_per_request: usize) -> Options {
    Options { samples_per_request, ..Options::default() }
}

fn rejected(written: &Written) -> Vec<(&'static str, u64)> {
    written.rejected.iter().map(|r| (r.reason, r.samples)).collect()
}

#[tokio::test]
async fn a_whole_address_is_used_as_it_is() {
    for (end, line) in [
        ("", "POST /api/v1/write HTTP/1.1"),
        ("/", "POST /api/v1/write HTTP/1.1"),
        ("/api/v1/write", "POST /api/v1/write HTTP/1.1"),
        ("/mimir/api/v1/push", "POST /mimir/api/v1/push HTTP/1.1"),
    ] {
        let receiver = Receiver::answering([]).await;
        let writer = RemoteWrite::new(&connection(&format!("{}{end}", receiver.url)), Options::default()).unwrap();
        writer.write(&[frame(&[("up", &[1.0])])]).await.unwrap();
        assert_eq!(receiver.seen()[0].line, line);
    }
}

#[tokio::test]
async fn a_request_is_as_the_specification_says() {
    let receiver = Receiver::answering([]).await;
    let mut connection = connection(&format!("{}/base", receiver.url));
    let ours = ["content-type", "Content-Encoding", "x-prometheus-remote-write-version", "user-agent"];
    connection.headers = ours.map(|name| (name.to_string(), "other".to_string())).to_vec();
    connection.headers.push(("X-Mine".into(), "kept".into()));
    connection.auth = Auth::Bearer("token".into());
    let writer = RemoteWrite::new(&connection, Options::default()).unwrap();
    let written = writer.write(&[frame(&[(r#"up{z="1", a="π"}"#, &[1.0, f64::NAN, STALE])])]).await.unwrap();
    let seen = receiver.seen();
    assert_eq!((seen.len(), written.samples, written.retries, written.bytes), (1, 2, 0, seen[0].body.len() as u64));
    assert_eq!(seen[0].line, "POST /base/api/v1/write HTTP/1.1");
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("user-agent", concat!("openanomaly/", env!("CARGO_PKG_VERSION"))),
        ("x-mine", "kept"),
        ("authorization", "Bearer token"),
    ] {
        assert_eq!(seen[0].header(name), [value], "{name}");
    }
    let series = &seen[0].request.timeseries[0];
    let names: Vec<_> = series.labels.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["__name__", "a", "z"]);
    let samples: Vec<_> = series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
    assert_eq!(samples, [(NOW, 1.0_f64.to_bits()), (NOW + 120_000, 0x7ff0_0000_0000_0002)]);
}

/// What the writer makes of a row of answers: how many requests it sends, and how the write ends.
async fn check_answers(replies: Vec<Reply>, requests: usize, end: &str) {
    let what = format!("{replies:?}");
    let receiver = Receiver::answering(replies).await;
    let written = writer(&receiver.url, Options::default()).write(&[frame(&[("up", &[1.0])])]).await;
    let seen = receiver.seen();
    assert_eq!(seen.len(), requests, "{what}: {written:?}");
    assert!(seen.iter().all(|request| request.body == seen[0].body), "{what}: the bytes changed");
    match written {
        Ok(written) => {
            assert_eq!((end, written.samples), ("taken", 1), "{what}");
            assert_eq!(written.retries as usize, requests - 1, "{what}");
        }
        Err(error) => {
            assert!(error.to_string().contains(end), "{what}: `{error}` does not say `{end}`");
            assert!(error.to_string().len() < 2000, "{what}: {error}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_sent_again_and_nothing_else_is() {
    let ok = || Reply::status(204, "");
    for code in [200, 202, 204] {
        check_answers(vec![Reply::status(code, "")], 1, "taken").await;
    }
    check_answers(vec![Reply::status(200, "out of order sample")], 1, "taken").await;
    for code in [429, 500, 502, 503, 504, 599] {
        let failed = Reply::status(code, "later");
        check_answers(vec![failed.clone(), ok()], 2, "taken").await;
        check_answers(vec![failed.clone(), failed.clone(), failed.clone(), failed.clone(), ok()], 5, "taken").await;
        check_answers(vec![failed; 9], 5, &format!("status {code}: later")).await;
    }
    for code in [301, 308, 400, 401, 403, 404, 405, 409, 413, 415, 422, 499] {
        check_answers(vec![Reply::status(code, "no such thing")], 1, &format!("status {code}: no such thing")).await;
    }
    check_answers(vec![Reply::status(404, "too old sample")], 1, "status 404: too old").await;
    // The words alone don't make trouble of the server's own a fault of the samples.
    for words in ["temporarily out of order", "index out of bounds"] {
        check_answers(vec![Reply::status(503, words), ok()], 2, "taken").await;
        check_answers(vec![Reply::status(500, words), ok()], 2, "taken").await;
    }
    check_answers(vec![Reply::status(400, &"x".repeat(10 << 20))], 1, "status 400: xxx").await;
}

#[tokio::test]
async fn trouble_on_the_line_is_survived() {
    let ok = || Reply::status(204, "");
    for trouble in [Reply::Close, Reply::Half, Reply::Garbage, Reply::Hang] {
        check_answers(vec![trouble.clone(), ok()], 2, "taken").await;
        check_answers(vec![trouble; 9], 5, "tried 5 times").await;
    }
    check_answers(vec![Reply::Slow, Reply::Close, Reply::status(503, ""), ok()], 4, "taken").await;
    let refused = writer("http://127.0.0.1:1", Options::default()).write(&[frame(&[("up", &[1.0])])]).await;
    assert!(matches!(refused, Err(WriteError::Unreachable { attempts: 5, .. })), "{refused:?}");
    let nowhere = writer("http://no-such-host.invalid", Options::default()).write(&[frame(&[("up", &[1.0])])]).await;
    assert!(matches!(nowhere, Err(WriteError::Unreachable { attempts: 5, .. })), "{nowhere:?}");
    let receiver = Receiver::answering([]).await;
    let mut connection = connection(&receiver.url.replace("http:", "https:"));
    connection.tls.insecure_skip_verify = true;
    let no_tls = RemoteWrite::new(&connection, Options::default()).unwrap().write(&[frame(&[("up", &[1.0])])]).await;
    assert!(matches!(no_tls, Err(WriteError::Unreachable { attempts: 5, .. })), "{no_tls:?}");
    assert_eq!(receiver.seen().len(), 0);
}

#[tokio::test]
async fn retry_after_is_waited_for_in_both_forms() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    for (text, least) in [("1", 1000), (date.as_str(), 1000)] {
        let receiver = Receiver::answering([Reply::retry_after(429, text), Reply::retry_after(503, "0")]).await;
        let begun = Instant::now();
        let written = writer(&receiver.url, Options::default()).write(&[frame(&[("up", &[1.0])])]).await.unwrap();
        assert_eq!((receiver.seen().len(), written.retries), (3, 2));
        assert!(begun.elapsed() >= Duration::from_millis(least), "{text}");
    }
}

#[tokio::test]
async fn requests_are_bounded_and_carry_everything_once() {
    let bytes = |bytes_per_request| Options { bytes_per_request, ..Options::default() };
    for (frame, options, requests) in [
        (wide(10, 10), Options::default(), 1),
        (wide(10, 10), small(100), 1),
        (wide(10, 10), small(99), 2),
        (wide(10, 10), small(10), 10),
        (wide(10, 10), small(3), 40),
        (wide(2, 25_000), Options::default(), 6),
        (wide(20_001, 1), Options { bytes_per_request: usize::MAX, ..Options::default() }, 3),
        (wide(3, 2), bytes(1), 6),
        (wide(100, 1), bytes(500), 13),
        (Frame::empty(Timestamp::default(), step(), 5), Options::default(), 0),
        (frame(&[("up", &[f64::NAN; 3])]), Options::default(), 0),
    ] {
        let receiver = Receiver::answering([]).await;
        let what = format!("{} × {}, {options:?}", frame.series().len(), frame.points());
        let written = writer(&receiver.url, options).write(std::slice::from_ref(&frame)).await.unwrap();
        let seen = receiver.seen();
        assert_eq!(seen.len(), requests, "{what}");
        assert_eq!(written.samples as usize, frame.samples(), "{what}");
        for request in &seen {
            let samples: usize = request.request.timeseries.iter().map(|series| series.samples.len()).sum();
            assert!(samples <= options.samples_per_request && samples > 0, "{what}");
            let plain = snap::raw::decompress_len(&request.body).unwrap();
            assert!(plain <= options.bytes_per_request || samples == 1, "{what}: {plain}");
        }
        let stored = receiver.stored();
        for (labels, values) in frame.rows() {
            let expected: Vec<_> = values.iter().enumerate().map(|(i, v)| (frame.time(i).millis(), *v)).collect();
            assert_eq!(stored.get(&labels.to_string()).cloned().unwrap_or_default(), filled(&expected), "{what}");
        }
    }
}

fn filled(samples: &[(i64, f64)]) -> Vec<(i64, f64)> {
    samples.iter().filter(|(_, value)| !value.is_nan()).copied().collect()
}

#[tokio::test]
async fn a_series_is_never_in_two_requests_at_once_and_stays_in_order() {
    let receiver = Receiver::answering(vec![Reply::Close, Reply::status(503, ""), Reply::Half]).await;
    let writer = writer(&receiver.url, small(7));
    for at in 0..3 {
        let mut later = wide(9, 40).into_parts();
        later.1 = Timestamp::from_millis(NOW + at * 40 * 60_000);
        let frame = Frame::new(later.0, later.1, later.2, later.3, later.4).unwrap();
        let halves = [frame_at(NOW - 1_000_000 + at, &[("other", &[1.0])]), frame];
        let (one, other) = tokio::join!(writer.write(&halves), writer.write(&halves));
        assert_eq!(one.unwrap().samples + other.unwrap().samples, 2 * 361);
    }
    assert!(!receiver.overlapped());
    for (series, samples) in receiver.stored() {
        // Both of the calls carry the same: each part of the range comes twice, in order each time.
        let turns = samples.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count();
        assert!(turns <= 3 && samples.len() == if series == "other" { 6 } else { 240 }, "{series}: {turns}");
    }
}

#[tokio::test]
async fn the_same_series_in_several_frames_is_sent_once_in_order() {
    let receiver = Receiver::answering([]).await;
    let frames = [
        frame_at(NOW + 60_000, &[("up", &[5.0, 6.0, 7.0])]),
        frame_at(NOW + 30_000, &[("up", &[1.0, 2.0]), ("down", &[1.0, 2.0])]),
        frame_at(NOW, &[("up", &[3.0, 4.0, f64::NAN])]),
    ];
    let written = writer(&receiver.url, Options::default()).write(&frames).await.unwrap();
    let up = [(0, 3.0), (30_000, 1.0), (60_000, 4.0), (90_000, 2.0), (120_000, 6.0), (180_000, 7.0)];
    assert_eq!(receiver.stored()["up"], up.map(|(time, value)| (NOW + time, value)));
    assert_eq!((receiver.seen().len(), written.samples), (1, 8));
}

#[tokio::test]
async fn series_with_invalid_labels_are_counted_and_keep_no_other_back() {
    let receiver = Receiver::answering([]).await;
    let rows: [(&str, &[f64]); 5] =
        [("up", &[1.0]), ("9up", &[1.0]), (r#"{a="1"}"#, &[1.0]), (r#"up{a-b="1"}"#, &[1.0]), ("a:b", &[1.0])];
    let written = writer(&receiver.url, Options::default()).write(&[frame(&rows)]).await.unwrap();
    assert_eq!((written.samples, rejected(&written)), (2, vec![("invalid_label", 3)]));
    assert!(written.rejected[0].message.contains("`9up` is no metric name"), "{}", written.rejected[0].message);
    let mut names: Vec<_> = receiver.stored().into_keys().collect();
    names.sort();
    assert_eq!(names, ["a:b", "up"]);
}

/// A store that refuses a whole request for one sample, as Prometheus does; answers what it took.
async fn check_salvage(
    frame: &Frame,
    status: u16,
    refuse: impl Fn(&str, i64, i64) -> Option<&'static str> + Send + 'static,
    most_requests: usize,
    expected: &[(&'static str, u64)],
) {
    let mut last: HashMap<String, i64> = HashMap::new();
    let receiver = Receiver::start(move |_, request| {
        for series in &request.timeseries {
            let name = receiver::name(series);
            let newest = last.get(&name).copied().unwrap_or(i64::MIN);
            for sample in &series.samples {
                if let Some(words) = refuse(&name, sample.timestamp, newest) {
                    return Reply::status(status, words);
                }
            }
        }
        for series in &request.timeseries {
            last.insert(receiver::name(series), series.samples[series.samples.len() - 1].timestamp);
        }
        Reply::status(204, "")
    })
    .await;
    let written = writer(&receiver.url, Options::default()).write(std::slice::from_ref(frame)).await.unwrap();
    let mut refused = rejected(&written);
    refused.sort_unstable();
    assert_eq!(refused, expected);
    let lost: u64 = expected.iter().map(|(_, samples)| samples).sum();
    assert_eq!(written.samples + lost, frame.samples() as u64);
    let stored: usize = receiver.stored().values().map(Vec::len).sum();
    assert_eq!(stored as u64, written.samples);
    let requests = receiver.seen().len();
    assert!(requests <= most_requests, "{requests} requests");
}

#[tokio::test]
async fn what_can_be_taken_of_a_refused_request_is_written() {
    let at = |minutes: i64| NOW + minutes * 60_000;
    // One poisoned series among a thousand.
    let one = |name: &str, _, _| (name == r#"up{at="500"}"#).then_some("out of order sample");
    check_salvage(&wide(1000, 1), 400, one, 25, &[("out_of_order", 1)]).await;
    // Everything before a time is too old, with the status that Prometheus gives it.
    let old = move |_: &str, time, _| (time < at(20)).then_some("too old sample");
    check_salvage(&wide(5, 60), 500, old, 250, &[("too_old", 100)]).await;
    let old = move |name: &str, time, _| (name == r#"up{at="3"}"# && time < at(20)).then_some("too old sample");
    check_salvage(&wide(10, 60), 500, old, 60, &[("too_old", 20)]).await;
    // Thanos says it with another status.
    let one = |name: &str, _, _| (name == r#"up{at="500"}"#).then_some("out of order sample");
    check_salvage(&wide(1000, 1), 409, one, 25, &[("out_of_order", 1)]).await;
    let bounds = move |_: &str, time, _| (time <= at(0)).then_some("out of bounds");
    check_salvage(&wide(1000, 1), 400, bounds, 15, &[("too_old", 1000)]).await;
    // Everything after a time is too far ahead.
    let far = move |_: &str, time, _| {
        (time > at(40)).then_some("out of bounds: timestamp is too far in the future, err-mimir-too-far-in-future")
    };
    check_salvage(&wide(50, 60), 400, far, 70, &[("too_far_ahead", 950)]).await;
    // The value of one time is another than it was.
    let double = move |name: &str, time, _| {
        (name == r#"up{at="3"}"# && time == at(17)).then_some("duplicate sample for timestamp")
    };
    check_salvage(&wide(20, 60), 400, double, 40, &[("duplicate", 1)]).await;
    // The beginning of a series is there already; nothing is taken behind what was taken.
    let behind = move |_: &str, time, newest| (time <= at(9).max(newest)).then_some("out of order sample");
    check_salvage(&wide(3, 30), 400, behind, 66, &[("out_of_order", 30)]).await;
}

#[tokio::test]
async fn salvage_ends_even_where_everything_is_refused() {
    let all = |_: &str, _, _| Some("out of order sample");
    let most = salvage::REQUESTS as usize + 1;
    check_salvage(&wide(1000, 5), 400, all, most, &[("out_of_order", 5000)]).await;
    check_salvage(&wide(1, 5000), 400, all, 220, &[("out_of_order", 5000)]).await;
    let double = |_: &str, _, _| Some("duplicate sample for timestamp");
    check_salvage(&wide(1, 5000), 400, double, most, &[("duplicate", 5000)]).await;
}

#[tokio::test]
async fn what_is_too_far_ahead_is_learnt() {
    let start = now();
    let limit = start + Duration::from_secs(630);
    let receiver = Receiver::start(move |_, request| {
        let far = request.timeseries.iter().flat_map(|s| &s.samples).any(|s| s.timestamp > limit.millis());
        if far { Reply::status(400, "timestamp is too far in the future") } else { Reply::status(204, "") }
    })
    .await;
    let options = Options { takes_ahead: Some(Duration::from_secs(3600)), ..Options::default() };
    let writer = writer(&receiver.url, options);
    assert_eq!(writer.takes_ahead().await, Duration::from_secs(3600));
    let far = frame_at(start.millis(), &[("up", &[1.0; 30])]);
    let first = writer.write(std::slice::from_ref(&far)).await.unwrap();
    let took = receiver.seen().len();
    assert!(took > 1 && rejected(&first)[0].0 == "too_far_ahead");
    let second = writer.write(std::slice::from_ref(&far)).await.unwrap();
    assert_eq!((receiver.seen().len() - took, &second.rejected), (1, &first.rejected));
    assert_eq!(writer.takes_ahead().await, Duration::from_secs(600));
}

#[tokio::test]
async fn who_takes_samples_ahead_is_asked_once() {
    let two_days = Duration::from_secs(172_800);
    for (metrics, takes) in [
        ("vm_rows_ignored_total{reason=\"big_timestamp\"} 0\n", two_days),
        ("prometheus_build_info{} 1\n", Duration::ZERO),
        ("", Duration::ZERO),
    ] {
        let receiver = Receiver::answering([Reply::status(200, metrics)]).await;
        let writer = writer(&receiver.url, Options::default());
        assert_eq!((writer.takes_ahead().await, writer.takes_ahead().await), (takes, takes), "{metrics}");
        let lines: Vec<_> = receiver.seen().into_iter().map(|seen| seen.line).collect();
        assert_eq!(lines, ["GET /metrics HTTP/1.1"]);
    }
    assert_eq!(writer("http://127.0.0.1:1", Options::default()).takes_ahead().await, Duration::ZERO);
    let cluster = Connection { tenant: Some(Tenant::VictoriaMetrics("1".into())), ..connection("http://127.0.0.1:1") };
    assert_eq!(RemoteWrite::new(&cluster, Options::default()).unwrap().takes_ahead().await, two_days);
}
