//! `store`: pipelines moved between places.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use clap::Subcommand;
use engine::store::{Document, Expected, PipelineStore, StoreError, Version};

use super::{CliError, Terminal};
use crate::config::service::Mongodb as MongodbSettings;
use crate::config::{self, pipeline_files};
use crate::daemon::{DaemonError, environment};
use crate::database::Database;
use crate::render::format::Ink;
use crate::store::mongodb::Mongodb;
use crate::store::sql::Sql;

/// Moves pipelines between the places that they can be kept in.
#[derive(clap::Args, Debug)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand, Debug)]
enum StoreCommand {
    Copy(CopyArgs),
}

/// Copies pipelines from one place to another.
///
/// A place is a folder (`yaml:DIR`), a database (`sqlite:FILE`, `postgres://…`) or MongoDB (`mongodb://HOST/DATABASE`);
/// `@FILE` reads it from a file, so that no password is seen. What differs at the target is not touched unless
/// --overwrite says so; wrong pipelines are reported and not copied. What the source has stays there.
#[derive(clap::Args, Debug)]
struct CopyArgs {
    /// Where the pipelines are.
    #[arg(long, value_name = "PLACE")]
    from: Place,
    /// Where they go.
    #[arg(long, value_name = "PLACE")]
    to: Place,
    /// Replaces pipelines of the same name that differ.
    #[arg(long)]
    overwrite: bool,
    /// Only says what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Somewhere that pipelines are kept.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Folder(PathBuf),
    Database(String),
    Mongodb(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix('@') {
            let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
            return Self::from_str(text.trim());
        }
        match text.split_once(':') {
            Some(("yaml", folder)) if !folder.is_empty() => Ok(Self::Folder(folder.into())),
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Database(text.into())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Database(text.into())),
            Some(("mongodb" | "mongodb+srv", _)) => Ok(Self::Mongodb(text.into())),
            _ => Err("expected yaml:DIR, sqlite:FILE, postgres://…, mongodb://HOST/DATABASE or @FILE".into()),
        }
    }
}

/// A pipeline in some place.
struct Entry {
    document: Document,
    origin: String,
    /// All that is wrong with it, one error a line.
    wrong: Option<String>,
}

/// What is in a place: pipelines by their names, and what can't be read.
#[derive(Default)]
struct Found {
    pipelines: BTreeMap<String, Entry>,
    unreadable: Vec<String>,
}

/// What becomes of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Copied,
    Replaced,
    Unchanged,
    Refused,
    Wrong,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Copied, Self::Replaced, Self::Unchanged, Self::Refused, Self::Wrong];

    fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Wrong => "wrong",
        }
    }
}

/// Does what is asked.
///
/// # Errors
/// A place that can't be read or written.
pub fn store(args: &StoreArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let StoreCommand::Copy(args) = &args.command;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(copy(args, terminal))
}

async fn copy(args: &CopyArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let source = args.from.read().await?;
    let source = source.ok_or_else(|| failed(&args.from, "there is nothing that holds pipelines"))?;
    let there = args.to.read().await?.unwrap_or_default();
    let target = if args.dry_run { None } else { Some(Target::open(&args.to).await?) };
    let mut counts = BTreeMap::new();
    for error in source.unreadable {
        say(terminal, &mut counts, Outcome::Wrong, &error)?;
    }
    for (name, entry) in source.pipelines {
        let (outcome, why) = match plan(&entry, there.pipelines.get(&name), args.overwrite) {
            (outcome @ (Outcome::Copied | Outcome::Replaced), _) => match &target {
                Some(target) => target
                    .write(&name, &entry.document, there.pipelines.get(&name))
                    .await?
                    .map_or_else(|why| (Outcome::Refused, why), |()| (outcome, String::new())),
                None => (outcome, String::new()),
            },
            done => done,
        };
        let text = if why.is_empty() { name } else { format!("{name}: {why}") };
        say(terminal, &mut counts, outcome, &text)?;
    }
    let counted =
        Outcome::ALL.iter().filter_map(|outcome| Some(format!("{} {}", counts.get(outcome)?, outcome.name())));
    let summary = counted.collect::<Vec<_>>().join(", ");
    let summary = if summary.is_empty() { "nothing to copy".into() } else { summary };
    let dry = if args.dry_run { " (dry run: nothing was written)" } else { "" };
    writeln!(terminal.out, "{summary}{dry}")?;
    let is_whole = !counts.contains_key(&Outcome::Refused) && !counts.contains_key(&Outcome::Wrong);
    Ok(ExitCode::from(u8::from(!is_whole)))
}

fn say(
    terminal: &mut Terminal,
    counts: &mut BTreeMap<Outcome, usize>,
    outcome: Outcome,
    text: &str,
) -> Result<(), CliError> {
    *counts.entry(outcome).or_default() += 1;
    let ink = if outcome >= Outcome::Refused { Ink::Alarm } else { Ink::Faint };
    let name = format!("{:9}", outcome.name());
    // All errors of one pipeline stand under each other.
    let text = text.replace('\n', "\n          ");
    Ok(writeln!(terminal.out, "{} {text}", terminal.paint.ink(ink, &name))?)
}

/// What is to become of a pipeline, and why.
fn plan(entry: &Entry, there: Option<&Entry>, overwrite: bool) -> (Outcome, String) {
    match (&entry.wrong, there) {
        (Some(wrong), _) => (Outcome::Wrong, wrong.clone()),
        (None, None) => (Outcome::Copied, String::new()),
        (None, Some(there)) if there.document == entry.document => (Outcome::Unchanged, String::new()),
        (None, Some(_)) if overwrite => (Outcome::Replaced, String::new()),
        (None, Some(there)) => {
            (Outcome::Refused, format!("another one is in {}; --overwrite replaces it", there.origin))
        }
    }
}

fn failed(place: &Place, reason: impl std::fmt::Display) -> CliError {
    CliError::Source { origin: place.to_string(), reason: reason.to_string() }
}

impl std::fmt::Display for Place {
    /// Without a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "yaml:{}", folder.display()),
            Self::Database(url) | Self::Mongodb(url) => f.write_str(&crate::database::without_password(url)),
        }
    }
}

impl Place {
    /// What is there; nothing, where there is no folder and no database.
    async fn read(&self) -> Result<Option<Found>, CliError> {
        let store: Arc<dyn PipelineStore> = match self {
            Self::Folder(folder) if !folder.exists() => return Ok(None),
            Self::Folder(folder) => return read_folder(folder).map(Some),
            Self::Database(url) => match Database::look(url).await.map_err(DaemonError::from)? {
                Some(database) => Arc::new(Sql::new(database)),
                None => return Ok(None),
            },
            Self::Mongodb(url) => Arc::new(self.mongodb(url)?),
        };
        let listing = store.list().await.map_err(DaemonError::from)?;
        let pipelines = listing.pipelines.into_iter().map(|stored| {
            let wrong = stored.checked.err().map(|errors| errors.to_string());
            (stored.name, Entry { document: stored.document, origin: stored.origin, wrong })
        });
        let unreadable = listing.unreadable.into_iter().map(|lost| lost.reason).collect();
        Ok(Some(Found { pipelines: pipelines.collect(), unreadable }))
    }

    fn mongodb(&self, url: &str) -> Result<Mongodb, CliError> {
        let settings = MongodbSettings { url: Some(url.into()), ..MongodbSettings::default() };
        Mongodb::open(&settings).map_err(|error| failed(self, error))
    }
}

/// What the files say once the environment is put in: no other place does that.
fn read_folder(folder: &Path) -> Result<Found, CliError> {
    let mut found = Found::default();
    for file in pipeline_files(folder).map_err(DaemonError::from)? {
        let origin = file.display().to_string();
        let documents = match config::resolved_documents(&file, &environment) {
            Ok(documents) => documents,
            Err(error) => {
                found.unreadable.push(error.to_string());
                continue;
            }
        };
        for (document, checked) in documents {
            let wrong = checked.err().map(|errors| errors.to_string());
            let name = document.get("name").and_then(|name| name.as_str()).map(str::to_owned);
            match name.map(|name| (found.pipelines.contains_key(&name), name)) {
                Some((false, name)) => {
                    found.pipelines.insert(name, Entry { document, origin: origin.clone(), wrong });
                }
                Some((true, name)) => {
                    let twice = || format!("{origin}: pipeline `{name}`: another pipeline has the same name");
                    found.unreadable.push(wrong.unwrap_or_else(twice));
                }
                None => found.unreadable.extend(wrong),
            }
        }
    }
    Ok(found)
}

/// A place that is written.
enum Target {
    Folder(PathBuf),
    Store(Arc<dyn PipelineStore>),
}

impl Target {
    async fn open(place: &Place) -> Result<Self, CliError> {
        Ok(match place {
            Place::Folder(folder) => {
                fs::create_dir_all(folder).map_err(|source| CliError::File { path: folder.clone(), source })?;
                Self::Folder(folder.clone())
            }
            Place::Database(url) => {
                Self::Store(Arc::new(Sql::new(Database::open(url).await.map_err(DaemonError::from)?)))
            }
            Place::Mongodb(url) => Self::Store(Arc::new(place.mongodb(url)?)),
        })
    }

    /// Writes a pipeline in the place of what was `there`; why not, where that is refused.
    async fn write(
        &self,
        name: &str,
        document: &Document,
        there: Option<&Entry>,
    ) -> Result<Result<(), String>, CliError> {
        let store = match self {
            Self::Folder(folder) => return write_file(folder, name, document, there),
            Self::Store(store) => store,
        };
        let expected = there.map_or(Expected::Absent, |there| Expected::Version(Version::of(&there.document)));
        match store.put(document.clone(), &expected).await {
            Ok(_) => Ok(Ok(())),
            Err(error @ StoreError::Unavailable { .. }) => Err(DaemonError::from(error).into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

/// One file a pipeline, whole or not at all. A file that holds other pipelines too is not touched.
fn write_file(
    folder: &Path,
    name: &str,
    document: &Document,
    there: Option<&Entry>,
) -> Result<Result<(), String>, CliError> {
    let (mut text, extension) = config::file_text(document);
    let path = there.map_or_else(|| folder.join(format!("{name}.{extension}")), |there| PathBuf::from(&there.origin));
    if path.extension().is_some_and(|extension| extension == "json") {
        text = config::json_text(document);
    }
    if there.is_some() && config::resolved_documents(&path, &environment).map_or(0, |all| all.len()) != 1 {
        return Ok(Err(format!("{} holds other pipelines too; change it there", path.display())));
    }
    // As open as any other file of this user.
    let mut builder = tempfile::Builder::new();
    let file = builder.permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        if there.is_some() { file.persist(&path) } else { file.persist_noclobber(&path) }.map_err(|error| error.error)
    });
    match written {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(Err(format!("{} is there already, and can't be read", path.display())))
        }
        Err(source) => Err(CliError::File { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_known_by_their_schemes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "postgres://me:secret@host/db\n").unwrap();
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<Place>(), expected) {
            (Ok(place), Ok(shown)) => assert_eq!(place.to_string(), shown),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("yaml:config/pipelines", Ok("yaml:config/pipelines"));
        check("sqlite:state.db", Ok("sqlite:state.db"));
        check("mongodb+srv://me:secret@host/db", Ok("mongodb+srv://me:…@host/db"));
        check(&format!("@{}", file.display()), Ok("postgres://me:…@host/db"));
        for wrong in ["", "yaml:", "sqlite:", "config/pipelines", "mysql://host/db"] {
            check(wrong, Err("expected yaml:DIR"));
        }
        check("@nowhere", Err("nowhere: No such file"));
    }
}
