use super::*;
use crate::labels::Labels;
use crate::time::Timestamp;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn text(text: &str) -> Result<File, FileError> {
    File::from_bytes("test.csv", text.as_bytes().to_vec(), &FileOptions::default())
}

/// The frame's start, step in seconds, and series with their values, gaps as -1.
fn seen(file: &File) -> (String, f64, Vec<(String, Vec<f64>)>) {
    let frame = file.frame(None).unwrap();
    let gaps = |values: &[f64]| values.iter().map(|value| if value.is_nan() { -1.0 } else { *value }).collect();
    let rows = frame.rows().map(|(labels, values)| (labels.to_string(), gaps(values))).collect();
    (frame.start().to_string(), frame.step().seconds(), rows)
}

#[test]
fn files_of_other_programs_are_read() {
    let both = ["cpu", "requests"].as_slice();
    for (name, series) in [
        ("pandas_wide_lz4.feather", both),
        ("pandas_index.parquet", both),
        ("polars_long_zstd.arrow", both),
        ("polars_long_labels.parquet", &[r#"cpu{host="cpu"}"#, r#"cpu{host="requests"}"#]),
        ("pyarrow_stream.arrows", &["cpu"]),
        ("pandas.csv", both),
        ("pandas.csv.gz", both),
    ] {
        let file = File::open(fixture(name), &FileOptions::default()).unwrap();
        let (start, step, rows) = seen(&file);
        assert_eq!((start.as_str(), step), ("2026-01-01T00:00:00Z", 300.0), "{name}");
        assert_eq!(rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), series, "{name}");
        assert!(rows.iter().all(|row| row.1.len() == 24), "{name}");
        assert!((rows[0].1[1] - 2.474).abs() < 0.5, "{name}: {:?}", rows[0]);
        assert!(rows.get(1).is_none_or(|row| row.1[5] == -1.0 && row.1[4] > 100.0), "{name}: {rows:?}");
        assert_eq!(file.warnings(), Vec::<String>::new());
    }
}

#[test]
fn text_in_every_layout() {
    let day = "2026-01-01T00:00:00Z";
    let wide = [("a", vec![1., 3.]), ("b", vec![2., -1.])];
    let named = [(r#"c{h="1", z="2"}"#, vec![1., 3.]), ("d", vec![2., 4.])];
    for (content, step, wanted) in [
        ("time,a,b\n2026-01-01,1,2\n2026-01-02,3,\n", 86_400., &wide[..]),
        ("\u{feff}Time;a;b\r\n2026-01-01 00:00;1;2\r\n2026-01-01 01:00;3;NaN\r\n", 3600., &wide),
        ("ts\ta\tb\n1767225600\t1\t2\n1767225630\t3\tnull", 30., &wide),
        ("ts,a,b,is_anomaly\n1767225630000,3,,1\n1767225600000,1,2,0", 30., &wide),
        ("a,b,when\n1,2,2026-01-01T00:00:00+00:00\n3,,2026-01-01T00:00:01+00:00", 1., &wide),
        (",ds,a,b\n0,2026-01-01,1,2\n1,2026-01-02,3,", 86_400., &wide),
        ("ds,unique_id,y\n2026-01-01,a,1\n2026-01-02,a,3\n2026-01-01,b,2\n2026-01-02,b,", 86_400., &wide),
        ("ds,item_id,demand\n2026-01-01,a,1\n2026-01-02,a,3\n2026-01-01,b,2", 86_400., &wide),
        ("time,\"c{h=\"\"1\"\",z=\"\"2\"\"}\",d\n2026-01-01,1,2\n2026-01-02,3,4", 86_400., &named),
        (
            "time;series;val\n2026-01-01;\"c{h=\"\"1\"\",z=\"\"2\"\"}\";1\n2026-01-02;\"c{h=\"\"1\"\",z=\"\"2\"\"}\";3\n\
             2026-01-01;d;2\n2026-01-02;d;4",
            86_400.,
            &named,
        ),
        (
            "timestamp,metric,h,z,value\n2026-01-01,c,one,2,1\n2026-01-02,c,one,2,3",
            86_400.,
            &[(r#"c{h="one"}"#, vec![1., 3.])],
        ),
        (
            "time,host,a,b\n2026-01-01,x,1,2\n2026-01-02,x,3,",
            86_400.,
            &[(r#"a{host="x"}"#, vec![1., 3.]), (r#"b{host="x"}"#, vec![2., -1.])],
        ),
        (
            "time,value\n2026-01-01 00:00:00.001,1\n2026-01-01 00:01:00.003,2\n2026-01-01 00:02,3",
            60.,
            &[("value", vec![1., 2., 3.])],
        ),
        ("time,x\n2026-01-01,inf\n2026-01-02,-1e3", 86_400., &[("x", vec![f64::INFINITY, -1000.])]),
    ] {
        let (start, found_step, rows) = seen(&text(content).unwrap());
        assert_eq!((start.as_str(), found_step), (day, step), "{content}");
        let rows: Vec<_> = rows.iter().map(|row| (row.0.as_str(), row.1.clone())).collect();
        assert_eq!(rows, wanted, "{content}");
    }
}

#[test]
fn options_override_guesses() {
    let content = "time,t2,host,nr,y,label\n1767225600,2026-02-01,a,7,1,0\n1767225660,2026-02-02,a,7,2,1\n";
    let some = |text: &str| Some(text.to_string());
    let default = FileOptions::default();
    for (options, start, wanted) in [
        (default.clone(), "2026-01-01T00:00:00Z", r#"y{host="a"}"#),
        (FileOptions { time: some("T2"), ..default.clone() }, "2026-02-01T00:00:00Z", r#"y{host="a"}"#),
        (FileOptions { value: some("label"), ..default.clone() }, "2026-01-01T00:00:00Z", r#"label{host="a"}"#),
        (FileOptions { series: some("host"), ..default.clone() }, "2026-01-01T00:00:00Z", "a"),
        (FileOptions { labels: vec!["nr".into()], ..default.clone() }, "2026-01-01T00:00:00Z", r#"y{nr="7"}"#),
        (
            FileOptions { series: some("host"), labels: vec!["host".into(), "nr".into()], ..default.clone() },
            "2026-01-01T00:00:00Z",
            r#"a{nr="7"}"#,
        ),
        (FileOptions { layout: Some(Layout::Wide), ..default.clone() }, "2026-01-01T00:00:00Z", r#"nr{host="a"}"#),
    ] {
        let file = File::from_bytes("x", content.into(), &options).unwrap();
        let (found, _, rows) = seen(&file);
        assert_eq!((found.as_str(), rows[0].0.as_str()), (start, wanted), "{options:?}");
    }
    let step = Step::from_millis(30_000);
    let file = File::from_bytes("x", content.into(), &FileOptions { step, ..default }).unwrap();
    assert_eq!(file.frame(None).unwrap().points(), 3);
    assert_eq!(file.frame(Step::from_millis(60_000)).unwrap().points(), 2);
}

#[test]
fn doubles_are_counted_and_the_last_one_stays() {
    let file = text("time,x\n2026-01-01,1\n2026-01-02,2\n2026-01-01,3\n").unwrap();
    assert_eq!(seen(&file).2, [("x".to_string(), vec![3., 2.])]);
    assert!(file.warnings()[0].starts_with("1 samples were left out"));
}

/// Reads bytes that can't be read; the error names the file and says all of `wanted`.
fn check(name: &str, bytes: &[u8], options: &FileOptions, wanted: &[&str]) {
    let error = match File::from_bytes(name, bytes.to_vec(), options).and_then(|file| file.frame(None)) {
        Ok(frame) => panic!("{name} was read: {frame:?}"),
        Err(error) => error.to_string(),
    };
    assert!(error.starts_with(name), "{error}");
    assert!(wanted.iter().all(|part| error.contains(part)), "{name}: `{error}` does not say {wanted:?}");
}

#[test]
fn bad_text_is_refused_clearly() {
    let default = FileOptions::default();
    for (name, content, wanted) in [
        ("empty", "", &["the file is empty"][..]),
        ("blank", " \n\n ", &["the file is empty"]),
        ("bom", "\u{feff}", &["the file is empty"]),
        ("header", "time,value\n", &["no row of data"]),
        ("no time", "a,b\n1,2\n", &["no column is a time", "`a`, `b`", "`time`"]),
        ("no numbers", "time,host\n2026-01-01,a\n", &["no column beside the time holds values", "`host`"]),
        ("time alone", "time\n2026-01-01\n", &["no column beside the time holds values"]),
        ("short row", "time,a,b\n2026-01-01,1,2\n2026-01-02,1\n", &["line 3 has 2 cells where the header has 3"]),
        ("long row", "time,a\n2026-01-01,1\n2026-01-02,1,5\n", &["line 3 has 3 cells"]),
        ("bad value", "time,a\n2026-01-01,1\n2026-01-02,x1\n", &["line 3, column `a`: `x1` is not a number"]),
        ("thousands", "time,a,b\n2026-01-01,1,1\n2026-01-02,1,\"1,5\"\n", &["line 3, column `b`: `1,5`"]),
        ("bad time", "time,a\n2026-01-01,1\nnoon,1\n", &["line 3, column `time`: `noon` is not a time"]),
        ("american", "time,a\n01/31/2026,1\n", &["line 2, column `time`: `01/31/2026` is not a time"]),
        ("no such day", "time,a\n2026-02-30,1\n", &["`2026-02-30` is not a time"]),
        ("no time here", "time,a\n2026-01-01,1\n,1\n", &["line 3, column `time`: `` is not a time"]),
        ("infinite time", "time,a\ninf,1\n", &["`inf` is not a time"]),
        ("twins", "time,a,a\n2026-01-01,1,2\n", &["two columns `a`"]),
        ("bad name", "time,series,value\n2026-01-01,c{a=1},2\n", &["line 2", "c{a=1}", "quotes"]),
        ("label twice", "time,series,host,value\n2026-01-01,\"c{host=\"\"a\"\"}\",b,2\n", &["line 2", "host", "twice"]),
        (
            "eons",
            "time,a\n0001-01-01,1\n2026-01-01 00:00:00,1\n2026-01-01 00:00:01,1\n2026-01-01 00:00:02,1\n",
            &["1 series of 639", "too many"],
        ),
    ] {
        check(name, content.as_bytes(), &default, wanted);
    }
    let some = |text: &str| Some(text.to_string());
    let content = b"time,a\n2026-01-01,1\n";
    for (options, wanted) in [
        (FileOptions { time: some("when"), ..default.clone() }, "no column `when`; there are `time`, `a`"),
        (FileOptions { value: some("b"), ..default.clone() }, "no column `b`"),
        (FileOptions { series: some("s"), ..default.clone() }, "no column `s`"),
        (FileOptions { labels: vec!["l".into()], ..default.clone() }, "no column `l`"),
        (FileOptions { value: some("time"), ..default.clone() }, "`2026-01-01` is not a number"),
    ] {
        check("options", content, &options, &[wanted]);
    }
}

#[test]
fn bad_bytes_are_refused_clearly() {
    let default = FileOptions::default();
    let gzip = std::fs::read(fixture("pandas.csv.gz")).unwrap();
    check(
        "utf8",
        b"time,a\n2026-01-01,1\n\xff\xfe,1\n",
        &default,
        &["line 3 is not UTF-8", "neither Parquet nor Arrow"],
    );
    check("utf16", b"\xff\xfet\0i\0m\0e\0", &default, &["line 1 is not UTF-8"]);
    check("cut gzip", &gzip[..gzip.len() / 2], &default, &["no valid gzip"]);
    for (name, wanted) in [
        ("pandas_index.parquet", "no valid Parquet"),
        ("polars_long_labels.parquet", "no valid Parquet"),
        ("pandas_wide_lz4.feather", "no valid Arrow file"),
        ("polars_long_zstd.arrow", "no valid Arrow file"),
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for length in (8..bytes.len() - 1).step_by(37) {
            check(name, &bytes[..length], &default, &[wanted]);
        }
    }
    let stream = std::fs::read(fixture("pyarrow_stream.arrows")).unwrap();
    check("cut stream", &stream[..stream.len() / 2], &default, &["no valid Arrow stream"]);
    for time in ["cpu", "is_anomaly"] {
        let options = FileOptions { time: Some(time.into()), value: Some("time".into()), ..default.clone() };
        let read = File::from_bytes("x", stream.clone(), &options);
        assert!(time == "cpu" || matches!(read.err().unwrap().fault, FileFault::Cell { .. }), "{time}");
    }
}

#[test]
fn damage_never_panics() {
    // Not the compressed Arrow files: see `file/arrow.rs`.
    for name in ["pandas_index.parquet", "polars_long_labels.parquet", "pyarrow_stream.arrows", "pandas.csv.gz"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for at in (8..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            drop(File::from_bytes(name, damaged, &FileOptions::default()).map(|file| file.frame(None)));
        }
    }
}

#[test]
fn missing_files_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none.csv"), folder.path().to_path_buf()] {
        let error = File::open(&path, &FileOptions::default()).err().unwrap();
        assert!(error.file.starts_with(folder.path().to_str().unwrap()));
        assert!(matches!(error.fault, FileFault::Io(_)), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_read_like_a_store() {
    let file = text("time,a,b\n1767225600,1,2\n1767225660,3,\n1767225720,5,6\n").unwrap();
    let ask = |query: &str, from: i64, to: i64, step: i64| {
        let time = |seconds| Timestamp::from_seconds(1_767_225_600 + seconds);
        RangeQuery::new(query, time(from), time(to), Step::from_millis(step * 1000).unwrap()).unwrap()
    };
    let all = Limits::default();
    for (query, wanted) in [
        (ask("", 0, 120, 60), vec![("a", vec![1., 3., 5.]), ("b", vec![2., -1., 6.])]),
        (ask("a", -60, 60, 30), vec![("a", vec![-1., -1., 1., 1., 3.])]),
        (ask("a", 120, 240, 60), vec![("a", vec![5., -1., -1.])]),
        (ask("{__name__=~\"a|b\"}", 60, 60, 60), vec![("a", vec![3.])]),
        (ask("b", 600, 660, 60), vec![]),
        (ask("c", 0, 60, 60), vec![]),
    ] {
        let answer = file.read(&query, &all).await.unwrap();
        assert_eq!((answer.frame.start(), answer.frame.points()), (query.start(), query.points()));
        let gaps = |values: &[f64]| values.iter().map(|value| if value.is_nan() { -1.0 } else { *value }).collect();
        let rows: Vec<(&str, Vec<f64>)> =
            answer.frame.rows().map(|(labels, values)| (labels.name(), gaps(values))).collect();
        assert_eq!(rows, wanted, "{query:?}");
    }
    for limits in [Limits { series: 1, ..all }, Limits { samples: 5, ..all }, Limits { bytes: 40, ..all }] {
        let error = file.read(&ask("", 0, 120, 60), &limits).await.unwrap_err();
        assert!(matches!(error.fault, ReadFault::TooLarge { .. }), "{error}");
    }
    let error = file.read(&ask("rate(a[5m])", 0, 120, 60), &all).await.unwrap_err();
    assert!(error.to_string().contains("test.csv") && error.to_string().contains("bad_data"), "{error}");
}

#[test]
fn what_is_written_is_read_again() {
    let names = [r#"cpu{host="a, \"b\""}"#, r#"mem{y="1"}"#].map(|name| name.parse::<Labels>().unwrap());
    let frame = |values: [f64; 4]| {
        Frame::new(names.to_vec(), Timestamp::from_seconds(60), Step::from_millis(60_000).unwrap(), 2, values.into())
            .unwrap()
    };
    let (y, yhat) = (frame([1.0, f64::NAN, 3.5, -1e300]), frame([0.1, 0.2, 0.3, f64::NAN]));
    let frames = [("y", &y), ("yhat", &yhat)];
    let (mut csv, mut parquet) = (vec![], vec![]);
    super::csv::write_long(&frames, &mut csv).unwrap();
    super::parquet::write_long(&frames, &mut parquet).unwrap();
    let head = "timestamp,__name__,host,exported_y,y,yhat\n1970-01-01T00:01:00Z,cpu,\"a, \"\"b\"\"\",,1,0.1\n";
    assert!(csv.starts_with(head.as_bytes()), "{}", String::from_utf8_lossy(&csv));
    let text_columns = vec!["host".to_string(), "exported_y".to_string()];
    for bytes in [csv, parquet] {
        for (column, wanted) in [("y", &y), ("yhat", &yhat)] {
            let options =
                FileOptions { value: Some(column.into()), labels: text_columns.clone(), ..FileOptions::default() };
            let read = File::from_bytes("x", bytes.clone(), &options).unwrap().frame(None).unwrap();
            assert_eq!(read.series()[0], wanted.series()[0]);
            assert_eq!(read.series()[1].get("exported_y"), Some("1"));
            let bits = |frame: &Frame| frame.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!((read.start(), read.points(), bits(&read)), (wanted.start(), wanted.points(), bits(wanted)));
        }
    }
    let other = Frame::empty(Timestamp::default(), y.step(), 2);
    for bad in [&[("y", &y), ("z", &other)][..], &[], &[("y", &y), ("y", &y)], &[("timestamp", &y)]] {
        assert!(super::csv::write_long(bad, Vec::new()).is_err());
        assert!(super::parquet::write_long(bad, Vec::new()).is_err());
    }
}
