//! `models runtime`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use models::onnx::{InstallError, Progress, install, runtime as onnx_runtime};

use super::{CliError, Shelf, Terminal, bar};

/// Shows or fetches ONNX Runtime, the library that foundation models need.
#[derive(clap::Args, Debug)]
pub(super) struct RuntimeArgs {
    #[command(subcommand)]
    command: RuntimeCommand,
}

#[derive(Subcommand, Debug)]
enum RuntimeCommand {
    /// Shows which library is used; exits with 1 where there is none.
    Show,
    /// Fetches the library from the Python package index into the user's cache folder.
    Install,
}

pub(super) fn runtime(args: &RuntimeArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    match args.command {
        RuntimeCommand::Show => show(shelf, terminal),
        RuntimeCommand::Install => fetch(terminal),
    }
}

fn show(shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let found = onnx_runtime::find(&shelf.settings);
    match &found {
        Some(path) => writeln!(terminal.out, "{}", path.display())?,
        None => writeln!(
            terminal.out,
            "ONNX Runtime is not installed: `openanomaly models runtime install` fetches version {}, and so does the \
             first forecast that needs it",
            onnx_runtime::VERSION
        )?,
    }
    Ok(ExitCode::from(u8::from(found.is_none())))
}

fn fetch(terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let path = fetch_shown()?;
    writeln!(terminal.out, "ONNX Runtime {} is in {}", onnx_runtime::VERSION, path.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches the library into the user's cache folder, with a bar where stderr is a terminal.
pub(crate) fn fetch_shown() -> Result<PathBuf, InstallError> {
    let shown = bar("ONNX Runtime", None);
    let path = install::install(&|Progress { done_bytes, all_bytes }| {
        if let Some(all) = all_bytes {
            shown.set_length(all);
        }
        shown.set_position(done_bytes);
    });
    shown.finish_and_clear();
    path
}
