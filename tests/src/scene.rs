//! A few series from an hour ago until soon, and what a pipeline must have written of them.

use std::time::Duration;

use engine::output::{Names, SCORE_KINDS, selector};
use engine::{History, Pipeline};
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, Step, Timestamp};

use crate::now;

/// Five series `requests` with a season of 20 points; the first of them is ten times as high from half the future on.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The last point before the scene was made.
    pub start: Timestamp,
    /// All points, from before the start until after it.
    pub frame: Frame,
}

/// Two seconds.
const STEP: Step = Step::from_millis(2000).expect("two seconds are a step");

const SERIES: usize = 5;
const BEFORE: usize = 300;

fn value(row: usize, point: i64) -> f64 {
    let hash = (point as u64 * 31 + row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = (hash >> 40) as f64 / (1 << 24) as f64;
    100.0 + 20.0 * ((point + row as i64) as f64 / 20.0 * std::f64::consts::TAU).sin() + noise
}

impl Scene {
    /// A scene that begins now and goes on for `ahead` points.
    ///
    /// # Panics
    /// Never: series and points are given.
    pub fn now(ahead: usize) -> Self {
        let start = now().floor(STEP);
        let (first, points) = (start - STEP.times(BEFORE), BEFORE + ahead);
        let labels = |row| Labels::metric("requests").with("instance", &format!("host-{row}"));
        let cell = |row: usize, point: usize| {
            let is_anomalous = row == 0 && point > BEFORE + ahead / 2;
            value(row, first.millis() / STEP.millis() + point as i64) * if is_anomalous { 10.0 } else { 1.0 }
        };
        let values = (0..SERIES).flat_map(|row| (0..points).map(move |point| cell(row, point))).collect();
        let frame = Frame::new((0..SERIES).map(labels).collect(), first, STEP, points, values);
        Self { start, frame: frame.expect("names differ") }
    }

    /// The last point.
    pub fn end(&self) -> Timestamp {
        self.frame.end()
    }

    /// Checks the scores that `pipeline` has written to a store that settles after `settles_after`: of every series,
    /// every point from the first to the last must be there at its own time, and be that of an undisturbed run.
    /// Answers the first and the last point.
    ///
    /// # Panics
    /// Where a score is missing or different.
    pub async fn check_scores(
        &self,
        reader: &dyn Read,
        pipeline: &str,
        settles_after: Duration,
    ) -> (Timestamp, Timestamp) {
        let mut pipeline = Pipeline::parse(pipeline, "test").expect("the test's pipeline is right");
        pipeline.data_delay = pipeline.data_delay.max(settles_after);
        let (first, last) = self.ends(reader, &pipeline).await;
        let model = models::build(&pipeline.model, &models::Resources::default()).expect("the test's model is right");
        let history = History::of(self.frame.clone());
        let scored = engine::replay(&pipeline, &*model, &history, first - STEP.duration(), last);
        let expected =
            Names::new(pipeline.clone().into()).scores(scored.expect("the model works")).expect("names differ");
        for (kind, expected) in SCORE_KINDS.iter().zip(&expected) {
            let times = read(reader, format!("timestamp({})", selector(&pipeline, kind)), first, last).await;
            let values = read(reader, selector(&pipeline, kind), first, last).await;
            assert_eq!((values.series().len(), expected.series().len()), (SERIES, SERIES), "{kind}");
            for (labels, want) in expected.rows() {
                check_row(labels, want, &row(&times, &labels.with("__name__", "")), &row(&values, labels), expected);
            }
        }
        (first, last)
    }

    /// The first and the last point that was scored.
    async fn ends(&self, reader: &dyn Read, pipeline: &Pipeline) -> (Timestamp, Timestamp) {
        let query = format!("timestamp({})", selector(pipeline, SCORE_KINDS[0]));
        let times = read(reader, query, self.frame.start(), self.end()).await;
        let written = times.values().iter().filter(|seconds| seconds.is_finite());
        let (first, last) = written.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(*at), high.max(*at)));
        assert!(first <= last, "{} has written no score", pipeline.name);
        (Timestamp::from_seconds(first as i64), Timestamp::from_seconds(last as i64))
    }
}

/// The answer on the grid of the scene.
///
/// # Panics
/// Where the store doesn't answer.
async fn read(reader: &dyn Read, query: String, first: Timestamp, last: Timestamp) -> Frame {
    let query = RangeQuery::new(query, first, last, STEP).expect("the range has points");
    reader.read(&query, &Limits::default()).await.expect("the store answers").frame
}

fn row(frame: &Frame, labels: &Labels) -> Vec<f64> {
    let found = frame.rows().find(|(known, _)| *known == labels);
    found.unwrap_or_else(|| panic!("{labels} is not among {:?}", frame.series())).1.to_vec()
}

fn check_row(labels: &Labels, want: &[f64], times: &[f64], values: &[f64], grid: &Frame) {
    for (point, (want, (seconds, got))) in want.iter().zip(times.iter().zip(values)).enumerate() {
        let time = grid.time(point);
        assert_eq!(*seconds, time.seconds(), "{labels}: the score of {time} is missing");
        // Some stores keep values to fifteen digits only, and a score is a small difference over another.
        assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{labels} at {time}: {got} instead of {want}");
    }
}
