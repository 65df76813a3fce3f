use std::io::Read;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::database::file_url;

async fn database(folder: &TempDir, name: &str) -> Database {
    Database::open(&file_url(&folder.path().join(name))).await.unwrap()
}

const ROWS: [&str; 6] = [
    "INSERT INTO settings (name, value) VALUES ('a', 'one'), ('b', 'two \"lines\"\nand ''quotes'' — \u{1f600}')",
    "INSERT INTO users (name, password_hash, role, created_ms, changed_ms) VALUES ('me', 'h', 'admin', 1, 2)",
    "INSERT INTO api_keys (id, name, hash, role, requests_per_second, created_ms, created_by, expires_ms, used_ms) \
     VALUES ('1', 'k', 'h', 'viewer', 0.1, 9007199254740993, 'me', NULL, NULL), \
            ('2', 'l', 'h', 'viewer', NULL, -1, 'me', 3, 4)",
    "INSERT INTO episodes (id, incident, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, peak_actual, \
     peak_expected, peak_lower, peak_upper, points, weight) \
     VALUES ('1', 'i', 'p', 's', '{}', 1, 2, 3, 5e-324, 0.30000000000000004, -1.7976931348623157e308, 1, 0.0, 2, 3)",
    "INSERT INTO leases (name, owner, until_ms) VALUES ('p', 'nobody', 1)",
    "INSERT INTO instances (id, host, version, started_ms, seen_ms) VALUES ('i', 'h', 'v', 1, 2)",
];

async fn fill(database: &Database) {
    for insert in ROWS {
        sqlx::query(insert).execute(&database.pool).await.unwrap();
    }
    // More rows than go into a statement.
    let mut transaction = database.pool.begin().await.unwrap();
    for row in 0..500 {
        let insert = "INSERT INTO audit_log (id, at_ms, actor, action, subject, detail, address, request_id) \
                      VALUES ($1, 1, 'a', 'b', 'c', 'd', 'e', 'f')";
        sqlx::query(insert).bind(format!("{row:04}")).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

/// An archive of a database with rows, at `folder/backup`.
async fn archive(folder: &TempDir) -> (Summary, std::path::PathBuf) {
    let database = database(folder, "from.db").await;
    fill(&database).await;
    let path = folder.path().join("backup");
    let summary = write(&database, File::create(&path).unwrap(), Timestamp::from_seconds(7)).await.unwrap();
    database.close().await;
    (summary, path)
}

fn lines(path: &Path) -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn pack(path: &Path, lines: &[String]) {
    let mut out = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    out.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    out.finish().unwrap();
}

#[tokio::test]
async fn what_is_put_back_is_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, path) = archive(&folder).await;
    assert_eq!(verify(&path).unwrap(), summary);
    let rows = |name: &str| summary.rows.iter().find(|(table, _)| table == name).map(|(_, rows)| *rows);
    assert_eq!((rows("api_keys"), rows("audit_log"), rows("jobs")), (Some(2), Some(500), Some(0)));
    assert_eq!((rows("leases"), rows("instances"), rows("_sqlx_migrations")), (None, None, None));
    let database = database(&folder, "to.db").await;
    assert_eq!(restore(&database, &path, false).await.unwrap(), summary);
    let again = folder.path().join("again");
    write(&database, File::create(&again).unwrap(), Timestamp::from_seconds(7)).await.unwrap();
    assert_eq!(lines(&again), lines(&path));
}

#[tokio::test]
async fn what_is_there_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, path) = archive(&folder).await;
    let database = database(&folder, "to.db").await;
    sqlx::query("INSERT INTO settings (name, value) VALUES ('mine', 'x')").execute(&database.pool).await.unwrap();
    let error = restore(&database, &path, false).await.unwrap_err().to_string();
    assert!(error.contains("`settings` has rows") && error.contains("--force"), "{error}");
    let names = async || {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM settings ORDER BY name").fetch_all(&database.pool).await.unwrap();
        rows.into_iter().map(|(name,)| name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["mine"]);
    assert_eq!(restore(&database, &path, true).await.unwrap(), summary);
    assert_eq!(names().await, ["a", "b"]);
}

#[tokio::test]
async fn what_is_damaged_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (_, good) = archive(&folder).await;
    let (bytes, text) = (std::fs::read(&good).unwrap(), lines(&good));
    let path = folder.path().join("bad");
    let database = database(&folder, "to.db").await;
    sqlx::query("INSERT INTO settings (name, value) VALUES ('mine', 'x')").execute(&database.pool).await.unwrap();
    let last = text.len() - 1;
    let changed = |line: usize, from: &str, to: &str| {
        let mut text = text.clone();
        assert!(text[line].contains(from), "{}", text[line]);
        text[line] = text[line].replace(from, to);
        text
    };
    let without = |line: usize| text.iter().enumerate().filter(|(at, _)| *at != line).map(|(_, l)| l.clone()).collect();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let as_bytes = [
        ("nothing", vec![], "no backup"),
        ("no gzip", b"SQLite format 3\0".to_vec(), "no backup"),
        ("cut in the middle", bytes[..bytes.len() / 2].to_vec(), "damaged"),
        ("cut at the end", bytes[..bytes.len() - 1].to_vec(), "damaged"),
        ("a flipped bit", flipped, "damaged"),
        ("more at the end", [bytes.clone(), b"more".to_vec()].concat(), "damaged"),
        ("twice", [bytes.clone(), bytes.clone()].concat(), "follows its end"),
    ];
    let at = |needle: &str| text.iter().position(|line| line.contains(needle)).unwrap();
    let as_lines: [(&str, Vec<String>, &str); 9] = [
        ("another format", changed(0, "openanomaly-backup", "other"), "it is `other`"),
        ("a later format", changed(0, "\"format_version\":1", "\"format_version\":2"), "version 2"),
        ("another version", changed(0, "\"migration\":", "\"migration\":99"), "hash"),
        ("a row less", without(at("\"one\"")), "not as many"),
        ("another value", changed(at("\"one\""), "one", "two"), "hash"),
        ("no end", without(last), "too early"),
        ("no JSON", changed(at("\"one\""), "[", "{"), "damaged"),
        ("another hash", changed(last, "\"sha256\":\"", "\"sha256\":\"0"), "hash"),
        ("something after the end", [text.clone(), vec!["[]".into()]].concat(), "follows its end"),
    ];
    let check = async |name: &str, expected: &str| {
        let error = restore(&database, &path, true).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        let rows = sqlx::query("SELECT name FROM settings").fetch_all(&database.pool).await.unwrap();
        assert_eq!(rows.len(), 1, "{name}");
    };
    for (name, bytes, expected) in as_bytes {
        std::fs::write(&path, bytes).unwrap();
        check(name, expected).await;
    }
    for (name, lines, expected) in as_lines {
        pack(&path, &lines);
        check(name, expected).await;
    }
}

/// `lines` with a last line that is right for them.
fn sealed(mut lines: Vec<String>, rows: &str) -> Vec<String> {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest((lines.join("\n") + "\n").as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    lines.push(format!("{{\"rows\":{rows},\"sha256\":\"{hash}\"}}"));
    lines
}

#[tokio::test]
async fn what_does_not_fit_the_database_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad");
    let database = database(&folder, "to.db").await;
    fill(&database).await;
    let header = |migration: i64| {
        format!(
            "{{\"format\":\"openanomaly-backup\",\"format_version\":1,\"version\":\"9.9\",\"migration\":{migration},\
             \"created\":\"1970-01-01T00:00:00Z\"}}"
        )
    };
    let now = header(database::newest_migration());
    let table = |name: &str, columns: &str| format!("{{\"table\":\"{name}\",\"columns\":[{columns}]}}");
    let text = |name: &str| format!("{{\"name\":\"{name}\",\"type\":\"text\"}}");
    let settings = table("settings", &[text("name"), text("value")].join(","));
    let evil = text("name\\\") VALUES ('x'); DROP TABLE users; --");
    for (name, lines, rows, expected) in [
        ("a later migration", vec![header(9999)], "[]", "openanomaly 9.9"),
        ("an unknown table", vec![now.clone(), table("secrets", "")], "[[\"secrets\",0]]", "table `secrets`"),
        ("a hidden table", vec![now.clone(), table("_sqlx_migrations", "")], "[[\"_sqlx_migrations\",0]]", "table"),
        ("an unknown column", vec![now.clone(), table("settings", &text("x"))], "[[\"settings\",0]]", "column `x`"),
        ("no column's name", vec![now.clone(), table("settings", &evil)], "[[\"settings\",0]]", "column"),
        ("too few values", vec![now.clone(), settings.clone(), "[\"a\"]".into()], "[[\"settings\",1]]", "1 values"),
        ("no value", vec![now.clone(), settings.clone(), "[\"a\",null]".into()], "[[\"settings\",1]]", "NULL"),
        ("another type", vec![now.clone(), settings.clone(), "[\"a\",1]".into()], "[[\"settings\",1]]", "NULL"),
        ("no table", vec![now.clone(), "[\"a\"]".into()], "[]", "no table"),
    ] {
        pack(&path, &sealed(lines, rows));
        let error = restore(&database, &path, true).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        let rows = sqlx::query("SELECT name FROM settings").fetch_all(&database.pool).await.unwrap();
        assert_eq!(rows.len(), 2, "{name}");
    }
}
