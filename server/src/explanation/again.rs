//! A score made again, with what it was made with.

use std::sync::Arc;

use async_trait::async_trait;
use engine::backfill::Backfill;
use engine::explain::Grouped;
use engine::incident::Point;
use engine::store::Document;
use engine::{PassError, Pipeline, Ports, Scored};
use serde_json::{Map, Value};
use tsdb::{Answer, Frame, Labels, Limits, RangeQuery, Read, ReadError, Timestamp};

use super::{Case, Drawing, ExplainError};
use crate::app::App;
use crate::assembly::Trust;
use crate::config::resolved;
use crate::daemon::{environment, worker};
use crate::database::recipes;
use crate::recipe::Recipe;
use crate::registry;

/// How many points are drawn before and after the episode, at least and at most.
const AROUND: (usize, usize) = (60, 600);

/// How many points of a long episode are drawn around its worst.
const MOST: usize = 1500;

/// The pipeline that an incident was found with, ready to score again.
pub(super) struct Again {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) ports: Ports,
    /// The model as it was.
    pub(super) model: Value,
    /// What is different now from then, for people.
    pub(super) changes: Vec<String>,
}

/// What the store of pipelines has under the incident's name today.
struct Today {
    document: Document,
    trust: Trust,
}

impl Again {
    /// The pipeline as it was when the incident was found, or as it is now where that is not known.
    pub(super) async fn prepare(app: &App, case: &Case) -> Result<Self, ExplainError> {
        let name = &case.incident.pipeline;
        let stored = app.store.get(name).await?;
        let today = stored.map(|stored| Today { trust: Trust::of(&stored), document: stored.document });
        let recipe = match &case.incident.recipe {
            Some(hash) => recipes::get(&app.database, hash).await?,
            None => None,
        };
        let trust = trust(today.as_ref(), recipe.as_ref());
        let document = recipe.as_ref().and_then(|recipe| serde_json::from_str(&recipe.document).ok());
        let document = document.or_else(|| today.as_ref().map(|today| today.document.clone()));
        let document: Document = document.ok_or_else(|| ExplainError::NoPipeline(name.clone()))?;
        let mut pipeline = checked(&document, trust)?;
        let model = recipe.as_ref().and_then(|recipe| serde_json::from_str(&recipe.model).ok());
        let model: Value = model.unwrap_or_else(|| serde_json::json!({"id": pipeline.model.id}));
        if let Some(parameters) = model["parameters"].as_object() {
            pipeline.model.parameters = parameters.clone();
        }
        let changes = changes(app, today.as_ref(), recipe.as_ref(), &pipeline).await?;
        let assembly = app.current().assembly;
        let ports = assembly.nameless_ports(&pipeline, trust)?;
        let (settles, _) = worker::settling(&ports).await?;
        pipeline.data_delay = pipeline.data_delay.max(settles);
        Ok(Self { pipeline: Arc::new(pipeline), ports, model, changes })
    }

    /// Why a detector of several series found the point at `at` as it did; nothing where no such detector judged it.
    pub(super) async fn reason(
        &self,
        app: &App,
        case: &Case,
        labels: &Labels,
        at: Timestamp,
    ) -> Result<Option<Grouped>, PassError> {
        self.backfill(app, case, self.ports.clone()).reason(labels, at).await
    }

    /// What scores again, told what passes were.
    fn backfill(&self, app: &App, case: &Case, ports: Ports) -> Backfill {
        let mut backfill = Backfill::new((*self.pipeline).clone(), ports);
        let verdicts = case.said.iter().filter_map(crate::database::feedback::Feedback::moves).collect();
        backfill.advise(app.advice.silences(&self.pipeline), verdicts);
        backfill
    }

    /// The series of the case, scored again from before the episode until after it; nothing where it can't be seen.
    pub(super) async fn score(&self, app: &App, case: &Case, labels: &Labels) -> Result<Option<Made>, PassError> {
        let mut ports = self.ports.clone();
        if self.pipeline.series_stand_alone() {
            ports.source = Arc::new(OneSeries { inner: ports.source, series: labels.clone() });
        }
        let mut backfill = self.backfill(app, case, ports);
        let (after, until) = self.range(case);
        let until = until.min(backfill.newest(app.now()));
        let Some(piece) = backfill.score(after, until).await? else { return Ok(None) };
        let row = piece.scored.y.series().iter().position(|known| known == labels);
        Ok(row.map(|row| Made { scored: piece.scored, row }))
    }

    /// The range that is drawn: the episode, and as much again on both sides.
    fn range(&self, case: &Case) -> (Timestamp, Timestamp) {
        let (step, at) = (self.pipeline.step, Timestamp::from_millis);
        let (first, last, peak) = (at(case.episode.start_ms), at(case.episode.end_ms), at(case.episode.peak_ms));
        let points = usize::try_from((last.millis() - first.millis()) / step.millis()).unwrap_or(0);
        let around = step.times((points * 2).clamp(AROUND.0, AROUND.1));
        let from = (first - around).max(peak - step.times(MOST / 2));
        let until = (last + around).min(peak + step.times(MOST / 2));
        (from - step.duration(), until)
    }
}

/// Who has written the document of `recipe`: only what came from a file, and still does, may ask whom it likes.
fn trust(today: Option<&Today>, recipe: Option<&Recipe>) -> Trust {
    let trust = today.map_or(Trust::Api, |today| today.trust);
    let was_filed = recipe.is_none_or(|recipe| {
        serde_json::from_str::<Value>(&recipe.model).is_ok_and(|model| model["is_filed"] == Value::Bool(true))
    });
    if was_filed { trust } else { Trust::Api }
}

/// The pipeline that `document` says; those in files take what the environment says.
fn checked(document: &Document, trust: Trust) -> Result<Pipeline, ExplainError> {
    if trust == Trust::Operator {
        let text = Pipeline::json(document);
        if let Some((_, outcome)) =
            resolved(&text, "the incident's pipeline", &environment).ok().and_then(|mut all| all.pop())
        {
            return Ok(outcome?);
        }
    }
    Ok(Pipeline::from_document(document, "the incident's pipeline")?)
}

/// What is different now from when the incident was found.
async fn changes(
    app: &App,
    today: Option<&Today>,
    recipe: Option<&Recipe>,
    pipeline: &Pipeline,
) -> Result<Vec<String>, ExplainError> {
    let Some(recipe) = recipe else {
        return Ok(vec!["It is not known what it was found with, so the pipeline is taken as it is now.".into()]);
    };
    let mut changes = vec![];
    match today {
        None => changes.push("The pipeline is not there any more.".to_owned()),
        Some(today) => {
            let fields = differing(&today.document, &recipe.document).join(", ");
            if !fields.is_empty() {
                changes.push(format!("The pipeline's document has been changed since ({fields})."));
            }
        }
    }
    let resources = app.current().assembly.resources().clone();
    let current = registry::Current::read(&app.database).await?;
    let now = today.map(|today| checked(&today.document, today.trust)).transpose()?;
    let now = now.as_ref().unwrap_or(pipeline);
    let then: Value = serde_json::from_str(&recipe.model).unwrap_or_default();
    let made_now =
        Recipe::of((&Map::new(), Trust::Api), &current.applied(now.clone()), current.version(now), &resources);
    let made_now: Value = serde_json::from_str(&made_now.model).unwrap_or_default();
    for (field, what) in [
        ("id", "another model"),
        ("version", "another trained version of the model"),
        ("file_sha256", "another file of the model"),
        ("program", "another version of the program"),
    ] {
        if then[field] != made_now[field] {
            changes.push(format!(
                "It was found with {what} ({} then, {} now).",
                shown(&then[field]),
                shown(&made_now[field])
            ));
        }
    }
    Ok(changes)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.chars().take(16).collect(),
        other => other.to_string(),
    }
}

/// The fields in which two documents differ.
fn differing(now: &Document, then: &str) -> Vec<String> {
    let then: Document = serde_json::from_str(then).unwrap_or_default();
    let names: std::collections::BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    names.into_iter().filter(|name| now.get(*name) != then.get(*name)).map(|name| format!("`{name}`")).collect()
}

/// What was scored again.
pub(super) struct Made {
    scored: Scored,
    row: usize,
}

impl Made {
    /// The point at `at`; none where it has no score.
    pub(super) fn at(&self, at: Timestamp) -> Option<Point> {
        let Scored { y, yhat, yhat_lower, yhat_upper, score } = &self.scored;
        let index = score.index(at)?;
        let value = |frame: &Frame| frame.row(self.row)[index];
        let point = Point {
            at,
            score: value(score),
            actual: value(y),
            expected: value(yhat),
            lower: value(yhat_lower),
            upper: value(yhat_upper),
        };
        (!point.score.is_nan()).then_some(point)
    }

    pub(super) fn into_drawing(self) -> Drawing {
        let values = |frame: &Frame| {
            frame.row(self.row).iter().map(|value| Some(*value).filter(|value| value.is_finite())).collect()
        };
        let Scored { y, yhat, yhat_lower, yhat_upper, score } = &self.scored;
        Drawing {
            start_ms: y.start().millis(),
            step_ms: y.step().millis(),
            y: values(y),
            yhat: values(yhat),
            yhat_lower: values(yhat_lower),
            yhat_upper: values(yhat_upper),
            anomaly_score: values(score),
        }
    }
}

/// One series of what somebody else reads.
struct OneSeries {
    inner: Arc<dyn Read>,
    series: Labels,
}

#[async_trait]
impl Read for OneSeries {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        let mut answer = self.inner.read(query, limits).await?;
        let frame = &answer.frame;
        let row = frame.rows().find(|(labels, _)| **labels == self.series).map(|(_, row)| row.to_vec());
        let (start, step, points) = (frame.start(), frame.step(), frame.points());
        answer.frame = match row {
            Some(row) => Frame::new(vec![self.series.clone()], start, step, points, row).expect("it is one whole row"),
            None => Frame::empty(start, step, points),
        };
        Ok(answer)
    }

    async fn settles_after(&self) -> Result<std::time::Duration, ReadError> {
        self.inner.settles_after().await
    }
}
