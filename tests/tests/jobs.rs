//! Jobs of the real service: nothing is lost, and nothing done twice, whatever happens to a process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use engine::output::Names;
use engine::{History, Pipeline};
use serde_json::{Value, json};
use tests::{Postgres, Service, VictoriaMetrics, eventually, now};
use tsdb::prometheus::QueryRange;
use tsdb::{Frame, Labels, Read, Step, Timestamp};

const STEP: Step = Step::from_millis(60_000).unwrap();
const SERIES: usize = 12;
const DAY: usize = 24 * 60;

/// Not on its schedules, so that what is written is written by jobs alone.
const PIPELINE: &str = "
name: requests
query: requests
enabled: false
step: 1m
context_window: 6h
prediction_horizon: 10m
forecast_schedule: 10m
anomaly_schedule: 1m
model: {id: seasonal_naive, parameters: {season: 1h}}
anomaly: {confidence_level: 0.999}
output: {write_forecast: false}
";

/// A model that takes its time, asked at every point: its job outlives what is done beside it on any machine.
fn slow() -> String {
    let slow = PIPELINE.replace("name: requests", "name: slow").replace("seasonal_naive", "mstl");
    slow.replace("forecast_schedule: 10m", "forecast_schedule: 1m")
}

/// A season of an hour with noise, and now and then a spike.
fn value(row: usize, point: usize) -> f64 {
    let hash = (point as u64 * 31 + row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = (hash >> 40) as f64 / (1 << 24) as f64;
    let usual = 100.0 + 20.0 * ((point + row) as f64 / 60.0 * std::f64::consts::TAU).sin() + noise;
    if hash.is_multiple_of(997) { usual * 3.0 } else { usual }
}

/// `days` days that end a quarter of an hour ago.
fn history(days: usize) -> Frame {
    let points = days * DAY;
    let start = (now() - Duration::from_secs(15 * 60)).floor(STEP) - STEP.times(points - 1);
    let labels = |row| Labels::metric("requests").with("instance", &format!("host-{row}"));
    let values = (0..SERIES).flat_map(|row| (0..points).map(move |point| value(row, point))).collect();
    Frame::new((0..SERIES).map(labels).collect(), start, STEP, points, values).unwrap()
}

/// Asks the service; its status and what it answers.
async fn ask(service: &Service, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = reqwest::Client::new().request(method, format!("http://{}{path}", service.address()));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, serde_json::from_str(&answer.text().await.ok()?).unwrap_or_default()))
}

/// Submits a job once the service is up, and answers its id.
async fn submit(service: &Service, kind: &str, body: Value) -> String {
    let path = format!("/api/v1/jobs/{kind}");
    let ask = async || ask(service, "POST", &path, Some(body.clone())).await;
    let (status, answer) = eventually("the service", ask).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn job(service: &Service, id: &str) -> Option<Value> {
    Some(ask(service, "GET", &format!("/api/v1/jobs/{id}"), None).await?.1)
}

/// What `look` finds of a job; it may take some minutes.
async fn in_time<T>(service: &Service, id: &str, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
    for _ in 0..5 {
        let asked = eventually(what, async || look(&job(service, id).await?));
        // Not yet is an answer too, after a while.
        if let Ok(found) = tokio::time::timeout(Duration::from_secs(55), asked).await {
            return found;
        }
    }
    panic!("job {id} comes to no {what}: {:?}", job(service, id).await);
}

/// The job once it has ended.
async fn ended(service: &Service, id: &str) -> Value {
    let look = |job: &Value| {
        let is_end = matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled"));
        is_end.then(|| job.clone())
    };
    in_time(service, id, "end", look).await
}

async fn result(service: &Service, id: &str) -> Value {
    let ended = ended(service, id).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let (status, result) = ask(service, "GET", &format!("/api/v1/jobs/{id}/result"), None).await.unwrap();
    assert_eq!(status, 200, "{result}");
    result
}

/// Every sample of `kind` as VictoriaMetrics keeps it, by series and time.
async fn export(server: &VictoriaMetrics, kind: &str) -> BTreeMap<(String, i64), Vec<f64>> {
    server.flush().await;
    let url = format!("{}/api/v1/export?match[]={kind}", server.url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let mut samples: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for line in text.lines() {
        let series: Value = serde_json::from_str(line).unwrap();
        let instance = series["metric"]["instance"].as_str().unwrap().to_owned();
        let (times, values) = (series["timestamps"].as_array().unwrap(), series["values"].as_array().unwrap());
        for (time, value) in times.iter().zip(values) {
            samples.entry((instance.clone(), time.as_i64().unwrap())).or_default().push(value.as_f64().unwrap());
        }
    }
    samples
}

/// What a backfill of `frame` from `from` must have written of scores.
fn expected(frame: &Frame, from: Timestamp, settles_after: Duration) -> BTreeMap<(String, i64), f64> {
    let mut pipeline = Pipeline::parse(PIPELINE, "test").unwrap();
    pipeline.data_delay = settles_after;
    let model = models::build(&pipeline.model, &models::Resources::default()).unwrap();
    let history = History::of(frame.clone());
    let scored = engine::replay(&pipeline, &*model, &history, from - STEP.duration(), frame.end()).unwrap();
    let [score, ..] = Names::new(pipeline.into()).scores(scored).unwrap();
    let mut expected = BTreeMap::new();
    for (labels, values) in score.rows() {
        for (at, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            expected.insert((labels.get("instance").unwrap().to_owned(), score.time(at).millis()), *value);
        }
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_again_and_again_writes_every_score_once() {
    let server = VictoriaMetrics::start().await;
    let frame = history(12);
    server.import(&frame).await;
    server.flush().await;
    let mut service = Service::start(server.url(), &[("requests.yaml", PIPELINE)]);
    let from = frame.start() + STEP.times(DAY);
    let body = json!({"pipeline": "requests", "from": from.to_string(), "until": frame.end().to_string()});
    let id = submit(&service, "backfill", body).await;
    let mut reached = 0.0;
    let mut kills = 0;
    while kills < 2 {
        let look = |job: &Value| {
            let (part, is_done) = (job["progress"].as_f64()?, job["state"] == "succeeded");
            (part > reached || is_done).then_some((part, is_done))
        };
        let (part, is_done) = in_time(&service, &id, "progress", look).await;
        if is_done {
            break;
        }
        reached = part;
        service.kill();
        kills += 1;
        service.start_again();
    }
    assert!(kills > 0, "it was done before it could be killed");
    let result = result(&service, &id).await;
    let reader = QueryRange::new(&server.connection(), 0).unwrap();
    let expected = expected(&frame, from, reader.settles_after().await.unwrap());
    let found = export(&server, "anomaly_score").await;
    assert!(found.values().all(|values| values.len() == 1), "a score was written twice");
    assert_eq!(found.len(), expected.len());
    for (place, want) in &expected {
        let got = found[place][0];
        assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{place:?}: {got} instead of {want}");
    }
    assert_eq!(result["scored"].as_u64(), Some(expected.len() as u64), "{result}");
    let anomalous = expected.values().filter(|score| **score > 1.0).count();
    assert_eq!(result["anomalous"].as_u64(), Some(anomalous as u64), "{result}");

    // Once more, there is nothing left to write.
    let body = json!({"pipeline": "requests", "from": from.to_string(), "until": frame.end().to_string()});
    let again = submit(&service, "backfill", body.clone()).await;
    let ended = self::result(&service, &again).await;
    assert_eq!(ended["written"], 0, "{ended}");
    let backtest = submit(&service, "backtest", body).await;
    let counted = self::result(&service, &backtest).await;
    assert_eq!(counted["summary"]["points"].as_u64(), Some(expected.len() as u64), "{counted}");
    assert_eq!(counted["summary"]["anomalous"].as_u64(), Some(anomalous as u64), "{counted}");
    let days = expected.len() as f64 * STEP.seconds() / 86_400.0;
    assert!((counted["summary"]["days"].as_f64().unwrap() - days).abs() < 1e-9, "{counted}");
    assert_eq!(counted["cases"], json!([]), "nobody said anything");
    assert_eq!(counted["summary"]["against"], Value::Null, "nobody called anything an anomaly");
    let after = export(&server, "anomaly_score").await;
    assert!(after.keys().eq(found.keys()), "something was written");
    for (place, values) in &after {
        // VictoriaMetrics may round the last of 15 digits anew when it merges its parts.
        let (got, want) = (values[0], found[place][0]);
        assert!(values.len() == 1 && (got - want).abs() <= 1e-12 * want.abs(), "{place:?}: {values:?}, before {want}");
    }

    verdicts_are_events(&service, &counted, from, frame.end()).await;
}

/// What people call an anomaly is an event of the series that they speak of to a backtest of the range, of which one
/// `counted` the incidents before.
async fn verdicts_are_events(service: &Service, counted: &Value, from: Timestamp, until: Timestamp) {
    let series = &counted["series"][0];
    let name: Labels = series["series"].as_str().unwrap().parse().unwrap();
    let say = async |verdict: &str, labels: Value, from: &Value, until: &Value| {
        let body = json!({"pipeline": "requests", "labels": labels, "from": from, "until": until, "verdict": verdict});
        let (status, answer) = ask(service, "POST", "/api/v1/feedback", Some(body)).await.unwrap();
        assert_eq!(status, 201, "{answer}");
    };
    let incident = &series["first_incidents"][0];
    let labels = json!({"instance": name.get("instance").unwrap()});
    say("anomaly", labels.clone(), &incident["start"], &incident["end"]).await;
    let backtest = async || {
        let body = json!({"pipeline": "requests", "from": from.to_string(), "until": until.to_string()});
        let id = submit(service, "backtest", body).await;
        result(service, &id).await
    };
    let counted = backtest().await;
    let against = &counted["summary"]["against"];
    assert_eq!(
        (&against["events"], &against["caught"], &against["delay_minutes"]),
        (&json!(1), &json!(1), &json!(0.0))
    );
    let false_alarms = against["false_alarms"].as_u64().unwrap();
    assert!(false_alarms > 10 && against["false_alarms_a_week"].as_f64() > Some(0.0), "{against}");
    assert_eq!(counted["cases"][0]["outcome"], "kept", "{counted}");
    // Where alerts are expected, they are neither right nor false; what is said last counts.
    say("expected", json!({}), &json!(from.to_string()), &json!(until.to_string())).await;
    say("anomaly", labels, &incident["start"], &incident["end"]).await;
    let against = backtest().await["summary"]["against"].clone();
    assert_eq!((&against["events"], &against["caught"]), (&json!(1), &json!(1)), "{against}");
    assert_eq!((&against["false_alarms"], &against["precision"]), (&json!(0), &json!(1.0)), "{against}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_at_once_and_what_runs_can_be_cancelled() {
    let server = VictoriaMetrics::start().await;
    let frame = history(8);
    server.import(&frame).await;
    server.flush().await;
    let config =
        format!("datasources: {{default: {{url: '{}'}}}}\njobs: {{workers: 1, most_queued: 3}}\n", server.url());
    let slow = slow();
    let mut service = Service::configured(&config, &[], &[("requests.yaml", PIPELINE), ("slow.yaml", &slow)]);
    let from = (frame.start() + STEP.times(DAY)).to_string();
    let late = (frame.end() - STEP.times(3 * DAY)).to_string();
    let running = submit(&service, "backtest", json!({"pipeline": "slow", "from": from})).await;

    for (path, body, status) in [
        ("/api/v1/jobs/dance", json!({"pipeline": "requests"}), 404),
        ("/api/v1/jobs/train", json!({"pipeline": "nobody"}), 404),
        ("/api/v1/jobs/backfill", json!({"pipeline": "requests"}), 422),
        ("/api/v1/jobs/predict", json!({"pipeline": "requests", "from": from}), 422),
        ("/api/v1/jobs/backtest", json!({"pipeline": {"name": "a"}, "from": from}), 422),
        ("/api/v1/jobs/predict", json!({"pipeline": "requests", "prioriti": 1}), 422),
    ] {
        let (found, answer) = ask(&service, "POST", path, Some(body.clone())).await.unwrap();
        assert_eq!(found, status, "{path} {body}: {answer}");
    }
    let (status, answer) = ask(&service, "GET", &format!("/api/v1/jobs/{running}/result"), None).await.unwrap();
    assert_eq!((status, answer["code"].as_str()), (409, Some("no_result")), "{answer}");

    let runs =
        async || Some(()).filter(|()| true).and(job(&service, &running).await.filter(|job| job["state"] == "running"));
    eventually("a running job", runs).await;
    let mut waiting = vec![];
    for key in ["a", "b", "c"] {
        let body = json!({"pipeline": "slow", "from": late, "idempotency_key": key});
        waiting.push(submit(&service, "backtest", body).await);
    }
    let (status, answer) =
        ask(&service, "POST", "/api/v1/jobs/predict", Some(json!({"pipeline": "requests"}))).await.unwrap();
    assert_eq!((status, answer["code"].as_str()), (429, Some("queue_full")), "{answer}");
    let urgent = waiting.pop().unwrap();
    for id in waiting.iter().chain([&running]) {
        let (status, _) = ask(&service, "DELETE", &format!("/api/v1/jobs/{id}"), None).await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(ended(&service, id).await["state"], "cancelled");
    }
    // What has begun is given back, and goes on where it was.
    eventually("the next job", async || {
        job(&service, &urgent).await.filter(|job| job["state"] == "running" && job["progress"].as_f64() > Some(0.0))
    })
    .await;
    assert!(service.stop());
    service.start_again();
    let begun = std::time::Instant::now();
    eventually("the job to go on", async || job(&service, &urgent).await.filter(|job| job["state"] != "queued")).await;
    assert!(begun.elapsed() < Duration::from_secs(29), "it did not wait for a lease to run out");
    assert_eq!(ended(&service, &urgent).await["attempts"], 1, "a stop is no failed attempt");
}

/// Two metrics with a season of a day, of which one ends when the last fifth begins.
fn days() -> Frame {
    const POINTS: usize = 10 * 144;
    let step = Step::from_millis(600_000).unwrap();
    let start = (now() - Duration::from_secs(15 * 60)).floor(step) - step.times(POINTS - 1);
    let value = |row: usize, point: usize| {
        let season = ((point % 144) as f64 / 144.0 * std::f64::consts::TAU).sin() * 30.0;
        let is_over = row == 1 && point >= POINTS * 4 / 5;
        100.0 + value(0, point) / 100.0 + if is_over { 60.0 } else { season }
    };
    let values = (0..2).flat_map(|row| (0..POINTS).map(move |point| value(row, point))).collect();
    let labels = ["steady", "broken"].map(|name| Labels::metric(name).with("instance", "a"));
    Frame::new(labels.to_vec(), start, step, POINTS, values).unwrap()
}

fn trained(name: &str, more: &str) -> String {
    format!(
        "name: {name}\nquery: {name}\nstep: 10m\ncontext_window: 3d\nprediction_horizon: 2h\n\
         forecast_schedule: 1h\nmodel: {{id: seasonal_naive, parameters: {{season: none}}}}\n{more}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trained_is_used_where_it_is_no_worse_and_can_be_taken_back() {
    let server = VictoriaMetrics::start().await;
    server.import(&days()).await;
    server.flush().await;
    let steady = trained("steady", "training: {schedule: 15s, window: 10d}");
    let broken = trained("broken", "enabled: false\ntraining: {window: 10d}");
    let service = Service::start(server.url(), &[("steady.yaml", &steady), ("broken.yaml", &broken)]);

    // The schedule has it trained.
    let scheduled = eventually("a scheduled training", async || {
        let (_, page) = ask(&service, "GET", "/api/v1/jobs?kind=train&pipeline=steady&state=succeeded", None).await?;
        page["items"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(scheduled["created_by"], "schedule", "{scheduled}");
    let version = result(&service, scheduled["id"].as_str().unwrap()).await;
    let loss = |version: &Value, whose: &str| version["evaluation"][whose]["pinball"].as_f64().unwrap();
    assert!(loss(&version, "trained") < 0.5 * loss(&version, "untrained"), "{version}");
    assert_eq!(version["parameters"]["season"], json!(["1d"]), "{version}");

    let (_, page) = ask(&service, "GET", "/api/v1/models/current?pipeline=steady", None).await.unwrap();
    let current = page["items"][0].clone();
    assert_eq!((current["state"].as_str(), current["model"].as_str()), (Some("current"), Some("seasonal_naive")));
    // Its worker runs with it, and says so.
    let log = "the trained version";
    eventually("the worker to take it over", async || service.log().contains(log).then_some(())).await;

    // Worse on the tail: kept, with the reason, and not used.
    let worse = submit(&service, "train", json!({"pipeline": "broken"})).await;
    let worse = result(&service, &worse).await;
    assert_eq!(worse["state"], "candidate", "{worse}");
    assert!(worse["reason"].as_str().unwrap().starts_with("worse than the untrained model"), "{worse}");
    let (_, page) = ask(&service, "GET", "/api/v1/models/current?pipeline=broken", None).await.unwrap();
    assert_eq!(page["items"], json!([]));

    // A person may think otherwise, and think again.
    let id = worse["model_id"].as_str().unwrap();
    let post = async |what: &str| ask(&service, "POST", &format!("/api/v1/models/{id}/{what}"), None).await.unwrap();
    assert_eq!(post("rollback").await.0, 409);
    let (status, promoted) = post("promote").await;
    assert_eq!((status, promoted["state"].as_str()), (200, Some("current")), "{promoted}");
    let (status, answer) = post("rollback").await;
    assert_eq!((status, &answer["current"]), (200, &Value::Null), "{answer}");
    let (_, version) = ask(&service, "GET", &format!("/api/v1/models/{id}"), None).await.unwrap();
    assert_eq!(version["state"], "candidate", "{version}");
    assert!(version["reason"].as_str().unwrap().contains("was rolled back by"), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_queue_and_one_goes_on_where_the_other_died() {
    let server = VictoriaMetrics::start().await;
    let frame = history(4);
    server.import(&frame).await;
    server.flush().await;
    let postgres = Postgres::start().await;
    let config =
        format!("datasources: {{default: {{url: '{}'}}}}\ndatabase: {{url: '{}'}}\n", server.url(), postgres.url());
    let slow = slow();
    let pipelines = [("slow.yaml", slow.as_str())];
    let mut one = Service::configured(&config, &[], &pipelines);
    let two = Service::configured(&config, &[], &pipelines);
    let (from, until) = ((frame.start() + STEP.times(DAY)).to_string(), frame.end().to_string());
    let mut ids = vec![];
    for _ in 0..6 {
        ids.push(submit(&one, "backtest", json!({"pipeline": "slow", "from": from, "until": until})).await);
    }
    // One process sees what the other does, and can cancel it.
    eventually("work in progress", async || {
        let (_, page) = ask(&two, "GET", "/api/v1/jobs?state=running", None).await?;
        (page["items"].as_array()?.len() >= 3).then_some(())
    })
    .await;
    one.kill();
    let mut attempts = 0;
    let mut results = vec![];
    for id in &ids {
        let job = ended(&two, id).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        attempts += job["attempts"].as_u64().unwrap();
        results.push(result(&two, id).await);
    }
    assert!(attempts > 6, "some were begun by the process that died");
    assert!(attempts <= 8, "only those were begun again");
    assert!(results.iter().all(|result| result["summary"] == results[0]["summary"]), "{results:?}");
}
