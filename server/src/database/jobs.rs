//! The table `jobs`, which is the queue itself.
//!
//! Whoever takes a job holds it by a lease that must be renewed. Every statement that changes a held job names the
//! holder and the attempt, so that one who has lost it can't touch it any more.

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::{Database, DatabaseError, Kind};

/// How it stands with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its turn, or for another attempt.
    Queued,
    /// A process is at it.
    Running,
    /// It is done.
    Succeeded,
    /// It can't be done.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state `name`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.name() == name)
    }

    /// Whether nothing will happen to it any more.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A job that is to be put in.
#[derive(Debug, Clone)]
pub struct New {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: &'static str,
    /// The pipeline that it is for.
    pub pipeline: String,
    /// What it is told, as JSON.
    pub body: String,
    /// Higher ones are done first.
    pub priority: i64,
    /// How often it is begun at most.
    pub most_attempts: i64,
    /// How long one attempt may take.
    pub timeout_ms: i64,
    /// When it was wanted.
    pub created_ms: i64,
    /// By whom.
    pub created_by: String,
    /// Two jobs of one key are one job.
    pub idempotency_key: Option<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// The pipeline that it is for.
    pub pipeline: Option<String>,
    /// How it stands, as [`State::name`].
    pub state: String,
    /// Higher ones are done first.
    pub priority: i64,
    /// How often it was begun.
    pub attempts: i64,
    /// How often it is begun at most.
    pub most_attempts: i64,
    /// How long one attempt may take.
    pub timeout_ms: i64,
    /// When it was wanted.
    pub created_ms: i64,
    /// By whom.
    pub created_by: String,
    /// When it is due.
    pub run_after_ms: i64,
    /// When it was first begun.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// The process that is at it.
    pub owner: Option<String>,
    /// Whether it is to be cancelled.
    pub cancel_requested: i64,
    /// How far it has come, 0 to 1.
    pub progress: f64,
    /// What it is at.
    pub message: String,
    /// Why it failed, or the last attempt did.
    pub error: Option<String>,
}

/// What a process needs to do a job.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Work {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// The pipeline that it is for.
    pub pipeline: Option<String>,
    /// What it is told, as JSON.
    pub body: String,
    /// Which attempt this is, from 1.
    pub attempts: i64,
    /// How often it is begun at most.
    pub most_attempts: i64,
    /// How long one attempt may take.
    pub timeout_ms: i64,
    /// Who wanted it.
    pub created_by: String,
    /// How far an earlier attempt came, as JSON.
    pub checkpoint: Option<String>,
}

/// Who is at a job: nobody else may change it meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The job.
    pub id: String,
    /// The process.
    pub owner: String,
    /// The attempt.
    pub attempt: i64,
}

/// Which jobs are listed, the newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of one kind.
    pub kind: Option<String>,
    /// Those in one state.
    pub state: Option<String>,
    /// Those of one pipeline.
    pub pipeline: Option<String>,
    /// Those after this place: time of creation and id.
    pub after: Option<(i64, String)>,
}

const COLUMNS: &str = "id, kind, pipeline, state, priority, attempts, most_attempts, timeout_ms, created_ms, \
                       created_by, run_after_ms, started_ms, ended_ms, owner, cancel_requested, progress, message, error";

/// Puts a job in, and answers its id; that of the job which has its key, where there is one.
///
/// # Errors
/// The database's.
pub async fn insert(database: &Database, job: &New) -> Result<String, DatabaseError> {
    let insert = "INSERT INTO jobs (id, kind, pipeline, body, state, priority, attempts, most_attempts, timeout_ms, \
                  created_ms, created_by, run_after_ms, cancel_requested, progress, message, idempotency_key) \
                  VALUES ($1, $2, $3, $4, 'queued', $5, 0, $6, $7, $8, $9, $8, 0, 0.0, '', $10) \
                  ON CONFLICT (idempotency_key) DO UPDATE SET idempotency_key = $10 RETURNING id";
    let (id,): (String,) = sqlx::query_as(insert)
        .bind(&job.id)
        .bind(job.kind)
        .bind(&job.pipeline)
        .bind(&job.body)
        .bind(job.priority)
        .bind(job.most_attempts)
        .bind(job.timeout_ms)
        .bind(job.created_ms)
        .bind(&job.created_by)
        .bind(&job.idempotency_key)
        .fetch_one(&database.pool)
        .await?;
    Ok(id)
}

/// How many jobs wait.
///
/// # Errors
/// The database's.
pub async fn queued(database: &Database) -> Result<i64, DatabaseError> {
    let count = "SELECT COUNT(*) FROM jobs WHERE state = 'queued'";
    let (count,): (i64,) = sqlx::query_as(count).fetch_one(&database.pool).await?;
    Ok(count)
}

/// Takes the job whose turn it is at `now_ms` for `owner`, until `until_ms`: the one with the highest priority, and
/// of those the oldest. A job whose holder has let its lease run out is taken over. What writes scores of a pipeline is
/// left to the process that is at the pipeline, so that the two can be kept from writing the same point; and one backfill
/// of a pipeline runs at a time.
///
/// # Errors
/// The database's.
pub async fn claim(
    database: &Database,
    owner: &str,
    now_ms: i64,
    until_ms: i64,
) -> Result<Option<Work>, DatabaseError> {
    let due = format!(
        "((state = 'queued' AND run_after_ms <= $1) OR (state = 'running' AND lease_until_ms < $1)) \
         AND attempts < most_attempts AND cancel_requested = 0 \
         AND (kind NOT IN ('detect', 'inference', 'backfill') OR NOT EXISTS (SELECT 1 FROM leases \
         WHERE leases.name = 'pipeline/' || jobs.pipeline AND leases.until_ms > {} AND leases.owner <> $2)) \
         AND (kind <> 'backfill' OR NOT EXISTS (SELECT 1 FROM jobs other WHERE other.kind = 'backfill' \
         AND other.pipeline = jobs.pipeline AND other.state = 'running' AND other.id <> jobs.id))",
        database.clock()
    );
    // Looking costs nothing, while every attempt to write has to wait for others who write.
    let look = sqlx::query_as(AssertSqlSafe(format!("SELECT 1 FROM jobs WHERE {due} LIMIT 1")));
    let found: Option<(i64,)> = look.bind(now_ms).bind(owner).fetch_optional(&database.pool).await?;
    if found.is_none() {
        return Ok(None);
    }
    let locked = if database.kind() == Kind::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    let claim = format!(
        "UPDATE jobs SET state = 'running', owner = $2, lease_until_ms = $3, attempts = attempts + 1, \
         started_ms = COALESCE(started_ms, $1) \
         WHERE id = (SELECT id FROM jobs WHERE {due} ORDER BY priority DESC, created_ms, id LIMIT 1 {locked}) \
         RETURNING id, kind, pipeline, body, attempts, most_attempts, timeout_ms, created_by, checkpoint"
    );
    let claim = sqlx::query_as(AssertSqlSafe(claim)).bind(now_ms).bind(owner).bind(until_ms);
    Ok(claim.fetch_optional(&database.pool).await?)
}

/// Ends what nobody holds any more and nobody may take: jobs to be cancelled, and those that were begun too often.
///
/// # Errors
/// The database's.
pub async fn sweep(database: &Database, now_ms: i64) -> Result<(), DatabaseError> {
    let lost = "UPDATE jobs SET ended_ms = $1, owner = NULL, lease_until_ms = NULL, \
                state = CASE WHEN cancel_requested = 1 THEN 'cancelled' ELSE 'failed' END, \
                error = CASE WHEN cancel_requested = 1 THEN error \
                ELSE 'it was begun as often as it may be, and its process never came to an end of it' END \
                WHERE state = 'running' AND lease_until_ms < $1 AND (cancel_requested = 1 OR attempts >= most_attempts)";
    sqlx::query(lost).bind(now_ms).execute(&database.pool).await?;
    Ok(())
}

/// Renews the leases of all that `owner` holds.
///
/// # Errors
/// The database's.
pub async fn renew(database: &Database, owner: &str, until_ms: i64) -> Result<(), DatabaseError> {
    let renew = "UPDATE jobs SET lease_until_ms = $2 WHERE state = 'running' AND owner = $1";
    sqlx::query(renew).bind(owner).bind(until_ms).execute(&database.pool).await?;
    Ok(())
}

/// Lets the leases of all run out, where it is known that nobody is at any job.
///
/// # Errors
/// The database's.
pub async fn lapse_all(database: &Database) -> Result<(), DatabaseError> {
    let lapse = "UPDATE jobs SET lease_until_ms = 0 WHERE state = 'running'";
    sqlx::query(lapse).execute(&database.pool).await?;
    Ok(())
}

/// What `owner` holds: job, attempt, and whether it is to be cancelled.
///
/// # Errors
/// The database's.
pub async fn held(database: &Database, owner: &str) -> Result<Vec<(String, i64, bool)>, DatabaseError> {
    let held = "SELECT id, attempts, cancel_requested FROM jobs WHERE state = 'running' AND owner = $1";
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(held).bind(owner).fetch_all(&database.pool).await?;
    Ok(rows.into_iter().map(|(id, attempt, cancel)| (id, attempt, cancel != 0)).collect())
}

const IS_HELD: &str = "id = $1 AND owner = $2 AND attempts = $3 AND state = 'running'";

/// Says how far a job has come, and where to go on; answers whether it is still held.
///
/// # Errors
/// The database's.
pub async fn progress(
    database: &Database,
    hold: &Hold,
    progress: f64,
    message: &str,
    checkpoint: Option<&str>,
) -> Result<bool, DatabaseError> {
    let update =
        format!("UPDATE jobs SET progress = $4, message = $5, checkpoint = COALESCE($6, checkpoint) WHERE {IS_HELD}");
    let update = sqlx::query(AssertSqlSafe(update)).bind(&hold.id).bind(&hold.owner).bind(hold.attempt);
    let done = update.bind(progress).bind(message).bind(checkpoint).execute(&database.pool).await?;
    Ok(done.rows_affected() > 0)
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With this result, as JSON.
    Succeeded(String),
    /// For this reason.
    Failed(String),
    /// By somebody's wish.
    Cancelled,
}

/// Ends a job; answers whether it was still held.
///
/// # Errors
/// The database's.
pub async fn end(database: &Database, hold: &Hold, end: &End, now_ms: i64) -> Result<bool, DatabaseError> {
    let (state, result, error) = match end {
        End::Succeeded(result) => (State::Succeeded, Some(result), None),
        End::Failed(error) => (State::Failed, None, Some(error)),
        End::Cancelled => (State::Cancelled, None, None),
    };
    let update = format!(
        "UPDATE jobs SET state = $4, result = $5, error = $6, ended_ms = $7, owner = NULL, lease_until_ms = NULL, \
         checkpoint = NULL, progress = CASE WHEN $4 = 'succeeded' THEN 1.0 ELSE progress END WHERE {IS_HELD}"
    );
    let update = sqlx::query(AssertSqlSafe(update)).bind(&hold.id).bind(&hold.owner).bind(hold.attempt);
    let update = update.bind(state.name()).bind(result).bind(error).bind(now_ms);
    Ok(update.execute(&database.pool).await?.rows_affected() > 0)
}

/// Puts a job back to be begun again at `run_after_ms`: after a failed attempt with its `error`, or where none failed
/// without, which then doesn't count. One that is to be cancelled is. Answers whether it was still held.
///
/// # Errors
/// The database's.
pub async fn put_back(
    database: &Database,
    hold: &Hold,
    run_after_ms: i64,
    error: Option<&str>,
) -> Result<bool, DatabaseError> {
    let update = format!(
        "UPDATE jobs SET state = CASE WHEN cancel_requested = 1 THEN 'cancelled' ELSE 'queued' END, \
         ended_ms = CASE WHEN cancel_requested = 1 THEN $4 ELSE NULL END, owner = NULL, lease_until_ms = NULL, \
         run_after_ms = $4, error = COALESCE($5, error), attempts = attempts - $6 WHERE {IS_HELD}"
    );
    let update = sqlx::query(AssertSqlSafe(update)).bind(&hold.id).bind(&hold.owner).bind(hold.attempt);
    let update = update.bind(run_after_ms).bind(error).bind(i64::from(error.is_none()));
    Ok(update.execute(&database.pool).await?.rows_affected() > 0)
}

/// Cancels a job that waits, and asks the process that is at it to stop where it runs. Answers how the job stands
/// then; `None` where there is no such job.
///
/// # Errors
/// The database's.
pub async fn cancel(database: &Database, id: &str, now_ms: i64) -> Result<Option<Row>, DatabaseError> {
    let waiting = "UPDATE jobs SET state = 'cancelled', cancel_requested = 1, ended_ms = $2 \
                   WHERE id = $1 AND state = 'queued'";
    sqlx::query(waiting).bind(id).bind(now_ms).execute(&database.pool).await?;
    let running = "UPDATE jobs SET cancel_requested = 1 WHERE id = $1 AND state = 'running'";
    sqlx::query(running).bind(id).execute(&database.pool).await?;
    get(database, id).await
}

/// The job `id`.
///
/// # Errors
/// The database's.
pub async fn get(database: &Database, id: &str) -> Result<Option<Row>, DatabaseError> {
    let select = format!("SELECT {COLUMNS} FROM jobs WHERE id = $1");
    Ok(sqlx::query_as(AssertSqlSafe(select)).bind(id).fetch_optional(&database.pool).await?)
}

/// The result of the job `id`, as JSON, where it has one.
///
/// # Errors
/// The database's.
pub async fn result(database: &Database, id: &str) -> Result<Option<String>, DatabaseError> {
    let select = "SELECT result FROM jobs WHERE id = $1";
    let row: Option<(Option<String>,)> = sqlx::query_as(select).bind(id).fetch_optional(&database.pool).await?;
    Ok(row.and_then(|(result,)| result))
}

/// Whether another backfill of `pipeline` than the job `id` has ended since `since_ms`.
///
/// # Errors
/// The database's.
pub async fn backfilled_since(
    database: &Database,
    pipeline: &str,
    id: &str,
    since_ms: i64,
) -> Result<bool, DatabaseError> {
    let select = "SELECT COUNT(*) FROM jobs WHERE kind = 'backfill' AND pipeline = $1 AND id <> $2 AND ended_ms > $3";
    let select = sqlx::query_as(select).bind(pipeline).bind(id).bind(since_ms);
    let (count,): (i64,) = select.fetch_one(&database.pool).await?;
    Ok(count > 0)
}

/// At most `rows` jobs, the newest first.
///
/// # Errors
/// The database's.
pub async fn list(database: &Database, filter: &Filter, rows: i64) -> Result<Vec<Row>, DatabaseError> {
    let (after_ms, after_id) = filter.after.clone().unwrap_or((i64::MAX, String::new()));
    let select = format!(
        "SELECT {COLUMNS} FROM jobs WHERE (created_ms < $1 OR (created_ms = $1 AND id < $2)) \
         AND kind = COALESCE($3, kind) AND state = COALESCE($4, state) \
         AND ($5 IS NULL OR pipeline = $5) ORDER BY created_ms DESC, id DESC LIMIT $6"
    );
    let select = sqlx::query_as(AssertSqlSafe(select)).bind(after_ms).bind(after_id).bind(&filter.kind);
    let select = select.bind(&filter.state).bind(&filter.pipeline).bind(rows);
    Ok(select.fetch_all(&database.pool).await?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::database::file_url;

    async fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&file_url(&folder.path().join("state.db"))).await.unwrap();
        (folder, database)
    }

    fn new(id: &str, priority: i64, created_ms: i64) -> New {
        New {
            id: id.into(),
            kind: "predict",
            pipeline: "p".into(),
            body: "{}".into(),
            priority,
            most_attempts: 2,
            timeout_ms: 1000,
            created_ms,
            created_by: "me".into(),
            idempotency_key: None,
        }
    }

    fn hold(work: &Work, owner: &str) -> Hold {
        Hold { id: work.id.clone(), owner: owner.into(), attempt: work.attempts }
    }

    async fn take(database: &Database, owner: &str, now_ms: i64) -> Option<Work> {
        claim(database, owner, now_ms, now_ms + 30).await.unwrap()
    }

    async fn state(database: &Database, id: &str) -> String {
        get(database, id).await.unwrap().unwrap().state
    }

    #[tokio::test]
    async fn the_most_urgent_job_comes_first_and_of_those_the_oldest() {
        let (_folder, database) = database().await;
        for (id, priority, created) in [("a", 0, 1), ("b", 5, 3), ("c", 5, 2), ("d", -1, 0), ("later", 9, 100)] {
            insert(&database, &new(id, priority, created)).await.unwrap();
        }
        let mut order = vec![];
        while let Some(work) = take(&database, "me", 10).await {
            order.push(work.id);
        }
        assert_eq!(order, ["c", "b", "a", "d"]);
        assert_eq!(queued(&database).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn two_jobs_of_one_key_are_one() {
        let (_folder, database) = database().await;
        let keyed = |id: &str, key: &str| New { idempotency_key: Some(key.into()), ..new(id, 0, 0) };
        for (id, key, expected) in [("a", "k", "a"), ("b", "k", "a"), ("c", "other", "c")] {
            assert_eq!(insert(&database, &keyed(id, key)).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn many_who_take_at_the_same_time_get_every_job_once() {
        let (_folder, database) = database().await;
        for id in 0..40 {
            insert(&database, &new(&id.to_string(), 0, id)).await.unwrap();
        }
        let taker = |owner: usize| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut taken = vec![];
                while let Some(work) = take(&database, &owner.to_string(), 100).await {
                    taken.push(work.id);
                }
                taken
            })
        };
        let takers: Vec<_> = (0..8).map(taker).collect();
        let mut all = vec![];
        for taker in takers {
            all.extend(taker.await.unwrap());
        }
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    }

    #[tokio::test]
    async fn a_job_is_taken_over_once_its_lease_has_run_out_and_the_old_holder_has_no_say() {
        let (_folder, database) = database().await;
        insert(&database, &new("a", 0, 0)).await.unwrap();
        let first = take(&database, "one", 10).await.unwrap();
        assert!(take(&database, "two", 40).await.is_none());
        renew(&database, "one", 50).await.unwrap();
        assert!(take(&database, "two", 45).await.is_none());
        assert!(progress(&database, &hold(&first, "one"), 0.5, "half", Some("7")).await.unwrap());

        let second = take(&database, "two", 60).await.unwrap();
        assert_eq!((second.attempts, second.checkpoint.as_deref()), (2, Some("7")));
        let old = hold(&first, "one");
        assert!(!progress(&database, &old, 0.9, "", None).await.unwrap());
        assert!(!put_back(&database, &old, 0, None).await.unwrap());
        assert!(!end(&database, &old, &End::Succeeded("1".into()), 61).await.unwrap());
        assert!(held(&database, "one").await.unwrap().is_empty());
        assert!(end(&database, &hold(&second, "two"), &End::Succeeded("2".into()), 62).await.unwrap());
        assert_eq!(result(&database, "a").await.unwrap().as_deref(), Some("2"));
        assert!((get(&database, "a").await.unwrap().unwrap().progress - 1.0).abs() < 1e-9);
    }

    #[tokio::test]
    async fn what_writes_scores_is_left_to_the_process_that_is_at_the_pipeline() {
        let (_folder, database) = database().await;
        let lease = "INSERT INTO leases (name, owner, until_ms) VALUES ('pipeline/p', 'one', 9999999999999)";
        sqlx::query(lease).execute(&database.pool).await.unwrap();
        for kind in ["detect", "inference", "backfill"] {
            insert(&database, &New { kind, ..new(kind, 0, 0) }).await.unwrap();
        }
        insert(&database, &New { kind: "backfill", pipeline: "q".into(), ..new("other", -1, 0) }).await.unwrap();
        assert_eq!(take(&database, "two", 10).await.unwrap().id, "other");
        assert!(take(&database, "two", 10).await.is_none());
        assert_eq!(take(&database, "one", 10).await.unwrap().id, "backfill");
        insert(&database, &New { kind: "backfill", ..new("second", 9, 0) }).await.unwrap();
        let next = take(&database, "one", 10).await.unwrap();
        assert_ne!(next.id, "second", "one backfill of a pipeline at a time");
        assert!(put_back(&database, &hold(&next, "one"), 1000, None).await.unwrap());
        lapse_all(&database).await.unwrap();
        assert_eq!(take(&database, "one", 10).await.unwrap().attempts, 2);
    }

    #[tokio::test]
    async fn what_was_begun_too_often_fails_and_what_was_given_back_does_not_count() {
        let (_folder, database) = database().await;
        insert(&database, &new("a", 0, 0)).await.unwrap();
        for _ in 0..5 {
            let work = take(&database, "me", 10).await.unwrap();
            assert!(put_back(&database, &hold(&work, "me"), 10, None).await.unwrap());
        }
        let work = take(&database, "me", 10).await.unwrap();
        assert!(put_back(&database, &hold(&work, "me"), 20, Some("no answer")).await.unwrap());
        assert!(take(&database, "me", 19).await.is_none(), "it is not due yet");
        assert_eq!(take(&database, "me", 20).await.unwrap().attempts, 2);
        // Its process dies.
        assert!(take(&database, "me", 100).await.is_none());
        sweep(&database, 100).await.unwrap();
        let row = get(&database, "a").await.unwrap().unwrap();
        assert_eq!((row.state.as_str(), row.ended_ms), ("failed", Some(100)));
        assert!(row.error.unwrap().contains("as often as it may be"));
    }

    #[tokio::test]
    async fn jobs_are_cancelled_wherever_they_are() {
        let (_folder, database) = database().await;
        for id in ["waits", "runs", "dead", "back", "done"] {
            insert(&database, &new(id, 0, 0)).await.unwrap();
        }
        let mut works = vec![];
        for _ in 0..5 {
            works.push(take(&database, "me", 10).await.unwrap());
        }
        let find = |id: &str| hold(works.iter().find(|work| work.id == id).unwrap(), "me");
        put_back(&database, &find("waits"), 10, None).await.unwrap();
        end(&database, &find("done"), &End::Failed("x".into()), 11).await.unwrap();
        for id in ["waits", "runs", "dead", "back", "done"] {
            cancel(&database, id, 20).await.unwrap().unwrap();
        }
        assert!(cancel(&database, "nothing", 20).await.unwrap().is_none());
        put_back(&database, &find("back"), 21, Some("no answer")).await.unwrap();
        assert_eq!([state(&database, "waits").await, state(&database, "back").await], ["cancelled", "cancelled"]);
        assert_eq!([state(&database, "runs").await, state(&database, "done").await], ["running", "failed"]);
        let mut held = held(&database, "me").await.unwrap();
        held.sort();
        assert_eq!(held, [("dead".into(), 1, true), ("runs".into(), 1, true)]);
        end(&database, &find("runs"), &End::Cancelled, 22).await.unwrap();
        assert!(take(&database, "other", 1000).await.is_none(), "what is to be cancelled is not begun again");
        sweep(&database, 1000).await.unwrap();
        assert_eq!([state(&database, "runs").await, state(&database, "dead").await], ["cancelled", "cancelled"]);
    }

    #[tokio::test]
    async fn lists_have_filters_and_go_on() {
        let (_folder, database) = database().await;
        for (id, created) in [("a", 1), ("b", 2), ("c", 2)] {
            insert(&database, &new(id, 0, created)).await.unwrap();
        }
        insert(&database, &New { kind: "train", pipeline: "q".into(), ..new("d", 0, 3) }).await.unwrap();
        let check = async |filter: Filter, expected: &[&str]| {
            let found = list(&database, &filter, 10).await.unwrap();
            let found: Vec<&str> = found.iter().map(|row| row.id.as_str()).collect();
            assert_eq!(found, expected, "{filter:?}");
        };
        let text = |text: &str| Some(text.to_owned());
        check(Filter::default(), &["d", "c", "b", "a"]).await;
        check(Filter { kind: text("train"), ..Filter::default() }, &["d"]).await;
        check(Filter { pipeline: text("p"), ..Filter::default() }, &["c", "b", "a"]).await;
        check(Filter { state: text("failed"), ..Filter::default() }, &[]).await;
        check(Filter { after: Some((2, "c".into())), ..Filter::default() }, &["b", "a"]).await;
    }
}
