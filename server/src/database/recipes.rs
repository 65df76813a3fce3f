//! What scores were made with.

use super::{Database, DatabaseError};
use crate::recipe::Recipe;

/// The recipe of this hash, if it is known.
///
/// # Errors
/// The database can't be read.
pub async fn get(database: &Database, hash: &str) -> Result<Option<Recipe>, DatabaseError> {
    let query = sqlx::query_as("SELECT hash, document, model FROM recipes WHERE hash = $1").bind(hash.to_owned());
    let row: Option<(String, String, String)> = query.fetch_optional(&database.pool).await?;
    Ok(row.map(|(hash, document, model)| Recipe { hash, document, model }))
}
