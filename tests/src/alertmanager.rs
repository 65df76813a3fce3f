//! Alertmanager, which nobody sends alerts to.

use crate::server::{Program, Server};

const PROGRAM: Program = Program::http(
    "prometheus-alertmanager",
    "`apt-get install --no-install-recommends prometheus-alertmanager` brings it",
    "/-/ready",
);

/// An Alertmanager of a test's own.
pub struct Alertmanager(Server);

impl Alertmanager {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where it can't be started.
    pub async fn start() -> Self {
        Self(
            Server::start(&PROGRAM, |dir, address| {
                let config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
                std::fs::write(dir.join("alertmanager.yml"), config).expect("the folder is new");
                vec![
                    format!("--config.file={}", dir.join("alertmanager.yml").display()),
                    format!("--storage.path={}", dir.join("data").display()),
                    format!("--web.listen-address={address}"),
                    "--cluster.listen-address=".into(),
                ]
            })
            .await,
        )
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.0.url
    }
}
