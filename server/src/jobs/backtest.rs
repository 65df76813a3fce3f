//! History scored as the service would have scored it, and counted; nothing is written.

use engine::PassError;
use engine::backfill::Backfill;
use engine::backtest::cases::Case;
use engine::backtest::result::SeriesResult;
use engine::backtest::scope::Scope;
use engine::backtest::{Incident, Line, Tally};
use serde_json::{Value, json};
use tsdb::{Step, Timestamp};

use crate::api::page::Limit;
use crate::database::feedback::{self, Filter};

use super::orders::{self, Orders};
use super::task::{JobError, Task};

/// How many series the result tells of, those with the most anomalous points first.
const MOST_SERIES: usize = 1000;

/// Does the job, and answers what was counted.
///
/// # Errors
/// Why it came to no end.
pub async fn run(task: &Task) -> Result<Value, JobError> {
    let orders = Orders::read(&task.work.body)?;
    let (from, until) = orders.range(task.app.now())?;
    let (mut pipeline, ports) = orders::ready(task, &orders).await?;
    // Which forecast judges a point depends on when it would have been complete.
    let settles = task.unless_stopped(ports.source.settles_after()).await?.map_err(PassError::from)?;
    pipeline.data_delay = pipeline.data_delay.max(settles);
    let first = from.ceil(pipeline.step);
    let mut tally = Tally::new(pipeline.anomaly.patience_points(pipeline.step));
    let (start, mut backfill) = (first - pipeline.step, Backfill::new(pipeline, ports));
    let end = backfill.newest(task.app.now()).min(until);
    let mut after = start;
    // Another attempt begins anew: what was found anomalous is hidden from later forecasts, and stands nowhere.
    while let Some(piece) = task.unless_stopped(backfill.score(after, end)).await?? {
        after = piece.until;
        tally.add(&piece.scored);
        let (done, all) = ((after.millis() - start.millis()) as f64, (end.millis() - start.millis()) as f64);
        task.progress((done / all.max(1.0)).min(1.0), &format!("scored until {after}")).await?;
    }
    let step = backfill.pipeline().step;
    let mut result = shown(step, (first, end), &tally);
    if let Some(name) = &task.work.pipeline {
        let results = tally.results(step, first, end);
        result["cases"] = cases(task, name, (first, end), &results).await?;
    }
    Ok(result)
}

/// How what people said of the pipeline and the range went, the newest first.
async fn cases(
    task: &Task,
    pipeline: &str,
    (from, until): (Timestamp, Timestamp),
    results: &[SeriesResult],
) -> Result<Value, JobError> {
    let (from, until) = (Some(from), Some(until));
    let filter = Filter { pipeline: Some(pipeline.to_owned()), from, until, ..Filter::default() };
    let rows = feedback::list(&task.app.database, filter, Limit::MOST).await?;
    let case = |row: &feedback::Feedback| {
        let said = serde_json::from_value(json!(row.verdict)).ok()?;
        let scope = Scope::labels(serde_json::from_str(&row.labels).ok()?);
        let (id, note) = (row.id.clone(), row.note.clone());
        let case = Case { id, scope, from_ms: row.start_ms, until_ms: row.end_ms, said, note };
        Some(json!({ "id": row.id, "verdict": row.verdict, "outcome": case.outcome(results) }))
    };
    Ok(rows.iter().filter_map(case).collect())
}

fn shown(step: Step, (from, until): (Timestamp, Timestamp), tally: &Tally) -> Value {
    let mut series: Vec<(&String, &Line)> = tally.series().iter().collect();
    series.sort_by_key(|(_, line)| std::cmp::Reverse(line.anomalous));
    let line = |(name, line): &(&String, &Line)| {
        let mut shown = counted(line);
        shown["series"] = json!(name);
        shown["first_incidents"] = line.first_incidents.iter().map(incident).collect();
        shown
    };
    let mut summary = counted(&tally.total());
    summary["series"] = json!(series.len());
    // Of what was scored, not of what was asked for: that may reach beyond the data.
    let days = tally.total().points as f64 * step.seconds() / 86_400.0;
    summary["days"] = json!(days);
    summary["incidents_a_week"] = json!((days > 0.0).then(|| tally.total().incidents as f64 / days * 7.0));
    let listed: Vec<Value> = series.iter().take(MOST_SERIES).map(line).collect();
    json!({ "from": from.to_string(), "until": until.to_string(), "summary": summary, "series": listed })
}

fn counted(line: &Line) -> Value {
    json!({
        "points": line.points, "anomalous": line.anomalous, "coverage": line.coverage(), "incidents": line.incidents,
    })
}

fn incident(incident: &Incident) -> Value {
    let time = |ms| Timestamp::from_millis(ms).to_string();
    json!({
        "start": time(incident.start_ms), "end": time(incident.end_ms), "peak": time(incident.peak_ms),
        "peak_score": incident.peak_score, "points": incident.points,
    })
}
