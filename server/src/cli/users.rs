//! `users`: people who log in with a password.

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{AccessArgs, new_password, on_database, role, segment, text};
use super::models::ListForm;
use super::{CliError, Terminal};
use crate::auth::secret::Hasher;
use crate::auth::{Role, users as known};
use crate::database::users as rows;
use crate::render::table;

/// Manages the users of a service.
///
/// Asks a running service, as an admin; with --config the database is written itself.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  openanomaly users add ana --role editor --config config/openanomaly.yaml
  openanomaly users list
  openanomaly users passwd ana < new-password.txt")]
pub struct UsersArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Subcommand, Debug)]
enum UsersCommand {
    /// Adds a user. The password is asked for, or read from stdin.
    Add {
        /// Their name.
        name: String,
        /// What they may do: viewer, editor or admin.
        #[arg(long, value_parser = role, default_value = "viewer", value_name = "ROLE")]
        role: Role,
    },
    /// Lists the users.
    List {
        /// The form of the list.
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        output: ListForm,
    },
    /// Removes a user, and ends their logins.
    Remove {
        /// Their name.
        name: String,
    },
    /// Changes a user's password, and ends their logins. The password is asked for, or read from stdin.
    Passwd {
        /// Their name.
        name: String,
    },
    /// Changes what a user may do.
    Role {
        /// Their name.
        name: String,
        /// viewer, editor or admin.
        #[arg(value_parser = role)]
        role: Role,
    },
}

/// Runs the command.
///
/// # Errors
/// The service or the database can't be reached, or refuses.
pub fn users(args: &UsersArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let UsersArgs { access, command } = args;
    match command {
        UsersCommand::Add { name, role } => add(access, name, *role, terminal)?,
        UsersCommand::List { output } => list(&all(access)?, *output, terminal)?,
        UsersCommand::Remove { name } => match access.config() {
            Some(file) => on_database(file, async |database| known::remove(database, name).await)?,
            None => drop(access.ask(Method::DELETE, &path(name), None)?),
        },
        UsersCommand::Passwd { name } => set_password(access, name, terminal)?,
        UsersCommand::Role { name, role } => match access.config() {
            Some(file) => on_database(file, async |database| known::set_role(database, name, *role).await)?,
            None => drop(access.ask(Method::PATCH, &path(name), Some(&json!({ "role": role })))?),
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn path(name: &str) -> String {
    format!("/api/v1/users/{}", segment(name))
}

fn add(access: &AccessArgs, name: &str, role: Role, terminal: &Terminal) -> Result<(), CliError> {
    let (password, now) = (new_password()?, terminal.now);
    match access.config() {
        Some(file) => on_database(file, async |database| {
            known::add(database, &Hasher::default(), (name, &password), role, now).await.map(drop)
        }),
        None => {
            let body = json!({ "name": name, "password": password, "role": role });
            access.ask(Method::POST, "/api/v1/users", Some(&body)).map(drop)
        }
    }
}

fn set_password(access: &AccessArgs, name: &str, terminal: &Terminal) -> Result<(), CliError> {
    let (password, now) = (new_password()?, terminal.now);
    match access.config() {
        Some(file) => on_database(file, async |database| {
            known::set_password(database, &Hasher::default(), (name, &password), now).await
        }),
        None => access.ask(Method::PATCH, &path(name), Some(&json!({ "password": password }))).map(drop),
    }
}

fn all(access: &AccessArgs) -> Result<Vec<Value>, CliError> {
    let Some(file) = access.config() else { return access.items("/api/v1/users") };
    let users = on_database(file, async |database| rows::list(database).await)?;
    Ok(users.iter().map(|user| json!({ "name": user.name, "role": user.role })).collect())
}

fn list(users: &[Value], form: ListForm, terminal: &mut Terminal) -> Result<(), CliError> {
    if form == ListForm::Json {
        let text = serde_json::to_string_pretty(users).map_err(std::io::Error::from)?;
        return Ok(writeln!(terminal.out, "{text}")?);
    }
    let mut table = table::plain(&["Name", "Role", "Added", "Password set"], terminal.width, terminal.paint);
    for user in users {
        table.add_row(["name", "role", "created", "changed"].map(|field| text(&user[field])));
    }
    Ok(table::write(&table, &mut terminal.out)?)
}
