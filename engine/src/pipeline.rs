//! One pipeline: one query, one model, one way of scoring, one set of schedules. Everything here is checked.

use std::time::Duration;

use tsdb::Step;

use crate::schedule::Schedule;

/// A pipeline whose every field is within its bounds. Made from YAML or JSON by [`Pipeline::parse`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Unique; matches `[a-zA-Z_][a-zA-Z0-9_-]{0,62}`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether it runs on its schedules.
    pub enabled: bool,
    /// PromQL or MetricsQL; may return any number of series.
    pub query: String,
    /// The named datasource that is read and written.
    pub datasource: String,
    /// Overrides the datasource's URL for reading.
    pub prometheus_url: Option<String>,
    /// Overrides the datasource's URL for writing.
    pub prometheus_write_url: Option<String>,
    /// The grid of the range query.
    pub step: Step,
    /// How much history the model sees, in points: at least 2.
    pub context_points: usize,
    /// How far ahead a forecast reaches, in points: at least 1.
    pub horizon_points: usize,
    /// Forecast, score, or both.
    pub mode: Mode,
    /// When forecasts are made. Never further apart than the horizon, unless nothing is scored.
    pub forecast_schedule: Schedule,
    /// When what came is scored.
    pub anomaly_schedule: Schedule,
    /// The newest data looked at is this old.
    pub data_delay: Duration,
    /// What a gap is before the model sees it.
    pub missing: Missing,
    /// More series than this are an error.
    pub max_series: usize,
    /// The model and its parameters.
    pub model: Model,
    /// How points are scored.
    pub anomaly: Anomaly,
    /// What is written, and under which names.
    pub output: Output,
}

/// What a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Writes forecasts and scores.
    ForecastAndAnomaly,
    /// Writes forecasts.
    ForecastOnly,
    /// Writes scores.
    AnomalyOnly,
}

impl Mode {
    /// Whether points are scored.
    pub fn scores(self) -> bool {
        self != Self::ForecastOnly
    }

    /// Whether forecasts are written.
    pub fn forecasts(self) -> bool {
        self != Self::AnomalyOnly
    }
}

/// What a gap is before the model sees it. A gap is never scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Missing {
    /// Left for the model to deal with.
    Nan,
    /// The value before it.
    Previous,
    /// On the line between its neighbours.
    Linear,
    /// This value.
    Fixed(f64),
}

/// A model by its id in the registry, and what it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The id in [`models::registry`].
    pub id: String,
    /// The model's own parameters.
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// How points are scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// How the band comes from the forecast.
    pub technique: Technique,
    /// Which deviations count.
    pub detection_direction: Direction,
    /// Deviations smaller than this score 0, in the units of the data.
    pub min_dev_from_expected: Sides,
    /// Deviations smaller than this part of the expected value score 0.
    pub min_rel_dev_from_expected: Sides,
    /// Widens the band.
    pub scale: Sides,
    /// Values that can be right, lowest and highest.
    pub data_range: (f64, f64),
    /// Whether forecast and band are cut to `data_range`.
    pub clip_predictions: bool,
    /// The least score of a value outside `data_range`.
    pub score_outside_data_range: f64,
}

/// How the band comes from the forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Technique {
    /// The quantiles that hold `confidence_level` of the points between them.
    ConfidenceInterval {
        /// Strictly between 0 and 1.
        confidence_level: f64,
    },
    /// The median plus and minus `threshold` standard deviations, which are read off the quantiles.
    ZScore {
        /// Above 0.
        threshold: f64,
    },
    /// The quartiles plus and minus `threshold` times their distance.
    Iqr {
        /// Above 0.
        threshold: f64,
    },
}

/// Which deviations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Above and below.
    Both,
    /// Only values above the expected one.
    AboveExpected,
    /// Only values below the expected one.
    BelowExpected,
}

/// One number for deviations downwards, one for those upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sides {
    /// For values below the expected one.
    pub below: f64,
    /// For values above the expected one.
    pub above: f64,
}

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Whether forecasts are written.
    pub write_forecast: bool,
    /// Whether scores are written.
    pub write_anomaly_score: bool,
    /// The start of a forecast series' name.
    pub metric_prefix: String,
    /// The names and labels of what is written.
    pub metric_format: MetricFormat,
}

/// The names and labels of the score, `y` and band series: a template whose `$VAR` is the kind of output
/// (`anomaly_score`, `y`, …) and whose `$QUERY_KEY` is the pipeline's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFormat {
    /// The metric's name; holds `$VAR`.
    pub name: String,
    /// Further labels and their values.
    pub labels: Vec<(String, String)>,
}
