//! Why an incident was found: its worst point, made again from its exact input and explained in sentences.
//!
//! The pipeline is the one that it was found with, kept with the incident; its input is read back from the store of
//! series, and scored as the service would have scored it. Where that is not what was recorded, it says so, and what may
//! be the reason.

mod again;
mod words;

use std::sync::Arc;

use engine::explain::{self, Evidence, Section, explain};
use engine::incident::Point;
use engine::output::{Names, SCORE_KINDS};
use engine::{PassError, Pipeline};
use serde::{Deserialize, Serialize};
use tsdb::labels::METRIC_NAME;
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, ReadError, Timestamp};
use utoipa::ToSchema;

use crate::app::App;
use crate::assembly::AssemblyError;
use crate::database::incidents::{self, Incident, Member};
use crate::database::{DatabaseError, feedback};
use again::Again;

/// How many episodes of the incident are looked at.
const MOST_MEMBERS: i64 = 1000;

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such incident.
    #[error("there is no incident `{0}`, or none any more")]
    NoIncident(String),
    /// The series is not part of it.
    #[error("the series {series} is not part of the incident; the one that contributes most is {first}")]
    NoMember {
        /// What was asked for.
        series: String,
        /// One that is.
        first: String,
    },
    /// Neither the pipeline that it was found with is known, nor is there one of its name.
    #[error("the pipeline `{0}`, which the incident was found with, is not there any more")]
    NoPipeline(String),
    /// The pipeline's document is not right any more.
    #[error(transparent)]
    Document(#[from] engine::pipeline::PipelineErrors),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store of pipelines.
    #[error(transparent)]
    Store(#[from] engine::store::StoreError),
    /// The model or the datasource is not there.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The input can't be read, or the model fails.
    #[error(transparent)]
    Pass(#[from] PassError),
}

impl From<ReadError> for ExplainError {
    fn from(error: ReadError) -> Self {
        Self::Pass(error.into())
    }
}

/// What is said of a point of one series, and what is drawn of the time around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The incident.
    pub incident: String,
    /// The pipeline.
    pub pipeline: String,
    /// The series.
    pub series: String,
    /// The point that is explained, RFC 3339.
    pub at: String,
    /// All of it in a sentence.
    pub headline: String,
    /// What there is to say.
    #[schema(value_type = Vec<Object>)]
    pub sections: Vec<Section>,
    /// Whether the score that was made again is that which was recorded; null where none could be made.
    pub is_same: Option<bool>,
    /// What it was made with: a hash of the pipeline's document, the model and the program; null where that is not known.
    pub recipe: Option<String>,
    /// The model, as it was when the incident was found.
    #[schema(value_type = Object)]
    pub model: serde_json::Value,
    /// The time around the point.
    pub chart: Drawing,
}

/// A series over time. What is not there is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drawing {
    /// The first point, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The distance between points, in milliseconds.
    pub step_ms: i64,
    /// What came.
    pub y: Vec<Option<f64>>,
    /// What was expected.
    pub yhat: Vec<Option<f64>>,
    /// The lower edge of the band.
    pub yhat_lower: Vec<Option<f64>>,
    /// The upper edge of the band.
    pub yhat_upper: Vec<Option<f64>>,
    /// The scores.
    pub anomaly_score: Vec<Option<f64>>,
}

/// What is known of the incident before anything is read.
struct Case {
    incident: Incident,
    members: Vec<Member>,
    /// The episode that is explained.
    episode: Member,
    said: Vec<feedback::Feedback>,
}

impl Case {
    async fn open(app: &App, id: &str, series: Option<&str>) -> Result<Self, ExplainError> {
        let database = &app.database;
        let incident = incidents::get(database, id).await?.ok_or_else(|| ExplainError::NoIncident(id.to_owned()))?;
        let members = incidents::members(database, &[id], None, MOST_MEMBERS).await?;
        let wanted = series.unwrap_or(&incident.series);
        let own = members.iter().filter(|one| one.series == wanted);
        let episode = own.max_by(|a, b| a.peak_score.total_cmp(&b.peak_score)).cloned().ok_or_else(|| {
            let first = members.first().map(|one| one.series.clone()).unwrap_or_default();
            ExplainError::NoMember { series: wanted.to_owned(), first }
        })?;
        let said = feedback::since(database, Timestamp::from_millis(i64::MIN / 2)).await?;
        let said = said.into_iter().filter(|one| one.pipeline == incident.pipeline).collect();
        Ok(Self { incident, members, episode, said })
    }

    fn point(&self) -> Point {
        let Member { peak_ms, peak_score, peak_actual, peak_expected, peak_lower, peak_upper, .. } = self.episode;
        Point {
            at: Timestamp::from_millis(peak_ms),
            score: peak_score,
            actual: peak_actual,
            expected: peak_expected,
            lower: peak_lower,
            upper: peak_upper,
        }
    }
}

/// Explains the incident `id` by the worst point of `series`, or of the series whose score is highest.
///
/// # Errors
/// There is no such incident, or what it needs is not there or can't be read.
pub async fn of(app: &App, id: &str, series: Option<&str>) -> Result<Explanation, ExplainError> {
    let case = Case::open(app, id, series).await?;
    let again = Again::prepare(app, &case).await?;
    let (point, labels) = (case.point(), case.episode.labels());
    let (values, scores) = past(&again, &labels, point.at).await?;
    let (made, why_not) = match again.score(app, &case, &labels).await {
        Ok(made) => (made, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let parts = explain::parts(&again.pipeline, &values, point.at);
    // What fails here has failed for the score too, where it is told.
    let grouped = again.reason(app, &case, &labels, point.at).await.unwrap_or_default();
    let (step, parts, grouped) = (again.pipeline.step, parts.as_deref(), grouped.as_ref());
    let evidence = Evidence { point, values: &values, step, scores: &scores, parts, grouped };
    let mut sections = explain(&evidence);
    sections.extend(words::together(&case));
    sections.extend(words::said(&case, &again.pipeline, &labels));
    sections.extend(words::silenced(&app.advice.notices(), &case));
    let found = made.as_ref().and_then(|made| made.at(point.at));
    let (is_same, told) = words::again(&case, &again, found, why_not);
    sections.push(told);
    Ok(Explanation {
        headline: words::headline(&case),
        incident: case.incident.id.clone(),
        pipeline: case.incident.pipeline.clone(),
        series: case.episode.series.clone(),
        at: point.at.to_string(),
        sections,
        is_same,
        recipe: case.incident.recipe.clone(),
        model: again.model.clone(),
        chart: made.map(again::Made::into_drawing).unwrap_or_default(),
    })
}

/// The values of a series over the context of the point at `at`, and the scores that were written of them.
async fn past(again: &Again, labels: &Labels, at: Timestamp) -> Result<(Vec<f64>, Vec<f64>), ReadError> {
    let pipeline = &again.pipeline;
    let start = at - pipeline.step.times(pipeline.known_points());
    let limits = Limits { series: pipeline.max_series, ..Limits::default() };
    let query = RangeQuery::new(&pipeline.query, start, at, pipeline.step).expect("the range ends after its start");
    let frame = again.ports.source.read(&query, &limits).await?.frame;
    let values = row(&frame, labels).unwrap_or_default();
    let scores = written(pipeline, &*again.ports.written, labels, &query).await;
    Ok((values, scores.unwrap_or_default()))
}

fn row(frame: &Frame, labels: &Labels) -> Option<Vec<f64>> {
    frame.rows().find(|(known, _)| *known == labels).map(|(_, row)| row.to_vec())
}

/// The scores that were written of the series `source`.
async fn written(
    pipeline: &Arc<Pipeline>,
    store: &dyn Read,
    source: &Labels,
    grid: &RangeQuery,
) -> Result<Vec<f64>, ReadError> {
    let name = Names::new(pipeline.clone()).score_name(SCORE_KINDS[0], source);
    // A plain selector would answer a gap with the value before it.
    let within = (pipeline.step.millis().min(60_000) - 1).max(1);
    let query = format!("last_over_time({}[{within}ms])", crate::api::chart::matching(&name));
    let query = RangeQuery::new(query, grid.start(), grid.end(), pipeline.step).expect("the grid is a range");
    let frame = store.read(&query, &Limits::default()).await?.frame;
    let bare = name.with(METRIC_NAME, "");
    // What the selector matches may have labels more.
    let found = frame.rows().find(|(labels, _)| labels.with(METRIC_NAME, "") == bare);
    Ok(found.map(|(_, row)| row.to_vec()).unwrap_or_default())
}
