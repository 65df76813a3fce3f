//! `models list`

use std::io::Write;
use std::process::ExitCode;

use models::onnx::library::{Installed, LibraryError};
use models::{DEFAULT, Entry, MODELS};
use serde_json::{Value, json};

use super::{CliError, ListForm, Shelf, Terminal, bytes, write_json};
use crate::render::format::Ink;
use crate::render::table;

/// Lists all models with what can be set, and those in the models folder.
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    /// The form of the list.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: ListForm,
}

type Found = (String, Result<Installed, LibraryError>);

pub(super) fn list(args: &ListArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let found = shelf.library.list()?;
    match args.output {
        ListForm::Table => {
            MODELS.iter().try_for_each(|entry| show(entry, terminal))?;
            folder(&found, shelf, terminal)?;
        }
        ListForm::Json => {
            let list: Vec<_> = MODELS.iter().map(describe).chain(found.iter().map(describe_found)).collect();
            write_json(&list.into(), terminal)?;
        }
    }
    Ok(ExitCode::SUCCESS)
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

fn folder(found: &[Found], shelf: &Shelf, terminal: &mut Terminal) -> Result<(), CliError> {
    let paint = terminal.paint;
    let folder = shelf.library.folder().display();
    if found.is_empty() {
        let hint = format!("No models in {folder}: `openanomaly models pull ID` fetches one from the hub");
        return Ok(writeln!(terminal.out, "{}", paint.ink(Ink::Faint, hint))?);
    }
    writeln!(terminal.out, "In {folder}:")?;
    let mut table = table::plain(&["Model", "Family", "Size", "Horizon", "Context", "Licence"], terminal.width, paint);
    for (id, installed) in found {
        table.add_row(row(id, installed));
    }
    table::right(&mut table, &[2, 3, 4]);
    Ok(table::write(&table, &mut terminal.out)?)
}

fn row(id: &str, installed: &Result<Installed, LibraryError>) -> Vec<String> {
    let Ok(installed) = installed else {
        return vec![id.into(), "damaged: `openanomaly models verify` says how".into()];
    };
    let manifest = &installed.manifest;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    let size = |size: Option<u64>| size.map_or_else(|| "?".into(), |size| size.to_string());
    let (horizon, context) = (size(manifest.horizon), size(manifest.context_max));
    vec![id.into(), text(&manifest.family), bytes(installed.bytes()), horizon, context, text(&manifest.license)]
}

fn describe(entry: &Entry) -> Value {
    let parameters: Vec<_> = entry
        .parameters
        .iter()
        .map(|known| json!({"name": known.name, "default": known.default, "meaning": known.meaning}))
        .collect();
    json!({"id": entry.id, "aliases": entry.aliases, "summary": entry.summary, "default": entry.id == DEFAULT,
           "parameters": parameters})
}

fn describe_found((id, installed): &Found) -> Value {
    match installed {
        Ok(installed) => json!({"id": id, "folder": installed.folder, "bytes": installed.bytes(),
                                "manifest": installed.manifest}),
        Err(error) => json!({"id": id, "error": error.to_string()}),
    }
}
