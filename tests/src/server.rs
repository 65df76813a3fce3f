//! A server's process: started, waited for, ended.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tsdb::prometheus::client::{Client, Direction};
use tsdb::prometheus::connection::Connection;

/// How long a server may take to be ready: machines that build at the same time are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is needed to start a kind of server.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) binary: Cow<'static, str>,
    /// How to get it, for people.
    pub(crate) source: &'static str,
    pub(crate) ready: Ready,
    /// The user and group that it runs as, where they are not ours.
    pub(crate) owner: Option<(u32, u32)>,
    /// The signal that ends it.
    pub(crate) end: &'static str,
}

/// How a server shows that it is ready.
#[derive(Clone, Copy)]
pub(crate) enum Ready {
    /// This page answers 200.
    Page(&'static str),
    /// It listens.
    Listens,
}

impl Program {
    /// A server that speaks HTTP, and whose `page` answers 200 when it is ready.
    pub(crate) const fn http(binary: &'static str, source: &'static str, page: &'static str) -> Self {
        Self { binary: Cow::Borrowed(binary), source, ready: Ready::Page(page), owner: None, end: "-KILL" }
    }
}

/// A running server. Its log goes to standard error where the test fails.
pub(crate) struct Server {
    program: Program,
    arguments: Vec<String>,
    child: Child,
    pub(crate) url: String,
    pub(crate) address: String,
    dir: TempDir,
}

impl Server {
    /// Starts `program` with the arguments for its folder and address, once more where another process took the
    /// port meanwhile, and waits until it is ready.
    pub(crate) async fn start(program: &Program, arguments: impl Fn(&Path, &str) -> Vec<String>) -> Self {
        for attempt in 1.. {
            let dir = tempfile::tempdir().expect("the temporary folder can be written");
            let address = free_address();
            let arguments = arguments(dir.path(), &address);
            let child = spawn(program, &arguments, dir.path());
            let url = format!("http://{address}");
            let mut server = Self { program: program.clone(), arguments, child, url, address, dir };
            match server.wait().await {
                Ok(()) => return server,
                Err(why) if attempt == 3 => panic!("{}: {why}\n{}", program.binary, server.log()),
                Err(_) => {}
            }
        }
        unreachable!("the third attempt ends the loop")
    }

    /// Ends the process; its data and its address stay.
    pub(crate) fn stop(&mut self) {
        let pid = self.child.id().to_string();
        // It may have ended by itself, and then there is nothing to end.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args([self.program.end, &pid]).status();
            let _ = self.child.wait();
        }
    }

    /// Starts it anew on the same data and address, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        self.stop();
        self.child = spawn(&self.program, &self.arguments, self.dir.path());
        self.wait().await.expect("it has started before");
    }

    async fn wait(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status} instead of getting ready"));
            }
            let is_ready = match self.program.ready {
                Ready::Page(page) => self.get(page).await.is_ok(),
                Ready::Listens => TcpStream::connect(&self.address).is_ok(),
            };
            if is_ready {
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
        self.stop();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the log of {}:\n{}", self.url, self.log());
        }
    }
}

fn spawn(program: &Program, arguments: &[String], dir: &Path) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("log"));
    let log = log.expect("the temporary folder can be written");
    let mut command = Command::new(program.binary.as_ref());
    if let Some((user, group)) = program.owner {
        command.uid(user).gid(group);
    }
    command
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log is open"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("`{}` can't be started ({e}): {}", program.binary, program.source))
}

/// An address on this machine that nobody listens on at the moment.
///
/// # Panics
/// Where there is no free port.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    listener.local_addr().expect("it is bound").to_string()
}
