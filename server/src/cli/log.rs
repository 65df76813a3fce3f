//! What is logged, and how.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::CliError;

/// How much is logged to stderr, and in which form.
#[derive(clap::Args, Debug)]
pub struct LogArgs {
    /// The form of the log, which goes to stderr.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        env = "OPENANOMALY_LOG_FORMAT",
        hide_env_values = true
    )]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as tsdb=debug.
    #[arg(long, global = true, value_name = "LEVEL", env = "OPENANOMALY_LOG_LEVEL", hide_env_values = true)]
    log_level: Option<String>,
    /// Logs more: -v info, -vv debug, -vvv trace.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// The form of the log.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged of ONNX Runtime where nobody asks for more.
const RUNTIME: &str = "ort=error";

/// Starts logging; `quiet` is the level where nothing else is asked for.
///
/// # Errors
/// A filter that can't be read.
pub fn init(args: &LogArgs, quiet: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(level(args, quiet)).map_err(|error| {
        CliError::Usage(format!("--log-level {}: {error}", args.log_level.as_deref().unwrap_or("")))
    })?;
    // ONNX Runtime tells of every device and of releases newer than its bindings.
    let filter = if args.log_level.is_some() {
        filter
    } else {
        filter.add_directive(RUNTIME.parse().expect("it is well formed"))
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first one's logging.
    let _ = match args.log_format {
        LogFormat::Text => builder.with_ansi(super::terminal::stderr_has_colors()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn level<'a>(args: &'a LogArgs, quiet: &'a str) -> &'a str {
    match (&args.log_level, args.verbose) {
        (Some(level), _) => level,
        (None, 0) => quiet,
        (None, 1) => "info",
        (None, 2) => "debug",
        (None, _) => "trace",
    }
}
