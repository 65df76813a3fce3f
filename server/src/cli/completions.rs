//! `completions`: what a shell needs to complete our flags.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, CliError, Terminal};

/// Prints the completions of a shell.
///
/// `source <(openanomaly completions bash)` for this session; for good, write them to where the shell looks, such as
/// ~/.local/share/bash-completion/completions/openanomaly.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Writes the completions.
///
/// # Errors
/// The writer's.
pub fn completions(args: &CompletionsArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    // The generator panics where it can't write, so it writes to memory.
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "openanomaly", &mut script);
    Ok(terminal.out.write_all(&script)?)
}
