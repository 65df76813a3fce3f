//! `demo`: the whole thing in fast motion, with incidents that are known.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use tsdb::Step;

use super::{CliError, Terminal};
use crate::demo::{Demo, DemoError, Plan, outcome::Outcome, show};
use crate::metrics::Metrics;
use crate::render::chart::Style;
use crate::render::format::{Ink, time};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// The exit code after Ctrl-C, as a shell has it.
const STOPPED: u8 = 130;

/// How many incidents are drawn.
const CHARTS: usize = 2;

/// Watches a generated fleet in fast motion, and shows what is found of the incidents in it.
///
/// Two weeks of history and then week after week of new points are written to an embedded time series database.
/// Real pipelines read them from there, forecast, score, and write the scores back. In the end the scores are read
/// from the database, grouped into alerts, and compared with the incidents that were put in. Somebody is called when
/// three points in a row have a score above 1, or two of which the first has 10 or more; alerts within an hour of
/// each other are one.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  openanomaly demo
  openanomaly demo --seed 2 --series 200 --weeks 4
  openanomaly demo --output json | jq .false_alarms_per_series_week

Exit codes: 0 done, 1 failed, or less than half found, or more than one false alarm a series and week")]
pub struct DemoArgs {
    /// What all chance comes from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many series there are.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    series: u16,
    /// How many weeks are watched.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=52))]
    weeks: u8,
    /// Keeps the database in this new or empty folder [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The form of the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: DemoForm,
}

/// The form of the result.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DemoForm {
    /// For people.
    #[default]
    Table,
    /// One object, for programs.
    Json,
}

/// Runs the command.
///
/// # Errors
/// The database can't be used, a pass fails, or the result can't be written.
pub fn demo(args: &DemoArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let temporary = temporary()?;
    let folder = args.data.clone().unwrap_or_else(|| temporary.path().join("tsdb"));
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(CliError::flag("--data", &folder.display().to_string(), "the folder is not empty"));
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let plan = Plan { seed: args.seed, series: args.series.into(), watched: WEEK * args.weeks.into() };
    runtime.block_on(run(args, plan, &folder, terminal))
}

async fn run(args: &DemoArgs, plan: Plan, folder: &Path, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let metrics = Metrics::new(terminal.now);
    if args.output == DemoForm::Table {
        show::opening(&plan, terminal.paint, &mut terminal.out)?;
        terminal.out.flush()?;
    }
    let started = Instant::now();
    let demo = tokio::select! {
        demo = play(plan, folder, &metrics) => demo?,
        // The folder must go away here too, so that Ctrl-C may not end the process on its own.
        stopped = tokio::signal::ctrl_c() => return Ok(stopped.map(|()| ExitCode::from(STOPPED))?),
    };
    let outcome = demo.outcome().await?;
    show(&demo, &outcome, started.elapsed(), args, terminal).await?;
    if args.data.is_some() {
        demo.close();
    }
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A folder that goes away at the end: in memory where the system has a place for that, since the database waits for
/// the disk at every write, and nobody needs this one after a power cut.
pub(super) fn temporary() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// Everything up to the end of the time that is watched, with a bar where stderr is a terminal.
async fn play(plan: Plan, folder: &Path, metrics: &Arc<Metrics>) -> Result<Demo, DemoError> {
    let style = ProgressStyle::with_template("{bar:40.cyan} {msg} · {elapsed} · {eta} left")
        .expect("the template is well formed");
    let bar = ProgressBar::new(plan.watched.as_secs()).with_style(style);
    bar.set_message("learning from two weeks");
    bar.tick();
    let mut demo = Demo::start(plan, folder, metrics.clone()).await?;
    let start = demo.now();
    demo.play(|now| {
        bar.set_position((now.millis() - start.millis()).unsigned_abs() / 1000);
        bar.set_message(time(now, Step::from_millis(60_000).expect("it is above zero")));
    })
    .await?;
    bar.finish_and_clear();
    Ok(demo)
}

async fn show(
    demo: &Demo,
    outcome: &Outcome,
    took: Duration,
    args: &DemoArgs,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let (width, paint) = (terminal.width, terminal.paint);
    if args.output == DemoForm::Json {
        show::json(outcome, took, &mut terminal.out)?;
        return Ok(terminal.out.flush()?);
    }
    show::incidents(outcome, width, paint, &mut terminal.out)?;
    for verdict in show::worth_a_chart(outcome, CHARTS) {
        if let Some(scored) = demo.scored(&verdict.incident.series).await? {
            show::chart(verdict, &scored, Style { width, height: 8, paint }, &mut terminal.out)?;
        }
    }
    show::summary(outcome, took, paint, &mut terminal.out)?;
    if let Some(reason) = demo.instead() {
        writeln!(terminal.out, "{}", paint.ink(Ink::Faint, reason))?;
    }
    show::next(paint, &mut terminal.out)?;
    Ok(terminal.out.flush()?)
}
