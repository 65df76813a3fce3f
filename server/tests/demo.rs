//! The demo, small: what it claims is compared with a replay of the same data.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::time::Duration;

use engine::context::History;
use engine::output::SCORE_KINDS;
use server::demo::{Demo, Plan, pipelines};
use server::metrics::Metrics;
use tsdb::{Frame, Timestamp};

const DAY: Duration = Duration::from_secs(86_400);

/// Two hosts for two days.
const PLAN: Plan = Plan { seed: 1, series: 20, watched: Duration::from_secs(2 * 86_400) };

async fn played(plan: Plan, folder: &std::path::Path) -> Demo {
    let mut demo = Demo::start(plan, folder, Metrics::new(Timestamp::default())).await.unwrap();
    demo.play(|_| ()).await.unwrap();
    demo
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_are_found_and_calm_series_stay_calm() {
    let folder = tempfile::tempdir().unwrap();
    let demo = played(PLAN, folder.path()).await;
    let outcome = demo.outcome().await.unwrap();
    assert!(outcome.verdicts.len() >= 4, "{}", outcome.verdicts.len());
    assert!(10 * outcome.found() >= 8 * outcome.verdicts.len(), "{:?}", outcome.verdicts);
    // Twenty series over two days are under six weeks: one alarm more than the aim of 0.2 is what chance may do.
    assert!(outcome.false_alarms.len() <= 2, "{:?}", outcome.false_alarms);
    assert!(outcome.is_good());
    let points = PLAN.series * PLAN.watched().len();
    assert!(outcome.figures.scored as usize > points * 9 / 10, "{} of {points}", outcome.figures.scored);
    assert!(outcome.score.samples().abs_diff(outcome.figures.scored as usize) == 0, "all of them are in the store");
}

/// The frame that the store answers is what the pipelines read, so a replay of it must give the same scores.
#[tokio::test(flavor = "multi_thread")]
async fn scores_in_the_store_are_those_of_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { seed: 3, series: 10, watched: DAY };
    let demo = played(plan, folder.path()).await;
    let generated = plan.scenario().frame(0..plan.watched().end);
    let mut compared = 0;
    for pipeline in pipelines::shipped().unwrap().into_iter().filter(|pipeline| !pipeline.query.contains('(')) {
        let row = generated.series().iter().position(|series| pipelines::watches(&pipeline, series)).unwrap();
        let series = &generated.series()[row];
        let written = demo.scored(series).await.unwrap().unwrap();
        let history = History::of(seen(&generated, row));
        let model = models::build(&pipeline.model, &models::Resources::default()).unwrap();
        let (first, last) = (written.y.start(), written.y.end());
        let replayed = engine::replay(&pipeline, &*model, &history, first - pipeline.step, last).unwrap();
        for ((kind, written), (_, replayed)) in
            SCORE_KINDS.iter().zip(written.named().map(|(_, f)| f)).zip(replayed.named())
        {
            for (at, (written, replayed)) in written.values().iter().zip(replayed.values()).enumerate() {
                let same = replayed.is_nan() || (written - replayed).abs() <= 1e-9 * replayed.abs();
                assert!(same, "{kind} of {series} at {}: {written} and {replayed}", replayed_time(first, at));
                compared += usize::from(!replayed.is_nan());
            }
        }
    }
    assert!(compared > 9 * 5 * 200, "{compared}");
}

fn replayed_time(first: Timestamp, at: usize) -> Timestamp {
    first + Duration::from_secs(300 * at as u64)
}

/// One series as the store answers it: in the five minutes after a sample, that sample stands for a missing one.
fn seen(generated: &Frame, row: usize) -> Frame {
    let values = generated.row(row);
    let held = |at: usize| if values[at].is_nan() && at > 0 { values[at - 1] } else { values[at] };
    let held = (0..values.len()).map(held).collect();
    let series = vec![generated.series()[row].clone()];
    Frame::new(series, generated.start(), generated.step(), values.len(), held).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_fleet() {
    let (one, other) = (PLAN.scenario(), Plan { seed: 2, ..PLAN }.scenario());
    assert_eq!(one.incidents(PLAN.watched()), PLAN.scenario().incidents(PLAN.watched()));
    assert_ne!(one.incidents(PLAN.watched()), other.incidents(PLAN.watched()));
    assert!(one.incidents(0..PLAN.watched().start).is_empty(), "nothing goes wrong while the pipelines learn");
}
