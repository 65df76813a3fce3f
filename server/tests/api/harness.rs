//! A service on a free port, and how it is asked.

use std::fmt::Write;
use std::path::Path;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;
use server::api::serve::serve;
use server::app::App;
use server::config::Config;
use server::daemon;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tsdb::{Frame, Labels, Step, Timestamp};

/// A service in this process, without its schedules. It ends when it is dropped.
pub(crate) struct Service {
    pub(crate) app: App,
    pub(crate) url: String,
    // Lies there as long as the service.
    _folder: TempDir,
    pub(crate) server: JoinHandle<std::io::Result<()>>,
    client: Client,
}

/// What was answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The text as JSON; null where it is none.
    pub(crate) body: Value,
}

impl Reply {
    /// The header; of several of one name the last, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get_all(name).iter().next_back().map_or("", |value| value.to_str().unwrap())
    }

    /// The paths of all that is wrong in the body.
    pub(crate) fn faults(&self) -> Vec<&str> {
        self.body["errors"].as_array().unwrap().iter().map(|fault| fault["path"].as_str().unwrap()).collect()
    }
}

impl Service {
    /// With an embedded store and a pipeline in a file.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// The same, with more lines of configuration.
    pub(crate) async fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pipelines")).unwrap();
        let filed = "name: filed\nquery: up\n";
        std::fs::write(folder.path().join("pipelines/filed.yaml"), filed).unwrap();
        let text = format!("datasources: {{default: {{path: store}}}}\n{config}");
        std::fs::write(folder.path().join("openanomaly.yaml"), text).unwrap();
        Self::of(folder).await
    }

    async fn of(folder: TempDir) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file: &Path = &folder.path().join("openanomaly.yaml");
        let config = Config::load(file, &|_| None).unwrap();
        let (app, _) = daemon::assemble(file, config, false).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(app.clone(), listener, None));
        Self { app, url, _folder: folder, server, client: Client::new() }
    }

    /// Asks; `headers` are lines such as `if-match: "a"`, and a body without a content type is JSON.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let method: Method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for line in headers {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        if !body.is_empty() {
            if !headers.iter().any(|line| line.starts_with("content-type")) {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Reply { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], &body.to_string()).await
    }

    /// Writes two hours of a wave of one-minute points up to `until`, for two jobs, with a spike in the last point of
    /// the first.
    pub(crate) async fn fill(&self, metric: &str, until: Timestamp) {
        let step = Step::from_millis(60_000).unwrap();
        let until = until.floor(step);
        let values = (0..240).map(|at| match at {
            119 => 1000.0,
            at => 10.0 + (f64::from(at % 120) / 5.0).sin(),
        });
        let series = ["a", "b"].map(|job| Labels::metric(metric).with("job", job)).to_vec();
        let frame = Frame::new(series, until - step.times(119), step, 120, values.collect()).unwrap();
        self.app.current().assembly.sink("default").unwrap().write(&[frame]).await.unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.app.stopping.cancel();
    }
}

/// Whether `found` has all that `expected` has; `"*"` stands for anything that is not null.
pub(crate) fn includes(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (found, Value::String(any)) if any == "*" => !found.is_null(),
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|found| includes(found, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| includes(a, b))
        }
        _ => found == expected,
    }
}

/// A body of `series` series of `points` points.
pub(crate) fn inline(series: usize, points: usize) -> String {
    let mut text = String::from(r#"{"context_window": "1h", "series": ["#);
    for row in 0..series {
        let comma = if row > 0 { "," } else { "" };
        write!(
            text,
            r#"{comma}{{"metric": "m", "labels": {{"row": "{row}"}}, "start": 1700000000, "step": "1m", "values": ["#
        )
        .unwrap();
        for point in 0..points {
            let comma = if point > 0 { "," } else { "" };
            write!(text, "{comma}{:.3}", ((row + point) as f64 / 7.0).sin()).unwrap();
        }
        text.push_str("]}");
    }
    text + "]}"
}
