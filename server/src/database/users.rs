//! People who log in with a password.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Database, DatabaseError};
use crate::config::service::Role;

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Their name.
    pub name: String,
    /// The argon2id hash of their password, in PHC form.
    pub password_hash: String,
    /// What they may do.
    pub role: Role,
    /// When they were added, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When their password was set: tokens that are older than this, or than the user, are void.
    pub changed_ms: i64,
}

fn user(row: &AnyRow) -> User {
    User {
        name: row.get("name"),
        password_hash: row.get("password_hash"),
        role: Role::named(row.get("role")).unwrap_or(Role::Viewer),
        created_ms: row.get("created_ms"),
        changed_ms: row.get("changed_ms"),
    }
}

/// Adds a user; answers whether the name was free.
///
/// # Errors
/// The database can't be written.
pub async fn insert(database: &Database, user: &User) -> Result<bool, DatabaseError> {
    let insert = "INSERT INTO users (name, password_hash, role, created_ms, changed_ms) VALUES ($1, $2, $3, $4, $5) \
                  ON CONFLICT (name) DO NOTHING";
    let done = sqlx::query(insert)
        .bind(&user.name)
        .bind(&user.password_hash)
        .bind(user.role.name())
        .bind(user.created_ms)
        .bind(user.changed_ms)
        .execute(&database.pool)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The user `name`.
///
/// # Errors
/// The database can't be read.
pub async fn get(database: &Database, name: &str) -> Result<Option<User>, DatabaseError> {
    let query = sqlx::query("SELECT * FROM users WHERE name = $1").bind(name);
    Ok(query.fetch_optional(&database.pool).await?.as_ref().map(user))
}

/// All users, by name.
///
/// # Errors
/// The database can't be read.
pub async fn list(database: &Database) -> Result<Vec<User>, DatabaseError> {
    Ok(sqlx::query("SELECT * FROM users ORDER BY name").fetch_all(&database.pool).await?.iter().map(user).collect())
}

/// Sets the password's hash; answers whether there is such a user.
///
/// # Errors
/// The database can't be written.
pub async fn set_password(database: &Database, name: &str, hash: &str, now_ms: i64) -> Result<bool, DatabaseError> {
    // Two changes in the same millisecond are two changes.
    let update = "UPDATE users SET password_hash = $2, \
                  changed_ms = CASE WHEN changed_ms >= $3 THEN changed_ms + 1 ELSE $3 END WHERE name = $1";
    let query = sqlx::query(update).bind(name).bind(hash).bind(now_ms);
    Ok(query.execute(&database.pool).await?.rows_affected() > 0)
}

/// Sets the role; answers whether there is such a user.
///
/// # Errors
/// The database can't be written.
pub async fn set_role(database: &Database, name: &str, role: Role) -> Result<bool, DatabaseError> {
    let query = sqlx::query("UPDATE users SET role = $2 WHERE name = $1").bind(name).bind(role.name());
    Ok(query.execute(&database.pool).await?.rows_affected() > 0)
}

/// Removes a user; answers whether there was one.
///
/// # Errors
/// The database can't be written.
pub async fn delete(database: &Database, name: &str) -> Result<bool, DatabaseError> {
    let query = sqlx::query("DELETE FROM users WHERE name = $1").bind(name);
    Ok(query.execute(&database.pool).await?.rows_affected() > 0)
}

/// Whether there is anybody, or any key, that may come in.
///
/// # Errors
/// The database can't be read.
pub async fn or_keys_exist(database: &Database) -> Result<bool, DatabaseError> {
    let query = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM api_keys)";
    let (count,): (i64,) = sqlx::query_as(query).fetch_one(&database.pool).await?;
    Ok(count > 0)
}
