//! Long work: submitted in an instant, done by whichever process is free, and still there after a crash.
//!
//! [`submit`] puts a job into the table that is the queue (`database/jobs.rs`); [`runner`] takes jobs and does them,
//! each kind in a file of its own. [`task`] is what a job has in hand while it runs.

pub mod backfill;
pub mod backtest;
pub mod orders;
pub mod pass;
pub mod retry;
pub mod runner;
pub mod task;
pub mod train;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::database::{DatabaseError, jobs};

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
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Predict, Self::Detect, Self::Inference, Self::Train, Self::Backtest, Self::Backfill];

    /// The kind `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

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

/// Why a job was not put into the queue.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There are too many already.
    #[error("{most} jobs wait already, which is as many as may; `jobs.most_queued` allows more")]
    Full {
        /// How many may wait.
        most: u32,
    },
    /// The database can't be written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Puts a job into the queue, and answers its id; that of the job which has its key, where there is one.
///
/// # Errors
/// Too many wait already, or the database can't be written.
pub async fn submit(app: &App, job: NewJob) -> Result<String, SubmitError> {
    let timeout = app.current().config.jobs.timeout;
    submit_within(app, job, timeout).await
}

/// The same for a job of which an attempt may take as long as `timeout`.
///
/// # Errors
/// Too many wait already, or the database can't be written.
pub async fn submit_within(app: &App, job: NewJob, timeout: Duration) -> Result<String, SubmitError> {
    let most = app.current().config.jobs.most_queued;
    if jobs::queued(&app.database).await? >= i64::from(most) {
        return Err(SubmitError::Full { most });
    }
    let new = jobs::New {
        id: app.new_id(),
        kind: job.kind.name(),
        pipeline: job.pipeline,
        body: job.body.to_string(),
        priority: job.priority,
        most_attempts: MOST_ATTEMPTS,
        timeout_ms: i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
        created_ms: app.now().millis(),
        created_by: job.created_by,
        idempotency_key: job.idempotency_key,
    };
    let id = jobs::insert(&app.database, &new).await?;
    app.new_job.notify_one();
    Ok(id)
}
