//! A report to draw in tests.

use std::time::Duration;

use engine::Scored;
use tsdb::{Frame, Labels, Step, Timestamp};

use super::Report;

/// A report on `series` daily waves of `points` points each, five minutes apart. Every second series has two
/// incidents of six points; all have a gap.
pub(crate) fn report(series: usize, points: usize) -> Report {
    let labels = |row: usize| {
        let pairs = [("__name__", "cpu_<usage>".to_string()), ("instance", format!("host-{row:03}"))];
        Labels::new(pairs).unwrap()
    };
    let names: Vec<Labels> = (0..series).map(labels).collect();
    let frame = |value: &dyn Fn(usize, usize) -> f64| {
        let values = (0..series).flat_map(|row| (0..points).map(move |point| value(row, point))).collect();
        let start = Timestamp::from_seconds(1_767_225_600);
        Frame::new(names.clone(), start, Step::from_millis(300_000).unwrap(), points, values).unwrap()
    };
    let expected = |row: usize, point: usize| {
        50.0 + row as f64 + 30.0 * (point as f64 / 288.0 * std::f64::consts::TAU + row as f64).sin()
    };
    let noise = |row: usize, point: usize| ((row * 7919 + point * 104_729) % 1000) as f64 / 250.0 - 2.0;
    let jump = |row: usize, point: usize| {
        let hit = row.is_multiple_of(2) && [points / 3, points * 2 / 3].iter().any(|at| (*at..at + 6).contains(&point));
        if hit { 25.0 + row as f64 } else { 0.0 }
    };
    let y = |row: usize, point: usize| {
        let gap = (points / 2..points / 2 + 3).contains(&point);
        if gap { f64::NAN } else { expected(row, point) + noise(row, point) + jump(row, point) }
    };
    let scored = Scored {
        y: frame(&y),
        yhat: frame(&expected),
        yhat_lower: frame(&|row, point| expected(row, point) - 6.0),
        yhat_upper: frame(&|row, point| expected(row, point) + 6.0),
        score: frame(&|row, point| (y(row, point) - expected(row, point)).abs() / 6.0),
    };
    Report {
        source: "metrics.csv".into(),
        settings: vec![("model".into(), "mstl".into()), ("confidence".into(), "0.999".into())],
        incidents: engine::incident::incidents(&scored.score, 2),
        scored,
        took: Duration::from_millis(1234),
    }
}
