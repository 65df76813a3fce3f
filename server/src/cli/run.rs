//! `run`: the service.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::CliError;
use crate::config::Config;
use crate::render::format::Paint;
use crate::traces::Traces;
use crate::{app, daemon};

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
    /// Where to listen, instead of what the configuration says.
    #[arg(long, value_name = "ADDRESS", env = "OPENANOMALY_LISTEN_ADDRESS")]
    listen: Option<SocketAddr>,
    /// Lets anybody in, on whatever address.
    #[arg(long)]
    insecure: bool,
}

/// Runs the command; `greeting` where a person looks on.
///
/// # Errors
/// The service can't start.
pub fn run(args: &RunArgs, greeting: Option<Paint>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let options = daemon::Options { listen: args.listen, insecure: args.insecure, greeting };
    runtime.block_on(daemon::run(&args.config, &options)).map_err(CliError::Daemon)
}

/// Where the service's traces go, if anywhere. What is wrong with the configuration is said when it is loaded to be
/// used.
///
/// # Errors
/// The collector's address is none.
pub fn traces(args: &RunArgs) -> Result<Option<Traces>, CliError> {
    let otlp = Config::load(&args.config, &daemon::environment).ok().and_then(|config| config.otlp);
    Ok(otlp.map(|otlp| Traces::start(&otlp, app::instance())).transpose()?)
}
