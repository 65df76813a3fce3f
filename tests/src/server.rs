//! A server's process: started, waited for, ended.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tsdb::prometheus::client::{Client, Direction};
use tsdb::prometheus::connection::Connection;

/// How long a server may take to be ready: machines that build at the same time are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is needed to start a kind of server.
pub(crate) struct Program {
    pub(crate) binary: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// The path that answers 200 when it is ready.
    pub(crate) ready: &'static str,
}

/// A running server. Its log goes to standard error where the test fails.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    dir: TempDir,
}

impl Server {
    /// Starts `program` with the arguments for its folder and address, once more where another process took the
    /// port meanwhile, and waits until it is ready.
    pub(crate) async fn start(program: &Program, arguments: impl Fn(&Path, &str) -> Vec<String>) -> Self {
        for attempt in 1.. {
            let mut server = Self::spawn(program, &arguments);
            match server.wait(program).await {
                Ok(()) => return server,
                Err(why) if attempt == 3 => panic!("{}: {why}\n{}", program.binary, server.log()),
                Err(_) => {}
            }
        }
        unreachable!("the third attempt ends the loop")
    }

    fn spawn(program: &Program, arguments: impl Fn(&Path, &str) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().expect("the temporary folder can be written");
        let address = free_address();
        let log = File::create(dir.path().join("log")).expect("the folder is new");
        let child = Command::new(program.binary)
            .args(arguments(dir.path(), &address))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log is open"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| {
                let (binary, package) = (program.binary, program.package);
                panic!(
                    "`{binary}` can't be started ({e}): `apt-get install --no-install-recommends {package}` brings it"
                )
            });
        Self { child, url: format!("http://{address}"), dir }
    }

    async fn wait(&mut self, program: &Program) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status} instead of getting ready"));
            }
            if self.get(program.ready).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("it was not ready within {PATIENCE:?}"))
    }

    /// The body of a page; an error text where the status is no success.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        let request = self.client().request("GET".parse().expect("a method"), Direction::Read, path);
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body = answer.text().await.map_err(|e| e.to_string())?;
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
    }

    /// Sends `body` to a page that answers with success.
    pub(crate) async fn post(&self, path: &str, body: String) -> Result<(), String> {
        let request = self.client().request("POST".parse().expect("a method"), Direction::Write, path);
        let answer = request.body(body).send().await.map_err(|e| e.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
    }

    fn client(&self) -> Client {
        Client::new(&Connection::new(&self.url)).expect("the address is the harness's own")
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the log of {}:\n{}", self.url, self.log());
        }
    }
}

/// An address on this machine that nobody listens on at the moment.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    listener.local_addr().expect("it is bound").to_string()
}
