//! Why a command failed.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use models::onnx::InstallError;
use models::onnx::hub::HubError;
use models::onnx::library::LibraryError;
use models::{BuildError, ForecastError, LevelError};
use tsdb::ReadError;
use tsdb::file::FileError;

use crate::render::format::{Ink, Paint};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Flags that make no sense, or not together.
    #[error("{0}")]
    Usage(String),
    /// Files that are wrong, all that is wrong with them.
    #[error("{0}")]
    Invalid(String),
    /// The source can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file can't be read as series.
    #[error(transparent)]
    Columns(#[from] FileError),
    /// The source was read, but there is nothing to work with.
    #[error("{origin}: {reason}")]
    Source {
        /// The path or URL.
        origin: String,
        /// What is missing.
        reason: String,
    },
    /// The model failed.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// The service can't start.
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    /// A copy of the database can't be made or put back.
    #[error(transparent)]
    Backup(#[from] crate::backup::BackupError),
    /// Traces can't be sent.
    #[error(transparent)]
    Traces(#[from] crate::traces::TracesError),
    /// The demo broke off.
    #[error(transparent)]
    Demo(#[from] crate::demo::DemoError),
    /// The models folder, or a model in it.
    #[error(transparent)]
    Library(LibraryError),
    /// A model can't be fetched.
    #[error(transparent)]
    Hub(HubError),
    /// ONNX Runtime can't be fetched.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A file can't be read or written.
    #[error("{path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The result can't be written.
    #[error("writing the result")]
    Output(#[from] io::Error),
}

impl CliError {
    /// Flags that make no sense: `--flag VALUE: why`.
    pub fn flag(flag: &str, value: &str, why: impl std::fmt::Display) -> Self {
        Self::Usage(format!("{flag} {value}: {why}"))
    }
}

impl From<LevelError> for CliError {
    fn from(error: LevelError) -> Self {
        Self::Usage(format!("--quantile: {error}"))
    }
}

impl From<LibraryError> for CliError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Id { .. } => Self::Usage(error.to_string()),
            other => Self::Library(other),
        }
    }
}

impl From<HubError> for CliError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Library(error) => error.into(),
            HubError::Revision { .. } | HubError::Choose { .. } | HubError::NoFile { .. } => {
                Self::Usage(error.to_string())
            }
            other => Self::Hub(other),
        }
    }
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Tells people what went wrong and programs how it ended: 2 for wrong flags, 1 for everything else. Where the
/// reader of the results has gone away, as `head` does, nothing is wrong.
pub fn report(error: &CliError, paint: Paint) -> ExitCode {
    if matches!(error, CliError::Output(cause) if is_broken_pipe(cause)) {
        return ExitCode::SUCCESS;
    }
    let mut text = format!("{} {error}\n", paint.ink(Ink::Alarm, "error:"));
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let source_text = source.to_string();
        // Many messages end with their cause.
        if !text.contains(&source_text) {
            text.push_str(&format!("  because: {source_text}\n"));
        }
        cause = source.source();
    }
    // Where even stderr is closed, the exit code is all that is left.
    let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
    ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
}

fn is_broken_pipe(error: &io::Error) -> bool {
    let csv = error.get_ref().and_then(|inner| inner.downcast_ref::<csv::Error>());
    let inner = csv.is_some_and(|error| matches!(error.kind(), csv::ErrorKind::Io(cause) if is_broken_pipe(cause)));
    inner || error.kind() == ErrorKind::BrokenPipe
}
