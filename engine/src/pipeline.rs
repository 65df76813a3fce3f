//! One pipeline: one query, one model, one way of scoring, one set of schedules. Everything here is checked.

use std::time::Duration;

use models::detect::Detector;
use models::{Judging, ModelSpec, panel};
use tsdb::Step;

use crate::budget::{Budget, Share};
use crate::calendar::Calendar;
use crate::schedule::Schedule;
use crate::store::Document;
use document::{Node, Value};
use read::{Read, Reader, words};

mod anomaly;
mod calendar;
mod check;
mod document;
pub mod duration;
mod error;
mod kinds;
mod later;
mod model;
mod raw;
mod read;
mod schema;
mod training;

pub use error::{PipelineError, PipelineErrors, Place};
pub use training::Training;

/// The part of the points that a detector's band holds where the pipeline's technique names none.
pub(crate) const USUAL_CONFIDENCE: f64 = 0.95;

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
    pub model: ModelSpec,
    /// When and on what the model is trained; not at all where there is none.
    pub training: Option<Training>,
    /// Whether all series of the query are one joint input of the model.
    pub together: bool,
    /// What the model sees beside the series.
    pub covariates: Vec<Covariate>,
    /// How points are scored.
    pub anomaly: Anomaly,
    /// When nothing is scored, and nothing learned.
    pub calendars: Vec<Calendar>,
    /// What is written, and under which names.
    pub output: Output,
}

impl Pipeline {
    /// What judges the points.
    pub fn judging(&self) -> Judging {
        match (self.model.judging(), self.anomaly.technique) {
            (Judging::Forecasts, Technique::IsolationForest { .. }) => Judging::Panel(panel::Detector::forest()),
            (judging, _) => judging,
        }
    }

    /// Whether points are judged by a detector of their own, not by forecasts.
    pub fn detects(&self) -> bool {
        self.judging() != Judging::Forecasts
    }

    /// Whether that detector learns from every point, so that all of the history is what it knows.
    pub fn learns(&self) -> bool {
        self.judging() == Judging::Ensemble
    }

    /// Whether what a series scores depends on that series alone: it is neither forecast, judged nor budgeted with others of
    /// the query.
    pub fn series_stand_alone(&self) -> bool {
        let is_judged_alone = match self.judging() {
            Judging::Panel(detector) => detector.group_by().is_none(),
            Judging::Forecasts | Judging::Ensemble => true,
        };
        let is_budgeted_alone = self.anomaly.budget.is_none_or(|budget| budget.share == Share::Series);
        !self.together && is_judged_alone && is_budgeted_alone
    }

    /// How many points of history a score is to know: the context, or what a detector learns from, if that is more.
    pub fn known_points(&self) -> usize {
        let learned = if self.learns() { Detector::learns_from(self.step.duration()) } else { 0 };
        learned.max(self.context_points)
    }

    /// Reads the one pipeline of a YAML or JSON document. `origin` is the file's name, for messages.
    ///
    /// ```
    /// let pipeline = engine::Pipeline::parse("{ name: load, query: node_load1, step: 30s }", "load.yaml")?;
    /// assert_eq!(pipeline.context_points, 120);
    ///
    /// let wrong = engine::Pipeline::parse("name: load\nquerry: node_load1", "load.yaml").unwrap_err().to_string();
    /// assert!(wrong.contains("load.yaml:2:1: pipeline `load`: `querry`: is no field"));
    /// # Ok::<(), engine::pipeline::PipelineErrors>(())
    /// ```
    ///
    /// # Errors
    /// All that is wrong with it; also a document with no pipeline or with several.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PipelineErrors> {
        let mut pipelines = Self::parse_all(text, origin);
        match (pipelines.pop(), pipelines.len()) {
            (Some(pipeline), 0) => pipeline,
            (None, _) => {
                Err(whole(origin, Place::default(), "holds no pipeline; expected one with `name` and `query`"))
            }
            (_, more) => Err(whole(origin, Place::default(), format!("holds {} pipelines; expected one", more + 1))),
        }
    }

    /// Reads every pipeline of a YAML or JSON file, in its order: one a document (documents are separated by
    /// `---`), or a list of them under `pipelines:`. Nothing, where the file is empty.
    ///
    /// A wrong pipeline doesn't stop the others; a file that is no YAML is one error.
    pub fn parse_all(text: &str, origin: &str) -> Vec<Result<Self, PipelineErrors>> {
        let documents = match document::load(text) {
            Ok(documents) => documents,
            Err((place, message)) => return vec![Err(whole(origin, place, message))],
        };
        let mut names: Vec<(String, Place)> = Vec::new();
        let mut pipelines = Vec::new();
        for document in &documents {
            match list(document) {
                Ok(nodes) => pipelines.extend(nodes.iter().map(|node| parse_node(node, origin, &mut names))),
                Err((place, message)) => pipelines.push(Err(whole(origin, place, message))),
            }
        }
        pipelines
    }

    /// The documents that [`Pipeline::parse_all`] would read, as they are written, in the same order; a document that is
    /// no map is empty.
    pub fn documents(text: &str) -> Vec<Document> {
        let documents = document::load(text).unwrap_or_default();
        let nodes = documents.iter().flat_map(|document| list(document).unwrap_or_default());
        nodes.map(|node| node.to_json().as_object().cloned().unwrap_or_default()).collect()
    }

    /// Reads one pipeline from its document. `origin` is where that lies, for messages.
    ///
    /// # Errors
    /// All that is wrong with it. Places are those of the document as indented JSON.
    pub fn from_document(document: &Document, origin: &str) -> Result<Self, PipelineErrors> {
        Self::parse(&Self::json(document), origin)
    }

    /// The document as indented JSON, which reads back as the same document.
    pub fn json(document: &Document) -> String {
        escape(&format!("{:#}", serde_json::Value::Object(document.clone())))
    }

    /// The JSON Schema of the files that [`Pipeline::parse_all`] reads, one document each, for editors.
    pub fn schema() -> serde_json::Value {
        schema::schema()
    }
}

/// JSON in which strings hold no character that YAML refuses to read as it is.
fn escape(json: &str) -> String {
    let is_refused = |c: char| matches!(c, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match is_refused(c) {
            true => text += &format!("\\u{:04x}", u32::from(c)),
            false => text.push(c),
        }
    }
    text
}

fn whole(origin: &str, place: Place, message: impl Into<String>) -> PipelineErrors {
    let (origin, field, message) = (origin.to_owned(), String::new(), message.into());
    PipelineErrors::new(vec![PipelineError { origin, place, pipeline: None, field, message }])
}

/// The pipelines of a document: itself, or those of its list.
fn list(document: &Node) -> Result<&[Node], (Place, String)> {
    let place = document.place;
    let entries = match &document.value {
        Value::Map(entries) => entries,
        Value::List(_) => return Err((place, "found a list; write it under a key `pipelines:`".into())),
        found => return Err((place, format!("found {found}; expected a pipeline: a map with `name` and `query`"))),
    };
    let Some(pipelines) = entries.iter().find(|entry| entry.key == "pipelines") else {
        return Ok(std::slice::from_ref(document));
    };
    if let Some(other) = entries.iter().find(|entry| !std::ptr::eq(*entry, pipelines)) {
        let key = document::quoted(&other.key);
        return Err((
            other.place,
            format!("found the key {key} beside `pipelines`, which stands alone in its document"),
        ));
    }
    match &pipelines.value.value {
        Value::List(nodes) => Ok(nodes),
        Value::Null => Ok(&[]),
        found => Err((pipelines.value.place, format!("found {found} under `pipelines`; expected a list of pipelines"))),
    }
}

/// Reads one pipeline whose name is none of `names`, to which it is added.
fn parse_node(node: &Node, origin: &str, names: &mut Vec<(String, Place)>) -> Result<Pipeline, PipelineErrors> {
    let mut reader = Reader::default();
    let raw = raw::RawPipeline::read(node, &mut reader);
    let name = raw.as_ref().and_then(|raw| raw.name.clone());
    let pipeline = raw.and_then(|raw| check::check(raw, &mut reader));
    if let Some(name) = &name {
        match names.iter().find(|(other, _)| *other == name.value) {
            Some((_, first)) => {
                let line = first.line;
                reader.refuse_at::<(), _>(
                    name,
                    format!("is the name of the pipeline in line {line} too; names are unique"),
                );
            }
            None => names.push((name.value.clone(), name.place)),
        }
    }
    match pipeline {
        Some(pipeline) if reader.problems.is_empty() => Ok(pipeline),
        _ => Err(errors(reader, origin, name.map(|name| name.value))),
    }
}

fn errors(reader: Reader, origin: &str, name: Option<String>) -> PipelineErrors {
    // A name that is too long to be one doesn't make every message as long.
    let pipeline = name.filter(|name| name.len() <= 63 && !name.contains(char::is_control));
    let error = |problem: read::Problem| PipelineError {
        origin: origin.to_owned(),
        place: problem.place,
        pipeline: pipeline.clone(),
        field: problem.field,
        message: problem.message,
    };
    PipelineErrors::new(reader.problems.into_iter().map(error).collect())
}

words! {
    /// What a pipeline does.
    pub enum Mode;
    /// Writes forecasts and scores.
    "forecast_and_anomaly" ForecastAndAnomaly;
    /// Writes forecasts.
    "forecast_only" ForecastOnly;
    /// Writes scores.
    "anomaly_only" AnomalyOnly;
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

/// An input of the model beside the series that are forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covariate {
    /// For people.
    pub name: String,
    /// PromQL or MetricsQL; answers one series.
    pub query: String,
    /// Whether it also answers for the time of the forecast.
    pub future: bool,
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
    /// Whether the band follows what comes.
    pub calibration: Calibration,
    /// How many alerts are wanted; without, a point is anomalous where it lies outside its band.
    pub budget: Option<Budget>,
    /// How long a score must stay above 1 before it is an incident.
    pub patience: Duration,
    /// For how long anomalous points are hidden from later contexts, at most half a context; not at all without.
    pub mask_limit: Option<Duration>,
}

impl Anomaly {
    /// For how long anomalous points are hidden where nobody says: a day, if that leaves half of a context of `context`
    /// points to be learned from.
    pub fn usual_mask_limit(step: Step, context: usize) -> Duration {
        Duration::from_secs(86_400).min(step.times(context / 2))
    }

    /// The part of the points that a calibrated band is to hold; `None` where the band is not calibrated.
    pub fn calibrated_level(&self) -> Option<f64> {
        match (self.calibration, self.technique) {
            (Calibration::Conformal, Technique::ConfidenceInterval { confidence_level }) => Some(confidence_level),
            _ => None,
        }
    }

    /// The part of the points that a detector's band holds.
    pub fn confidence(&self) -> f64 {
        match self.technique {
            Technique::ConfidenceInterval { confidence_level } | Technique::IsolationForest { confidence_level } => {
                confidence_level
            }
            Technique::ZScore { .. } | Technique::Iqr { .. } => USUAL_CONFIDENCE,
        }
    }

    /// How many steps a score must stay above 1 after the first point before it is an incident.
    pub fn patience_points(&self, step: Step) -> usize {
        let steps = self.patience.as_millis().div_ceil(step.duration().as_millis());
        usize::try_from(steps).unwrap_or(usize::MAX)
    }
}

words! {
    /// Whether the band follows what comes.
    pub enum Calibration;
    /// It is widened or narrowed so that it holds `confidence_level` of what comes.
    "conformal" Conformal;
    /// It stays as the model says.
    "none" None;
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
    /// Points are judged by an isolation forest, whatever the model forecasts.
    IsolationForest {
        /// What the band holds; strictly between 0 and 1.
        confidence_level: f64,
    },
}

words! {
    /// Which deviations count.
    pub enum Direction;
    /// Above and below.
    "both" Both;
    /// Only values above the expected one.
    "above_expected" AboveExpected;
    /// Only values below the expected one.
    "below_expected" BelowExpected;
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
