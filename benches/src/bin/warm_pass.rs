//! Passes against a real server: `warm_pass URL START PASSES MODEL`. `START` (seconds) is where the week of context
//! begins; after it the server must hold as many points as there are passes: 12 at most, as an hour has, or forecasts
//! are among them. One line of JSON a pass.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use benches::{Cost, DAY, STEP, WEEK, argument, peak_bytes, pipeline};
use engine::{Ports, Report, Watch};
use tsdb::Timestamp;
use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Connection, QueryRange, RemoteWrite};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, passes, model): (String, usize, String) =
        (argument(1, "a URL"), argument(3, "PASSES"), argument(4, "MODEL"));
    let context_end = Timestamp::from_seconds(argument(2, "START")) + STEP.times(WEEK - 1);
    let pipeline = pipeline(&format!("{{ id: {model}, parameters: {{ season: {DAY} }} }}"));
    let connection = Connection { timeout: Duration::from_secs(600), ..Connection::new(url) };
    let reader = Arc::new(QueryRange::new(&connection, 1)?);
    let sink = Arc::new(RemoteWrite::new(&connection, Options::default())?);
    let model = models::build(&pipeline.model, &models::Resources::default())?;
    let mut watch = Watch::new(pipeline, Ports { source: reader.clone(), sink, written: reader, model });
    watch.begin_after(context_end);
    let cost = Cost::begin();
    let report = watch.forecast(context_end).await?;
    say("read and forecast", &report, cost)?;
    for pass in 1..=passes {
        let tick = context_end + STEP.times(pass);
        let cost = Cost::begin();
        let report = watch.judge(tick).await?;
        say("judge", &report, cost)?;
    }
    // All that it needs has been read, so this is the time of the model and the band.
    let cost = Cost::begin();
    let report = watch.forecast(context_end + STEP.times(passes)).await?;
    say("forecast", &report, cost)?;
    Ok(())
}

fn say(what: &str, report: &Report, cost: Cost) -> std::io::Result<()> {
    let (wall, cpu) = cost.seconds();
    let Report { series, scored, written, .. } = report;
    let peak_bytes = peak_bytes();
    let counts = format!(r#""series": {series}, "scored": {scored}, "written": {written}, "peak_bytes": {peak_bytes}"#);
    writeln!(std::io::stdout(), r#"{{"pass": "{what}", {counts}, "wall_seconds": {wall:.4}, "cpu_seconds": {cpu:.4}}}"#)
}
