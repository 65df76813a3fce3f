//! What the service makes up once and keeps.

use super::{Database, DatabaseError};

/// The value of `name`, which is `fresh` where there was none: all processes of a database get the same one.
///
/// # Errors
/// The database can't be read or written.
pub async fn get_or_keep(database: &Database, name: &str, fresh: &str) -> Result<String, DatabaseError> {
    let insert = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    sqlx::query(insert).bind(name).bind(fresh).execute(&database.pool).await?;
    let query = sqlx::query_as("SELECT value FROM settings WHERE name = $1").bind(name);
    let (value,): (String,) = query.fetch_one(&database.pool).await?;
    Ok(value)
}
