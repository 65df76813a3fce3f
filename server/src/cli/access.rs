//! What `users` and `keys` share: where they are managed, and how passwords are read.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use super::CliError;
use super::client::{ServiceArgs, ask};
use crate::auth::Role;
use crate::config::Config;
use crate::config::service::database_url;
use crate::daemon::{DaemonError, environment};
use crate::database::Database;

/// Where users and keys are managed.
#[derive(clap::Args, Debug, Clone)]
pub struct AccessArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The configuration whose database is written at once, without a running service: for the first key or user.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AccessArgs {
    /// The configuration whose database is to be written, if not a service is to be asked.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Asks the service.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        ask(&self.service, method, path, &[], body).map(|reply| reply.body)
    }

    /// The items of a list of the service's.
    pub(super) fn items(&self, path: &str) -> Result<Vec<Value>, CliError> {
        let mut body = self.ask(Method::GET, path, None)?;
        Ok(body["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }
}

/// Does `work` on the database of a configuration.
pub(super) fn on_database<T, E: std::fmt::Display>(
    config: &Path,
    work: impl AsyncFnOnce(&Database) -> Result<T, E>,
) -> Result<T, CliError> {
    let read = Config::load(config, &environment).map_err(DaemonError::from)?;
    let folder = config.parent().unwrap_or(Path::new(""));
    let url = database_url(read.database.as_ref(), folder)
        .map_err(|source| CliError::File { path: config.to_owned(), source })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let database = Database::open(&url).await.map_err(DaemonError::from)?;
        let done = work(&database).await;
        database.close().await;
        done.map_err(|error| failed(config, error))
    })
}

/// Why something can't be done with the database of `config`.
pub(super) fn failed(config: &Path, reason: impl std::fmt::Display) -> CliError {
    CliError::Source { origin: config.display().to_string(), reason: reason.to_string() }
}

/// A new password: typed twice where there is a terminal, which doesn't show it, else the first line of stdin.
pub(super) fn new_password() -> Result<String, CliError> {
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let terminal = console::Term::stderr();
    let typed = |prompt: &str| {
        terminal.write_str(prompt)?;
        terminal.read_secure_line()
    };
    let password = typed("Password: ")?;
    if typed("Again: ")? == password {
        return Ok(password);
    }
    Err(CliError::Usage("the two passwords are not the same".into()))
}

/// A role, as an argument.
pub(super) fn role(text: &str) -> Result<Role, String> {
    let known = Role::ALL.map(Role::name).join(", ");
    Role::named(text).ok_or_else(|| format!("expected one of: {known}"))
}

/// A name as a part of a path.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A field of an answer as text; nothing, where it is null.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}
