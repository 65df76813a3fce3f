//! Real servers for whole tests: started on a free port in a temporary folder, ended when dropped.

mod alertmanager;
mod collector;
mod fickle;
mod mongodb;
mod postgres;
mod prometheus;
mod scene;
mod server;
mod service;
mod victoria_metrics;

pub use self::alertmanager::Alertmanager;
pub use self::mongodb::{MongoDb, Topology};
pub use collector::{Collector, attributes};
pub use fickle::{Fickle, Mood};
pub use postgres::Postgres;
pub use prometheus::{Prometheus, Setup};
pub use scene::Scene;
pub use server::free_address;
pub use service::{Service, binary, openanomaly};
pub use victoria_metrics::VictoriaMetrics;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Connection, RemoteWrite};
use tsdb::{Frame, Timestamp, Write, Written};

/// Writes `frame` by our own remote write; answers what became of it.
///
/// # Panics
/// Where the server can't be reached or refuses the request.
pub async fn load(connection: &Connection, frame: &Frame) -> Written {
    let writer = RemoteWrite::new(connection, Options::default()).expect("the connection is the harness's own");
    writer.write(std::slice::from_ref(frame)).await.expect("the server takes the frame")
}

/// Now.
pub fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Waits until `time`.
pub async fn sleep_until(time: Timestamp) {
    let left = time.millis() - now().millis();
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}

/// What `look` finds in the end; it looks several times a second, for a minute.
///
/// # Panics
/// Where it finds nothing; `what` says what was looked for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("waited in vain for {what}")
}
