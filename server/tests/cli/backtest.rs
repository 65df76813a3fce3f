//! `backtest` and `tune` as their users call them.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use super::{openanomaly, run, stderr, stdout};

/// 2026-01-01.
const START: i64 = 1_767_225_600;
const STEP: i64 = 300;
const DAY: usize = 288;

/// The first points of two events of six points each.
const EVENTS: [usize; 2] = [6 * DAY + 100, 8 * DAY + 50];

fn value(point: usize) -> f64 {
    let wave = 50.0 + 20.0 * (point as f64 / DAY as f64 * std::f64::consts::TAU).sin();
    let hash = (point as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / (1 << 23) as f64;
    wave + noise + if is_event(point) { 40.0 } else { 0.0 }
}

fn is_event(point: usize) -> bool {
    EVENTS.iter().any(|first| (*first..first + 6).contains(&point))
}

fn time(point: usize) -> i64 {
    START + point as i64 * STEP
}

fn csv(points: usize, with_labels: bool) -> String {
    let mut text = String::from(if with_labels { "timestamp,value,label\n" } else { "timestamp,value\n" });
    for point in 0..points {
        let label = if with_labels { format!(",{}", u8::from(is_event(point))) } else { String::new() };
        writeln!(text, "{},{}{label}", time(point), value(point)).unwrap();
    }
    text
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn backtest(args: &[&str]) -> std::process::Output {
    run(&[&["backtest", "--model", "seasonal_naive"], args].concat())
}

fn result(args: &[&str]) -> Value {
    let output = backtest(&[args, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The scores of the input `name` as lines without the title.
fn scores(source: &str, folder: &Path, name: &str) -> Vec<String> {
    let output = backtest(&[source, "--scores", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(text.starts_with("timestamp,anomaly_score,y,yhat,yhat_lower,yhat_upper"), "{text:.80}");
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn what_comes_later_and_what_the_labels_say_changes_no_score() {
    let dir = tempfile::tempdir().unwrap();
    let whole = write(dir.path(), "whole.csv", &csv(10 * DAY, true));
    let out = dir.path().join("out");
    let whole = scores(&whole, &out, "whole.csv");
    assert_eq!(whole.len(), 10 * DAY);
    assert!(whole.iter().filter(|line| line.split(',').nth(1) != Some("")).count() > 9 * DAY);
    for cut in [2 * DAY, 6 * DAY + 103, 9 * DAY + 7] {
        let part = write(dir.path(), "part.csv", &csv(cut, false));
        assert_eq!(scores(&part, &out, "part.csv"), whole[..cut], "cut at {cut}");
    }
}

#[test]
fn every_row_has_its_line_in_the_order_and_with_the_times_of_the_input() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = csv(4 * DAY, false);
    // Off the grid, in the cell of another, out of order, a gap, and later a hole of two hours.
    let (off, double, gap) = (time(4 * DAY) + 20, time(4 * DAY + 1), time(4 * DAY + 3));
    let late = time(4 * DAY + 27);
    for (time, value) in [(off, "50"), (double + 10, "51"), (double, "52"), (gap, ""), (gap - STEP, "53"), (late, "54")]
    {
        writeln!(text, "{time},{value}").unwrap();
    }
    let path = write(dir.path(), "rows.csv", &text);
    let lines = scores(&path, &dir.path().join("out"), "rows.csv");
    let tail: Vec<Vec<&str>> = lines[4 * DAY..].iter().map(|line| line.split(',').collect()).collect();
    let times: Vec<i64> = tail.iter().map(|cells| cells[0].parse().unwrap()).collect();
    assert_eq!(times, [off, double + 10, double, gap, gap - STEP, late]);
    assert_eq!(tail[1][1..], tail[2][1..], "two in one cell have one score");
    assert_eq!(tail[1][2], "51", "the later one of a cell stays");
    let is_scored: Vec<bool> = tail.iter().map(|cells| !cells[1].is_empty()).collect();
    assert_eq!(is_scored, [true, true, true, false, true, true]);
}

#[test]
fn a_folder_is_judged_by_its_labels_and_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let series = dir.path().join("series");
    std::fs::create_dir(&series).unwrap();
    write(&series, "labelled.csv", &csv(10 * DAY, true));
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gz.write_all(csv(10 * DAY, true).as_bytes()).unwrap();
    std::fs::write(series.join("zipped.csv.gz"), gz.finish().unwrap()).unwrap();
    write(&series, "hourly.csv", "timestamp,value\n0,1\n3600,2\n7200,1\n18000,2\n");
    write(&series, "notes.txt", "no series");
    let manifest = json!({"series": [{"name": "zipped", "eval_start": 7 * DAY, "step_s": 300, "vus_window": 5}]});
    write(dir.path(), "manifest.json", &manifest.to_string());
    let result = result(&[dir.path().to_str().unwrap()]);
    let of = |name: &str| {
        let all = result["runs"][0]["series"].as_array().unwrap();
        all.iter().find(|one| one["series"] == name).unwrap_or_else(|| panic!("{name} is missing")).clone()
    };
    let (labelled, zipped) = (of("labelled"), of("zipped"));
    assert_eq!(labelled["from_ms"], time(10 * DAY * 15 / 100) * 1000);
    assert_eq!(zipped["from_ms"], time(7 * DAY) * 1000);
    assert_eq!(labelled["against"]["events"].as_array().unwrap().len(), 2);
    assert_eq!(zipped["against"]["events"].as_array().unwrap().len(), 1);
    assert_eq!(zipped["against"]["events"][0]["caught_ms"], time(EVENTS[1]) * 1000);
    assert!(labelled["against"]["vus_pr"].as_f64().unwrap() > 0.3, "{}", labelled["against"]);
    assert_eq!(of("hourly")["step_seconds"], 3600.0);
    assert_eq!(of("hourly")["against"], Value::Null);
    let summary = &result["runs"][0]["summary"]["against"];
    assert_eq!((&summary["events"], &summary["caught"]), (&json!(3), &json!(3)));
}

#[test]
fn labels_come_from_a_file_too_and_name_their_series() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("time,host,cpu\n");
    for point in 0..10 * DAY {
        writeln!(text, "{0},web,{1}\n{0},db,{2}", time(point), value(point), point % 7).unwrap();
    }
    let data = write(dir.path(), "hosts.csv", &text);
    let [first, second] =
        EVENTS.map(|first| format!("\"cpu{{host=\"\"web\"\"}}\",{},{}", time(first), time(first + 5)));
    let labels = write(dir.path(), "labels.csv", &format!("series,from,to\n{first}\n{second}\n"));
    let result = result(&[&data, "--labels", &labels]);
    let events: Vec<usize> = result["runs"][0]["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["against"]["events"].as_array().unwrap().len())
        .collect();
    assert_eq!(events, [0, 2], "{result}");
    let web = self::result(&[&data, "--query", "cpu{host=\"web\"}"]);
    assert_eq!(web["runs"][0]["summary"]["series"], 1);

    for (text, expected) in [("series,from\n", "no column `to`"), ("series,from,to\n,soon,1\n", "line 2: `soon`")] {
        let wrong = write(dir.path(), "wrong.csv", text);
        let output = backtest(&[&data, "--labels", &wrong]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

fn pipeline(dir: &Path, name: &str, confidence: f64) -> String {
    let text = format!(
        "name: cpu\nquery: value\nstep: 5m\ncontext_window: 3d\nprediction_horizon: 1h\nforecast_schedule: 1h\n\
         model: {{id: seasonal_naive}}\nanomaly: {{confidence_level: {confidence}}}\n"
    );
    write(dir, name, &text)
}

#[test]
fn a_comparison_tells_ci_whether_alerts_change() {
    let dir = tempfile::tempdir().unwrap();
    let data = write(dir.path(), "cpu.csv", &csv(10 * DAY, true));
    let (old, new) = (pipeline(dir.path(), "old.yaml", 0.9999), pipeline(dir.path(), "new.yaml", 0.9));
    let page = dir.path().join("diff.html");
    let compare = |args: &[&str]| run(&[&["backtest", &data, "--compare"], args].concat());
    let same = compare(&[&old, &old]);
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    assert!(stdout(&same).contains("0 added, 0 gone, 0 moved"), "{}", stdout(&same));
    let other = compare(&[&old, &new, "-o", page.to_str().unwrap()]);
    assert_eq!(other.status.code(), Some(1), "{}", stdout(&other));
    assert!(std::fs::read_to_string(&page).unwrap().contains("What changes"));
    let allowed = compare(&[&old, &new, "--allow-added", "999", "--allow-gone", "999"]);
    assert_eq!(allowed.status.code(), Some(0), "{}", stdout(&allowed));

    let kept = dir.path().join("kept.json");
    let kept = kept.to_str().unwrap();
    let first = run(&["backtest", &data, "--pipeline", &old, "-o", kept]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    for (pipeline, baseline, code) in [(&old, kept, 0), (&new, kept, 1), (&old, data.as_str(), 2), (&old, "nowhere", 2)]
    {
        let output = run(&["backtest", &data, "--pipeline", pipeline, "--baseline", baseline]);
        assert_eq!(output.status.code(), Some(code), "{pipeline} {baseline}: {}", stderr(&output));
    }
}

/// A service that answers one question with these verdicts.
fn service(verdicts: Vec<Value>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).unwrap();
        assert!(String::from_utf8_lossy(&request[..read]).starts_with("GET /api/v1/feedback?limit=1000&pipeline="));
        let body = json!({"items": verdicts, "next": null}).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    url
}

#[test]
fn what_people_said_must_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let data = write(dir.path(), "cpu.csv", &csv(10 * DAY, false));
    let pipeline = pipeline(dir.path(), "cpu.yaml", 0.9999);
    let verdict = |id: &str, first: usize, verdict: &str| {
        let rfc = |point| jiff::Timestamp::from_second(time(point)).unwrap().to_string();
        json!({"id": id, "labels": {}, "from": rfc(first), "until": rfc(first + 5), "verdict": verdict, "note": "n"})
    };
    let check = |verdicts: Vec<Value>, code: i32, said: &[&str]| {
        let url = service(verdicts);
        let output = run(&["backtest", &data, "--pipeline", &pipeline, "--feedback", "--server", &url]);
        assert_eq!(output.status.code(), Some(code), "{} {}", stdout(&output), stderr(&output));
        said.iter().for_each(|part| assert!(stdout(&output).contains(part), "{part}: {}", stdout(&output)));
    };
    let (event, quiet) = (EVENTS[0], 7 * DAY + 200);
    let kept = vec![verdict("a", event, "anomaly"), verdict("b", quiet, "expected")];
    check(kept, 0, &["2 kept, 0 broken", "events caught", "100.0%", "false alarms a series and week"]);
    check(vec![verdict("broken-1", event, "expected")], 1, &["1 broken", "broken-1", "expected, but an alert"]);
    check(vec![verdict("broken-2", quiet, "anomaly")], 1, &["broken-2", "an anomaly, but no alert"]);
    check(vec![verdict("old", 0, "anomaly")], 0, &["1 not covered"]);
    let nobody = run(&["backtest", &data, "--pipeline", &pipeline, "--feedback", "--server", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(2));
}

#[test]
fn the_page_is_one_file_that_needs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = write(dir.path(), "cpu <b>.csv", &csv(10 * DAY, true));
    let page = dir.path().join("report.html");
    let output = backtest(&[&data, "--output", page.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = std::fs::read_to_string(page).unwrap();
    for absent in ["{{", "http://", "https://", "src=", "@import", "cpu <b>"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("It caught all 2 known events.") && page.trim_end().ends_with("</html>"));
    assert!(page.len() < 200_000, "{}", page.len());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = write(dir.path(), "cpu.csv", &csv(DAY, false));
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (old, two) = (pipeline(dir.path(), "old.yaml", 0.95), dir.path().join("two.yaml"));
    std::fs::write(&two, "name: a\nquery: up\n---\nname: b\nquery: up\n").unwrap();
    let two = two.to_str().unwrap();
    for (args, code, expected) in [
        (vec![], 2, "name a file, a folder or the --url of a server"),
        (vec![empty.to_str().unwrap()], 1, "no file of series in it"),
        (vec!["nowhere.csv"], 1, "nowhere.csv"),
        (vec![&*data, &*data], 2, "two of the inputs are called `cpu`"),
        (vec![&*data, "-o", "report.pdf"], 2, "ends with .html or .json"),
        (vec![&*data, "--model", "no_such_model"], 2, "no_such_model"),
        (vec![&*data, "--pipeline", two], 2, "holds several pipelines; there are a, b"),
        (vec![&*data, "--pipeline", "nowhere.yaml"], 1, "nowhere.yaml"),
        (vec![&*data, "--compare", &*old], 2, "--compare"),
        (vec!["http://127.0.0.1:9", "--last", "1d"], 2, "a server needs a --query or a --pipeline"),
        (vec!["http://127.0.0.1:9", "--pipeline", &*old], 2, "a server needs --from or --last"),
        (vec!["http://127.0.0.1:9", "--pipeline", &*old, "--last", "1d"], 1, "127.0.0.1:9"),
    ] {
        let output = run(&[&["backtest"], &args[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    let last = result(&[&data, "--last", "2h"]);
    assert_eq!(last["runs"][0]["series"][0]["from_ms"], time(DAY - 1 - 24) * 1000);
    let named = format!("{two}#b");
    let output = run(&["backtest", &data, "--pipeline", &named]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn tune_prints_a_pipeline_that_is_proven_on_what_it_has_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let labelled = write(dir.path(), "cpu.csv", &csv(10 * DAY, true));
    let plain = write(dir.path(), "plain.csv", &csv(10 * DAY, false));
    for (data, said) in [(&labelled, "it catches 1 of 1 event"), (&plain, "its loss is")] {
        let target = dir.path().join("tuned.yaml");
        let models = ["--model", "seasonal_naive", "--model", "zscore"];
        let output = run(&[&["tune", data, "-o", target.to_str().unwrap()], &models[..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains(said), "{}", stdout(&output));
        let check = openanomaly(&["validate", target.to_str().unwrap()]).output().unwrap();
        assert!(check.status.success(), "{}", stdout(&check));
    }
    let output = run(&["tune", &plain, "--model", "no_such_model"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
