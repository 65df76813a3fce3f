//! The command line: flags in, results to stdout, everything else to stderr.

pub mod access;
pub mod backtest;
pub mod backup;
pub mod client;
pub mod completions;
pub mod demo;
pub mod detect;
pub mod error;
pub mod explain;
pub mod jobs;
pub mod keys;
pub mod log;
pub mod model;
pub mod models;
pub mod output;
pub mod pipelines;
pub mod predict;
pub mod routes;
pub mod run;
pub mod settings;
pub mod source;
pub mod store;
pub mod terminal;
pub mod train;
pub mod tune;
pub mod users;
pub mod validate;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

pub use error::CliError;
pub use terminal::Terminal;

use crate::render::format::Paint;
use crate::traces::Traces;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Green.on_default());

/// Finds what is unusual in time series, and says how unusual it is.
///
/// OpenAnomaly forecasts every series from its own past and scores what came against the band that it expected:
/// 0 is exactly as expected, 1 is the edge of the band, and above 1 is an anomaly.
#[derive(Parser, Debug)]
#[command(name = "openanomaly", version, styles = STYLES, max_term_width = 110, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly demo
  openanomaly run --demo
  openanomaly detect metrics.csv
  openanomaly detect http://localhost:9090 --query 'rate(http_requests_total[5m])' --last 1d
  openanomaly predict metrics.parquet --horizon 24
  openanomaly backtest labelled/ --output report.html
  openanomaly validate config/pipelines";

/// What holds for every command.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
struct Global {
    #[command(flatten)]
    log: log::LogArgs,
    /// Whether results have colours.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: terminal::Color,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::DemoArgs),
    Detect(Box<detect::DetectArgs>),
    Backtest(Box<backtest::BacktestArgs>),
    Explain(explain::ExplainArgs),
    Predict(Box<predict::PredictArgs>),
    Train(Box<train::TrainArgs>),
    Tune(Box<tune::TuneArgs>),
    Keys(keys::KeysArgs),
    Models(models::ModelsArgs),
    Pipelines(pipelines::PipelinesArgs),
    Users(users::UsersArgs),
    Validate(validate::ValidateArgs),
    Routes(routes::RoutesArgs),
    #[command(visible_alias = "serve")]
    Run(run::RunArgs),
    Jobs(jobs::JobsArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Store(store::StoreArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the program: reads the arguments, the terminal and the clock, does what is asked, and says how it went.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Every connection of this program is by this one; a second start, as in tests, keeps the first one's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that can't be shown has nobody to be told so.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let paint = terminal::paint_stderr(cli.global.color);
    start(cli).unwrap_or_else(|error| error::report(&error, paint))
}

fn start(cli: Cli) -> Result<ExitCode, CliError> {
    let traces = cli.command.traces()?;
    log::init(&cli.global.log, cli.command.quiet_level(), traces.as_ref())?;
    let greeting = log::is_for_people(&cli.global.log).then(|| terminal::paint_stderr(cli.global.color));
    let code = dispatch(cli.command, greeting, &mut Terminal::stdout(cli.global.color));
    // What is still to be sent is sent.
    traces.into_iter().for_each(Traces::stop);
    code
}

impl Command {
    /// The least that is logged without `-v`.
    fn quiet_level(&self) -> &'static str {
        if matches!(self, Self::Run(_)) { "info" } else { "warn" }
    }

    /// Where its traces go, if anywhere.
    fn traces(&self) -> Result<Option<Traces>, CliError> {
        if let Self::Run(args) = self { run::traces(args) } else { Ok(None) }
    }
}

fn dispatch(command: Command, greeting: Option<Paint>, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let code = match command {
        Command::Demo(args) => demo::demo(&args, terminal)?,
        Command::Detect(args) => detect::detect(&args, terminal)?,
        Command::Backtest(args) => backtest::backtest(&args, terminal)?,
        Command::Explain(args) => explain::explain(&args, terminal).map(|()| ExitCode::SUCCESS)?,
        Command::Predict(args) => predict::predict(&args, terminal).map(|()| ExitCode::SUCCESS)?,
        Command::Tune(args) => tune::tune(&args, terminal)?,
        Command::Train(args) => train::train(&args, terminal).map(|()| ExitCode::SUCCESS)?,
        Command::Keys(args) => keys::keys(&args, terminal)?,
        Command::Models(args) => models::models(&args, terminal)?,
        Command::Pipelines(args) => pipelines::pipelines(&args, terminal)?,
        Command::Users(args) => users::users(&args, terminal)?,
        Command::Routes(args) => routes::routes(&args, terminal).map(|()| ExitCode::SUCCESS)?,
        Command::Run(args) => run::run(&args, greeting, terminal).map(|()| ExitCode::SUCCESS)?,
        Command::Jobs(args) => jobs::jobs(&args, terminal)?,
        Command::Backup(args) => backup::backup(&args, terminal)?,
        Command::Restore(args) => backup::restore(&args, terminal)?,
        Command::Store(args) => store::store(&args, terminal)?,
        Command::Validate(args) => validate::validate(&args, terminal)?,
        Command::Completions(args) => completions::completions(&args, terminal).map(|()| ExitCode::SUCCESS)?,
    };
    terminal.out.flush()?;
    Ok(code)
}
