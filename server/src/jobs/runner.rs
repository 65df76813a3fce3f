//! Takes jobs and does them, so many at a time, and keeps their leases while it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::task::{JobError, Reason, Task};
use super::{Kind, backfill, backtest, pass, retry, train};
use crate::app::App;
use crate::database::DatabaseError;
use crate::database::jobs::{self, End, Work};

/// How long a job is held without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often leases are renewed.
const RENEWAL: Duration = Duration::from_secs(10);

/// How often is looked for jobs, and for those that are to be cancelled.
const LOOK: Duration = Duration::from_secs(1);

/// How long a job that was told to stop may go on before it is cut off.
const GRACE: Duration = Duration::from_secs(10);

/// How often the end of a job is written before it is left to others.
const TRIES: usize = 10;

/// The jobs that run here.
#[derive(Clone, Default)]
struct Board(Arc<Mutex<HashMap<String, Arc<Task>>>>);

impl Board {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<String, Arc<Task>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn all(&self) -> Vec<Arc<Task>> {
        self.change(|tasks| tasks.values().cloned().collect())
    }

    fn stop_all(&self, reason: Reason) {
        self.all().iter().for_each(|task| task.stop.say(reason));
    }
}

/// Does jobs until the service stops; then what has begun is given back, for others or for the next start.
pub async fn run(app: App) {
    let board = Board::default();
    // Of its own, so that no work, however long, keeps it from renewing.
    let keeper = tokio::spawn(keep(app.clone(), board.clone()));
    let mut running = JoinSet::new();
    let mut swept = None;
    loop {
        if swept.is_none_or(|swept: Instant| swept.elapsed() >= RENEWAL) {
            swept = Some(Instant::now());
            warn("ending jobs that nobody holds", jobs::sweep(&app.database, app.now().millis()).await);
        }
        let has_room = running.len() < app.current().config.jobs.workers;
        let taken = if has_room { take(&app).await } else { None };
        if let Some(task) = taken {
            running.spawn(attend(Arc::new(task), board.clone()));
            continue;
        }
        tokio::select! {
            () = app.stopping.cancelled() => break,
            () = app.new_job.notified(), if has_room => {}
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    board.stop_all(Reason::Leaving);
    while running.join_next().await.is_some() {}
    keeper.abort();
}

async fn take(app: &App) -> Option<Task> {
    if app.stopping.is_cancelled() {
        return None;
    }
    let (now, until) = (app.now().millis(), (app.now() + LEASE).millis());
    let work: Work = warn("taking a job", jobs::claim(&app.database, &app.instance, now, until).await).flatten()?;
    match Kind::named(&work.kind) {
        Some(kind) => Some(Task::new(app.clone(), kind, work)),
        None => {
            tracing::error!(job = work.id, kind = work.kind, "a job of an unknown kind; a newer version may do it");
            None
        }
    }
}

fn warn<T>(what: &str, outcome: Result<T, DatabaseError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::warn!("{what}: {error}")).ok()
}

/// Renews the leases of what runs here, and tells jobs to stop that are cancelled or lost.
async fn keep(app: App, board: Board) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let tasks = board.all();
        if tasks.is_empty() {
            renewed = Instant::now();
            continue;
        }
        if renewed.elapsed() >= RENEWAL || tasks.iter().any(|task| task.stop.reason().is_none()) {
            match look_after(&app, &tasks, renewed.elapsed() >= RENEWAL).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => {}
                Err(error) => tracing::warn!("keeping jobs: {error}"),
            }
        }
        if renewed.elapsed() >= LEASE {
            board.stop_all(Reason::Lost);
        }
    }
}

/// Answers whether the leases were renewed.
async fn look_after(app: &App, tasks: &[Arc<Task>], renew: bool) -> Result<bool, DatabaseError> {
    if renew {
        jobs::renew(&app.database, &app.instance, (app.now() + LEASE).millis()).await?;
    }
    let held = jobs::held(&app.database, &app.instance).await?;
    for task in tasks {
        match held.iter().find(|(id, attempt, _)| (id, attempt) == (&task.hold.id, &task.hold.attempt)) {
            None => task.stop.say(Reason::Lost),
            Some((_, _, true)) => task.stop.say(Reason::Cancelled),
            Some(_) => {}
        }
    }
    Ok(renew)
}

/// Does one job, and writes down how it ended.
async fn attend(task: Arc<Task>, board: Board) {
    board.change(|tasks| tasks.insert(task.hold.id.clone(), task.clone()));
    let (job, kind, pipeline) = (&task.hold.id, task.kind.name(), task.work.pipeline.as_deref().unwrap_or(""));
    tracing::info!(job, kind, pipeline, attempt = task.hold.attempt, "a job begins");
    let outcome = done(&task).await;
    if let Err(error) = &outcome {
        tracing::warn!(job, kind, pipeline, attempt = task.hold.attempt, "a job came to no end: {error}");
    } else {
        tracing::info!(job, kind, pipeline, attempt = task.hold.attempt, "a job is done");
    }
    settle(&task, outcome).await;
    board.change(|tasks| tasks.remove(&task.hold.id));
}

/// What became of the work: its result, or why there is none.
async fn done(task: &Arc<Task>) -> Result<String, JobError> {
    let limit = Duration::from_millis(u64::try_from(task.work.timeout_ms).unwrap_or(0));
    // As a task of its own, a panic is an error like others.
    let pipeline = task.work.pipeline.as_deref().unwrap_or("");
    let span = tracing::info_span!("job", job = task.hold.id, kind = task.kind.name(), pipeline);
    let mut work = tokio::spawn(perform(task.clone()).instrument(span));
    tokio::select! {
        ended = &mut work => return ended_as(ended),
        () = task.stop.said() => {}
        () = tokio::time::sleep(limit) => task.stop.say(Reason::TimedOut),
    }
    match tokio::time::timeout(GRACE, &mut work).await {
        Ok(ended) => ended_as(ended),
        Err(_) => {
            work.abort();
            Err(JobError::Stopped)
        }
    }
}

fn ended_as(ended: Result<Result<String, JobError>, JoinError>) -> Result<String, JobError> {
    ended.unwrap_or_else(|error| Err(JobError::Failed(format!("it broke off: {error}"))))
}

async fn perform(task: Arc<Task>) -> Result<String, JobError> {
    let result = match task.kind {
        Kind::Predict | Kind::Detect | Kind::Inference => pass::run(&task).await?,
        Kind::Train => train::run(&task).await?,
        Kind::Backtest => backtest::run(&task).await?,
        Kind::Backfill => backfill::run(&task).await?,
    };
    Ok(result.to_string())
}

/// What is to be written of an attempt: an end, or when it is begun again and after which error.
#[derive(Debug, PartialEq)]
enum Next {
    End(End),
    Again { after: Duration, error: Option<String> },
    Nothing,
}

fn next(work: &Work, reason: Option<Reason>, outcome: Result<String, JobError>) -> Next {
    match (outcome, reason) {
        (_, Some(Reason::Lost)) => Next::Nothing,
        (Ok(result), _) => Next::End(End::Succeeded(result)),
        (Err(JobError::Stopped), Some(Reason::Leaving)) => Next::Again { after: Duration::ZERO, error: None },
        (Err(JobError::Stopped), Some(Reason::TimedOut)) => {
            let seconds = work.timeout_ms as f64 / 1000.0;
            Next::End(End::Failed(format!("it took longer than {seconds} s, the timeout")))
        }
        (_, Some(Reason::Cancelled)) | (Err(JobError::Stopped), None) => Next::End(End::Cancelled),
        (Err(JobError::Again(error)), _) if work.attempts < work.most_attempts => {
            Next::Again { after: retry::wait(&work.id, work.attempts), error: Some(error) }
        }
        (Err(JobError::Again(error) | JobError::Failed(error)), _) => Next::End(End::Failed(error)),
    }
}

/// Writes down how it ended. Where the database can't be written for long, the lease runs out, and others do it again.
async fn settle(task: &Task, outcome: Result<String, JobError>) {
    let next = next(&task.work, task.stop.reason(), outcome);
    for _ in 0..TRIES {
        let (database, now) = (&task.app.database, task.app.now());
        let written = match &next {
            Next::Nothing => return,
            Next::End(end) => jobs::end(database, &task.hold, end, now.millis()).await,
            Next::Again { after, error } => {
                jobs::put_back(database, &task.hold, (now + *after).millis(), error.as_deref()).await
            }
        };
        if warn("the end of a job", written).is_some() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(attempts: i64) -> Work {
        Work {
            id: "a".into(),
            kind: "predict".into(),
            pipeline: None,
            body: "{}".into(),
            attempts,
            most_attempts: 3,
            timeout_ms: 1500,
            created_by: "me".into(),
            checkpoint: None,
        }
    }

    #[test]
    fn what_is_written_follows_from_how_it_ended_and_why_it_was_stopped() {
        let again = || Err(JobError::Again("no answer".into()));
        let failed = || Err(JobError::Failed("wrong".into()));
        let end = |error: &str| Next::End(End::Failed(error.into()));
        let done = || Next::End(End::Succeeded("1".into()));
        let retried = Next::Again { after: retry::wait("a", 1), error: Some("no answer".into()) };
        for (attempt, reason, outcome, expected) in [
            (1, None, Ok("1".into()), done()),
            (1, Some(Reason::Cancelled), Ok("1".into()), done()),
            (1, Some(Reason::Lost), Ok("1".into()), Next::Nothing),
            (1, None, again(), retried),
            (3, None, again(), end("no answer")),
            (1, None, failed(), end("wrong")),
            (1, Some(Reason::Cancelled), Err(JobError::Stopped), Next::End(End::Cancelled)),
            (1, Some(Reason::Cancelled), failed(), Next::End(End::Cancelled)),
            (1, Some(Reason::TimedOut), Err(JobError::Stopped), end("it took longer than 1.5 s, the timeout")),
            (3, Some(Reason::Leaving), Err(JobError::Stopped), Next::Again { after: Duration::ZERO, error: None }),
        ] {
            let text = format!("{attempt} {reason:?} {outcome:?}");
            assert_eq!(next(&work(attempt), reason, outcome), expected, "{text}");
        }
    }
}
