//! Both detectors on groups that do something odd, and on groups that are odd to reckon with.

use std::time::Duration;

use serde_json::Map;

use super::{Detector, Found, Panel, Reason, Value};
use crate::{Judging, ModelSpec, Resources, build};

const KNOWN: usize = 600;
const DAY: f64 = 144.0;
const GAP: f64 = f64::NAN;

fn detector(id: &str, parameters: &str) -> Detector {
    let spec = ModelSpec::local(id, serde_json::from_str::<Map<String, serde_json::Value>>(parameters).unwrap());
    assert!(build(&spec, &Resources::default()).is_ok(), "{id} {parameters}");
    let Judging::Panel(detector) = spec.judging() else { panic!("{id} looks at several series") };
    detector
}

fn noise(row: usize, at: usize) -> f64 {
    let hash = ((row * 1_000_003 + at) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash >> 40) as f64 / (1 << 24) as f64 - 0.5
}

fn wave(at: usize) -> f64 {
    (at as f64 / DAY * std::f64::consts::TAU).sin() + 0.3 * noise(99, at)
}

/// Processor time and requests, which follow the same load.
fn pair(points: usize) -> Vec<Vec<f64>> {
    let load = |at: usize| 100.0 + 50.0 * wave(at);
    let cpu = (0..points).map(|at| 0.4 * load(at) + 4.0 * noise(0, at)).collect();
    let requests = (0..points).map(|at| 10.0 * load(at) + 60.0 * noise(1, at)).collect();
    vec![cpu, requests]
}

/// Hosts on one wave, each with a place of its own beside it.
fn fleet(hosts: usize, points: usize) -> Vec<Vec<f64>> {
    let host = |host: usize| (0..points).map(move |at| 100.0 + 50.0 * wave(at) + host as f64 + 4.0 * noise(host, at));
    (0..hosts).map(|at| host(at).collect()).collect()
}

fn panel(rows: &[Vec<f64>]) -> Panel<'_> {
    let step = Duration::from_secs(600);
    Panel { rows, known: KNOWN.min(rows[0].len()), start_ms: 0, step, confidence: 0.95 }
}

fn judge(detector: &Detector, rows: &[Vec<f64>]) -> Vec<Vec<Option<Found>>> {
    detector.judge(&panel(rows))
}

/// The score of a point, as the engine reckons it where the detector leaves that to the band.
fn score(found: Option<Found>, y: f64) -> f64 {
    let Some(Found { expected, lower, upper, score }) = found else { return GAP };
    assert!(lower <= expected && expected <= upper && upper.is_finite() && lower.is_finite());
    let half_width = if y > expected { upper - expected } else { expected - lower };
    score.unwrap_or(if y == expected { 0.0 } else { (y - expected).abs() / half_width })
}

fn scores(detector: &Detector, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let found = judge(detector, rows);
    found
        .iter()
        .zip(rows)
        .map(|(found, row)| found.iter().zip(&row[KNOWN..]).map(|(f, y)| score(*f, *y)).collect())
        .collect()
}

#[test]
fn values_that_are_odd_together_only_are_found() {
    let forest = detector("isolation_forest", r#"{"group_by": []}"#);
    let mut rows = pair(KNOWN + 300);
    // As much processor time as by day, and as few requests as by night.
    let odd = KNOWN + 200;
    (rows[0][odd], rows[1][odd]) = (55.0, 600.0);
    let found = scores(&forest, &rows);
    assert_eq!(found[0], found[1], "the series of a vector have one score");
    assert!(found[0][200] > 1.0, "{}", found[0][200]);
    let false_alarms = found[0].iter().enumerate().filter(|(at, score)| *at != 200 && **score > 1.0).count();
    assert!(false_alarms <= 3, "{false_alarms} of 300");
    for row in &rows {
        let alone = scores(&detector("isolation_forest", "{}"), std::slice::from_ref(row));
        assert!(score_of_level(row, odd) && alone[0].len() == 300, "each value is usual by itself");
    }
}

/// Whether the value of `row` at `at` lies between the lowest and the highest of the context.
fn score_of_level(row: &[f64], at: usize) -> bool {
    let context = &row[..KNOWN];
    context.iter().any(|value| *value < row[at]) && context.iter().any(|value| *value > row[at])
}

#[test]
fn a_series_by_itself_is_judged_by_its_value_and_change() {
    let forest = detector("isolation_forest", "{}");
    let mut rows = vec![pair(KNOWN + 100).remove(0)];
    rows[0][KNOWN + 50] += 60.0;
    let found = scores(&forest, &rows);
    assert!(found[0][50] > 1.0, "{}", found[0][50]);
    let by_hour = detector("isolation_forest", r#"{"seasonal_features": ["hod"]}"#);
    let mut rows = vec![pair(KNOWN + 144).remove(0)];
    // The value of noon at night: 144 points are a day, and 108 of them lead to its lowest.
    let night = KNOWN + 144 - 60;
    let height = rows[0][night - 72];
    rows[0][night] = height;
    assert!(scores(&by_hour, &rows)[0][night - KNOWN] > 1.0, "{}", scores(&by_hour, &rows)[0][night - KNOWN]);
}

#[test]
fn one_of_many_that_leaves_the_pack_is_found_and_the_wave_is_not() {
    for (method, least) in [("mad", 1.0), ("dbscan", 1.0)] {
        let peers = detector("peers", &format!(r#"{{"method": "{method}"}}"#));
        let mut rows = fleet(20, KNOWN + 150);
        rows.iter_mut().for_each(|row| row[KNOWN + 20] += 500.0);
        rows[7][KNOWN + 100] -= 25.0;
        let found = scores(&peers, &rows);
        for (host, found) in found.iter().enumerate() {
            for (at, score) in found.iter().enumerate() {
                let is_odd = host == 7 && at == 100;
                assert_eq!(*score > least, is_odd, "{method}: host {host} at {at}: {score}");
            }
        }
    }
}

#[test]
fn what_comes_later_and_who_else_has_ended_has_no_say() {
    for id in ["isolation_forest", "peers"] {
        let detector = detector(id, r#"{"group_by": []}"#);
        let rows = fleet(5, KNOWN + 40);
        let whole = judge(&detector, &rows);
        let cut: Vec<Vec<f64>> = rows.iter().map(|row| row[..KNOWN + 10].to_vec()).collect();
        let cut = judge(&detector, &cut);
        assert!(whole.iter().zip(&cut).all(|(whole, cut)| whole[..10] == cut[..]), "{id}");
        let with_ended: Vec<Vec<f64>> = rows.iter().cloned().chain([vec![GAP; KNOWN + 40]]).collect();
        assert_eq!(judge(&detector, &with_ended)[..5], whole[..], "{id}");
    }
}

#[test]
fn a_series_that_never_moved_is_odd_as_soon_as_it_does() {
    let forest = detector("isolation_forest", r#"{"group_by": []}"#);
    let mut rows = pair(KNOWN + 10);
    rows.push(vec![0.1 + 0.2; KNOWN + 10]);
    rows[2][KNOWN + 3] = 0.3;
    rows[2][KNOWN + 5] = 2.0;
    let found = scores(&forest, &rows);
    assert!(found[0][5] > 1.0 && found[0][3] < 1.0, "{:?}", found[0]);
}

#[test]
fn odd_groups_are_no_trouble() {
    let (long, infinite) = (KNOWN + 5, f64::INFINITY);
    let groups: Vec<Vec<Vec<f64>>> = vec![
        vec![vec![]],
        vec![vec![1.0]],
        vec![vec![1.0; 10]; 3],
        vec![vec![GAP; long]; 3],
        vec![vec![7.0; long]; 4],
        vec![vec![GAP; long], vec![1e300; long], vec![-1e300; long]],
        vec![(0..long).map(|at| if at % 7 == 0 { infinite } else { at as f64 }).collect(); 3],
        vec![(0..long).map(|at| if at % 3 == 0 { 1.0 } else { 0.0 }).collect(); 2],
        (0..4)
            .map(|row| (0..long).map(|at| if noise(row, at) > 0.3 { GAP } else { 1e12 * noise(row, at) }).collect())
            .collect(),
        vec![pair(long).remove(0); 70],
    ];
    for parameters in [
        ("isolation_forest", r#"{"group_by": []}"#),
        ("isolation_forest", r#"{"group_by": [], "seasonal_features": ["minute", "hod", "dow", "month"], "trees": 3}"#),
        ("peers", "{}"),
        ("peers", r#"{"method": "dbscan", "sensitivity": 0.99}"#),
    ] {
        let detector = detector(parameters.0, parameters.1);
        for (which, rows) in groups.iter().enumerate() {
            let known = KNOWN.min(rows[0].len());
            for (at, (found, row)) in judge(&detector, rows).iter().zip(rows).enumerate() {
                let has_reason = detector.reason(&panel(rows), at).is_some();
                assert_eq!(has_reason, found.last().is_some_and(Option::is_some), "{parameters:?}, group {which}");
                assert_eq!(found.len(), row.len() - known);
                for (found, y) in found.iter().zip(&row[known..]) {
                    assert!(found.is_none() || y.is_finite(), "a gap has no score");
                    assert!(found.is_none() || score(*found, *y) >= 0.0, "{parameters:?}, group {which}: {found:?}");
                }
            }
        }
    }
}

/// The values that the last point's vector is odd by: the score, and of what each is, what was expected of it, and which
/// part of the score falls away with that.
fn values(parameters: &str, rows: &[Vec<f64>]) -> (f64, Vec<(Value, f64, f64)>) {
    let reason = detector("isolation_forest", parameters).reason(&panel(rows), 0);
    let Some(Reason::Values { score, parts }) = reason else { panic!("{reason:?}") };
    (score, parts.iter().map(|part| (part.what, part.expected, 1.0 - part.without / score)).collect())
}

#[test]
fn values_that_make_a_vector_odd_are_told_from_the_others() {
    let mut rows = pair(KNOWN + 1);
    rows.push((0..=KNOWN).map(|at| noise(7, at)).collect());
    (rows[0][KNOWN], rows[1][KNOWN], rows[2][KNOWN]) = (55.0, 600.0, 0.1);
    let (score, parts) = values(r#"{"group_by": []}"#, &rows);
    assert!(score > 1.0, "{score}");
    // Requests are 25 times the processor time, give or take some noise.
    let near = |expected: f64, found: f64| (found - expected).abs() < 0.1 * expected;
    for (row, expected) in [(0, 600.0 / 25.0), (1, 55.0 * 25.0)] {
        let (_, found, share) = parts.iter().find(|part| part.0 == Value::Row(row)).unwrap();
        assert!(near(expected, *found) && *share > 0.6, "{parts:?}");
    }
    assert!(parts[2].0 == Value::Row(2) && parts[2].2 < 0.1, "the third has no part in it: {parts:?}");
}

#[test]
fn a_series_by_itself_is_odd_by_its_value_its_change_or_its_time() {
    let mut rows = vec![pair(KNOWN + 1).remove(0)];
    rows[0][KNOWN] = rows[0][KNOWN - 1] + 15.0;
    let (score, parts) = values("{}", &rows);
    assert!(score > 1.0 && parts.len() == 2 && parts[0].0 == Value::Change(0), "{score}: {parts:?}");
    assert!(parts[0].2 > 0.4 && parts[0].2 > 2.0 * parts[1].2 && parts[0].1.abs() < 5.0, "{parts:?}");
    let (_, parts) = values(r#"{"seasonal_features": ["hod", "dow"]}"#, &rows);
    let mut of: Vec<Value> = parts.iter().map(|part| part.0).collect();
    of.sort_by_key(|what| format!("{what:?}"));
    assert_eq!(of, [Value::Change(0), Value::Row(0), Value::Time("day"), Value::Time("week")]);
}

#[test]
fn what_never_moved_before_is_the_reason_where_it_does() {
    let mut rows = pair(KNOWN + 1);
    rows.push(vec![7.0; KNOWN + 1]);
    rows[2][KNOWN] = 9.0;
    let (score, parts) = values(r#"{"group_by": []}"#, &rows);
    assert!(score > 1.0 && parts[0].0 == Value::Row(2) && parts[0].2 > 0.5, "{score}: {parts:?}");
    assert!((parts[0].1 - 7.0).abs() < 1e-9 && parts[1..].iter().all(|part| part.2.abs() < 1e-9), "{parts:?}");
}

#[test]
fn what_the_others_of_the_pack_did_is_told() {
    let mut rows = fleet(20, KNOWN + 1);
    let middle = 100.0 + 50.0 * wave(KNOWN) + 9.5;
    rows[15][KNOWN] -= 25.0;
    let reason = detector("peers", "{}").reason(&panel(&rows), 15);
    let Some(Reason::Others(others)) = reason else { panic!("{reason:?}") };
    assert_eq!((others.count, others.as_far), (19, 0));
    // The noise of each is at most 2.
    for (found, expected) in [
        (others.middle, middle),
        (others.place, 5.5),
        (others.deviation, -25.0),
        (others.spread[0], middle - 9.5),
        (others.spread[2], middle),
        (others.spread[4], middle + 9.5),
    ] {
        assert!((found - expected).abs() < 4.0, "{found} instead of {expected}: {others:?}");
    }
    assert!(others.spread.is_sorted() && others.furthest < 5.0, "{others:?}");
    rows[3][KNOWN] += 60.0;
    let Some(Reason::Others(others)) = detector("peers", "{}").reason(&panel(&rows), 15) else { panic!("none") };
    assert_eq!(others.as_far, 1);
}

#[test]
fn wrong_parameters_are_named() {
    for (id, parameters, expected) in [
        ("isolation_forest", r#"{"contamination": 0}"#, "contamination: 0 does not lie between 0 and 0.5"),
        ("isolation_forest", r#"{"contamination": "auto"}"#, "contamination"),
        ("isolation_forest", r#"{"trees": 0}"#, "trees: 0 is not between 1 and 1000"),
        ("isolation_forest", r#"{"sample": 5}"#, "sample: 5 is not between 8 and 4096"),
        ("isolation_forest", r#"{"seasonal_features": ["hour"]}"#, "seasonal_features"),
        ("isolation_forest", r#"{"group_by": "host"}"#, "group_by"),
        ("isolation_forest", r#"{"forecaster": "auto"}"#, "auto makes no forecasts of its own"),
        ("isolation_forest", r#"{"tres": 5}"#, "allowed are group_by, contamination"),
        ("peers", r#"{"sensitivity": 1}"#, "sensitivity: 1 does not lie between 0 and 1"),
        ("peers", r#"{"sensitivity": -0.5}"#, "sensitivity: -0.5 does not lie between 0 and 1"),
        ("peers", r#"{"method": "kmeans"}"#, "method"),
        ("peers", r#"{"forecaster": "peers"}"#, "peers makes no forecasts of its own"),
        ("peers", r#"{"forecaster": "nothing"}"#, "there is no model"),
    ] {
        let spec = ModelSpec::local(id, serde_json::from_str(parameters).unwrap());
        let Err(error) = build(&spec, &Resources::default()) else { panic!("{id} {parameters} was built") };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
