//! Runs of pipelines that come with the request: now, without a past, and without leaving one.

mod answer;
mod inline;
mod task;
mod train;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::outlook::{Turn, newest};
use engine::output::Names;
use engine::pipeline::duration::{self, Show};
use engine::store::Document;
use engine::{History, Pipeline, Ports, covariates};
use models::registry::FORECASTER;
use models::{ForecastError, Forecaster, ModelSpec};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tsdb::{Frame, Limits, RangeQuery, ReadError, ReadFault, Timestamp, WriteError};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::incoming::{ORIGIN, admit, fault, invalid, unfit};
use super::problem::Problem;
use crate::app::App;
use crate::assembly::Trust;
use answer::{Meta, Outcome};
use inline::{Inline, Series, Time};
use task::{Done, Task};

/// Bytes of bodies that may wait for their turn, in KiB: beyond that, others are sent away.
const ROOM_KIB: usize = 256 << 10;

/// What the smallest body counts, in KiB.
const LEAST_KIB: usize = 16;

/// Runs on what a datasource answers, at a time.
const READERS: usize = 16;

/// Forecasts that one request may need.
const MOST_FORECASTS: usize = 2000;

static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(ROOM_KIB)));
static READING: Semaphore = Semaphore::const_new(READERS);

/// The routes, under the original's paths and under ours.
pub(super) fn routes() -> Routes {
    let execute =
        || OpenApiRouter::new().routes(routes!(inference)).routes(routes!(forecast)).routes(routes!(train::train));
    Routes { editor: execute().merge(OpenApiRouter::new().nest("/api/v1", execute())), ..Routes::default() }
}

/// What is to be run: the fields of a pipeline, here or under `pipeline`, and where its series come from.
#[derive(Debug, Deserialize, ToSchema)]
struct Order {
    /// The pipeline; its fields may stand beside `series` instead.
    #[schema(value_type = Option<Object>)]
    pipeline: Option<Document>,
    /// The series, instead of what the pipeline's query answers. Then nothing is written.
    series: Option<Vec<Series>>,
    /// When it is run, instead of now.
    at: Option<Time>,
    /// How much of what the query answers is judged, such as `2d`, instead of one horizon.
    last: Option<String>,
    /// Whether nothing is written.
    #[serde(default)]
    dry_run: bool,
    #[serde(flatten)]
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    fields: Map<String, Value>,
}

/// An order, and the room that it takes while it waits.
struct Admitted {
    order: Order,
    _room: OwnedSemaphorePermit,
}

impl FromRequest<App> for Admitted {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let limit = app.current().config.limits.body_bytes;
        let kib = (length(request.headers()).unwrap_or(limit).min(limit) >> 10).clamp(LEAST_KIB, ROOM_KIB);
        let room = ROOM.clone().try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
        let Ok(room) = room else { return Err(busy()) };
        let Body(order) = Body::from_request(request, app).await.map_err(Problem::into_response)?;
        Ok(Self { order, _room: room })
    }
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn busy() -> Response {
    let detail = "too many runs wait already; try again";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
    ([(header::RETRY_AFTER, "1")], problem).into_response()
}

/// What is done with the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Forecast, score and write.
    Inference,
    /// Forecast.
    Forecast,
}

/// Forecasts and scores the series of a pipeline now; the scores are written as a pass would, unless the series came
/// with the request or it is a dry run.
#[utoipa::path(post, path = "/execute/inference", tag = "execute", request_body = Order,
    responses((status = 200, body = Outcome), (status = 502, description = "the datasource failed")))]
async fn inference(State(app): State<App>, admitted: Admitted) -> Result<Json<Outcome>, Problem> {
    execute(&app, admitted.order, Aim::Inference).await
}

/// Forecasts the series of a pipeline now; nothing is scored, and nothing written.
#[utoipa::path(post, path = "/execute/forecast", tag = "execute", request_body = Order,
    responses((status = 200, body = Outcome), (status = 502, description = "the datasource failed")))]
async fn forecast(State(app): State<App>, admitted: Admitted) -> Result<Json<Outcome>, Problem> {
    execute(&app, admitted.order, Aim::Forecast).await
}

/// What a run works on.
struct Work {
    pipeline: Pipeline,
    history: History,
    turns: Vec<Turn>,
    origin: Timestamp,
    offset: i64,
    warnings: Vec<String>,
}

async fn execute(app: &App, mut order: Order, aim: Aim) -> Result<Json<Outcome>, Problem> {
    let started = Instant::now();
    let series = order.series.take();
    let at = order.at.as_ref().map(Time::get).transpose().map_err(|message| invalid("at", message))?;
    let last = order.last.as_deref().map(duration::parse).transpose();
    let last = last.map_err(|error| invalid("last", error.to_string()))?.unwrap_or_default();
    let (document, dry_run) = (order.document(series.is_some())?, order.dry_run);
    // What was read is held until it is answered.
    let reads = series.is_none().then(|| READING.acquire());
    let _turn = futures_util::future::OptionFuture::from(reads).await;
    let (work, ports) = match series {
        Some(series) => (given(document, series)?, None),
        None => {
            let pipeline = checked(&document)?;
            let ports = adhoc_ports(app, &pipeline)?;
            (read(&ports, pipeline, at.unwrap_or_else(|| app.now()), last).await?, Some(ports))
        }
    };
    let Work { pipeline, history, mut turns, origin, offset, mut warnings } = work;
    if aim == Aim::Forecast || !pipeline.mode.scores() {
        turns.clear();
    }
    if turns.len() > MOST_FORECASTS {
        let message = format!("would need {} forecasts, {MOST_FORECASTS} at most", turns.len());
        return Err(invalid("prediction_horizon", message));
    }
    let model = match &ports {
        Some(ports) => ports.model.clone(),
        None => adhoc_model(app, &pipeline)?,
    };
    let pipeline = Arc::new(pipeline);
    let task = task(pipeline.clone(), model, ports.as_ref(), history, turns, origin, &mut warnings).await?;
    let done = task.run().await.map_err(|error| model_failed(&error))?;
    let scores = done.scored.score.values();
    let mut meta = Meta {
        series: done.history.series().len(),
        points: scores.iter().filter(|score| !score.is_nan()).count(),
        anomalies: scores.iter().filter(|score| **score > 1.0).count(),
        model: pipeline.model.id.clone(),
        took_seconds: 0.0,
        written: 0,
        warnings,
    };
    let data = answer::series(&done.history, &done.scored, &done.outlook, offset);
    let message = match (ports, aim) {
        (_, Aim::Forecast) => "Forecast executed; nothing was written",
        (Some(ports), _) if !dry_run => {
            meta.written = write(&ports, pipeline, done, &mut meta.warnings).await?;
            "Inference executed and results written to TSDB"
        }
        _ => "Inference executed; nothing was written",
    };
    meta.took_seconds = started.elapsed().as_secs_f64();
    Ok(Json(Outcome { status: "success", message, data, meta }))
}

impl Order {
    /// The pipeline's document. What can't be left out of a file need not be said here: a name, a query for series
    /// that are there, and a schedule, of which there is none.
    fn document(&mut self, is_inline: bool) -> Result<Document, Problem> {
        let fields = std::mem::take(&mut self.fields);
        let mut document = match self.pipeline.take() {
            Some(_) if !fields.is_empty() => {
                let key = fields.keys().next().map(String::as_str).unwrap_or_default();
                return Err(invalid(key, "stands beside `pipeline`, which holds all fields of the pipeline"));
            }
            Some(document) => document,
            None => fields,
        };
        document.entry("name").or_insert_with(|| "adhoc".into());
        if is_inline {
            document.entry("query").or_insert_with(|| "inline".into());
        }
        let horizon = document.get("prediction_horizon").or(document.get("forecast_horizon")).cloned();
        if let Some(horizon) = horizon {
            document.entry("forecast_schedule").or_insert(horizon);
        }
        Ok(document)
    }
}

/// The pipeline of a document. One that names no model is judged by forecasts: a context tells a detector too little.
fn checked(document: &Document) -> Result<Pipeline, Problem> {
    let mut pipeline = Pipeline::from_document(document, ORIGIN).map_err(|errors| {
        let mut problem = Problem::from(&errors);
        // The places are those of the document as we put it together.
        problem.errors.iter_mut().for_each(|fault| (fault.line, fault.column) = (None, None));
        problem
    })?;
    let names_model = document.get("model").is_some_and(|model| model.get("id").is_some());
    if pipeline.learns() && !names_model {
        pipeline.model = ModelSpec::local(FORECASTER, serde_json::Map::new());
    }
    Ok(pipeline)
}

/// Where a pipeline that came with the request reads and writes, and its model: this is where it is decided what it
/// may ask.
fn adhoc_ports(app: &App, pipeline: &Pipeline) -> Result<Ports, Problem> {
    admit(app, pipeline)?;
    app.current().assembly.nameless_ports(pipeline, Trust::Api).map_err(|error| unfit(&error))
}

/// The model alone, for series that came with the request.
fn adhoc_model(app: &App, pipeline: &Pipeline) -> Result<Arc<dyn Forecaster>, Problem> {
    let assembly = app.current().assembly;
    assembly
        .check(pipeline, Trust::Api)
        .and_then(|()| assembly.model(pipeline, Trust::Api))
        .map_err(|error| unfit(&error))
}

/// The series of the request, on their grid.
fn given(document: Document, series: Vec<Series>) -> Result<Work, Problem> {
    let (pipeline, Inline { frame, offset }) = gridded(document, series)?;
    let history = History::of(frame);
    let (turns, origin) = (task::turns(&pipeline, &history), history.end());
    Ok(Work { pipeline, history, turns, origin, offset, warnings: vec![] })
}

/// The series of the request, on the grid of the pipeline's step or on their own where it says none, and the pipeline.
fn gridded(mut document: Document, series: Vec<Series>) -> Result<(Pipeline, Inline), Problem> {
    let written = document.get("step").and_then(Value::as_str).and_then(|text| inline::parsed(text).ok());
    let found = inline::frame(series, written).map_err(|wrong| wrong_series(&wrong.path, wrong.message))?;
    document.entry("step").or_insert_with(|| Show(found.frame.step().duration()).to_string().into());
    let pipeline = checked(&document)?;
    if !pipeline.covariates.is_empty() {
        return Err(invalid("covariates", "need a query of their own; series that come with the request have none"));
    }
    let series = found.frame.series().len();
    if series > pipeline.max_series {
        let message = format!("are {series}; expected at most {}", pipeline.max_series);
        return Err(wrong_series("series", message));
    }
    Ok((pipeline, found))
}

fn wrong_series(path: &str, message: impl Into<String>) -> Problem {
    let detail = "the series are not right";
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_series", detail);
    problem.errors = vec![fault(path, message, [None; 2])];
    problem
}

/// What the pipeline's query answers: a context, and after it a horizon that is judged, or `last`, if that is longer.
async fn read(ports: &Ports, mut pipeline: Pipeline, at: Timestamp, last: Duration) -> Result<Work, Problem> {
    let settles = ports.source.settles_after().await.map_err(|error| unread(&error))?;
    // What has not settled is not complete.
    pipeline.data_delay = pipeline.data_delay.max(settles);
    let (step, horizon) = (pipeline.step, pipeline.horizon_points);
    let origin = newest(&pipeline, at);
    let turns = step.count(last).div_ceil(horizon).clamp(1, MOST_FORECASTS + 1);
    let turn = |back: usize| {
        let last = origin - step.times(horizon * back);
        Turn { origin: last - step.times(horizon), first: last - step.times(horizon - 1), last }
    };
    let turns: Vec<Turn> = (0..turns).rev().map(turn).collect();
    let first = turns[0].origin - step.times(pipeline.known_points() - 1);
    let query = RangeQuery::new(&pipeline.query, first, origin, step).expect("a context has points");
    let limits = Limits { series: pipeline.max_series, ..Limits::default() };
    let answer = ports.source.read(&query, &limits).await.map_err(|error| unread(&error))?;
    let (history, warnings) = (History::of(answer.frame), answer.warnings);
    Ok(Work { pipeline, history, turns, origin, offset: 0, warnings })
}

/// With what is known of the covariates.
async fn task(
    pipeline: Arc<Pipeline>,
    model: Arc<dyn Forecaster>,
    ports: Option<&Ports>,
    history: History,
    turns: Vec<Turn>,
    origin: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<Task, Problem> {
    let mut known = async |origin| match ports {
        Some(ports) => {
            let found = covariates::known(&pipeline, &*ports.source, origin).await;
            let (known, told) = found.map_err(|error| unread(&error))?;
            warnings.extend(told);
            Ok::<_, Problem>(known)
        }
        None => Ok(vec![]),
    };
    let mut with_known = vec![];
    for turn in turns {
        with_known.push((turn, known(turn.origin).await?));
    }
    let known = known(origin).await?;
    Ok(Task { pipeline, model, history, turns: with_known, origin, known })
}

/// Writes what a pass would write; answers how many samples the datasource took.
async fn write(ports: &Ports, pipeline: Arc<Pipeline>, done: Done, warnings: &mut Vec<String>) -> Result<u64, Problem> {
    let mut names = Names::new(pipeline.clone());
    let mut frames: Vec<Frame> = vec![];
    if pipeline.output.write_anomaly_score && pipeline.mode.scores() {
        let collides = |error: engine::output::Collision| invalid("query", error.to_string());
        frames.extend(names.scores(done.scored).map_err(collides)?);
    }
    if pipeline.output.write_forecast && pipeline.mode.forecasts() {
        let ahead = ports.sink.takes_ahead().await;
        let named = names.forecast(&done.outlook, done.history.series(), ahead);
        frames.extend(named.map_err(|error| invalid("query", error.to_string()))?);
    }
    let written = ports.sink.write(&frames).await.map_err(|error| unwritten(&error))?;
    warnings.extend(written.rejected.into_iter().map(|rejected| {
        format!("{} samples were refused ({}): {}", rejected.samples, rejected.reason, rejected.message)
    }));
    Ok(written.samples)
}

fn unread(error: &ReadError) -> Problem {
    match &error.fault {
        ReadFault::Query { message, .. } => invalid("query", format!("is refused by the datasource: {message}")),
        ReadFault::TooLarge { .. } | ReadFault::Duplicate(_) => invalid("query", error.to_string()),
        _ => Problem::new(StatusCode::BAD_GATEWAY, "datasource_failed", error.to_string()),
    }
}

fn unwritten(error: &WriteError) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "datasource_failed", error.to_string())
}

fn model_failed(error: &ForecastError) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "model_failed", error.to_string())
}
