//! The embedded store, asked as Grafana asks a Prometheus.

use serde_json::{Value, json};
use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Connection, QueryRange, RemoteWrite};
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, Step, Timestamp, Write};

use super::harness::{Service, includes};

const AT: i64 = 1_700_000_000;

async fn filled() -> Service {
    let service = Service::start().await;
    service.fill("load", Timestamp::from_seconds(AT)).await;
    service
}

#[tokio::test]
async fn queries_are_answered_in_prometheus_shapes() {
    let service = filled().await;
    let name = |job: &str| json!({"__name__": "load", "job": job});
    for (path, data) in [
        ("/api/v1/query?query=1%2B1", json!({"resultType": "scalar", "result": ["*", "2"]})),
        (
            "/api/v1/query?query=load%7Bjob%3D%22a%22%7D&time=1700000000",
            json!({"resultType": "vector", "result": [{"metric": name("a"), "value": [1_700_000_000.0, "1000"]}]}),
        ),
        ("/api/v1/query?query=nothing", json!({"resultType": "vector", "result": []})),
        (
            "/api/v1/query_range?query=count(load)&start=1699999877&end=1699999997&step=60",
            json!({"resultType": "matrix", "result": [{"metric": {}, "values": [
                [1_699_999_877.0, "2"], [1_699_999_937.0, "2"], [1_699_999_997.0, "2"]]}]}),
        ),
        ("/api/v1/series?match[]=load", json!([name("a"), name("b")])),
        ("/api/v1/series?match[]=load&start=1800000000", json!([])),
        ("/api/v1/labels", json!(["__name__", "job"])),
        ("/api/v1/label/job/values", json!(["a", "b"])),
        ("/api/v1/label/__name__/values?match[]=%7Bjob%3D%22b%22%7D", json!(["load"])),
    ] {
        let reply = service.get(path).await;
        assert_eq!((reply.status, &reply.body["status"]), (200, &json!("success")), "{path}: {}", reply.text);
        assert!(includes(&reply.body["data"], &data), "{path}: {}", reply.text);
    }
    let form = ["content-type: application/x-www-form-urlencoded"];
    let body = "query=load&start=1699999940&end=1700000000&step=1m";
    let reply = service.ask("POST", "/api/v1/query_range", &form, body).await;
    assert_eq!(reply.body["data"]["result"].as_array().unwrap().len(), 2, "{}", reply.text);
}

#[tokio::test]
async fn what_cant_be_answered_is_refused_as_prometheus_refuses() {
    let service = filled().await;
    let range = "start=0&end=60";
    for (path, status, kind) in [
        ("/api/v1/query", 400, "bad_data"),
        ("/api/v1/query?query=load%7B", 400, "bad_data"),
        ("/api/v1/query?query=load&time=now", 400, "bad_data"),
        ("/api/v1/query?query=load&time=NaN", 400, "bad_data"),
        ("/api/v1/query?query=load&datasource=none", 404, "not_found"),
        (&format!("/api/v1/query_range?query=load&{range}"), 400, "bad_data"),
        (&format!("/api/v1/query_range?query=load&{range}&step=0"), 400, "bad_data"),
        (&format!("/api/v1/query_range?query=load&{range}&step=-1"), 400, "bad_data"),
        ("/api/v1/query_range?query=load&start=60&end=0&step=1", 400, "bad_data"),
        ("/api/v1/query_range?query=load&start=0&end=99999999&step=1", 400, "bad_data"),
        ("/api/v1/series", 400, "bad_data"),
        ("/api/v1/series?match[]=sum(load)", 400, "bad_data"),
        ("/api/v1/series?match[]=load%7Ba%3D~%22(%22%7D", 400, "bad_data"),
    ] {
        let reply = service.get(path).await;
        assert_eq!((reply.status, &reply.body["errorType"]), (status, &Value::from(kind)), "{path}: {}", reply.text);
        assert_eq!(reply.body["status"], "error");
    }
    let reply = service.ask("POST", "/api/v1/write", &[], "no snappy").await;
    assert_eq!(reply.status, 400, "{}", reply.text);
}

/// What our own client writes and reads is taken and answered.
#[tokio::test]
async fn it_can_be_written_and_read_as_a_prometheus() {
    let service = Service::start().await;
    let connection = Connection::new(service.url.clone());
    let step = Step::from_millis(60_000).unwrap();
    let start = Timestamp::from_seconds(AT).floor(step);
    let series = vec![Labels::metric("sent").with("job", "a")];
    let frame = Frame::new(series, start, step, 3, vec![1.0, f64::NAN, 0.1 + 0.2]).unwrap();
    let sink = RemoteWrite::new(&connection, Options::default()).unwrap();
    assert_eq!(sink.write(std::slice::from_ref(&frame)).await.unwrap().samples, 2);
    let source = QueryRange::new(&connection, 1).unwrap();
    let query = RangeQuery::new("sent", start, frame.end(), step).unwrap();
    let found = source.read(&query, &Limits::default()).await.unwrap().frame;
    assert_eq!(found.series(), frame.series());
    // A gap is filled by the sample before it, as Prometheus does it.
    assert_eq!(found.values(), [1.0, 1.0, 0.1 + 0.2]);
}
