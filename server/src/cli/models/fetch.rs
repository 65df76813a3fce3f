//! `models pull`, `add` and `remove`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::ProgressBar;
use models::onnx::hub::{Event, Hub, Wanted};
use models::onnx::library::{Installed, LibraryError, full_id};

use super::{CliError, Shelf, Terminal, bar, bytes, confirmed};

/// Licences that let everybody use a model for anything.
const FREE: [&str; 6] = ["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0"];

/// Fetches a model from the Hugging Face hub into the models folder.
///
/// HF_ENDPOINT names another hub, HF_TOKEN a token for models that ask for one. A download that broke off goes on
/// where it was.
#[derive(clap::Args, Debug)]
pub(super) struct PullArgs {
    /// The hub id, such as amazon/chronos-bolt-tiny.
    #[arg(value_name = "ID")]
    id: String,
    /// A branch, tag or commit [default: main].
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The ONNX file, where the repository has several.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

/// Checks an ONNX file and copies it into the models folder, with the manifest.json beside it.
#[derive(clap::Args, Debug)]
pub(super) struct AddArgs {
    /// The ONNX file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its id there [default: that of the manifest, else local/ and the file's name].
    #[arg(long, value_name = "ORGANISATION/NAME")]
    id: Option<String>,
    /// Replaces a model of that id without asking.
    #[arg(short, long)]
    yes: bool,
}

/// Removes a model from the models folder.
#[derive(clap::Args, Debug)]
pub(super) struct RemoveArgs {
    /// Its id.
    #[arg(value_name = "ID")]
    id: String,
    /// Doesn't ask.
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn pull(args: &PullArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let id = full_id(&args.id).to_owned();
    let wanted = Wanted { id, revision: args.revision.clone(), file: args.file.clone() };
    let mut shown = ProgressBar::hidden();
    let installed = Hub::of(|name| std::env::var_os(name)).pull(&shelf.library, &wanted, &mut |event| match event {
        Event::Begins { file, bytes, done } => {
            shown.finish_and_clear();
            shown = bar(file, bytes);
            shown.set_position(done);
            shown.reset_eta();
        }
        Event::Advances { bytes } => shown.inc(bytes),
        Event::Ends => shown.finish_and_clear(),
    });
    shown.finish_and_clear();
    tell(&installed?, terminal)
}

pub(super) fn add(args: &AddArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let id = args.id.as_deref().map(full_id);
    let installed = match shelf.library.add(&args.file, id, args.yes) {
        Err(LibraryError::Exists { id }) => {
            if !confirmed(&format!("Model {id} is there already: replace it?"), false)? {
                return unchanged(terminal);
            }
            shelf.library.add(&args.file, Some(&id), true)?
        }
        other => other?,
    };
    tell(&installed, terminal)
}

pub(super) fn remove(args: &RemoveArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let id = full_id(&args.id);
    let folder = shelf.library.path(id)?;
    // Who asks for what isn't there need not say yes first.
    if folder.symlink_metadata().is_ok() && !confirmed(&format!("Remove {}?", folder.display()), args.yes)? {
        return unchanged(terminal);
    }
    shelf.library.remove(id)?;
    writeln!(terminal.out, "{id} is removed")?;
    Ok(ExitCode::SUCCESS)
}

fn unchanged(terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    writeln!(terminal.out, "nothing was changed")?;
    Ok(ExitCode::from(1))
}

/// What is there now. The licence is always said, as it is not ours.
fn tell(installed: &Installed, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let (id, manifest) = (&installed.id, &installed.manifest);
    let license = match manifest.license.as_deref() {
        Some(free) if FREE.contains(&free) => format!("licence {free}"),
        Some(other) => format!("licence {other}: see whether it allows what you want"),
        None => "licence unknown: see where it comes from".into(),
    };
    let family = manifest.family.as_deref().unwrap_or("unknown family");
    writeln!(terminal.out, "{id} is in {}", installed.folder.display())?;
    writeln!(terminal.out, "  {family}, {}, {license}", bytes(installed.bytes()))?;
    Ok(ExitCode::SUCCESS)
}
