//! Every store that is read and written answers the same suite. A new one is one more test at the end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tests::{Prometheus, Setup, VictoriaMetrics, now};
use tsdb::embedded::{Embedded, EmbeddedOptions};
use tsdb::file::{File, FileOptions, csv, parquet};
use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Connection, QueryRange, RemoteWrite};
use tsdb::{
    Answer, Bound, Frame, FrameBuilder, Labels, Limits, RangeQuery, Read, ReadError, ReadFault, Step, Timestamp, Write,
    WriteError, Written,
};

/// A store, and what is particular to it.
struct Adapter<'a> {
    read: &'a dyn Read,
    write: &'a dyn Write,
    /// The query for the samples of a metric as they were written: carried over no gap.
    exact: fn(&str) -> String,
    /// By what part of itself a value may come back changed.
    tolerance: f64,
    /// Whether it can tell which series have ended.
    tells_ends: bool,
}

/// A file can only be read: what is written becomes a file for each metric, by our own writer of the format.
struct Files {
    folder: tempfile::TempDir,
    write_long: fn(&Frame, fs::File) -> std::io::Result<()>,
    frames: Mutex<Vec<Frame>>,
}

impl Files {
    fn new(write_long: fn(&Frame, fs::File) -> std::io::Result<()>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), write_long, frames: Mutex::default() }
    }

    /// What columns hold can't be seen from their cells alone: a label may be a number.
    fn options(frame: &Frame) -> FileOptions {
        let labels: BTreeSet<&str> =
            frame.series().iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        let labels = labels.into_iter().map(String::from).collect();
        FileOptions { time: Some("timestamp".into()), value: Some("value".into()), labels, ..FileOptions::default() }
    }
}

#[async_trait]
impl Write for Files {
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError> {
        let mut known = self.frames.lock().unwrap();
        for frame in frames {
            match known.iter_mut().find(|known| known.series()[0].name() == frame.series()[0].name()) {
                Some(before) => *before = joined(before, frame),
                None => known.push(frame.clone()),
            }
        }
        let samples = frames.iter().map(|frame| frame.samples() as u64).sum();
        Ok(Written { samples, ..Written::default() })
    }

    async fn takes_ahead(&self) -> Duration {
        Duration::MAX
    }
}

#[async_trait]
impl Read for Files {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        let frames = self.frames.lock().unwrap().clone();
        // A file without the metric answers for those that nobody wrote.
        let frame = frames.iter().find(|frame| frame.series()[0].name() == query.query()).unwrap_or(&frames[0]);
        let path = self.folder.path().join("series");
        (self.write_long)(frame, fs::File::create(&path).unwrap()).unwrap();
        File::open(&path, &Self::options(frame)).unwrap().read(query, limits).await
    }
}

/// Both frames in one.
fn joined(a: &Frame, b: &Frame) -> Frame {
    let (start, end) = (a.start().min(b.start()), a.end().max(b.end()));
    let points = (end.millis() - start.millis()) / a.step().millis() + 1;
    let mut builder = FrameBuilder::new(start, a.step(), points as usize);
    for frame in [a, b] {
        for (labels, values) in frame.rows() {
            let row = builder.row(labels);
            for (point, value) in values.iter().enumerate() {
                builder.set(row, frame.time(point), *value);
            }
        }
    }
    builder.finish()
}

/// Writes frames and reads them back, makes mistakes and reads the errors; `visible` waits until what was written
/// can be read.
async fn suite(adapter: &Adapter<'_>, visible: impl AsyncFn()) {
    let start = (now() - minutes(25).duration()).floor(minutes(1));
    let whole = [odd_labels(start), odd_values(start), many_points(start)];
    for frame in &whole {
        write(adapter, frame).await;
    }
    let (early, late) = coming_and_going(start);
    write(adapter, &early).await;
    write(adapter, &late).await;
    let ends = ending(start);
    adapter.write.write(std::slice::from_ref(&ends)).await.unwrap();
    visible().await;
    for frame in &whole {
        check_same(adapter, frame).await;
    }
    check_came_and_went(adapter, &early, &late).await;
    check_ends(adapter, &ends).await;
    check_nothing(adapter, start).await;
    check_refusals(adapter, &whole[0]).await;
}

fn minutes(count: i64) -> Step {
    Step::from_millis(count * 60_000).unwrap()
}

fn frame(start: Timestamp, step: Step, rows: Vec<(Labels, Vec<f64>)>) -> Frame {
    let points = rows[0].1.len();
    let (series, values): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    Frame::new(series, start, step, points, values.concat()).unwrap()
}

fn odd_labels(start: Timestamp) -> Frame {
    let metric = Labels::metric("suite:labels");
    let series = vec![
        metric.clone(),
        metric.with("unicode", "π ≠ 💥 été"),
        metric.with("quotes", r#"a "b" \c\ 'd'"#).with("lines", "a\nb\tc\r\n"),
        metric.with("braces", "{}[](),=~!"),
        metric.with("space", " "),
        metric.with("long", &"x".repeat(1000)),
        metric.with("_under", "1").with("UPPER", "2").with("n0", "3"),
    ];
    frame(start, minutes(1), series.into_iter().zip((0..).map(|at| vec![f64::from(at), 0.5])).collect())
}

fn odd_values(start: Timestamp) -> Frame {
    let gap = f64::NAN;
    let rows = [
        ("gaps", [gap, 1.0, gap, gap, 2.0, gap]),
        ("negative", [-1.0, -0.5, 0.0, 0.5, -1e6, 3.0]),
        ("tiny", [1e-300, 2e-300, gap, -1e-300, 5e-300, 1e-300]),
        ("huge", [1e300, -2e300, 1.7e300, gap, 1e300, 1e300]),
        ("fine", [0.1, 1.0 / 3.0, 0.123_456_789_012_345, 99.999_999, 1.000_000_1, 0.2]),
        ("zero", [0.0; 6]),
    ];
    let metric = Labels::metric("suite_values");
    frame(start, minutes(1), rows.map(|(kind, values)| (metric.with("kind", kind), values.to_vec())).to_vec())
}

/// More points than Prometheus answers in one request.
fn many_points(start: Timestamp) -> Frame {
    let values = (0..12_000).map(|at| if at % 1000 == 7 { f64::NAN } else { f64::from(at) }).collect();
    frame(start, Step::from_millis(100).unwrap(), vec![(Labels::metric("suite_points"), values)])
}

fn coming_and_going(start: Timestamp) -> (Frame, Frame) {
    let metric = Labels::metric("suite_changes");
    let [stays, goes, comes] = ["stays", "goes", "comes"].map(|name| metric.with("which", name));
    let early = vec![(stays.clone(), vec![1.0, 2.0]), (goes, vec![3.0, 4.0])];
    let late = vec![(stays, vec![5.0, 6.0]), (comes, vec![7.0, 8.0])];
    (frame(start, minutes(1), early), frame(start + minutes(2), minutes(1), late))
}

/// Samples every 20 s, of series of two metrics: some get a stale marker, some just stop, one comes again.
fn ending(start: Timestamp) -> Frame {
    let row = |metric: &str, how: &str, marked: Option<usize>, gap: std::ops::Range<usize>| {
        let value = |at| {
            if Some(at) == marked {
                tsdb::STALE
            } else if gap.contains(&at) {
                f64::NAN
            } else {
                1.0
            }
        };
        (Labels::metric(metric).with("how", how), (0..72).map(value).collect())
    };
    let rows = vec![
        row("suite_ends", "ends", Some(20), 20..72),
        row("suite_ends", "ends late", Some(27), 21..72),
        row("suite_ends", "stops", None, 20..72),
        row("suite_ends", "comes again", Some(20), 21..30),
        row("suite_ends", "goes on", None, 0..0),
        row("suite_ends_too", "goes on", Some(23), 23..72),
        row("suite_ends_too", "ends", None, 0..0),
    ];
    frame(start, Step::from_millis(20_000).unwrap(), rows)
}

/// The series that are known to have ended after the samples `after`, from there until `last`.
async fn ended(adapter: &Adapter<'_>, query: &str, step: i64, (after, last): (Timestamp, Timestamp)) -> Vec<String> {
    let after = after + Duration::from_millis(1);
    let query = RangeQuery::new(query, after, last, Step::from_millis(step).unwrap()).unwrap();
    let frame = adapter.read.ended(&query, &Limits::default()).await.unwrap().unwrap();
    assert_eq!((frame.start(), frame.end(), frame.step()), (query.start(), query.end(), query.step()));
    let marked = frame.rows().filter(|(_, row)| row.iter().any(|value| !value.is_nan()));
    let mut names: Vec<String> = marked.map(|(labels, _)| labels.to_string()).collect();
    names.sort();
    names
}

async fn check_ends(adapter: &Adapter<'_>, ends: &Frame) {
    let range = (ends.time(19), ends.time(71));
    if !adapter.tells_ends {
        let query = RangeQuery::new("suite_ends", range.0, range.1, minutes(1)).unwrap();
        assert!(adapter.read.ended(&query, &Limits::default()).await.unwrap().is_none());
        return;
    }
    let [again, late, first, other] = [("", "comes again"), ("", "ends late"), ("", "ends"), ("_too", "goes on")]
        .map(|(metric, how)| format!("suite_ends{metric}{{how=\"{how}\"}}"));
    for step in [20_000, 60_000, 300_000] {
        let found = ended(adapter, "suite_ends", step, range).await;
        assert_eq!(found, [&again, &late, &first].map(String::clone), "every {step} ms");
        let found = ended(adapter, "{__name__=~\"suite_ends.*\"}", step, range).await;
        assert_eq!(found, [&other, &again, &late, &first].map(String::clone), "every {step} ms");
    }
    // What came again has not ended since.
    let found = ended(adapter, "suite_ends", 60_000, (ends.time(30), ends.time(71))).await;
    assert!(!found.contains(&again), "{found:?}");
    let found = ended(adapter, "suite_ends{how!~\"ends.*|comes.*\"}", 60_000, range).await;
    assert!(found.is_empty(), "{found:?}");
}

async fn write(adapter: &Adapter<'_>, frame: &Frame) {
    let written = adapter.write.write(std::slice::from_ref(frame)).await.unwrap();
    assert_eq!((written.samples as usize, written.rejected), (frame.samples(), vec![]));
}

async fn read(adapter: &Adapter<'_>, metric: &str, like: &Frame, points: usize) -> Frame {
    let end = like.time(points - 1);
    let query = RangeQuery::new((adapter.exact)(metric), like.start(), end, like.step()).unwrap();
    let answer = adapter.read.read(&query, &Limits::default()).await.unwrap();
    assert_eq!((answer.frame.start(), answer.frame.points()), (like.start(), points));
    answer.frame
}

fn row<'a>(frame: &'a Frame, labels: &Labels) -> &'a [f64] {
    let found = frame.rows().find(|(known, _)| *known == labels);
    found.unwrap_or_else(|| panic!("{labels} is not among {:?}", frame.series())).1
}

fn is_near(a: f64, b: f64, tolerance: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs()
}

async fn check_same(adapter: &Adapter<'_>, frame: &Frame) {
    let came = read(adapter, frame.series()[0].name(), frame, frame.points()).await;
    assert_eq!(came.series().len(), frame.series().len(), "{:?}", came.series());
    for (labels, values) in frame.rows() {
        for (at, (&a, &b)) in row(&came, labels).iter().zip(values).enumerate() {
            assert!(is_near(a, b, adapter.tolerance), "{labels} at {at}: {a:e} instead of {b:e}");
        }
    }
}

async fn check_came_and_went(adapter: &Adapter<'_>, early: &Frame, late: &Frame) {
    let came = read(adapter, "suite_changes", early, 4).await;
    assert_eq!(came.series().len(), 3);
    for frame in [early, late] {
        let from = came.index(frame.start()).unwrap();
        for (labels, values) in frame.rows() {
            assert_eq!(row(&came, labels)[from..from + 2], *values, "{labels}");
        }
    }
    assert!(row(&came, &early.series()[1])[2..].iter().all(|value| value.is_nan()));
    assert!(row(&came, &late.series()[1])[..2].iter().all(|value| value.is_nan()));
}

async fn check_nothing(adapter: &Adapter<'_>, start: Timestamp) {
    for query in [(adapter.exact)("suite_that_nobody_wrote"), (adapter.exact)("suite:labels")] {
        let early = start - minutes(600);
        let query = RangeQuery::new(query, early, early + minutes(10), minutes(1)).unwrap();
        let answer = adapter.read.read(&query, &Limits::default()).await.unwrap();
        assert!(answer.frame.is_empty() && answer.frame.points() == 11, "{query:?}");
    }
}

async fn check_refusals(adapter: &Adapter<'_>, frame: &Frame) {
    let range = |query: &str| RangeQuery::new(query, frame.start(), frame.end(), frame.step()).unwrap();
    let bad = adapter.read.read(&range("suite{"), &Limits::default()).await.unwrap_err();
    assert!(matches!(bad.fault, ReadFault::Query { .. }) && !bad.is_retryable(), "{bad}");
    let query = range(&(adapter.exact)("suite:labels"));
    for (limits, bound) in [
        (Limits { series: 3, ..Limits::default() }, Bound::Series),
        (Limits { samples: 5, ..Limits::default() }, Bound::Samples),
    ] {
        let many = adapter.read.read(&query, &limits).await.unwrap_err();
        assert!(matches!(many.fault, ReadFault::TooLarge { bound: b, .. } if b == bound), "{many}");
    }
}

/// The suite over a server that speaks Prometheus' protocols.
async fn suite_over_http(connection: &Connection, tolerance: f64, visible: impl AsyncFn()) {
    let read = QueryRange::new(connection, 1).unwrap();
    let write = RemoteWrite::new(connection, Options::default()).unwrap();
    let exact = |metric: &str| format!("last_over_time({metric}[1ms])");
    suite(&Adapter { read: &read, write: &write, exact, tolerance, tells_ends: true }, visible).await;
}

#[tokio::test]
async fn victoria_metrics() {
    let server = VictoriaMetrics::start().await;
    // It keeps a series' values as whole numbers of one power of ten.
    suite_over_http(&server.connection(), 1e-12, async || server.flush().await).await;
}

#[tokio::test]
async fn prometheus() {
    let server = Prometheus::start(&Setup::default()).await;
    suite_over_http(&server.connection(), 0.0, async || ()).await;
}

#[tokio::test]
async fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    let exact = |metric: &str| format!("last_over_time({metric}[1ms])");
    suite(&Adapter { read: &store, write: &store, exact, tolerance: 0.0, tells_ends: true }, async || ()).await;
}

/// The suite over files. A file carries no value over a gap, and takes no function.
async fn suite_over_files(write_long: fn(&Frame, fs::File) -> std::io::Result<()>) {
    let files = Files::new(write_long);
    suite(
        &Adapter { read: &files, write: &files, exact: str::to_string, tolerance: 0.0, tells_ends: false },
        async || (),
    )
    .await;
}

#[tokio::test]
async fn csv_files() {
    suite_over_files(|frame, file| csv::write_long(&[("value", frame)], file)).await;
}

#[tokio::test]
async fn parquet_files() {
    suite_over_files(|frame, file| parquet::write_long(&[("value", frame)], file)).await;
}
