//! Who gets in, what they may do, and what the service tells nobody: the program itself, asked over its socket.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "access/program.rs"]
mod program;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use program::{Answer, Folder, Service, eventually};

/// Routes that anybody may ask.
const OPEN: [&str; 3] = ["GET /health/live", "GET /health/ready", "POST /api/v1/login"];

/// What whoever may look may send: it changes nothing but how they come in. Queries may be too long for a URL.
const LOOKING: [&str; 7] = [
    "POST /api/v1/labels",
    "POST /api/v1/logout",
    "POST /api/v1/me/password",
    "POST /api/v1/query",
    "POST /api/v1/query_range",
    "POST /api/v1/series",
    "POST /api/v1/validate",
];

/// Where only admins may look.
const ADMINS: [&str; 4] = ["/api/v1/audit", "/api/v1/backup", "/api/v1/keys", "/api/v1/users"];

/// The roles that do not reach for a route.
fn too_low(method: &str, path: &str) -> &'static [&'static str] {
    let route = format!("{method} {path}");
    if ADMINS.iter().any(|start| path.starts_with(start)) {
        return &["viewer", "editor"];
    }
    if method == "GET" || LOOKING.contains(&route.as_str()) { &[] } else { &["viewer"] }
}

/// The routes of a service's description, with something in the place of what varies.
async fn routes(service: &Service, key: &str) -> Vec<(String, String)> {
    let document = service.get("/api/openapi.json", key).await.json;
    let paths = document["paths"].as_object().unwrap();
    let mut routes = vec![];
    for (path, item) in paths {
        let methods = ["get", "put", "post", "delete", "patch"].into_iter().filter(|method| item.get(method).is_some());
        routes.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "something" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_but_the_open_ones_is_closed() {
    let folder = Folder::new("");
    let key = |role: &str| folder.key(&["--role", role]);
    let (viewer, editor, admin) = (key("viewer"), key("editor"), key("admin"));
    let service = Service::start(&folder, &[]).await;
    for (method, path) in routes(&service, &admin).await {
        let asked = Method::from_bytes(method.as_bytes()).unwrap();
        let route = format!("{method} {path}");
        let url = filled(&path);
        let nobody = service.ask(asked.clone(), &url, "", None).await;
        if OPEN.contains(&route.as_str()) {
            assert_ne!(nobody.header("www-authenticate"), "Bearer", "{route}");
            continue;
        }
        nobody.check(StatusCode::UNAUTHORIZED, "unauthorized");
        assert_eq!(nobody.header("www-authenticate"), "Bearer", "{route}");
        for wrong in ["oa_0000000000000000_0", "x.y.z", "anonymous"] {
            service.ask(asked.clone(), &url, wrong, None).await.check(StatusCode::UNAUTHORIZED, "unauthorized");
        }
        for role in too_low(&method, &path) {
            let key = if *role == "viewer" { &viewer } else { &editor };
            let found = service.ask(asked.clone(), &url, key, None).await;
            assert_eq!(found.code(), "forbidden", "{route} as {role}: {}", found.text);
            assert_eq!(found.status, StatusCode::FORBIDDEN);
        }
        if method == "GET" && too_low(&method, &path).is_empty() {
            // Not its body: a stream has no end.
            let found = service.client().get(service.url(&url)).bearer_auth(&viewer).send().await.unwrap().status();
            assert!(![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&found), "{route}: {found}");
        }
    }
    for path in ["/api/openapi.json", "/api/docs/", "/metrics"] {
        service.get(path, "").await.check(StatusCode::UNAUTHORIZED, "unauthorized");
        assert_eq!(service.ask(Method::HEAD, path, "", None).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/health", "/healthz", "/readiness", "/startup", "/health/live", "/health/ready"] {
        assert_eq!(service.get(path, "").await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_taken_in_three_ways_until_it_is_revoked() {
    let folder = Folder::new("");
    let (admin, plain) = (folder.key(&["--role", "admin"]), folder.key(&["grafana", "--role", "viewer"]));
    let service = Service::start(&folder, &[]).await;
    let client = service.client();
    let me = service.url("/api/v1/me");
    for request in [
        client.get(&me).bearer_auth(&plain),
        client.get(&me).header("x-api-key", &plain),
        client.get(&me).basic_auth("anybody", Some(&plain)),
    ] {
        let found = Answer::of(request).await;
        assert_eq!(found.json, json!({ "name": "key:grafana", "role": "viewer" }));
    }
    let listed = folder.run_at(&service, &admin, &["keys", "list"]);
    assert!(listed.contains("grafana") && !listed.contains(plain.rsplit('_').next().unwrap()), "{listed}");
    folder.run_at(&service, &admin, &["keys", "revoke", "grafana"]);
    service.get("/api/v1/me", &plain).await.check(StatusCode::UNAUTHORIZED, "unauthorized");

    let slow = folder.run_at(&service, &admin, &["keys", "create", "slow", "--requests-per-second", "0.01"]);
    assert_eq!(service.get("/api/v1/me", slow.trim()).await.status, StatusCode::OK);
    let found = service.get("/api/v1/me", slow.trim()).await;
    found.check(StatusCode::TOO_MANY_REQUESTS, "too_many_requests");
    assert!((1..=100).contains(&found.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(service.get("/api/v1/me", &admin).await.status, StatusCode::OK, "others are not concerned");

    // Another process, which writes the database itself.
    let removed = folder.key(&["short"]);
    assert_eq!(service.get("/api/v1/me", &removed).await.status, StatusCode::OK);
    folder.run(&["keys", "revoke", "short", "--config", &folder.config()]);
    eventually("the key is void", async || {
        (service.get("/api/v1/me", &removed).await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn users_log_in_until_their_password_changes() {
    let folder = Folder::new("");
    folder.run_with(&["users", "add", "ana", "--role", "editor", "--config", &folder.config()], "correct horse\n");
    let admin = folder.key(&["--role", "admin"]);
    let service = Service::start(&folder, &[]).await;
    let log_in = async |name: &str, password: &str| {
        service.ask(Method::POST, "/api/v1/login", "", Some(json!({ "name": name, "password": password }))).await
    };
    for (name, password) in [("ana", "correct horsf"), ("nobody", "correct horse"), ("ana", ""), ("", "")] {
        log_in(name, password).await.check(StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let found = log_in("ana", "correct horse").await;
    let (token, cookie) = (found.json["token"].as_str().unwrap().to_owned(), found.header("set-cookie").to_owned());
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Max-Age=43200"), "{cookie}");
    assert_eq!(service.get("/api/v1/me", &token).await.json, json!({ "name": "ana", "role": "editor" }));

    // What a browser sends.
    let cookie = cookie.split(';').next().unwrap();
    let out = |headers: &[(&'static str, &str)]| {
        let request = service.client().post(service.url("/api/v1/logout")).header("cookie", cookie);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    let own = service.url("");
    for headers in [&[("origin", own.trim_end_matches('/'))][..], &[("sec-fetch-site", "same-origin")]] {
        let found = Answer::of(out(headers)).await;
        assert!(found.status == StatusCode::NO_CONTENT && found.header("set-cookie").contains("Max-Age=0"));
    }
    for headers in [&[("origin", "http://evil.example")][..], &[("sec-fetch-site", "cross-site")]] {
        Answer::of(out(headers)).await.check(StatusCode::FORBIDDEN, "cross_origin");
    }

    folder.run_at(&service, &admin, &["users", "role", "ana", "viewer"]);
    assert_eq!(service.get("/api/v1/me", &token).await.json["role"], "viewer", "a role holds at once");
    let change = json!({ "old": "correct horse", "new": "battery staple" });
    let change = service.ask(Method::POST, "/api/v1/me/password", &token, Some(change)).await;
    assert_eq!(change.status, StatusCode::NO_CONTENT, "{}", change.text);
    service.get("/api/v1/me", &token).await.check(StatusCode::UNAUTHORIZED, "unauthorized");
    let again = log_in("ana", "battery staple").await.json["token"].as_str().unwrap().to_owned();
    folder.run_at(&service, &admin, &["users", "remove", "ana"]);
    service.get("/api/v1/me", &again).await.check(StatusCode::UNAUTHORIZED, "unauthorized");

    let mut attempts = 0;
    let refused = loop {
        let found = log_in("ana", "a guess").await;
        attempts += 1;
        if found.status != StatusCode::UNAUTHORIZED || attempts > 100 {
            break found;
        }
    };
    refused.check(StatusCode::TOO_MANY_REQUESTS, "too_many_requests");
}

#[tokio::test]
async fn what_is_changed_or_refused_is_in_the_audit_log() {
    let folder = Folder::new("");
    let (admin, viewer) = (folder.key(&["boss", "--role", "admin"]), folder.key(&["looker", "--role", "viewer"]));
    let service = Service::start(&folder, &[]).await;
    let pipeline = json!({ "name": "cpu", "query": "up" });
    service.ask(Method::PUT, "/api/v1/pipelines/cpu", &viewer, Some(pipeline.clone())).await;
    let made = service.ask(Method::PUT, "/api/v1/pipelines/cpu", &admin, Some(pipeline)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let user = json!({ "name": "ana", "password": "correct horse", "role": "viewer" });
    service.ask(Method::POST, "/api/v1/users", &admin, Some(user)).await;
    service.ask(Method::POST, "/api/v1/login", "", Some(json!({ "name": "ana", "password": "hunter2hunter2" }))).await;
    service.ask(Method::POST, "/api/v1/login", "", Some(json!({ "name": "hunter2", "password": "" }))).await;
    let all = service.get("/api/v1/audit", &admin).await;
    let seen: Vec<_> = all.json["items"].as_array().unwrap().iter().rev().collect();
    let expected = [
        ("key:looker", "PUT /api/v1/pipelines/{name}", "/api/v1/pipelines/cpu", "403 forbidden"),
        ("key:boss", "PUT /api/v1/pipelines/{name}", "/api/v1/pipelines/cpu", "201"),
        ("key:boss", "POST /api/v1/users", "/api/v1/users", "201"),
        ("ana", "POST /api/v1/login", "/api/v1/login", "401 unauthorized"),
        ("?", "POST /api/v1/login", "/api/v1/login", "401 unauthorized"),
    ];
    assert_eq!(seen.len(), expected.len(), "{}", all.text);
    for (found, (actor, action, subject, detail)) in seen.iter().zip(expected) {
        let parts = ["actor", "action", "subject", "detail"].map(|field| found[field].as_str().unwrap());
        assert_eq!(parts, [actor, action, subject, detail]);
        assert_eq!(found["address"], "127.0.0.1");
        assert!(!found["request_id"].as_str().unwrap().is_empty());
    }
    assert_eq!(seen[1]["request_id"].as_str().unwrap(), made.header("x-request-id"));
    assert!(!all.text.contains("hunter2") && !all.text.contains("correct horse"));

    let count = async |query: &str| {
        let page = service.get(&format!("/api/v1/audit?{query}"), &admin).await.json;
        (page["items"].as_array().map(Vec::len), page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(count("actor=key:boss").await, (Some(2), None));
    assert_eq!(count("subject=/api/v1/pipelines").await, (Some(2), None));
    assert_eq!(count("until=2020-01-01T00:00:00Z").await, (Some(0), None));
    let (first, next) = count("limit=3").await;
    assert_eq!((first, count(&format!("limit=3&cursor={}", next.unwrap())).await), (Some(3), (Some(2), None)));
    assert_eq!(service.get("/api/v1/audit?limit=0", &admin).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nobody_listens_to_all_without_a_credential() {
    let folder = Folder::new("");
    let listen = ["--listen", "0.0.0.0:0"];
    let refused = folder.refused(&listen);
    assert!(refused.contains("keys create --config FILE --role admin") && refused.contains("--insecure"), "{refused}");
    // On this machine alone it is open, but not to other sites' pages, nor under a name that is made to lead here.
    let service = Service::start(&folder, &[]).await;
    assert_eq!(service.get("/api/v1/me", "").await.json, json!({ "name": "anonymous", "role": "admin" }));
    let request = |method: Method| service.client().request(method, service.url("/api/v1/pipelines"));
    let (post, get) = (request(Method::POST), request(Method::GET));
    Answer::of(post.header("origin", "http://evil.example")).await.check(StatusCode::FORBIDDEN, "cross_origin");
    Answer::of(get.header("host", "evil.example")).await.check(StatusCode::FORBIDDEN, "cross_origin");
    // The first key closes the door.
    let body = json!({ "name": "first", "role": "admin" });
    let key = service.ask(Method::POST, "/api/v1/keys", "", Some(body)).await.json["key"].as_str().unwrap().to_owned();
    service.get("/api/v1/me", "").await.check(StatusCode::UNAUTHORIZED, "unauthorized");
    assert_eq!(service.get("/api/v1/me", &key).await.json["name"], "key:first");
    drop(service);

    let wrong = [("a short key", "auth.admin_key_file"), ("", "holds 0 characters")];
    for (secret, words) in wrong {
        let folder = Folder::new("auth: { admin_key_file: admin.key }\n");
        std::fs::write(folder.path().join("admin.key"), secret).unwrap();
        assert!(folder.refused(&listen).contains(words));
    }
    let folder = Folder::new("auth: { admin_key_file: admin.key }\n");
    std::fs::write(folder.path().join("admin.key"), "0123456789abcdef\n").unwrap();
    let service = Service::start(&folder, &[]).await;
    assert_eq!(service.get("/api/v1/me", "0123456789abcdef").await.json["name"], "admin-key");
    service.get("/api/v1/me", "0123456789abcdeg").await.check(StatusCode::UNAUTHORIZED, "unauthorized");
}

#[tokio::test]
async fn connections_are_encrypted_and_a_new_certificate_is_taken_up() {
    let certificate = |folder: &Folder| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        std::fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
    };
    let folder = Folder::new("tls: { cert_file: tls.crt, key_file: tls.key }\n");
    assert!(folder.refused(&[]).contains("tls.crt"));
    let first = certificate(&folder);
    let service = Service::start_encrypted(&folder, first.clone()).await;
    let plain = format!("http://{}/health/live", service.address);
    assert!(service.client().get(plain).send().await.is_err(), "no plain HTTP");
    let second = certificate(&folder);
    let url = service.url("/health/live");
    let trusts = async |certificate: &reqwest::Certificate| {
        program::trusting(certificate.clone()).get(&url).send().await.is_ok()
    };
    eventually("the new certificate", async || trusts(&second).await.then_some(())).await;
    assert!(!trusts(&first).await, "the old one is gone");
    std::fs::write(folder.path().join("tls.crt"), "no certificate").unwrap();
    eventually("the error", async || service.log().contains("is not reloaded").then_some(())).await;
    assert!(trusts(&second).await, "a broken file changes nothing");
}

#[tokio::test]
async fn the_service_asks_only_whom_it_may() {
    let folder = Folder::new("egress: { allow: [models.internal, 10.1.0.0/16] }\n");
    std::fs::create_dir(folder.path().join("pipelines")).unwrap();
    let own = "name: own\nquery: up\nprometheus_url: http://127.0.0.1:2\nmodel: { type: remote, endpoint: 'http://10.9.9.9/x' }\n";
    std::fs::write(folder.path().join("pipelines/own.yaml"), own).unwrap();
    let service = Service::start(&folder, &[]).await;
    let put = async |changes: Value| {
        let mut pipeline = json!({ "name": "a", "query": "up", "enabled": false });
        for (name, value) in changes.as_object().unwrap() {
            pipeline[name] = value.clone();
        }
        service.ask(Method::PUT, "/api/v1/pipelines/a", "", Some(pipeline)).await
    };
    let remote = |url: &str, parameters: Value| json!({ "model": { "type": "remote", "endpoint": url, "parameters": parameters } });
    for (changes, field) in [
        (json!({ "prometheus_url": "http://127.0.0.1:2" }), "prometheus_url"),
        (json!({ "prometheus_url": "http://2130706433/" }), "prometheus_url"),
        (json!({ "prometheus_write_url": "http://169.254.169.254" }), "prometheus_write_url"),
        (remote("http://[::ffff:10.0.0.1]/x", json!({})), "model.endpoint"),
        (remote("http://127.0.0.1:1/x", json!({})), "model.endpoint"),
        (remote("http://example.org/x", json!({ "bearer_token_env": "REMOTE_MODEL_TOKEN" })), "model.endpoint"),
    ] {
        let found = put(changes.clone()).await;
        assert_eq!(found.status, StatusCode::UNPROCESSABLE_ENTITY, "{changes} {}", found.text);
        assert_eq!(found.json["errors"][0]["path"], field, "{}", found.text);
        assert!(found.text.contains("egress.allow"), "{}", found.text);
    }
    for path in ["../secret", "/etc/passwd", "a/../b", "a/b/c", "local/..", "..%2f.."] {
        let found = put(json!({ "model": { "id": path } })).await;
        assert_eq!(found.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {}", found.text);
    }
    for path in ["../a.onnx", "/a.onnx", "a/../../b.onnx", "a.txt", "", "."] {
        let found = put(json!({ "model": { "id": "onnx", "parameters": { "file": path } } })).await;
        assert_eq!(found.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {}", found.text);
    }
    for changes in [
        json!({ "prometheus_url": "http://127.0.0.1:1/other" }),
        json!({ "prometheus_url": "https://example.org" }),
        remote("http://10.1.2.3/x", json!({})),
        remote("http://models.internal/x", json!({ "bearer_token_env": "REMOTE_MODEL_TOKEN" })),
    ] {
        let found = put(changes.clone()).await;
        assert!(found.status.is_success(), "{changes} {}", found.text);
    }
    let health = service.get("/health", "").await.json;
    assert!(health["pipelines"]["own"].is_object(), "a file may name what it will: {health}");
}

#[tokio::test]
async fn no_secret_is_told() {
    let secrets = ["s3cret-basic", "s3cret-header", "s3cret-url", "s3cret-query", "s3cret-model", "s3cret-admin-key"];
    let folder = Folder::new("auth: { admin_key_file: admin.key }\negress: { allow: [127.0.0.1] }\n");
    std::fs::write(folder.path().join("admin.key"), "s3cret-admin-key").unwrap();
    folder.configure(
        "auth: { admin_key_file: admin.key }\negress: { allow: [127.0.0.1] }\ndatasources:\n  default:\n    \
         url: http://127.0.0.1:1\n    basic_auth: { username: me, password: s3cret-basic }\n    \
         headers: { X-Key: s3cret-header }\n",
    );
    let viewer = folder.key(&["--role", "viewer"]);
    let service = Service::start(&folder, &["--log-level", "debug"]).await;
    let admin = "s3cret-admin-key";
    let pipelines = [
        json!({ "name": "a", "query": "up", "prometheus_url": "http://me:s3cret-url@127.0.0.1:1", "forecast_schedule": "1s", "anomaly_schedule": "1s" }),
        json!({ "name": "b", "query": "up", "model": { "type": "remote",
            "endpoint": "http://me:s3cret-url@127.0.0.1:1/x?key=s3cret-query", "parameters": { "headers": { "X-Key": "s3cret-model" } } } }),
    ];
    for pipeline in &pipelines {
        let made = service.ask(Method::POST, "/api/v1/pipelines", admin, Some(pipeline.clone())).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    let bad = json!({ "name": "c", "query": "up", "prometheus_url": "ftp://me:s3cret-url@x" });
    let bad = service.ask(Method::POST, "/api/v1/pipelines", admin, Some(bad)).await;
    let user = json!({ "name": "ana", "password": "s3cret-model", "role": "viewer", "more": 1 });
    let user = service.ask(Method::POST, "/api/v1/users", admin, Some(user)).await;
    eventually("a failure", async || service.log().contains("can't begin yet").then_some(())).await;

    let mut told = vec![("an error".to_owned(), bad.text), ("an error".into(), user.text)];
    for (method, path) in routes(&service, admin).await {
        if method == "GET" && !path.contains("events") {
            let path = path.replace("{name}", "a");
            told.push((path.clone(), service.get(&filled(&path), &viewer).await.text));
        }
    }
    told.push(("b".into(), service.get("/api/v1/pipelines/b", &viewer).await.text));
    told.push(("the audit log".into(), service.get("/api/v1/audit", admin).await.text));
    told.push(("the keys".into(), service.get("/api/v1/keys", admin).await.text));
    told.push(("the log".into(), service.log()));
    for (what, text) in &told {
        for secret in secrets.iter().copied().chain([viewer.rsplit('_').next().unwrap()]) {
            assert!(!text.contains(secret), "{what} tells {secret}: {text}");
        }
    }
    let whole = service.get("/api/v1/pipelines/b", admin).await.text;
    assert!(whole.contains("s3cret-model"), "who may change it sees all of it");
}

#[tokio::test]
async fn the_command_line_says_what_is_wrong() {
    let folder = Folder::new("");
    let config = folder.config();
    for (args, words) in [
        (&["keys", "create", "a b", "--config", &config][..], "is no name"),
        (&["keys", "create", "--role", "king", "--config", &config], "expected one of: viewer, editor, admin"),
        (&["keys", "create", "--expires-in", "0s", "--config", &config], "would expire"),
        (&["keys", "create", "--requests-per-second", "0", "--config", &config], "above 0"),
        (&["keys", "revoke", "nobody", "--config", &config], "there is no key `nobody`"),
        (&["users", "add", "ana", "--config", &config], "too short"),
        (&["users", "remove", "ana", "--config", &config], "there is no user `ana`"),
        (&["users", "list", "--server", "http://127.0.0.1:1"], "127.0.0.1:1"),
    ] {
        let output = folder.output(args, "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(words), "{args:?}: {error}");
    }
    tokio::time::timeout(Duration::from_secs(60), async {
        folder.key(&["a", "--role", "admin"]);
        let again = folder.output(&["keys", "create", "a", "--config", &config], "");
        assert!(String::from_utf8(again.stderr).unwrap().contains("there is a key `a` already"));
    })
    .await
    .unwrap();
}
