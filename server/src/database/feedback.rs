//! What people said of incidents and ranges, and the patterns and silences that follow from it.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::feedback::{Said, Side, Verdict};
use engine::silence::{Matcher, Operator, Silence};
use serde_json::{Map, Value};
use sqlx::FromRow;
use tsdb::{Labels, Timestamp};

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
    /// The series that it is about, those that have all labels of any of these: a JSON list of objects. None where it was
    /// given before that was kept.
    pub scope: Option<String>,
    /// To which side they deviated, `above` or `below`; none where nothing was found there.
    pub side: Option<String>,
    /// By which score at most.
    pub score: Option<f64>,
    /// How far from what was expected there, in the units of the data.
    pub deviation: Option<f64>,
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
                  created_by, scope, side, score, deviation) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let query = sqlx::query(insert).bind(feedback.id).bind(feedback.incident).bind(feedback.pipeline);
    let query = query.bind(feedback.labels).bind(feedback.start_ms).bind(feedback.end_ms).bind(feedback.verdict);
    let query = query.bind(feedback.note).bind(feedback.created_ms).bind(feedback.created_by);
    let query = query.bind(feedback.scope).bind(feedback.side).bind(feedback.score).bind(feedback.deviation);
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

/// How all that was said stands: it differs whenever something was said or taken back.
///
/// # Errors
/// The database can't be read.
pub async fn revision(database: &Database) -> Result<(i64, Option<String>), DatabaseError> {
    Ok(sqlx::query_as("SELECT COUNT(*), MAX(id) FROM feedback").fetch_one(&database.pool).await?)
}

/// What was said since `since`, or is about what is later than that, the oldest first.
///
/// # Errors
/// The database can't be read.
pub async fn since(database: &Database, since: Timestamp) -> Result<Vec<Feedback>, DatabaseError> {
    let at = since.millis();
    Select::all("feedback")
        .and("(created_ms >= ? OR end_ms >= ?)", [at.into(), at.into()])
        .then("ORDER BY created_ms, id", [])
        .rows(database)
        .await
}

fn labels(text: &str) -> Option<Labels> {
    let pairs: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Labels::new(pairs).ok()
}

impl Feedback {
    /// Whether it says something of `incident`, some of whose series have the labels of `members`.
    pub fn is_about(&self, incident: &Incident, members: &[Map<String, Value>]) -> bool {
        if self.incident.is_some() {
            return self.incident.as_deref() == Some(&incident.id);
        }
        let own: Map<String, Value> = serde_json::from_str(&self.labels).unwrap_or_default();
        let overlaps = self.start_ms <= incident.end_ms && self.end_ms >= incident.start_ms;
        let has_all = |labels: &Map<String, Value>| own.iter().all(|(name, value)| labels.get(name) == Some(value));
        self.pipeline == incident.pipeline && overlaps && members.iter().any(has_all)
    }

    /// The series that it is about: those that have all labels of any of these.
    pub fn scope(&self) -> Vec<Labels> {
        match &self.scope {
            Some(scope) => {
                let scope: Vec<Value> = serde_json::from_str(scope).unwrap_or_default();
                scope.iter().filter_map(|one| labels(&one.to_string())).collect()
            }
            None => labels(&self.labels).into_iter().collect(),
        }
    }

    /// The threshold that it moves; none where it moves none.
    pub fn moves(&self) -> Option<Verdict> {
        let at = Timestamp::from_millis;
        let said = match self.verdict.as_str() {
            "anomaly" => Said::Anomaly,
            "expected" => Said::Expected,
            _ => return None,
        };
        Some(Verdict {
            id: self.id.clone(),
            said,
            scope: self.scope(),
            side: if self.side.as_deref()? == "above" { Side::Above } else { Side::Below },
            score: self.score?,
            deviation: self.deviation?,
            from: at(self.start_ms),
            until: at(self.end_ms),
            given: at(self.created_ms),
        })
    }

    /// The silences that it is: of `maintenance` its range, for each of its series.
    pub fn silences(&self) -> Vec<Silence> {
        if self.verdict != "maintenance" {
            return vec![];
        }
        let (from, until) = (Timestamp::from_millis(self.start_ms), Timestamp::from_millis(self.end_ms));
        let matcher = |(name, value): (&str, &str)| Matcher::new(name, Operator::Equal, value).ok();
        // What has a label that no matcher can name is left out, rather than silence all others too.
        let matchers = |labels: &Labels| labels.iter().map(matcher).collect::<Option<Vec<Matcher>>>();
        let until = until + Duration::from_millis(1);
        let silence = |labels: &Labels| Some(Silence { from, until, matchers: matchers(labels)? });
        self.scope().iter().filter_map(silence).collect()
    }
}
