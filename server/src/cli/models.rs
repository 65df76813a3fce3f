//! `models`: what there is to choose from, and the models folder.

mod bench;
mod fetch;
mod inspect;
mod list;
pub(crate) mod runtime;
mod verify;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use models::Resources;
use models::onnx::Settings;
use models::onnx::library::Library;
use serde_json::Value;

use super::{CliError, Terminal};
use crate::render::format::number;

/// Shows, fetches and tries models.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ModelsArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(subcommand)]
    command: ModelsCommand,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly models list
  openanomaly models pull amazon/chronos-bolt-tiny
  openanomaly models add export/model.onnx --id me/bolt
  openanomaly models inspect me/bolt
  openanomaly models bench me/bolt --batch 1,32";

/// Where models are.
#[derive(clap::Args, Debug)]
struct FolderArgs {
    /// The models folder [default: openanomaly/models in the user's data folder].
    #[arg(long, global = true, value_name = "DIR", env = "OPENANOMALY_MODELS", hide_env_values = true)]
    folder: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum ModelsCommand {
    List(list::ListArgs),
    Pull(fetch::PullArgs),
    Add(fetch::AddArgs),
    Remove(fetch::RemoveArgs),
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
    Bench(bench::BenchArgs),
    Runtime(runtime::RuntimeArgs),
}

/// The form of a list.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListForm {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Runs the command.
///
/// # Errors
/// The models folder's, the hub's, a model's and the writer's.
pub fn models(args: &ModelsArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let settings = Settings { folder: args.folder.folder.clone(), ..Settings::default() };
    let shelf = Shelf { library: Library::of(&settings)?, settings };
    match &args.command {
        ModelsCommand::List(args) => list::list(args, &shelf, terminal),
        ModelsCommand::Pull(args) => fetch::pull(args, &shelf, terminal),
        ModelsCommand::Add(args) => fetch::add(args, &shelf, terminal),
        ModelsCommand::Remove(args) => fetch::remove(args, &shelf, terminal),
        ModelsCommand::Inspect(args) => inspect::inspect(args, &shelf, terminal),
        ModelsCommand::Verify(args) => verify::verify(args, &shelf, terminal),
        ModelsCommand::Bench(args) => bench::bench(args, &shelf, terminal),
        ModelsCommand::Runtime(args) => runtime::runtime(args, &shelf, terminal),
    }
}

/// The models folder, and what holds for the models in it.
struct Shelf {
    library: Library,
    settings: Settings,
}

impl Shelf {
    /// What models are built with.
    fn resources(&self) -> Resources {
        Resources::new(self.settings.clone())
    }
}

/// Writes JSON for programs.
pub(super) fn write_json(value: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    Ok(writeln!(terminal.out, "{}", serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)?)
}

/// A size for people.
fn bytes(bytes: u64) -> String {
    if bytes < 100_000 { format!("{bytes} B") } else { format!("{}B", number(bytes as f64)) }
}

/// Asks on stderr, where somebody is there to answer; elsewhere `--yes` must say it.
fn confirmed(question: &str, yes: bool) -> Result<bool, CliError> {
    if yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::Usage(format!("{question} Where nobody can be asked, --yes says so")));
    }
    write!(std::io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A bar of bytes on stderr, seen where that is a terminal.
fn bar(name: &str, bytes: Option<u64>) -> ProgressBar {
    let template = "{msg} {bar:30.cyan} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new).with_message(name.to_owned());
    bar.with_style(style)
}
