//! `models bench`

use std::f64::consts::TAU;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use models::onnx::library::full_id;
use models::{Forecaster, Levels, ModelSpec, Request};
use serde_json::json;

use super::{CliError, ListForm, Shelf, Terminal, write_json};
use crate::cli::model::ModelArgs;
use crate::render::format::{duration, number};
use crate::render::table;

/// Measures how many series a model forecasts in a second on this machine.
#[derive(clap::Args, Debug)]
pub(super) struct BenchArgs {
    /// The model, of the list or of the models folder.
    #[arg(value_name = "ID")]
    id: String,
    /// How many series are forecast at once; several by commas.
    #[arg(long, value_name = "SERIES", value_delimiter = ',', default_value = "1,8,32,128", value_parser = at_least_one)]
    batch: Vec<usize>,
    /// How many points of the past each forecast sees.
    #[arg(long, value_name = "POINTS", default_value = "512", value_parser = at_least_one)]
    context: usize,
    /// How many points ahead.
    #[arg(long, value_name = "POINTS", default_value = "64", value_parser = at_least_one)]
    horizon: usize,
    /// How long each measurement takes.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// A parameter of the model, such as season=1d; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// The form of the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: ListForm,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(|| "1 to 1000000".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "0 to 3600".into())
}

/// One measurement.
struct Measured {
    batch: usize,
    runs: u32,
    took: Duration,
    best: Duration,
}

impl Measured {
    fn series_per_second(&self) -> f64 {
        self.batch as f64 * f64::from(self.runs) / self.took.as_secs_f64().max(1e-9)
    }
}

pub(super) fn bench(args: &BenchArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let id = full_id(&args.id);
    let named = ModelArgs { model: Some(id.to_owned()), param: args.param.clone() };
    let model = models::build(&ModelSpec::local(id, named.parameters()?), &shelf.resources())?;
    let started = Instant::now();
    model.prepare()?;
    let loading = started.elapsed();
    let measured = args.batch.iter().map(|batch| measure(&*model, *batch, args)).collect::<Result<Vec<_>, _>>()?;
    match args.output {
        ListForm::Table => show(id, &measured, loading, args, terminal)?,
        ListForm::Json => {
            let one = |one: &Measured| {
                json!({"batch": one.batch, "series_per_second": one.series_per_second(),
                                              "best_seconds": one.best.as_secs_f64(), "runs": one.runs})
            };
            let all: Vec<_> = measured.iter().map(one).collect();
            let json = json!({"id": id, "context_points": args.context, "horizon_points": args.horizon,
                              "load_seconds": loading.as_secs_f64(), "measured": all});
            write_json(&json, terminal)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Forecasts once to warm up, and then again and again.
fn measure(model: &dyn Forecaster, batch: usize, args: &BenchArgs) -> Result<Measured, CliError> {
    let series: Vec<Vec<f64>> = (0..batch).map(|row| synthetic(row, args.context)).collect();
    let contexts: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    let levels = Levels::new(vec![0.1, 0.5, 0.9])?;
    let request = Request::new(&contexts, 0, Duration::from_secs(300), args.horizon, &levels);
    model.forecast(&request)?;
    let mut measured = Measured { batch, runs: 0, took: Duration::ZERO, best: Duration::MAX };
    while measured.runs == 0 || measured.took < args.seconds {
        let started = Instant::now();
        model.forecast(&request)?;
        let took = started.elapsed();
        measured.runs += 1;
        measured.took += took;
        measured.best = measured.best.min(took);
    }
    Ok(measured)
}

/// A daily wave of five minutes with noise, another one for each row and always the same.
fn synthetic(row: usize, points: usize) -> Vec<f64> {
    let noise = |point: usize| ((point * 7919 + row * 104_729) % 1009) as f64 / 1009.0;
    let wave = |point: usize| ((point + row * 17) as f64 / 288.0 * TAU).sin();
    (0..points).map(|point| 100.0 + 20.0 * wave(point) + 5.0 * noise(point)).collect()
}

fn show(
    id: &str,
    measured: &[Measured],
    loading: Duration,
    args: &BenchArgs,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let (context, horizon) = (args.context, args.horizon);
    writeln!(terminal.out, "{id}: context {context}, horizon {horizon}, loaded in {}", duration(loading))?;
    let mut table = table::plain(&["Series at once", "Series/s", "Best time", "Runs"], terminal.width, terminal.paint);
    for one in measured {
        let speed = number(one.series_per_second());
        table.add_row([one.batch.to_string(), speed, duration(one.best), one.runs.to_string()]);
    }
    table::right(&mut table, &[0, 1, 2, 3]);
    Ok(table::write(&table, &mut terminal.out)?)
}
