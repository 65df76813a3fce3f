//! Who changed what.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Database, DatabaseError};

/// One change, or one attempt at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id, which sorts by time.
    pub id: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What was done, such as `DELETE /api/v1/pipelines/{name}`.
    pub action: String,
    /// To what, such as `/api/v1/pipelines/cpu`.
    pub subject: String,
    /// How it ended.
    pub detail: String,
    /// From which address.
    pub address: String,
    /// The request's id.
    pub request_id: String,
}

/// Which records are wanted; what is empty or `None` leaves all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of whom.
    pub actor: String,
    /// About what, or what lies below it.
    pub subject: String,
    /// Not before this time, in milliseconds since the Unix epoch.
    pub from_ms: Option<i64>,
    /// Before this time.
    pub until_ms: Option<i64>,
    /// Older than the record of this time and id.
    pub before: Option<(i64, String)>,
}

fn record(row: &AnyRow) -> Record {
    Record {
        id: row.get("id"),
        at_ms: row.get("at_ms"),
        actor: row.get("actor"),
        action: row.get("action"),
        subject: row.get("subject"),
        detail: row.get("detail"),
        address: row.get("address"),
        request_id: row.get("request_id"),
    }
}

/// Writes a record down.
///
/// # Errors
/// The database can't be written.
pub async fn insert(database: &Database, record: &Record) -> Result<(), DatabaseError> {
    let insert = "INSERT INTO audit_log (id, at_ms, actor, action, subject, detail, address, request_id) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    sqlx::query(insert)
        .bind(&record.id)
        .bind(record.at_ms)
        .bind(&record.actor)
        .bind(&record.action)
        .bind(&record.subject)
        .bind(&record.detail)
        .bind(&record.address)
        .bind(&record.request_id)
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// The newest records that `filter` leaves, at most `limit`.
///
/// # Errors
/// The database can't be read.
pub async fn list(database: &Database, filter: &Filter, limit: i64) -> Result<Vec<Record>, DatabaseError> {
    let query = "SELECT * FROM audit_log WHERE ($1 = '' OR actor = $1) \
                 AND ($2 = '' OR subject = $2 OR SUBSTR(subject, 1, LENGTH($2) + 1) = $2 || '/') \
                 AND at_ms >= $3 AND at_ms < $4 AND (at_ms < $5 OR (at_ms = $5 AND id < $6)) \
                 ORDER BY at_ms DESC, id DESC LIMIT $7";
    let (before_ms, before_id) = filter.before.clone().unwrap_or((i64::MAX, String::new()));
    let rows = sqlx::query(query)
        .bind(&filter.actor)
        .bind(&filter.subject)
        .bind(filter.from_ms.unwrap_or(i64::MIN))
        .bind(filter.until_ms.unwrap_or(i64::MAX))
        .bind(before_ms)
        .bind(before_id)
        .bind(limit)
        .fetch_all(&database.pool)
        .await?;
    Ok(rows.iter().map(record).collect())
}
