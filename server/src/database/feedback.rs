//! What people said of incidents and ranges.

use sqlx::FromRow;
use tsdb::Timestamp;

use super::incidents::Incident;
use super::select::Select;
use super::{Database, DatabaseError};
use crate::api::page::{Cursor, Limit};

/// One verdict.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Feedback {
    /// Its id.
    pub id: String,
    /// The incident that it is about, where it is about one.
    pub incident: Option<String>,
    /// The pipeline.
    pub pipeline: String,
    /// The labels of the series that it is about, a JSON object.
    pub labels: String,
    /// The first point that it is about.
    pub start_ms: i64,
    /// The last point that it is about.
    pub end_ms: i64,
    /// `anomaly`, `expected` or `maintenance`.
    pub verdict: String,
    /// What else was said.
    pub note: String,
    /// When.
    pub created_ms: i64,
    /// By whom.
    pub created_by: String,
}

/// Which feedback is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// That on one pipeline.
    pub pipeline: Option<String>,
    /// That on one incident.
    pub incident: Option<String>,
    /// That with one verdict.
    pub verdict: Option<String>,
    /// That on ranges which end then or later.
    pub from: Option<Timestamp>,
    /// That on ranges which begin before.
    pub until: Option<Timestamp>,
    /// That after this place in the list.
    pub after: Option<Cursor>,
}

/// The feedback that passes `filter`, the newest first, with one more than `limit` where there is so much.
///
/// # Errors
/// The database can't be read.
pub async fn list(database: &Database, filter: Filter, limit: Limit) -> Result<Vec<Feedback>, DatabaseError> {
    let mut select = Select::all("feedback")
        .and_if("pipeline = ?", filter.pipeline)
        .and_if("incident = ?", filter.incident)
        .and_if("verdict = ?", filter.verdict)
        .and_if("end_ms >= ?", filter.from.map(Timestamp::millis))
        .and_if("start_ms < ?", filter.until.map(Timestamp::millis));
    if let Some(Cursor { at_ms, id }) = filter.after {
        select = select.and("(created_ms, id) < (?, ?)", [at_ms.into(), id.into()]);
    }
    select.then("ORDER BY created_ms DESC, id DESC LIMIT ?", [limit.rows().into()]).rows(database).await
}

/// The feedback `id`, if there is any.
///
/// # Errors
/// The database can't be read.
pub async fn get(database: &Database, id: &str) -> Result<Option<Feedback>, DatabaseError> {
    Select::all("feedback").and("id = ?", [id.to_string().into()]).row(database).await
}

/// What was said of any of `incidents`: of themselves, or of a range and labels that they lie in. The oldest first.
///
/// # Errors
/// The database can't be read.
pub async fn about(database: &Database, incidents: &[Incident]) -> Result<Vec<Feedback>, DatabaseError> {
    let pipelines: std::collections::BTreeSet<&str> = incidents.iter().map(|one| &*one.pipeline).collect();
    let (from, until) = (incidents.iter().map(|one| one.start_ms).min(), incidents.iter().map(|one| one.end_ms).max());
    Select::all("feedback")
        .and_in("pipeline", pipelines.into_iter().map(str::to_owned))
        .and_if("end_ms >= ?", from)
        .and_if("start_ms <= ?", until)
        .then("ORDER BY created_ms, id", [])
        .rows(database)
        .await
}

/// Keeps `feedback`.
///
/// # Errors
/// The database can't be written.
pub async fn insert(database: &Database, feedback: Feedback) -> Result<(), DatabaseError> {
    let insert = "INSERT INTO feedback (id, incident, pipeline, labels, start_ms, end_ms, verdict, note, created_ms, \
                  created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let query = sqlx::query(insert).bind(feedback.id).bind(feedback.incident).bind(feedback.pipeline);
    let query = query.bind(feedback.labels).bind(feedback.start_ms).bind(feedback.end_ms).bind(feedback.verdict);
    let query = query.bind(feedback.note).bind(feedback.created_ms).bind(feedback.created_by);
    query.execute(&database.pool).await?;
    Ok(())
}

/// Takes back the feedback `id`; says whether there was any.
///
/// # Errors
/// The database can't be written.
pub async fn delete(database: &Database, id: &str) -> Result<bool, DatabaseError> {
    let query = sqlx::query("DELETE FROM feedback WHERE id = $1").bind(id.to_string());
    Ok(query.execute(&database.pool).await?.rows_affected() > 0)
}

impl Feedback {
    /// Whether it says something of `incident`, whose labels are `labels`.
    pub fn is_about(&self, incident: &Incident, labels: &serde_json::Map<String, serde_json::Value>) -> bool {
        if self.incident.is_some() {
            return self.incident.as_deref() == Some(&incident.id);
        }
        let own: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&self.labels).unwrap_or_default();
        let overlaps = self.start_ms <= incident.end_ms && self.end_ms >= incident.start_ms;
        self.pipeline == incident.pipeline
            && overlaps
            && own.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}
