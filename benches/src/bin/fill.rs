//! Fills a server: `fill URL SERIES POINTS START` writes so many points, five minutes apart, from `START` (seconds).

use std::io::Write as _;

use benches::{Cost, argument, frame, pods};
use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Connection, RemoteWrite};
use tsdb::{Timestamp, Write};

/// Series at a time, so that the whole is never held.
const BATCH: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, series, points): (String, usize, usize) =
        (argument(1, "a URL"), argument(2, "SERIES"), argument(3, "POINTS"));
    let start = Timestamp::from_seconds(argument(4, "START"));
    let sink = RemoteWrite::new(&Connection::new(url), Options::default())?;
    let (pods, whole) = (pods(series), Cost::begin());
    let mut written = 0;
    for first in (0..series).step_by(BATCH) {
        let batch = frame(&pods[first..series.min(first + BATCH)], start, points);
        written += sink.write(&[batch]).await?.samples;
    }
    let (wall, cpu) = whole.seconds();
    writeln!(std::io::stdout(), r#"{{"samples": {written}, "wall_seconds": {wall:.3}, "cpu_seconds": {cpu:.3}}}"#)?;
    Ok(())
}
