//! How many series a second does each model forecast on one core? At 2,016 points (a week of five minutes, with a
//! season of a day) and at 512 (with a season of 24).

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use models::{Levels, MODELS, ModelSpec, Request, Resources, build};
use serde_json::{Map, Value, json};

/// Series in a batch: enough that what is worked out once for a batch counts as little as in a real one.
const BATCH: usize = 64;
const SHAPES: [(usize, usize); 2] = [(2016, 288), (512, 24)];

/// A sine of 10 around 100 with uniform noise, the same at every run.
fn series(points: usize, season: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let wave = |at: usize| (std::f64::consts::TAU * at as f64 / season as f64).sin();
    (0..points).map(|at| 100.0 + 10.0 * wave(at) + 4.0 * noise()).collect()
}

/// The season is given to the models that take one, under their own name for it.
fn parameters(id: &str, season: usize) -> Map<String, Value> {
    let key = match id {
        "std" => "period",
        "mstl" | "holt_winters" | "seasonal_naive" | "ets" => "season",
        _ => return Map::new(),
    };
    Map::from_iter([(key.to_owned(), json!(season))])
}

fn forecast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forecast");
    group.sample_size(10).throughput(Throughput::Elements(BATCH as u64));
    let levels = Levels::new(vec![0.025, 0.5, 0.975]).expect("the levels are between 0 and 1");
    // One core: the batch runs in the pool from which it is asked for.
    let core = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread can be started");
    for (points, season) in SHAPES {
        let batch: Vec<Vec<f64>> = (0..BATCH).map(|seed| series(points, season, seed as u64)).collect();
        let contexts: Vec<&[f64]> = batch.iter().map(Vec::as_slice).collect();
        let step = Duration::from_secs(300);
        let request = Request::new(&contexts, 1_700_000_000_000, step, 12, &levels);
        for entry in MODELS {
            let spec = ModelSpec::local(entry.id, parameters(entry.id, season));
            let model = build(&spec, &Resources::default()).expect("the parameters are the model's own");
            group.bench_function(BenchmarkId::new(entry.id, points), |bencher| {
                core.install(|| bencher.iter(|| model.forecast(&request)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, forecast);
criterion_main!(benches);
