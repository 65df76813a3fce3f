//! Remote write 1.0: frames out, in requests that a receiver can take, and what to do when it doesn't.
//!
//! Requests run in parallel, but never two that carry the same series at once: in a series, the older samples
//! are always written first. A request that fails for the moment is sent again, byte for byte; one that the
//! receiver refuses for the sake of some of its samples is taken apart until the others are in.

mod plan;
mod salvage;
mod send;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, OnceCell, Semaphore};

use super::client::{Client, ClientError};
use super::connection::{Connection, Tenant};
use super::encode::{Encoder, Series, invalid_label};
use crate::frame::Frame;
use crate::time::Timestamp;
use crate::write::{Rejected, Write, WriteError, Written};
use plan::Rows;
use salvage::Known;

/// Where samples are taken: by Prometheus, VictoriaMetrics and most others, and by Mimir and Cortex.
const PATHS: [&str; 2] = ["/api/v1/write", "/api/v1/push"];

/// How requests are cut, and what is known about the receiver beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most samples in a request: at least 1.
    pub samples_per_request: usize,
    /// The most bytes in a request, before compression; one sample of one series may be more.
    pub bytes_per_request: usize,
    /// The most requests at a time: at least 1.
    pub parallel: usize,
    /// How far ahead of now the receiver takes samples without harm; `None` asks it.
    pub takes_ahead: Option<Duration>,
}

impl Default for Options {
    /// 10,000 samples and 1 MiB a request, four at a time.
    fn default() -> Self {
        Self { samples_per_request: 10_000, bytes_per_request: 1 << 20, parallel: 4, takes_ahead: None }
    }
}

/// Writes frames to a server that speaks remote write 1.0.
pub struct RemoteWrite {
    client: Client,
    path: &'static str,
    target: String,
    options: Options,
    is_cluster: bool,
    encoders: Mutex<Vec<Encoder>>,
    permits: Semaphore,
    in_flight: InFlight,
    takes_ahead: OnceCell<Duration>,
    /// The nearest distance ahead of now that the receiver refused, and its words.
    too_far: Mutex<Option<(Duration, String)>>,
    requests: AtomicU64,
}

impl RemoteWrite {
    /// A writer to the server of `connection`. Sends nothing yet. A URL that ends with a path where samples are taken,
    /// `/api/v1/write` or `/api/v1/push`, is used as it is; else the first is appended.
    ///
    /// # Errors
    /// A connection that can't be used, as [`Client::new`] says.
    pub fn new(connection: &Connection, options: Options) -> Result<Self, ClientError> {
        let url = connection.url.trim_end_matches('/');
        let given = PATHS.into_iter().find_map(|path| Some((url.strip_suffix(path)?, path)));
        let (base, path) = given.unwrap_or((url, PATHS[0]));
        let client = Client::new(&Connection { url: base.to_string(), ..connection.clone() })?;
        Ok(Self {
            path,
            target: client.printable_url(),
            client,
            options,
            is_cluster: matches!(connection.tenant, Some(Tenant::VictoriaMetrics(_))),
            encoders: Mutex::default(),
            permits: Semaphore::new(options.parallel.max(1)),
            in_flight: InFlight::default(),
            takes_ahead: OnceCell::new(),
            too_far: Mutex::default(),
            requests: AtomicU64::new(0),
        })
    }

    /// Sends all series, a few requests at a time; the first failure keeps new requests from being begun.
    async fn send_all(&self, series: &[Series<'_>]) -> Result<Tally, WriteError> {
        let failed = AtomicBool::new(false);
        let parts = plan::cut(series, &self.options);
        let mut running = FuturesUnordered::new();
        let mut parts = parts.into_iter();
        running.extend(parts.by_ref().take(self.options.parallel.max(1)).map(|part| self.send_part(part, &failed)));
        let mut total = Ok(Tally::default());
        while let Some(done) = running.next().await {
            total = total.and_then(|total| Ok(total.and(done?)));
            if let Some(part) = parts.next() {
                running.push(self.send_part(part, &failed));
            }
        }
        total
    }

    /// Sends series that fit into one request, or one series that needs several, one after the other.
    async fn send_part(&self, part: &[Series<'_>], failed: &AtomicBool) -> Result<Tally, WriteError> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let mut tally = Tally::default();
        for request in plan::requests(part, &self.options) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let sent = self.send_or_salvage(&request, &mut tally).await;
            sent.inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(tally)
    }

    async fn send_or_salvage(&self, request: &[Series<'_>], tally: &mut Tally) -> Result<(), WriteError> {
        match self.post(request, tally).await? {
            None => Ok(()),
            Some(fault) => self.salvage(request, fault, tally).await,
        }
    }

    /// Takes out the series whose labels no receiver takes, and the samples that this one is known to refuse.
    fn sort_out<'a>(&self, series: Vec<Series<'a>>, tally: &mut Tally) -> Vec<Series<'a>> {
        let mut known = Known::default();
        if let Some((ahead, message)) = &*self.too_far.lock().expect("no holder panics") {
            known.too_far = Some((now() + *ahead, message.clone()));
        }
        let (mut kept, mut valid) = (Vec::with_capacity(series.len()), None);
        for series in series {
            match invalid_label(series.labels, valid) {
                None => {
                    valid = Some(series.labels);
                    kept.extend(known.trim(series, tally));
                }
                Some(message) => tally.reject("invalid_label", series.points.samples() as u64, &message),
            }
        }
        kept
    }

    /// Keeps in mind that a sample at `time` was too far ahead for the receiver. Whole minutes, since passes don't
    /// come to the millisecond, and what is a little nearer than the last time is refused just as well.
    fn learn_too_far(&self, time: Timestamp, message: &str) {
        let ahead = u64::try_from(time.millis().saturating_sub(now().millis())).unwrap_or(0);
        let ahead = Duration::from_secs(ahead / 60_000 * 60);
        let mut known = self.too_far.lock().expect("no holder panics");
        if known.is_none() {
            tracing::info!(target = self.target, message, "refuses samples {ahead:?} ahead: they are no longer sent");
        }
        if known.as_ref().is_none_or(|(nearest, _)| ahead < *nearest) {
            *known = Some((ahead, message.to_string()));
        }
    }

    fn log(&self, rejected: &[Rejected]) {
        for Rejected { reason, samples, message } in rejected {
            tracing::warn!(target = self.target, reason, samples, message, "samples were refused");
        }
    }
}

/// The receiver judges what is too far ahead by its clock, for which ours stands in.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(0) + since
}

#[async_trait]
impl Write for RemoteWrite {
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError> {
        let rows = Rows::of(frames);
        let mut tally = Tally::default();
        let series = self.sort_out(rows.series(), &mut tally);
        let _claim = self.in_flight.claim(series.iter().map(|series| series.labels.stable_hash()).collect()).await;
        let sent = self.send_all(&series).await?;
        let written = tally.and(sent).0;
        self.log(&written.rejected);
        Ok(written)
    }

    async fn takes_ahead(&self) -> Duration {
        let takes = match self.options.takes_ahead {
            Some(known) => known,
            None => self.takes_ahead.get_or_try_init(|| self.ask_takes_ahead()).await.copied().unwrap_or_default(),
        };
        match &*self.too_far.lock().expect("no holder panics") {
            Some((refused, _)) => takes.min(*refused),
            None => takes,
        }
    }
}

/// What became of some samples.
#[derive(Default)]
struct Tally(Written);

impl Tally {
    fn reject(&mut self, reason: &'static str, samples: u64, message: &str) {
        if samples == 0 {
            return;
        }
        match self.0.rejected.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.samples += samples,
            None => self.0.rejected.push(Rejected { reason, samples, message: message.to_string() }),
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.0.samples += other.0.samples;
        self.0.retries += other.0.retries;
        self.0.bytes += other.0.bytes;
        for Rejected { reason, samples, message } in other.0.rejected {
            self.reject(reason, samples, &message);
        }
        self
    }
}

/// The series that calls are writing at the moment, so that no other call writes them too.
#[derive(Default)]
struct InFlight {
    held: Mutex<HashSet<u64>>,
    freed: Notify,
}

impl InFlight {
    /// Waits until none of `series` is held, then holds all of them.
    async fn claim(&self, series: Vec<u64>) -> Claim<'_> {
        loop {
            let freed = self.freed.notified();
            if self.try_hold(&series) {
                return Claim { of: self, series };
            }
            freed.await;
        }
    }

    fn try_hold(&self, series: &[u64]) -> bool {
        let mut held = self.held.lock().expect("no holder panics");
        let free = series.iter().all(|series| !held.contains(series));
        if free {
            held.extend(series);
        }
        free
    }
}

/// Series that are held until this is dropped.
struct Claim<'a> {
    of: &'a InFlight,
    series: Vec<u64>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().expect("no holder panics");
        for series in &self.series {
            held.remove(series);
        }
        drop(held);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
