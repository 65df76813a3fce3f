//! How many samples a second does the embedded store take: a history in one write, and the scores of one pass?

use benches::{STEP, frame, pods};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tsdb::embedded::{Embedded, EmbeddedOptions};
use tsdb::{Timestamp, Write};

const START: Timestamp = Timestamp::from_seconds(1_700_000_100);

fn store() -> (TempDir, Embedded) {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let store = Embedded::open(folder.path(), &EmbeddedOptions::default()).expect("the folder is new");
    (folder, store)
}

fn history(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("embedded");
    group.sample_size(10);
    for (series, points) in [(100, 2_016), (10_000, 1)] {
        let frames = [frame(&pods(series), START, points)];
        group.throughput(Throughput::Elements((series * points) as u64));
        group.bench_function(BenchmarkId::new("new series", format!("{series} × {points}")), |b| {
            b.iter_batched(
                store,
                |(folder, store)| {
                    runtime.block_on(store.write(&frames)).expect("the store takes it");
                    (folder, store)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn pass(c: &mut Criterion) {
    const SERIES: usize = 1_000;
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("embedded");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64));
    let (_folder, store) = store();
    let (pods, mut time) = (pods(SERIES), START);
    group.bench_function(BenchmarkId::new("next point", SERIES), |b| {
        b.iter_batched(
            || {
                time = time + STEP.duration();
                [frame(&pods, time, 1)]
            },
            |frames| runtime.block_on(store.write(&frames)).expect("the store takes it"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, history, pass);
criterion_main!(benches);
