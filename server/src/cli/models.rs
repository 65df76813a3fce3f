//! `models`: what there is to choose from.

use std::io::Write;

use clap::{Subcommand, ValueEnum};
use models::{DEFAULT, Entry, MODELS};
use serde_json::json;

use super::{CliError, Terminal};
use crate::render::format::Ink;

/// Shows the models.
#[derive(clap::Args, Debug)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Subcommand, Debug)]
enum ModelsCommand {
    /// Lists all models with what can be set.
    List {
        /// The form of the list.
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        output: ListForm,
    },
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

/// Lists the models.
///
/// # Errors
/// The writer's.
pub fn models(args: &ModelsArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let ModelsCommand::List { output } = &args.command;
    match output {
        ListForm::Table => MODELS.iter().try_for_each(|entry| show(entry, terminal))?,
        ListForm::Json => {
            let list: Vec<_> = MODELS.iter().map(describe).collect();
            writeln!(terminal.out, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
        }
    }
    Ok(())
}

fn show(entry: &Entry, terminal: &mut Terminal) -> Result<(), CliError> {
    let paint = terminal.paint;
    let aliases = match entry.aliases {
        [] => String::new(),
        names => paint.ink(Ink::Faint, format!(" (also {})", names.join(", "))),
    };
    let default = if entry.id == DEFAULT { paint.ink(Ink::Faint, " (default)") } else { String::new() };
    writeln!(terminal.out, "{}{aliases}{default}\n  {}", paint.ink(Ink::Strong, entry.id), entry.summary)?;
    for parameter in entry.parameters {
        let name = format!("{}={}", parameter.name, parameter.default);
        writeln!(terminal.out, "    {}  {}", paint.ink(Ink::Actual, format!("{name:<24}")), parameter.meaning)?;
    }
    Ok(writeln!(terminal.out)?)
}

fn describe(entry: &Entry) -> serde_json::Value {
    let parameters: Vec<_> = entry
        .parameters
        .iter()
        .map(|known| json!({"name": known.name, "default": known.default, "meaning": known.meaning}))
        .collect();
    json!({"id": entry.id, "aliases": entry.aliases, "summary": entry.summary, "default": entry.id == DEFAULT,
           "parameters": parameters})
}
