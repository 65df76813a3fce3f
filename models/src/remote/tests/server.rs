//! An endpoint in this process that answers whatever a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path.
    pub(crate) line: String,
    /// All headers in lower case.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Listens until the test ends.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `say` writes the answer to the request that came as the `n`th, from 0.
    pub(crate) fn start(say: impl Fn(&mut TcpStream, &Asked, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/predict", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let (seen, say) = (Arc::clone(&asked), Arc::new(say));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, say) = (Arc::clone(&seen), Arc::clone(&say));
                std::thread::spawn(move || serve(stream, &seen, &*say));
            }
        });
        Self { url, asked }
    }

    /// Always answers with this.
    pub(crate) fn saying(code: u16, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let answer = answer(code, headers, &body.into());
        Self::start(move |stream, _, _| _ = stream.write_all(&answer))
    }

    /// What came so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// An HTTP response.
pub(crate) fn answer(code: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len()).into_bytes();
    for header in headers.split('|').filter(|header| !header.is_empty()) {
        bytes.extend(format!("{header}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Asked>>, say: &(impl Fn(&mut TcpStream, &Asked, usize) + ?Sized)) {
    let Some(asked) = read(&stream) else { return };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len() - 1
    };
    say(&mut stream, &asked, number);
    _ = stream.flush();
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let headers = lines[1..].join("\n").to_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { line: lines[0].trim_end_matches(" HTTP/1.1").to_owned(), headers, body })
}
