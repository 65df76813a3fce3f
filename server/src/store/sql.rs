//! Pipelines in the SQL database.

use std::time::Duration;

use async_trait::async_trait;
use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Stored, Version};
use sqlx::Row;
use sqlx::any::AnyRow;
use tokio::sync::Mutex;

use crate::daemon::worker::now;
use crate::database::Database;

/// How often it is looked whether another process has changed something.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What all changes change: how many pipelines there are, when the newest change was, and the sum of the changes' times.
type Mark = (i64, i64, i64);

/// The pipelines of a database.
pub struct Sql {
    database: Database,
    seen: Mutex<Option<Mark>>,
}

impl Sql {
    /// The pipelines of `database`.
    pub fn new(database: Database) -> Self {
        Self { database, seen: Mutex::new(None) }
    }

    async fn mark(&self) -> Result<Mark, StoreError> {
        let query = "SELECT COUNT(*), CAST(COALESCE(MAX(changed_ms), 0) AS BIGINT), \
                     CAST(COALESCE(SUM(changed_ms % 1000003), 0) AS BIGINT) FROM pipelines";
        sqlx::query_as(query).fetch_one(&self.database.pool).await.map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable { store: "the database".into(), reason: error.to_string() }
}

fn stored(row: &AnyRow) -> Stored {
    let (name, text): (String, String) = (row.get("name"), row.get("document"));
    let origin = format!("the database, pipeline {name}");
    let document: Document = serde_json::from_str(&text).unwrap_or_default();
    let checked = super::check(&document, &origin).map(|(_, pipeline)| pipeline);
    Stored { name, origin, version: Version::of(&document), document, is_read_only: false, checked }
}

#[async_trait]
impl PipelineStore for Sql {
    async fn list(&self) -> Result<Listing, StoreError> {
        let query = "SELECT name, document FROM pipelines ORDER BY name";
        let rows = sqlx::query(query).fetch_all(&self.database.pool).await.map_err(|error| unavailable(&error))?;
        Ok(Listing { pipelines: rows.iter().map(stored).collect(), unreadable: vec![] })
    }

    async fn get(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let query = sqlx::query("SELECT name, document FROM pipelines WHERE name = $1").bind(name);
        let row = query.fetch_optional(&self.database.pool).await.map_err(|error| unavailable(&error))?;
        Ok(row.as_ref().map(stored))
    }

    async fn put(&self, document: Document, expected: &Expected) -> Result<Stored, StoreError> {
        let (name, pipeline) = super::check(&document, "the document")?;
        let version = Version::of(&document);
        let text = serde_json::Value::Object(document.clone()).to_string();
        let insert = "INSERT INTO pipelines (name, document, version, changed_ms) VALUES ($1, $2, $3, $4)";
        let statement = match expected {
            Expected::Absent => format!("{insert} ON CONFLICT (name) DO NOTHING"),
            Expected::Anything => {
                format!("{insert} ON CONFLICT (name) DO UPDATE SET document = $2, version = $3, changed_ms = $4")
            }
            Expected::Version(_) => {
                "UPDATE pipelines SET document = $2, version = $3, changed_ms = $4 WHERE name = $1 AND version = $5"
                    .into()
            }
        };
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(&name)
            .bind(text)
            .bind(version.as_str())
            .bind(now().millis());
        if let Expected::Version(expected) = expected {
            query = query.bind(expected.as_str());
        }
        let done = query.execute(&self.database.pool).await.map_err(|error| unavailable(&error))?;
        if done.rows_affected() == 0 {
            return Err(conflict(self.get(&name).await?, name, expected));
        }
        let origin = format!("the database, pipeline {name}");
        Ok(Stored { name, origin, document, version, is_read_only: false, checked: Ok(pipeline) })
    }

    async fn delete(&self, name: &str, expected: &Expected) -> Result<(), StoreError> {
        let statement = match expected {
            Expected::Version(_) => "DELETE FROM pipelines WHERE name = $1 AND version = $2",
            _ => "DELETE FROM pipelines WHERE name = $1",
        };
        let mut query = sqlx::query(statement).bind(name);
        if let Expected::Version(version) = expected {
            query = query.bind(version.as_str());
        }
        let done = query.execute(&self.database.pool).await.map_err(|error| unavailable(&error))?;
        match done.rows_affected() {
            0 => Err(conflict(self.get(name).await?, name.to_owned(), expected)),
            _ => Ok(()),
        }
    }

    async fn changed(&self) -> Result<(), StoreError> {
        let mut seen = self.seen.lock().await;
        loop {
            let mark = self.mark().await?;
            let before = seen.replace(mark);
            if before.is_some_and(|before| before != mark) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Why nothing was changed, where `found` is what is there.
fn conflict(found: Option<Stored>, name: String, expected: &Expected) -> StoreError {
    match (found, expected) {
        (None, _) => StoreError::Missing { name },
        (Some(_), Expected::Absent) => StoreError::Conflict { name, reason: "is there already" },
        (Some(_), _) => StoreError::Conflict { name, reason: "was changed since it was read" },
    }
}
