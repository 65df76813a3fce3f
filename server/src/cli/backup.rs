//! `backup` and `restore`: copies of what the service remembers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use tempfile::NamedTempFile;

use super::{CliError, Terminal};
use crate::backup::{self, BackupError, Summary};
use crate::config::service::database_url;
use crate::config::{Config, ConfigError};
use crate::daemon::{DaemonError, environment};
use crate::database::Database;
use crate::render::table;

/// Copies the database into a file, while the service runs.
///
/// The copy has pipelines, runs, incidents, feedback, jobs, models, users and keys; an SQLite database can be restored
/// into PostgreSQL, and the other way round. Series are not in it, nor are files of pipelines.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  openanomaly backup --output openanomaly.jsonl.gz
  openanomaly backup verify openanomaly.jsonl.gz
  openanomaly restore openanomaly.jsonl.gz")]
pub struct BackupArgs {
    #[command(flatten)]
    service: DatabaseOf,
    /// The file that is made; only its owner may read it [default: openanomaly-TIME.jsonl.gz].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<BackupCommand>,
}

#[derive(Subcommand, Debug)]
enum BackupCommand {
    /// Reads a backup from its beginning to its end, and says what is in it.
    Verify {
        /// The backup.
        file: PathBuf,
    },
}

/// Puts a backup back: all of it, or nothing.
///
/// Stop the service before. The database is made where there is none.
#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    #[command(flatten)]
    service: DatabaseOf,
    /// The backup.
    file: PathBuf,
    /// Replaces everything that is in the database.
    #[arg(long)]
    force: bool,
}

/// Whose database.
#[derive(clap::Args, Debug)]
struct DatabaseOf {
    /// The service's configuration, which names the database.
    #[arg(long, value_name = "FILE", default_value = "config/openanomaly.yaml", env = "OPENANOMALY_CONFIG")]
    config: PathBuf,
}

impl DatabaseOf {
    fn url(&self) -> Result<String, CliError> {
        let config = Config::load(&self.config, &environment).map_err(DaemonError::from)?;
        let folder = self.config.parent().unwrap_or(Path::new(""));
        let wrong = |error: std::io::Error| ConfigError::File { path: self.config.clone(), reason: error.to_string() };
        Ok(database_url(config.database.as_ref(), folder).map_err(|error| DaemonError::Config(wrong(error)))?)
    }
}

/// Makes or checks a backup.
///
/// # Errors
/// The database can't be read, the file not be made, or the backup is damaged.
pub fn backup(args: &BackupArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let summary = match &args.command {
        Some(BackupCommand::Verify { file }) => backup::verify(file).map_err(BackupError::from)?,
        None => make(args, terminal)?,
    };
    show(&summary, terminal)?;
    Ok(ExitCode::SUCCESS)
}

fn make(args: &BackupArgs, terminal: &mut Terminal) -> Result<Summary, CliError> {
    let name = || format!("openanomaly-{}.jsonl.gz", terminal.now.to_string().replace([':', '-'], "")).into();
    let path = args.output.clone().unwrap_or_else(name);
    let failed = |source| CliError::File { path: path.clone(), source };
    let url = args.service.url()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It gets its name when it is whole. Such a file is its owner's alone.
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let summary = runtime()?.block_on(async {
        let database = Database::existing(&url).await.map_err(BackupError::from)?;
        let summary = backup::write(&database, file.as_file_mut(), terminal.now).await;
        database.close().await;
        summary
    })?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(&path).map_err(|error| failed(error.error))?;
    writeln!(terminal.out, "{}", path.display())?;
    Ok(summary)
}

/// Puts a backup back.
///
/// # Errors
/// The backup is damaged or of another version; the database can't be written, or is not empty.
pub fn restore(args: &RestoreArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let url = args.service.url()?;
    let summary = runtime()?.block_on(async {
        // What is damaged is told before a database is made.
        backup::verify(&args.file)?;
        let database = Database::open(&url).await.map_err(BackupError::from)?;
        let summary = backup::restore(&database, &args.file, args.force).await;
        database.close().await;
        summary
    })?;
    show(&summary, terminal)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime, std::io::Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn show(summary: &Summary, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut table = table::plain(&["Table", "Rows"], terminal.width, terminal.paint);
    for (name, rows) in &summary.rows {
        table.add_row([name.clone(), rows.to_string()]);
    }
    table::right(&mut table, &[1]);
    table::write(&table, &mut terminal.out)?;
    let header = &summary.header;
    writeln!(terminal.out, "made by openanomaly {} at {}", header.version, header.created)?;
    Ok(())
}
