//! `keys`: API keys, for machines.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use engine::pipeline::duration;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{AccessArgs, failed, on_database, role, segment, text};
use super::models::ListForm;
use super::{CliError, Terminal};
use crate::auth::keys::NewKey;
use crate::auth::{Role, keys as known, secret};
use crate::database::api_keys;
use crate::render::table;

/// Manages the API keys of a service.
///
/// Asks a running service, as an admin; with --config the database is written itself.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  openanomaly keys create --config config/openanomaly.yaml --role admin
  openanomaly keys create grafana --role viewer --expires-in 90d
  openanomaly keys revoke grafana")]
pub struct KeysArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand, Debug)]
enum KeysCommand {
    /// Makes a key, and prints it: it can't be seen again.
    Create {
        /// What it is called. [default: made up]
        name: Option<String>,
        /// What its holder may do: viewer, editor or admin.
        #[arg(long, value_parser = role, default_value = "viewer", value_name = "ROLE")]
        role: Role,
        /// How long it is good, such as 90d. [default: until it is revoked]
        #[arg(long, value_parser = length, value_name = "DURATION")]
        expires_in: Option<Duration>,
        /// How many requests a second it may make on average. [default: what the configuration says]
        #[arg(long, value_name = "NUMBER")]
        requests_per_second: Option<f64>,
    },
    /// Lists the keys, without their secrets.
    List {
        /// The form of the list.
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        output: ListForm,
    },
    /// Makes a key void.
    Revoke {
        /// Its id or its name.
        #[arg(value_name = "ID|NAME")]
        which: String,
    },
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// Runs the command.
///
/// # Errors
/// The service or the database can't be reached, or refuses.
pub fn keys(args: &KeysArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let KeysArgs { access, command } = args;
    match command {
        KeysCommand::Create { name, role, expires_in, requests_per_second } => {
            let new = NewKey {
                name: name.clone().unwrap_or_else(|| format!("key-{}", secret::random_hex(3))),
                role: *role,
                expires_ms: expires_in.map(|length| (terminal.now + length).millis()),
                requests_per_second: *requests_per_second,
            };
            let key = create(access, new, terminal)?;
            writeln!(terminal.out, "{key}")?;
        }
        KeysCommand::List { output } => list(&all(access)?, *output, terminal)?,
        KeysCommand::Revoke { which } => revoke(access, which)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(access: &AccessArgs, new: NewKey, terminal: &Terminal) -> Result<String, CliError> {
    let now = terminal.now;
    if let Some(file) = access.config() {
        let made = async |database: &_| known::create(database, new, "the command line", now).await;
        return on_database(file, made).map(|(key, _)| key);
    }
    let mut body = json!({ "name": new.name, "role": new.role });
    if let Some(at) = new.expires_ms {
        body["expires"] = json!(jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MAX).to_string());
    }
    if let Some(rate) = new.requests_per_second {
        body["requests_per_second"] = json!(rate);
    }
    Ok(text(&access.ask(Method::POST, "/api/v1/keys", Some(&body))?["key"]))
}

fn all(access: &AccessArgs) -> Result<Vec<Value>, CliError> {
    let Some(file) = access.config() else { return access.items("/api/v1/keys") };
    let keys = on_database(file, async |database| api_keys::list(database).await)?;
    let shown = |key: &api_keys::ApiKey| json!({ "id": key.id, "name": key.name, "role": key.role });
    Ok(keys.iter().map(shown).collect())
}

fn revoke(access: &AccessArgs, id_or_name: &str) -> Result<(), CliError> {
    let keys = all(access)?;
    let is_it = |key: &&Value| key["id"] == id_or_name || key["name"] == id_or_name;
    let missing = || failed("keys".as_ref(), format!("there is no key `{id_or_name}`"));
    let id = text(&keys.iter().find(is_it).ok_or_else(missing)?["id"]);
    match access.config() {
        Some(file) => on_database(file, async |database| api_keys::delete(database, &id).await.map(drop)),
        None => access.ask(Method::DELETE, &format!("/api/v1/keys/{}", segment(&id)), None).map(drop),
    }
}

fn list(keys: &[Value], form: ListForm, terminal: &mut Terminal) -> Result<(), CliError> {
    if form == ListForm::Json {
        let text = serde_json::to_string_pretty(keys).map_err(std::io::Error::from)?;
        return Ok(writeln!(terminal.out, "{text}")?);
    }
    let mut table = table::plain(&["Name", "Id", "Role", "Made", "Expires", "Used"], terminal.width, terminal.paint);
    for key in keys {
        table.add_row(["name", "id", "role", "created", "expires", "used"].map(|field| text(&key[field])));
    }
    Ok(table::write(&table, &mut terminal.out)?)
}
