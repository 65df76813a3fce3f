//! How fast does the answer of `query_range` become a frame, from bytes in memory, on one core?

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tsdb::prometheus::matrix::{Parser, Rows};
use tsdb::{Limits, RangeQuery, Step, Timestamp};

/// A week of points every five minutes, of a tenth of the series that a large pass reads.
const SERIES: usize = 1_000;
const POINTS: i64 = 2_016;
const STEP: i64 = 300;
const START: i64 = 1_700_000_100;

/// What a chunk from the network holds.
const CHUNK: usize = 64 * 1024;

/// An answer of random walks whose values have so many decimals; all that they have for `None`.
fn body(decimals: Option<usize>) -> String {
    let mut rng = StdRng::seed_from_u64(1);
    let mut body = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":["#);
    for series in 0..SERIES {
        let comma = if series == 0 { "" } else { "," };
        let labels = format!(r#""__name__":"cpu","instance":"host-{series}:9100","job":"node""#);
        write!(body, r#"{comma}{{"metric":{{{labels}}},"values":["#).expect("a string takes all");
        let mut value = rng.random_range(10.0..1000.0);
        for point in 0..POINTS {
            let comma = if point == 0 { "" } else { "," };
            value += rng.random_range(-1.0..1.0);
            let text = decimals.map_or_else(|| format!("{value}"), |decimals| format!("{value:.decimals$}"));
            write!(body, r#"{comma}[{},"{text}"]"#, START + point * STEP).expect("a string takes all");
        }
        body.push_str("]}");
    }
    body + "]}}"
}

fn parse(c: &mut Criterion) {
    let step = Step::from_millis(STEP * 1000).expect("it is positive");
    let start = Timestamp::from_seconds(START);
    let end = start + step.times(POINTS as usize - 1);
    let query = RangeQuery::new("cpu", start, end, step).expect("the end is after the start");
    let mut group = c.benchmark_group("parse");
    group.sample_size(20);
    for (name, decimals) in [("integers", Some(0)), ("two decimals", Some(2)), ("all decimals", None)] {
        let body = body(decimals);
        let samples = SERIES as u64 * POINTS as u64;
        for (unit, throughput) in
            [("samples", Throughput::Elements(samples)), ("bytes", Throughput::Bytes(body.len() as u64))]
        {
            group.throughput(throughput);
            group.bench_function(BenchmarkId::new(name, unit), |b| {
                b.iter(|| {
                    let mut rows = Rows::new(&query, &Limits::default());
                    let mut parser = Parser::new(&mut rows);
                    for chunk in body.as_bytes().chunks(CHUNK) {
                        parser.feed(chunk).expect("the answer is good");
                    }
                    parser.finish().expect("the answer is whole");
                    black_box(rows.finish().expect("the rows make a frame"))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
