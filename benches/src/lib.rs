//! What the benchmarks share: series as a cluster has them, values with a daily season, a pipeline over them, and a
//! server that is nothing but its bytes.

mod cost;
mod loopback;

use std::f64::consts::TAU;

use engine::Pipeline;
use tsdb::{Frame, Interner, Labels, Step, Timestamp};

pub use cost::{Cost, peak_bytes};
pub use loopback::Loopback;

/// Five minutes.
pub const STEP: Step = Step::from_millis(300_000).expect("it is positive");

/// Points of a week.
pub const WEEK: usize = 2_016;

/// Points of a day.
pub const DAY: usize = 288;

/// As many series as asked for, of one metric: six labels a series, of which two differ from each to the next.
pub fn pods(count: usize) -> Vec<Labels> {
    let mut interner = Interner::default();
    let mut pod = |series: usize| {
        let pairs = [
            ("__name__", "http_requests".to_string()),
            ("cluster", format!("eu-central-{}", series % 3)),
            ("instance", format!("10.{}.{}.{}:9090", series % 7, series / 250, series % 250)),
            ("job", "kubernetes-pods".to_string()),
            ("namespace", "checkout".to_string()),
            ("pod", format!("api-server-7d9f8b6c5-{series:05}")),
        ];
        Labels::new(pairs.map(|(name, value)| (interner.intern(name), interner.intern(&value)))).expect("names differ")
    };
    (0..count).map(&mut pod).collect()
}

/// What `series` shows at `time`: a daily wave of 10 around 100 and noise, with two decimals as most metrics have.
pub fn value(series: usize, time: Timestamp) -> f64 {
    let point = time.millis() / STEP.millis();
    let mut state = (point as u64 ^ ((series as u64) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    state ^= state >> 29;
    state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let noise = (state >> 40) as f64 / (1 << 24) as f64;
    let phase = point as f64 / DAY as f64 + (series % 24) as f64 / 24.0;
    ((100.0 + 10.0 * (TAU * phase).sin() + 4.0 * noise) * 100.0).round() / 100.0
}

/// `points` points of `series` from `start` on.
///
/// # Panics
/// Where two series have the same labels.
pub fn frame(series: &[Labels], start: Timestamp, points: usize) -> Frame {
    let row = |row: usize| (0..points).map(move |point| value(row, start + STEP.times(point)));
    let values = (0..series.len()).flat_map(row).collect();
    Frame::new(series.to_vec(), start, STEP, points, values).expect("as many values as series × points")
}

/// A week of context, an hour of horizon, a forecast every hour, scores every five minutes. `model` is what YAML has
/// under `model`.
///
/// # Panics
/// Where `model` is no model.
pub fn pipeline(model: &str) -> Pipeline {
    let text = format!(
        "{{ name: requests, query: http_requests, step: 5m, context_window: 7d, prediction_horizon: 1h, \
         forecast_schedule: 1h, anomaly_schedule: 5m, mode: anomaly_only, max_series: 10000, model: {model} }}"
    );
    Pipeline::parse(&text, "the benchmark").expect("the pipeline is a good one")
}

/// The argument number `at` of this program.
///
/// # Panics
/// Where it is missing or can't be read.
pub fn argument<T: std::str::FromStr>(at: usize, what: &str) -> T {
    let argument = std::env::args().nth(at).unwrap_or_else(|| panic!("argument {at} must be {what}"));
    argument.parse().unwrap_or_else(|_| panic!("`{argument}` is not {what}"))
}
