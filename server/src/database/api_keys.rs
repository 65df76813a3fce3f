//! Keys for machines.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Database, DatabaseError};
use crate::config::service::Role;

/// A key, without its secret.
#[derive(Clone, PartialEq)]
pub struct ApiKey {
    /// What stands in the key itself.
    pub id: String,
    /// What people call it, unique.
    pub name: String,
    /// The argon2id hash of the secret, in PHC form.
    pub hash: String,
    /// What its holder may do.
    pub role: Role,
    /// How many requests a second it may make on average, where that is not what holds for all.
    pub requests_per_second: Option<f64>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Who made it.
    pub created_by: String,
    /// From when on it is void.
    pub expires_ms: Option<i64>,
    /// When it was last used, as far as that has been written down.
    pub used_ms: Option<i64>,
}

fn key(row: &AnyRow) -> ApiKey {
    ApiKey {
        id: row.get("id"),
        name: row.get("name"),
        hash: row.get("hash"),
        role: Role::named(row.get("role")).unwrap_or(Role::Viewer),
        requests_per_second: row.get("requests_per_second"),
        created_ms: row.get("created_ms"),
        created_by: row.get("created_by"),
        expires_ms: row.get("expires_ms"),
        used_ms: row.get("used_ms"),
    }
}

/// Adds a key; answers whether the name was free.
///
/// # Errors
/// The database can't be written.
pub async fn insert(database: &Database, key: &ApiKey) -> Result<bool, DatabaseError> {
    let insert = "INSERT INTO api_keys (id, name, hash, role, requests_per_second, created_ms, created_by, \
                  expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING";
    let done = sqlx::query(insert)
        .bind(&key.id)
        .bind(&key.name)
        .bind(&key.hash)
        .bind(key.role.name())
        .bind(key.requests_per_second)
        .bind(key.created_ms)
        .bind(&key.created_by)
        .bind(key.expires_ms)
        .execute(&database.pool)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The key `id`.
///
/// # Errors
/// The database can't be read.
pub async fn get(database: &Database, id: &str) -> Result<Option<ApiKey>, DatabaseError> {
    let query = sqlx::query("SELECT * FROM api_keys WHERE id = $1").bind(id);
    Ok(query.fetch_optional(&database.pool).await?.as_ref().map(key))
}

/// All keys, by name.
///
/// # Errors
/// The database can't be read.
pub async fn list(database: &Database) -> Result<Vec<ApiKey>, DatabaseError> {
    Ok(sqlx::query("SELECT * FROM api_keys ORDER BY name").fetch_all(&database.pool).await?.iter().map(key).collect())
}

/// Writes down when keys were last used.
///
/// # Errors
/// The database can't be written.
pub async fn used(database: &Database, uses: &[(String, i64)]) -> Result<(), DatabaseError> {
    let mut transaction = database.pool.begin().await?;
    for (id, at_ms) in uses {
        let update = "UPDATE api_keys SET used_ms = $2 WHERE id = $1 AND COALESCE(used_ms, 0) < $2";
        sqlx::query(update).bind(id).bind(*at_ms).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Removes the key `id`; answers whether there was one.
///
/// # Errors
/// The database can't be written.
pub async fn delete(database: &Database, id: &str) -> Result<bool, DatabaseError> {
    let query = sqlx::query("DELETE FROM api_keys WHERE id = $1").bind(id);
    Ok(query.execute(&database.pool).await?.rows_affected() > 0)
}
