//! What holds for every request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::Service;

#[tokio::test]
async fn every_error_is_a_problem_that_names_the_request() {
    let service = Service::with("limits: {body_bytes: 1000}\n").await;
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(2000));
    let yaml = "content-type: application/yaml";
    for (method, path, headers, body, status, code) in [
        ("GET", "/nowhere", &[][..], "", 404, "not_found"),
        ("GET", "/api/v1/pipelines/none", &[], "", 404, "not_found"),
        ("DELETE", "/health", &[], "", 405, "method_not_allowed"),
        ("POST", "/api/v1/pipelines", &[], &large, 413, "too_large"),
        ("POST", "/api/v1/pipelines", &["content-type: text/html"], "x", 415, "unsupported_media_type"),
        ("POST", "/api/v1/pipelines", &[], "{", 400, "invalid_body"),
        ("POST", "/api/v1/pipelines", &[], "[]", 422, "invalid_body"),
        ("POST", "/api/v1/pipelines", &[], "{}", 422, "invalid_pipeline"),
        ("POST", "/api/v1/pipelines", &[yaml], "a: [", 422, "invalid_pipeline"),
        ("GET", "/api/v1/pipelines/%ff", &[], "", 400, "invalid_request"),
        ("POST", "/execute/inference", &["content-type: text/plain"], "{}", 415, "unsupported_media_type"),
    ] {
        let reply = service.ask(method, path, headers, body).await;
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.text);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.body["status"], status);
        assert_eq!(reply.body["code"], code, "{method} {path}: {}", reply.text);
        assert_eq!(reply.body["request_id"], reply.header("x-request-id"), "{}", reply.text);
        assert!(!reply.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn a_sane_id_is_taken_over_and_another_is_not() {
    let service = Service::start().await;
    let reply = service.ask("GET", "/health", &["x-request-id: trace-1"], "").await;
    assert_eq!(reply.header("x-request-id"), "trace-1");
    let reply = service.ask("GET", "/nowhere", &["x-request-id: a b"], "").await;
    assert_ne!(reply.header("x-request-id"), "a b");
    assert_eq!(reply.body["request_id"], reply.header("x-request-id"));
}

#[tokio::test]
async fn answers_are_compressed_and_say_how_they_may_be_used() {
    let service = Service::start().await;
    let reply = service.ask("GET", "/api/openapi.json", &["accept-encoding: gzip"], "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-encoding"), "", "the client unpacks it and says nothing of it");
    assert!(reply.header("vary").contains("accept-encoding"), "{:?}", reply.headers);
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    assert!(reply.header("content-security-policy").contains("default-src 'self'"));
}

#[tokio::test]
async fn only_pages_of_known_origins_may_ask() {
    let service = Service::with("cors_origins: ['https://grafana.example']\n").await;
    let preflight = async |origin: &str| {
        let headers = [&*format!("origin: {origin}"), "access-control-request-method: PUT"];
        service.ask("OPTIONS", "/api/v1/pipelines/a", &headers, "").await
    };
    let reply = preflight("https://grafana.example").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), "https://grafana.example");
    assert!(reply.header("access-control-allow-methods").contains("PUT"));
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn what_takes_too_long_is_cut_off() {
    let service = Service::with("limits: {timeout: 1ms}\n").await;
    let reply = service.ask("POST", "/execute/inference", &[], &super::harness::inline(200, 500)).await;
    assert_eq!((reply.status, &reply.body["code"]), (504, &"timeout".into()), "{}", reply.text);
}

#[tokio::test]
async fn the_description_and_its_page_come_from_here() {
    let service = Service::start().await;
    let document = service.get("/api/openapi.json").await.body;
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let mut ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert!(all > 20 && ids.len() == all, "{ids:?}");
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is nowhere");
    }
    let page = service.get("/api/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("swagger-ui") && !page.text.contains("https://"), "{}", page.text);
}

#[tokio::test]
async fn health_has_a_reason_for_each_part_and_needs_no_credential() {
    let service = Service::start().await;
    for path in ["/health", "/health/ready", "/readiness", "/ready"] {
        let reply = service.get(path).await;
        assert_eq!((reply.status, &reply.body["status"]), (200, &"ok".into()), "{}", reply.text);
        assert_eq!(reply.body["parts"]["database"]["status"], "ok");
        assert_eq!(reply.body["parts"]["datasource default"]["status"], "ok");
        assert!(reply.body["config_errors"].is_array() && reply.body["pipelines"].is_object());
    }
    for path in ["/health/live", "/healthz", "/startup"] {
        assert_eq!(service.get(path).await.status, 200);
    }
    service.app.status.unreachable("default", "no connection".into());
    let reply = service.get("/health").await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &"degraded".into()));
    assert_eq!(reply.body["parts"]["datasource default"]["reason"], "no connection");
    service.app.database.close().await;
    let reply = service.get("/health").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.body["parts"]["database"]["status"], "failing");
}

#[tokio::test]
async fn who_is_in_when_the_service_stops_is_served() {
    let mut service = Service::start().await;
    let address = service.url.strip_prefix("http://").unwrap().to_owned();
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let body = super::harness::inline(3, 80);
    let head = format!(
        "POST /execute/inference HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n", "the request is in");
    service.app.stopping.cancel();
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = vec![];
    connection.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"status\":\"success\""), "{answer}");
    (&mut service.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(&address).await.is_err(), "nobody new comes in");
}
