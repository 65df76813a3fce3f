//! Runs of pipelines that come with the request.

use std::sync::Arc;

use serde_json::{Value, json};
use tsdb::{RangeQuery, Step, Timestamp};

use super::harness::{Reply, Service, inline};

fn now() -> Timestamp {
    server::daemon::worker::now()
}

/// How many series of the metric there are in the store.
async fn count(service: &Service, metric: &str) -> usize {
    let path = format!("/api/v1/series?match[]={metric}");
    service.get(&path).await.body["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_query_is_forecast_scored_and_written() {
    let service = Service::start().await;
    service.fill("load", now()).await;
    let pipeline = json!({"name": "adhoc", "query": "load", "context_window": "1h", "prediction_horizon": "15m"});
    let dry = service.post("/execute/inference", &json!({"pipeline": pipeline, "dry_run": true})).await;
    assert_eq!(dry.status, 200, "{}", dry.text);
    assert_eq!((&dry.body["meta"]["written"], count(&service, "anomaly_score").await), (&json!(0), 0));
    let reply = service.post("/api/v1/execute/inference", &pipeline).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["status"], "success");
    assert_eq!(reply.body["message"], "Inference executed and results written to TSDB");
    let meta = &reply.body["meta"];
    assert_eq!((&meta["series"], &meta["points"]), (&json!(2), &json!(30)), "{meta}");
    assert!(meta["written"].as_u64().unwrap() > 100 && meta["anomalies"].as_u64().unwrap() >= 1, "{meta}");
    let series = &reply.body["data"][0];
    assert_eq!(series["labels"], json!({"__name__": "load", "job": "a"}));
    for column in ["timestamps", "y", "yhat", "yhat_lower", "yhat_upper", "anomaly_score", "is_anomaly"] {
        assert_eq!(series[column].as_array().unwrap().len(), 15, "{column}");
    }
    assert_eq!((&series["y"][14], &series["is_anomaly"][14]), (&json!(1000.0), &json!(true)));
    let forecast = &series["forecast"];
    assert_eq!(forecast["mean"].as_array().unwrap().len(), 15);
    assert_eq!(forecast["quantiles"]["0.9"].as_array().unwrap().len(), 15);
    let last = series["timestamps"][14].as_i64().unwrap();
    assert_eq!(forecast["timestamps"][0].as_i64(), Some(last + 60));
    assert_eq!(count(&service, "anomaly_score").await, 2);
}

#[tokio::test]
async fn more_than_a_horizon_is_judged_where_that_is_wanted() {
    let service = Service::start().await;
    service.fill("load", now()).await;
    let pipeline = json!({"query": "load", "context_window": "30m", "prediction_horizon": "10m"});
    for (last, points) in [("1m", 10), ("10m", 10), ("15m", 20), ("1h", 60)] {
        let order = json!({"pipeline": pipeline, "last": last, "dry_run": true});
        let reply = service.post("/execute/inference", &order).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.body["data"][0]["y"].as_array().unwrap().len(), points, "{last}");
    }
    for (last, message) in [("soon", "duration"), ("400d", "forecasts, 2000 at most")] {
        let order = json!({"pipeline": pipeline, "last": last, "dry_run": true});
        let reply = service.post("/execute/inference", &order).await;
        assert_eq!(reply.status, 422, "{}", reply.text);
        assert!(reply.text.contains(message), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_forecast_scores_and_writes_nothing() {
    let service = Service::start().await;
    service.fill("load", now()).await;
    let reply = service.post("/execute/forecast", &json!({"query": "load", "prediction_horizon": "10m"})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!((&reply.body["meta"]["points"], &reply.body["meta"]["written"]), (&json!(0), &json!(0)));
    assert_eq!(reply.body["data"][0]["forecast"]["mean"].as_array().unwrap().len(), 10);
    assert_eq!(reply.body["data"][0]["y"], json!([]));
}

#[tokio::test]
async fn a_run_of_another_time_sees_that_time() {
    let service = Service::start().await;
    let then = Timestamp::from_seconds(1_700_000_000);
    service.fill("load", then).await;
    for at in [json!(1_700_000_000), json!(1_700_000_000_000_i64), json!("2023-11-14T22:13:20Z")] {
        let reply = service.post("/execute/inference", &json!({"query": "load", "at": at, "dry_run": true})).await;
        assert_eq!(reply.body["meta"]["series"], 2, "{at}: {}", reply.text);
    }
    let reply = service.post("/execute/inference", &json!({"query": "load"})).await;
    assert_eq!((reply.status, &reply.body["data"]), (200, &json!([])), "nothing is there now: {}", reply.text);
}

fn series(values: Value) -> Value {
    json!({"series": [{"labels": {"a": "1"}, "start": 1_700_000_003, "step": "10s", "values": values}]})
}

#[tokio::test]
async fn inline_series_need_no_datasource_and_keep_their_times() {
    let service = Service::start().await;
    let values: Vec<f64> = (0..100).map(|at| if at == 99 { 50.0 } else { f64::from(at % 10) }).collect();
    let mut body = series(json!(values));
    body["context_window"] = "10m".into();
    body["datasource"] = "none".into();
    let reply = service.post("/execute/inference", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let data = &reply.body["data"][0];
    assert_eq!(data["timestamps"].as_array().unwrap().len(), 40, "all after the context");
    assert_eq!(data["timestamps"][39], 1_700_000_993);
    assert_eq!(data["forecast"]["timestamps"][0], 1_700_001_003);
    assert_eq!((&data["y"][39], &data["is_anomaly"][39]), (&json!(50.0), &json!(true)), "{data}");
    assert_eq!(reply.body["meta"]["written"], 0);
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_told_by_its_path() {
    let service = Service::start().await;
    let good = || series(json!([1, 2, 3, 4]));
    let with = |key: &str, value: Value| {
        let mut body = good();
        body[key] = value;
        body
    };
    for (body, code, path) in [
        (json!({}), "invalid_pipeline", "query"),
        (json!({"query": "up", "stepp": "1m"}), "invalid_pipeline", "stepp"),
        (json!({"query": "up{"}), "invalid_pipeline", "query"),
        (json!({"query": "up", "datasource": "none"}), "invalid_pipeline", "datasource"),
        (json!({"query": "up", "at": "yesterday"}), "invalid_pipeline", "at"),
        (json!({"query": "up", "at": -5}), "invalid_pipeline", "at"),
        (json!({"pipeline": {"query": "up"}, "step": "1m"}), "invalid_pipeline", "step"),
        (json!({"query": "up", "model": {"id": "no-such-model"}}), "invalid_pipeline", "model.id"),
        (json!({"series": []}), "invalid_series", "series"),
        (series(json!([])), "invalid_series", "series"),
        (with("max_series", json!(0)), "invalid_pipeline", "max_series"),
        (with("series", json!([{"values": [1]}])), "invalid_series", "series[0].timestamps"),
        (with("dry_run", json!("maybe")), "invalid_body", "dry_run"),
        (with("series", json!({"a": 1})), "invalid_body", "series"),
    ] {
        let Reply { status, text, body: problem, .. } = service.post("/execute/inference", &body).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{body}: {text}");
        assert_eq!(problem["errors"][0]["path"], path, "{body}: {text}");
    }
}

#[tokio::test]
async fn awkward_series_are_answered_too() {
    let service = Service::start().await;
    for values in [
        json!([1]),
        json!([null]),
        json!([null, null, null, null]),
        json!([1e308, -1e308, 0, 1e308]),
        json!([0, 0, 0, 0, 0]),
    ] {
        let reply = service.post("/execute/inference", &series(values.clone())).await;
        assert!([200, 422].contains(&reply.status), "{values}: {}", reply.text);
    }
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let service = Arc::new(Service::start().await);
    let body = Arc::new(inline(3, 80));
    let asked = (0..100).map(|_| {
        let (service, body) = (service.clone(), body.clone());
        tokio::spawn(async move { service.ask("POST", "/execute/inference", &[], &body).await.status })
    });
    for reply in asked.collect::<Vec<_>>() {
        assert_eq!(reply.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn what_is_written_can_be_read_back() {
    let service = Service::start().await;
    service.fill("load", now()).await;
    service.post("/execute/inference", &json!({"name": "mine", "query": "load{job=\"a\"}"})).await;
    let ports = service.app.current().assembly;
    let pipeline = engine::Pipeline::parse("{name: mine, query: x}", "test").unwrap();
    let source = ports.nameless_ports(&pipeline, server::assembly::Trust::Operator).unwrap().source;
    let step = Step::from_millis(60_000).unwrap();
    let query = "anomaly_score{pipeline=\"mine\", source=\"load\"}";
    let query = RangeQuery::new(query, now() - step.times(30), now(), step).unwrap();
    let frame = source.read(&query, &tsdb::Limits::default()).await.unwrap().frame;
    assert_eq!(frame.series().len(), 1);
}
