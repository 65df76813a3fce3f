//! Prometheus, VictoriaMetrics and whatever speaks like them: `query_range` in, remote write out.

pub mod client;
pub mod connection;
pub mod encode;
pub mod proto;
pub mod matrix;

pub use client::{Backoff, Client, ClientError, Direction};
pub use connection::{Auth, Connection, Retry, Tenant, Tls};
