//! `predict`: says what comes next.

use std::time::Instant;

use models::{Levels, Request};

use super::model::{Chosen, ModelArgs};
use super::output::{Form, OutputArgs};
use super::source::{SourceArgs, Span, between, parse_span};
use super::{CliError, Terminal};
use crate::render::prediction::{self, Prediction};

/// How much of the past a forecast sees at most, where nothing else is said: two weeks of five minutes.
const CONTEXT: usize = 4032;

/// Forecasts the series of a file or of the answer of a server.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ahead: AheadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly predict metrics.csv --horizon 24
  openanomaly predict metrics.csv --horizon 1d --quantile 0.05 --quantile 0.95 -o forecast.csv
  openanomaly predict http://localhost:8428 -q 'sum(node_load1)' --last 14d --horizon 6h";

/// How far ahead, and what of it.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Forecast")]
struct AheadArgs {
    /// How far ahead.
    #[arg(long, value_name = "POINTS|DURATION", default_value = "24", value_parser = parse_span)]
    horizon: Span,
    /// How much of the past the model sees [default: at most 4032 points].
    #[arg(long, value_name = "POINTS|DURATION", value_parser = parse_span)]
    context: Option<Span>,
    /// A quantile to answer beside the median; may be repeated [default: 0.1 and 0.9].
    #[arg(long, value_name = "LEVEL")]
    quantile: Vec<f64>,
}

/// Runs the command.
///
/// # Errors
/// The source can't be read, the model fails, or the result can't be written.
pub fn predict(args: &PredictArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let form = args.output.form(terminal)?;
    if matches!(form, Form::Html | Form::Parquet) {
        return Err(CliError::Usage("predict writes table, csv or json".into()));
    }
    let Chosen { spec, forecaster: model } = args.model.choose()?;
    let id = spec.id;
    let levels = levels(&args.ahead.quantile)?;
    let frame = args.source.read(Span::Points(0), terminal)?;
    let frame = between(&frame, args.source.start(frame.end()), args.source.to);
    if frame.samples() == 0 {
        return Err(args.source.nothing("there is no value between --from and --to"));
    }
    let horizon = args.ahead.horizon.points(frame.step());
    let window = args.ahead.context.map_or(CONTEXT, |span| span.points(frame.step()));
    let first = frame.points().saturating_sub(window);
    let contexts: Vec<&[f64]> = frame.rows().map(|(_, row)| &row[first..]).collect();
    let started = Instant::now();
    let (end, step) = (frame.end().millis(), frame.step().duration());
    let forecast = model.forecast(&Request::new(&contexts, end, step, horizon, &levels))?;
    let took = started.elapsed();
    let prediction = Prediction { source: args.source.title(), model: id, took, frame, forecast };
    write(&prediction, form, &args.output, terminal)
}

/// The quantiles asked for, and always the median.
fn levels(asked: &[f64]) -> Result<Levels, CliError> {
    let asked = if asked.is_empty() { &[0.1, 0.9] } else { asked };
    Ok(Levels::new(asked.iter().copied().chain([0.5]).collect())?)
}

fn write(prediction: &Prediction, form: Form, output: &OutputArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let (paint, width) = (terminal.paint, terminal.width);
    output.to(terminal, |out| match form {
        Form::Csv => prediction::csv(prediction, out),
        Form::Json => prediction::json(prediction, out),
        _ => {
            prediction::charts(prediction, output.charts(form), width, paint, out)?;
            prediction::table(prediction, output.limit(), width, paint, out)?;
            prediction::summary(prediction, out)
        }
    })
}
