//! Incidents, their explanations, and what people say of them.

use std::sync::Arc;
use std::time::Duration;

use engine::Pipeline;
use engine::backfill::Backfill;
use engine::incident::{Point, anomalous};
use serde_json::{Value, json};
use server::assembly::Trust;
use server::database::incidents::{self, Scene};
use server::recipe::Recipe;
use tsdb::{Frame, Labels, Step, Timestamp};

use crate::harness::{Service, includes};

const DOCUMENT: &str = r#"{"name": "load", "query": "load", "step": "1m", "context_window": "1h",
    "prediction_horizon": "5m", "forecast_schedule": "5m",
    "model": {"id": "seasonal_naive", "parameters": {"season": "31m"}},
    "anomaly": {"calibration": "none"}}"#;

/// A service that has found the spike of [`Service::fill`], whose time and incident are answered.
async fn found() -> (Service, Timestamp, String) {
    found_as(|_| ()).await
}

/// The same, where `change` was done to what was recorded of its points.
async fn found_as(change: impl Fn(&mut Point)) -> (Service, Timestamp, String) {
    let (service, until) = started().await;
    service.fill("load", until).await;
    let id = recorded(&service, DOCUMENT, until, change).await;
    (service, until, id)
}

/// A service, and the end of a turn, whenever the test runs.
async fn started() -> (Service, Timestamp) {
    let service = Service::start().await;
    let until = (service.app.now() - Duration::from_secs(600)).floor(Step::from_millis(300_000).unwrap());
    (service, until)
}

/// The incident that the pipeline of `document` has found in the last five minutes before `until`.
async fn recorded(service: &Service, document: &str, until: Timestamp, change: impl Fn(&mut Point)) -> String {
    let made = service.ask("PUT", "/api/v1/pipelines/load", &[], document).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let document = Pipeline::documents(document).remove(0);
    let pipeline = Pipeline::from_document(&document, "test").unwrap();
    let assembly = service.app.current().assembly;
    let recipe = Recipe::of((&document, Trust::Api), &pipeline, None, assembly.resources());
    let ports = assembly.nameless_ports(&pipeline, Trust::Api).unwrap();
    let mut backfill = Backfill::new(pipeline.clone(), ports);
    let piece = backfill.score(until - Duration::from_secs(300), until).await.unwrap().unwrap();
    let scene = Scene::of(&pipeline).watching(piece.scored.score.series()).made_with(Arc::new(recipe));
    let mut anomalous = anomalous(&piece.scored);
    anomalous.iter_mut().flat_map(|one| &mut one.points).for_each(change);
    incidents::record(&service.app.database, &scene, &anomalous).await.unwrap();
    backfill.write(piece.scored).await.unwrap();
    let listed = service.get("/api/v1/anomalies").await.body;
    listed["items"][0]["id"].as_str().expect("the spike is found").to_owned()
}

/// All sentences under a title.
fn section(explanation: &Value, title: &str) -> String {
    let sections = explanation["sections"].as_array().unwrap();
    let found = sections.iter().find(|section| section["title"] == title);
    found.map(|section| section["text"].to_string()).unwrap_or_default()
}

#[tokio::test]
async fn an_incident_is_explained_and_its_score_made_again() {
    let (service, at, id) = found().await;
    let path = format!("/api/v1/anomalies/{id}/explanation");
    let found = service.get(&path).await;
    assert_eq!(found.status, 200, "{}", found.text);
    let (series, headline) = (found.body["series"].as_str().unwrap(), found.body["headline"].as_str().unwrap());
    assert_eq!((series, &found.body["at"]), ("load{job=\"a\"}", &json!(at.to_string())));
    assert!(headline.starts_with("load{job=\"a\"} was far above what is usual on "), "{headline}");
    assert_eq!((&found.body["is_same"], &found.body["model"]["id"]), (&json!(true), &json!("seasonal_naive")));
    for (title, part) in [
        ("What was expected", "would have been usual"),
        ("What came", "1,000, which is "),
        ("How unusual that is", "It is the highest value of the hour before (60 values)."),
        ("The score, made again", "It was made again from the same data, and is the same"),
    ] {
        assert!(section(&found.body, title).contains(part), "{title}: {}", found.text);
    }
    let chart = &found.body["chart"];
    let points = chart["y"].as_array().unwrap().len();
    assert!(points >= 60 && chart["step_ms"] == 60_000, "{chart}");
    assert!(["yhat", "yhat_lower", "anomaly_score"].iter().all(|row| chart[*row].as_array().unwrap().len() == points));
    assert!(chart["y"].as_array().unwrap().contains(&json!(1000.0)));

    // What it was found with is what it is explained with.
    let other = r#"{"anomaly": {"scale": 9}}"#;
    assert_eq!(service.ask("PATCH", "/api/v1/pipelines/load", &[], other).await.status, 200);
    let later = service.get(&path).await.body;
    assert_eq!(later["is_same"], json!(true));
    let said = section(&later, "The score, made again");
    assert!(said.contains("document has been changed since (`anomaly`)"), "{said}");
    assert_eq!(service.ask("DELETE", "/api/v1/pipelines/load", &[], "").await.status, 204);
    let gone = service.get(&path).await.body;
    assert!(section(&gone, "The score, made again").contains("not there any more"), "{gone}");
}

/// Minutes of series on one load up to `until`; of the last, `odd` is put in the place of what the series had.
fn group(until: Timestamp, series: &[(&str, f64, f64)], odd: &[(usize, f64)]) -> Frame {
    const POINTS: usize = 700;
    let step = Step::from_millis(60_000).unwrap();
    let noise = |row: usize, at: usize| {
        let hash = ((row * 1_000_003 + at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / (1 << 24) as f64 - 0.5
    };
    let value = |row: usize, at: usize| {
        let load = 100.0 + 50.0 * (at as f64 / 144.0 * std::f64::consts::TAU).sin() + 15.0 * noise(99, at);
        let (_, factor, offset) = series[row];
        let replaced = odd.iter().find(|(odd, _)| *odd == row && at == POINTS - 1);
        replaced.map_or(factor * (load + offset + 4.0 * noise(row, at)), |(_, value)| *value)
    };
    let labels = series.iter().map(|(name, ..)| Labels::metric("load").with("of", name)).collect();
    let values = (0..series.len()).flat_map(|row| (0..POINTS).map(move |at| (row, at))).map(|(row, at)| value(row, at));
    Frame::new(labels, until - step.times(POINTS - 1), step, POINTS, values.collect()).unwrap()
}

#[tokio::test]
async fn what_several_series_say_of_a_point_is_explained() {
    let check = async |model: &str, series: &[(&str, f64, f64)], odd: &[(usize, f64)], title: &str, parts: &[&str]| {
        let (service, until) = started().await;
        let frame = group(until, series, odd);
        service.app.current().assembly.sink("default").unwrap().write(&[frame]).await.unwrap();
        let document = format!(
            r#"{{"name": "load", "query": "load", "step": "1m", "context_window": "10h", "prediction_horizon": "5m",
                "forecast_schedule": "5m", "model": {model}}}"#
        );
        let id = recorded(&service, &document, until, |_| ()).await;
        let found = service.get(&format!("/api/v1/anomalies/{id}/explanation")).await;
        assert_eq!((found.status, &found.body["is_same"]), (200, &json!(true)), "{}", found.text);
        let text = format!("{} {}", found.body["headline"], section(&found.body, title));
        parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
    };
    let hosts = [("a", 1.0, 0.0), ("b", 1.0, 2.0), ("c", 1.0, 4.0), ("d", 1.0, 6.0), ("e", 1.0, 8.0)];
    check(
        r#"{"id": "peers"}"#,
        &hosts,
        &[(1, 300.0)],
        "What the others of its group did",
        &[
            r#"load{of=\"b\"} was far above what is usual"#,
            "4 of them had a value at that time",
            "None of the others was as far from where it usually lies",
        ],
    )
    .await;
    // As much processor time as at the highest load, and as few requests as at the lowest.
    check(
        r#"{"id": "isolation_forest", "parameters": {"group_by": []}}"#,
        &[("cpu", 0.4, 0.0), ("requests", 10.0, 0.0)],
        &[(0, 55.0), (1, 600.0)],
        "What was odd about its group",
        &[
            "though its value alone was not",
            "The 2 series of the query are judged together",
            "cpu was 55; the others lead one to expect about 2",
            "requests was 600; the others lead one to expect about 1,3",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_score_that_is_another_one_now_says_what_may_be_the_reason() {
    let check = async |change: fn(&mut Point), expected: &str| {
        let (service, _, id) = found_as(change).await;
        let found = service.get(&format!("/api/v1/anomalies/{id}/explanation")).await.body;
        let said = section(&found, "The score, made again");
        assert_eq!(found["is_same"], json!(false), "{found}");
        assert!(said.contains(expected) && said.contains("was recorded"), "{said}");
    };
    let other = |point: &mut Point| point.score *= 2.0;
    check(other, "verdicts have been given or taken back").await;
    let other = |point: &mut Point| (point.score, point.lower) = (2.0, point.lower - 1.0);
    check(other, "the band is another one").await;
    let other = |point: &mut Point| (point.score, point.expected) = (2.0, point.expected + 1.0);
    check(other, "the history before it has changed since, or the model has").await;
    let other = |point: &mut Point| (point.score, point.actual) = (2.0, point.actual - 1.0);
    check(other, "data came late, or were corrected").await;
}

#[tokio::test]
async fn what_is_not_there_is_not_explained() {
    let (service, _, id) = found().await;
    for (path, status) in [
        ("/api/v1/anomalies/none/explanation".to_owned(), 404),
        (format!("/api/v1/anomalies/{}/explanation", service.app.new_id()), 404),
        (format!("/api/v1/anomalies/{id}/explanation?series=load%7Bjob%3D%22c%22%7D"), 400),
        (format!("/api/v1/anomalies/{id}/explanation?of=it"), 400),
    ] {
        let found = service.get(&path).await;
        assert_eq!(
            (found.status, found.body["status"].as_u64()),
            (status, Some(status.into())),
            "{path}: {}",
            found.text
        );
    }
}

#[tokio::test]
async fn a_verdict_says_what_it_is_about_and_is_heeded() {
    let (service, at, id) = found().await;
    let listener = tokio::spawn(server::advice::listen(service.app.clone()));
    let said = service.post("/api/v1/feedback", &json!({"incident": id, "verdict": "expected"})).await;
    let series = json!([{"__name__": "load", "job": "a"}]);
    let expected = json!({"verdict": "expected", "pipeline": "load", "series": series, "side": "above", "score": "*"});
    assert!(said.status == 201 && includes(&said.body, &expected), "{}", said.text);
    let wider = json!({"incident": id, "verdict": "anomaly", "labels": {"__name__": "load"}});
    let said = service.post("/api/v1/feedback", &wider).await;
    assert_eq!(said.body["series"], json!([{"__name__": "load"}]), "{}", said.text);
    let quiet = at + Duration::from_secs(3600);
    let nothing =
        json!({"pipeline": "load", "from": quiet.to_string(), "until": quiet.to_string(), "verdict": "expected"});
    let said = service.post("/api/v1/feedback", &nothing).await;
    assert_eq!((&said.body["side"], &said.body["score"]), (&Value::Null, &Value::Null), "{}", said.text);
    let work = json!({"pipeline": "load", "labels": {"job": "b"}, "from": at.to_string(), "until": at.to_string(),
        "verdict": "maintenance", "note": "a deployment"});
    service.post("/api/v1/feedback", &work).await;
    let heard = async || service.get("/api/v1/silences").await.body["items"].as_array().unwrap().len() == 1;
    for _ in 0..100 {
        if heard().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.app.advice.verdicts("load").len(), 2);
    let silence = service.get("/api/v1/silences").await.body["items"][0].clone();
    let expected =
        json!({"source": "feedback", "pipeline": "load", "matchers": ["job=\"b\""], "comment": "a deployment"});
    assert!(includes(&silence, &expected), "{silence}");
    listener.abort();
    let explained = service.get(&format!("/api/v1/anomalies/{id}/explanation")).await.body;
    assert!(
        section(&explained, "What people said").contains("anonymous said `expected` of this incident"),
        "{explained}"
    );
    assert!(section(&explained, "What was silenced at that time").contains("a deployment"), "{explained}");
    assert_eq!(explained["is_same"], json!(true), "what was said later changes nothing");
}
