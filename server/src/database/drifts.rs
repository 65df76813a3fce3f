//! What was found to have drifted, and what is known of each pipeline for that.

use engine::drift::{Drift, Event};
use sqlx::FromRow;
use tsdb::Timestamp;

use super::select::Select;
use super::{Database, DatabaseError};
use crate::api::page::{Cursor, Limit};
use crate::app::new_id;

/// A drift that was found.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// `error`, `coverage` or `input`.
    pub kind: String,
    /// When it was found, by the time of the data.
    pub at_ms: i64,
    /// How it was before.
    pub usual: f64,
    /// How it was found.
    pub found: f64,
}

/// The drifts that were found, of all pipelines or one, the newest first, with one more than `limit` where there are so
/// many.
///
/// # Errors
/// The database can't be read.
pub async fn list(
    database: &Database,
    pipeline: Option<String>,
    after: Option<Cursor>,
    limit: Limit,
) -> Result<Vec<Row>, DatabaseError> {
    let mut select = Select::all("drifts").and_if("pipeline = ?", pipeline);
    if let Some(Cursor { at_ms, id }) = after {
        select = select.and("(at_ms, id) < (?, ?)", [at_ms.into(), id.into()]);
    }
    select.then("ORDER BY at_ms DESC, id DESC LIMIT ?", [limit.rows().into()]).rows(database).await
}

/// Keeps what was found of `pipeline`; the same again changes nothing.
///
/// # Errors
/// The database can't be written.
pub async fn insert(database: &Database, pipeline: &str, event: &Event) -> Result<(), DatabaseError> {
    let insert = "INSERT INTO drifts (id, pipeline, kind, at_ms, usual, found) VALUES ($1, $2, $3, $4, $5, $6) \
                  ON CONFLICT (pipeline, kind, at_ms) DO NOTHING";
    let query = sqlx::query(insert).bind(new_id()).bind(pipeline).bind(event.kind.name()).bind(event.at.millis());
    query.bind(event.before).bind(event.now).execute(&database.pool).await?;
    Ok(())
}

/// What is known of `pipeline`; nothing where that was written by another version.
///
/// # Errors
/// The database can't be read.
pub async fn state(database: &Database, pipeline: &str) -> Result<Drift, DatabaseError> {
    let query = sqlx::query_as("SELECT state FROM drift_states WHERE pipeline = $1").bind(pipeline);
    let row: Option<(String,)> = query.fetch_optional(&database.pool).await?;
    Ok(row.and_then(|(state,)| serde_json::from_str(&state).ok()).unwrap_or_default())
}

/// Keeps what is known of `pipeline`.
///
/// # Errors
/// The database can't be written.
pub async fn keep(database: &Database, pipeline: &str, drift: &Drift, now: Timestamp) -> Result<(), DatabaseError> {
    let upsert = "INSERT INTO drift_states (pipeline, state, changed_ms) VALUES ($1, $2, $3) \
                  ON CONFLICT (pipeline) DO UPDATE SET state = excluded.state, changed_ms = excluded.changed_ms";
    let state = serde_json::to_string(drift).unwrap_or_default();
    let query = sqlx::query(upsert).bind(pipeline).bind(state).bind(now.millis());
    query.execute(&database.pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing;
    use engine::drift::Kind;

    #[tokio::test]
    async fn what_was_found_is_kept_once_and_what_is_known_is_gone_on_with() {
        let database = testing::database().await;
        let event = |kind, hour: i64| Event { at: Timestamp::from_seconds(hour * 3600), kind, before: 0.1, now: 0.2 };
        for event in [event(Kind::Error, 1), event(Kind::Input, 2), event(Kind::Error, 1)] {
            insert(&database, "p", &event).await.unwrap();
        }
        insert(&database, "q", &event(Kind::Coverage, 3)).await.unwrap();
        let kinds = async |pipeline: Option<&str>, after: Option<Cursor>| -> Vec<String> {
            let found = list(&database, pipeline.map(str::to_owned), after, Limit::default()).await.unwrap();
            found.into_iter().map(|row| row.kind).collect()
        };
        assert_eq!(kinds(None, None).await, ["coverage", "input", "error"]);
        assert_eq!(kinds(Some("p"), None).await, ["input", "error"]);
        let after = Cursor { at_ms: 2 * 3_600_000, id: String::new() };
        assert_eq!(kinds(None, Some(after)).await, ["error"]);

        assert_eq!(state(&database, "p").await.unwrap(), Drift::default());
        let mut drift = Drift::default();
        drift.observe(Timestamp::from_seconds(3600), &engine::drift::Sample::default());
        for _ in 0..2 {
            keep(&database, "p", &drift, Timestamp::from_seconds(5)).await.unwrap();
        }
        assert_eq!(state(&database, "p").await.unwrap(), drift);
        sqlx::query("UPDATE drift_states SET state = '{\"later\": 1}'").execute(&database.pool).await.unwrap();
        assert_eq!(state(&database, "p").await.unwrap(), Drift::default());
    }
}
