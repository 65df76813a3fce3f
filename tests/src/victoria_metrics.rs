//! VictoriaMetrics, single node.

use serde_json::json;
use tsdb::Frame;
use tsdb::prometheus::connection::Connection;

use crate::server::{Program, Server};

const PROGRAM: Program = Program::http(
    "victoria-metrics",
    "`apt-get install --no-install-recommends victoria-metrics` brings it",
    "/health",
);

/// A VictoriaMetrics of a test's own.
///
/// It shows a new series reliably only where its stamps are at least a minute old and [`flush`](Self::flush) came
/// before the first query for it.
pub struct VictoriaMetrics(Server);

impl VictoriaMetrics {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where it can't be started.
    pub async fn start() -> Self {
        Self(
            Server::start(&PROGRAM, |dir, address| {
                vec![
                    format!("-storageDataPath={}", dir.join("data").display()),
                    format!("-httpListenAddr={address}"),
                    "-retentionPeriod=100y".into(),
                    "-search.latencyOffset=0s".into(),
                ]
            })
            .await,
        )
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// A connection whose queries see what was flushed, on exactly the grid that they ask for.
    pub fn connection(&self) -> Connection {
        Connection { params: vec![("nocache".into(), "1".into())], ..Connection::new(self.url()) }
    }

    /// Makes all that was written visible to queries.
    ///
    /// # Panics
    /// Where it doesn't answer.
    pub async fn flush(&self) {
        self.0.get("/internal/force_flush").await.expect("the page is there");
    }

    /// Writes `frame` by VictoriaMetrics' own lines of JSON, which share no code with remote write.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn import(&self, frame: &Frame) {
        let line = |(labels, values): (&tsdb::Labels, &[f64])| {
            let sent = || values.iter().enumerate().filter(|(_, value)| !value.is_nan());
            let metric: serde_json::Map<_, _> =
                labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let values: Vec<f64> = sent().map(|(_, value)| *value).collect();
            let timestamps: Vec<i64> = sent().map(|(at, _)| frame.time(at).millis()).collect();
            json!({"metric": metric, "values": values, "timestamps": timestamps}).to_string() + "\n"
        };
        self.0.post("/api/v1/import", frame.rows().map(line).collect()).await.expect("the lines are right");
    }

    /// A page as text, such as `/metrics`.
    ///
    /// # Errors
    /// The status and body of an answer that is no success.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        self.0.get(path).await
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.0.log()
    }
}
