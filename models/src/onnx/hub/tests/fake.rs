//! A hub on this machine that can misbehave.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::onnx::manifest::hex;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with the next file that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The connection ends after so many bytes.
    Cut(usize),
    Status(u16),
    /// The whole file comes, whatever was asked for.
    Whole,
    /// Another range comes than was asked for.
    OtherRange,
    /// More bytes come than the file has.
    More,
    /// Other bytes come.
    Changed,
}

/// A repository, which others than `token` may not see.
#[derive(Default)]
pub(super) struct Repository {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) token: Option<&'static str>,
    pub(super) trouble: Mutex<VecDeque<Trouble>>,
    /// Changes what is said of it.
    pub(super) listing: Option<fn(&mut Value)>,
}

/// A hub with one repository, `org/name`.
pub(super) struct Fake {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

struct Request {
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Fake {
    pub(super) fn start(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(vec![]));
        let (log, repository) = (requests.clone(), Arc::new(repository));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, repository) = (log.clone(), repository.clone());
                std::thread::spawn(move || repository.answer(stream, port, &log));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), requests }
    }

    /// Files that were asked for, each with its range and whether a token came along.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header =
        |line: String| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(header).collect();
    Some(Request { path, headers })
}

impl Repository {
    fn answer(&self, stream: TcpStream, port: u16, log: &Mutex<Vec<String>>) {
        let Some(request) = read(&stream) else { return };
        let allowed =
            self.token.is_none_or(|token| request.header("authorization") == Some(&format!("Bearer {token}")));
        let range = request.header("range").unwrap_or("all");
        let token = if request.header("authorization").is_some() { " token" } else { "" };
        let cdn = request.path.strip_prefix("/cdn/");
        if let Some(file) = cdn {
            log.lock().unwrap().push(format!("{file} {range}{token}"));
        }
        let resolve = request.path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/"));
        match (request.path.as_str(), resolve, cdn) {
            (_, _, Some(file)) => self.file(&stream, file, request.header("range")),
            _ if !allowed => say(&stream, 401, "", b"{}"),
            ("/api/models/org/name/revision/main?blobs=true", ..) => {
                say(&stream, 200, "", self.listed().to_string().as_bytes());
            }
            // Another host, as on the real hub, so that the token must not go there.
            (_, Some(file), _) => say(&stream, 302, &format!("Location: http://localhost:{port}/cdn/{file}\r\n"), b""),
            _ => say(&stream, 404, "", b"{}"),
        }
    }

    fn listed(&self) -> Value {
        let sibling = |(name, bytes): &(String, Vec<u8>)| {
            let mut sibling = json!({"rfilename": name, "size": bytes.len(), "blobId": "0"});
            if name.contains(".onnx") {
                sibling["lfs"] = json!({"sha256": hex(&Sha256::digest(bytes)), "size": bytes.len(), "pointerSize": 1});
            }
            sibling
        };
        let siblings: Vec<_> = self.files.iter().map(sibling).collect();
        let mut listing = json!({"id": "org/name", "sha": COMMIT, "siblings": siblings,
                                 "cardData": {"license": "apache-2.0"}, "tags": ["license:mit"]});
        if let Some(change) = self.listing {
            change(&mut listing);
        }
        listing
    }

    fn file(&self, stream: &TcpStream, name: &str, range: Option<&str>) {
        let Some((_, bytes)) = self.files.iter().find(|(known, _)| known == name) else {
            return say(stream, 404, "", b"");
        };
        let trouble = if name.contains(".onnx") { self.trouble.lock().unwrap().pop_front() } else { None };
        let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let from = from.filter(|_| !matches!(trouble, Some(Trouble::Whole)));
        if from.is_some_and(|from| from >= bytes.len()) {
            return say(stream, 416, "", b"");
        }
        let mut body = bytes[from.unwrap_or(0)..].to_vec();
        let shown = if matches!(trouble, Some(Trouble::OtherRange)) { from.map(|from| from - 1) } else { from };
        let range = shown.map(|from| format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()));
        let status = if range.is_some() { 206 } else { 200 };
        let header = range.unwrap_or_default();
        match trouble {
            Some(Trouble::Status(status)) => say(stream, status, "", b""),
            Some(Trouble::Cut(sent)) => cut(stream, status, &header, &body, sent),
            Some(Trouble::More) => {
                body.extend([0; 1000]);
                say(stream, status, &header, &body);
            }
            Some(Trouble::Changed) => {
                body[3] ^= 1;
                say(stream, status, &header, &body);
            }
            _ => say(stream, status, &header, &body),
        }
    }
}

fn say(stream: &TcpStream, status: u16, headers: &str, body: &[u8]) {
    cut(stream, status, headers, body, body.len());
}

fn cut(mut stream: &TcpStream, status: u16, headers: &str, body: &[u8], sent: usize) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body[..sent.min(length)]);
    // Closed before the other side has read all, the connection would be reset, and lose it.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.take(1000).read_to_end(&mut vec![]);
}
