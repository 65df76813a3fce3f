//! `validate`: checks pipeline files and the service's configuration.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::pipelines::{Loaded, load};
use super::{CliError, Terminal};
use crate::render::format::{Ink, count};

/// Checks pipeline files and the service's configuration, and says what is wrong where.
///
/// Exits with 1 where a file has an error. Models and their parameters are checked too, and `${NAME}` is replaced by
/// the environment. No server is asked anything.
#[derive(clap::Args, Debug)]
pub struct ValidateArgs {
    /// Files, or directories with .yaml, .yml and .json files.
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The writer's, and paths that can't be read.
pub fn validate(args: &ValidateArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let Loaded { files, pipelines, errors } = load(&args.files)?;
    let paint = terminal.paint;
    for error in &errors {
        writeln!(terminal.out, "{} {error}", paint.ink(Ink::Alarm, "error:"))?;
    }
    let (files, good) = (count(files, "file", "files"), count(pipelines.len(), "pipeline", "pipelines"));
    if errors.is_empty() {
        writeln!(terminal.out, "{files}, {good}: all good")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(terminal.out, "{files}, {good} good, {}", count(errors.len(), "error", "errors"))?;
    Ok(ExitCode::from(1))
}
