//! The document as it is written: every field, its default and what it means. The one place that names them; the
//! JSON Schema is made from here. A field whose name begins with `_` is checked and has no effect yet.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json};

use super::document::{Node, Value};
use super::kinds::{Length, MatcherTexts, Pair, Range, ScheduleText, Templates};
use super::read::{Absent, Field, Read, Reader, document, words};
use super::{Calibration, Direction, Mode};

document! {
    /// One pipeline: one query, one model, one way of scoring, one set of schedules.
    #[schemars(rename = "Pipeline")]
    struct RawPipeline;

    /// Unique among all pipelines; becomes the label `pipeline` of what is written.
    #[schemars(extend("pattern" = "^[a-zA-Z_][a-zA-Z0-9_-]{0,62}$"))]
    "name" name: String, required;
    /// PromQL or MetricsQL. It may return any number of series; each is forecast and scored on its own.
    "query" query: String, required;
    /// For people.
    "description" description: String = "";
    /// Whether the pipeline runs on its schedules.
    "enabled" enabled: bool = true;
    /// The named datasource of the service's configuration that is read and written.
    "datasource" datasource: String = "default";
    /// Overrides the datasource's URL for reading.
    "prometheus_url" prometheus_url: String;
    /// Overrides the datasource's URL for writing.
    "prometheus_write_url" prometheus_write_url: String;
    /// The time zone of the cron patterns, by its IANA name.
    "timezone" timezone: String = "UTC";
    /// The distance between two points of the range query.
    "step" step: Length = "1m";
    /// How much history the model sees; at least two steps.
    "context_window" context_window: Length = "1h";
    /// How far ahead one forecast reaches; at least one step.
    "prediction_horizon" prediction_horizon: Length = "15m";
    /// Whether forecasts are written, points are scored, or both.
    "mode" mode: Mode = "forecast_and_anomaly";
    /// When forecasts are made: cron with 5 fields, or 6 with seconds first, or a duration such as `30s`.
    "forecast_schedule" forecast_schedule: ScheduleText = "*/5 * * * *";
    /// When what came is scored: cron with 5 fields, or 6 with seconds first, or a duration such as `30s`.
    "anomaly_schedule" anomaly_schedule: ScheduleText = "*/1 * * * *";
    /// The newest data looked at is this old, so that a point is never scored before it is complete.
    "data_delay" data_delay: Length = "0s";
    /// What a gap is before the model sees it. A gap is never scored.
    "missing" missing: RawMissing = "nan";
    /// With more series than this the pass fails and writes nothing.
    "max_series" max_series: usize = 10000;
    /// Whether series are forecast one by one, together, or with further inputs.
    "series_type" series_type: SeriesType = "univariate";
    /// Further inputs of the model; `series_type` must be `covariate` or `multivariate`.
    "covariates" covariates: Vec<RawCovariate> = [];
    /// The model and its parameters.
    "model" model: RawModel = {};
    /// When and on what the model is trained.
    "training" training: RawTraining;
    /// How points are scored.
    "anomaly" anomaly: RawAnomaly = {};
    /// What is written, and under which names.
    "output" output: RawOutput = {};
    /// Maintenance windows and holidays: nothing is scored in them, and nothing learned from them.
    "calendars" calendars: Vec<RawCalendar> = [];
    /// History to score once. Not supported yet.
    "backfill" backfill: RawBackfill;
    /// The flat form of `mode`: whether forecasts are written.
    "forecast_enabled" forecast_enabled: bool;
    /// The flat form of `context_window`.
    "forecast_context_window" forecast_context_window: Length;
    /// The flat form of `prediction_horizon`.
    "forecast_horizon" forecast_horizon: Length;
    /// The flat form of `mode`: whether points are scored.
    "anomaly_enabled" anomaly_enabled: bool;
    /// The flat form of `anomaly.threshold`; makes `z_score` the technique unless `anomaly.technique` is there.
    "anomaly_threshold" anomaly_threshold: f64;
    /// The flat form of `training.enabled`.
    "training_enabled" training_enabled: bool;
    /// The flat form of `training.schedule`.
    "training_schedule" training_schedule: ScheduleText;
    /// The flat form of `training.window`.
    "training_window" training_window: Length;
}

document! {
    /// An input of the model besides the series itself.
    #[schemars(rename = "Covariate")]
    struct RawCovariate;

    /// The input's name.
    "name" name: String, required;
    /// PromQL or MetricsQL; must answer one series.
    "query" query: String, required;
    /// Whether the query also answers for the horizon.
    "future" future: bool = false;
}

document! {
    /// A time in which nothing is scored, and nothing learned from: `from` and `until` once, or again and again `schedule`
    /// and `duration`.
    #[schemars(rename = "Calendar")]
    struct RawCalendar;

    /// For people.
    "name" name: String = "";
    /// Its first moment: a date, a date and a time (both in `timezone`), or a time with its offset.
    "from" from: String;
    /// The first moment after it.
    "until" until: String;
    /// When each of its windows begins.
    "schedule" schedule: ScheduleText;
    /// How long each of its windows lasts; shorter than the time until the next.
    "duration" duration: Length;
    /// The time zone of `from`, `until` and `schedule`; that of the pipeline where there is none.
    "timezone" timezone: String;
    /// What a series must fulfil: labels and their values, or a list of matchers such as `zone=~"eu-.*"`. Without any,
    /// it holds for all series.
    "matchers" matchers: MatcherTexts = [];
}

document! {
    /// The model and its parameters.
    #[schemars(rename = "Model")]
    struct RawModel;

    /// The model's id; `openanomaly models list` shows them.
    "id" id: String;
    /// Where the model runs.
    "type" kind: ModelType = "local";
    /// The URL of a remote model.
    "endpoint" endpoint: String;
    /// How requests to a remote model are encoded; without meaning for a local one.
    "serialization_format" serialization_format: SerializationFormat = "json";
    /// The model's own parameters.
    "parameters" parameters: Map<String, Json> = {};
}

document! {
    /// When and on what the model is trained.
    #[schemars(rename = "Training")]
    struct RawTraining;

    /// Whether the model is trained on a schedule.
    "enabled" enabled: bool = true;
    /// When the model is trained.
    "schedule" schedule: ScheduleText = "0 0 * * *";
    /// How much history it is trained on.
    "window" window: Length = "30d";
    /// The URL of the trainer of a remote model.
    "endpoint" endpoint: String;
    /// What the trainer of a remote model is told.
    "parameters" parameters: Map<String, Json> = {};
}

document! {
    /// How points are scored.
    #[schemars(rename = "Anomaly")]
    struct RawAnomaly;

    /// How points are scored: by a band that comes from the forecast, or by an isolation forest.
    "technique" technique: RawTechnique = "confidence_interval";
    /// The part of the points that the band of `confidence_interval` holds; between 0 and 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    "confidence_level" confidence_level: f64 = 0.95;
    /// The width of the band of `z_score` in standard deviations, of `iqr` in quartile distances; above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    "threshold" threshold: f64 = 3.0;
    /// Which deviations count.
    "detection_direction" detection_direction: Direction = "both";
    /// Deviations smaller than this score 0, in the units of the data; one number or [below, above].
    "min_dev_from_expected" min_dev_from_expected: Pair = 0;
    /// Deviations smaller than this part of the expected value score 0 (0.1 is 10%); one number or [below, above].
    "min_rel_dev_from_expected" min_rel_dev_from_expected: Pair = 0;
    /// Widens the band (above 1) or narrows it (below 1); one number or [below, above].
    "scale" scale: Pair = 1;
    /// The lowest and the highest value that can be right.
    "data_range" data_range: Range = ["-inf", "inf"];
    /// Whether forecast and band are cut to `data_range`.
    "clip_predictions" clip_predictions: bool = false;
    /// The least score of a value outside `data_range`.
    "anomaly_score_outside_data_range" anomaly_score_outside_data_range: f64 = 1.01;
    /// Whether the band follows what comes, so that it holds `confidence_level` of it. `conformal` is for
    /// `confidence_interval`, and what that has without a word; the others have `none`.
    "calibration" calibration: Calibration;
    /// About how many alerts are wanted, such as `2/week`, or `1/day per series`.
    #[schemars(extend("pattern" = "^ *[0-9.]+ */ *[0-9a-z]+( +per series)? *$"))]
    "alert_budget" alert_budget: String;
    /// How long a score stays above 1 before it is an incident.
    "for" for_: Length = "0s";
    /// Whether points scored anomalous are hidden from later contexts.
    "mask_anomalies" mask_anomalies: bool = true;
    /// For how long they are hidden: what lasts longer is learned. At most half of `context_window`; 1d where that is
    /// more.
    "mask_limit" mask_limit: Length;
}

document! {
    /// What is written, and under which names.
    #[schemars(rename = "Output")]
    struct RawOutput;

    /// Whether forecasts are written.
    "write_forecast" write_forecast: bool = true;
    /// Whether scores are written.
    "write_anomaly_score" write_anomaly_score: bool = true;
    /// The start of a forecast series' name.
    "metric_prefix" metric_prefix: String = "openanomaly_";
    /// The name (`__name__`, holds `$VAR`) and further labels of the score, `y`, band and `missing` series. `$VAR` is
    /// the kind of output, such as `anomaly_score`, `$QUERY_KEY` the pipeline's name.
    "metric_format" metric_format: Templates = { "__name__": "$VAR" };
}

document! {
    /// History to score once. Not supported yet.
    #[schemars(rename = "Backfill")]
    struct RawBackfill;

    /// Its begin.
    "from" _from: String, required;
    /// Its end.
    "to" _to: String, required;
}

words! {
    /// How the series of the query belong together.
    pub(super) enum SeriesType;
    /// Each on its own.
    "univariate" Univariate;
    /// All are one joint input.
    "multivariate" Multivariate;
    /// Each with the `covariates` as further inputs.
    "covariate" Covariate;
}

words! {
    /// Where the model runs.
    pub(super) enum ModelType;
    /// In this program.
    "local" Local;
    /// Behind a URL, the `endpoint`.
    "remote" Remote;
}

words! {
    /// How requests to a remote model are encoded.
    pub(super) enum SerializationFormat;
    /// JSON.
    "json" Json;
    /// Arrow.
    "arrow" Arrow;
}

words! {
    /// How the band comes from the forecast.
    #[schemars(rename = "Technique")]
    pub(super) enum RawTechnique;
    /// The quantiles that hold `confidence_level` of the points between them.
    "confidence_interval" ConfidenceInterval;
    /// The median plus and minus `threshold` standard deviations.
    "z_score" ZScore;
    /// The quartiles plus and minus `threshold` times their distance.
    "iqr" Iqr;
    /// No band: points are judged by an isolation forest.
    "isolation_forest" IsolationForest;
}

words! {
    /// What a gap becomes.
    pub(super) enum MissingWord;
    /// It stays a gap, and the model deals with it.
    "nan" Nan;
    /// The value before it.
    "previous" Previous;
    /// On the line between its neighbours.
    "linear" Linear;
    /// 0.
    "zero" Zero;
}

document! {
    /// Every gap is this value.
    #[schemars(rename = "Fixed")]
    struct RawFixed;

    /// The value.
    "fixed" fixed: f64, required;
}

/// What a gap is before the model sees it.
#[derive(Clone, Debug)]
pub(super) enum RawMissing {
    Word(MissingWord),
    Fixed(f64),
}

impl Read for RawMissing {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Self::Fixed(RawFixed::read(node, reader)?.fixed?.value)),
            // YAML may take an unquoted nan for a number.
            Value::Float(number) if number.is_nan() => Some(Self::Word(MissingWord::Nan)),
            Value::Integer(_) | Value::Float(_) => {
                reader.expected(node, "one of nan, previous, linear, zero, or for a number {fixed: …}")
            }
            _ => MissingWord::read(node, reader).map(Self::Word),
        }
    }
}

impl JsonSchema for RawMissing {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Missing".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [generator.subschema_for::<MissingWord>(), generator.subschema_for::<RawFixed>()]
        })
    }
}
