//! Writes a scenario for people to look at: values as CSV, incidents as JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use data::{Generated, Incident, Scenario, generate};
use serde_json::{Value, json};
use tsdb::{Frame, Step, Timestamp};

/// Writes life-like metrics as `timestamp,series,value` and their labelled incidents as JSON.
#[derive(Parser)]
#[command(name = "generate")]
struct Arguments {
    /// The folder for `metrics.csv` and `incidents.json`
    folder: PathBuf,
    /// Everything that is chance comes from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first point, in Unix seconds
    #[arg(long, default_value_t = 1_767_225_600)]
    start: i64,
    /// Seconds from point to point
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(i64).range(1..))]
    step: i64,
    /// How many points a series
    #[arg(long, default_value_t = 4032)]
    points: usize,
    /// How many series, ten a host
    #[arg(long, default_value_t = 40)]
    series: usize,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let step = Step::from_millis(arguments.step * 1000).ok_or_else(|| io::Error::other("the step is too long"))?;
    let start = Timestamp::from_seconds(arguments.start);
    let scenario = Scenario::new(arguments.seed, start, step, arguments.series);
    let Generated { frame, incidents } = generate(&scenario, arguments.points);
    std::fs::create_dir_all(&arguments.folder)?;
    write_csv(&frame, &arguments.folder.join("metrics.csv"))?;
    let incidents: Vec<Value> = incidents.iter().map(describe).collect();
    serde_json::to_writer_pretty(File::create(arguments.folder.join("incidents.json"))?, &incidents)?;
    Ok(())
}

fn write_csv(frame: &Frame, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "timestamp,series,value")?;
    for (labels, values) in frame.rows() {
        let series = labels.to_string().replace('"', "\"\"");
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            writeln!(file, "{},\"{series}\",{value}", frame.time(index).millis() / 1000)?;
        }
    }
    file.flush()
}

fn describe(incident: &Incident) -> Value {
    json!({
        "series": incident.series.to_string(),
        "kind": incident.kind.to_string(),
        "start": incident.start.millis() / 1000,
        "end": incident.end.millis() / 1000,
    })
}
