//! `run`: the service.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{CliError, Terminal, demo};
use crate::config::Config;
use crate::demo::live;
use crate::render::format::{Ink, Paint};
use crate::traces::Traces;
use crate::{app, daemon};

/// Where the configuration is where nobody says.
const USUAL_CONFIG: &str = "config/openanomaly.yaml";

/// Runs the pipelines on their schedules, until it is stopped.
///
/// Reads the configuration and, beside it, the folder of pipelines; reloads both when they change or on SIGHUP, and
/// keeps the last good version of what is broken. SIGTERM or Ctrl-C finishes the passes that have begun.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  openanomaly run --demo
  openanomaly run
  openanomaly run --config /etc/openanomaly/openanomaly.yaml")]
pub struct RunArgs {
    /// The service's configuration.
    #[arg(long, value_name = "FILE", default_value = USUAL_CONFIG, env = "OPENANOMALY_CONFIG")]
    config: PathBuf,
    /// Where to listen, instead of what the configuration says.
    #[arg(long, value_name = "ADDRESS", env = "OPENANOMALY_LISTEN_ADDRESS")]
    listen: Option<SocketAddr>,
    /// Lets anybody in, on whatever address.
    #[arg(long)]
    insecure: bool,
    /// Needs no configuration: watches a generated fleet, whose last three weeks are in a database inside the
    /// program and which goes on from there.
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    /// Keeps what the demo has in this folder, and goes on there the next time [default: a temporary one].
    #[arg(long, value_name = "DIR", requires = "demo")]
    data: Option<PathBuf>,
}

/// Runs the command; `greeting` where a person looks on.
///
/// # Errors
/// The service can't start.
pub fn run(args: &RunArgs, greeting: Option<Paint>, terminal: &mut Terminal) -> Result<(), CliError> {
    // It goes away at the end.
    let temporary = args.demo.then(demo::temporary).transpose()?;
    let config = match &temporary {
        Some(temporary) => prepare(args.data.as_deref().unwrap_or(temporary.path()), args, terminal)?,
        None if args.config == Path::new(USUAL_CONFIG) && !args.config.exists() => return Err(nothing_to_run()),
        None => args.config.clone(),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let options = daemon::Options { listen: args.listen, insecure: args.insecure, demo: args.demo, greeting };
    runtime.block_on(daemon::run(&config, &options)).map_err(CliError::Daemon)
}

/// Makes the folder of the demo, says where to look, and answers its configuration.
fn prepare(folder: &Path, args: &RunArgs, terminal: &mut Terminal) -> Result<PathBuf, CliError> {
    let config = live::prepare(folder).map_err(|source| CliError::File { path: folder.to_owned(), source })?;
    let address = args.listen.map_or_else(|| "127.0.0.1:8490".to_owned(), |address| address.to_string());
    let page = terminal.paint.ink(Ink::Strong, format!("http://{address}"));
    writeln!(terminal.out, "The demo is about to start: open {page} in a browser · Ctrl-C ends it")?;
    terminal.out.flush()?;
    Ok(config)
}

/// What to do where there is nothing.
fn nothing_to_run() -> CliError {
    CliError::Source {
        origin: USUAL_CONFIG.into(),
        reason: "there is no such file. Try `openanomaly run --demo`, which needs none; or write one with\n  \
                 datasources: {default: {url: 'http://localhost:8428'}}\n\
                 in it, and name it by --config FILE"
            .into(),
    }
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
