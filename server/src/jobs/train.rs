//! Trains the model of a pipeline, and keeps what was found as a new version.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::Pipeline;
use engine::train::{self, TrainError, Trained};
use models::{ModelSpec, Resources};
use serde_json::{Value, json};
use tsdb::{Frame, Limits, RangeQuery, Read};

use super::orders::{self, Orders};
use super::task::{JobError, Task};
use crate::app::App;
use crate::database::models as table;
use crate::registry::{self, Evaluation, Wish};

/// How much history training looks at where the pipeline doesn't say.
const USUAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often the training is asked how far it has come.
const LOOK: Duration = Duration::from_millis(500);

/// Does the job, and answers the version that it made.
///
/// # Errors
/// Why it came to no end.
pub async fn run(task: &Task) -> Result<Value, JobError> {
    let orders = Orders::read(&task.work.body)?;
    let (pipeline, trust) = orders::pipeline(task, &orders).await?;
    task.progress(0.0, "reading history").await?;
    let ports = orders::ports(&task.app, &pipeline, trust)?;
    let frame = task.unless_stopped(history(&task.app, &pipeline, &*ports.source)).await??;
    let current = table::current(&task.app.database, &pipeline.name).await?;
    let current = current.and_then(|version| registry::learned(&pipeline, &version));
    let resources = task.app.current().assembly.resources_for(trust);
    let training = Training::start(resources, pipeline.clone(), frame, current);
    let trained = watched(task, training).await?;
    let wish = Wish { id: task.hold.id.clone(), by: task.work.created_by.clone(), promote: true };
    let version = registry::keep(&task.app, &pipeline, &trained, &wish).await?;
    Ok(json!({
        "model_id": version.id, "version": version.version, "state": version.state, "reason": version.reason,
        "model": version.model, "parameters": trained.model.parameters, "evaluation": Evaluation::of(&trained),
    }))
}

/// The history that a pipeline is trained on.
///
/// # Errors
/// It can't be read.
pub async fn history(app: &App, pipeline: &Pipeline, source: &dyn Read) -> Result<Frame, JobError> {
    let settles = source.settles_after().await.map_err(engine::PassError::from)?;
    let end = (app.now() - pipeline.data_delay.max(settles)).floor(pipeline.step);
    let start = end - pipeline.step.times(train::window_points(pipeline, USUAL) - 1);
    let nothing = || JobError::Failed("there is no point in the window of the training".into());
    let query = RangeQuery::new(&pipeline.query, start, end, pipeline.step).ok_or_else(nothing)?;
    let limits = Limits { series: pipeline.max_series, ..Limits::default() };
    Ok(source.read(&query, &limits).await.map_err(engine::PassError::from)?.frame)
}

/// A training under way, on a thread that may wait.
pub struct Training {
    ended: tokio::task::JoinHandle<Result<Trained, TrainError>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    /// How far it has come, in millionths.
    millionths: AtomicU64,
}

impl Training {
    /// Begins to train the model of `pipeline` on `frame`; `current` is the version in use.
    pub fn start(resources: Resources, pipeline: Pipeline, frame: Frame, current: Option<ModelSpec>) -> Self {
        let state = Arc::new(State::default());
        let shared = state.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let go_on = |part: f64| {
                shared.millionths.store((part * 1e6) as u64, Ordering::Relaxed);
                !shared.stopped.load(Ordering::Relaxed)
            };
            train::train(&pipeline, &frame, current.as_ref(), &resources, &go_on)
        });
        Self { ended, state }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why nothing was trained.
    pub async fn end(mut self) -> Result<Trained, JobError> {
        ended_as((&mut self.ended).await)
    }
}

impl Drop for Training {
    /// Nobody waits for it any more: it ends at the next occasion.
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
    }
}

fn ended_as(ended: Result<Result<Trained, TrainError>, tokio::task::JoinError>) -> Result<Trained, JobError> {
    Ok(ended.map_err(|error| JobError::Failed(format!("the training broke off: {error}")))??)
}

/// Waits for the end of `training`, says how far it has come, and stops it where the job is to stop.
async fn watched(task: &Task, mut training: Training) -> Result<Trained, JobError> {
    loop {
        tokio::select! {
            ended = &mut training.ended => return ended_as(ended),
            () = tokio::time::sleep(LOOK) => {}
        }
        let part = training.state.millionths.load(Ordering::Relaxed) as f64 / 1e6;
        task.progress(part, "comparing settings").await?;
    }
}
