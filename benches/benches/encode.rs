//! How many samples a second does one core turn into remote-write bodies, snappy included?

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tsdb::prometheus::encode::{Encoder, Points, Series};
use tsdb::{Interner, Labels, Step, Timestamp};

/// Eight labels a series, as a pod's metrics have them: three of them differ from series to series.
fn labels(series: usize) -> Vec<Labels> {
    let mut interner = Interner::default();
    let mut one = |series: usize| {
        let pairs = [
            ("__name__", "anomaly_score".to_string()),
            ("source", "http_request_duration_seconds".to_string()),
            ("pipeline", "checkout-latency".to_string()),
            ("model", "seasonal_naive".to_string()),
            ("cluster", format!("eu-central-{}", series % 3)),
            ("namespace", "checkout".to_string()),
            ("pod", format!("api-server-7d9f8b6c5-{series:05}")),
            ("instance", format!("10.{}.{}.{}:9090", series % 7, series / 250, series % 250)),
        ];
        Labels::new(pairs.map(|(name, value)| (interner.intern(name), interner.intern(&value)))).expect("names differ")
    };
    (0..series).map(&mut one).collect()
}

/// Values as scores and bands are: all mantissa bits in use.
fn values(count: usize) -> Vec<f64> {
    let mut state = 42_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    std::iter::repeat_with(&mut next).take(count).collect()
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (series, points) in [(4_000, 1), (160, 60)] {
        let (labels, values) = (labels(series), values(series * points));
        let row = |(row, labels)| {
            let (start, step) = (Timestamp::from_seconds(1_790_000_000), Step::from_millis(15_000).expect("positive"));
            let values = &values[row * points..(row + 1) * points];
            Series { labels, points: Points::Grid { start, step, values } }
        };
        let rows: Vec<Series<'_>> = labels.iter().enumerate().map(row).collect();
        group.throughput(Throughput::Elements((series * points) as u64));
        let mut encoder = Encoder::default();
        group.bench_function(BenchmarkId::new("samples_a_series", points), |b| {
            b.iter(|| black_box(encoder.encode(black_box(&rows))).0.len());
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
