//! Documents that load: those of the original, the shipped ones, and the ways to write several in a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::budget::Share;
use engine::calendar::{Calendar, When};
use engine::pipeline::{Direction, MetricFormat, Missing, Mode, Sides, Technique};
use engine::{Pipeline, Schedule};
use tsdb::Timestamp;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn parse(text: &str) -> Pipeline {
    Pipeline::parse(text, "test.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn defaults_are_those_of_the_original() {
    let pipeline = parse("name: cpu\nquery: up");
    assert_eq!((pipeline.name.as_str(), pipeline.query.as_str(), pipeline.description.as_str()), ("cpu", "up", ""));
    assert!(pipeline.enabled);
    assert_eq!(pipeline.datasource, "default");
    assert_eq!((pipeline.prometheus_url, pipeline.prometheus_write_url), (None, None));
    assert_eq!(pipeline.step.millis(), 60_000);
    assert_eq!((pipeline.context_points, pipeline.horizon_points), (60, 15));
    assert_eq!(pipeline.mode, Mode::ForecastAndAnomaly);
    assert_eq!(pipeline.forecast_schedule.to_string(), "*/5 * * * *");
    assert_eq!(pipeline.anomaly_schedule.to_string(), "*/1 * * * *");
    assert_eq!((pipeline.data_delay, pipeline.missing, pipeline.max_series), (Duration::ZERO, Missing::Nan, 10_000));
    assert_eq!(pipeline.model.id, models::registry::DEFAULT);
    assert!(pipeline.model.parameters.is_empty());
    let anomaly = pipeline.anomaly;
    assert_eq!(anomaly.technique, Technique::ConfidenceInterval { confidence_level: 0.95 });
    assert_eq!(anomaly.detection_direction, Direction::Both);
    assert_eq!(anomaly.min_dev_from_expected, Sides { below: 0.0, above: 0.0 });
    assert_eq!(anomaly.min_rel_dev_from_expected, Sides { below: 0.0, above: 0.0 });
    assert_eq!(anomaly.scale, Sides { below: 1.0, above: 1.0 });
    assert_eq!(anomaly.data_range, (f64::NEG_INFINITY, f64::INFINITY));
    assert!(!anomaly.clip_predictions);
    assert_eq!(anomaly.score_outside_data_range, 1.01);
    assert_eq!(anomaly.calibrated_level(), Some(0.95));
    assert_eq!((anomaly.patience, anomaly.budget), (Duration::ZERO, None));
    assert_eq!(anomaly.mask_limit, Some(Duration::from_secs(1800)), "half of a context, and at most a day");
    assert!(pipeline.calendars.is_empty());
    let output = pipeline.output;
    assert!(output.write_forecast && output.write_anomaly_score);
    assert_eq!(output.metric_prefix, "openanomaly_");
    assert_eq!(output.metric_format, MetricFormat { name: "$VAR".into(), labels: vec![] });
}

#[test]
fn every_field_of_the_original_loads() {
    let pipeline = parse(
        "
        name: api_latency
        description: p99 of the API
        enabled: no
        query: histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))
        step: 5m
        context_window: 1d12h
        prediction_horizon: 1h
        mode: anomaly_only
        forecast_schedule: '*/30 * * * *'
        anomaly_schedule: 30s
        series_type: univariate
        covariates: []
        model: { type: local, id: zscore, endpoint: null, serialization_format: arrow, parameters: {} }
        training: { enabled: false, schedule: '0 0 * * *', window: 30d, parameters: { epochs: 3 } }
        anomaly: { technique: iqr, confidence_level: 0.9, threshold: 1.5 }
        output: { write_forecast: false, write_anomaly_score: true, metric_prefix: 'oa:' }
        prometheus_url: http://prometheus:9090
        prometheus_write_url: https://victoria/api/v1/write
        ",
    );
    assert!(!pipeline.enabled);
    assert_eq!((pipeline.context_points, pipeline.horizon_points), (432, 12));
    assert_eq!(pipeline.mode, Mode::AnomalyOnly);
    assert_eq!(pipeline.anomaly_schedule, Schedule::Every(Duration::from_secs(30)));
    assert_eq!(pipeline.model.id, "zscore");
    assert_eq!(pipeline.anomaly.technique, Technique::Iqr { threshold: 1.5 });
    assert_eq!(pipeline.output.metric_prefix, "oa:");
    assert_eq!(pipeline.prometheus_write_url.as_deref(), Some("https://victoria/api/v1/write"));
}

#[test]
fn training_is_read_in_both_forms_and_off_unless_it_is_switched_on() {
    let check = |text: &str, expected: Option<(&str, u64, Option<&str>)>| {
        let found = parse(&format!("{{name: cpu, query: up, {text}}}")).training;
        let found = found.map(|one| (one.schedule.to_string(), one.window.as_secs() / 3600, one.endpoint));
        let expected = expected.map(|(schedule, hours, url)| (schedule.to_owned(), hours, url.map(str::to_owned)));
        assert_eq!(found, expected, "{text}");
    };
    check("description: ''", None);
    check("training: {enabled: false, window: 7d}", None);
    check("training: {}", Some(("0 0 * * *", 720, None)));
    check("training: {schedule: 6h, window: 7d}", Some(("6h", 168, None)));
    check("training_enabled: true", Some(("0 0 * * *", 720, None)));
    check("training_enabled: true, training_schedule: '0 3 * * *', training_window: 2d", Some(("0 3 * * *", 48, None)));
    check("training_schedule: '0 3 * * *'", None);
    check("training: {window: 7d}, training_enabled: false", None);
    let remote = "model: {type: remote, endpoint: 'http://host/predict'}, training: {endpoint: 'http://host/train'}";
    check(remote, Some(("0 0 * * *", 720, Some("http://host/train"))));
}

#[test]
fn the_flat_form_means_the_same() {
    let flat = parse(
        "{name: cpu, query: up, forecast_context_window: 2h, forecast_horizon: 30m, forecast_enabled: true,
          anomaly_enabled: true, anomaly_threshold: 2.5, training_enabled: false, training_schedule: '0 */6 * * *',
          training_window: 7d}",
    );
    let nested = parse(
        "{name: cpu, query: up, context_window: 2h, prediction_horizon: 30m,
          anomaly: {technique: z_score, threshold: 2.5}}",
    );
    assert_eq!(flat, nested);
    for (fields, mode, enabled) in [
        ("forecast_enabled: false", Mode::AnomalyOnly, true),
        ("anomaly_enabled: false", Mode::ForecastOnly, true),
        ("anomaly_enabled: false, forecast_enabled: false", Mode::ForecastAndAnomaly, false),
    ] {
        let pipeline = parse(&format!("{{name: cpu, query: up, {fields}}}"));
        assert_eq!((pipeline.mode, pipeline.enabled), (mode, enabled), "{fields}");
    }
    let iqr = parse("{name: cpu, query: up, anomaly: {technique: iqr}, anomaly_threshold: 2}");
    assert_eq!(iqr.anomaly.technique, Technique::Iqr { threshold: 2.0 });
}

#[test]
fn an_isolation_forest_judges_with_or_without_a_model_to_forecast() {
    let check = |text: &str, id: &str| {
        let pipeline = parse(&format!("{{name: cpu, query: up, {text}}}"));
        assert_eq!(pipeline.model.id, id, "{text}");
        assert!(pipeline.detects() && !pipeline.learns(), "{text}");
    };
    check("anomaly: {technique: isolation_forest}", "isolation_forest");
    check("anomaly: {technique: isolation_forest}, series_type: multivariate", "isolation_forest");
    check("anomaly: {technique: isolation_forest}, model: {parameters: {group_by: [host]}}", "isolation_forest");
    check("anomaly: {technique: isolation_forest}, model: {id: mstl}, series_type: multivariate", "mstl");
    check("anomaly: {technique: isolation_forest}, training: {}", "mstl");
    check("model: {id: peers, parameters: {method: dbscan}}", "peers");
    assert!(!parse("{name: cpu, query: up, model: {id: mstl}}").detects());
}

#[test]
fn series_stand_alone_unless_something_joins_them() {
    for (text, expected) in [
        ("model: {id: mstl}", true),
        ("model: {id: auto}", true),
        ("model: {id: peers}", false),
        ("model: {id: peers, parameters: {group_by: [host]}}", false),
        ("model: {id: isolation_forest}", true),
        ("model: {id: isolation_forest, parameters: {group_by: []}}", false),
        ("model: {id: isolation_forest}, series_type: multivariate", false),
        ("model: {id: mstl}, anomaly: {technique: isolation_forest}", true),
        ("model: {id: mstl}, anomaly: {technique: isolation_forest}, series_type: multivariate", false),
        ("anomaly: {alert_budget: 2/week per series}", true),
        ("anomaly: {alert_budget: 2/week}", false),
    ] {
        assert_eq!(parse(&format!("{{name: cpu, query: up, {text}}}")).series_stand_alone(), expected, "{text}");
    }
}

#[test]
fn our_own_fields_load() {
    let pipeline = parse(
        "
        name: cpu
        query: up
        timezone: America/New_York
        missing: { fixed: -1.5 }
        context_window: 2m30s
        forecast_schedule: '@hourly'
        mode: forecast_only
        anomaly:
          detection_direction: above_expected
          min_dev_from_expected: [1, 2]
          scale: 1.5
          data_range: [0, .inf]
          calibration: none
          for: 0s
          mask_anomalies: false
        calendars: []
        backfill:
        output: { metric_format: { for: $QUERY_KEY, __name__: '${VAR}' } }
        "
        .replace("'${VAR}'", "x_$VAR")
        .as_str(),
    );
    assert_eq!(pipeline.missing, Missing::Fixed(-1.5));
    assert_eq!(pipeline.context_points, 3, "a part of a step counts as one");
    assert_eq!(pipeline.anomaly.min_dev_from_expected, Sides { below: 1.0, above: 2.0 });
    assert_eq!(pipeline.anomaly.data_range, (0.0, f64::INFINITY));
    let labels = vec![("for".to_owned(), "$QUERY_KEY".to_owned())];
    assert_eq!(pipeline.output.metric_format, MetricFormat { name: "x_$VAR".into(), labels });
    for (word, missing) in [("nan", Missing::Nan), (".nan", Missing::Nan), ("zero", Missing::Fixed(0.0))] {
        assert_eq!(parse(&format!("name: a\nquery: up\nmissing: {word}")).missing, missing);
    }
}

#[test]
fn how_scores_are_kept_honest_is_read() {
    let pipeline = parse(
        "
        name: cpu
        query: up
        context_window: 1w
        timezone: Europe/Berlin
        anomaly:
          calibration: conformal
          alert_budget: 2/week per series
          for: 10m
          mask_limit: 12h
        calendars:
          - {name: christmas, from: 2026-12-24, until: 2026-12-27T06:00}
          - {name: release, from: 2026-03-01T10:00:00Z, until: 2026-03-01T12:00:00+01:00, timezone: Asia/Tokyo}
          - {schedule: 30 2 * * *, duration: 1h, matchers: {zone: b, job: x}}
          - {schedule: 1h, duration: 5m, timezone: UTC, matchers: ['zone!=\"b\"', 'job=~\"x|y\"']}
        ",
    );
    let anomaly = &pipeline.anomaly;
    assert_eq!((anomaly.patience, anomaly.patience_points(pipeline.step)), (Duration::from_secs(600), 10));
    assert_eq!(anomaly.mask_limit, Some(Duration::from_secs(43_200)));
    let budget = anomaly.budget.unwrap();
    assert_eq!((budget.alerts, budget.per, budget.share), (2.0, Duration::from_secs(7 * 86_400), Share::Series));
    let time = |text: &str| Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let [christmas, release, nightly, hourly] = &pipeline.calendars[..] else { panic!("{:?}", pipeline.calendars) };
    assert_eq!(christmas.when, When::Once(time("2026-12-23T23:00:00Z")..time("2026-12-27T05:00:00Z")));
    assert_eq!(release.when, When::Once(time("2026-03-01T10:00:00Z")..time("2026-03-01T11:00:00Z")));
    let summer = nightly.silences(time("2026-07-01T00:00:00Z"), time("2026-07-01T12:00:00Z"));
    assert_eq!(summer[0].from, time("2026-07-01T00:30:00Z"), "the clock of the pipeline's own zone");
    let silent = |calendar: &Calendar, series: &str| {
        calendar.silences(time("2026-07-01T00:31:00Z"), time("2026-07-01T01:01:00Z"))[0]
            .is_for(&series.parse().unwrap())
    };
    assert!(silent(nightly, "up{zone=\"b\", job=\"x\"}") && !silent(nightly, "up{zone=\"b\"}"));
    assert!(silent(hourly, "up{job=\"y\"}") && !silent(hourly, "up{zone=\"b\", job=\"y\"}"));
    for (text, level) in [("{}", Some(0.95)), ("{technique: iqr}", None), ("{calibration: none}", None)] {
        let pipeline = parse(&format!("name: a\nquery: up\nanomaly: {text}"));
        assert_eq!(pipeline.anomaly.calibrated_level(), level, "{text}");
    }
    let pipeline = parse("name: a\nquery: up\nanomaly: {mask_anomalies: false}");
    assert_eq!(pipeline.anomaly.mask_limit, None);
}

#[test]
fn a_file_may_hold_several() {
    let names = |text: &str| -> Vec<Result<String, String>> {
        let pipelines = Pipeline::parse_all(text, "f");
        pipelines.into_iter().map(|p| p.map(|p| p.name).map_err(|error| error.to_string())).collect()
    };
    let ok = |name: &str| Ok(name.to_owned());
    assert_eq!(names(""), []);
    assert_eq!(names("# nothing\n---\n---\n"), []);
    assert_eq!(names("pipelines:\n"), []);
    assert_eq!(names("{name: a, query: up}\n---\n{name: b, query: up}"), [ok("a"), ok("b")]);
    // One document of the original, and one that shares fields by an anchor.
    let list = "pipelines:\n- &a {name: a, query: up, step: 2m}\n- {<<: *a, name: b}\n";
    assert_eq!(names(list), [ok("a"), ok("b")]);
    let mixed = names("{name: a, query: up}\n---\n{name: b, step: 5}\n---\n{name: c, query: up}");
    assert_eq!((&mixed[0], &mixed[2]), (&ok("a"), &ok("c")), "a wrong one doesn't stop the others");
    assert!(mixed[1].as_ref().unwrap_err().contains("f:3:"), "{mixed:?}");
    let twice = names("{name: a, query: up}\n---\n{name: a, query: down}");
    let message = "f:3:8: pipeline `a`: `name`: is the name of the pipeline in line 1 too; names are unique";
    assert_eq!(twice, [ok("a"), Err(message.to_owned())]);
}

#[test]
fn shipped_pipelines_load() {
    let files: Vec<_> = std::fs::read_dir(config().join("pipelines")).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=../pipeline.schema.json"), "{}", file.display());
        Pipeline::parse(&text, &file.to_string_lossy()).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// `UPDATE_SCHEMA=1 cargo test -p engine --test documents` writes the file.
#[test]
fn the_shipped_schema_is_what_the_types_say() {
    let path = config().join("pipeline.schema.json");
    let schema = serde_json::to_string_pretty(&Pipeline::schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == schema, "{} is not what the types say; run with UPDATE_SCHEMA=1", path.display());
}
