//! The program itself, run as a user runs it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// `openanomaly run` with a configuration of the test's own. Killed when dropped.
pub struct Service {
    child: Child,
    folder: TempDir,
}

impl Service {
    /// Starts the service on the server at `url` with these pipelines, each the text of a file.
    ///
    /// # Panics
    /// Where it can't be started.
    pub fn start(url: &str, pipelines: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        fs::create_dir(folder.path().join("pipelines")).expect("the folder is new");
        let address = crate::server::free_address();
        let config = format!("listen: {address}\ndatasources: {{default: {{url: '{url}'}}}}\n");
        fs::write(folder.path().join("openanomaly.yaml"), config).expect("the folder can be written");
        for (name, text) in pipelines {
            fs::write(folder.path().join("pipelines").join(name), text).expect("the folder can be written");
        }
        Self { child: spawn(&folder), folder }
    }

    /// Writes the pipeline file `name`.
    ///
    /// # Panics
    /// Where the folder can't be written.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("pipelines").join(name), text).expect("the folder can be written");
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
        self.child = spawn(&self.folder);
    }

    /// Asks the process to stop, as `kill` does, and waits; says whether it ended well.
    ///
    /// # Panics
    /// Where the process can't be told.
    pub fn stop(&mut self) -> bool {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("`kill` is everywhere");
        self.child.wait().expect("the process is ours").success()
    }

    /// The address of `/metrics` and `/health`.
    ///
    /// # Panics
    /// Never: the configuration is the harness's own.
    pub fn address(&self) -> String {
        let config = fs::read_to_string(self.folder.path().join("openanomaly.yaml")).unwrap_or_default();
        config.lines().find_map(|line| line.strip_prefix("listen: ")).unwrap_or_default().to_string()
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

fn spawn(folder: &TempDir) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
    let log: File = log.expect("the folder can be written");
    Command::new(binary())
        .args(["run", "--config"])
        .arg(folder.path().join("openanomaly.yaml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the binary can be run")
}

/// The program that was built with this test: it stands beside the folder of the test's own binary.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its binary");
    let folder = test.ancestors().nth(2).expect("a test's binary stands in target/<profile>/deps");
    let binary = folder.join("openanomaly");
    assert!(binary.exists(), "{} is missing: `cargo build -p server` makes it", binary.display());
    binary
}
