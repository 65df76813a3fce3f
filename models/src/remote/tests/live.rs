//! Against the Python server in `models/serve`, which reads and writes Arrow by pandas and by polars.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;

/// The server, until it is dropped.
struct Live {
    process: Child,
    url: String,
}

impl Drop for Live {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Starts the server with the packages in `target/serve`, which are fetched once.
fn serve(writer: &str) -> Live {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let process = Command::new(folder("../target/serve/bin/python"))
        .args(["-m", "serve_openanomaly", "--writer", writer, "--port", &port])
        .env("PYTHONPATH", folder("serve"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Live { process, url: format!("http://127.0.0.1:{port}") }
}

fn wait_until_ready(live: &Live) {
    let health = remote(&format!("{}/health", live.url), Format::Json, r#"{"retries": 0}"#);
    let begun = Instant::now();
    while let Err(error) = health.prepare() {
        assert!(begun.elapsed() < Duration::from_secs(180), "{error}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A season of 12 points.
fn wave(at: usize) -> f64 {
    100.0 + (std::f64::consts::TAU * at as f64 / 12.0).sin()
}

#[track_caller]
fn check_wave(forecast: &Forecast, series: usize, next: usize) {
    for level in 0..3 {
        for (ahead, value) in forecast.quantile(series, level).iter().enumerate() {
            let expected = wave(next + ahead);
            assert!((value - expected).abs() < 1e-3, "series {series}: {value} is not {expected}");
        }
    }
}

#[test]
fn every_protocol_works_with_a_real_server() {
    let made = Command::new(folder("serve/venv.sh")).arg(folder("../target/serve")).status().unwrap();
    assert!(made.success(), "the server's packages can't be had");
    let lives = ["pandas", "polars"].map(serve);
    for live in &lives {
        wait_until_ready(live);
        check_protocols(&live.url);
    }
    check_refusals(&lives[0].url);
    check_training(&lives[0].url);
}

fn check_protocols(url: &str) {
    let long: Vec<f64> = (0..120).map(wave).collect();
    let short: Vec<f64> = (0..60).map(wave).collect();
    let gappy: Vec<f64> = (0..90).map(|at| if at % 31 == 0 { f64::NAN } else { wave(at) }).collect();
    let flat = [7.0];
    let contexts: [&[f64]; 5] = [&long, &flat, &short, &[], &gappy];
    for (path, format, protocol) in [
        ("/predict", Format::Json, "json"),
        ("/predict/arrow", Format::Arrow, "arrow"),
        ("", Format::Json, "oip"),
        ("", Format::Json, "kserve"),
    ] {
        for batch in if protocol == "json" { &[1][..] } else { &[1, 3, 100] } {
            let parameters = format!(r#"{{"protocol": "{protocol}", "batch": {batch}, "season": 12}}"#);
            let model = remote(&format!("{url}{path}"), format, &parameters);
            model.prepare().unwrap();
            let forecast = ask(&model, &contexts).unwrap();
            assert_eq!(forecast.failures(), [], "{protocol}");
            check_wave(&forecast, 0, 120);
            check_wave(&forecast, 2, 60);
            assert_eq!(forecast.of(1), [7.0; 6], "{protocol}");
            assert!(forecast.of(3).iter().all(|value| value.is_nan()), "{protocol}");
            assert!(forecast.of(4).iter().all(|value| (value - 100.0).abs() < 3.0), "{protocol}: {:?}", forecast.of(4));
        }
    }
}

fn check_refusals(url: &str) {
    for (path, format) in [("/predict", Format::Json), ("/predict/arrow", Format::Arrow)] {
        let url = format!("{url}{path}");
        let model = remote(&url, format, r#"{"season": 0}"#);
        check_error(ask(&model, &[&[1.0, 2.0]]), &url, &["HTTP 400", "season is 0, not a whole number"]);
    }
    let nowhere = format!("{url}/nowhere");
    check_error(ask(&remote(&nowhere, Format::Arrow, "{}"), &[&[1.0]]), &nowhere, &["HTTP 404", "Not Found"]);
}

/// What was trained is asked under the id that training answered.
fn check_training(url: &str) {
    let values: Vec<f64> = (0..120).map(wave).collect();
    let endpoint = Endpoint { url: format!("{url}/train"), format: Format::Json };
    let training = Training { series: &[("a", &values)], end_ms: END_MS, step: Duration::from_secs(60) };
    let trained = train(&ModelSpec::default(), &endpoint, &training, &Resources::default()).unwrap();
    assert_eq!(trained.model_id.as_deref(), Some("seasonal-naive-12"));
    let model = remote(&format!("{url}/predict"), Format::Json, r#"{"model_id": "seasonal-naive-12"}"#);
    check_wave(&ask(&model, &[&values]).unwrap(), 0, 120);
    let unknown = remote(&format!("{url}/predict"), Format::Json, r#"{"model_id": "../x"}"#);
    assert!(ask(&unknown, &[&values]).unwrap_err().message.contains("there is no model '../x'"));
}
