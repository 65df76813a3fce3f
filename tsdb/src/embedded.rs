//! The store inside this process: tsink, on this machine's disk.
//!
//! For trying things out and for small installations that have no Prometheus. Its answers follow Prometheus 2:
//! the value at a point of the grid is the last sample of the five minutes up to it, both ends included.

mod evaluate;
mod insert;
mod list;
mod selectors;
mod view;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tsink::{Storage, StorageBuilder, TimestampPrecision};

use crate::frame::Frame;
use crate::labels::Labels;
use crate::read::{Answer, Limits, RangeQuery, Read, ReadError, ReadFault};
use crate::time::Timestamp;
use crate::write::{Samples, Write, WriteError, Written};

pub use selectors::{is_scalar, is_selector};

/// One partition of a series; the store keeps a head open for each that is written to.
const PARTITION: Duration = Duration::from_secs(24 * 3600);

/// How many partitions of a series take samples at the same time: a late sample may be so many days older than
/// the newest one of its series.
const OPEN_PARTITIONS: usize = 64;

/// Points in a chunk. The store makes room for a whole chunk as soon as a series has one point in a partition, and
/// at its own choice of 2,048 (80 KB) 6,000 series fill the memory.
const CHUNK_POINTS: usize = 120;

/// How the store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// How long samples are kept; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Bytes of memory for samples that are not on disk yet; beyond that, writes wait for the disk.
    pub memory_bytes: usize,
}

impl Default for EmbeddedOptions {
    /// Everything is kept; 512 MiB of memory.
    fn default() -> Self {
        Self { retention: None, memory_bytes: 512 << 20 }
    }
}

/// Why the store can't be opened or closed.
#[derive(Debug, thiserror::Error)]
#[error("the embedded store in {path}: {source}")]
pub struct EmbeddedError {
    /// The store's folder.
    pub path: PathBuf,
    /// What happened, such as that another process holds the folder.
    pub source: tsink::TsinkError,
}

/// A store in a folder of this machine. One process at a time can open it; within that, any number of tasks read
/// and write at once.
///
/// What [`Write::write`] has acknowledged is in a log that has been synced to disk: it outlives the end of the
/// process. A sample may come late by up to 64 days; of two samples at one time in one series, the one written
/// last is read.
pub struct Embedded {
    path: PathBuf,
    storage: Arc<dyn Storage>,
}

impl Embedded {
    /// Opens the store in the folder `path`, which is made where it is absent. Blocks while the log is replayed.
    ///
    /// # Errors
    /// The folder can't be used, another process holds it, or what is in it is damaged.
    pub fn open(path: impl AsRef<Path>, options: &EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let path = path.as_ref().to_path_buf();
        let builder = StorageBuilder::new()
            .with_data_path(&path)
            .with_timestamp_precision(TimestampPrecision::Milliseconds)
            .with_partition_duration(PARTITION)
            .with_max_active_partition_heads_per_series(OPEN_PARTITIONS)
            // A flush can meet a compaction that has just merged its new segment away, and fails. It is tried again,
            // from the log that still holds everything; by default the store would shut down instead.
            .with_background_fail_fast(false)
            .with_chunk_points(CHUNK_POINTS)
            .with_memory_limit(options.memory_bytes);
        let builder = match options.retention {
            Some(retention) => builder.with_retention(retention),
            None => builder,
        };
        match builder.build() {
            Ok(storage) => Ok(Self { path, storage }),
            Err(source) => Err(EmbeddedError { path, source }),
        }
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts everything into its final files, ends the store's threads and frees the folder. Later reads and writes
    /// fail. Blocks; dropping the store does the same, but can't say what went wrong.
    ///
    /// # Errors
    /// What could not be written. It is still in the log.
    pub fn close(&self) -> Result<(), EmbeddedError> {
        self.storage.close().map_err(|source| EmbeddedError { path: self.path.clone(), source })
    }

    /// Writes samples that lie on no grid.
    ///
    /// # Errors
    /// The store failed; a sample that it refuses for its own sake is in [`Written::rejected`].
    pub async fn append(&self, series: Vec<Samples>) -> Result<Written, WriteError> {
        let storage = self.storage.clone();
        tokio::task::spawn_blocking(move || insert::insert_samples(&*storage, series))
            .await
            .unwrap_or_else(|panic| Err(format!("the write broke off: {panic}")))
            .map_err(|message| WriteError::Local { target: self.name(), message })
    }

    /// The series that any of `selectors` names, all of them where there are none, which have a sample from `start` to
    /// `end`; sorted, and no more than `most`.
    ///
    /// # Errors
    /// What is no selector, and more series than allowed.
    pub async fn series(
        &self,
        selectors: &[String],
        start: Timestamp,
        end: Timestamp,
        most: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        let (storage, owned) = (self.storage.clone(), selectors.to_vec());
        tokio::task::spawn_blocking(move || list::series(&*storage, &owned, start, end, most))
            .await
            .unwrap_or_else(|panic| Err(ReadFault::Local(format!("the look-up broke off: {panic}"))))
            .map_err(|fault| ReadError { query: selectors.join(", "), origin: self.name(), fault })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for Embedded {
    /// The store's own threads may hold it for a moment longer, and the folder with it.
    fn drop(&mut self) {
        if let Err(error) = self.close()
            && !matches!(error.source, tsink::TsinkError::StorageClosed)
        {
            tracing::warn!(%error, "the store was not closed cleanly; its log is replayed when it is opened again");
        }
    }
}

#[async_trait]
impl Read for Embedded {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        let (storage, owned, limits) = (self.storage.clone(), query.clone(), *limits);
        tokio::task::spawn_blocking(move || evaluate::evaluate(&storage, &owned, &limits))
            .await
            .unwrap_or_else(|panic| Err(ReadFault::Local(format!("the evaluation broke off: {panic}"))))
            .map_err(|fault| ReadError { query: query.query().to_string(), origin: self.name(), fault })
    }

    async fn ended(&self, query: &RangeQuery, limits: &Limits) -> Result<Option<Frame>, ReadError> {
        let (storage, owned, limits) = (self.storage.clone(), query.clone(), *limits);
        tokio::task::spawn_blocking(move || evaluate::ended(&storage, &owned, &limits))
            .await
            .unwrap_or_else(|panic| Err(ReadFault::Local(format!("the evaluation broke off: {panic}"))))
            .map_err(|fault| ReadError { query: query.query().to_string(), origin: self.name(), fault })
    }

    async fn metrics(&self) -> Result<Vec<String>, ReadError> {
        let storage = self.storage.clone();
        let listed = tokio::task::spawn_blocking(move || storage.list_metrics()).await;
        let listed = listed.map_err(|panic| panic.to_string()).and_then(|list| list.map_err(|error| error.to_string()));
        let series = listed.map_err(|reason| ReadError {
            query: "the names of all metrics".into(),
            origin: self.name(),
            fault: ReadFault::Local(reason),
        })?;
        let names: BTreeSet<String> = series.into_iter().map(|series| series.name).collect();
        Ok(names.into_iter().collect())
    }
}

#[async_trait]
impl Write for Embedded {
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError> {
        let (storage, frames) = (self.storage.clone(), frames.to_vec());
        tokio::task::spawn_blocking(move || insert::insert(&*storage, &frames))
            .await
            .unwrap_or_else(|panic| Err(format!("the write broke off: {panic}")))
            .map_err(|message| WriteError::Local { target: self.name(), message })
    }

    /// Ten years: the store doesn't mind the future.
    async fn takes_ahead(&self) -> Duration {
        Duration::from_secs(10 * 365 * 24 * 3600)
    }
}

#[cfg(test)]
mod tests;
