//! Pipelines made, read, changed and taken out by several editors.

use serde_json::json;

use super::harness::Service;

const PATH: &str = "/api/v1/pipelines";

#[tokio::test]
async fn a_pipeline_lives_from_post_to_delete() {
    let service = Service::start().await;
    let document = json!({"query": "up", "name": "one", "step": "30s"});
    let reply = service.post(PATH, &document).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.header("location"), "/api/v1/pipelines/one");
    assert_eq!(reply.header("etag"), format!("\"{}\"", reply.body["version"].as_str().unwrap()));
    assert_eq!(reply.body["document"].to_string(), document.to_string(), "as it was written, in its order");
    let read = service.get("/api/v1/pipelines/one").await;
    assert_eq!((read.status, &read.body), (200, &reply.body));
    assert_eq!((&read.body["read_only"], &read.body["errors"]), (&json!(false), &json!([])));
    let known = format!("if-none-match: {}", read.header("etag"));
    let unchanged = service.ask("GET", "/api/v1/pipelines/one", &[&known], "").await;
    assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""));
    let list = service.get(PATH).await.body;
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!((names, &list["next"]), (vec!["filed", "one"], &json!(null)));
    assert_eq!(service.ask("DELETE", "/api/v1/pipelines/one", &[], "").await.status, 204);
    assert_eq!(service.get("/api/v1/pipelines/one").await.status, 404);
}

#[tokio::test]
async fn two_editors_cant_overwrite_each_other() {
    let service = Service::start().await;
    let body = |query: &str| json!({"name": "one", "query": query}).to_string();
    let put = async |line: &str, query: &str| {
        let headers: Vec<&str> = if line.is_empty() { vec![] } else { vec![line] };
        let reply = service.ask("PUT", "/api/v1/pipelines/one", &headers, &body(query)).await;
        (reply.status, reply.header("etag").to_owned())
    };
    let (status, first) = put("if-none-match: *", "up").await;
    assert_eq!(status, 201);
    assert_eq!(put("if-none-match: *", "up").await.0, 412);
    let (status, second) = put(&format!("if-match: {first}"), "up + 1").await;
    assert_eq!(status, 200);
    assert_ne!(first, second);
    assert_eq!(put(&format!("if-match: {first}"), "up + 2").await.0, 412);
    assert_eq!(put("if-match: *", "up + 3").await.0, 200);
    assert_eq!(put("", "up + 4").await.0, 200);
    let stale = [&*format!("if-match: {first}")];
    for (method, body) in [("PATCH", "{}"), ("DELETE", "")] {
        let reply = service.ask(method, "/api/v1/pipelines/one", &stale, body).await;
        assert_eq!((reply.status, &reply.body["code"]), (412, &json!("conflict")), "{method}");
    }
    assert_eq!(service.get("/api/v1/pipelines/one").await.body["document"]["query"], "up + 4");
}

#[tokio::test]
async fn a_patch_is_merged() {
    let service = Service::start().await;
    let document = json!({"name": "one", "query": "up", "step": "30s", "anomaly": {"threshold": 2.0}});
    service.post(PATH, &document).await;
    let patch = json!({"step": null, "anomaly": {"technique": "z_score"}, "description": "d"}).to_string();
    let headers = ["content-type: application/merge-patch+json"];
    let reply = service.ask("PATCH", "/api/v1/pipelines/one", &headers, &patch).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let merged = json!({
        "name": "one", "query": "up", "anomaly": {"threshold": 2.0, "technique": "z_score"}, "description": "d"
    });
    assert_eq!(reply.body["document"], merged);
    for (patch, path) in
        [(r#"{"name": "two"}"#, "name"), (r#"{"query": null}"#, "query"), (r#"{"stepp": "1m"}"#, "stepp")]
    {
        let reply = service.ask("PATCH", "/api/v1/pipelines/one", &[], patch).await;
        assert_eq!((reply.status, reply.faults()), (422, vec![path]), "{}", reply.text);
    }
    assert_eq!(service.ask("PATCH", "/api/v1/pipelines/none", &[], "{}").await.status, 404);
}

#[tokio::test]
async fn what_cant_be_is_refused() {
    let service = Service::start().await;
    service.post(PATH, &json!({"name": "one", "query": "up"})).await;
    for (method, path, body, status, code) in [
        ("POST", PATH, r#"{"name": "one", "query": "up"}"#, 409, "already_exists"),
        ("POST", PATH, r#"{"name": "filed", "query": "up"}"#, 409, "already_exists"),
        ("PUT", "/api/v1/pipelines/filed", r#"{"name": "filed", "query": "up"}"#, 409, "read_only"),
        ("PATCH", "/api/v1/pipelines/filed", "{}", 409, "read_only"),
        ("DELETE", "/api/v1/pipelines/filed", "", 409, "read_only"),
        ("PUT", "/api/v1/pipelines/two", r#"{"name": "one", "query": "up"}"#, 422, "invalid_pipeline"),
        ("POST", PATH, r#"{"name": "a", "query": "up", "datasource": "none"}"#, 422, "invalid_pipeline"),
        ("DELETE", "/api/v1/pipelines/none", "", 404, "not_found"),
    ] {
        let reply = service.ask(method, path, &[], body).await;
        assert_eq!(
            (reply.status, reply.body["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {}",
            reply.text
        );
    }
    let reply = service.post(PATH, &json!({"name": "1", "querry": "up", "step": "x"})).await;
    assert_eq!(reply.status, 422);
    let mut faults = reply.faults();
    faults.sort_unstable();
    assert_eq!(faults, ["name", "querry", "query", "step"], "all at once: {}", reply.text);
}

#[tokio::test]
async fn yaml_is_taken_too() {
    let service = Service::start().await;
    let headers = ["content-type: application/yaml"];
    let reply = service.ask("POST", PATH, &headers, "name: one\nquery: up # comment\nstep: 30s\n").await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.body["document"], json!({"name": "one", "query": "up", "step": "30s"}));
    let reply = service.ask("PUT", "/api/v1/pipelines/one", &headers, "name: one\nquery: up\nstepp: 30s\n").await;
    let fault = &reply.body["errors"][0];
    assert_eq!((reply.status, &fault["line"], &fault["column"]), (422, &json!(3), &json!(1)), "{}", reply.text);
}

#[tokio::test]
async fn validation_tells_all_that_is_wrong_with_its_place() {
    let service = Service::start().await;
    let yaml = ["content-type: application/yaml"];
    for (headers, text, valid, pipelines, faults) in [
        (&yaml[..], "name: a\nquery: up\n", true, vec!["a"], vec![]),
        (&yaml, "name: a\nquery: up\n---\nname: b\nquery: up\n", true, vec!["a", "b"], vec![]),
        (&yaml, "name: a\nquery: up\n---\nname: b\nquerry: up\n", false, vec!["a"], vec![("query", 4), ("querry", 5)]),
        (
            &yaml,
            "name: a\nquery: up\nstep: 1 parsec\ncontext_window: x\n",
            false,
            vec![],
            vec![("step", 3), ("context_window", 4)],
        ),
        (&yaml, "name: [", false, vec![], vec![("", 1)]),
        (&[], "{\"name\": \"a\",\n \"query\": \"up\",\n \"stepp\": \"1m\"}", false, vec![], vec![("stepp", 3)]),
    ] {
        let reply = service.ask("POST", "/api/v1/validate", headers, text).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!((&reply.body["valid"], &reply.body["pipelines"]), (&json!(valid), &json!(pipelines)), "{text}");
        let found = reply.body["errors"].as_array().unwrap().iter();
        let found: Vec<_> =
            found.map(|fault| (fault["path"].as_str().unwrap(), fault["line"].as_u64().unwrap())).collect();
        assert_eq!(found, faults, "{text}: {}", reply.text);
    }
    let reply = service.post("/api/v1/validate", &json!({"name": "a", "query": "up", "datasource": "none"})).await;
    assert_eq!((&reply.body["valid"], reply.faults()), (&json!(false), vec!["datasource"]));
    let reply = service.ask("POST", "/api/v1/validate", &yaml, "# nothing\n").await;
    assert_eq!(reply.body["valid"], false);
}
