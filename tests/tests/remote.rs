//! A model behind a URL: from the series over Arrow to a server in Python, and from its forecast to the scores.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tests::{Scene, Service, VictoriaMetrics, load, sleep_until};
use tsdb::Read as _;
use tsdb::prometheus::Connection;
use tsdb::prometheus::QueryRange;
use tsdb::prometheus::client::{Client, Direction};

/// The Python server of `models/serve`, until it is dropped.
struct Forecaster {
    process: Child,
    url: String,
}

impl Drop for Forecaster {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Forecaster {
    async fn start() -> Self {
        let made = Command::new(folder("models/serve/venv.sh")).arg(folder("target/serve")).status().unwrap();
        assert!(made.success(), "the server's packages can't be had");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let process = Command::new(folder("target/serve/bin/python"))
            .args(["-m", "serve_openanomaly", "--port", &port])
            .env("PYTHONPATH", folder("models/serve"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let found = Self { process, url: format!("http://127.0.0.1:{port}") };
        let client = Client::new(&Connection::new(&found.url)).unwrap();
        // A cold start of Python reads a hundred megabytes of libraries.
        for _ in 0..600 {
            if client.request("GET".parse().unwrap(), Direction::Read, "/health").send().await.is_ok() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the Python server does not start");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_elsewhere_says_becomes_scores() {
    let forecaster = Forecaster::start().await;
    let pipeline = format!(
        "
name: requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 1m
forecast_schedule: 10s
anomaly_schedule: 2s
model:
  type: remote
  id: seasonal-naive
  endpoint: {}/predict/arrow
  serialization_format: arrow
  parameters: {{season: 20, batch: 2}}
anomaly: {{calibration: none}}
output: {{write_forecast: false}}
",
        forecaster.url
    );
    let server = VictoriaMetrics::start().await;
    let scene = Scene::now(60);
    load(&server.connection(), &scene.frame).await;
    server.flush().await;
    let mut service = Service::start(server.url(), &[("requests.yaml", &pipeline)]);
    let until = scene.start + Duration::from_secs(40);
    sleep_until(until + Duration::from_secs(10)).await;
    assert!(service.stop(), "{}", service.log());
    server.flush().await;
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let settles_after = reader.settles_after().await.unwrap();
    let (first, last) = scene.check_scores(&reader, &pipeline, settles_after).await;
    assert!(
        first <= scene.start + Duration::from_secs(20) && last >= until - Duration::from_secs(10),
        "{first} – {last}"
    );
}
