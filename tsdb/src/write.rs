//! The port for writing series.

use std::time::Duration;

use async_trait::async_trait;

use crate::frame::Frame;
use crate::labels::Labels;
use crate::time::Timestamp;

/// The marker that ends a series in Prometheus: the one NaN that is written. Every other NaN is a gap.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is written: it is no gap.
pub(crate) fn is_sent(value: f64) -> bool {
    !value.is_nan() || value.to_bits() == STALE.to_bits()
}

/// A store that series can be written to.
#[async_trait]
pub trait Write: Send + Sync {
    /// Writes every value of every frame at its time; gaps (NaN, but for [`STALE`]) are not written. In one series,
    /// older samples are written before newer ones, also across calls that follow each other.
    ///
    /// # Errors
    /// The store could not be reached or would not take the request, after all retries; some of it may have
    /// been written. A sample that the store refuses for its own sake is no error: it is in [`Written::rejected`].
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError>;

    /// How far ahead of now the store takes samples without harm; zero where it doesn't, or nobody knows.
    async fn takes_ahead(&self) -> Duration;
}

/// A series and samples of it that lie on no grid, as others send them.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// The series.
    pub labels: Labels,
    /// Times and values, in any order.
    pub samples: Vec<(Timestamp, f64)>,
}

/// What became of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples that the store took.
    pub samples: u64,
    /// Requests that had to be repeated.
    pub retries: u64,
    /// Bytes sent, after compression, repetitions not counted.
    pub bytes: u64,
    /// What the store refused, by reason.
    pub rejected: Vec<Rejected>,
}

/// Samples that the store refused while it took others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// One word, such as `out_of_order`, `too_old`, `too_far_ahead`, `duplicate`, `invalid_label`.
    pub reason: &'static str,
    /// How many.
    pub samples: u64,
    /// The store's own words, for the first of them.
    pub message: String,
}

/// A write that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// No connection, or no answer in time, after all retries.
    #[error("writing to {target}: {message} (tried {attempts} times)")]
    Unreachable {
        /// The store: a URL without credentials, or a path.
        target: String,
        /// What happened the last time.
        message: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The store answered with a refusal of the request.
    #[error("writing to {target}: status {code}: {message}")]
    Refused {
        /// The store.
        target: String,
        /// The HTTP status code.
        code: u16,
        /// What the body says, cut to a readable length.
        message: String,
    },
    /// The store on this machine failed.
    #[error("writing to {target}: {message}")]
    Local {
        /// The path.
        target: String,
        /// What happened.
        message: String,
    },
}

impl WriteError {
    /// Whether the same write may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => *code == 429 || *code >= 500,
            Self::Local { .. } => false,
        }
    }
}
