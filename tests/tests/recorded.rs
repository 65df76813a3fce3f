//! Every model on the recorded metrics of a real machine.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::path::Path;

use engine::{History, Pipeline, Scored};
use tsdb::file::{File, FileOptions};
use tsdb::{Frame, Limits, RangeQuery, Read};

/// How much of what came may lie inside a band that is to hold 95 %. The machine turns from idle to busy within these
/// fifty minutes, and half an hour is little to learn from: a band may well be too narrow, but neither by much nor so
/// wide that it holds everything.
const COVERAGE: std::ops::RangeInclusive<f64> = 0.6..=0.99;

fn recorded() -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/recorded/machine.csv.gz");
    File::open(path, &FileOptions::default()).unwrap()
}

fn pipeline(model: &str) -> Pipeline {
    let text = format!(
        "{{name: recorded, query: '{{}}', step: 15s, context_window: 20m, prediction_horizon: 5m, \
         forecast_schedule: 5m, anomaly_schedule: 15s, model: {{id: {model}}}}}"
    );
    Pipeline::parse(&text, "recorded").unwrap()
}

fn scores(model: &str, frame: &Frame) -> Scored {
    let pipeline = pipeline(model);
    let model = models::build(&pipeline.model, &models::Resources::default()).unwrap();
    let after = frame.start() + pipeline.step.times(pipeline.context_points);
    engine::replay(&pipeline, &*model, &History::of(frame.clone()), after, frame.end()).unwrap()
}

/// The part of the points inside their band. Every value that came must have been judged, by finite numbers.
/// The scores of a detector are more than the distance from the band.
fn coverage(scored: &Scored, source: &Frame, detects: bool) -> f64 {
    let (mut inside, mut all) = (0, 0);
    for (row, labels) in scored.y.series().iter().enumerate() {
        for point in 0..scored.y.points() {
            let time = scored.y.time(point);
            let came = source.row(row)[source.index(time).unwrap()];
            let [y, yhat, lower, upper, score] =
                [&scored.y, &scored.yhat, &scored.yhat_lower, &scored.yhat_upper, &scored.score]
                    .map(|frame| frame.row(row)[point]);
            if came.is_nan() {
                assert!(score.is_nan(), "{labels} has a score and no value at {time}");
                continue;
            }
            assert_eq!(y, came, "{labels} at {time}");
            let numbers = [yhat, lower, upper, score];
            assert!(numbers.iter().all(|number| number.is_finite()), "{labels} at {time}: {numbers:?}");
            assert!(lower <= yhat && yhat <= upper && score >= 0.0, "{labels} at {time}: {numbers:?}");
            let is_outside = !(lower..=upper).contains(&y);
            assert!(detects || (score > 1.0) == is_outside, "{labels} at {time}: {y} and {numbers:?}");
            inside += usize::from((lower..=upper).contains(&y));
            all += 1;
        }
    }
    inside as f64 / all as f64
}

#[tokio::test]
async fn the_recording_is_read_as_a_store_is() {
    let file = recorded();
    let whole = file.frame(None).unwrap();
    assert_eq!((whole.series().len(), whole.step().millis()), (52, 15_000));
    assert!(whole.points() >= 200 && file.warnings().is_empty(), "{} {:?}", whole.points(), file.warnings());
    let query = RangeQuery::new("node_load1", whole.start(), whole.end(), whole.step()).unwrap();
    let answer = file.read(&query, &Limits::default()).await.unwrap().frame;
    assert_eq!((answer.series().len(), answer.samples()), (1, whole.points()));
}

#[test]
fn every_model_scores_the_recording() {
    let frame = recorded().frame(None).unwrap();
    let mut wrong = vec![];
    for model in models::MODELS {
        let coverage = coverage(&scores(model.id, &frame), &frame, pipeline(model.id).detects());
        if !COVERAGE.contains(&coverage) {
            wrong.push(format!("{}: {coverage:.3}", model.id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
