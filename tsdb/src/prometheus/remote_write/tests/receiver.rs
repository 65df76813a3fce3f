//! A receiver that writes down what it is sent, byte for byte, and answers as it is told, trouble included.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Labels;
use crate::prometheus::proto::{TimeSeries, WriteRequest};

/// What the receiver does once it has the whole request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Answers with a status, more headers and a body.
    Status(u16, String, Arc<str>),
    /// Ends the connection without a word.
    Close,
    /// Ends the connection within the answer's head.
    Half,
    /// Answers with what is no HTTP.
    Garbage,
    /// Never answers.
    Hang,
    /// Answers a byte at a time, far too slowly.
    Slow,
}

impl Reply {
    pub(super) fn status(code: u16, body: &str) -> Self {
        Self::Status(code, String::new(), body.into())
    }

    pub(super) fn retry_after(code: u16, text: &str) -> Self {
        Self::Status(code, format!("Retry-After: {text}\r\n"), "".into())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) request: WriteRequest,
    taken: bool,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

type Judge = Box<dyn FnMut(usize, &WriteRequest) -> Reply + Send>;

struct State {
    judge: Judge,
    seen: Vec<Seen>,
    active: HashSet<String>,
    overlapped: bool,
}

/// The receiver; it ends with the test's runtime.
pub(super) struct Receiver {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
}

/// The series as PromQL writes it.
pub(super) fn name(series: &TimeSeries) -> String {
    let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    Labels::new(pairs).unwrap().to_string()
}

impl Receiver {
    /// Answers with `replies` in turn, then with 204.
    pub(super) async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Vec<Reply> = replies.into_iter().collect();
        Self::start(move |at, _| replies.get(at).cloned().unwrap_or(Reply::status(204, ""))).await
    }

    /// Answers as `judge` says, which is told how many requests came before and what is in this one.
    pub(super) async fn start(judge: impl FnMut(usize, &WriteRequest) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { judge: Box::new(judge), seen: vec![], active: HashSet::new(), overlapped: false };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, state }
    }

    /// All requests, in the order in which they came.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Whether a series was ever in two requests at once.
    pub(super) fn overlapped(&self) -> bool {
        self.state.lock().unwrap().overlapped
    }

    /// The samples of the requests that were answered with success, by series, in the order in which they came.
    pub(super) fn stored(&self) -> HashMap<String, Vec<(i64, f64)>> {
        let mut stored: HashMap<String, Vec<(i64, f64)>> = HashMap::new();
        for series in self.seen().iter().filter(|seen| seen.taken).flat_map(|seen| &seen.request.timeseries) {
            let samples = series.samples.iter().map(|sample| (sample.timestamp, sample.value));
            stored.entry(name(series)).or_default().extend(samples);
        }
        stored
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(mut seen) = receive(&mut stream).await {
        let names: Vec<String> = seen.request.timeseries.iter().map(name).collect();
        let reply = {
            let mut state = state.lock().unwrap();
            let at = state.seen.len();
            let reply = (state.judge)(at, &seen.request);
            seen.taken = matches!(reply, Reply::Status(200..=299, ..));
            state.seen.push(seen);
            for name in &names {
                let new = state.active.insert(name.clone());
                state.overlapped |= !new;
            }
            reply
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
        names.iter().for_each(|name| drop(state.lock().unwrap().active.take(name)));
        if !answer(&mut stream, &reply).await {
            return;
        }
    }
}

/// The next request; `None` where the connection ends.
async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_string()),
        }
    }
    let pair = |line: &String| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_string())
    };
    let headers: Vec<(String, String)> = lines[1..].iter().map(pair).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let plain = if body.is_empty() { vec![] } else { snap::raw::Decoder::new().decompress_vec(&body).unwrap() };
    let request = WriteRequest::decode(&*plain).unwrap();
    Some(Seen { line: lines.swap_remove(0), headers, body, request, taken: false })
}

/// Answers; says whether the connection goes on.
async fn answer(stream: &mut BufReader<TcpStream>, reply: &Reply) -> bool {
    match reply {
        Reply::Status(code, headers, body) => {
            let length = if *code == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let head = format!("HTTP/1.1 {code} Some Words\r\n{headers}{length}\r\n");
            let sent = stream.write_all(head.as_bytes()).await.is_ok();
            return sent && stream.write_all(body.as_bytes()).await.is_ok();
        }
        Reply::Close => {}
        Reply::Half => drop(stream.write_all(b"HTTP/1.1 204 No Con").await),
        Reply::Garbage => drop(stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n").await),
        Reply::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
        Reply::Slow => {
            for byte in b"HTTP/1.1 204 No Content\r\n\r\n" {
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(stream.write_all(&[*byte]).await);
            }
        }
    }
    false
}
