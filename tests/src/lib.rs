//! Real servers for whole tests: started on a free port in a temporary folder, ended when dropped.

mod prometheus;
mod server;
mod service;
mod victoria_metrics;

pub use prometheus::{Prometheus, Setup};
pub use service::Service;
pub use victoria_metrics::VictoriaMetrics;

use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Connection, RemoteWrite};
use tsdb::{Frame, Write, Written};

/// Writes `frame` by our own remote write; answers what became of it.
///
/// # Panics
/// Where the server can't be reached or refuses the request.
pub async fn load(connection: &Connection, frame: &Frame) -> Written {
    let writer = RemoteWrite::new(connection, Options::default()).expect("the connection is the harness's own");
    writer.write(std::slice::from_ref(frame)).await.expect("the server takes the frame")
}
