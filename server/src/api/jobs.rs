//! `/api/v1/jobs`: long work, submitted in an instant; how far it has come, and what came of it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::Pipeline;
use engine::pipeline::duration;
use engine::store::Document;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use tsdb::Timestamp;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::body::Body;
use super::incoming::admit;
use super::page::{Cursor, Limit, Page};
use super::params::{Params, optional_time};
use super::problem::{Fault, Problem};
use crate::app::App;
use crate::auth::Caller;
use crate::database::jobs::{self as table, Filter, Row, State as JobState};
use crate::jobs::orders::Orders;
use crate::jobs::{self, Kind, NewJob, SubmitError};

/// How often is looked how far a job has come, for those who watch.
const LOOK: Duration = Duration::from_secs(1);

/// The longest that an attempt at a job may be allowed.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Which priorities there are.
const PRIORITIES: std::ops::RangeInclusive<i64> = -1000..=1000;

/// How long a key may be.
const LONGEST_KEY: usize = 200;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes {
        viewer: OpenApiRouter::new()
            .routes(routes!(list))
            .routes(routes!(get))
            .routes(routes!(result))
            .routes(routes!(events)),
        editor: OpenApiRouter::new().routes(routes!(submit)).routes(routes!(cancel)),
        ..Routes::default()
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// The pipeline that it is for.
    pub pipeline: Option<String>,
    /// How it stands.
    pub state: JobState,
    /// How far it has come, 0 to 1.
    pub progress: f64,
    /// What it is at.
    pub message: String,
    /// Why it failed, or the last attempt did.
    pub error: Option<String>,
    /// Higher ones are done first.
    pub priority: i64,
    /// How often it was begun.
    pub attempts: i64,
    /// Whether somebody wants it cancelled.
    pub cancel_requested: bool,
    /// How long an attempt may take.
    pub timeout_seconds: f64,
    /// When it was wanted, RFC 3339.
    pub created: String,
    /// By whom.
    pub created_by: String,
    /// When it is due: later than it was wanted where an attempt has failed.
    pub due: String,
    /// When it was first begun.
    pub started: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
}

impl From<Row> for Job {
    fn from(row: Row) -> Self {
        let time = |millis| Timestamp::from_millis(millis).to_string();
        Self {
            // What an unknown version has written is not ours to end.
            state: JobState::named(&row.state).unwrap_or(JobState::Queued),
            id: row.id,
            kind: row.kind,
            pipeline: row.pipeline,
            progress: row.progress,
            message: row.message,
            error: row.error,
            priority: row.priority,
            attempts: row.attempts,
            cancel_requested: row.cancel_requested != 0,
            timeout_seconds: row.timeout_ms as f64 / 1000.0,
            created: time(row.created_ms),
            created_by: row.created_by,
            due: time(row.run_after_ms),
            started: row.started_ms.map(time),
            ended: row.ended_ms.map(time),
        }
    }
}

/// What a job is to do.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobBody {
    /// The name of a pipeline; for a backtest also a pipeline itself, which is kept nowhere.
    pipeline: Named,
    /// The first point of a backfill or backtest.
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The last point of a backfill or backtest; now where it is left out.
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Higher ones are done first.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i64,
    /// How long an attempt may take, such as `10m`; at most a week.
    timeout: Option<String>,
    /// Two jobs of one key are one job.
    #[schema(min_length = 1, max_length = 200)]
    idempotency_key: Option<String>,
}

/// A pipeline by its name, or itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Named {
    /// Its name.
    Name(String),
    /// Its document.
    Inline(Map<String, Value>),
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self::Name(name)),
            Value::Object(document) => Ok(Self::Inline(document)),
            _ => Err(serde::de::Error::custom("this is neither the name of a pipeline nor a pipeline")),
        }
    }
}

/// A job that was submitted.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Submitted {
    /// Its id.
    pub id: String,
    /// How it stands: `queued`, unless a job of the same key was there already.
    pub state: JobState,
}

/// Submits a job of the kind that the path ends with: `predict`, `detect`, `inference`, `train`, `backtest` or
/// `backfill`. It is done by whichever process is free.
#[utoipa::path(post, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(("id" = Kind, Path, description = "the kind of the job")),
    request_body = JobBody,
    responses(
        (status = 202, body = Submitted, headers(("location" = String, description = "where the job is"))),
        (status = 404, description = "there is no such kind or pipeline"),
        (status = 409, description = "the key is that of another job"),
        (status = 422, description = "what is in the body is wrong; `errors` has all of it"),
        (status = 429, description = "too many jobs wait, or too many requests")))]
async fn submit(
    State(app): State<App>,
    Path(kind): Path<String>,
    Extension(caller): Extension<Caller>,
    Body(body): Body<JobBody>,
) -> Result<Response, Problem> {
    let kind = Kind::named(&kind).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::name).join(", ");
        Problem::not_found(format!("there is no kind of job `{}`, only {known}", kind.escape_debug()))
    })?;
    let timeout = body.check(kind)?;
    let (pipeline, document) = find(&app, body.pipeline).await?;
    let orders = Orders { from: body.from.map(Timestamp::millis), until: body.until.map(Timestamp::millis), document };
    let job = NewJob {
        kind,
        pipeline: pipeline.clone(),
        body: serde_json::to_value(orders).map_err(|error| Problem::internal(&error))?,
        priority: body.priority,
        created_by: caller.name,
        idempotency_key: body.idempotency_key,
    };
    let id = match timeout {
        Some(timeout) => jobs::submit_within(&app, job, timeout).await?,
        None => jobs::submit(&app, job).await?,
    };
    let row = one(&app, &id).await?;
    if row.kind != kind.name() || row.pipeline.as_deref() != Some(&pipeline) {
        let detail = format!("the key is that of job {id}, which is another one");
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
    }
    let state = Job::from(row).state;
    let location = [(header::LOCATION, format!("/api/v1/jobs/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(Submitted { id, state })).into_response())
}

impl JobBody {
    /// Whether it is right for a job of `kind`; answers the timeout that it asks for.
    fn check(&self, kind: Kind) -> Result<Option<Duration>, Problem> {
        let is_history = matches!(kind, Kind::Backfill | Kind::Backtest);
        let kind_name = kind.name();
        if is_history && self.from.is_none() {
            return Err(wrong("from", format!("a {kind_name} needs the time of its first point")));
        }
        let bounds = [("from", self.from), ("until", self.until)];
        if let Some((name, _)) = bounds.into_iter().find(|(_, time)| time.is_some() && !is_history) {
            return Err(wrong(name, format!("a job of kind {kind_name} has none; leave it out")));
        }
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            return Err(wrong("until", format!("{until} is not after `from`, {from}")));
        }
        if matches!(self.pipeline, Named::Inline(_)) && kind != Kind::Backtest {
            return Err(wrong("pipeline", format!("a job of kind {kind_name} takes the name of a pipeline only")));
        }
        if !PRIORITIES.contains(&self.priority) {
            return Err(wrong("priority", format!("{} does not lie between -1000 and 1000", self.priority)));
        }
        let is_key = |key: &String| (1..=LONGEST_KEY).contains(&key.len()) && !key.contains(char::is_control);
        if self.idempotency_key.as_ref().is_some_and(|key| !is_key(key)) {
            let message = format!("a key has 1 to {LONGEST_KEY} bytes and no control characters");
            return Err(wrong("idempotency_key", message));
        }
        self.timeout.as_deref().map(timeout).transpose()
    }
}

fn timeout(text: &str) -> Result<Duration, Problem> {
    let found = duration::parse(text).map_err(|error| wrong("timeout", error.to_string()))?;
    if found.is_zero() || found > LONGEST {
        return Err(wrong("timeout", "a timeout is longer than 0s and at most 7d"));
    }
    Ok(found)
}

/// Something in the body is wrong.
pub(super) fn wrong(path: &str, message: impl Into<String>) -> Problem {
    let detail = "the body is not as it should be";
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail);
    problem.errors = vec![Fault { path: path.into(), message: message.into(), line: None, column: None }];
    problem
}

/// The name of a pipeline that is there and right, and its document where it is kept nowhere.
async fn find(app: &App, named: Named) -> Result<(String, Option<Document>), Problem> {
    match named {
        Named::Inline(document) => {
            let pipeline = Pipeline::from_document(&document, "pipeline").map_err(|errors| Problem::from(&errors))?;
            admit(app, &pipeline)?;
            Ok((pipeline.name, Some(document)))
        }
        Named::Name(name) => {
            let missing = || Problem::not_found(format!("there is no pipeline `{}`", name.escape_debug()));
            let stored = if is_name(&name) { app.store.get(&name).await? } else { None };
            let checked = stored.ok_or_else(missing)?.checked;
            Ok((checked.map_err(|errors| Problem::from(&errors))?.name, None))
        }
    }
}

/// Whether a text may be the name of a pipeline; no store is asked about any other.
fn is_name(name: &str) -> bool {
    name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", error.to_string()),
            SubmitError::Database(error) => error.into(),
        }
    }
}

async fn one(app: &App, id: &str) -> Result<Row, Problem> {
    let missing = || Problem::not_found(format!("there is no job `{}`", id.escape_debug()));
    let is_id = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let row = if is_id { table::get(&app.database, id).await? } else { None };
    row.ok_or_else(missing)
}

/// Which jobs are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filters {
    kind: Option<Kind>,
    state: Option<JobState>,
    pipeline: Option<String>,
    limit: Limit,
    cursor: Option<Cursor>,
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs",
    params(
        ("kind" = Option<Kind>, Query, description = "those of one kind"),
        ("state" = Option<JobState>, Query, description = "those in one state"),
        ("pipeline" = Option<String>, Query, description = "those of one pipeline"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "how many at most; 100 by default"),
        ("cursor" = Option<String>, Query, description = "the `next` of an earlier page")),
    responses((status = 200, body = Page<Job>), (status = 400)))]
async fn list(State(app): State<App>, Params(filters): Params<Filters>) -> Result<Json<Page<Job>>, Problem> {
    let Filters { kind, state, pipeline, limit, cursor } = filters;
    if pipeline.as_ref().is_some_and(|name| !is_name(name)) {
        return Ok(Json(Page { items: vec![], next: None }));
    }
    let filter = Filter {
        kind: kind.map(|kind| kind.name().into()),
        state: state.map(|state| state.name().into()),
        pipeline,
        after: cursor.map(|cursor| (cursor.at_ms, cursor.id)),
    };
    let rows = table::list(&app.database, &filter, limit.rows()).await?;
    let page = Page::of(rows, limit, |row| Cursor { at_ms: row.created_ms, id: row.id.clone() });
    Ok(Json(page.map(Job::from)))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 404, description = "there is no such job")))]
async fn get(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Job>, Problem> {
    Ok(Json(one(&app, &id).await?.into()))
}

/// What came of a job that has succeeded.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/result", tag = "jobs", params(("id" = String, Path)),
    responses(
        (status = 200, body = Object, description = "what it is depends on the kind of the job"),
        (status = 404, description = "there is no such job"),
        (status = 409, description = "it has no result: it has not ended yet, or did not succeed")))]
async fn result(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let job = Job::from(one(&app, &id).await?);
    let text = table::result(&app.database, &id).await?;
    let Some(text) = text.filter(|_| job.state == JobState::Succeeded) else {
        let why = job.error.map(|error| format!(": {error}")).unwrap_or_default();
        let detail = format!("job {id} has no result, it is {}{why}", job.state.name());
        return Err(Problem::new(StatusCode::CONFLICT, "no_result", detail));
    };
    serde_json::from_str(&text).map(Json).map_err(|error| Problem::internal(&error))
}

/// Cancels a job: one that waits at once, one that runs as soon as it can stop. One that has ended stays as it is.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses(
        (status = 200, body = Job, description = "how it stands now"),
        (status = 404, description = "there is no such job")))]
async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Job>, Problem> {
    let row = one(&app, &id).await?;
    let cancelled = table::cancel(&app.database, &row.id, app.now().millis()).await?;
    Ok(Json(cancelled.unwrap_or(row).into()))
}

/// How far a job comes, as server-sent events: `progress` whenever something has changed, and `end` once it has ended.
/// The data of each is the job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path)),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 404, description = "there is no such job")))]
async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let row = one(&app, &id).await?;
    let stream = unfold(Watching { app, id, next: Some(row), shown: None }, Watching::step);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Somebody who watches a job.
struct Watching {
    app: App,
    id: String,
    /// What is to be told at once.
    next: Option<Row>,
    /// What was told last.
    shown: Option<Job>,
}

impl Watching {
    /// The next event; none once the job has ended, or is not there any more, or the service stops.
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if self.shown.as_ref().is_some_and(|job| job.state.is_end()) {
                return None;
            }
            let job = Job::from(match self.next.take() {
                Some(row) => row,
                None => self.look().await?,
            });
            if self.shown.as_ref() != Some(&job) {
                let name = if job.state.is_end() { "end" } else { "progress" };
                let event = Event::default().event(name).data(serde_json::to_string(&job).ok()?);
                self.shown = Some(job);
                return Some((Ok(event), self));
            }
        }
    }

    async fn look(&self) -> Option<Row> {
        loop {
            tokio::select! {
                () = self.app.stopping.cancelled() => return None,
                () = tokio::time::sleep(LOOK) => {}
            }
            match table::get(&self.app.database, &self.id).await {
                Ok(row) => return row,
                Err(error) => tracing::warn!("watching job {}: {error}", self.id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, body: &str, expected: Result<Option<u64>, &str>) {
        let checked = serde_json::from_str::<JobBody>(body).unwrap().check(kind);
        let found = checked.map(|timeout| timeout.map(|timeout| timeout.as_secs())).map_err(|problem| {
            assert_eq!(problem.status, 422, "{body}");
            problem.errors[0].path.clone()
        });
        assert_eq!(found, expected.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn what_a_kind_does_not_take_is_refused() {
        const FROM: &str = r#""from": "2026-01-01T00:00:00Z""#;
        let body = |more: &str| format!(r#"{{"pipeline": "a"{more}}}"#);
        check(Kind::Predict, &body(""), Ok(None));
        check(Kind::Train, &body(r#", "timeout": "10m", "priority": 7, "idempotency_key": "a b""#), Ok(Some(600)));
        check(Kind::Backfill, &body(&format!(", {FROM}")), Ok(None));
        check(Kind::Backfill, &body(""), Err("from"));
        check(Kind::Predict, &body(&format!(", {FROM}")), Err("from"));
        check(Kind::Train, &body(r#", "until": "2026-01-01T00:00:00Z""#), Err("until"));
        check(Kind::Backtest, &body(&format!(r#", {FROM}, "until": "2026-01-01T00:00:00Z""#)), Err("until"));
        for (more, field) in [
            (r#""priority": 1001"#, "priority"),
            (r#""timeout": "0s""#, "timeout"),
            (r#""timeout": "8d""#, "timeout"),
            (r#""timeout": "soon""#, "timeout"),
            (r#""idempotency_key": """#, "idempotency_key"),
            (r#""idempotency_key": "a\u0000b""#, "idempotency_key"),
        ] {
            check(Kind::Predict, &body(&format!(", {more}")), Err(field));
        }
        let inline = format!(r#"{{"pipeline": {{"name": "a", "query": "up"}}, {FROM}}}"#);
        check(Kind::Backtest, &inline, Ok(None));
        check(Kind::Backfill, &inline, Err("pipeline"));
    }

    #[test]
    fn bodies_of_another_shape_are_refused() {
        for body in
            [r#"{}"#, r#"{"pipeline": 5}"#, r#"{"pipeline": "a", "form": 1}"#, r#"{"pipeline": "a", "from": 5}"#]
        {
            assert!(serde_json::from_str::<JobBody>(body).is_err(), "{body}");
        }
    }
}
