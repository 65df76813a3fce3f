//! History scored once, in order; what is there already stays as it is.

use std::sync::Arc;
use std::time::Duration;

use engine::backfill::{Backfill, Piece};
use engine::incident::anomalous;
use engine::{Pipeline, Ports, Report};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tsdb::Timestamp;

use super::orders::{self, Orders};
use super::task::{JobError, Task};
use crate::daemon::journal::Entry;
use crate::daemon::standings::AtWork;
use crate::daemon::worker::settling;
use crate::database::incidents::Scene;
use crate::database::jobs;
use crate::recipe::Recipe;

/// How long a store may not see samples of a day that it had none of before: VictoriaMetrics remembers for ten seconds
/// that a day has no such series.
const SEEN_AFTER: Duration = Duration::from_secs(15);

/// How many warnings are told.
const MOST_WARNINGS: usize = 20;

/// How far it has come: what another attempt goes on with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Place {
    /// The last point that was scored and written.
    after_ms: i64,
    series: usize,
    scored: usize,
    anomalous: usize,
    inside: usize,
    written: u64,
    rejected: u64,
    #[serde(default)]
    level_shifts: usize,
    warnings: Vec<String>,
}

impl Place {
    fn count(&mut self, until: Timestamp, report: Report, warnings: Vec<String>) {
        self.after_ms = until.millis();
        self.series = self.series.max(report.series);
        self.scored += report.scored;
        self.anomalous += report.anomalous;
        self.inside += report.inside;
        self.written += report.written;
        self.rejected += report.rejected.iter().map(|rejected| rejected.samples).sum::<u64>();
        self.warnings.extend(warnings.into_iter().chain(report.rejected.into_iter().map(|one| one.message)));
        self.warnings.dedup();
        self.warnings.truncate(MOST_WARNINGS);
    }
}

/// Does the job, and answers what was done.
///
/// # Errors
/// Why it came to no end.
pub async fn run(task: &Task) -> Result<Value, JobError> {
    let orders = Orders::read(&task.work.body)?;
    let (from, until) = orders.range(task.app.now())?;
    let orders::Ready { pipeline, ports, recipe } = orders::recorded(task, &orders).await?;
    if !pipeline.mode.scores() {
        return Err(JobError::Failed(format!("pipeline `{}` scores nothing, as its mode says", pipeline.name)));
    }
    let first = Timestamp::from_millis(from.ceil(pipeline.step).millis());
    let start = first - pipeline.step;
    let place = task.checkpoint().unwrap_or_else(|| Place { after_ms: start.millis(), ..Place::default() });
    let place = fill(task, (pipeline, ports, recipe), (start, until), place).await?;
    let Place { series, scored, anomalous, inside, written, rejected, level_shifts, ref warnings, after_ms } = place;
    Ok(json!({
        "from": first.to_string(), "until": Timestamp::from_millis(after_ms).to_string(), "series": series,
        "scored": scored, "anomalous": anomalous, "coverage": part(inside, scored), "written": written,
        "rejected": rejected, "level_shifts": level_shifts, "warnings": warnings,
    }))
}

fn part(part: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

async fn fill(
    task: &Task,
    (mut pipeline, ports, recipe): (Pipeline, Ports, Arc<Recipe>),
    (start, until): (Timestamp, Timestamp),
    mut place: Place,
) -> Result<Place, JobError> {
    let (source_settles, written_settles) = task.unless_stopped(settling(&ports)).await??;
    pipeline.data_delay = pipeline.data_delay.max(source_settles);
    let name = pipeline.name.clone();
    let mut scene = Scene::of(&pipeline).made_with(recipe);
    let mut backfill = Backfill::new(pipeline, ports);
    advise(task, &mut backfill);
    let since = (task.app.now() - SEEN_AFTER).millis();
    let just_written = jobs::backfilled_since(&task.app.database, &name, &task.hold.id, since).await?;
    if task.work.attempts > 1 || just_written {
        // What was written in the last moments can't be seen before it has settled.
        task.unless_stopped(tokio::time::sleep(written_settles + SEEN_AFTER)).await?;
    }
    loop {
        let after = Timestamp::from_millis(place.after_ms);
        let end = bound(&*task.unless_stopped(task.app.standings.seat(&name)).await?, &backfill, task, until);
        let Some(Piece { scored, until: last, warnings, shifts, .. }) =
            task.unless_stopped(backfill.score(after, end)).await??
        else {
            return Ok(place);
        };
        let seat = task.unless_stopped(task.app.standings.seat(&name)).await?;
        // A worker that has begun meanwhile has taken the newest points for its own.
        if last > bound(&seat, &backfill, task, until) {
            continue;
        }
        let found = anomalous(&scored);
        scene = scene.watching(scored.score.series());
        let report = backfill.write(scored).await?;
        drop(seat);
        if !found.is_empty() {
            task.app.journal.note(Entry::Anomalous(scene.clone(), found));
        }
        place.level_shifts += shifts.len();
        place.count(last, report, warnings);
        let (done, all) = ((last.millis() - start.millis()) as f64, (end.millis() - start.millis()) as f64);
        task.save((done / all.max(1.0)).min(1.0), &format!("scored until {last}"), &place).await?;
    }
}

/// Tells what people have said.
fn advise(task: &Task, backfill: &mut Backfill) {
    let (silences, name) = (task.app.advice.silences(backfill.pipeline()), &backfill.pipeline().name);
    let verdicts = task.app.advice.verdicts(name);
    backfill.advise(silences, verdicts);
}

/// Up to where history is to be scored: what came after a worker began is the worker's.
fn bound(worker: &Option<AtWork>, backfill: &Backfill, task: &Task, until: Timestamp) -> Timestamp {
    let complete = backfill.newest(task.app.now()).min(until);
    worker.as_ref().map_or(complete, |worker| complete.min(worker.since))
}
