//! One suite over every store of pipelines: SQLite, PostgreSQL, MongoDB, the folder beside a database; and what the
//! folder does, which is only read.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Version};
use mongodb::bson::{self, doc};
use serde_json::{Value, json};
use server::config::service::Mongodb as Settings;
use server::database::{Database, file_url};
use server::store::folder::Folder;
use server::store::layered::Layered;
use server::store::mongodb::Mongodb;
use server::store::sql::Sql;
use tests::{MongoDb, Postgres, Topology, eventually};
use tokio::time::timeout;

type Store = Arc<dyn PipelineStore>;

fn object(value: Value) -> Document {
    value.as_object().unwrap().clone()
}

fn pipeline(name: &str, query: &str) -> Document {
    object(json!({"name": name, "query": query}))
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.pipelines.iter().map(|stored| stored.name.as_str()).collect()
}

/// The suite. Both handles are of the same place, which is empty.
async fn check(one: Store, other: Store) {
    keeps_what_it_is_given(&one, &other).await;
    changes_are_not_lost(&one, &other).await;
    refuses_what_is_not_as_expected(&one, &other).await;
    refuses_what_is_wrong(&one).await;
    takes_many_and_much(&one, &other).await;
    one_of_many_wins(&one, &other).await;
    tells_of_changes(&one, &other).await;
    assert_eq!(one.list().await.unwrap(), Listing::default());
}

async fn keeps_what_it_is_given(one: &Store, other: &Store) {
    assert_eq!(one.list().await.unwrap(), Listing::default());
    assert_eq!(one.get("a").await.unwrap(), None);
    let first = pipeline("a", "up");
    let put = one.put(first.clone(), &Expected::Anything).await.unwrap();
    assert_eq!((put.name.as_str(), &put.document, put.is_read_only), ("a", &first, false));
    assert_eq!(put.version, Version::of(&first));
    assert_eq!(put.checked.as_ref().unwrap().query, "up");
    for store in [one, other] {
        assert_eq!(store.get("a").await.unwrap().unwrap(), put);
        assert_eq!(store.list().await.unwrap(), Listing { pipelines: vec![put.clone()], unreadable: vec![] });
    }
    let second = pipeline("a", "down");
    let put = other.put(second.clone(), &Expected::Anything).await.unwrap();
    assert_eq!(one.get("a").await.unwrap().unwrap(), put);
    assert_eq!(one.list().await.unwrap().pipelines, [put]);
    one.delete("a", &Expected::Anything).await.unwrap();
    assert_eq!(other.get("a").await.unwrap(), None);
    assert_eq!(other.delete("a", &Expected::Anything).await, Err(StoreError::Missing { name: "a".into() }));
}

/// What is read right after a write, by whomever, is what was written.
async fn changes_are_not_lost(one: &Store, other: &Store) {
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (one, other) } else { (other, one) };
        let put = writer.put(pipeline("a", &format!("up > {round}")), &Expected::Anything).await.unwrap();
        assert_eq!(reader.get("a").await.unwrap().unwrap().version, put.version);
    }
    one.delete("a", &Expected::Anything).await.unwrap();
}

async fn refuses_what_is_not_as_expected(one: &Store, other: &Store) {
    let conflict = |outcome: Result<_, StoreError>, part: &str| {
        let error = outcome.map(drop).unwrap_err();
        assert!(
            matches!(&error, StoreError::Conflict { name, reason } if name == "a" && reason.contains(part)),
            "{error}"
        );
        assert!(!error.is_retryable());
    };
    let none = Expected::Version(Version::named("none"));
    let missing = Err(StoreError::Missing { name: "a".into() });
    assert_eq!(one.put(pipeline("a", "up"), &none).await.map(drop), missing);
    assert_eq!(one.delete("a", &none).await, missing);
    let first = one.put(pipeline("a", "up"), &Expected::Absent).await.unwrap();
    conflict(other.put(pipeline("a", "up"), &Expected::Absent).await, "is there already");
    conflict(other.put(pipeline("a", "down"), &none).await, "was changed");
    let second = other.put(pipeline("a", "down"), &Expected::Version(first.version.clone())).await.unwrap();
    let stale = Expected::Version(first.version);
    conflict(one.put(pipeline("a", "rate"), &stale).await, "was changed");
    let error = one.delete("a", &stale).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    let error = one.delete("a", &Expected::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(one.get("a").await.unwrap().unwrap().document, pipeline("a", "down"));
    // The same again is no change, and its version stays.
    let again = one.put(pipeline("a", "down"), &Expected::Version(second.version.clone())).await.unwrap();
    assert_eq!(again.version, second.version);
    one.delete("a", &Expected::Version(second.version)).await.unwrap();
    assert_eq!(one.list().await.unwrap(), Listing::default());
}

/// Every error is told, and nothing is stored.
async fn refuses_what_is_wrong(store: &Store) {
    let kept = store.put(pipeline("kept", "up"), &Expected::Absent).await.unwrap();
    let wrong = [
        (json!({}), vec!["`name`", "`query`"]),
        (json!({"name": "kept"}), vec!["`query`"]),
        (json!({"name": "1 2", "query": "up"}), vec!["`name`"]),
        (json!({"name": "kept", "query": "up", "step": "soon", "modle": 1}), vec!["`step`", "`modle`"]),
        (
            json!({"name": "kept", "query": "up", "anomaly": {"confidence_level": 2}}),
            vec!["`anomaly.confidence_level`"],
        ),
        (json!({"name": 7, "query": ["up"]}), vec!["`name`", "`query`"]),
        (json!({"pipelines": []}), vec!["holds no pipeline"]),
    ];
    for (document, parts) in wrong {
        for expected in [Expected::Anything, Expected::Absent, Expected::Version(kept.version.clone())] {
            let error = store.put(object(document.clone()), &expected).await.unwrap_err();
            let StoreError::Invalid(errors) = &error else { panic!("{document}: {error}") };
            let text = errors.to_string();
            assert!(errors.errors().len() >= parts.len() && parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
    assert_eq!(store.list().await.unwrap().pipelines, std::slice::from_ref(&kept));
    store.delete("kept", &Expected::Version(kept.version)).await.unwrap();
}

async fn takes_many_and_much(one: &Store, other: &Store) {
    let many: Vec<String> = (0..200).map(|i| format!("{}{:03}", ["p_", "P-", "a"][i % 3], i * 7919 % 1000)).collect();
    for name in &many {
        one.put(pipeline(name, "up"), &Expected::Absent).await.unwrap();
    }
    let mut sorted: Vec<&str> = many.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(names(&other.list().await.unwrap()), sorted);
    for name in &many {
        other.delete(name, &Expected::Anything).await.unwrap();
    }
    let much = [
        json!({"name": "a", "query": "up{a=\"ü☃𝄞\u{202e}\\\\ ' \\\" \u{7f}\u{85}\u{9f}\u{ffff}\"}", "description": "日本\n\t\u{1}“„ $$ $a %s \\ ''"}),
        json!({"name": "a", "query": format!("up{{a=~\"{}\"}}", "x|".repeat(200_000)), "max_series": 10_000_000}),
        json!({"name": "a", "query": "up", "model": {"id": "mad", "parameters": {}}, "anomaly": {"threshold": 3.0}}),
        json!({"query": "up", "step": "30s", "anomaly": {"scale": [1, 2.5]}, "enabled": false, "name": "a"}),
    ];
    for document in much.map(object) {
        let put = one.put(document.clone(), &Expected::Anything).await.unwrap();
        let found = other.get("a").await.unwrap().unwrap();
        assert_eq!((&found.document, &found), (&document, &put));
        // Not by the order of keys either, nor by 3 for 3.0.
        assert_eq!(found.version, Version::of(&document));
    }
    one.delete("a", &Expected::Anything).await.unwrap();
}

/// Of those who change the same version at the same time.
async fn one_of_many_wins(one: &Store, other: &Store) {
    let writers = async |round: &str, expected: &Expected| {
        let tasks: Vec<_> = (0..10)
            .map(|i| {
                let (store, expected) = ([one, other][i % 2].clone(), expected.clone());
                let document = pipeline("a", &format!("{round} > {i}"));
                tokio::spawn(async move { store.put(document, &expected).await.map(|stored| stored.version) })
            })
            .collect();
        let mut outcomes = vec![];
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    };
    let mut expected = Expected::Absent;
    for round in ["first", "second", "third", "fourth"] {
        let outcomes = writers(round, &expected).await;
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Conflict { .. }))).count();
        assert_eq!((won.len(), lost), (1, 9), "{outcomes:?}");
        let found = one.get("a").await.unwrap().unwrap();
        assert_eq!(&found.version, won[0]);
        expected = Expected::Version(found.version);
    }
    // Those who expect nothing all have their way, and the last of them stays.
    let outcomes = writers("last", &Expected::Anything).await;
    let versions: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let found = other.get("a").await.unwrap().unwrap();
    assert!(versions.contains(&found.version));
    let deleters: Vec<_> = (0..6)
        .map(|i| {
            let (store, version) = ([one, other][i % 2].clone(), found.version.clone());
            tokio::spawn(async move { store.delete("a", &Expected::Version(version)).await })
        })
        .collect();
    let mut won = 0;
    for deleter in deleters {
        won += usize::from(deleter.await.unwrap().is_ok());
    }
    assert_eq!(won, 1);
}

/// Waits until nothing is left to be told.
async fn quiet(store: &Store) {
    while let Ok(outcome) = timeout(Duration::from_secs(3), store.changed()).await {
        outcome.unwrap();
    }
}

/// Waits for a change, and breaks the wait off again and again, as a service does that waits for other things too.
async fn told(what: &str, store: &Store) {
    let mut patience = Duration::from_millis(10);
    let look = async || {
        patience = (patience * 2).min(Duration::from_secs(4));
        timeout(patience, store.changed()).await.ok()?.ok()
    };
    eventually(what, look).await;
}

async fn tells_of_changes(one: &Store, other: &Store) {
    quiet(other).await;
    assert!(timeout(Duration::from_millis(100), other.changed()).await.is_err(), "nothing has changed");
    let put = one.put(pipeline("a", "up"), &Expected::Absent).await.unwrap();
    timeout(Duration::from_secs(60), other.changed()).await.unwrap().unwrap();
    assert_eq!(names(&other.list().await.unwrap()), ["a"]);
    quiet(other).await;
    one.put(pipeline("a", "down"), &Expected::Version(put.version)).await.unwrap();
    told("a change", other).await;
    quiet(other).await;
    // Away and back between two looks.
    one.delete("a", &Expected::Anything).await.unwrap();
    one.put(pipeline("a", "rate"), &Expected::Absent).await.unwrap();
    told("another pipeline of the same name", other).await;
    quiet(other).await;
    one.delete("a", &Expected::Anything).await.unwrap();
    told("an end", other).await;
}

async fn sql(url: &str) -> Store {
    Arc::new(Sql::new(Database::open(url).await.unwrap()))
}

fn mongo(url: &str) -> Store {
    let settings = Settings { url: Some(url.into()), ..Settings::default() };
    Arc::new(Mongodb::open(&settings).unwrap())
}

fn layered(folder: &Path, written: Store) -> Store {
    Arc::new(Layered::new(Folder::open(folder).unwrap(), written))
}

/// Whatever is asked of a store whose server is gone fails, and may succeed later.
async fn is_unavailable(store: &Store) {
    let (list, get, put, delete, changed) = tokio::join!(
        async { store.list().await.map(drop) },
        async { store.get("a").await.map(drop) },
        async { store.put(pipeline("a", "up"), &Expected::Anything).await.map(drop) },
        store.delete("a", &Expected::Anything),
        store.changed(),
    );
    for outcome in [list, get, put, delete, changed] {
        let error = outcome.unwrap_err();
        assert!(error.is_retryable() && matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = file_url(&folder.path().join("state.db"));
    check(sql(&url).await, sql(&url).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_beside_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let url = file_url(&folder.path().join("state.db"));
    let files = folder.path().join("pipelines");
    let (one, other) = (layered(&files, sql(&url).await), layered(&files, sql(&url).await));
    check(one.clone(), other.clone()).await;
    // The folder comes later, and what is in it counts.
    one.put(pipeline("a", "up"), &Expected::Absent).await.unwrap();
    one.put(pipeline("b", "up"), &Expected::Absent).await.unwrap();
    quiet(&other).await;
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("a.yaml"), "name: a\nquery: down\n").unwrap();
    told("a new folder", &other).await;
    let listing = other.list().await.unwrap();
    assert_eq!(names(&listing), ["a", "b"]);
    assert_eq!((&listing.pipelines[0].document, listing.pipelines[0].is_read_only), (&pipeline("a", "down"), true));
    assert!(listing.unreadable[0].reason.contains("another pipeline has the same name"), "{:?}", listing.unreadable);
    let error = one.put(pipeline("a", "rate"), &Expected::Anything).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    let error = one.delete("a", &Expected::Anything).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    one.delete("b", &Expected::Anything).await.unwrap();
    std::fs::remove_dir_all(&files).unwrap();
    eventually("the stored pipeline", async || {
        let listing = other.list().await.unwrap();
        (!listing.pipelines[0].is_read_only && listing.unreadable.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let mut server = Postgres::start().await;
    let url = server.database("pipelines").await;
    let (one, other) = (sql(&url).await, sql(&url).await);
    check(one.clone(), other.clone()).await;
    one.put(pipeline("a", "up"), &Expected::Absent).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("b.yaml"), "name: b\nquery: up\n").unwrap();
    let beside = layered(files.path(), other.clone());
    server.stop();
    is_unavailable(&one).await;
    // The folder's pipelines are there all the same.
    let listing = beside.list().await.unwrap();
    assert_eq!(names(&listing), ["b"]);
    assert_eq!(listing.unreadable[0].origin, "the database");
    server.start_again().await;
    told("the server's return", &one).await;
    assert_eq!(names(&one.list().await.unwrap()), ["a"]);
    assert_eq!(names(&beside.list().await.unwrap()), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_replica_set() {
    mongodb_suite(Topology::ReplicaSet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_standalone() {
    mongodb_suite(Topology::Standalone).await;
}

async fn mongodb_suite(topology: Topology) {
    let mut server = MongoDb::start(topology).await;
    let url = server.url() + "/suite";
    let (one, other) = (mongo(&url), mongo(&url));
    check(one.clone(), other.clone()).await;
    foreign_documents_load(&server, &one).await;
    server.stop();
    is_unavailable(&one).await;
    let late = mongo(&url);
    is_unavailable(&late).await;
    server.start_again().await;
    for store in [&one, &late] {
        told("the server's return", store).await;
        assert_eq!(names(&store.list().await.unwrap()), ["original"]);
    }
    // It goes on telling after that.
    quiet(&one).await;
    late.put(pipeline("a", "up"), &Expected::Absent).await.unwrap();
    told("a change after the server's return", &one).await;
}

/// What other programs have put there, with what they note beside it, and what is no pipeline.
async fn foreign_documents_load(server: &MongoDb, store: &Store) {
    let collection = server.collection("suite", "pipelines").await;
    let then = bson::DateTime::from_millis(1_700_000_000_000);
    let original = doc! {
        "_id": bson::oid::ObjectId::new(), "name": "original", "query": "sum(rate(http_requests_total[5m]))",
        "step": "1m", "context_window": "6h", "prediction_horizon": "1h", "model": {"type": "local"},
        "anomaly": {"technique": "z_score", "threshold": 3.0}, "created_at": then, "updated_at": then, "_version": 4_i64,
    };
    collection.insert_one(&original).await.unwrap();
    let found = store.get("original").await.unwrap().unwrap();
    assert!(found.checked.is_ok(), "{:?}", found.checked);
    assert!(!found.document.contains_key("_id") && !found.document.contains_key("created_at"));
    // A change keeps what is noted beside it.
    let mut document = found.document.clone();
    document.insert("query".into(), json!("up"));
    let put = store.put(document, &Expected::Version(found.version.clone())).await.unwrap();
    let raw = collection.find_one(doc! {"name": "original"}).await.unwrap().unwrap();
    for kept in ["_id", "name", "created_at"] {
        assert_eq!(raw.get(kept), original.get(kept));
    }
    assert_eq!((raw.get_str("query").unwrap(), raw.get_i64("_version").unwrap()), ("up", 5));
    assert!(raw.get_datetime("updated_at").is_ok_and(|at| *at > then));
    // A field more, by whomever, is another version.
    collection.update_one(doc! {"name": "original"}, doc! {"$set": {"enabled": false}}).await.unwrap();
    let error = store.delete("original", &Expected::Version(put.version)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert!(!store.get("original").await.unwrap().unwrap().checked.unwrap().enabled);
    // The index guards names against every program.
    let twice = collection.insert_one(doc! {"name": "original"}).await.unwrap_err().to_string();
    assert!(twice.contains("11000"), "{twice}");
    collection
        .insert_many([doc! {"_id": 1, "query": "up"}, doc! {"_id": 2, "name": "wrong", "step": "1 parsec"}])
        .await
        .unwrap();
    let listing = store.list().await.unwrap();
    assert_eq!(names(&listing), ["original", "wrong"]);
    let error = listing.pipelines[1].checked.as_ref().unwrap_err().to_string();
    assert!(error.contains("`step`") && error.contains("pipeline wrong"), "{error}");
    assert!(listing.unreadable[0].reason.contains("document 1: has no `name`"), "{:?}", listing.unreadable);
    collection.delete_many(doc! {"_id": {"$in": [1]}}).await.unwrap();
    store.delete("wrong", &Expected::Anything).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folder() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pipelines");
    let store: Store = Arc::new(Folder::open(&path).unwrap());
    assert_eq!(store.list().await.unwrap(), Listing::default());
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    std::fs::create_dir(&path).unwrap();
    write("b.yaml", "name: b\nquery: up\n---\nname: a\nquery: up\n");
    told("a folder that was made later", &store).await;
    quiet(&store).await;
    let listing = store.list().await.unwrap();
    assert_eq!(names(&listing), ["a", "b"]);
    let a = store.get("a").await.unwrap().unwrap();
    assert_eq!((&a, a.is_read_only, &a.document), (&listing.pipelines[0], true, &pipeline("a", "up")));
    assert!(a.origin.ends_with("pipelines/b.yaml"), "{}", a.origin);
    // It is only read.
    for expected in [Expected::Anything, Expected::Version(a.version.clone())] {
        for error in [
            store.put(pipeline("a", "down"), &expected).await.unwrap_err(),
            store.delete("a", &expected).await.unwrap_err(),
        ] {
            assert!(matches!(&error, StoreError::ReadOnly { name, .. } if name == "a"), "{error}");
        }
    }
    assert!(matches!(store.put(object(json!({})), &Expected::Absent).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.delete("c", &Expected::Anything).await, Err(StoreError::Missing { name: "c".into() }));
    // Wrong ones are named, and the others stay.
    write("c.yaml", "name: c\nquery: up\nstep: soon\n---\nname: c\nquery: up\n---\nquery: up\n");
    write("d.yaml", "name: [d\n");
    write("e.json", r#"{"name": "a", "query": "down"}"#);
    told("new files", &store).await;
    quiet(&store).await;
    let listing = store.list().await.unwrap();
    assert_eq!(names(&listing), ["a", "b", "c"]);
    assert!(listing.pipelines[2].checked.as_ref().unwrap_err().to_string().contains("c.yaml:3:7"));
    let reasons: Vec<&str> = listing.unreadable.iter().map(|one| one.reason.as_str()).collect();
    let parts = ["c.yaml:5", "c.yaml:8", "d.yaml", "same name, in"];
    assert!(
        reasons.len() == 4 && parts.iter().all(|part| reasons.iter().any(|reason| reason.contains(part))),
        "{reasons:?}"
    );
    std::fs::remove_dir_all(&path).unwrap();
    told("the folder's end", &store).await;
    assert_eq!(store.list().await.unwrap(), Listing::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_follows_links_that_are_swapped() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for (version, query) in [("1", "up"), ("2", "down"), ("3", "rate")] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("a.yaml"), format!("name: a\nquery: {query}\n")).unwrap();
    }
    let swap = |target: &str, link: &Path| {
        let fresh = link.with_file_name("..fresh");
        std::os::unix::fs::symlink(at(target), &fresh).unwrap();
        std::fs::rename(&fresh, link).unwrap();
    };
    let query = async |store: &Store| store.get("a").await.unwrap().unwrap().checked.unwrap().query;
    // As a volume of Kubernetes: files are links through a hidden link to a folder.
    let mounted = at("mounted");
    std::fs::create_dir(&mounted).unwrap();
    swap("1", &mounted.join("..data"));
    std::os::unix::fs::symlink("..data/a.yaml", mounted.join("a.yaml")).unwrap();
    // As git-sync: the folder itself is a link.
    swap("1", &at("current"));
    let stores = [&mounted, &at("current")].map(|path| Arc::new(Folder::open(path).unwrap()) as Store);
    for version in ["2", "3"] {
        for store in &stores {
            quiet(store).await;
        }
        swap(version, &mounted.join("..data"));
        swap(version, &at("current"));
        for store in &stores {
            told("a swapped link", store).await;
            assert_eq!(query(store).await, ["down", "rate"][usize::from(version == "3")]);
        }
    }
    // What it follows is watched too.
    quiet(&stores[1]).await;
    std::fs::write(at("3").join("a.yaml"), "name: a\nquery: last\n").unwrap();
    told("a change behind the link", &stores[1]).await;
    quiet(&stores[1]).await;
    assert_eq!(query(&stores[1]).await, "last");
}
