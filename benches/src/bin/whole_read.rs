//! Reads a range into a frame: `whole_read URL QUERY START POINTS`, five minutes apart.

use std::io::Write as _;
use std::time::Duration;

use benches::{Cost, STEP, argument, peak_bytes};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Limits, RangeQuery, Read, Timestamp};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, query): (String, String) = (argument(1, "a URL"), argument(2, "a query"));
    let start = Timestamp::from_seconds(argument(3, "START"));
    let points: usize = argument(4, "POINTS");
    let query = RangeQuery::new(query, start, start + STEP.times(points - 1), STEP).ok_or("there is no point")?;
    let connection = Connection { timeout: Duration::from_secs(600), ..Connection::new(url) };
    let source = QueryRange::new(&connection, 1)?;
    let whole = Cost::begin();
    let answer = source.read(&query, &Limits::default()).await?;
    let (wall, cpu) = whole.seconds();
    let (samples, bytes) = (answer.frame.samples(), answer.bytes);
    let (frame_bytes, peak_bytes) = (size_of_val(answer.frame.values()), peak_bytes());
    let counts = format!(r#""samples": {samples}, "bytes": {bytes}, "frame_bytes": {frame_bytes}"#);
    let costs = format!(r#""wall_seconds": {wall:.3}, "cpu_seconds": {cpu:.3}, "peak_bytes": {peak_bytes}"#);
    writeln!(std::io::stdout(), "{{{counts}, {costs}}}")?;
    Ok(())
}
