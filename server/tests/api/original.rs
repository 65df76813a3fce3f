//! The original program's requests, and what it is expected to answer: `original.json` has them side by side.

use serde_json::Value;

use super::harness::{Service, includes};

#[tokio::test]
async fn the_originals_requests_are_answered_in_its_shapes() {
    let service = Service::start().await;
    service.fill("up", server::daemon::worker::now()).await;
    let cases: Vec<Value> = serde_json::from_str(include_str!("original.json")).unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        let (request, answer) = (&case["request"], &case["answer"]);
        let (method, path) = request["line"].as_str().unwrap().split_once(' ').unwrap();
        let body = if request["body"].is_null() { String::new() } else { request["body"].to_string() };
        let reply = service.ask(method, path, &[], &body).await;
        assert_eq!(u64::from(reply.status), answer["status"].as_u64().unwrap(), "{request}: {}", reply.text);
        assert!(includes(&reply.body, &answer["body"]), "{request}: {}", reply.text);
    }
}
