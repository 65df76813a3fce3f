//! How long does it take to build a frame of 10,000 series, and to extend the history of as many by one point?

use std::hint::black_box;

use benches::{STEP, WEEK, frame, pods, value};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::History;
use tsdb::{FrameBuilder, Timestamp};

const SERIES: usize = 10_000;
/// An hour.
const POINTS: usize = 12;
const START: Timestamp = Timestamp::from_seconds(1_700_000_100);

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    let series = pods(SERIES);
    let samples: Vec<Vec<f64>> =
        (0..SERIES).map(|row| (0..POINTS).map(|point| value(row, START + STEP.times(point))).collect()).collect();
    group.throughput(Throughput::Elements((SERIES * POINTS) as u64));
    group.bench_function("build 10,000 × 12", |b| {
        b.iter(|| {
            let mut builder = FrameBuilder::new(START, STEP, POINTS);
            for (labels, values) in series.iter().zip(&samples) {
                let row = builder.row(labels);
                for (point, value) in values.iter().enumerate() {
                    builder.set(row, START + STEP.times(point), *value);
                }
            }
            black_box(builder.finish())
        });
    });
    group.finish();
}

fn extend(c: &mut Criterion) {
    let mut group = c.benchmark_group("history");
    group.sample_size(20).throughput(Throughput::Elements(SERIES as u64));
    let series = pods(SERIES);
    let mut history = History::of(frame(&series, START, WEEK));
    // Labels that are equal and not the same in memory, as those of another answer are.
    let again = pods(SERIES);
    group.bench_function("extend 10,000 × 2,016 by a point", |b| {
        b.iter_batched(
            || frame(&again, START, 1).into_parts(),
            |(series, _, step, points, values)| {
                let next = history.end() + step;
                let new = tsdb::Frame::new(series, next, step, points, values).expect("the shape is as it was");
                history.extend(&new, WEEK + 24);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, build, extend);
criterion_main!(benches);
