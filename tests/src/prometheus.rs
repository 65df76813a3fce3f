//! Prometheus, with its remote-write receiver on.

use std::path::Path;
use std::time::Duration;

use tsdb::prometheus::connection::Connection;

use crate::server::{Program, Server};

const PROGRAM: Program =
    Program::http("prometheus", "`apt-get install --no-install-recommends prometheus` brings it", "/-/ready");

/// What a Prometheus is to do besides receiving.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Rule groups, as the text of a rule file.
    pub rules: Option<String>,
    /// How old a sample may be that comes after newer ones.
    pub out_of_order_window: Option<Duration>,
    /// The address of an OpenAnomaly that it scrapes every second, as the job `openanomaly`.
    pub scrape: Option<String>,
}

/// A Prometheus of a test's own. What was written is visible at once.
pub struct Prometheus(Server);

impl Prometheus {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where it can't be started.
    pub async fn start(setup: &Setup) -> Self {
        Self(
            Server::start(&PROGRAM, |dir, address| {
                write_config(dir, setup);
                vec![
                    format!("--config.file={}", dir.join("prometheus.yml").display()),
                    format!("--storage.tsdb.path={}", dir.join("data").display()),
                    format!("--web.listen-address={address}"),
                    "--web.enable-remote-write-receiver".into(),
                ]
            })
            .await,
        )
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// A connection to it.
    pub fn connection(&self) -> Connection {
        Connection::new(self.url())
    }

    /// A page as text, such as `/metrics` or `/api/v1/rules`.
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

fn write_config(dir: &Path, setup: &Setup) {
    let mut config = "global: {evaluation_interval: 1s}\n".to_string();
    if let Some(rules) = &setup.rules {
        std::fs::write(dir.join("rules.yml"), rules).expect("the folder is new");
        config.push_str("rule_files: [rules.yml]\n");
    }
    if let Some(window) = setup.out_of_order_window {
        config.push_str(&format!("storage: {{tsdb: {{out_of_order_time_window: {}s}}}}\n", window.as_secs()));
    }
    if let Some(target) = &setup.scrape {
        let job = format!("job_name: openanomaly, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]");
        config.push_str(&format!("scrape_configs: [{{{job}}}]\n"));
    }
    std::fs::write(dir.join("prometheus.yml"), config).expect("the folder is new");
}
