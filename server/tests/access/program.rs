//! The program, run as a user runs it, and asked over HTTP.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io::Write};

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// A folder with a configuration.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// A configuration of a datasource that nobody answers for, and `more`.
    pub(crate) fn new(more: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.configure(&format!("datasources: {{ default: {{ url: 'http://127.0.0.1:1' }} }}\n{more}"));
        folder
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> String {
        self.path().join("openanomaly.yaml").display().to_string()
    }

    /// What the program answers to `args` and `input`.
    pub(crate) fn output(&self, args: &[&str], input: &str) -> Output {
        let mut child =
            command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What a program that succeeds prints.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same without input.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.run_with(args, "")
    }

    /// The same against a running service.
    pub(crate) fn run_at(&self, service: &Service, key: &str, args: &[&str]) -> String {
        self.run(&[args, &["--server", &service.url(""), "--key", key]].concat())
    }

    /// A new key, made without a running service.
    pub(crate) fn key(&self, args: &[&str]) -> String {
        let key = self.run(&[&["keys", "create", "--config", &self.config()], args].concat());
        key.trim().to_owned()
    }

    /// Why the service does not start.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.output(&[&["run", "--config", &self.config()], args].concat(), "");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openanomaly"));
    command.args(args);
    for name in ["OPENANOMALY_SERVER", "OPENANOMALY_API_KEY", "OPENANOMALY_LOG_LEVEL", "OPENANOMALY_LISTEN_ADDRESS"] {
        command.env_remove(name);
    }
    command
}

/// `openanomaly run`, until it is dropped.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    log: std::path::PathBuf,
    client: Client,
    scheme: &'static str,
}

impl Service {
    /// Starts the service, and waits until it answers.
    pub(crate) async fn start(folder: &Folder, args: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self::started(folder, args, client, "http").await
    }

    /// The same with the certificate that `folder` has.
    pub(crate) async fn start_encrypted(folder: &Folder, certificate: Certificate) -> Self {
        Self::started(folder, &[], trusting(certificate), "https").await
    }

    async fn started(folder: &Folder, args: &[&str], client: Client, scheme: &'static str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let log = folder.path().join("log");
        let child = command(&[&["run", "--config", &folder.config(), "--listen", &address], args].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let service = Self { child, address, log, client, scheme };
        let url = service.url("/health/live");
        eventually("the service", async || service.client.get(&url).send().await.ok()).await;
        service
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Who asks.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// What is answered to a request with a key, where one is given, and a body.
    pub(crate) async fn ask(&self, method: Method, path: &str, key: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, self.url(path));
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        Answer::of(body.iter().fold(request, |request, body| request.json(body))).await
    }

    /// The same for a `GET`.
    pub(crate) async fn get(&self, path: &str, key: &str) -> Answer {
        self.ask(Method::GET, path, key, None).await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the log of the service:\n{}", self.log());
        }
    }
}

/// A client that trusts one certificate alone.
pub(crate) fn trusting(certificate: Certificate) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

/// An answer of the service.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    /// What is answered to a request.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.timeout(Duration::from_secs(60)).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { status, headers, text, json }
    }

    /// A header; nothing, where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the problem that it is.
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// Checks that it is this problem.
    #[track_caller]
    pub(crate) fn check(&self, status: StatusCode, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
    }
}

/// What `look` finds in the end; it looks several times a second, for a minute.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}")
}
