//! `train`: finds the settings of a model that forecast the series of a file best.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use engine::pipeline::{Pipeline, Technique};
use engine::train::{Evaluation, Trained};
use engine::{Schedule, train as training};
use models::{ModelSpec, Resources};
use serde_json::{Map, Value, json};
use tsdb::file::{File, FileOptions};
use tsdb::{Frame, Step};

use super::model::parameters;
use super::settings::widest;
use super::source::{Span, parse_span};
use super::{CliError, Terminal};
use crate::render::format::{count, number};
use crate::render::table;

/// Finds the settings of a model that forecast the series of a file best.
///
/// Candidates are compared on a part of the history, and the best is measured against the model's own settings on the
/// newest fifth, which it has not seen.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// A CSV, Parquet or Arrow file.
    #[arg(long, value_name = "FILE")]
    dataset: PathBuf,
    /// The model; `openanomaly models list` shows them all.
    #[arg(long, value_name = "ID", default_value = models::registry::FORECASTER)]
    model: String,
    /// A parameter that the model has already, such as trend=false; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// The series: the name of a metric or of a column of values [default: all of them].
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Where the settings are written, as the `model:` block of a pipeline [default: the standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How much of the past each forecast sees [default: up to two weeks, at most half of the file].
    #[arg(long, value_name = "POINTS|DURATION", value_parser = parse_span)]
    context: Option<Span>,
    /// How far ahead each forecast reaches [default: about an hour].
    #[arg(long, value_name = "POINTS|DURATION", value_parser = parse_span)]
    horizon: Option<Span>,
    /// The share of points that the band should hold.
    #[arg(long, default_value_t = 0.95, value_name = "PART", value_parser = super::settings::confidence)]
    confidence: f64,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly train --dataset metrics.csv --model mstl --output model.yaml
  openanomaly train --dataset metrics.parquet --model seasonal_naive --metric requests --horizon 1h";

/// Runs the command.
///
/// # Errors
/// The file can't be read, there is too little in it, or the settings can't be written.
pub fn train(args: &TrainArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let spec = ModelSpec::local(&args.model, parameters(&args.param)?);
    models::build(&spec, &Resources::default())?;
    let frame = on_grid(args.frame()?);
    let pipeline = args.pipeline(spec, &frame);
    let trained = training::train(&pipeline, &frame, None, &Resources::default(), &|_| true)
        .map_err(|error| args.nothing(error.to_string()))?;
    show(&trained, terminal)?;
    let block = block(&trained.model)?;
    match &args.output {
        None => write!(terminal.out, "\n{block}")?,
        Some(path) => {
            let failed = |source| CliError::File { path: path.clone(), source };
            fs::write(path, block).map_err(failed)?;
            writeln!(terminal.out, "written to {}", path.display())?;
        }
    }
    Ok(())
}

impl TrainArgs {
    fn nothing(&self, reason: String) -> CliError {
        CliError::Source { origin: self.dataset.display().to_string(), reason }
    }

    /// The series of the metric, or of the column of that name.
    fn frame(&self) -> Result<Frame, CliError> {
        let Some(metric) = &self.metric else {
            return Ok(File::open(&self.dataset, &FileOptions::default())?.frame(None)?);
        };
        let frame = File::open(&self.dataset, &FileOptions::default())?.frame(None)?;
        let is_meant = |row: &usize| {
            let labels = &frame.series()[*row];
            labels.name() == metric || labels.to_string() == *metric
        };
        let rows: Vec<usize> = (0..frame.series().len()).filter(is_meant).collect();
        if rows.is_empty() {
            let options = FileOptions { value: Some(metric.clone()), ..FileOptions::default() };
            return Ok(File::open(&self.dataset, &options)?.frame(None)?);
        }
        let series = rows.iter().map(|row| frame.series()[*row].clone()).collect();
        let values = rows.iter().flat_map(|row| frame.row(*row)).copied().collect();
        Ok(Frame::new(series, frame.start(), frame.step(), frame.points(), values)
            .expect("the rows of a frame are unique, and of one length"))
    }

    fn pipeline(&self, model: ModelSpec, frame: &Frame) -> Pipeline {
        let step = frame.step();
        let usual = || widest(step).min(frame.points() / 2).max(2);
        let hour = || step.count(std::time::Duration::from_secs(3600)).clamp(4, 60);
        let mut pipeline =
            Pipeline::parse("{name: train, query: train}", "train").expect("a name and a query are a pipeline");
        pipeline.step = step;
        pipeline.context_points = self.context.map_or_else(usual, |span| span.points(step)).max(2);
        pipeline.horizon_points = self.horizon.map_or_else(hour, |span| span.points(step));
        pipeline.forecast_schedule = Schedule::Every(step.times(pipeline.horizon_points));
        pipeline.anomaly.technique = Technique::ConfidenceInterval { confidence_level: self.confidence };
        pipeline.model = model;
        pipeline
    }
}

/// The frame moved onto the multiples of its step, which the engine counts in.
fn on_grid(frame: Frame) -> Frame {
    let (series, start, step, points, values): (_, _, Step, _, _) = frame.into_parts();
    Frame::new(series, start.floor(step), step, points, values).expect("its parts were a frame")
}

fn show(trained: &Trained, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut table =
        table::plain(&["", "MASE", "Pinball loss", "Coverage", "Points", "Parameters"], terminal.width, terminal.paint);
    let own = trained.candidates.first().map(|candidate| &candidate.parameters);
    let rows = [
        ("default", trained.verdict.untrained, own),
        ("trained", trained.verdict.trained, Some(&trained.model.parameters)),
    ];
    for (name, Evaluation { mase, pinball, coverage, points }, parameters) in rows {
        table.add_row([
            name.to_owned(),
            number(mase),
            number(pinball),
            format!("{:.1}%", coverage * 100.0),
            points.to_string(),
            shown(parameters),
        ]);
    }
    table::right(&mut table, &[1, 2, 3, 4]);
    table::write(&table, &mut terminal.out)?;
    let (series, until) = (count(trained.series, "series", "series"), trained.tail.1);
    let (candidates, reason) = (trained.candidates.len(), &trained.verdict.reason);
    writeln!(terminal.out, "{series}, {candidates} candidates, the tail from {} to {until}", trained.tail.0)?;
    writeln!(terminal.out, "{reason}")?;
    Ok(())
}

fn shown(parameters: Option<&Map<String, Value>>) -> String {
    let pairs = parameters.into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

/// The `model:` block of a pipeline.
fn block(model: &ModelSpec) -> Result<String, CliError> {
    let block = json!({ "model": { "id": model.id, "parameters": model.parameters } });
    serde_saphyr::to_string(&block).map_err(|error| std::io::Error::other(error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_can_be_pasted_into_a_pipeline() {
        let parameters = json!({"season": ["1d", "7d"], "trend": false}).as_object().unwrap().clone();
        let model = ModelSpec::local("mstl", parameters);
        let text = format!("name: a\nquery: up\n{}", block(&model).unwrap());
        assert_eq!(Pipeline::parse(&text, "test").unwrap().model, model, "{text}");
        let bare = ModelSpec::local("mstl", Map::new());
        let text = format!("name: a\nquery: up\n{}", block(&bare).unwrap());
        assert_eq!(Pipeline::parse(&text, "test").unwrap().model, bare, "{text}");
    }
}
