//! Which of the processes on one database does what, and which processes there are. All times are the database's, so
//! that it doesn't matter whose clock is right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{AssertSqlSafe, FromRow};

use super::select::placeholders;
use super::{Database, DatabaseError};

/// How many names one statement claims at most.
const CHUNK: usize = 5000;

/// What the leases of pipelines begin with.
const PIPELINE: &str = "pipeline/";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// The host that it runs on.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// When it began.
    pub started_ms: i64,
    /// When it was last heard of.
    pub seen_ms: i64,
}

/// What is going on among the processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The ids of the processes that live.
    pub instances: BTreeSet<String>,
    /// Who holds which pipeline.
    pub holders: BTreeMap<String, String>,
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Says that the process `id` lives.
///
/// # Errors
/// The database can't be written.
pub async fn beat(database: &Database, id: &str, host: &str) -> Result<(), DatabaseError> {
    let now = database.clock();
    let statement = format!(
        "INSERT INTO instances (id, host, version, started_ms, seen_ms) VALUES ($1, $2, $3, {now}, {now}) \
         ON CONFLICT (id) DO UPDATE SET seen_ms = {now}"
    );
    let query = sqlx::query(AssertSqlSafe(statement)).bind(id).bind(host).bind(env!("CARGO_PKG_VERSION"));
    query.execute(&database.pool).await?;
    Ok(())
}

/// Makes all pipelines of `owner` last for another `time`, those that have lapsed and that nobody else has taken among
/// them.
///
/// # Errors
/// The database can't be written.
pub async fn renew(database: &Database, owner: &str, time: Duration) -> Result<(), DatabaseError> {
    let now = database.clock();
    let statement = format!("UPDATE leases SET until_ms = {now} + $1 WHERE owner = $2 AND name LIKE $3");
    let query = sqlx::query(AssertSqlSafe(statement)).bind(millis(time)).bind(owner).bind(format!("{PIPELINE}%"));
    query.execute(&database.pool).await?;
    Ok(())
}

/// Which processes were heard of within `time`, and which pipelines are held.
///
/// # Errors
/// The database can't be read.
pub async fn view(database: &Database, time: Duration) -> Result<View, DatabaseError> {
    let now = database.clock();
    let query = format!("SELECT id FROM instances WHERE seen_ms > {now} - $1");
    let instances: Vec<(String,)> =
        sqlx::query_as(AssertSqlSafe(query)).bind(millis(time)).fetch_all(&database.pool).await?;
    let query = format!("SELECT name, owner FROM leases WHERE until_ms > {now} AND name LIKE $1");
    let held: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(query)).bind(format!("{PIPELINE}%")).fetch_all(&database.pool).await?;
    let pipeline = |(name, owner): (String, String)| Some((name.strip_prefix(PIPELINE)?.to_owned(), owner));
    Ok(View {
        instances: instances.into_iter().map(|(id,)| id).collect(),
        holders: held.into_iter().filter_map(pipeline).collect(),
    })
}

/// Claims `pipelines` for `owner` and for `time`, and answers those that were free.
///
/// # Errors
/// The database can't be written.
pub async fn claim(
    database: &Database,
    pipelines: &BTreeSet<String>,
    owner: &str,
    time: Duration,
) -> Result<BTreeSet<String>, DatabaseError> {
    let names: Vec<String> = pipelines.iter().map(|name| format!("{PIPELINE}{name}")).collect();
    let mut claimed = BTreeSet::new();
    for chunk in names.chunks(CHUNK) {
        let got = claim_names(database, chunk, owner, time).await?;
        claimed.extend(got.iter().filter_map(|name| name.strip_prefix(PIPELINE)).map(str::to_owned));
    }
    Ok(claimed)
}

/// Claims the task `name` that one process at a time does, for `time`; says whether it was free.
///
/// # Errors
/// The database can't be written.
pub async fn claim_task(database: &Database, name: &str, owner: &str, time: Duration) -> Result<bool, DatabaseError> {
    Ok(!claim_names(database, &[format!("task/{name}")], owner, time).await?.is_empty())
}

/// In one statement, and always in the order of the names, so that two processes can't wait for each other.
async fn claim_names(
    database: &Database,
    names: &[String],
    owner: &str,
    time: Duration,
) -> Result<Vec<String>, DatabaseError> {
    let clock = database.clock();
    let mut transaction = database.begin().await?;
    let query = sqlx::query_as(AssertSqlSafe(format!("SELECT {clock}")));
    let (now,): (i64,) = query.fetch_one(&mut *transaction).await?;
    let statement = format!(
        "INSERT INTO leases (name, owner, until_ms) VALUES {} ON CONFLICT (name) DO UPDATE \
         SET owner = excluded.owner, until_ms = excluded.until_ms WHERE leases.until_ms <= {clock} RETURNING name",
        placeholders(names.len(), 3)
    );
    let query = names.iter().fold(sqlx::query_as(AssertSqlSafe(statement)), |query, name| {
        query.bind(name).bind(owner).bind(now.saturating_add(millis(time)))
    });
    let claimed: Vec<(String,)> = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(claimed.into_iter().map(|(name,)| name).collect())
}

/// Gives up `pipelines` of `owner`.
///
/// # Errors
/// The database can't be written.
pub async fn release(database: &Database, pipelines: &BTreeSet<String>, owner: &str) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    for name in pipelines {
        let query = sqlx::query("DELETE FROM leases WHERE owner = $1 AND name = $2").bind(owner);
        query.bind(format!("{PIPELINE}{name}")).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Takes the process `id` and all that it holds out.
///
/// # Errors
/// The database can't be written.
pub async fn leave(database: &Database, id: &str) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    sqlx::query("DELETE FROM leases WHERE owner = $1").bind(id).execute(&mut *transaction).await?;
    sqlx::query("DELETE FROM instances WHERE id = $1").bind(id).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Forgets all processes and what they hold. For one that knows that there is no other.
///
/// # Errors
/// The database can't be written.
pub async fn forget_all(database: &Database) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    sqlx::query("DELETE FROM leases WHERE name LIKE $1")
        .bind(format!("{PIPELINE}%"))
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM instances").execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// The processes that were heard of within `time`, in the order in which they began.
///
/// # Errors
/// The database can't be read.
pub async fn instances(database: &Database, time: Duration) -> Result<Vec<Instance>, DatabaseError> {
    let now = database.clock();
    let query = format!("SELECT * FROM instances WHERE seen_ms > {now} - $1 ORDER BY started_ms, id");
    Ok(sqlx::query_as(AssertSqlSafe(query)).bind(millis(time)).fetch_all(&database.pool).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing;

    const LONG: Duration = Duration::from_secs(60);

    fn names(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_lease_is_held_by_one_until_it_lapses_or_is_given_up() {
        let database = testing::database().await;
        let claim = async |wanted: &[&str], owner, time| claim(&database, &names(wanted), owner, time).await.unwrap();
        assert_eq!(claim(&["a", "b"], "one", LONG).await, names(&["a", "b"]));
        assert_eq!(claim(&["a", "b", "c"], "two", Duration::ZERO).await, names(&["c"]));
        assert_eq!(claim(&["a", "c"], "one", LONG).await, names(&["c"]), "what has lapsed is free");
        release(&database, &names(&["a"]), "two").await.unwrap();
        assert_eq!(claim(&["a"], "two", LONG).await, names(&[]), "only its owner gives it up");
        release(&database, &names(&["a"]), "one").await.unwrap();
        assert_eq!(claim(&["a"], "two", LONG).await, names(&["a"]));
        let holders = view(&database, LONG).await.unwrap().holders;
        let holders: Vec<_> = holders.iter().map(|(name, owner)| (name.as_str(), owner.as_str())).collect();
        assert_eq!(holders, [("a", "two"), ("b", "one"), ("c", "one")]);
        leave(&database, "one").await.unwrap();
        assert_eq!(claim(&["a", "b"], "two", LONG).await, names(&["b"]));
    }

    #[tokio::test]
    async fn renewing_keeps_what_lapsed_and_leaves_tasks_alone() {
        let database = testing::database().await;
        assert_eq!(claim(&database, &names(&["a"]), "one", Duration::ZERO).await.unwrap(), names(&["a"]));
        assert!(view(&database, LONG).await.unwrap().holders.is_empty());
        assert!(claim_task(&database, "t", "one", Duration::ZERO).await.unwrap());
        renew(&database, "one", LONG).await.unwrap();
        assert_eq!(view(&database, LONG).await.unwrap().holders.len(), 1);
        assert!(claim_task(&database, "t", "two", LONG).await.unwrap());
        assert!(!claim_task(&database, "t", "one", LONG).await.unwrap());
    }

    #[tokio::test]
    async fn processes_are_known_while_they_are_heard_of() {
        let database = testing::database().await;
        beat(&database, "one", "host").await.unwrap();
        beat(&database, "one", "host").await.unwrap();
        assert_eq!(view(&database, LONG).await.unwrap().instances, names(&["one"]));
        let found = instances(&database, LONG).await.unwrap();
        assert_eq!((found.len(), found[0].host.as_str()), (1, "host"));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(view(&database, Duration::ZERO).await.unwrap().instances.is_empty());
        forget_all(&database).await.unwrap();
        assert!(instances(&database, LONG).await.unwrap().is_empty());
    }
}
