//! A job that is running here: what it is told, how it says how far it has come, and whether it is to stop.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use engine::PassError;
use engine::store::StoreError;
use engine::train::TrainError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Kind;
use crate::app::App;
use crate::assembly::AssemblyError;
use crate::database::DatabaseError;
use crate::database::jobs::{self, Hold, Work};

/// How often progress is written down.
const EVERY: Duration = Duration::from_secs(1);

/// Why an attempt at a job came to no end.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was told to stop.
    #[error("it was stopped")]
    Stopped,
    /// The same may succeed later.
    #[error("{0}")]
    Again(String),
    /// The same will fail again.
    #[error("{0}")]
    Failed(String),
}

impl JobError {
    fn of(error: &dyn std::fmt::Display, is_retryable: bool) -> Self {
        if is_retryable { Self::Again(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<PassError> for JobError {
    fn from(error: PassError) -> Self {
        Self::of(&error, error.is_retryable())
    }
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self::of(&error, error.is_retryable())
    }
}

impl From<DatabaseError> for JobError {
    fn from(error: DatabaseError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<AssemblyError> for JobError {
    fn from(error: AssemblyError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<TrainError> for JobError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Stopped => Self::Stopped,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Why a running job is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody does not want it any more.
    Cancelled,
    /// It takes too long.
    TimedOut,
    /// The process stops, and others will go on.
    Leaving,
    /// Its lease has run out, and others may be at it.
    Lost,
}

/// Tells a job to stop, and why: the first reason counts.
#[derive(Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: OnceLock<Reason>,
}

impl Stop {
    /// Tells it.
    pub fn say(&self, reason: Reason) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Why it was told to stop, where it was.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.get().copied()
    }

    /// Waits until it is told to.
    pub async fn said(&self) {
        self.token.cancelled().await;
    }
}

/// A job that is running here.
pub struct Task {
    /// The service.
    pub app: App,
    /// What it does.
    pub kind: Kind,
    /// The job as it was taken.
    pub work: Work,
    /// By what it is held.
    pub hold: Hold,
    /// Whether it is to stop.
    pub stop: Stop,
    told: Mutex<Option<Instant>>,
}

impl Task {
    /// The job `work`, which this process has taken.
    pub fn new(app: App, kind: Kind, work: Work) -> Self {
        let hold = Hold { id: work.id.clone(), owner: app.instance.clone(), attempt: work.attempts };
        Self { app, kind, work, hold, stop: Stop::default(), told: Mutex::default() }
    }

    /// Goes on only where nobody has said to stop.
    ///
    /// # Errors
    /// It is to stop.
    pub fn go_on(&self) -> Result<(), JobError> {
        if self.stop.reason().is_some() { Err(JobError::Stopped) } else { Ok(()) }
    }

    /// Waits for `wait`, unless it is told to stop before.
    ///
    /// # Errors
    /// It is to stop.
    pub async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, JobError> {
        tokio::select! {
            found = wait => Ok(found),
            () = self.stop.said() => Err(JobError::Stopped),
        }
    }

    /// How far an earlier attempt came; a checkpoint of an older version that can't be read is as good as none.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.work.checkpoint.as_deref()?).ok()
    }

    /// Says how far it has come, 0 to 1, and what it is at; most of what is said within a second is left out.
    ///
    /// # Errors
    /// It is to stop.
    pub async fn progress(&self, part: f64, message: &str) -> Result<(), JobError> {
        self.go_on()?;
        if !self.is_time() {
            return Ok(());
        }
        self.tell(part, message, None).await
    }

    /// The same, with the place where another attempt would go on, which is always written.
    ///
    /// # Errors
    /// It is to stop, or the place can't be written.
    pub async fn save(&self, part: f64, message: &str, place: &impl Serialize) -> Result<(), JobError> {
        let place = serde_json::to_string(place).map_err(|error| JobError::Failed(error.to_string()))?;
        self.tell(part, message, Some(&place)).await?;
        self.go_on()
    }

    async fn tell(&self, part: f64, message: &str, place: Option<&str>) -> Result<(), JobError> {
        if !jobs::progress(&self.app.database, &self.hold, part, message, place).await? {
            self.stop.say(Reason::Lost);
            return Err(JobError::Stopped);
        }
        Ok(())
    }

    fn is_time(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.is_none_or(|told| told.elapsed() >= EVERY);
        if is_time {
            *told = Some(Instant::now());
        }
        is_time
    }
}
