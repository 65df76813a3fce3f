//! Series in and out: what a series is, and the stores that hold it.
//!
//! The numbers travel as one [`Frame`]; a store is anything that implements [`Read`], [`Write`] or both.
//! Only this crate knows Prometheus, its HTTP and its wire formats.

pub mod embedded;
pub mod file;
pub mod frame;
pub mod labels;
pub mod prometheus;
pub mod read;
pub mod time;
pub mod write;

pub use frame::{Frame, FrameBuilder, FrameError};
pub use labels::{Interner, LabelError, Labels};
pub use read::{Answer, Bound, Limits, RangeQuery, Read, ReadError, ReadFault};
pub use time::{Step, Timestamp};
pub use write::{Rejected, STALE, Samples, Write, WriteError, Written};
