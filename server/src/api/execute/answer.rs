//! What a run answers: for each series what came, what was expected, how unusual it was, and what comes next.

use std::collections::BTreeMap;

use engine::outlook::{Outlook, WRITTEN_LEVELS};
use engine::{History, Scored};
use serde::{Serialize, Serializer};
use tsdb::Timestamp;
use utoipa::ToSchema;

/// The level of the median.
const MEDIAN: f64 = 0.5;

/// What a run answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Outcome {
    /// `success`; whatever fails is a problem instead.
    pub(super) status: &'static str,
    /// What was done, for people.
    pub(super) message: &'static str,
    /// One for each series.
    pub(super) data: Vec<SeriesOutcome>,
    /// What was run, and how it went.
    pub(super) meta: Meta,
}

/// What was run, and how it went.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Meta {
    /// How many series.
    pub(super) series: usize,
    /// How many points were scored.
    pub(super) points: usize,
    /// How many of them have a score above 1.
    pub(super) anomalies: usize,
    /// The model.
    pub(super) model: String,
    /// How long it took.
    pub(super) took_seconds: f64,
    /// How many samples the datasource took.
    pub(super) written: u64,
    /// What people should know.
    pub(super) warnings: Vec<String>,
}

/// One series: of each point that was looked at its value, what was expected, and its score; `null` where there is
/// none.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SeriesOutcome {
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// The points' times in seconds since the Unix epoch.
    #[schema(value_type = Vec<f64>)]
    timestamps: Vec<Seconds>,
    /// What came.
    #[schema(value_type = Vec<Option<f64>>)]
    y: Vec<f64>,
    /// What was expected.
    #[schema(value_type = Vec<Option<f64>>)]
    yhat: Vec<f64>,
    /// The lower edge of the band.
    #[schema(value_type = Vec<Option<f64>>)]
    yhat_lower: Vec<f64>,
    /// The upper edge of the band.
    #[schema(value_type = Vec<Option<f64>>)]
    yhat_upper: Vec<f64>,
    /// 0 at what was expected, 1 at the edge of the band.
    #[schema(value_type = Vec<Option<f64>>)]
    anomaly_score: Vec<f64>,
    /// Whether the score is above 1.
    is_anomaly: Vec<bool>,
    /// What comes next.
    forecast: Ahead,
    /// Why the model could not forecast it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What comes next.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Ahead {
    /// The points' times in seconds since the Unix epoch.
    #[schema(value_type = Vec<f64>)]
    timestamps: Vec<Seconds>,
    /// The median.
    #[schema(value_type = Vec<Option<f64>>)]
    mean: Vec<f64>,
    /// By level, what values stay below with that probability.
    #[schema(value_type = BTreeMap<String, Vec<Option<f64>>>)]
    quantiles: BTreeMap<String, Vec<f64>>,
}

/// A time as seconds, whole where it is.
#[derive(Debug, Clone, Copy)]
struct Seconds(i64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1000 {
            0 => serializer.serialize_i64(self.0 / 1000),
            _ => serializer.serialize_f64(self.0 as f64 / 1000.0),
        }
    }
}

/// What was found for every series of `history`; all times are `offset` milliseconds later than those of the grid.
pub(super) fn series(history: &History, scored: &Scored, outlook: &Outlook, offset: i64) -> Vec<SeriesOutcome> {
    let names = history.series().iter().enumerate();
    names
        .map(|(row, labels)| {
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let points = scored.score.points();
            let times: Vec<Timestamp> = (0..points).map(|point| scored.score.time(point)).collect();
            let score = scored.score.row(row);
            let failed = outlook.forecast.failures().iter().find(|failure| failure.series == row);
            SeriesOutcome {
                labels: labels.iter().map(owned).collect(),
                timestamps: times.iter().map(|time| Seconds(time.millis() + offset)).collect(),
                y: times.iter().map(|time| history.value(row, *time)).collect(),
                yhat: scored.yhat.row(row).to_vec(),
                yhat_lower: scored.yhat_lower.row(row).to_vec(),
                yhat_upper: scored.yhat_upper.row(row).to_vec(),
                anomaly_score: score.to_vec(),
                is_anomaly: score.iter().map(|score| *score > 1.0).collect(),
                forecast: ahead(row, outlook, history, offset),
                error: failed.map(|failure| failure.message.clone()),
            }
        })
        .collect()
}

fn ahead(row: usize, outlook: &Outlook, history: &History, offset: i64) -> Ahead {
    let forecast = &outlook.forecast;
    let (origin, step) = (outlook.origin.millis() + offset, history.step().millis());
    let quantile = |level| forecast.levels().position(level).map(|at| forecast.quantile(row, at).to_vec());
    let named = |level: f64| quantile(level).map(|values| (level.to_string(), values));
    Ahead {
        timestamps: (1..=forecast.horizon() as i64).map(|point| Seconds(origin + point * step)).collect(),
        mean: quantile(MEDIAN).unwrap_or_default(),
        quantiles: WRITTEN_LEVELS.into_iter().filter_map(named).collect(),
    }
}
