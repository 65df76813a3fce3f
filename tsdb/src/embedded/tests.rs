use std::process::Command;

use super::*;
use crate::labels::Labels;
use crate::read::Bound;
use crate::time::{Step, Timestamp};

const START: i64 = 1_700_000_100;
const POINTS: usize = 40;

fn minute() -> Step {
    Step::from_millis(60_000).unwrap()
}

fn frame(names: &[&str], value: impl Fn(usize, usize) -> f64) -> Frame {
    let series = names.iter().map(|name| name.parse().unwrap()).collect();
    let values = (0..names.len()).flat_map(|row| (0..POINTS).map(move |point| (row, point)));
    let values = values.map(|(row, point)| value(row, point)).collect();
    Frame::new(series, Timestamp::from_seconds(START), minute(), POINTS, values).unwrap()
}

const NAMES: [&str; 5] = [
    r#"cpu{host="a"}"#,
    r#"cpu{host="a", zone="x"}"#,
    r#"cpu{host="b"}"#,
    r#"mem{host="a"}"#,
    r#"odd{text="a \"quoted\" \\ \n ünï, {x}=1", x="0"}"#,
];

async fn filled(folder: &Path) -> Embedded {
    let store = Embedded::open(folder, &EmbeddedOptions::default()).unwrap();
    let written = store.write(&[frame(&NAMES, |row, point| (100 * row + point) as f64)]).await.unwrap();
    assert_eq!((written.samples, written.rejected), ((NAMES.len() * POINTS) as u64, vec![]));
    store
}

fn range(query: &str, from: usize, to: usize) -> RangeQuery {
    let start = Timestamp::from_seconds(START);
    RangeQuery::new(query, start + minute().times(from), start + minute().times(to), minute()).unwrap()
}

/// The series of an answer and their values, gaps as -1.
async fn ask(store: &Embedded, query: &RangeQuery) -> Vec<(String, Vec<f64>)> {
    let answer = store.read(query, &Limits::default()).await.unwrap();
    assert_eq!((answer.frame.start(), answer.frame.points()), (query.start(), query.points()));
    let gaps = |values: &[f64]| values.iter().map(|value| if value.is_nan() { -1.0 } else { *value }).collect();
    answer.frame.rows().map(|(labels, values)| (labels.to_string(), gaps(values))).collect()
}

#[tokio::test]
async fn queries_are_answered_on_their_grid() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let [a, ax, b, mem, odd] = NAMES;
    let one = |name: &str, values: [f64; 2]| (name.to_string(), values.to_vec());
    for (query, wanted) in [
        ("cpu", vec![one(a, [10., 11.]), one(ax, [110., 111.]), one(b, [210., 211.])]),
        (r#"cpu{host="a"}"#, vec![one(a, [10., 11.]), one(ax, [110., 111.])]),
        (r#"cpu{host="a"} + 0"#, vec![one(r#"{host="a"}"#, [10., 11.]), one(r#"{host="a", zone="x"}"#, [110., 111.])]),
        (r#"cpu{host!="a"}"#, vec![one(b, [210., 211.])]),
        (r#"cpu{host=~"a|c", zone=""}"#, vec![one(a, [10., 11.])]),
        (r#"{__name__=~"c.*|mem", host!~"b", zone=""}"#, vec![one(a, [10., 11.]), one(mem, [310., 311.])]),
        ("odd", vec![one(odd, [410., 411.])]),
        ("(mem offset 2m)", vec![one(mem, [308., 309.])]),
        ("-mem", vec![one(r#"{host="a"}"#, [-310., -311.])]),
        ("sum(cpu)", vec![one("{}", [330., 333.])]),
        (r#"sum(cpu{host=~"a"}) - sum(cpu{host=~"b"})"#, vec![one("{}", [-90., -89.])]),
        (r#"sum by (host) (max_over_time({__name__="cpu"}[3m]))"#, {
            vec![one(r#"{host="a"}"#, [120., 122.]), one(r#"{host="b"}"#, [210., 211.])]
        }),
        ("rate(mem[5m]) * 60", vec![one(r#"{host="a"}"#, [1., 1.])]),
        ("max_over_time(mem[5m:1m])", vec![one(r#"{host="a"}"#, [310., 311.])]),
        ("mem - (mem @ start())", vec![one(r#"{host="a"}"#, [0., 1.])]),
        ("1 + 1", vec![one("{}", [2., 2.])]),
        ("none", vec![]),
        ("mem > 310", vec![one(mem, [-1., 311.])]),
        ("mem / 0 - mem / 0", vec![]),
    ] {
        assert_eq!(ask(&store, &range(query, 10, 11)).await, wanted, "{query}");
    }
}

#[tokio::test]
async fn long_ranges_are_evaluated_in_parts_without_seams() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    for query in ["sum(mem)", r#"max_over_time(mem{host=~".*"}[90s])"#, "mem"] {
        let answer = ask(&store, &range(query, 0, POINTS + 9)).await;
        let last = (300 + POINTS - 1) as f64;
        let held = if query.contains("over") { 1 } else { 5 };
        let values: Vec<f64> =
            (0..POINTS + 10).map(|at| if at < POINTS + held { last.min(300. + at as f64) } else { -1. }).collect();
        assert_eq!(answer[0].1, values, "{query}");
    }
}

#[tokio::test]
async fn bad_queries_and_limits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let fault = async |query: &str, limits: Limits| {
        let error = store.read(&range(query, 0, 9), &limits).await.unwrap_err();
        assert!(!error.is_retryable());
        error.fault
    };
    for query in ["cpu{", "cpu{host=~\"(\"}", "sum(cpu{host!~\"[\"})", "nosuch(cpu)", "cpu +", "", "rate(cpu)", "\"x"] {
        let found = fault(query, Limits::default()).await;
        assert!(matches!(&found, ReadFault::Query { kind, .. } if kind == "bad_data"), "{query}: {found}");
    }
    assert!(matches!(fault(r#"-{__name__=~"cpu|mem"}"#, Limits::default()).await, ReadFault::Duplicate(_)));
    let all = Limits::default();
    for query in ["cpu", "cpu * 2", "sum(cpu)", r#"rate({host=~".+"}[5m])"#] {
        let few = Limits { series: 2, ..all };
        assert_eq!(fault(query, few).await, ReadFault::TooLarge { bound: Bound::Series, limit: 2 }, "{query}");
        let bytes = Limits { bytes: 100, ..all };
        assert_eq!(fault(query, bytes).await, ReadFault::TooLarge { bound: Bound::Bytes, limit: 100 }, "{query}");
    }
    let samples = Limits { samples: 29, ..all };
    for query in ["cpu", "cpu * 2"] {
        assert_eq!(fault(query, samples).await, ReadFault::TooLarge { bound: Bound::Samples, limit: 29 }, "{query}");
    }
}

#[tokio::test]
async fn gaps_late_samples_and_second_thoughts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    let gappy = |row: usize| frame(&["x"], move |_, point| if point % 2 == row { point as f64 } else { f64::NAN });
    assert_eq!(store.write(&[gappy(1)]).await.unwrap().samples, POINTS as u64 / 2);
    store.write(&[gappy(0)]).await.unwrap();
    let wanted: Vec<f64> = (0..POINTS).map(|point| point as f64).collect();
    assert_eq!(ask(&store, &range("x", 0, POINTS - 1)).await, [("x".to_string(), wanted)]);
    store.write(&[frame(&["x"], |_, point| -2.0 - point as f64)]).await.unwrap();
    let wanted: Vec<f64> = (0..POINTS).map(|point| -2.0 - point as f64).collect();
    assert_eq!(ask(&store, &range("x", 0, POINTS - 1)).await, [("x".to_string(), wanted.clone())]);
    drop(store);
    let store = Embedded::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    assert_eq!(ask(&store, &range("x", 0, POINTS - 1)).await, [("x".to_string(), wanted)]);
}

#[tokio::test]
async fn series_that_have_ended_are_told_from_those_that_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    let names = [r#"up{i="ended"}"#, r#"up{i="stopped"}"#, r#"up{i="back"}"#, r#"down{i="ended"}"#];
    let value = |row: usize, point: usize| match (row, point) {
        (0 | 3, 20) | (2, 25) => crate::STALE,
        (0 | 3, 20..) | (1, 20..) => f64::NAN,
        _ => 1.0,
    };
    store.write(&[frame(&names, value)]).await.unwrap();
    let late = Timestamp::from_seconds(START + 30 * 60 + 1);
    let late = Samples { labels: Labels::metric("up").with("i", "late"), samples: vec![(late, crate::STALE)] };
    store.append(vec![late]).await.unwrap();
    assert_eq!(ask(&store, &range("down", 19, 21)).await[0].1, [1.0, -1.0, -1.0], "the series ends at once");
    for (query, from, to, wanted) in [
        ("up", 19, 31, vec![("back", 25), ("ended", 20), ("late", 31)]),
        ("up", 21, 30, vec![("back", 25)]),
        ("down", 0, 39, vec![("ended", 20)]),
        (r#"up{i="stopped"}"#, 0, 39, vec![]),
        ("none", 0, 39, vec![]),
    ] {
        let query = range(query, from, to);
        let found = store.ended(&query, &Limits::default()).await.unwrap().unwrap();
        assert_eq!((found.start(), found.points()), (query.start(), query.points()));
        let marks = found.rows().map(|(labels, row)| {
            let points: Vec<usize> = (0..row.len()).filter(|at| !row[*at].is_nan()).map(|at| at + from).collect();
            assert_eq!(points.len(), 1, "{labels}");
            (labels.get("i").unwrap().to_string(), points[0])
        });
        let mut marks: Vec<_> = marks.collect();
        marks.sort();
        let wanted: Vec<_> = wanted.into_iter().map(|(name, point)| (name.to_string(), point)).collect();
        assert_eq!(marks, wanted, "{query:?}");
    }
    for query in ["sum(up)", "up offset 5m", "(up)", "rate(up[5m])"] {
        assert!(store.ended(&range(query, 0, 9), &Limits::default()).await.unwrap().is_none(), "{query}");
    }
    let few = Limits { series: 1, ..Limits::default() };
    let fault = store.ended(&range("up", 0, 9), &few).await.unwrap_err().fault;
    assert_eq!(fault, ReadFault::TooLarge { bound: Bound::Series, limit: 1 });
    assert!(store.ended(&range("up{", 0, 9), &few).await.is_err());
}

#[tokio::test]
async fn what_the_store_cannot_hold_is_rejected_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { retention: Some(Duration::from_secs(3600)), ..EmbeddedOptions::default() };
    let store = Embedded::open(folder.path(), &options).unwrap();
    let long = format!(r#"x{{a="{}"}}"#, "v".repeat(20_000));
    // The year 2100 is never too old, whatever the clock says.
    let start = Timestamp::from_seconds(4_102_444_800);
    let series: Vec<Labels> = [r#"{a="1"}"#, &long, "x"].map(|name| name.parse().unwrap()).to_vec();
    let new = Frame::new(series, start, minute(), 2, vec![1.0; 6]).unwrap();
    let written = store.write(&[frame(&["x", "y"], |_, _| 1.0), new]).await.unwrap();
    let rejected: Vec<_> = written.rejected.iter().map(|rejected| (rejected.reason, rejected.samples)).collect();
    assert_eq!(rejected, [("invalid_label", 4), ("too_old", 2 * POINTS as u64)]);
    assert_eq!(written.samples, 2);
}

#[tokio::test]
async fn one_process_at_a_time_and_folders_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let second = Embedded::open(folder.path(), &EmbeddedOptions::default()).err().unwrap().to_string();
    assert!(second.contains("already locked"), "{second}");
    store.close().unwrap();
    let closed = store.read(&range("cpu", 0, 1), &Limits::default()).await.unwrap_err();
    assert!(matches!(closed.fault, ReadFault::Local(_)), "{closed}");
    assert!(matches!(store.write(&[frame(&["x"], |_, _| 1.0)]).await, Err(WriteError::Local { .. })));
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(Embedded::open(&file, &EmbeddedOptions::default()).is_err());
}

/// The folder of the process that [`what_was_acknowledged_outlives_the_process`] starts.
const FOLDER: &str = "TSDB_TEST_EMBEDDED_FOLDER";

#[tokio::test]
async fn what_was_acknowledged_outlives_the_process() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        filled(Path::new(&folder)).await;
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "embedded::tests::what_was_acknowledged_outlives_the_process";
    let child =
        Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(FOLDER, folder.path()).output();
    assert!(!child.unwrap().status.success());
    let store = Embedded::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    let answer = store.read(&range(r#"{__name__!=""}"#, 0, POINTS - 1), &Limits::default()).await.unwrap();
    assert_eq!(answer.frame.samples(), NAMES.len() * POINTS);
}

#[tokio::test]
async fn readers_and_writers_share_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(filled(folder.path()).await);
    let tasks = (0..8).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            store.write(&[frame(&[&format!("own_{task}")], |_, _| 1.0)]).await.unwrap();
            ask(&store, &range(&format!("sum(mem) + sum(own_{task})"), 10, 10)).await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), [("{}".to_string(), vec![311.0])]);
    }
}

/// A pass writes one point of each of thousands of series; they may not need room for thousands of points each.
#[tokio::test]
async fn many_series_of_one_point_fit_into_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { memory_bytes: 16 << 20, ..EmbeddedOptions::default() };
    let store = Embedded::open(folder.path(), &options).unwrap();
    let series = (0..1000).map(|row| Labels::metric("up").with("row", &row.to_string())).collect();
    let frame = Frame::new(series, Timestamp::from_seconds(START), minute(), 1, vec![1.0; 1000]).unwrap();
    assert_eq!(store.write(&[frame]).await.unwrap().samples, 1000);
}
