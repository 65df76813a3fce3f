//! Users: who they may be, and what their passwords.

use tsdb::Timestamp;

use super::secret::Hasher;
use crate::config::service::Role;
use crate::database::users::{self, User};
use crate::database::{Database, DatabaseError};

/// How many characters a password has at least.
pub const LEAST_PASSWORD: usize = 12;

/// How many bytes a password has at most.
pub const MOST_PASSWORD: usize = 1024;

/// Names of callers that are no users.
const TAKEN: [&str; 2] = ["anonymous", "admin-key"];

/// Why a user can't be added or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Something is wrong with the name or the password.
    #[error("{0}")]
    Invalid(String),
    /// There is one of this name.
    #[error("there is a user `{0}` already")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no user `{0}`")]
    Missing(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Checks the name of a user or a key.
///
/// # Errors
/// What is no name, for people.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(is_good) && !TAKEN.contains(&name) {
        return Ok(());
    }
    Err(format!("`{name}` is no name; expected 1 to 64 letters, digits, `.`, `_`, `@` and `-`"))
}

fn check_password(password: &str) -> Result<(), String> {
    if password.chars().count() < LEAST_PASSWORD {
        return Err(format!("the password is too short; expected at least {LEAST_PASSWORD} characters"));
    }
    if password.len() > MOST_PASSWORD {
        return Err(format!("the password is too long; expected at most {MOST_PASSWORD} bytes"));
    }
    Ok(())
}

/// What can be no name is nobody's.
fn known(name: &str) -> Result<(), UserError> {
    check_name(name).map_err(|_| UserError::Missing(name.into()))
}

/// Adds a user.
///
/// # Errors
/// A name that is taken or none, or a password that is none.
pub async fn add(
    database: &Database,
    hasher: &Hasher,
    (name, password): (&str, &str),
    role: Role,
    now: Timestamp,
) -> Result<User, UserError> {
    check_name(name).and_then(|()| check_password(password)).map_err(UserError::Invalid)?;
    let (password_hash, now_ms) = (hasher.hash(password).await, now.millis());
    let user = User { name: name.into(), password_hash, role, created_ms: now_ms, changed_ms: now_ms };
    if users::insert(database, &user).await? { Ok(user) } else { Err(UserError::Exists(user.name)) }
}

/// Changes the password of a user, which ends their tokens.
///
/// # Errors
/// There is no such user, or the password is none.
pub async fn set_password(
    database: &Database,
    hasher: &Hasher,
    (name, password): (&str, &str),
    now: Timestamp,
) -> Result<(), UserError> {
    known(name)?;
    check_password(password).map_err(UserError::Invalid)?;
    let hash = hasher.hash(password).await;
    let is_there = users::set_password(database, name, &hash, now.millis()).await?;
    if is_there { Ok(()) } else { Err(UserError::Missing(name.into())) }
}

/// Changes what a user may do.
///
/// # Errors
/// There is no such user.
pub async fn set_role(database: &Database, name: &str, role: Role) -> Result<(), UserError> {
    known(name)?;
    if users::set_role(database, name, role).await? { Ok(()) } else { Err(UserError::Missing(name.into())) }
}

/// Removes a user, which ends their tokens.
///
/// # Errors
/// There is no such user.
pub async fn remove(database: &Database, name: &str) -> Result<(), UserError> {
    known(name)?;
    if users::delete(database, name).await? { Ok(()) } else { Err(UserError::Missing(name.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_have_bounds() {
        for good in ["ana", "ana@example.org", "a.b-c_d", "7", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a:b", "a/b", "é", "anonymous", "admin-key", "a\n", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["correct horse", "éééééééééééé", &"a".repeat(1024)] {
            assert_eq!(check_password(good), Ok(()), "{good}");
        }
        for bad in ["", "hunter2", "éééééé", &"a".repeat(1025)] {
            assert!(check_password(bad).is_err(), "{bad}");
        }
    }
}
