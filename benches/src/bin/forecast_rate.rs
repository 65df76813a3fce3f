//! How many series a second and core a model forecasts an hour ahead: `forecast_rate MODEL SERIES`, each a week of
//! five minutes with a season of a day.

use std::io::Write as _;

use benches::{Cost, DAY, STEP, WEEK, argument, frame, pipeline, pods};
use engine::History;
use engine::judge::Masks;
use engine::outlook::Outlook;
use tsdb::Timestamp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (model, series): (String, usize) = (argument(1, "a model"), argument(2, "SERIES"));
    let pipeline = pipeline(&format!("{{ id: {model}, parameters: {{ season: {DAY} }} }}"));
    let model = models::build(&pipeline.model, &models::Resources::default())?;
    let start = Timestamp::from_seconds(1_700_002_800);
    let history = History::of(frame(&pods(series), start, WEEK));
    let cost = Cost::begin();
    Outlook::at(start + STEP.times(WEEK - 1), &pipeline, &*model, &history, &[], Masks::new())?;
    let (_, cpu) = cost.seconds();
    let rate = series as f64 / cpu;
    writeln!(std::io::stdout(), r#"{{"series": {series}, "cpu_seconds": {cpu:.3}, "series_a_second": {rate:.1}}}"#)?;
    Ok(())
}
