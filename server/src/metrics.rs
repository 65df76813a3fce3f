//! The service's own metrics.

/// Registers fields under their names.
macro_rules! register {
    ($registry:expr, $metrics:ident, $($field:ident: $name:literal, $help:literal;)*) => {
        $($registry.register($name, $help, $metrics.$field.clone());)*
    };
}

pub mod exposition;
pub mod http;
pub mod incidents;
pub mod jobs;
pub mod ports;
pub mod process;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine::Report;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tsdb::Timestamp;

pub use ports::{MeteredModel, MeteredStore};

/// Seconds, from a fast query to a time-out.
const DURATIONS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Series, from one to a large pipeline.
const BATCHES: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StoreLabels {
    pipeline: String,
    datasource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    pipeline: String,
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    pipeline: String,
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    pipeline: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    pipeline: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    pipeline: String,
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SkippedLabels {
    pipeline: String,
    stage: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassLabels {
    pipeline: String,
    stage: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type FloatGauge = Gauge<f64, AtomicU64>;

fn histogram() -> Histogram {
    Histogram::new(DURATIONS)
}

fn histograms<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(histogram)
}

fn batches<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(|| Histogram::new(BATCHES))
}

/// Every metric of the service, named as `docs/metrics.md` lists them.
pub struct Metrics {
    registry: Registry,
    read_duration: Histograms<StoreLabels>,
    read_bytes: Family<StoreLabels, Counter>,
    read_series: Family<StoreLabels, Gauge>,
    read_samples: Family<StoreLabels, Counter>,
    read_errors: Family<KindLabels, Counter>,
    forecast_duration: Histograms<ModelLabels>,
    forecast_series: Family<ModelLabels, Counter>,
    forecast_errors: Family<ErrorLabels, Counter>,
    forecast_batch: Histograms<ModelLabels>,
    model_load: Family<ModelLabels, FloatGauge>,
    cascade_series: Family<ModelLabels, Counter>,
    cascade_seconds: Family<ModelLabels, Counter<f64, AtomicU64>>,
    write_duration: Histograms<StoreLabels>,
    write_samples: Family<StoreLabels, Counter>,
    write_retries: Family<StoreLabels, Counter>,
    write_errors: Family<StoreLabels, Counter>,
    write_rejected: Family<ReasonLabels, Counter>,
    scored_points: Family<PipelineLabels, Counter>,
    anomalous_points: Family<PipelineLabels, Counter>,
    covered_points: Family<PipelineLabels, Counter>,
    coverage: Family<PipelineLabels, FloatGauge>,
    uncalibrated: Family<PipelineLabels, Gauge>,
    level_shifts: Family<PipelineLabels, Counter>,
    budget_used: Family<PipelineLabels, FloatGauge>,
    series_tracked: Family<PipelineLabels, Gauge>,
    series_missing: Family<PipelineLabels, Gauge>,
    series_ended: Family<PipelineLabels, Counter>,
    pass_duration: Histograms<StageLabels>,
    pass_lag: Family<StageLabels, FloatGauge>,
    passes: Family<PassLabels, Counter>,
    passes_skipped: Family<SkippedLabels, Counter>,
    last_success: Family<StageLabels, FloatGauge>,
    reloads: Family<OutcomeLabels, Counter>,
    last_reload: Gauge,
    pipelines: Gauge,
    records_lost: Counter,
    drift: Family<KindLabels, FloatGauge>,
    /// Open incidents.
    pub(crate) incidents: incidents::Incidents,
    /// Requests of the API.
    pub(crate) http: http::Requests,
    /// The queue.
    pub(crate) jobs: jobs::Jobs,
}

impl Metrics {
    /// All metrics at zero, for a process that started at `start`.
    pub fn new(start: Timestamp) -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::with_prefix("openanomaly"),
            read_duration: histograms(),
            read_bytes: Family::default(),
            read_series: Family::default(),
            read_samples: Family::default(),
            read_errors: Family::default(),
            forecast_duration: histograms(),
            forecast_series: Family::default(),
            forecast_errors: Family::default(),
            forecast_batch: batches(),
            model_load: Family::default(),
            cascade_series: Family::default(),
            cascade_seconds: Family::default(),
            write_duration: histograms(),
            write_samples: Family::default(),
            write_retries: Family::default(),
            write_errors: Family::default(),
            write_rejected: Family::default(),
            scored_points: Family::default(),
            anomalous_points: Family::default(),
            covered_points: Family::default(),
            coverage: Family::default(),
            uncalibrated: Family::default(),
            level_shifts: Family::default(),
            budget_used: Family::default(),
            series_tracked: Family::default(),
            series_missing: Family::default(),
            series_ended: Family::default(),
            pass_duration: histograms(),
            pass_lag: Family::default(),
            passes: Family::default(),
            passes_skipped: Family::default(),
            last_success: Family::default(),
            reloads: Family::default(),
            last_reload: Gauge::default(),
            pipelines: Gauge::default(),
            records_lost: Counter::default(),
            drift: Family::default(),
            incidents: incidents::Incidents::default(),
            http: http::Requests::default(),
            jobs: jobs::Jobs::default(),
        };
        metrics.register();
        metrics.http.register(&mut metrics.registry);
        metrics.jobs.register(&mut metrics.registry);
        metrics.incidents.register(&mut metrics.registry);
        process::register(&mut metrics.registry, start);
        Arc::new(metrics)
    }

    fn register(&mut self) {
        register!(self.registry, self,
            read_duration: "read_duration_seconds", "Time that reads took";
            read_bytes: "read_bytes", "Bytes read, after decompression";
            read_series: "read_series", "Series in the last read";
            read_samples: "read_samples", "Samples read, gaps not counted";
            read_errors: "read_errors", "Reads that failed, by kind";
            forecast_duration: "forecast_duration_seconds", "Time that forecasts took, a batch each";
            forecast_series: "forecast_series", "Series forecast";
            forecast_errors: "forecast_errors", "Batches of forecasts that failed, and series that failed in the others";
            forecast_batch: "forecast_batch_size", "Series that are forecast at a time";
            model_load: "model_load_seconds", "Time that making the model ready took";
            cascade_series: "cascade_series", "Series that each model of a cascade has forecast";
            cascade_seconds: "cascade_seconds", "Time that each model of a cascade has taken";
            write_duration: "write_duration_seconds", "Time that writes took, retries included";
            write_samples: "write_samples", "Samples that the store took";
            write_retries: "write_retries", "Write requests that were repeated";
            write_errors: "write_errors", "Writes that failed after all retries";
            write_rejected: "write_rejected", "Samples that the store refused, by reason";
            scored_points: "scored_points", "Points that got a score";
            anomalous_points: "anomalous_points", "Points whose score is above 1";
            covered_points: "covered_points", "Points that lay inside their band";
            coverage: "band_coverage_ratio", "Part of all scored points that lay inside their band";
            uncalibrated: "uncalibrated_series", "Series whose band is still wide, since too little has come to calibrate it";
            level_shifts: "level_shifts", "Levels of series that have shifted for so long that they were learned";
            budget_used: "alert_budget_used_ratio", "Part of the alert budget that was used in its time; 1 is all of it";
            series_tracked: "series_tracked", "Series whose history is kept";
            series_missing: "series_missing", "Series whose samples have stopped, and no stale marker ends them";
            series_ended: "series_ended", "Series that have ended, as their stale markers say";
            pass_duration: "pass_duration_seconds", "Time that passes took";
            pass_lag: "pass_lag_seconds", "How long after its schedule the last pass ended";
            passes: "passes", "Passes by outcome";
            passes_skipped: "passes_skipped", "Passes that were due and never run, by reason";
            last_success: "schedule_last_success_timestamp_seconds", "When the last pass succeeded";
            reloads: "config_reloads", "Reloads of the configuration by outcome";
            last_reload: "config_last_reload_successful", "1 where all of the configuration is good, else 0";
            pipelines: "pipelines", "Pipelines that run";
            drift: "drift", "How far the data are on the way to a drift, by what drifts; 1 is one";
            records_lost: "records_lost", "Runs and anomalous points that were not recorded, the database being away";
        );
    }

    /// Everything in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Counts what a pass did.
    pub fn pass(&self, pipeline: &str, stage: &'static str, took: Duration, outcome: &'static str) {
        let labels = StageLabels { pipeline: pipeline.into(), stage };
        self.pass_duration.get_or_create(&labels).observe(took.as_secs_f64());
        self.passes.get_or_create(&PassLabels { pipeline: pipeline.into(), stage, outcome }).inc();
    }

    /// Notes a pass that succeeded: `at` is now, `due` when it should have begun.
    pub fn succeeded(&self, pipeline: &str, stage: &'static str, at: Timestamp, due: Timestamp, report: &Report) {
        let labels = StageLabels { pipeline: pipeline.into(), stage };
        self.last_success.get_or_create(&labels).set(at.seconds());
        self.pass_lag.get_or_create(&labels).set(at.seconds() - due.seconds());
        let labels = PipelineLabels { pipeline: pipeline.into() };
        self.series_tracked.get_or_create(&labels).set(report.series as i64);
        let scored = self.scored_points.get_or_create(&labels).inc_by(report.scored as u64) + report.scored as u64;
        let covered = self.covered_points.get_or_create(&labels).inc_by(report.inside as u64) + report.inside as u64;
        self.anomalous_points.get_or_create(&labels).inc_by(report.anomalous as u64);
        if scored > 0 {
            self.coverage.get_or_create(&labels).set(covered as f64 / scored as f64);
        }
        if stage == "anomaly" {
            self.uncalibrated.get_or_create(&labels).set(report.uncalibrated as i64);
            self.level_shifts.get_or_create(&labels).inc_by(report.shifts.len() as u64);
            self.series_missing.get_or_create(&labels).set(report.missing as i64);
            self.series_ended.get_or_create(&labels).inc_by(report.ended as u64);
        }
        if let Some(used) = report.budget_used {
            self.budget_used.get_or_create(&labels).set(used);
        }
        for rejected in &report.rejected {
            let labels = ReasonLabels { pipeline: pipeline.into(), reason: rejected.reason.into() };
            self.write_rejected.get_or_create(&labels).inc_by(rejected.samples);
        }
    }

    /// Counts passes that were due and never run: before the first pass of this process the service was `stopped`,
    /// later an earlier pass kept the pipeline `busy`.
    pub fn skipped(&self, pipeline: &str, stage: &'static str, count: u64) {
        let has_run = self.pass_duration.get(&StageLabels { pipeline: pipeline.into(), stage }).is_some();
        let reason = if has_run { "busy" } else { "stopped" };
        self.passes_skipped.get_or_create(&SkippedLabels { pipeline: pipeline.into(), stage, reason }).inc_by(count);
    }

    /// Takes away what is shown of the state of a pipeline that no longer runs; what was counted stays.
    pub fn forget(&self, pipeline: &str) {
        for stage in ["anomaly", "forecast"] {
            let labels = StageLabels { pipeline: pipeline.into(), stage };
            self.last_success.remove(&labels);
            self.pass_lag.remove(&labels);
        }
        let labels = PipelineLabels { pipeline: pipeline.into() };
        self.series_tracked.remove(&labels);
        self.series_missing.remove(&labels);
        self.coverage.remove(&labels);
        for kind in engine::drift::Kind::ALL {
            self.drift.remove(&KindLabels { pipeline: pipeline.into(), kind: kind.name().into() });
        }
        self.uncalibrated.remove(&labels);
        self.budget_used.remove(&labels);
    }

    /// Counts a reload.
    pub fn reloaded(&self, is_good: bool) {
        let outcome = if is_good { "success" } else { "error" };
        self.reloads.get_or_create(&OutcomeLabels { outcome }).inc();
        self.configured(is_good);
    }

    /// Says whether all of the configuration is good.
    pub fn configured(&self, is_good: bool) {
        self.last_reload.set(i64::from(is_good));
    }

    /// Counts runs and anomalous points that were not recorded.
    pub fn records_lost(&self, count: usize) {
        self.records_lost.inc_by(count as u64);
    }

    /// Says how far `pipeline` is on the way to a drift of `kind`; 1 is one.
    pub fn drift(&self, pipeline: &str, kind: &'static str, level: f64) {
        self.drift.get_or_create(&KindLabels { pipeline: pipeline.into(), kind: kind.into() }).set(level);
    }

    /// Says how many pipelines run.
    pub fn running(&self, pipelines: usize) {
        self.pipelines.set(pipelines as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pass_did_can_be_read() {
        let metrics = Metrics::new(Timestamp::from_seconds(5));
        let report = Report {
            series: 3,
            scored: 10,
            anomalous: 2,
            inside: 7,
            uncalibrated: 1,
            budget_used: Some(0.5),
            missing: 2,
            ended: 4,
            ..Report::default()
        };
        metrics.pass("cpu", "anomaly", Duration::from_millis(20), "success");
        metrics.succeeded("cpu", "anomaly", Timestamp::from_seconds(62), Timestamp::from_seconds(60), &report);
        metrics.reloaded(true);
        let text = metrics.render();
        for line in [
            "openanomaly_passes_total{pipeline=\"cpu\",stage=\"anomaly\",outcome=\"success\"} 1",
            "openanomaly_scored_points_total{pipeline=\"cpu\"} 10",
            "openanomaly_anomalous_points_total{pipeline=\"cpu\"} 2",
            "openanomaly_band_coverage_ratio{pipeline=\"cpu\"} 0.7",
            "openanomaly_uncalibrated_series{pipeline=\"cpu\"} 1",
            "openanomaly_level_shifts_total{pipeline=\"cpu\"} 0",
            "openanomaly_series_missing{pipeline=\"cpu\"} 2",
            "openanomaly_series_ended_total{pipeline=\"cpu\"} 4",
            "openanomaly_alert_budget_used_ratio{pipeline=\"cpu\"} 0.5",
            "openanomaly_pass_lag_seconds{pipeline=\"cpu\",stage=\"anomaly\"} 2.0",
            "openanomaly_process_start_time_seconds 5.0",
            "openanomaly_config_reloads_total{outcome=\"success\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
