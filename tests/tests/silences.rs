//! What an Alertmanager and a Grafana silence is heard of by the service, and holds while they are away.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};
use tests::{Alertmanager, Service, eventually};

/// What the service has heard of, by source: matchers and comments.
async fn heard(service: &Service) -> Vec<(String, Vec<String>, String)> {
    let url = format!("http://{}/api/v1/silences", service.address());
    let Ok(answer) = reqwest::get(url).await else { return vec![] };
    let found: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let silence = |one: &Value| {
        let matchers = one["matchers"].as_array().unwrap().iter().map(text).collect();
        (text(&one["source"]), matchers, text(&one["comment"]))
    };
    found["items"].as_array().unwrap().iter().map(silence).collect()
}

async fn post(url: String, body: &Value) -> Value {
    let request = reqwest::Client::new().post(url).header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_of_an_alertmanager_are_heard_of_and_hold_while_it_is_away() {
    let alertmanager = Alertmanager::start().await;
    let silence = json!({
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ana", "comment": "disks",
        "matchers": [
            {"name": "alertname", "value": "Anomaly", "isRegex": false, "isEqual": true},
            {"name": "host", "value": "a|b", "isRegex": true, "isEqual": false},
        ],
    });
    let made = post(format!("{}/api/v2/silences", alertmanager.url()), &silence).await;
    let config = format!(
        "datasources: {{default: {{path: store}}}}\nsilences: {{every: 1s, alertmanager: {{url: '{}'}}}}\n",
        alertmanager.url()
    );
    let service = Service::configured(&config, &[], &[]);
    let matchers = vec!["alertname=\"Anomaly\"".to_owned(), "host!~\"a|b\"".to_owned()];
    let expected = vec![("alertmanager".to_owned(), matchers, "disks".to_owned())];
    eventually("the silence", async || (heard(&service).await == expected).then_some(())).await;

    // One that is taken back is told with its end.
    let id = made["silenceID"].as_str().unwrap();
    let url = format!("{}/api/v2/silence/{id}", alertmanager.url());
    assert!(reqwest::Client::new().delete(url).send().await.unwrap().status().is_success());
    let until = async || -> Option<String> {
        let url = format!("http://{}/api/v1/silences", service.address());
        let found: Value = serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
        found["items"][0]["until"].as_str().filter(|until| !until.starts_with("2100")).map(str::to_owned)
    };
    eventually("its end", until).await;
    drop(alertmanager);
    eventually("the failure", async || service.log().contains("does not say what is silenced").then_some(())).await;
    assert_eq!(heard(&service).await, expected, "what it said before holds");
    assert!(!service.log().contains("panicked"));
}
