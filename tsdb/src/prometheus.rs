//! Prometheus, VictoriaMetrics and whatever speaks like them: `query_range` in, remote write out.

pub mod answer;
pub mod client;
pub mod connection;
pub mod decode;
pub mod encode;
mod ended;
pub mod matrix;
mod names;
pub mod proto;
pub mod query_range;
pub mod remote_write;
mod settling;

pub use client::{Backoff, Client, ClientError, Direction};
pub use connection::{Auth, Connection, Resolver, Retry, Tenant, Tls};
pub use query_range::QueryRange;
pub use remote_write::RemoteWrite;
