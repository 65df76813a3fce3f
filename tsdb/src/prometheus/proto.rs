//! The messages of remote write 1.0, as the [specification](https://prometheus.io/docs/specs/prw/remote_write_spec/)
//! numbers their fields.
//!
//! For reading what others send, and for checking what [`encode`](super::encode) writes: that one goes straight
//! to the bytes and knows nothing of these types.

use prost::Message;

/// What one request carries.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The series, each with samples of its own.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// A series and some of its samples.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// The labels, the metric's name among them, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The samples, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// A label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A value at a time.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}
