//! The port for reading series.

use std::time::Duration;

use async_trait::async_trait;

use crate::frame::Frame;
use crate::time::{Step, Timestamp};

/// A query over a range of time, its ends on the grid of multiples of its step (unless it was made by
/// [`RangeQuery::anywhere`]), both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    query: String,
    start: Timestamp,
    step: Step,
    points: usize,
}

impl RangeQuery {
    /// The query for the multiples of `step` from `start` to `end`, both included; `None` where there are none.
    pub fn new(query: impl Into<String>, start: Timestamp, end: Timestamp, step: Step) -> Option<Self> {
        let (start, end) = (start.ceil(step), end.floor(step));
        let span = usize::try_from(end.millis().checked_sub(start.millis())? / step.millis()).ok()?;
        (end >= start).then(|| Self { query: query.into(), start, step, points: span + 1 })
    }

    /// The query for `start` and every `step` after it up to `end`, wherever the grid lies: for stores that are asked for
    /// the times that others want to see. `None` where the end is before the start, or there are too many points to count.
    pub fn anywhere(query: impl Into<String>, start: Timestamp, end: Timestamp, step: Step) -> Option<Self> {
        let span = usize::try_from(end.millis().checked_sub(start.millis())?).ok()? / step.millis() as usize;
        Some(Self { query: query.into(), start, step, points: span.checked_add(1)? })
    }

    /// Another query over the same points.
    #[must_use]
    pub fn asking(&self, query: impl Into<String>) -> Self {
        Self { query: query.into(), ..self.clone() }
    }

    /// PromQL or MetricsQL; for a file, a selector.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The first point.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The last point.
    pub fn end(&self) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + (self.points as i64 - 1) * self.step.millis())
    }

    /// The distance between points.
    pub fn step(&self) -> Step {
        self.step
    }

    /// How many points every series can have: at least one.
    pub fn points(&self) -> usize {
        self.points
    }
}

/// How much one answer may hold. What is beyond is refused, and nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series in the answer.
    pub series: usize,
    /// Points in the frame: series × points.
    pub samples: usize,
    /// Bytes of the body, after decompression.
    pub bytes: u64,
}

impl Default for Limits {
    /// 10,000 series, 200 million samples, 4 GiB.
    fn default() -> Self {
        Self { series: 10_000, samples: 200_000_000, bytes: 4 << 30 }
    }
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The series on exactly the grid of the query; those without any value are left out.
    pub frame: Frame,
    /// What the store wants the reader to know.
    pub warnings: Vec<String>,
    /// Bytes received, after decompression.
    pub bytes: u64,
}

/// A store that series can be read from.
#[async_trait]
pub trait Read: Send + Sync {
    /// Evaluates the query at every point of its grid.
    ///
    /// # Errors
    /// Whatever kept the whole answer from coming. A part of an answer is never returned.
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError>;

    /// Which series of the query have ended, as stale markers say: their targets have gone, or whoever sent them said so.
    /// A series without a sample after some time has ended since if it has any value after that time on the grid of
    /// the query; series without any are left out. Nothing where that can't be known: by default, and where the query
    /// is no plain selector.
    ///
    /// # Errors
    /// As for [`Read::read`].
    async fn ended(&self, _query: &RangeQuery, _limits: &Limits) -> Result<Option<Frame>, ReadError> {
        Ok(None)
    }

    /// How old a point must be before a read is sure to see what was written of it. Zero for most stores.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn settles_after(&self) -> Result<Duration, ReadError> {
        Ok(Duration::ZERO)
    }

    /// The names of the metrics that are there, sorted; none where the store can't tell.
    ///
    /// # Errors
    /// The store can't be asked.
    async fn metrics(&self) -> Result<Vec<String>, ReadError> {
        Ok(vec![])
    }
}

/// A read that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("reading `{query}` from {origin}: {fault}")]
pub struct ReadError {
    /// The query.
    pub query: String,
    /// The store: a URL without credentials, or a path.
    pub origin: String,
    /// What went wrong.
    pub fault: ReadFault,
}

impl ReadError {
    /// Whether the same read may succeed later.
    pub fn is_retryable(&self) -> bool {
        match &self.fault {
            ReadFault::Connection(_) | ReadFault::Timeout(_) | ReadFault::Truncated { .. } => true,
            ReadFault::Status { code, .. } => *code == 429 || *code >= 500,
            _ => false,
        }
    }
}

/// What goes wrong in a read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// No connection, or one that broke before the answer began.
    #[error("no connection: {0}")]
    Connection(String),
    /// No answer in time.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// An HTTP status that is no success.
    #[error("status {code}: {message}")]
    Status {
        /// The HTTP status code.
        code: u16,
        /// What the body says, cut to a readable length.
        message: String,
    },
    /// The store understood the request and refuses the query.
    #[error("the query is refused ({kind}): {message}")]
    Query {
        /// The store's word for the error, such as `bad_data`.
        kind: String,
        /// The store's message.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("the answer is malformed at byte {offset}: {message}")]
    Malformed {
        /// Where, in bytes from the start of the decompressed body.
        offset: u64,
        /// What is wrong there.
        message: String,
    },
    /// The answer ends in the middle.
    #[error("the answer ends in the middle, after {bytes} bytes")]
    Truncated {
        /// How much came.
        bytes: u64,
    },
    /// The answer is beyond a limit.
    #[error("the answer has more than {limit} {bound}")]
    TooLarge {
        /// Which limit.
        bound: Bound,
        /// Its value.
        limit: u64,
    },
    /// Two series of the answer have the same labels.
    #[error("the series {0} is there twice")]
    Duplicate(String),
    /// A file or store on this machine can't be opened or read.
    #[error("{0}")]
    Local(String),
}

impl ReadFault {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Timeout(_) => "timeout",
            Self::Status { .. } => "status",
            Self::Query { .. } => "query",
            Self::Malformed { .. } => "malformed",
            Self::Truncated { .. } => "truncated",
            Self::TooLarge { .. } => "too_large",
            Self::Duplicate(_) => "duplicate",
            Self::Local(_) => "local",
        }
    }
}

/// The limit that an answer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Limits::series`].
    Series,
    /// [`Limits::samples`].
    Samples,
    /// [`Limits::bytes`].
    Bytes,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Series => "series",
            Self::Samples => "samples",
            Self::Bytes => "bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_on_the_grid() {
        let step = Step::from_millis(60_000).unwrap();
        let range =
            |start, end| RangeQuery::new("up", Timestamp::from_seconds(start), Timestamp::from_seconds(end), step);
        let query = range(61, 245).unwrap();
        assert_eq!((query.start().seconds(), query.end().seconds(), query.points()), (120.0, 240.0, 3));
        assert_eq!(range(60, 60).unwrap().points(), 1);
        assert!(range(61, 119).is_none());
        assert!(range(120, 60).is_none());
        let anywhere = |end| {
            RangeQuery::anywhere("up", Timestamp::from_seconds(61), Timestamp::from_seconds(end), step)
                .map(|query| (query.start().seconds(), query.end().seconds(), query.points()))
        };
        assert_eq!(anywhere(245), Some((61.0, 241.0, 4)));
        assert_eq!(anywhere(61), Some((61.0, 61.0, 1)));
        assert_eq!(anywhere(60), None);
    }
}
