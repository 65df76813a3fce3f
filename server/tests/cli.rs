//! The program as its users call it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "cli/backtest.rs"]
mod backtest;
#[path = "cli/models.rs"]
mod models;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn openanomaly(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openanomaly"));
    command.args(args).env_remove("NO_COLOR").env_remove("COLUMNS").env_remove("OPENANOMALY_LOG_LEVEL");
    command
}

fn run(args: &[&str]) -> Output {
    openanomaly(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Twelve days of two series with a daily wave, five minutes apart. `web` has an incident of six points that begins
/// at 2026-01-11 00:00.
fn csv() -> String {
    let mut text = String::from("time,host,cpu\n");
    for point in 0..12 * 288 {
        let time = 1_767_225_600 + point * 300;
        let wave = 50.0 + 20.0 * (f64::from(point) / 288.0 * std::f64::consts::TAU).sin();
        let noise = f64::from(point * 7919 % 1009) / 500.0;
        let incident = if (2880..2886).contains(&point) { 40.0 } else { 0.0 };
        writeln!(text, "{time},web,{}\n{time},db,{}", wave + noise + incident, 2.0 * wave + noise).unwrap();
    }
    text
}

fn file(dir: &Path) -> PathBuf {
    let path = dir.join("cpu.csv");
    std::fs::write(&path, csv()).unwrap();
    path
}

#[test]
fn detect_finds_the_incident_and_says_so_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let path = path.to_str().unwrap();

    let table = stdout(&run(&["detect", path, "--limit", "1"]));
    let first = table.lines().skip_while(|line| !line.trim_start().starts_with("Score")).nth(1).unwrap_or("");
    assert!(first.contains("2026-01-11 00:00") && first.contains("web"), "{table}");
    assert!(table.contains('▲') && table.contains("2 series"), "{table}");
    assert!(!table.contains('\x1b'), "no colours where there is no terminal");
    assert!(stdout(&run(&["--color", "always", "detect", path])).contains("\x1b[1;31m"));

    let json = stdout(&run(&["detect", path, "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["incidents"][0]["labels"]["host"], "web");
    assert_eq!(json["incidents"][0]["start_ms"], 1_768_089_600_000_i64);
    let points = json["timestamps_ms"].as_array().unwrap().len();
    assert_eq!(json["series"][1]["anomaly_score"].as_array().unwrap().len(), points);

    let csv = stdout(&run(&["detect", path, "--output", "csv"]));
    assert_eq!(csv.lines().count(), 1 + 2 * points);

    for name in ["report.html", "scores.parquet"] {
        let target = dir.path().join(name);
        let output = run(&["detect", path, "-o", target.to_str().unwrap()]);
        assert!(stdout(&output).contains("written to"), "{output:?}");
        assert!(std::fs::metadata(target).unwrap().len() > 1000);
    }
}

#[test]
fn detect_tells_scripts_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let path = path.to_str().unwrap();
    assert_eq!(run(&["detect", path, "--fail-on-anomaly"]).status.code(), Some(3));
    let quiet = ["detect", path, "--fail-on-anomaly", "--query", "cpu{host=\"db\"}", "--confidence", "0.9999999"];
    assert_eq!(run(&quiet).status.code(), Some(0), "{}", stdout(&run(&quiet)));
    let below = stdout(&run(&["detect", path, "--direction", "below", "--output", "json", "--from", "2026-01-11"]));
    let below: serde_json::Value = serde_json::from_str(&below).unwrap();
    assert_eq!(below["timestamps_ms"][0], 1_768_089_600_000_i64);
    assert!(below["incidents"].as_array().unwrap().iter().all(|i| i["y"].as_f64() < i["yhat"].as_f64()));
}

#[test]
fn without_onnx_runtime_a_classical_model_takes_the_place_of_nano() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let path = path.to_str().unwrap();
    let without =
        |args: &[&str]| openanomaly(args).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").output().unwrap();
    let output = without(&["predict", path]);
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert!(said.contains("mstl is used in place of nano") && said.contains("/nowhere/libonnxruntime.so"), "{said}");
    // One that was named is never replaced.
    let output = without(&["detect", path, "--model", "nano"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nowhere/libonnxruntime.so"), "{}", stderr(&output));
}

#[test]
fn stdin_and_a_reader_that_goes_away_are_fine() {
    let mut child = openanomaly(&["detect", "-", "--output", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(csv().as_bytes()).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn predict_answers_quantiles() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let path = path.to_str().unwrap();
    let csv = stdout(&run(&["predict", path, "--horizon", "1h", "--output", "csv", "--quantile", "0.05"]));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 12, "{csv}");
    assert!(lines[0].starts_with("timestamp,") && lines[0].ends_with("q0.05,q0.5"), "{csv}");
    assert!(lines[1].starts_with("2026-01-13T00:00:00Z,"), "{csv}");
    let table = stdout(&run(&["predict", path, "--horizon", "4"]));
    assert!(table.contains("2 series · 4 points ahead") && table.contains("series/s"), "{table}");
}

/// A VictoriaMetrics on this machine, ended with the test.
struct Store {
    child: std::process::Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Store {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new("victoria-metrics")
            .arg(format!("-storageDataPath={}", folder.path().display()))
            .arg(format!("-httpListenAddr={address}"))
            .args(["-retentionPeriod=100y", "-search.latencyOffset=0s"])
            .stderr(Stdio::null())
            .spawn()
            .expect("victoria-metrics is installed: apt-get install victoria-metrics");
        Self { child, address, _folder: folder }
    }

    /// Sends a request until the server is there; answers the status line.
    fn send(&self, path: &str, body: &str) -> String {
        for _ in 0..300 {
            if let Ok(mut stream) = TcpStream::connect(&self.address) {
                let length = body.len();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: vm\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                return answer.lines().next().unwrap_or("").to_string();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{} doesn't come up", self.address);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn detect_and_predict_read_from_a_server() {
    let store = Store::start();
    let csv = csv();
    let path = "/api/v1/import/csv?format=1:time:unix_s,2:label:host,3:metric:cpu";
    let (_, rows) = csv.split_once('\n').unwrap();
    assert!(store.send(path, rows).contains(" 204 "));
    store.send("/internal/force_flush", "");
    let url = format!("http://{}", store.address);
    let range = ["--from", "2026-01-10T12:00:00Z", "--to", "2026-01-11T12:00:00Z", "--header", "X-Test: 1"];
    let found = run(&[&["detect", &url, "--query", "cpu{host=\"web\"}", "--output", "json"], &range[..]].concat());
    let found: serde_json::Value = serde_json::from_str(&stdout(&found)).unwrap();
    assert_eq!(found["incidents"][0]["start_ms"], 1_768_089_600_000_i64);
    assert_eq!(found["incidents"][0]["labels"]["host"], "web");
    assert_eq!(found["timestamps_ms"].as_array().unwrap().len(), 289);
    let ahead =
        run(&[&["predict", &url, "--query", "sum(cpu)", "--horizon", "2", "--output", "csv"], &range[..]].concat());
    assert!(stdout(&ahead).contains("2026-01-11T12:05:00Z,"), "{ahead:?}");
    check_error(&["detect", &url, "--query", "cpu{"], 1, &["422", "cpu{"]);
    check_error(&["detect", &url, "--query", "nothing_has_this_name"], 1, &["no value"]);
}

/// An error says on stderr what is wrong, and nothing comes on stdout.
fn check_error(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(message.starts_with("error: ") && stdout(&output).is_empty(), "{args:?}: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{args:?}: {message:?} lacks one of {parts:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    let path = path.to_str().unwrap();
    let written = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_string()
    };
    let (empty, short) = (written("empty.csv", "time,value\n"), written("short.csv", "time,value\n60,1\n120,2\n"));
    check_error(&["detect", "no-such-file.csv"], 1, &["no-such-file.csv"]);
    check_error(&["detect", &empty], 1, &["empty.csv"]);
    check_error(&["detect", &short], 1, &["short.csv", "2 points"]);
    check_error(&["detect", path, "--value-column", "nothing"], 1, &["nothing", "cpu"]);
    check_error(&["detect", path, "--model", "mslt"], 2, &["mslt", "mstl"]);
    check_error(&["detect", path, "--param", "season"], 2, &["season", "NAME=VALUE"]);
    check_error(&["detect", path, "--param", "sesn=1d"], 2, &["sesn"]);
    check_error(&["detect", path, "--confidence", "95"], 2, &["95", "between 0 and 1"]);
    check_error(&["detect", path, "--from", "2027-01-01"], 1, &["cpu.csv"]);
    check_error(&["detect", path, "--horizon", "0"], 2, &["--horizon"]);
    check_error(&["detect", path, "-o", "/no/such/folder/x.csv"], 1, &["/no/such/folder/x.csv", "because"]);
    check_error(&["detect", "http://127.0.0.1:1"], 2, &["--query"]);
    check_error(&["detect", "localhost:9090", "--query", "up"], 1, &["no such file", "http://localhost:9090"]);
    check_error(&["detect", path, "--from", "2026-01-02", "--to", "2026-01-01"], 2, &["--from must be before --to"]);
    check_error(&["detect", path, "--query", "nothing"], 1, &["cpu.csv", "no value for `nothing`"]);
    check_error(&["predict", path, "--from", "2027-01-01"], 1, &["--from"]);
    check_error(&["predict", path, "--quantile", "2"], 2, &["--quantile"]);
    check_error(&["predict", path, "--output", "html"], 2, &["table, csv or json"]);
    check_error(&["detect", path, "--log-level", "a=b=c"], 2, &["--log-level"]);
}

#[test]
fn pipelines_are_validated_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("load.yaml", "name: load\nquery: node_load1\nstep: 30s\nmodel: {id: mstl}\n");
    let folder = dir.path().to_str().unwrap();
    let good = run(&["validate", folder]);
    assert_eq!((good.status.code(), stdout(&good).trim()), (Some(0), "1 file, 1 pipeline: all good"));
    let list = stdout(&run(&["pipelines", "list", "--config-dir", folder]));
    assert!(list.contains("load") && list.contains("mstl") && list.contains("30s"), "{list}");

    write("query.yaml", "name: query\nquerry: up\n");
    write("twice.yaml", "name: load\nquery: up\n");
    write("model.yaml", "name: model\nquery: up\nmodel: {id: mslt}\n");
    let bad = run(&["validate", folder]);
    let text = stdout(&bad);
    assert_eq!(bad.status.code(), Some(1));
    for part in ["query.yaml:2:1", "querry", "`load` is also in", "mslt"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    check_error(&["validate", "no-such-file.yaml"], 1, &["no-such-file.yaml", "because"]);

    let shipped = run(&["validate", "../config/openanomaly.yaml", "../config/pipelines"]);
    assert_eq!(shipped.status.code(), Some(0), "{}", stdout(&shipped));
    write("variable.yaml", "name: variable\nquery: up{job=\"${OPENANOMALY_TEST_JOB}\"}\n");
    let path = dir.path().join("variable.yaml");
    let variable = || openanomaly(&["validate", path.to_str().unwrap()]);
    assert!(stdout(&variable().output().unwrap()).contains("variable.yaml:2: the environment variable"));
    assert!(variable().env("OPENANOMALY_TEST_JOB", "web").status().unwrap().success());
    write("service.yaml", "datasources: {default: {ulr: x}}\n");
    let service = run(&["validate", dir.path().join("service.yaml").to_str().unwrap()]);
    assert!(stdout(&service).contains("ulr"), "{}", stdout(&service));
}

#[test]
fn models_and_completions_are_there() {
    let list: serde_json::Value = serde_json::from_str(&stdout(&run(&["models", "list", "--output", "json"]))).unwrap();
    assert!(list.as_array().unwrap().iter().any(|model| model["id"] == "mstl"), "{list}");
    assert!(stdout(&run(&["models", "list"])).contains("seasonal_naive"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell])).contains("openanomaly"), "{shell}");
    }
    for args in [&["--help"][..], &["detect", "--help"], &["predict", "--help"]] {
        let help = stdout(&run(args));
        assert!(help.contains("Examples:") && help.lines().all(|line| line.chars().count() <= 110), "{help}");
    }
}
