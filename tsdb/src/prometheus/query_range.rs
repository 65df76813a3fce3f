//! Reading by `/api/v1/query_range`, as Prometheus, VictoriaMetrics and their relatives answer it.

use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::header::{DATE, LOCATION};
use reqwest::{Method, RequestBuilder, Response};
use tokio::sync::OnceCell;

use super::client::{Client, ClientError, Direction, describe, error_body, is_retryable, readable, retry_after};
use super::connection::{Connection, Tenant};
use super::matrix::{Parser, Rows};
use super::{ended, names, settling};
use crate::embedded::is_selector;
use crate::frame::Frame;
use crate::read::{Answer, Bound, Limits, RangeQuery, Read, ReadError, ReadFault};

const PATH: &str = "/api/v1/query_range";

/// The most points a series that every server answers: Prometheus refuses more, VictoriaMetrics allows 30,000.
const POINTS_A_REQUEST: usize = 11_000;

/// A query of up to this many bytes goes into the URL, where caches and logs of proxies see it; a longer one, which
/// some of them would refuse, into a form.
const QUERY_BYTES_IN_URL: usize = 1500;

/// A server that is asked by `query_range`.
#[derive(Clone, Debug)]
pub struct QueryRange {
    client: Client,
    seed: u64,
    is_cluster: bool,
    settles_after: OnceCell<Duration>,
    /// How far back the server looks for a sample, where it says so.
    lookback: OnceCell<Option<Duration>>,
}

/// An attempt that failed, and how long the server wants us to wait.
struct Failure {
    fault: ReadFault,
    wait: Option<Duration>,
}

impl From<ReadFault> for Failure {
    fn from(fault: ReadFault) -> Self {
        Self { fault, wait: None }
    }
}

impl QueryRange {
    /// The server of `connection`; `seed` spreads the retries of many readers.
    ///
    /// # Errors
    /// A connection that makes no client. Nothing is sent yet.
    pub fn new(connection: &Connection, seed: u64) -> Result<Self, ClientError> {
        let is_cluster = matches!(connection.tenant, Some(Tenant::VictoriaMetrics(_)));
        Ok(Self {
            client: Client::new(connection)?,
            seed,
            is_cluster,
            settles_after: OnceCell::new(),
            lookback: OnceCell::new(),
        })
    }

    /// Reads all pieces, one after another, into one set of rows.
    async fn rows(&self, query: &RangeQuery, limits: &Limits) -> Result<Rows, ReadFault> {
        if query.points() > limits.samples {
            return Err(ReadFault::TooLarge { bound: Bound::Samples, limit: limits.samples as u64 });
        }
        let mut rows = Rows::new(query, limits);
        for first in (0..query.points()).step_by(POINTS_A_REQUEST) {
            rows.next_piece(first, POINTS_A_REQUEST.min(query.points() - first));
            self.piece(query, &mut rows, first).await?;
        }
        Ok(rows)
    }

    /// Reads one piece, from its beginning again where that may help.
    async fn piece(&self, query: &RangeQuery, rows: &mut Rows, first: usize) -> Result<(), ReadFault> {
        let mut backoff = self.client.backoff(self.seed ^ first as u64);
        loop {
            let Err(failure) = self.attempt(query, rows).await else { return Ok(()) };
            let wait = worth_another(&failure.fault).then(|| backoff.next_wait(failure.wait)).flatten();
            let Some(wait) = wait else { return Err(failure.fault) };
            tracing::debug!(query = query.query(), fault = %failure.fault, ?wait, "the read is tried again");
            tokio::time::sleep(wait).await;
            rows.restart_piece();
        }
    }

    /// Sends the request for the piece that `rows` is at, and parses the answer while it comes.
    async fn attempt(&self, query: &RangeQuery, rows: &mut Rows) -> Result<(), Failure> {
        let mut response = self.request(query, rows).send().await.map_err(|e| self.no_answer(e))?;
        if !response.status().is_success() {
            return Err(refusal(query, &mut response).await);
        }
        let mut parser = Parser::new(rows);
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => parser.feed(&chunk)?,
                Ok(None) => return Ok(parser.finish()?),
                Err(error) => return Err(self.broken_body(error, parser.bytes()).into()),
            }
        }
    }

    fn request(&self, query: &RangeQuery, rows: &Rows) -> RequestBuilder {
        let (start, end) = rows.piece_ends();
        let params = [
            ("query", query.query().to_string()),
            ("start", seconds(start.millis())),
            ("end", seconds(end.millis())),
            ("step", seconds(query.step().millis())),
            // Without it, VictoriaMetrics may move both ends, and with them the whole grid.
            ("nocache", "1".to_string()),
        ];
        if query.query().len() > QUERY_BYTES_IN_URL {
            return self.client.request(Method::POST, Direction::Read, PATH).form(&params);
        }
        self.client.request(Method::GET, Direction::Read, PATH).query(&params)
    }

    fn error(&self, query: &str, fault: ReadFault) -> ReadError {
        ReadError { query: query.to_string(), origin: self.client.printable_url(), fault }
    }

    fn no_answer(&self, error: reqwest::Error) -> ReadFault {
        if error.is_timeout() && !error.is_connect() {
            return ReadFault::Timeout(self.client.timeout());
        }
        ReadFault::Connection(describe(error))
    }

    fn broken_body(&self, error: reqwest::Error, bytes: u64) -> ReadFault {
        if error.is_timeout() {
            return ReadFault::Timeout(self.client.timeout());
        }
        if is_bad_compression(&error) {
            return ReadFault::Malformed { offset: bytes, message: describe(error) };
        }
        ReadFault::Truncated { bytes }
    }
}

#[async_trait]
impl Read for QueryRange {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        let rows = self.rows(query, limits).await.and_then(Rows::finish);
        let (frame, warnings, bytes) = rows.map_err(|fault| self.error(query.query(), fault))?;
        Ok(Answer { frame, warnings, bytes })
    }

    async fn ended(&self, query: &RangeQuery, limits: &Limits) -> Result<Option<Frame>, ReadError> {
        if !is_selector(query.query()) {
            return Ok(None);
        }
        let ask = || ended::lookback(&self.client);
        let lookback = self.lookback.get_or_try_init(ask).await.map_err(|fault| self.error(ended::FLAGS, fault))?;
        let text = ended::question(query.query(), query.step(), *lookback);
        match self.read(&query.asking(text), limits).await {
            Ok(answer) if lookback.is_none() => Ok(Some(answer.frame)),
            Ok(answer) => ended::renamed(answer.frame).map(Some).map_err(|fault| self.error(query.query(), fault)),
            // A server that is none of the two that can be asked.
            Err(ReadError { fault: ReadFault::Query { .. }, .. }) if lookback.is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn settles_after(&self) -> Result<Duration, ReadError> {
        let ask = || settling::settles_after(&self.client, self.is_cluster);
        self.settles_after.get_or_try_init(ask).await.copied().map_err(|fault| self.error("/flags", fault))
    }

    async fn metrics(&self) -> Result<Vec<String>, ReadError> {
        names::metrics(&self.client).await.map_err(|fault| self.error("the names of all metrics", fault))
    }
}

/// Seconds with the milliseconds as decimals, which no server rounds.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let size = millis.unsigned_abs();
    format!("{sign}{}.{:03}", size / 1000, size % 1000)
}

/// Whether the same request may be answered if it is sent again at once. One that took too long would do so again.
fn worth_another(fault: &ReadFault) -> bool {
    match fault {
        ReadFault::Connection(_) | ReadFault::Truncated { .. } => true,
        ReadFault::Status { code, .. } => is_retryable(*code),
        _ => false,
    }
}

/// What an answer says that is no success. A query that the server understood and refuses comes as JSON with 400 or
/// 422; anything else is told by its status.
async fn refusal(query: &RangeQuery, response: &mut Response) -> Failure {
    let code = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let wait = retry_after(response.headers(), date.unwrap_or(SystemTime::UNIX_EPOCH));
    let moved = response.headers().get(LOCATION).map(|to| format!("moved to {}", readable(to.as_bytes())));
    let body = error_body(response).await;
    let fault = match said(query, &body) {
        Some(fault) if code == 400 || code == 422 => fault,
        Some(ReadFault::Query { kind, message }) => ReadFault::Status { code, message: format!("{kind}: {message}") },
        _ => ReadFault::Status { code, message: moved.unwrap_or_else(|| readable(&body)) },
    };
    Failure { fault, wait }
}

/// The error that a JSON body tells.
fn said(query: &RangeQuery, body: &[u8]) -> Option<ReadFault> {
    let mut rows = Rows::new(query, &Limits::default());
    let mut parser = Parser::new(&mut rows);
    let fault = parser.feed(body).and_then(|()| parser.finish()).err()?;
    matches!(fault, ReadFault::Query { .. }).then_some(fault)
}

/// Whether the decompressor could make nothing of what came.
fn is_bad_compression(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(io, Some(ErrorKind::InvalidData | ErrorKind::InvalidInput)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
