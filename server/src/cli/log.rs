//! What is logged, and how.

mod json;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::CliError;
use crate::traces::Traces;

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

/// Starts logging, and `traces` where they are wanted; `quiet` is the level where nothing else is asked for.
///
/// # Errors
/// A filter that can't be read.
pub fn init(args: &LogArgs, quiet: &str, traces: Option<&Traces>) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(level(args, quiet)).map_err(|error| {
        CliError::Usage(format!("--log-level {}: {error}", args.log_level.as_deref().unwrap_or("")))
    })?;
    // ONNX Runtime tells of every device and of releases newer than its bindings.
    let filter = if args.log_level.is_some() {
        filter
    } else {
        filter.add_directive(RUNTIME.parse().expect("it is well formed"))
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
        LogFormat::Text => lines.with_ansi(super::terminal::stderr_has_colors()).boxed(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(json::Flat).boxed(),
    };
    // However little is logged, a line says which request and which pass it belongs to.
    let lines = lines.with_filter(filter.or(filter_fn(is_span_of_ours)));
    let spans = traces.map(|traces| {
        traces.layer().with_filter(Targets::new().with_target("server", Level::INFO).with_target("engine", Level::INFO))
    });
    // A second start, as in tests, keeps the first one's logging.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(())
}

/// Whether a person reads the log in a terminal.
pub fn is_for_people(args: &LogArgs) -> bool {
    args.log_format == LogFormat::Text && std::io::stderr().is_terminal()
}

fn is_span_of_ours(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target().starts_with("server") || metadata.target().starts_with("engine");
    metadata.is_span() && is_ours && *metadata.level() <= Level::INFO
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
