//! The table `pipelines`: the document of each as JSON text, by name.

use sqlx::AnyConnection;
use tsdb::Timestamp;

use super::Database;

/// Names and documents, in the order of the names.
///
/// # Errors
/// The database's.
pub async fn list(database: &Database) -> Result<Vec<(String, String)>, sqlx::Error> {
    let mut rows: Vec<(String, String)> =
        sqlx::query_as("SELECT name, document FROM pipelines").fetch_all(&database.pool).await?;
    // Databases have orders of their own, by their language.
    rows.sort();
    Ok(rows)
}

/// The document of the pipeline `name`.
///
/// # Errors
/// The database's.
pub async fn get(database: &Database, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT document FROM pipelines WHERE name = $1").bind(name).fetch_optional(&database.pool).await
}

/// Puts `document` in the place of `before`, or in a free place where that is nothing; says whether it was so.
///
/// # Errors
/// The database's.
pub async fn put(
    database: &Database,
    name: &str,
    document: &str,
    before: Option<&str>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let statement = match before {
        Some(_) => "UPDATE pipelines SET document = $2, changed_ms = $3 WHERE name = $1 AND document = $4",
        None => "INSERT INTO pipelines (name, document, changed_ms) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
    };
    let mut transaction = database.pool.begin().await?;
    let query = sqlx::query(statement).bind(name).bind(document).bind(now.millis());
    let query = if let Some(before) = before { query.bind(before) } else { query };
    let done = query.execute(&mut *transaction).await?.rows_affected() > 0;
    count(&mut transaction, done).await?;
    transaction.commit().await?;
    Ok(done)
}

/// Takes the pipeline `name` out where its document is `before`; says whether it was so.
///
/// # Errors
/// The database's.
pub async fn delete(database: &Database, name: &str, before: &str) -> Result<bool, sqlx::Error> {
    let mut transaction = database.pool.begin().await?;
    let query = sqlx::query("DELETE FROM pipelines WHERE name = $1 AND document = $2").bind(name).bind(before);
    let done = query.execute(&mut *transaction).await?.rows_affected() > 0;
    count(&mut transaction, done).await?;
    transaction.commit().await?;
    Ok(done)
}

/// How often pipelines were changed. Whoever sees this number sees the changes that it counts.
///
/// # Errors
/// The database's.
pub async fn revision(database: &Database) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT revision FROM revisions WHERE name = 'pipelines'").fetch_one(&database.pool).await
}

/// Counts a change that was `done`. The row is locked until the end of the transaction, so that the numbers come in
/// the order in which others see the changes.
async fn count(connection: &mut AnyConnection, done: bool) -> Result<(), sqlx::Error> {
    if done {
        let statement = "UPDATE revisions SET revision = revision + 1 WHERE name = 'pipelines'";
        sqlx::query(statement).execute(connection).await?;
    }
    Ok(())
}
