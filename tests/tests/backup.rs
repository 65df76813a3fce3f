//! Copies of the database that are made while somebody writes, from SQLite into PostgreSQL and back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use server::backup::{self, Summary};
use server::database::{Database, file_url};
use sqlx::AnyPool;
use tests::{Postgres, Service, now, openanomaly};
use tsdb::prometheus::Connection;
use tsdb::prometheus::client::{Client, Direction};

/// Writes pairs of rows, each pair at once, until `stop`; answers how many.
async fn write(pool: AnyPool, stop: Arc<AtomicBool>) -> u64 {
    let mut pairs = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{pairs:09}");
        let mut transaction = pool.begin_with("BEGIN").await.unwrap();
        let run = "INSERT INTO runs (id, pipeline, stage, tick_ms, started_ms, took_ms, outcome, series, scored, \
                   anomalous, written, rejected, instance) VALUES ($1, 'p', 's', 1, 2, 3, 'success', 4, 5, 6, 7, 8, 'i')";
        sqlx::query(run).bind(&id).execute(&mut *transaction).await.unwrap();
        let prediction = "INSERT INTO predictions (run, pipeline, model, origin_ms, step_ms, horizon, series, made_ms) \
                          VALUES ($1, 'p', 'm', 1, 2, 3, 4, 5)";
        sqlx::query(prediction).bind(&id).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        pairs += 1;
    }
    pairs
}

async fn pool(url: &str) -> AnyPool {
    sqlx::any::install_default_drivers();
    AnyPool::connect(url).await.unwrap()
}

fn rows(summary: &Summary, table: &str) -> u64 {
    summary.rows.iter().find(|(name, _)| name == table).unwrap().1
}

/// Copies `database` five times while somebody writes into it: in each copy, what was written at once is there at
/// once.
async fn copies_fit_together(url: &str, database: &Database, folder: &Path) {
    let (pool, stop) = (pool(url).await, Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn(write(pool, stop.clone()));
    let mut before = 0;
    for copy in 0..5 {
        let path = folder.join(format!("busy-{copy}"));
        let summary = tests::eventually("more rows", async || {
            let summary = backup::write(database, File::create(&path).unwrap(), now()).await.unwrap();
            (rows(&summary, "runs") > before).then_some(summary)
        })
        .await;
        assert_eq!(rows(&summary, "runs"), rows(&summary, "predictions"));
        assert_eq!(backup::verify(&path).unwrap(), summary);
        before = rows(&summary, "runs");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() >= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgresql_take_each_others_copies() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start().await;
    let sqlite = file_url(&folder.path().join("state.db"));
    let from = Database::open(&sqlite).await.unwrap();
    copies_fit_together(&sqlite, &from, folder.path()).await;
    let value = "INSERT INTO settings (name, value) VALUES ('a', 'two\nlines and ''quotes'' — \u{1f600}')";
    sqlx::query(value).execute(&pool(&sqlite).await).await.unwrap();
    let episode = "INSERT INTO episodes (id, incident, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, \
                   peak_actual, peak_expected, peak_lower, peak_upper, points, weight) \
                   VALUES ('1', 'i', 'p', 's', '{}', 1, 2, 3, 2.2250738585072014e-308, 0.30000000000000004, \
                   -1.7976931348623157e308, 1, 0.1, 2, 3.5)";
    sqlx::query(episode).execute(&pool(&sqlite).await).await.unwrap();
    let first = folder.path().join("first");
    let summary = backup::write(&from, File::create(&first).unwrap(), now()).await.unwrap();
    // Into PostgreSQL,
    let url = postgres.database("copy").await;
    let middle = Database::open(&url).await.unwrap();
    assert_eq!(backup::restore(&middle, &first, false).await.unwrap(), summary);
    let busy = postgres.database("busy").await;
    copies_fit_together(&busy, &Database::open(&busy).await.unwrap(), folder.path()).await;
    let second = folder.path().join("second");
    let there = backup::write(&middle, File::create(&second).unwrap(), now()).await.unwrap();
    assert_eq!(there.rows, summary.rows);
    // and back, where there is something already.
    let error = backup::restore(&from, &second, false).await.unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
    backup::restore(&from, &second, true).await.unwrap();
    assert_eq!(dump(&pool(&sqlite).await).await, dump(&pool(&url).await).await);
}

/// What must not change on the way, to the last bit.
async fn dump(pool: &AnyPool) -> (Vec<(String, String)>, Vec<(f64, f64, f64)>, Vec<(String, i64)>) {
    let settings = sqlx::query_as("SELECT name, value FROM settings").fetch_all(pool).await.unwrap();
    let reals = "SELECT peak_score, peak_actual, peak_expected FROM episodes";
    let reals = sqlx::query_as(reals).fetch_all(pool).await.unwrap();
    let runs = sqlx::query_as("SELECT id, rejected FROM runs ORDER BY id").fetch_all(pool).await.unwrap();
    (settings, reals, runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_copies_a_service_that_runs_and_restores_it_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start("http://127.0.0.1:9", &[]);
    tests::eventually("the service", async || service.health().await["status"].is_string().then_some(())).await;
    let config = service.config();
    let config = config.to_str().unwrap();
    let run = |arguments: &[&str]| openanomaly().args(arguments).current_dir(folder.path()).output().unwrap();
    let made = run(&["backup", "--config", config, "--output", "copy.jsonl.gz"]);
    assert!(made.status.success(), "{made:?}");
    let mode = folder.path().join("copy.jsonl.gz").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds hashes of passwords");
    let again = run(&["backup", "--config", config, "--output", "copy.jsonl.gz"]);
    assert!(!again.status.success(), "a copy is never replaced");
    let verified = run(&["backup", "verify", "copy.jsonl.gz"]);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("audit_log"), "{verified:?}");
    // By the API it is the same.
    let client = Client::new(&Connection::new(format!("http://{}", service.address()))).unwrap();
    let request = client.request("POST".parse().unwrap(), Direction::Write, "/api/v1/backup");
    let bytes = request.send().await.unwrap().bytes().await.unwrap();
    std::fs::write(folder.path().join("by-api"), bytes).unwrap();
    assert!(backup::verify(&folder.path().join("by-api")).is_ok());
    std::fs::write(folder.path().join("other.yaml"), "datasources: {default: {url: 'http://127.0.0.1:9'}}\n").unwrap();
    let missing = run(&["backup", "--config", "other.yaml", "--output", "none"]);
    assert!(!missing.status.success() && !folder.path().join("none").exists(), "{missing:?}");
    assert!(!folder.path().join("openanomaly.db").exists(), "looking makes no database");
    let restored = run(&["restore", "--config", "other.yaml", "copy.jsonl.gz"]);
    assert!(restored.status.success() && folder.path().join("openanomaly.db").exists(), "{restored:?}");
    std::fs::write(folder.path().join("cut"), &std::fs::read(folder.path().join("copy.jsonl.gz")).unwrap()[..99])
        .unwrap();
    let cut = run(&["backup", "verify", "cut"]);
    assert!(!cut.status.success() && String::from_utf8_lossy(&cut.stderr).contains("damaged"), "{cut:?}");
}
