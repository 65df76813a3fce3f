//! `backtest`: replays history as the service would have scored it, and says what that is worth.

mod input;
mod labels;
mod replay;
mod scores;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use models::{ModelSpec, Resources};
use tsdb::{Step, Timestamp};

pub(crate) use input::{How, Input, inputs};
pub(crate) use labels::Claims;
pub(crate) use replay::{Base, Outcome, Part, Setup, Work, run};

use super::model::ModelArgs;
use super::settings::JudgeArgs;
use super::source::{ColumnArgs, Span, header, parse_duration, parse_span, step, time};
use super::{CliError, Terminal};
use crate::render::backtest::{self as render, Report, Run};

/// Replays history as the service would have scored it, and says what that is worth.
///
/// Every point is scored by what came before it, never by what came after. Where labels say what happened, the result tells
/// how many events were caught, how soon, and how many alarms were false.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BacktestArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly backtest metrics.csv
  openanomaly backtest labelled/ --scores scores/ --output report.html

Exit codes: 0 done, 1 failed, 2 wrong flags";

/// Where series come from, and which part of them is judged.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceArgs {
    /// CSV, Parquet or Arrow files, folders of such files, or the URL of a server that speaks Prometheus's API.
    #[arg(value_name = "SOURCE", required_unless_present = "url", help_heading = "Arguments")]
    sources: Vec<String>,
    /// The URL of a server that speaks Prometheus's API.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// PromQL or MetricsQL for a server; for files, a selector such as 'cpu{host=~"web.*"}'.
    #[arg(short, long, value_name = "PROMQL")]
    query: Option<String>,
    /// The distance between points, such as 5m [default: a file's own, the pipeline's, or 5m for a server].
    #[arg(long, value_name = "DURATION", value_parser = step)]
    step: Option<Step>,
    /// How much of a server's past is judged.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "from")]
    last: Option<Duration>,
    /// Where judging begins: 2026-01-31, 2026-01-31T10:00:00Z or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Where it ends [default: the newest point].
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// How much of each file is only learned from before judging begins, as points or as a duration [default: 15 %, at most
    /// 750 points].
    #[arg(long, value_name = "POINTS|DURATION", value_parser = parse_span, conflicts_with = "from")]
    warm_up: Option<Span>,
    /// What is known to have happened: a CSV file with the columns series, from and to. A column `label` in the files
    /// themselves counts as well.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How far from an event its label fades for VUS-PR, in points [default: 100].
    #[arg(long, value_name = "POINTS")]
    vus_window: Option<usize>,
    /// A header sent to the server, such as 'Authorization: Bearer …'; may be repeated.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    columns: ColumnArgs,
}

/// The form and the place of the result.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// The form of the result on the standard output.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: Format,
    /// Writes a report to a file: .html for people, .json for programs and a later --baseline.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Writes the scores of every input to <name>.csv in this folder: a row for every row of the input.
    #[arg(long, value_name = "FOLDER")]
    scores: Option<PathBuf>,
    /// How many lines a table has at most; 0 for all.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

/// The form of a result.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    /// For people, in a terminal.
    #[default]
    Table,
    /// One object with everything.
    Json,
}

impl SourceArgs {
    /// What is replayed.
    ///
    /// # Errors
    /// A path that can't be read, or holds nothing.
    pub(crate) fn inputs(&self) -> Result<Vec<Input>, CliError> {
        let sources: Vec<String> = self.sources.iter().chain(&self.url).cloned().collect();
        inputs(&sources)
    }

    /// What the sources are called, all together.
    pub(crate) fn title(&self) -> String {
        let all: Vec<&str> = self.sources.iter().chain(&self.url).map(String::as_str).collect();
        all.join(", ")
    }

    /// What is known to have happened, beside what the inputs say.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn claims(&self) -> Result<Option<Claims>, CliError> {
        self.labels.as_deref().map(Claims::read).transpose()
    }

    /// How the inputs are read.
    pub(crate) fn how(&self, now: Timestamp) -> How {
        let last = |last: Duration| self.to.unwrap_or(now) - last;
        How {
            columns: self.columns.clone(),
            step: self.step,
            query: self.query.clone(),
            from: self.from.or_else(|| self.last.map(last)),
            to: self.to,
            headers: self.header.clone(),
            warm_up: self.warm_up,
            vus_window: self.vus_window,
            now,
        }
    }
}

/// The setup of a model and settings that are given by flags.
fn of_flags(model: &ModelArgs, judge: &JudgeArgs) -> Result<Setup, CliError> {
    let spec = ModelSpec::local(model.model.as_deref().unwrap_or(models::DEFAULT), model.parameters()?);
    let forecaster = models::build(&spec, &Resources::default())?;
    forecaster.prepare()?;
    let name = spec.id.clone();
    Ok(Setup { name, base: Base::Settings(Box::new((judge.clone(), spec))), model: forecaster })
}

/// Runs the command.
///
/// # Errors
/// A source can't be read, a model fails, or a result can't be written.
pub fn backtest(args: &BacktestArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let inputs = args.source.inputs()?;
    let setups = [of_flags(&args.model, &args.judge)?];
    let work = Work {
        how: args.source.how(terminal.now),
        claims: args.source.claims()?,
        scores: args.output.scores.clone(),
        pictures: false,
        parts: vec![],
    };
    let started = Instant::now();
    let outcomes = run(&setups, &inputs, &work)?;
    let took_seconds = started.elapsed().as_secs_f64();
    let runs = setups.iter().zip(outcomes).map(|(setup, outcome)| outcome.into_run(setup)).collect();
    let report = Report { source: args.source.title(), took_seconds, runs };
    match args.output.format {
        Format::Json => render::json(&report, &mut *terminal.out)?,
        Format::Table => render::table(&report, args.output.limit, terminal.width, terminal.paint, &mut *terminal.out)?,
    }
    if let Some(folder) = &args.output.scores {
        writeln!(terminal.out, "scores written to {}", folder.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
