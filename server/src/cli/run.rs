//! `run`: the service.

use std::path::PathBuf;

use super::CliError;
use crate::daemon;

/// Runs the pipelines on their schedules, until it is stopped.
///
/// Reads the configuration and, beside it, the folder of pipelines; reloads both when they change or on SIGHUP, and
/// keeps the last good version of what is broken. SIGTERM or Ctrl-C finishes the passes that have begun.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  openanomaly run
  openanomaly run --config /etc/openanomaly/openanomaly.yaml")]
pub struct RunArgs {
    /// The service's configuration.
    #[arg(long, value_name = "FILE", default_value = "config/openanomaly.yaml", env = "OPENANOMALY_CONFIG")]
    config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The service can't start.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(daemon::run(&args.config)).map_err(CliError::Daemon)
}
