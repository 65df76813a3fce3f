//! The program itself, run as a user runs it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tsdb::prometheus::Connection;
use tsdb::prometheus::client::{Client, Direction};

/// `openanomaly run` with a configuration of the test's own. Killed when dropped.
pub struct Service {
    child: Child,
    folder: TempDir,
    address: String,
    environment: Vec<(String, String)>,
}

impl Service {
    /// Starts the service on the server at `url` with these pipelines, each a file's name and text.
    ///
    /// # Panics
    /// Where it can't be started.
    pub fn start(url: &str, pipelines: &[(&str, &str)]) -> Self {
        Self::configured(&format!("datasources: {{default: {{url: '{url}'}}}}\n"), &[], pipelines)
    }

    /// Starts the service with `config` as the text of its configuration, but for `listen`, which is added, and with
    /// more in its environment.
    ///
    /// # Panics
    /// Where it can't be started.
    pub fn configured(config: &str, environment: &[(&str, &str)], pipelines: &[(&str, &str)]) -> Self {
        Self::listening(crate::free_address(), config, environment, pipelines)
    }

    /// The same, at an address that is known before.
    ///
    /// # Panics
    /// Where it can't be started.
    pub fn listening(address: String, config: &str, environment: &[(&str, &str)], pipelines: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        fs::create_dir(folder.path().join("pipelines")).expect("the folder is new");
        configure(&folder, &address, config);
        for (name, text) in pipelines {
            fs::write(folder.path().join("pipelines").join(name), text).expect("the folder can be written");
        }
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { child: spawn(&folder, &environment), folder, address, environment }
    }

    /// Writes the configuration anew, as for [`Service::configured`].
    ///
    /// # Panics
    /// Where the folder can't be written.
    pub fn configure(&self, config: &str) {
        configure(&self.folder, &self.address, config);
    }

    /// The path of its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("openanomaly.yaml")
    }

    /// The path of the pipeline file `name`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("pipelines").join(name)
    }

    /// Writes the pipeline file `name`.
    ///
    /// # Panics
    /// Where the folder can't be written.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("the folder can be written");
    }

    /// Removes the pipeline file `name`.
    ///
    /// # Panics
    /// Where it can't be removed.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).expect("the folder can be written");
    }

    /// Ends the process at once, as `kill -9` does.
    ///
    /// # Panics
    /// Where the process can't be ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Starts a new process with the same configuration.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.environment);
    }

    /// Whether the process has ended by itself, and well.
    ///
    /// # Panics
    /// Where the process can't be asked.
    pub fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().expect("the process is ours").map(|status| status.success())
    }

    /// The folder of the configuration, in which the service keeps its database.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Asks the process to stop, as `kill` does, and waits; says whether it ended well.
    ///
    /// # Panics
    /// Where the process can't be told.
    pub fn stop(&mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().expect("the process is ours").success()
    }

    /// Asks the process to read its configuration again.
    ///
    /// # Panics
    /// Where the process can't be told.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        Command::new("kill").args([signal, &pid]).status().expect("`kill` is everywhere");
    }

    /// The address of `/metrics` and `/health`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What `/health` says; null while nobody answers.
    pub async fn health(&self) -> Value {
        serde_json::from_str(&self.get("/health").await).unwrap_or_default()
    }

    /// What `/metrics` says; empty while nobody answers.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await
    }

    async fn get(&self, path: &str) -> String {
        let client = Client::new(&Connection::new(format!("http://{}", self.address)));
        let client = client.expect("the address is the harness's own");
        let answer = client.request("GET".parse().expect("a method"), Direction::Read, path).send().await;
        let Ok(answer) = answer else { return String::new() };
        answer.text().await.unwrap_or_default()
    }

    /// What the service has logged so far, over all its processes.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the log of the service:\n{}", self.log());
        }
    }
}

fn configure(folder: &TempDir, address: &str, config: &str) {
    let config = format!("listen: {address}\n{config}");
    fs::write(folder.path().join("openanomaly.yaml"), config).expect("the folder can be written");
}

fn spawn(folder: &TempDir, environment: &[(String, String)]) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
    let log: File = log.expect("the folder can be written");
    Command::new(binary())
        .args(["run", "--config"])
        .arg(folder.path().join("openanomaly.yaml"))
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the binary can be run")
}

/// The program itself, to be run with arguments.
///
/// # Panics
/// Where it was not built.
pub fn openanomaly() -> Command {
    Command::new(binary())
}

/// The program that was built with this test: it stands beside the folder of the test's own binary.
///
/// # Panics
/// Where it was not built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its binary");
    let folder = test.ancestors().nth(2).expect("a test's binary stands in target/<profile>/deps");
    let binary = folder.join("openanomaly");
    assert!(binary.exists(), "{} is missing: `cargo build -p server` makes it", binary.display());
    binary
}
