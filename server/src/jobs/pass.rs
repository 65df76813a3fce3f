//! A pass now: forecasts, scores what has come, or both.

use engine::{PassError, Report, Watch};
use serde_json::{Map, Value, json};
use tsdb::Timestamp;

use super::Kind;
use super::orders::{self, Orders};
use super::task::{JobError, Task};
use crate::daemon::journal::Entry;
use crate::daemon::standings::AtWork;
use crate::daemon::worker::{record_of_job, settling};
use crate::database::incidents::Scene;

/// Does the job, and answers what was done.
///
/// # Errors
/// Why it came to no end.
pub async fn run(task: &Task) -> Result<Value, JobError> {
    let orders = Orders::read(&task.work.body)?;
    let orders::Ready { mut pipeline, ports, recipe } = orders::recorded(task, &orders).await?;
    let (source_settles, written_settles) = task.unless_stopped(settling(&ports)).await??;
    pipeline.data_delay = pipeline.data_delay.max(source_settles);
    let scores = pipeline.mode.scores();
    if task.kind == Kind::Detect && !scores {
        return Err(JobError::Failed(format!("pipeline `{}` scores nothing, as its mode says", pipeline.name)));
    }
    let scene = Scene::of(&pipeline).made_with(recipe);
    let mut watch = Watch::new(pipeline, ports);
    let mut done = Map::new();
    // Judging comes first, since a point is judged by a forecast that did not see it.
    if task.kind != Kind::Predict && scores {
        task.progress(0.0, "scoring").await?;
        done.insert("detect".into(), shown(&judge(task, &mut watch, &scene, written_settles).await?));
    }
    if task.kind != Kind::Detect {
        task.progress(0.5, "forecasting").await?;
        let started = task.app.now();
        let outcome = watch.forecast(started).await;
        note(task, &mut watch, &scene, false, (started, &outcome));
        done.insert("predict".into(), shown(&outcome?));
    }
    Ok(Value::Object(done))
}

/// Judges what has not been judged yet. Where a worker of this process is at the pipeline, it goes on from there, and the
/// worker from here; else from what can be read.
async fn judge(
    task: &Task,
    watch: &mut Watch,
    scene: &Scene,
    written_settles: std::time::Duration,
) -> Result<Report, JobError> {
    let app = &task.app;
    let name = watch.pipeline().name.clone();
    let mut seat = task.unless_stopped(app.standings.seat(&name)).await?;
    match &mut *seat {
        Some(at_work) => {
            watch.take_over(at_work.standing);
            // Should this be cut off, nobody knows what was written.
            at_work.standing.unsure_until = at_work.standing.unsure_until.max(Some(app.now()));
        }
        None => {
            // What was written in the last moments can't be seen before it has settled.
            task.unless_stopped(tokio::time::sleep(written_settles)).await?;
            watch.resume(app.now() - app.current().config.catch_up, app.now()).await?;
        }
    }
    let started = app.now();
    let silences = app.advice.silences(watch.pipeline());
    watch.silence(silences);
    watch.heed(app.advice.verdicts(&name));
    let outcome = watch.judge(started).await;
    note(task, watch, scene, true, (started, &outcome));
    if let Some(AtWork { standing, .. }) = &mut *seat {
        *standing = watch.standing();
    }
    Ok(outcome?)
}

/// Has the pass remembered, and what it found.
fn note(
    task: &Task,
    watch: &mut Watch,
    scene: &Scene,
    scores: bool,
    (started, outcome): (Timestamp, &Result<Report, PassError>),
) {
    let (app, name) = (&task.app, watch.pipeline().name.clone());
    let run = record_of_job(app, &name, &task.hold.id, scores, started, outcome);
    app.journal.note(Entry::Run(run, None));
    let found = watch.take_anomalous();
    if !found.is_empty() {
        app.journal.note(Entry::Anomalous(scene.clone().watching(watch.series()), found));
    }
}

/// What a pass did, for people.
fn shown(report: &Report) -> Value {
    let Report { series, scored, anomalous, written, .. } = report;
    let rejected: u64 = report.rejected.iter().map(|rejected| rejected.samples).sum();
    json!({
        "series": series, "scored": scored, "anomalous": anomalous, "written": written, "rejected": rejected,
        "warnings": report.warnings,
    })
}
