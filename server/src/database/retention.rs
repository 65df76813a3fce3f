//! Forgets what is older than it should be remembered.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tsdb::Timestamp;

use super::{Database, DatabaseError};
use crate::config::service::Retention;

/// How many rows one statement deletes: others want to write too.
const BATCH: u64 = 1000;

/// How long others may write before the next batch.
const PAUSE: Duration = Duration::from_millis(50);

/// How long processes and leases are remembered that are no more.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A recipe that no incident was made with.
const UNUSED_RECIPE: &str =
    "created_ms < $1 AND NOT EXISTS (SELECT 1 FROM incidents WHERE incidents.recipe = recipes.hash)";

/// What is forgotten of one table.
struct Rule {
    table: &'static str,
    key: &'static str,
    /// `$1` is the time before which it is old.
    is_old: &'static str,
    keep: Duration,
}

fn rules(retention: &Retention) -> [Rule; 12] {
    let rule = |table, key, is_old, keep| Rule { table, key, is_old, keep };
    [
        rule("runs", "id", "started_ms < $1", retention.runs),
        rule("predictions", "run", "made_ms < $1", retention.runs),
        rule("jobs", "id", "ended_ms < $1", retention.jobs),
        rule("incidents", "id", "end_ms < $1", retention.incidents),
        rule("episodes", "id", "end_ms < $1", retention.incidents),
        rule("recipes", "hash", UNUSED_RECIPE, retention.incidents),
        rule("drifts", "id", "at_ms < $1", retention.incidents),
        rule("drift_states", "pipeline", "changed_ms < $1", retention.incidents),
        rule("audit_log", "id", "at_ms < $1", retention.audit_log),
        rule("models", "id", "created_ms < $1 AND state <> 'current'", retention.models),
        rule("leases", "name", "until_ms < $1", DAY),
        rule("instances", "id", "seen_ms < $1", DAY),
    ]
}

/// Deletes what is older at `now` than `retention` says, a little at a time, and answers how many rows of which table.
///
/// # Errors
/// The database can't be written; what was deleted before stays so.
pub async fn prune(
    database: &Database,
    retention: &Retention,
    now: Timestamp,
) -> Result<Vec<(&'static str, u64)>, DatabaseError> {
    let mut pruned = vec![];
    for rule in rules(retention) {
        let deleted = apply(database, &rule, now - rule.keep).await?;
        if deleted > 0 {
            pruned.push((rule.table, deleted));
        }
    }
    Ok(pruned)
}

async fn apply(database: &Database, rule: &Rule, before: Timestamp) -> Result<u64, DatabaseError> {
    let Rule { table, key, is_old, .. } = rule;
    let statement =
        format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {is_old} LIMIT {BATCH})");
    let mut deleted = 0;
    loop {
        let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(before.millis());
        let batch = query.execute(&database.pool).await?.rows_affected();
        deleted += batch;
        if batch < BATCH {
            return Ok(deleted);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing;

    #[tokio::test]
    async fn what_is_old_goes_and_what_is_in_use_stays() {
        let database = testing::database().await;
        let run = |id: usize, at: i64| {
            format!(
                "INSERT INTO runs (id, pipeline, stage, tick_ms, started_ms, took_ms, outcome, series, scored, \
                 anomalous, written, rejected, instance) VALUES ('{id}', 'p', 'anomaly', 0, {at}, 0, 'success', 0, 0, \
                 0, 0, 0, 'i')"
            )
        };
        let model = |id: usize, state: &str| {
            format!(
                "INSERT INTO models (id, pipeline, version, state, reason, model, source, hash, parameters, base, \
                 evaluation, created_ms, created_by) VALUES ('{id}', 'p', {id}, '{state}', '', '', '', '', '', '', '', 0, \
                 '')"
            )
        };
        let mut statements: Vec<String> = (0..2500).map(|id| run(id, 0)).collect();
        statements.extend([run(9000, 1_000_000), model(1, "current"), model(2, "candidate")]);
        let mut transaction = database.begin().await.unwrap();
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let second = Duration::from_secs(1);
        let retention = Retention { runs: second, models: second, ..Retention::default() };
        let now = Timestamp::from_millis(1_000_500);
        assert_eq!(prune(&database, &retention, now).await.unwrap(), [("runs", 2500), ("models", 1)]);
        assert_eq!(prune(&database, &retention, now).await.unwrap(), []);
    }
}
