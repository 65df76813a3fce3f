//! The table `models`: trained versions of the models of pipelines. At most one of a pipeline's is current.

use sqlx::AssertSqlSafe;

use super::{Database, DatabaseError};

/// A trained version.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Version {
    /// Its id.
    pub id: String,
    /// The pipeline whose model it is.
    pub pipeline: String,
    /// Its number among the pipeline's versions, from 1.
    pub version: i64,
    /// `current`, `retired` where it once was, or `candidate`.
    pub state: String,
    /// Why it is in this state.
    pub reason: String,
    /// The model's id.
    pub model: String,
    /// What it was trained by and on.
    pub source: String,
    /// A hash of the model and its parameters.
    pub hash: String,
    /// The parameters, as JSON.
    pub parameters: String,
    /// A hash of the model and the parameters of the pipeline that it was trained from.
    pub base: String,
    /// The evaluation, as JSON.
    pub evaluation: String,
    /// When it was trained.
    pub created_ms: i64,
    /// By whose wish.
    pub created_by: String,
    /// When it last became current.
    pub current_ms: Option<i64>,
}

const COLUMNS: &str = "id, pipeline, version, state, reason, model, source, hash, parameters, base, evaluation, \
                       created_ms, created_by, current_ms";

/// Puts a version in, with the next number of its pipeline, as a candidate; does nothing where one of its id is there.
/// Answers whether it is new.
///
/// # Errors
/// The database's.
pub async fn insert(database: &Database, new: &Version) -> Result<bool, DatabaseError> {
    let insert = format!(
        "INSERT INTO models ({COLUMNS}) SELECT $1, $2, COALESCE(MAX(version), 0) + 1, 'candidate', $3, $4, $5, $6, $7, \
         $8, $9, $10, $11, NULL FROM models WHERE pipeline = $2 ON CONFLICT DO NOTHING"
    );
    // Where another process took the same number at the same time, the next one is free.
    for _ in 0..10 {
        let insert = sqlx::query(AssertSqlSafe(insert.clone()))
            .bind(&new.id)
            .bind(&new.pipeline)
            .bind(&new.reason)
            .bind(&new.model)
            .bind(&new.source)
            .bind(&new.hash)
            .bind(&new.parameters)
            .bind(&new.base)
            .bind(&new.evaluation)
            .bind(new.created_ms)
            .bind(&new.created_by);
        if insert.execute(&database.pool).await?.rows_affected() > 0 {
            return Ok(true);
        }
        if get(database, &new.id).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Makes the version `id` of `pipeline` the current one for `reason`; the one that was is retired, or with `undo` a
/// candidate again.
///
/// # Errors
/// The database's.
pub async fn promote(
    database: &Database,
    pipeline: &str,
    id: Option<&str>,
    reason: &str,
    undo: bool,
    now_ms: i64,
) -> Result<(), DatabaseError> {
    let mut transaction = database.pool.begin().await?;
    let retire = "UPDATE models SET state = $2, reason = CASE WHEN $2 = 'candidate' THEN $3 ELSE reason END \
                  WHERE pipeline = $1 AND state = 'current'";
    let state = if undo { "candidate" } else { "retired" };
    sqlx::query(retire).bind(pipeline).bind(state).bind(reason).execute(&mut *transaction).await?;
    if let Some(id) = id {
        let promote = "UPDATE models SET state = 'current', reason = $2, current_ms = $3 WHERE id = $1";
        sqlx::query(promote).bind(id).bind(reason).bind(now_ms).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The version `id`.
///
/// # Errors
/// The database's.
pub async fn get(database: &Database, id: &str) -> Result<Option<Version>, DatabaseError> {
    let select = format!("SELECT {COLUMNS} FROM models WHERE id = $1");
    Ok(sqlx::query_as(AssertSqlSafe(select)).bind(id).fetch_optional(&database.pool).await?)
}

/// The current version of `pipeline`.
///
/// # Errors
/// The database's.
pub async fn current(database: &Database, pipeline: &str) -> Result<Option<Version>, DatabaseError> {
    let select = format!("SELECT {COLUMNS} FROM models WHERE pipeline = $1 AND state = 'current'");
    Ok(sqlx::query_as(AssertSqlSafe(select)).bind(pipeline).fetch_optional(&database.pool).await?)
}

/// The version that was current before the current one: of those that are retired, the newest.
///
/// # Errors
/// The database's.
pub async fn previous(database: &Database, pipeline: &str) -> Result<Option<Version>, DatabaseError> {
    let select = format!(
        "SELECT {COLUMNS} FROM models WHERE pipeline = $1 AND state = 'retired' \
         ORDER BY current_ms DESC, version DESC LIMIT 1"
    );
    Ok(sqlx::query_as(AssertSqlSafe(select)).bind(pipeline).fetch_optional(&database.pool).await?)
}

/// All current versions, in the order of their pipelines.
///
/// # Errors
/// The database's.
pub async fn all_current(database: &Database) -> Result<Vec<Version>, DatabaseError> {
    let select = format!("SELECT {COLUMNS} FROM models WHERE state = 'current' ORDER BY pipeline");
    Ok(sqlx::query_as(AssertSqlSafe(select)).fetch_all(&database.pool).await?)
}

/// At most `rows` versions, of all pipelines or one, the newest first, after the one of this time and id.
///
/// # Errors
/// The database's.
pub async fn list(
    database: &Database,
    pipeline: Option<&str>,
    after: Option<(i64, String)>,
    rows: i64,
) -> Result<Vec<Version>, DatabaseError> {
    let (after_ms, after_id) = after.unwrap_or((i64::MAX, String::new()));
    let select = format!(
        "SELECT {COLUMNS} FROM models WHERE (created_ms < $1 OR (created_ms = $1 AND id < $2)) \
         AND pipeline = COALESCE($3, pipeline) ORDER BY created_ms DESC, id DESC LIMIT $4"
    );
    let select = sqlx::query_as(AssertSqlSafe(select)).bind(after_ms).bind(after_id).bind(pipeline).bind(rows);
    Ok(select.fetch_all(&database.pool).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::file_url;

    fn version(id: &str, pipeline: &str) -> Version {
        let text = |text: &str| text.to_owned();
        Version {
            id: text(id),
            pipeline: text(pipeline),
            version: 0,
            state: text("candidate"),
            reason: text("new"),
            model: text("mstl"),
            source: text("training"),
            hash: text("h"),
            parameters: text("{}"),
            base: text("b"),
            evaluation: text("{}"),
            created_ms: 5,
            created_by: text("me"),
            current_ms: None,
        }
    }

    #[tokio::test]
    async fn one_version_is_current_and_the_one_before_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&file_url(&folder.path().join("state.db"))).await.unwrap();
        for (id, pipeline, is_new) in [("a", "p", true), ("b", "p", true), ("a", "p", false), ("c", "q", true)] {
            assert_eq!(insert(&database, &version(id, pipeline)).await.unwrap(), is_new, "{id}");
        }
        let found = list(&database, Some("p"), None, 10).await.unwrap();
        let numbers: Vec<_> = found.iter().map(|one| (one.id.as_str(), one.version)).collect();
        assert_eq!(numbers, [("b", 2), ("a", 1)]);
        assert_eq!(list(&database, None, Some((5, "c".into())), 10).await.unwrap().len(), 2);

        promote(&database, "p", Some("a"), "better", false, 10).await.unwrap();
        promote(&database, "p", Some("b"), "better", false, 20).await.unwrap();
        let state = async |id| get(&database, id).await.unwrap().unwrap().state;
        assert_eq!([state("a").await, state("b").await, state("c").await], ["retired", "current", "candidate"]);
        let before = previous(&database, "p").await.unwrap().unwrap();
        promote(&database, "p", Some(&before.id), "rolled back", true, 30).await.unwrap();
        assert_eq!([state("a").await, state("b").await], ["current", "candidate"]);
        assert!(previous(&database, "p").await.unwrap().is_none());
        promote(&database, "p", None, "rolled back", true, 40).await.unwrap();
        assert!(current(&database, "p").await.unwrap().is_none());
        assert!(all_current(&database).await.unwrap().is_empty());
    }
}
