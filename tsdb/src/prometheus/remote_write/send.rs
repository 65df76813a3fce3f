//! One request: its headers, its repetitions, and what the answer means.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};

use super::{RemoteWrite, Tally};
use crate::prometheus::client::{self, Direction};
use crate::prometheus::encode::Series;
use crate::write::WriteError;

/// How far ahead VictoriaMetrics takes samples; what is beyond it drops without a word.
const VICTORIA_METRICS_TAKES_AHEAD: Duration = Duration::from_secs(2 * 24 * 3600);

/// The counter of dropped samples that only VictoriaMetrics has.
const VICTORIA_METRICS_SIGN: &[u8] = br#"vm_rows_ignored_total{reason="big_timestamp"}"#;

/// How much of a server's own metrics is looked through.
const METRICS_BYTES: usize = 8 << 20;

/// Some of the samples are the reason why a request was refused.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What is wrong with them.
    pub(super) reason: &'static str,
    /// The receiver's words.
    pub(super) message: String,
}

/// An attempt that failed.
struct Failure {
    /// The HTTP status; `None` where there was no answer.
    code: Option<u16>,
    message: String,
    retry_after: Option<Duration>,
}

impl RemoteWrite {
    /// Sends one request until it is taken or refused; answers what is wrong with its samples, if that is why.
    pub(super) async fn post(&self, series: &[Series<'_>], tally: &mut Tally) -> Result<Option<Fault>, WriteError> {
        let (body, samples) = self.body(series);
        if samples == 0 {
            return Ok(None);
        }
        tally.0.bytes += body.len() as u64;
        // The series differ from writer to writer, so writers don't come back at the same moment.
        let seed = series[0].labels.stable_hash() ^ self.requests.fetch_add(1, Ordering::Relaxed);
        let mut backoff = self.client.backoff(seed);
        loop {
            let Err(failure) = self.attempt(body.clone()).await else {
                tally.0.samples += samples;
                return Ok(None);
            };
            if let Some(reason) = failure.code.and_then(|code| sample_fault(code, &failure.message)) {
                return Ok(Some(Fault { reason, message: failure.message }));
            }
            let may_repeat = failure.code.is_none_or(client::is_retryable);
            match may_repeat.then(|| backoff.next_wait(failure.retry_after)).flatten() {
                None => return Err(self.error(failure, backoff.attempts())),
                Some(wait) => {
                    tracing::debug!(target = self.target, message = failure.message, ?wait, "a request is sent again");
                    tokio::time::sleep(wait).await;
                    tally.0.retries += 1;
                }
            }
        }
    }

    fn body(&self, series: &[Series<'_>]) -> (Bytes, u64) {
        let mut encoder = self.encoders.lock().expect("no holder panics").pop().unwrap_or_default();
        let (body, samples) = encoder.encode(series);
        let body = Bytes::copy_from_slice(body);
        self.encoders.lock().expect("no holder panics").push(encoder);
        (body, samples)
    }

    async fn attempt(&self, body: Bytes) -> Result<(), Failure> {
        let request = self
            .client
            .request(Method::POST, Direction::Write, self.path)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .header(USER_AGENT, concat!("openanomaly/", env!("CARGO_PKG_VERSION")))
            .body(body);
        let no_answer = |error| Failure { code: None, message: client::describe(error), retry_after: None };
        let mut response = request.send().await.map_err(no_answer)?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(Failure {
            code: Some(response.status().as_u16()),
            retry_after: client::retry_after(response.headers(), SystemTime::now()),
            message: client::readable(&client::error_body(&mut response).await),
        })
    }

    fn error(&self, failure: Failure, attempts: u32) -> WriteError {
        let (target, message) = (self.target.clone(), failure.message);
        match failure.code {
            Some(code) => WriteError::Refused { target, code, message },
            None => WriteError::Unreachable { target, message, attempts },
        }
    }

    /// Finds out what the server is; an error where it can't be asked now.
    pub(super) async fn ask_takes_ahead(&self) -> Result<Duration, reqwest::Error> {
        let is_victoria_metrics = self.is_cluster || self.has_victoria_metrics_counters().await?;
        let takes = if is_victoria_metrics { VICTORIA_METRICS_TAKES_AHEAD } else { Duration::ZERO };
        tracing::info!(target = self.target, hours = takes.as_secs() / 3600, "takes samples so far ahead of now");
        Ok(takes)
    }

    async fn has_victoria_metrics_counters(&self) -> Result<bool, reqwest::Error> {
        let mut response = self.client.request(Method::GET, Direction::Write, "/metrics").send().await?;
        let mut text = vec![];
        while let Some(chunk) = response.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > METRICS_BYTES {
                break;
            }
        }
        Ok(text.windows(VICTORIA_METRICS_SIGN.len()).any(|window| window == VICTORIA_METRICS_SIGN))
    }
}

/// What is wrong with some of the samples, in the words of Prometheus, Mimir, Cortex and Thanos.
fn sample_fault(code: u16, message: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 7] = [
        ("far in the future", "too_far_ahead"),
        ("far in future", "too_far_ahead"),
        ("duplicate sample", "duplicate"),
        ("duplicate timestamp", "duplicate"),
        ("out of order", "out_of_order"),
        ("out of bounds", "too_old"),
        ("too old", "too_old"),
    ];
    let message = message.to_lowercase().replace('-', " ");
    let is_about_samples = match code {
        400 | 409 => true,
        // Prometheus with a window for late samples; any other 5xx is trouble of the server's own, and passes.
        500 => message.contains("too old sample"),
        _ => false,
    };
    let reason = || WORDS.iter().find(|(words, _)| message.contains(words)).map(|&(_, reason)| reason);
    is_about_samples.then(reason).flatten()
}
