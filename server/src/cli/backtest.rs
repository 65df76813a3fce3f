//! `backtest`: replays history as the service would have scored it, and says what that is worth.

mod input;
mod labels;
mod replay;
mod scores;
mod setup;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use engine::backtest::cases::Case;
use engine::backtest::claims::Claims;
use engine::backtest::diff::Diff;
use tsdb::{Step, Timestamp};

pub(crate) use input::{How, Input, inputs};
pub(crate) use replay::{Outcome, Work, run};
pub(crate) use setup::Setup;

use super::client::ServiceArgs;
use super::model::ModelArgs;
use super::settings::JudgeArgs;
use super::source::{ColumnArgs, Span, header, parse_duration, parse_span, step, time};
use super::{CliError, Terminal, error};
use crate::render::backtest::{self as render, CaseOutcome, Change, Report, Run};

/// Replays history as the service would have scored it, and says what that is worth.
///
/// Every point is scored by what came before it, never by what came after. Where labels say what happened, the result tells
/// how many events were caught, how soon, and how many alarms were false.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BacktestArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// A pipeline to replay; may be repeated [default: the model and the settings given by flags].
    #[arg(long, value_name = "FILE[#NAME]", help_heading = "Pipelines", conflicts_with = "model")]
    pipeline: Vec<String>,
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What the result is held against.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Comparison")]
struct CompareArgs {
    /// Which alerts the second pipeline, and any further one, adds to those of the first, and which it takes away.
    #[arg(long, value_name = "FILE[#NAME]", num_args = 2.., conflicts_with_all = ["pipeline", "model", "baseline"])]
    compare: Vec<String>,
    /// The same against the result of an earlier run: what --output FILE.json or --format json wrote.
    #[arg(long, value_name = "RESULT.json")]
    baseline: Option<PathBuf>,
    /// So many added alerts are fine.
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow_added: usize,
    /// So many alerts may be gone.
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow_gone: usize,
    /// Holds the result against what people said of alerts, as the service at --server knows it: what they called an
    /// anomaly must be alerted, and nothing else that they spoke of.
    #[arg(long)]
    feedback: bool,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly backtest metrics.csv
  openanomaly backtest labelled/ --scores scores/ --output report.html
  openanomaly backtest --url http://localhost:8428 --pipeline web.yaml --last 4w
  openanomaly backtest history/ --compare old.yaml new.yaml --allow-gone 2
  openanomaly backtest history/ --pipeline web.yaml --baseline main.json
  openanomaly backtest --url http://localhost:8428 --pipeline web.yaml --last 4w --feedback

Exit codes: 0 done, 1 failed, 2 wrong flags. With --compare, --baseline or --feedback: 0 nothing is worse (no more alerts
added or gone than allowed, all cases kept), 1 something is, 2 it could not be found out.";

/// Where series come from, and which part of them is judged.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceArgs {
    /// CSV, Parquet or Arrow files, folders of such files, or the URL of a server that speaks Prometheus's API.
    #[arg(value_name = "SOURCE", help_heading = "Arguments")]
    sources: Vec<String>,
    /// The URL of a server that speaks Prometheus's API.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// PromQL or MetricsQL for a server; for files, a selector such as 'cpu{host=~"web.*"}'.
    #[arg(short, long, value_name = "PROMQL")]
    query: Option<String>,
    /// The distance between points, such as 5m [default: the pipeline's, for a file its own where that is longer; 5m for a
    /// server without a pipeline].
    #[arg(long, value_name = "DURATION", value_parser = step)]
    step: Option<Step>,
    /// How much of the past is judged.
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
    /// What is known to have happened: a CSV file with the columns series, from and to, or `feedback` for what people
    /// called an anomaly (see --server). A column `label` in the files themselves counts as well.
    #[arg(long, value_name = "FILE|feedback")]
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
    /// What a server is asked, or which series of files are looked at.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// What is named by flags, or else the servers that the pipelines of `setups` read.
    ///
    /// # Errors
    /// Nothing is named.
    pub(crate) fn sources(&self, setups: &[Setup]) -> Result<Vec<String>, CliError> {
        let mut named: Vec<String> = self.sources.iter().chain(&self.url).cloned().collect();
        if named.is_empty() {
            named.extend(setups.iter().filter_map(|setup| setup.written()?.prometheus_url.clone()));
            named.dedup();
        }
        let nothing = "name a file, a folder or the --url of a server";
        if named.is_empty() { Err(CliError::Usage(nothing.into())) } else { Ok(named) }
    }

    /// Whether what people said is what is known to have happened.
    fn labels_are_feedback(&self) -> bool {
        self.labels.as_deref() == Some(Path::new("feedback"))
    }

    /// What is known to have happened, beside what the inputs say; `cases` is what people said.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn claims(&self, cases: &[Case]) -> Result<Option<Claims>, CliError> {
        match &self.labels {
            None => Ok(None),
            Some(_) if self.labels_are_feedback() => Ok(Some(Claims::said(cases))),
            Some(path) => labels::read(path).map(Some),
        }
    }

    /// How the inputs are read.
    pub(crate) fn how(&self, now: Timestamp) -> How {
        How {
            columns: self.columns.clone(),
            step: self.step,
            query: self.query.clone(),
            from: self.from,
            last: self.last,
            to: self.to,
            headers: self.header.clone(),
            warm_up: self.warm_up,
            vus_window: self.vus_window,
            now,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A source can't be read, a model fails, or a result can't be written; where the exit code is a verdict, such an error is
/// told here, and is 2.
pub fn backtest(args: &BacktestArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let is_verdict = !args.compare.compare.is_empty() || args.compare.baseline.is_some() || args.compare.feedback;
    match execute(args, terminal) {
        Err(error) if is_verdict => {
            error::report(&error, super::terminal::paint_stderr(super::terminal::Color::Auto));
            Ok(ExitCode::from(2))
        }
        outcome => outcome,
    }
}

fn execute(args: &BacktestArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let form = args.output.form()?;
    let baseline = args.compare.baseline.as_deref().map(baseline).transpose()?;
    let setups = args.setups()?;
    let sources = args.source.sources(&setups)?;
    let cases = args.cases(&setups)?;
    let inputs = inputs(&sources)?;
    let work = Work {
        how: args.source.how(terminal.now),
        claims: args.claims(&cases)?,
        scores: args.output.scores.clone(),
        is_many: setups.len() > 1,
        pictures: form == Some(Form::Html),
        parts: vec![],
    };
    let started = Instant::now();
    let outcomes = run(&setups, &inputs, &work)?;
    let took_seconds = started.elapsed().as_secs_f64();
    let runs: Vec<Run> = setups.iter().zip(outcomes).map(|(setup, outcome)| outcome.into_run(setup)).collect();
    let changes = args.changes(&runs, baseline.as_ref());
    let said = |run| cases.iter().map(move |case| CaseOutcome::of(case, run));
    let cases = if args.compare.feedback { runs.iter().flat_map(said).collect() } else { vec![] };
    let report = Report { sources, took_seconds, runs, changes, cases };
    args.output.write(&report, form, terminal)?;
    Ok(if args.compare.is_worse(&report) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

impl BacktestArgs {
    fn setups(&self) -> Result<Vec<Setup>, CliError> {
        match (self.pipeline.is_empty(), self.compare.compare.is_empty()) {
            (true, true) => Ok(vec![Setup::of_flags(&self.model, &self.judge)?]),
            (false, _) => Setup::of_files(&self.pipeline),
            (true, false) => Setup::of_files(&self.compare.compare),
        }
    }

    /// What people said of the pipelines that are replayed; of all pipelines, where none is named.
    fn cases(&self, setups: &[Setup]) -> Result<Vec<Case>, CliError> {
        if !self.compare.feedback && !self.source.labels_are_feedback() {
            return Ok(vec![]);
        }
        let mut names: Vec<&str> = setups.iter().filter_map(|setup| Some(setup.written()?.name.as_str())).collect();
        names.dedup();
        match names[..] {
            [] => labels::feedback(&self.service, None),
            _ => {
                let each = names.iter().map(|name| labels::feedback(&self.service, Some(name)));
                Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
            }
        }
    }

    /// What is known to have happened, beside what the inputs say: what people called an anomaly too, where nothing else is
    /// named.
    fn claims(&self, cases: &[Case]) -> Result<Option<Claims>, CliError> {
        let claims = self.source.claims(cases)?;
        Ok(claims.or_else(|| Some(Claims::said(cases)).filter(Claims::has_events)))
    }

    /// What the runs change: those after the first one, or all of them against an earlier result.
    fn changes(&self, runs: &[Run], baseline: Option<&Report>) -> Vec<Change> {
        let change = |before: &Run, after: &Run, name: String| Change {
            before: name,
            after: after.name.clone(),
            diff: Diff::of(&before.series, &after.series),
        };
        match baseline {
            Some(old) => {
                let of_same_name = |run: &Run| old.runs.iter().find(|other| other.name == run.name);
                let pair = |run: &Run| Some((of_same_name(run).or(old.runs.first())?.clone(), run.clone()));
                let pairs = runs.iter().filter_map(pair);
                pairs.map(|(before, after)| change(&before, &after, format!("{} (baseline)", before.name))).collect()
            }
            None if self.compare.compare.is_empty() => vec![],
            None => runs[1..].iter().map(|after| change(&runs[0], after, runs[0].name.clone())).collect(),
        }
    }
}

impl CompareArgs {
    /// Whether more changes than is allowed, or a case is broken.
    fn is_worse(&self, report: &Report) -> bool {
        let is_beyond =
            |change: &Change| change.diff.added.len() > self.allow_added || change.diff.gone.len() > self.allow_gone;
        report.changes.iter().any(is_beyond) || report.cases.iter().any(CaseOutcome::is_broken)
    }
}

/// An earlier result.
fn baseline(path: &Path) -> Result<Report, CliError> {
    let bytes = fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let wrong = |error: serde_json::Error| {
        let reason = format!("it is no result of a backtest: {error}");
        CliError::Source { origin: path.display().to_string(), reason }
    };
    serde_json::from_slice(&bytes).map_err(wrong)
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
}

impl OutputArgs {
    /// The form of the file, where one is written.
    fn form(&self) -> Result<Option<Form>, CliError> {
        let Some(path) = &self.output else { return Ok(None) };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("html" | "htm") => Ok(Some(Form::Html)),
            Some("json") => Ok(Some(Form::Json)),
            _ => Err(CliError::flag("--output", &path.display().to_string(), "a report ends with .html or .json")),
        }
    }

    fn write(&self, report: &Report, form: Option<Form>, terminal: &mut Terminal) -> Result<(), CliError> {
        if let (Some(path), Some(form)) = (&self.output, form) {
            let failed = |source| CliError::File { path: path.clone(), source };
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            let written = match form {
                Form::Html => render::html(report, &mut file),
                Form::Json => render::json(report, &mut file),
            };
            written.and_then(|()| file.flush()).map_err(failed)?;
        }
        let Terminal { out, width, paint, .. } = terminal;
        if self.format == Format::Json {
            return Ok(render::json(report, &mut **out)?);
        }
        render::table(report, self.limit, *width, *paint, &mut **out)?;
        if let Some(folder) = &self.scores {
            writeln!(out, "scores written to {}", folder.display())?;
        }
        if let Some(path) = &self.output {
            writeln!(out, "report written to {}", path.display())?;
        }
        Ok(())
    }
}
