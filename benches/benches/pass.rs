//! How long does a whole pass take: read what is new, judge it, write five series each? And a forecast?
//!
//! What is read comes as the bytes of `query_range`, what is written goes as the bytes of remote write; only the
//! sockets are missing. The forecasts between the warm passes are not in their time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::{DAY, Loopback, STEP, pipeline, pods};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::{Ports, Watch};
use tokio::runtime::Runtime;
use tsdb::Timestamp;

/// An hour sharp, when a forecast is due.
const START: Timestamp = Timestamp::from_seconds(1_700_002_800);

fn watch(server: &Arc<Loopback>, model: &str) -> Watch {
    let pipeline = pipeline(&format!("{{ id: {model}, parameters: {{ season: {DAY} }} }}"));
    let model = models::build(&pipeline.model, &models::Resources::default()).expect("the model is there");
    let ports = Ports { source: server.clone(), sink: server.clone(), written: server.clone(), model };
    Watch::new(pipeline, ports)
}

fn warm(c: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("pass");
    group.sample_size(20);
    for series in [1_000, 10_000] {
        let server = Arc::new(Loopback::new(pods(series)));
        let mut watch = watch(&server, "seasonal_naive");
        let mut tick = START;
        watch.begin_after(tick);
        runtime.block_on(watch.forecast(tick)).expect("the series are long");
        let mut pass = || {
            tick = tick + STEP.duration();
            server.prepare(tick);
            let begun = Instant::now();
            let report = runtime.block_on(watch.judge(tick)).expect("the server answers");
            let took = begun.elapsed();
            assert_eq!(report.written, 5 * series as u64);
            if tick.millis() % 3_600_000 == 0 {
                runtime.block_on(watch.forecast(tick)).expect("the series are long");
            }
            took
        };
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(BenchmarkId::new("warm", series), |b| {
            b.iter_custom(|passes| (0..passes).map(|_| pass()).sum::<Duration>());
        });
    }
    group.finish();
}

fn forecast(c: &mut Criterion) {
    const SERIES: usize = 1_000;
    let runtime = Runtime::new().expect("threads can be started");
    let mut group = c.benchmark_group("pass");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64));
    let server = Arc::new(Loopback::new(pods(SERIES)));
    let mut watch = watch(&server, "mstl");
    let mut tick = START;
    group.bench_function(BenchmarkId::new("forecast with mstl", SERIES), |b| {
        b.iter(|| {
            // Another point, or the forecast that is there would do.
            tick = tick + STEP.duration();
            runtime.block_on(watch.forecast(tick)).expect("the series are long")
        });
    });
    group.finish();
}

criterion_group!(benches, warm, forecast);
criterion_main!(benches);
