//! Small parts for this crate's tests.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use models::{Forecast, ForecastError, Forecaster, ModelSpec, Request};
use tsdb::labels::METRIC_NAME;
use tsdb::{
    Answer, Frame, FrameBuilder, Labels, Limits, RangeQuery, Read, ReadError, STALE, Step, Timestamp, Write,
    WriteError, Written,
};

use crate::calendar::{Calendar, When};
use crate::pipeline::{
    Anomaly, Calibration, Direction, MetricFormat, Missing, Mode, Output, Pipeline, Sides, Technique,
};
use crate::schedule::Schedule;

/// A pipeline of a step of 1 s, contexts of 20 points and a forecast every 10 s. Its scores depend on nothing before.
pub(crate) fn pipeline() -> Pipeline {
    let none = Sides { below: 0.0, above: 0.0 };
    Pipeline {
        name: "test".into(),
        description: String::new(),
        enabled: true,
        query: "up".into(),
        datasource: "default".into(),
        prometheus_url: None,
        prometheus_write_url: None,
        step: Step::from_millis(1000).unwrap(),
        context_points: 20,
        horizon_points: 15,
        mode: Mode::ForecastAndAnomaly,
        forecast_schedule: Schedule::Every(Duration::from_secs(10)),
        anomaly_schedule: Schedule::Every(Duration::from_secs(1)),
        data_delay: Duration::ZERO,
        missing: Missing::Nan,
        max_series: 100,
        model: ModelSpec::local("last", serde_json::Map::new()),
        training: None,
        together: false,
        covariates: vec![],
        anomaly: Anomaly {
            technique: Technique::ConfidenceInterval { confidence_level: 0.9 },
            detection_direction: Direction::Both,
            min_dev_from_expected: none,
            min_rel_dev_from_expected: none,
            scale: Sides { below: 1.0, above: 1.0 },
            data_range: (f64::NEG_INFINITY, f64::INFINITY),
            clip_predictions: false,
            score_outside_data_range: 1.01,
            calibration: Calibration::None,
            budget: None,
            patience: Duration::ZERO,
            mask_limit: None,
        },
        calendars: vec![],
        output: Output {
            write_forecast: true,
            write_anomaly_score: true,
            metric_prefix: "openanomaly_".into(),
            metric_format: MetricFormat { name: "$VAR".into(), labels: vec![] },
        },
    }
}

/// The same, but what was scored before has a say in everything that it can have: bands are calibrated, anomalous points
/// are hidden for at most 8 s, and every 50 s there are five of silence.
pub(crate) fn learning() -> Pipeline {
    let mut pipeline = pipeline();
    pipeline.anomaly.calibration = Calibration::Conformal;
    pipeline.anomaly.mask_limit = Some(Duration::from_secs(8));
    let when = When::Recurring { schedule: Schedule::Every(Duration::from_secs(50)), length: Duration::from_secs(5) };
    pipeline.calendars = vec![Calendar { name: "pause".into(), when, matchers: vec!["row=\"2\"".parse().unwrap()] }];
    pipeline
}

/// Three noisy rows, as long as it takes to learn from them. From 720 s on row 0 has a spike every 17 s and row 1 another
/// level.
pub(crate) fn eventful(points: i64) -> Frame {
    let labels = (0..3).map(|row| Labels::metric("up").with("row", &row.to_string())).collect();
    let value = |row: i64, point: i64| {
        let hash = ((point * 3 + row) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let noise = (hash >> 40) as f64 / (1 << 24) as f64;
        let is_late = point >= 720;
        let spike = if is_late && row == 0 && point % 17 < 2 { 30.0 } else { 0.0 };
        noise + spike + if is_late && row == 1 { 20.0 } else { 0.0 }
    };
    let values = (0..3).flat_map(|row| (0..points).map(move |point| value(row, point))).collect();
    Frame::new(labels, Timestamp::default(), Step::from_millis(1000).unwrap(), points as usize, values).unwrap()
}

/// Expects the last value of the context again, give or take the spread of the context.
pub(crate) struct LastValue;

impl Forecaster for LastValue {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        let mut forecast = Forecast::unknown(request.contexts.len(), request.levels.clone(), request.horizon);
        let size = request.levels.len() * request.horizon;
        for (context, row) in request.contexts.iter().zip(forecast.values_mut().chunks_mut(size)) {
            let known = || context.iter().copied().filter(|value| !value.is_nan());
            let Some(last) = known().next_back() else { continue };
            let spread = known().fold(0.0f64, |widest, value| widest.max((value - last).abs())) + 1.0;
            for (level, row) in request.levels.as_slice().iter().zip(row.chunks_mut(request.horizon)) {
                row.fill(last + (level - 0.5) * spread);
            }
        }
        Ok(forecast)
    }
}

/// `series` waves of `points` points from 0 s, each with another phase.
pub(crate) fn wave(series: usize, points: i64) -> Frame {
    let labels = (0..series).map(|row| Labels::metric("up").with("row", &row.to_string())).collect();
    let value = |row: usize, point: i64| ((point + row as i64 * 7) as f64 / 5.0).sin() * 10.0;
    let values = (0..series).flat_map(|row| (0..points).map(move |point| value(row, point))).collect();
    Frame::new(labels, Timestamp::default(), Step::from_millis(1000).unwrap(), points as usize, values).unwrap()
}

/// A store in memory that can fail in the middle of a write.
#[derive(Default)]
pub(crate) struct Memory {
    /// What is answered to the query of a pipeline.
    pub(crate) source: Option<Frame>,
    /// Every value that was written, by series and time.
    pub(crate) samples: Mutex<BTreeMap<(Labels, Timestamp), Vec<f64>>>,
    /// How many samples are still taken before every write fails.
    pub(crate) room: Mutex<Option<usize>>,
    /// The markers that the source has seen.
    pub(crate) marks: Mutex<Vec<(Labels, Timestamp)>>,
    /// Every range that was read of the source.
    pub(crate) reads: Mutex<Vec<RangeQuery>>,
}

impl Memory {
    /// A store whose source answers `frame`.
    pub(crate) fn of(frame: Frame) -> Self {
        Self { source: Some(frame), ..Self::default() }
    }

    /// The times of the samples of the metric that `timestamp(name{…})` or `max(timestamp(name{…}))` asks for.
    fn times(&self, query: &RangeQuery) -> Frame {
        let name = query.query().split("timestamp(").nth(1).unwrap().split('{').next().unwrap();
        let mut frame = FrameBuilder::new(query.start(), query.step(), query.points());
        for (labels, time) in self.samples.lock().unwrap().keys().filter(|key| key.0.name() == name) {
            let is_max = query.query().starts_with("max");
            let row = frame.row(&if is_max { Labels::metric("") } else { labels.with(METRIC_NAME, "") });
            frame.set(row, *time, time.seconds());
        }
        frame.finish()
    }

    /// The samples above 1 of the metric that `name{…} > 1` asks for.
    fn above_one(&self, query: &RangeQuery) -> Frame {
        let name = query.query().split('{').next().unwrap();
        let mut frame = FrameBuilder::new(query.start(), query.step(), query.points());
        for ((labels, time), values) in self.samples.lock().unwrap().iter().filter(|(key, _)| key.0.name() == name) {
            if *time >= query.start() && *time <= query.end() && values[0] > 1.0 {
                let row = frame.row(labels);
                frame.set(row, *time, values[0]);
            }
        }
        frame.finish()
    }

    /// The newest samples of the metric that `last_over_time(name{…}[…])` asks for.
    fn last(&self, query: &RangeQuery) -> Frame {
        let name = query.query().split(['(', '{']).nth(1).unwrap();
        let mut frame = FrameBuilder::new(query.start(), query.step(), query.points());
        for ((labels, _), values) in self.samples.lock().unwrap().iter().filter(|(key, _)| key.0.name() == name) {
            if let Some(value) = values.iter().find(|value| !value.is_nan()) {
                let row = frame.row(labels);
                frame.set(row, query.end(), *value);
            }
        }
        frame.finish()
    }

    fn source(&self, query: &RangeQuery) -> Frame {
        let source = self.source.as_ref().unwrap();
        let mut frame = FrameBuilder::new(query.start(), query.step(), query.points());
        let is_there = |at: usize| source.time(at) >= query.start() && source.time(at) <= query.end();
        for (labels, values) in source.rows() {
            if !values.iter().enumerate().any(|(at, value)| is_there(at) && !value.is_nan()) {
                continue;
            }
            let row = frame.row(labels);
            for (point, value) in values.iter().enumerate() {
                frame.set(row, source.time(point), *value);
            }
        }
        frame.finish()
    }

    fn take(&self, labels: &Labels, time: Timestamp, value: f64) -> Result<(), WriteError> {
        if let Some(room) = self.room.lock().unwrap().as_mut() {
            let full = || WriteError::Local { target: "memory".into(), message: "full".into() };
            *room = room.checked_sub(1).ok_or_else(full)?;
        }
        self.samples.lock().unwrap().entry((labels.clone(), time)).or_default().push(value);
        Ok(())
    }
}

#[async_trait]
impl Read for Memory {
    async fn read(&self, query: &RangeQuery, _: &Limits) -> Result<Answer, ReadError> {
        let frame = if query.query().contains("timestamp(") {
            self.times(query)
        } else if query.query().starts_with("last_over_time(") {
            self.last(query)
        } else if query.query().ends_with(" > 1") {
            self.above_one(query)
        } else {
            self.reads.lock().unwrap().push(query.clone());
            self.source(query)
        };
        Ok(Answer { frame, warnings: vec![], bytes: 0 })
    }

    /// Of the source, or of the metric that `name{…}` asks for.
    async fn ended(&self, query: &RangeQuery, _: &Limits) -> Result<Option<Frame>, ReadError> {
        let mut marks = self.marks.lock().unwrap().clone();
        if let Some((name, _)) = query.query().split_once('{') {
            let samples = self.samples.lock().unwrap();
            let is_mark = |values: &Vec<f64>| values.iter().any(|value| value.is_nan());
            let marked = samples.iter().filter(|((labels, _), values)| labels.name() == name && is_mark(values));
            marks = marked.map(|(key, _)| key.clone()).collect();
        }
        let mut frame = FrameBuilder::new(query.start(), query.step(), query.points());
        for (labels, time) in marks.iter().filter(|(_, time)| (query.start()..=query.end()).contains(time)) {
            let row = frame.row(labels);
            frame.set(row, *time, 1.0);
        }
        Ok(Some(frame.finish()))
    }
}

#[async_trait]
impl Write for Memory {
    async fn write(&self, frames: &[Frame]) -> Result<Written, WriteError> {
        let mut written = Written::default();
        for frame in frames {
            for (labels, values) in frame.rows() {
                let is_sent = |value: f64| !value.is_nan() || value.to_bits() == STALE.to_bits();
                for (point, value) in values.iter().enumerate().filter(|(_, value)| is_sent(**value)) {
                    self.take(labels, frame.time(point), *value)?;
                    written.samples += 1;
                }
            }
        }
        Ok(written)
    }

    async fn takes_ahead(&self) -> Duration {
        Duration::from_secs(3600)
    }
}
