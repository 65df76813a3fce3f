//! The service on real databases: pipelines that change in MongoDB, migrations that are cut off, and pipelines copied
//! between all places.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use serde_json::Value;
use sqlx::{Connection, PgConnection, SqliteConnection};
use tests::{MongoDb, Postgres, Prometheus, Scene, Service, Setup, Topology, eventually, load};

/// A datasource that no test below asks for anything.
const NOWHERE: &str = "datasources: {default: {url: 'http://127.0.0.1:9'}}\n";

fn is_ok(health: &Value, name: &str) -> bool {
    let pipeline = &health["pipelines"][name];
    pipeline["last_success"].is_string() && pipeline["errors"].as_object().is_some_and(|errors| errors.is_empty())
}

/// Waits until the pipeline `name` has succeeded once more.
async fn goes_on(service: &Service, name: &str) {
    let before = service.health().await["pipelines"][name]["last_success"].clone();
    eventually(&format!("{name} going on"), async || {
        let health = service.health().await;
        (is_ok(&health, name) && health["pipelines"][name]["last_success"] != before).then_some(())
    })
    .await;
}

/// Waits until the service says `part` of a fault, or that there is none.
async fn says(service: &Service, part: Option<&str>) {
    eventually(&format!("{part:?} in /health"), async || {
        let health = service.health().await;
        let errors = health["config_errors"].as_array()?.clone();
        let says = |part: &str| errors.iter().any(|error| error.as_str().is_some_and(|text| text.contains(part)));
        part.map_or(errors.is_empty(), says).then_some(())
    })
    .await;
}

/// How often the pipeline `name` was started.
fn starts(service: &Service, name: &str) -> usize {
    let is_start = |line: &&str| line.contains("a pipeline runs") && line.contains(&format!("pipeline=\"{name}\""));
    service.log().lines().filter(is_start).count()
}

/// Waits until the pipeline `name` was started `times` times, and tells people how long that took.
#[allow(clippy::print_stderr, reason = "how long it took is for people to read")]
async fn started(service: &Service, name: &str, times: usize) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if starts(service, name) == times {
            eprintln!("{name} ran in its new form after {:?}", begun.elapsed());
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{name} was started {} times, not {times}: {}", starts(service, name), service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_change_in_mongodb_run_in_their_new_form() {
    changes_in_mongodb(Topology::ReplicaSet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_change_in_a_mongodb_that_tells_nothing_do_too() {
    changes_in_mongodb(Topology::Standalone).await;
}

async fn changes_in_mongodb(topology: Topology) {
    let server = Prometheus::start(&Setup::default()).await;
    load(&server.connection(), &Scene::now(90).frame).await;
    let mut mongodb = MongoDb::start(topology).await;
    let collection = mongodb.collection("live", "pipelines").await;
    mongodb.stop();
    let config = format!(
        "datasources: {{default: {{url: '{}'}}}}\nstore: mongodb\nmongodb: {{url: '{}', database: live}}\n",
        server.url(),
        mongodb.url()
    );
    let pipeline = |name: &str| {
        doc! {
            "name": name, "query": "requests", "step": "2s", "context_window": "2m", "prediction_horizon": "1m",
            "forecast_schedule": "10s", "anomaly_schedule": "2s", "model": {"id": "mad"},
            "output": {"write_forecast": false},
        }
    };
    let log = [("OPENANOMALY_LOG_LEVEL", "info,server=debug")];
    let file = [("file.yaml", pipeline("file").to_string())];
    let mut service = Service::configured(&config, &log, &file.each_ref().map(|(name, text)| (*name, text.as_str())));
    // It starts without the server, says so, and runs what it has.
    says(&service, Some("no server answers")).await;
    goes_on(&service, "file").await;
    mongodb.start_again().await;
    says(&service, None).await;
    collection.insert_one(pipeline("a")).await.unwrap();
    started(&service, "a", 1).await;
    goes_on(&service, "a").await;
    collection.update_one(doc! {"name": "a"}, doc! {"$set": {"model": {"id": "zscore"}}}).await.unwrap();
    started(&service, "a", 2).await;
    goes_on(&service, "a").await;
    // What is wrong is named, and its last good version goes on.
    collection.update_one(doc! {"name": "a"}, doc! {"$set": {"model": {"id": "zscroe"}}}).await.unwrap();
    says(&service, Some("zscroe")).await;
    goes_on(&service, "a").await;
    // So does everything while the server is gone.
    mongodb.stop();
    says(&service, Some("live.pipelines: ")).await;
    goes_on(&service, "a").await;
    goes_on(&service, "file").await;
    mongodb.start_again().await;
    collection.update_one(doc! {"name": "a"}, doc! {"$set": {"model": {"id": "mad"}}}).await.unwrap();
    says(&service, None).await;
    started(&service, "a", 3).await;
    collection.delete_one(doc! {"name": "a"}).await.unwrap();
    eventually("a's end", async || service.health().await["pipelines"]["a"].is_null().then_some(())).await;
    goes_on(&service, "file").await;
    assert_eq!((starts(&service, "file"), starts(&service, "a")), (1, 3));
    assert!(service.stop() && !service.log().contains("panicked"));
}

async fn is_up(service: &mut Service) {
    eventually("a service that is up", async || {
        assert_eq!(service.ended(), None, "{}", service.log());
        (service.health().await["status"] == "ok").then_some(())
    })
    .await;
}

/// The migrations that were begun, and those that were finished.
const MIGRATIONS: &str = "SELECT COUNT(*), COUNT(CASE WHEN success THEN 1 END) FROM _sqlx_migrations";

fn all_migrations() -> i64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/migrations");
    i64::try_from(std::fs::read_dir(folder).unwrap().count()).unwrap()
}

/// Starts the service and kills it at several times in its first moments, and lets it start in the end.
async fn is_killed_and_starts(config: &str, round: u64) -> Service {
    let mut service = Service::configured(config, &[], &[]);
    for again in 0..3 {
        // All over the first 300 ms, and never twice the same.
        tokio::time::sleep(Duration::from_millis((round * 61 + again * 97) % 300)).await;
        service.kill();
        service.start_again();
    }
    is_up(&mut service).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_a_sound_file() {
    for round in 0..8 {
        let mut service = is_killed_and_starts(NOWHERE, round).await;
        let file = service.folder().join("openanomaly.db");
        let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        let migrations: (i64, i64) = sqlx::query_as(MIGRATIONS).fetch_one(&mut connection).await.unwrap();
        assert_eq!((sound.as_str(), migrations), ("ok", (all_migrations(), all_migrations())));
        assert!(service.stop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_a_sound_server() {
    let server = Postgres::start().await;
    for round in 0..8 {
        let url = server.database(&format!("round_{round}")).await;
        let mut service = is_killed_and_starts(&format!("{NOWHERE}database: {{url: '{url}'}}\n"), round).await;
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let migrations: (i64, i64) = sqlx::query_as(MIGRATIONS).fetch_one(&mut connection).await.unwrap();
        assert_eq!(migrations, (all_migrations(), all_migrations()));
        assert!(service.stop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_may_start_at_once_on_one_database() {
    let server = Postgres::start().await;
    for round in 0..3 {
        let url = server.database(&format!("round_{round}")).await;
        let config = format!("{NOWHERE}database: {{url: '{url}'}}\n");
        let mut services: Vec<_> = (0..3).map(|_| Service::configured(&config, &[], &[])).collect();
        for service in &mut services {
            is_up(service).await;
        }
        for service in &mut services {
            assert!(service.stop() && !service.log().contains("ERROR"), "{}", service.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let server = Postgres::start().await;
    let url = server.database("newer").await;
    let mut service = Service::configured(&format!("{NOWHERE}database: {{url: '{url}'}}\n"), &[], &[]);
    is_up(&mut service).await;
    assert!(service.stop());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', TRUE, ''::bytea, 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    service.start_again();
    let is_good = eventually("the end of the service", async || service.ended()).await;
    let log = service.log();
    assert!(!is_good && log.contains("has the migration 9999") && log.contains("use a newer one"), "{log}");
}

/// Runs `openanomaly store copy`.
fn copy(from: &str, to: &str, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(tests::binary());
    command.args(["store", "copy", "--from", from, "--to", to]).args(flags).env("SUITE_METRIC", "node_load1");
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_copied_between_all_places() {
    let (postgres, mongodb) = (Postgres::start().await, MongoDb::start(Topology::Standalone).await);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("first")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(at("first").join(name), text).unwrap();
    write(
        "a.yaml",
        "name: a\nquery: ${SUITE_METRIC}\ndescription: 'not $${SUITE_METRIC}, \"ü☃\"'\n---\nname: b\nquery: up\n",
    );
    write("c.json", r#"{"name": "c", "query": "rate(x[5m])", "step": "30s", "anomaly": {"threshold": 3.0}}"#);
    write("wrong.yaml", "name: wrong\nquery: up\nstep: soon\nmodle: x\n");
    write("broken.yaml", "name: [broken\n");
    let places = [
        format!("yaml:{}", at("first").display()),
        format!("sqlite:{}", at("copy.db").display()),
        postgres.database("copy").await,
        mongodb.url() + "/copy",
        format!("yaml:{}", at("last").display()),
    ];
    let check = |from: &str, to: &str, flags: &[&str], code: i32, parts: &[&str]| {
        let (status, output) = copy(from, to, flags);
        let is_right = status == Some(code) && parts.iter().all(|part| output.contains(part));
        assert!(is_right, "{from} to {to} {flags:?}: {status:?}, not {code} and {parts:?}\n{output}");
    };
    for pair in places.windows(2) {
        let (from, to) = (pair[0].as_str(), pair[1].as_str());
        let is_first = from == places[0];
        let code = i32::from(is_first);
        check(from, to, &["--dry-run"], code, &["copied    a\n", "3 copied", "(dry run: nothing was written)"]);
        check(from, to, &["--dry-run"], code, &["3 copied"]);
        check(from, to, &[], code, &["copied    a\n", "copied    b\n", "copied    c\n", "3 copied"]);
        check(from, to, &[], code, &["3 unchanged"]);
        if is_first {
            check(
                from,
                to,
                &[],
                1,
                &["wrong     wrong: ", "wrong.yaml:3:7", "wrong.yaml:4:1", "broken.yaml", "2 wrong"],
            );
        }
    }
    // Around once and nothing is lost, but for what was wrong.
    check(&places[4], &places[1], &[], 0, &["3 unchanged"]);
    let text = std::fs::read_to_string(at("last").join("a.yaml")).unwrap();
    assert!(text.contains("node_load1") && text.contains("$${SUITE_METRIC}"), "{text}");
    // What differs is not touched unknowingly, wherever it is.
    write("a.yaml", "name: a\nquery: up\n");
    for (to, count) in places[1..].iter().zip(1..) {
        let there = "refused   a: another one is in ";
        check(&places[0], to, &[], 1, &[there, "--overwrite replaces it", "1 refused"]);
        check(&places[0], to, &["--overwrite", "--dry-run"], 1, &["replaced  a\n"]);
        check(&places[0], to, &["--overwrite"], 1, &["replaced  a\n", "1 replaced, 1 unchanged, 2 wrong"]);
        check(&places[0], to, &[], 1, &["2 unchanged"]);
        assert!(count < 5);
    }
    // A file with others in it is left alone.
    check(&places[2], &places[0], &["--overwrite"], 0, &["copied    b\n", "2 unchanged"]);
    write("c.json", "name: c\nquery: up\n---\nname: d\nquery: up\n");
    check(&places[2], &places[0], &["--overwrite"], 1, &["refused   c: ", "holds other pipelines too"]);
    // A name that is taken by what can't be read.
    write("b.yaml", "name: [b\n");
    check(&places[2], &places[0], &["--overwrite"], 1, &["refused   b: ", "b.yaml is there already"]);
}

#[test]
fn places_that_are_none_or_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(at("empty")).unwrap();
    let (empty, none) = (format!("yaml:{}", at("empty")), format!("sqlite:{}", at("none.db")));
    let check = |from: &str, to: &str, code: i32, part: &str| {
        let (status, output) = copy(from, to, &[]);
        assert!(status == Some(code) && output.contains(part), "{from} to {to}: {status:?} {output}");
    };
    check("mysql://x", &empty, 2, "expected yaml:DIR");
    check(&none, &empty, 1, "there is nothing that holds pipelines");
    check(&format!("yaml:{}", at("nowhere")), &empty, 1, "there is nothing that holds pipelines");
    check(&empty, "mongodb://me:secret@127.0.0.1:9/x", 1, "no server answers");
    check(&empty, "postgres://me:secret@127.0.0.1:9/x", 1, "postgres://me:…@127.0.0.1:9/x");
    assert!(!Path::new(&at("none.db")).exists(), "a source is not made");
    check(&empty, &none, 0, "nothing to copy");
}
