//! Passes that were run, and what is known of the forecasts that they made.

use sqlx::{Any, AssertSqlSafe, FromRow, Transaction};
use tsdb::Timestamp;

use super::select::{Select, placeholders};
use super::{Database, DatabaseError};
use crate::api::page::{Cursor, Limit};

/// How many rows one statement inserts at most: SQLite binds no more than 32,766 values.
const CHUNK: usize = 500;

/// One pass.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// `anomaly` or `forecast`.
    pub stage: String,
    /// The time of the schedule that it was run for.
    pub tick_ms: i64,
    /// When it began.
    pub started_ms: i64,
    /// How long it took.
    pub took_ms: i64,
    /// `success` or `error`.
    pub outcome: String,
    /// Series whose history is kept.
    pub series: i64,
    /// Points that got a score.
    pub scored: i64,
    /// Points whose score is above 1.
    pub anomalous: i64,
    /// Samples that the store took.
    pub written: i64,
    /// Samples that the store refused.
    pub rejected: i64,
    /// Why it failed.
    pub error: Option<String>,
    /// The process that ran it.
    pub instance: String,
    /// The job that it was part of, where it was none of the schedule's.
    pub job: Option<String>,
}

/// A forecast that a run has made.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Prediction {
    /// The run.
    pub run: String,
    /// The pipeline.
    pub pipeline: String,
    /// The model's id.
    pub model: String,
    /// Which trained version of it.
    pub model_version: Option<i64>,
    /// The last point that the model saw.
    pub origin_ms: i64,
    /// How far apart its points are.
    pub step_ms: i64,
    /// How many points it has.
    pub horizon: i64,
    /// Of how many series.
    pub series: i64,
    /// When it was made.
    pub made_ms: i64,
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Those of one pipeline.
    pub pipeline: Option<String>,
    /// Those of one stage.
    pub stage: Option<String>,
    /// Those with one outcome.
    pub outcome: Option<String>,
    /// Those that began then or later.
    pub since: Option<Timestamp>,
    /// Those that began before.
    pub until: Option<Timestamp>,
    /// Those after this place in the list.
    pub after: Option<Cursor>,
}

/// The runs that pass `filter`, the newest first, with one more than `limit` where there are so many.
///
/// # Errors
/// The database can't be read.
pub async fn list(database: &Database, filter: Filter, limit: Limit) -> Result<Vec<Run>, DatabaseError> {
    let mut select = Select::all("runs")
        .and_if("pipeline = ?", filter.pipeline)
        .and_if("stage = ?", filter.stage)
        .and_if("outcome = ?", filter.outcome)
        .and_if("started_ms >= ?", filter.since.map(Timestamp::millis))
        .and_if("started_ms < ?", filter.until.map(Timestamp::millis));
    if let Some(Cursor { at_ms, id }) = filter.after {
        select = select.and("(started_ms, id) < (?, ?)", [at_ms.into(), id.into()]);
    }
    select.then("ORDER BY started_ms DESC, id DESC LIMIT ?", [limit.rows().into()]).rows(database).await
}

/// The run `id`, if it is known.
///
/// # Errors
/// The database can't be read.
pub async fn get(database: &Database, id: &str) -> Result<Option<Run>, DatabaseError> {
    Select::all("runs").and("id = ?", [id.to_string().into()]).row(database).await
}

/// The forecast that the run `id` has made, if it has.
///
/// # Errors
/// The database can't be read.
pub async fn prediction(database: &Database, id: &str) -> Result<Option<Prediction>, DatabaseError> {
    Select::all("predictions").and("run = ?", [id.to_string().into()]).row(database).await
}

/// The newest time of the schedule of each stage of `pipeline` that a pass was begun for since `since`.
///
/// # Errors
/// The database can't be read.
pub async fn last_ticks(
    database: &Database,
    pipeline: &str,
    since: Timestamp,
) -> Result<Vec<(String, Timestamp)>, DatabaseError> {
    let query = "SELECT stage, MAX(tick_ms) FROM runs \
                 WHERE pipeline = $1 AND started_ms >= $2 AND job IS NULL GROUP BY stage";
    let query = sqlx::query_as(query).bind(pipeline.to_string()).bind(since.millis());
    let rows: Vec<(String, i64)> = query.fetch_all(&database.pool).await?;
    Ok(rows.into_iter().map(|(stage, tick)| (stage, Timestamp::from_millis(tick))).collect())
}

/// Writes `runs`; those that are there already stay as they are.
///
/// # Errors
/// The database can't be written.
pub async fn insert(transaction: &mut Transaction<'_, Any>, runs: &[Run]) -> Result<(), sqlx::Error> {
    for chunk in runs.chunks(CHUNK) {
        let statement = format!(
            "INSERT INTO runs (id, pipeline, stage, tick_ms, started_ms, took_ms, outcome, series, scored, anomalous, \
             written, rejected, error, instance, job) VALUES {} ON CONFLICT (id) DO NOTHING",
            placeholders(chunk.len(), 15)
        );
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, run| {
            let query = query.bind(&run.id).bind(&run.pipeline).bind(&run.stage).bind(run.tick_ms);
            let query = query.bind(run.started_ms).bind(run.took_ms).bind(&run.outcome).bind(run.series);
            let query = query.bind(run.scored).bind(run.anomalous).bind(run.written).bind(run.rejected);
            query.bind(run.error.clone()).bind(&run.instance).bind(run.job.clone())
        });
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Writes `predictions`; those that are there already stay as they are.
///
/// # Errors
/// The database can't be written.
pub async fn insert_predictions(
    transaction: &mut Transaction<'_, Any>,
    predictions: &[Prediction],
) -> Result<(), sqlx::Error> {
    for chunk in predictions.chunks(CHUNK) {
        let statement = format!(
            "INSERT INTO predictions (run, pipeline, model, model_version, origin_ms, step_ms, horizon, series, \
             made_ms) VALUES {} ON CONFLICT (run) DO NOTHING",
            placeholders(chunk.len(), 9)
        );
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, one| {
            let query = query.bind(&one.run).bind(&one.pipeline).bind(&one.model).bind(one.model_version);
            query.bind(one.origin_ms).bind(one.step_ms).bind(one.horizon).bind(one.series).bind(one.made_ms)
        });
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
