//! What the service remembers of its work: runs, incidents and what people said of them, over kill -9.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};
use tests::{Scene, Service, VictoriaMetrics, eventually, load, now, sleep_until};

const PIPELINE: &str = "
name: requests
query: requests
step: 2s
context_window: 2m
prediction_horizon: 1m
forecast_schedule: 10s
anomaly_schedule: 2s
model: {id: seasonal_naive, parameters: {season: 40s}}
";

/// How many milliseconds may lie between two points of one incident.
const REACH: i64 = 4 * 2000;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// An answer's status and body.
async fn ask(service: &Service, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("http://{}{path}", service.address());
    let mut request = reqwest::Client::new().request(method.parse().unwrap(), url);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

async fn get(service: &Service, path: &str) -> Value {
    let (status, body) = ask(service, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// All items of a list, read in pages of `limit`.
async fn all(service: &Service, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (vec![], String::new());
    loop {
        let page = get(service, &format!("{path}?limit={limit}{cursor}")).await;
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= limit);
        items.extend(found.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// What the scores in the store say: of each series (its instance) each incident's first and last point, as milliseconds
/// of the day, and how many points lie above 1.
async fn incidents_of_scores(store: &str) -> BTreeSet<(String, i64, i64, i64)> {
    let url = format!("{store}/api/v1/export?match[]=anomaly_score");
    let mut found = BTreeSet::new();
    let mut add = |instance: &str, (first, last, count): (i64, i64, i64)| {
        found.insert((instance.to_string(), first % DAY, last % DAY, count));
    };
    for line in reqwest::get(url).await.unwrap().text().await.unwrap().lines() {
        let series: Value = serde_json::from_str(line).unwrap();
        let times = series["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap());
        let scores = series["values"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap());
        let above: BTreeMap<i64, f64> = times.zip(scores).filter(|(_, score)| *score > 1.0).collect();
        let instance = series["metric"]["instance"].as_str().unwrap();
        let mut open: Option<(i64, i64, i64)> = None;
        for time in above.into_keys() {
            open = match open {
                Some((first, last, count)) if time - last <= REACH => Some((first, time, count + 1)),
                over => {
                    over.into_iter().for_each(|one| add(instance, one));
                    Some((time, time, 1))
                }
            };
        }
        open.into_iter().for_each(|one| add(instance, one));
    }
    found
}

/// The milliseconds of the day of an RFC 3339 time.
fn millis(time: &Value) -> i64 {
    let number = |range: std::ops::Range<usize>| time.as_str().unwrap()[range].parse::<i64>().unwrap();
    (number(11..13) * 3600 + number(14..16) * 60 + number(17..19)) * 1000
}

/// The same as the API tells it, of whatever incidents they are part.
async fn incidents_of_api(service: &Service) -> BTreeSet<(String, i64, i64, i64)> {
    let member = |one: &Value| {
        let instance = one["labels"]["instance"].as_str().unwrap().to_string();
        (instance, millis(&one["started_at"]), millis(&one["ended_at"]), one["points"].as_i64().unwrap())
    };
    let incidents = all(service, "/api/v1/anomalies", 2).await;
    incidents.iter().flat_map(|one| one["members"].as_array().unwrap()).map(member).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_incidents_are_remembered_once_over_kill_9() {
    let store = VictoriaMetrics::start().await;
    let scene = Scene::now(40);
    load(&store.connection(), &scene.frame).await;
    store.flush().await;
    let mut service = Service::start(store.url(), &[("requests.yaml", PIPELINE)]);
    let mut kills = 0;
    while now() < scene.end() {
        // Not in step with the passes, so that they are hit at different places.
        tokio::time::sleep(Duration::from_millis(9300 + 700 * kills)).await;
        service.kill();
        kills += 1;
        service.start_again();
    }
    sleep_until(scene.end() + Duration::from_secs(6)).await;
    let runs = eventually("the last points to be judged", async || {
        let runs = all(&service, "/api/v1/runs", 7).await;
        runs.iter().any(|run| run["scored"] != 0).then_some(runs)
    })
    .await;
    check_runs(&service, &runs).await;
    let expected = eventually("the last points to be remembered", async || {
        let last = get(&service, "/api/v1/runs?stage=anomaly&limit=1").await;
        if last["items"][0]["scored"] != 0 {
            return None;
        }
        store.flush().await;
        let expected = incidents_of_scores(store.url()).await;
        (incidents_of_api(&service).await == expected).then_some(expected)
    })
    .await;
    assert!(expected.iter().any(|(name, .., points)| name == "host-0" && *points > 5), "{expected:?}");
    check_feedback(&service).await;
    let incidents = all(&service, "/api/v1/anomalies", 100).await;
    check_incidents(&incidents);
    check_events(&service, incidents.len()).await;
    let metrics = service.metrics().await;
    for line in
        ["openanomaly_incidents_open{pipeline=\"requests\",severity=\"critical\"}", "openanomaly_drift{pipeline="]
    {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(service.stop() && kills >= 4);
    let log = service.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    assert!(log.contains("run=\"") || log.contains("run="), "the log names the runs: {log}");
    let file = service.file("x").ancestors().nth(2).unwrap().join("openanomaly.db");
    check_database(&format!("sqlite:{}", file.display())).await;
}

/// The database is sound, and no pass is in it twice.
async fn check_database(url: &str) {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.unwrap();
    let (sound,): (String,) = sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap();
    assert_eq!(sound, "ok");
    let query = "SELECT pipeline, stage, tick_ms FROM runs GROUP BY pipeline, stage, tick_ms HAVING COUNT(*) > 1";
    let doubled: Vec<(String, String, i64)> = sqlx::query_as(query).fetch_all(&mut database).await.unwrap();
    assert_eq!(doubled, [], "passes that were recorded twice");
}

async fn check_runs(service: &Service, runs: &[Value]) {
    let ids: BTreeSet<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), runs.len(), "a page begins where the one before ended");
    let starts: Vec<&str> = runs.iter().map(|run| run["started_at"].as_str().unwrap()).collect();
    assert!(starts.is_sorted_by(|a, b| a[..19] >= b[..19]), "the newest first: {starts:?}");
    let forecast = runs.iter().find(|run| run["stage"] == "forecast").unwrap();
    let detail = get(service, &format!("/api/v1/runs/{}", forecast["id"].as_str().unwrap())).await;
    assert_eq!(detail["prediction"]["model"], "seasonal_naive", "{detail}");
    assert_eq!((&detail["prediction"]["step_seconds"], &detail["prediction"]["horizon"]), (&json!(2.0), &json!(30)));
    let anomaly = get(service, "/api/v1/runs?stage=anomaly&outcome=success&pipeline=requests&limit=1").await;
    assert_eq!((&anomaly["items"][0]["stage"], &anomaly["items"][0]["series"]), (&json!("anomaly"), &json!(5)));
    for (path, expected) in [
        ("/api/v1/runs?pipeline=none", 0),
        ("/api/v1/runs?outcome=error", 0),
        ("/api/v1/runs?since=2100-01-01T00:00:00Z", 0),
        ("/api/v1/runs?until=2000-01-01T00:00:00Z", 0),
        ("/api/v1/anomalies?label=instance:none", 0),
        ("/api/v1/anomalies?min_score=1e9", 0),
        ("/api/v1/anomalies?series=requests", 0),
        ("/api/v1/drifts", 0),
        ("/api/v1/anomalies?until=2000-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(get(service, path).await["items"].as_array().unwrap().len(), expected, "{path}");
    }
    for (path, status) in [
        ("/api/v1/runs/none", 404),
        ("/api/v1/runs/%00", 404),
        ("/api/v1/runs?limit=0", 400),
        ("/api/v1/runs?cursor=x", 400),
        ("/api/v1/runs?outcome=fine", 400),
        ("/api/v1/runs?since=today", 400),
        ("/api/v1/runs?pipelines=a", 400),
        ("/api/v1/anomalies/none", 404),
        ("/api/v1/anomalies?label=x", 400),
        ("/api/v1/anomalies?open=maybe", 400),
        ("/api/v1/anomalies?severity=bad", 400),
        ("/api/v1/anomalies/none/explanation", 404),
        ("/api/v1/drifts?kind=error", 400),
        ("/api/v1/anomalies/events?pipelines=a", 400),
        ("/api/v1/feedback?verdict=fine", 400),
        ("/api/v1/feedback/none", 404),
    ] {
        let (found, body) = ask(service, "GET", path, None).await;
        assert_eq!((found, body["status"].as_u64()), (status, Some(u64::from(status))), "{path}: {body}");
    }
}

/// What an incident says is what its members say together.
fn check_incidents(incidents: &[Value]) {
    for one in incidents {
        let members = one["members"].as_array().unwrap();
        let edge = |field: &str| members.iter().map(|member| millis(&member[field])).collect::<BTreeSet<i64>>();
        assert_eq!(Some(&millis(&one["started_at"])), edge("started_at").first(), "{one}");
        assert_eq!(Some(&millis(&one["ended_at"])), edge("ended_at").last(), "{one}");
        let points: i64 = members.iter().map(|member| member["points"].as_i64().unwrap()).sum();
        let shares: f64 = members.iter().map(|member| member["share"].as_f64().unwrap()).sum();
        assert!(one["points"] == points && (shares - 1.0).abs() < 1e-9, "{one}");
        let series: BTreeSet<&str> = members.iter().map(|member| member["series"].as_str().unwrap()).collect();
        assert_eq!((&one["series_count"], &one["watched"]), (&json!(series.len()), &json!(5)), "{one}");
    }
}

async fn check_feedback(service: &Service) {
    let found = get(service, "/api/v1/anomalies?label=instance:host-0&label=__name__:requests&limit=1").await;
    let incident = &found["items"][0];
    let id = incident["id"].as_str().unwrap();
    let (from, until) = (&incident["started_at"], &incident["ended_at"]);
    for (body, path) in [
        (json!({"incident": "none", "verdict": "expected"}), "incident"),
        (json!({"incident": id, "pipeline": "requests", "verdict": "expected"}), "pipeline"),
        (json!({"pipeline": "requests", "until": until, "verdict": "expected"}), "from"),
        (
            json!({"pipeline": "requests", "from": "2100-01-01T00:00:00Z", "until": until, "verdict": "expected"}),
            "until",
        ),
        (json!({"pipeline": "none", "from": from, "until": until, "verdict": "expected"}), "pipeline"),
        (json!({"incident": id, "verdict": "fine"}), "verdict"),
        (json!({"incident": id, "verdict": "expected", "note": "\0"}), "note"),
        (json!({"incident": id, "verdict": "expected", "notes": ""}), "notes"),
    ] {
        let (status, answer) = ask(service, "POST", "/api/v1/feedback", Some(body.clone())).await;
        assert_eq!((status, answer["errors"][0]["path"].as_str()), (422, Some(path)), "{body}: {answer}");
    }
    let on_incident = json!({"incident": id, "verdict": "maintenance", "note": "a deployment"});
    let (status, said) = ask(service, "POST", "/api/v1/feedback", Some(on_incident)).await;
    assert_eq!(
        (status, &said["verdict"], &said["pipeline"]),
        (201, &json!("maintenance"), &json!("requests")),
        "{said}"
    );
    let labels = json!({"instance": "host-0"});
    let on_range =
        json!({"pipeline": "requests", "labels": labels, "from": from, "until": until, "verdict": "expected"});
    assert_eq!(ask(service, "POST", "/api/v1/feedback", Some(on_range)).await.0, 201);
    let verdicts = async || -> Vec<String> {
        let incident = get(service, &format!("/api/v1/anomalies/{id}")).await;
        incident["feedback"].as_array().unwrap().iter().map(|one| one["verdict"].as_str().unwrap().into()).collect()
    };
    assert_eq!(verdicts().await, ["maintenance", "expected"]);
    assert_eq!(all(service, "/api/v1/feedback", 1).await.len(), 2);
    let path = format!("/api/v1/feedback/{}", said["id"].as_str().unwrap());
    assert_eq!(get(service, &path).await, said);
    assert_eq!(ask(service, "DELETE", &path, None).await.0, 204);
    assert_eq!(ask(service, "DELETE", &path, None).await.0, 404);
    assert_eq!(verdicts().await, ["expected"]);
}

/// Whoever follows from the beginning hears of every incident once; from the last event on, of none.
async fn check_events(service: &Service, incidents: usize) {
    let follow = async |last: &str| {
        let url = format!("http://{}/api/v1/anomalies/events", service.address());
        let request = reqwest::Client::new().get(url).header("last-event-id", last);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer
    };
    let (mut stream, mut text) = (follow("0_0").await, String::new());
    while text.matches("event: new").count() < incidents {
        text += &String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap());
    }
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids.len(), incidents, "{text}");
    let mut stream = follow(ids.last().unwrap()).await;
    let more = tokio::time::timeout(Duration::from_secs(3), stream.chunk()).await;
    let more = more.map(|chunk| String::from_utf8_lossy(&chunk.unwrap().unwrap_or_default()).into_owned());
    assert!(!more.as_deref().unwrap_or_default().contains("event:"), "{more:?}");
}
