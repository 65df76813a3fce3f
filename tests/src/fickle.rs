//! A server with moods, in front of a real one.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How the server treats requests to some of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It lets the real server answer.
    Well,
    /// It sends these bytes, whatever they are, and closes the connection.
    Says(&'static str),
    /// It reads the request and never answers.
    Hangs,
}

/// Hands every request on to a real server, but for those to the paths that begin with `path` while it is in a mood.
pub struct Fickle {
    address: String,
    mood: Arc<Mutex<Mood>>,
    task: JoinHandle<()>,
}

impl Fickle {
    /// Starts it in front of the server at `url`, in a good mood.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn start(url: &str, path: &'static str) -> Self {
        let upstream = url.trim_start_matches("http://").to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        let mood = Arc::new(Mutex::new(Mood::Well));
        let shared = mood.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, upstream.clone(), path, shared.clone()));
            }
        });
        Self { address, mood, task }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it treats the requests to come.
    ///
    /// # Panics
    /// Never: nothing panics while it changes.
    pub fn change(&self, mood: Mood) {
        *self.mood.lock().expect("nothing panics while it changes") = mood;
    }
}

impl Drop for Fickle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request and closes the connection. A client that goes away ends it, which is no fault.
async fn serve(mut stream: TcpStream, upstream: String, path: &str, mood: Arc<Mutex<Mood>>) -> Option<()> {
    let request = request(&mut stream).await?;
    let line = request.split(|byte| *byte == b'\r').next()?;
    let is_ours = String::from_utf8_lossy(line).split(' ').nth(1)?.starts_with(path);
    let mood = *mood.lock().ok()?;
    match mood {
        Mood::Says(text) if is_ours => stream.write_all(text.as_bytes()).await.ok()?,
        Mood::Hangs if is_ours => std::future::pending().await,
        _ => {
            let mut real = TcpStream::connect(upstream).await.ok()?;
            real.write_all(line).await.ok()?;
            real.write_all(b"\r\nconnection: close").await.ok()?;
            real.write_all(&request[line.len()..]).await.ok()?;
            tokio::io::copy(&mut real, &mut stream).await.ok()?;
        }
    }
    stream.shutdown().await.ok()
}

/// The whole request: head and body, which must tell its length.
async fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![];
    loop {
        if let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= head + 4 + length {
                return Some(bytes);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
