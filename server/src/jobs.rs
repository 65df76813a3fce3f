//! Long work: submitted in an instant, done by whichever process is free, and still there after a crash.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::database::DatabaseError;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Makes the forecast of a pipeline now, and writes it.
    Predict,
    /// Scores what has come since a pipeline's last pass, and writes it.
    Detect,
    /// Both.
    Inference,
    /// Trains the model of a pipeline.
    Train,
    /// Scores history as the service would have scored it, and writes nothing.
    Backtest,
    /// Scores history as the service would have scored it, and writes what is not there yet.
    Backfill,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Detect => "detect",
            Self::Inference => "inference",
            Self::Train => "train",
            Self::Backtest => "backtest",
            Self::Backfill => "backfill",
        }
    }
}

/// A job that is to be done.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What it does.
    pub kind: Kind,
    /// The pipeline that it is for.
    pub pipeline: String,
    /// What else it is told.
    pub body: serde_json::Value,
    /// Higher ones are done first; 0 is usual.
    pub priority: i64,
    /// Who wants it.
    pub created_by: String,
    /// Two jobs of one key are one job.
    pub idempotency_key: Option<String>,
}

/// How often a job is begun before it has failed for good.
const MOST_ATTEMPTS: i64 = 5;

/// Puts a job into the queue, and answers its id; that of the job which has its key, where there is one.
///
/// # Errors
/// The database can't be written.
pub async fn submit(app: &App, job: NewJob) -> Result<String, DatabaseError> {
    let now = app.now().millis();
    let timeout = i64::try_from(app.current().config.jobs.timeout.as_millis()).unwrap_or(i64::MAX);
    let insert = "INSERT INTO jobs (id, kind, pipeline, body, state, priority, attempts, most_attempts, timeout_ms, \
                  created_ms, created_by, run_after_ms, cancel_requested, progress, message, idempotency_key) \
                  VALUES ($1, $2, $3, $4, 'queued', $5, 0, $6, $7, $8, $9, $8, 0, 0.0, '', $10) \
                  ON CONFLICT (idempotency_key) DO UPDATE SET idempotency_key = $10 RETURNING id";
    let (id,): (String,) = sqlx::query_as(insert)
        .bind(app.new_id())
        .bind(job.kind.name())
        .bind(job.pipeline)
        .bind(job.body.to_string())
        .bind(job.priority)
        .bind(MOST_ATTEMPTS)
        .bind(timeout)
        .bind(now)
        .bind(job.created_by)
        .bind(job.idempotency_key)
        .fetch_one(&app.database.pool)
        .await?;
    Ok(id)
}
