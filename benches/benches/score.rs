//! How long does it take to draw the bands of 10,000 series around their forecasts, and to judge a point of each?

use std::hint::black_box;
use std::sync::Arc;

use benches::{DAY, STEP, WEEK, frame, pipeline, pods};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::History;
use engine::band::Band;
use engine::calibrate::EPOCH_POINTS;
use engine::judge::{Judge, Masks};
use engine::outlook::{Outlook, Sheet, Turn};
use tsdb::Timestamp;

const SERIES: usize = 10_000;
const START: Timestamp = Timestamp::from_seconds(1_700_000_100);

fn score(c: &mut Criterion) {
    let mut group = c.benchmark_group("score");
    let pipeline = pipeline(&format!("{{ id: seasonal_naive, parameters: {{ season: {DAY} }} }}"));
    let model = models::build(&pipeline.model, &models::Resources::default()).expect("the model is there");
    let history = History::of(frame(&pods(SERIES), START, WEEK + 1));
    let last = history.end();
    let outlook = Outlook::at(last - STEP.duration(), &pipeline, &*model, &history, &[], Masks::new())
        .expect("the series are long");
    let turn = Turn { origin: outlook.origin, first: last, last };

    group.throughput(Throughput::Elements((SERIES * pipeline.horizon_points) as u64));
    group.bench_function("band 10,000 × 12", |b| {
        b.iter(|| black_box(Band::around(&outlook.forecast, &pipeline.anomaly)));
    });
    group.throughput(Throughput::Elements(SERIES as u64));
    let pipeline = Arc::new(pipeline);
    for (name, points) in [("judge 10,000", 0), ("judge 10,000 with two epochs learned", 2 * EPOCH_POINTS as usize)] {
        let mut judge = Judge::new(pipeline.clone());
        for point in 0..points {
            let first = last - STEP.times(points - point);
            let turn = Turn { origin: first - STEP.duration(), first, last: first };
            let mut outlook = outlook.clone();
            outlook.origin = turn.origin;
            judge.judge(turn, &outlook, &history, true);
        }
        group.bench_function(name, |b| {
            b.iter_batched(
                || judge.clone(),
                |mut judge| {
                    let mut sheet = Sheet::new(&history, last, last);
                    sheet.fill(last, &judge.judge(turn, &outlook, &history, true).rows);
                    (sheet.finish(), judge)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, score);
criterion_main!(benches);
