//! How long does `auto` take for a point of a series?

use std::hint::black_box;

use benches::{DAY, STEP};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use models::detect::Detector;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Far fewer than are kept, and as many.
const KEPT: [usize; 2] = [4_000, 20_160];

fn detect(c: &mut Criterion) {
    let mut group = c.benchmark_group("detect");
    group.throughput(Throughput::Elements(DAY as u64));
    // A season spares looking at most of the past; in noise everything is about as near.
    for (what, height) in [("a season", 30.0), ("noise", 0.0)] {
        for kept in KEPT {
            let mut noise = StdRng::seed_from_u64(1);
            let mut value = |at: usize| {
                let season = (at as f64 / DAY as f64 * std::f64::consts::TAU).sin();
                100.0 + height * season + noise.random_range(-5.0..5.0)
            };
            let time = |at: usize| at as i64 * STEP.duration().as_millis() as i64;
            let mut detector = Detector::new(STEP.duration(), 0.95);
            for at in 0..kept {
                detector.push(time(at), value(at));
            }
            let day: Vec<(i64, f64)> = (kept..kept + DAY).map(|at| (time(at), value(at))).collect();
            group.bench_function(format!("{what}, {kept} points kept"), |b| {
                b.iter_batched(
                    || detector.clone(),
                    |mut detector| {
                        for (time, value) in &day {
                            black_box(detector.push(*time, *value));
                        }
                        detector
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, detect);
criterion_main!(benches);
