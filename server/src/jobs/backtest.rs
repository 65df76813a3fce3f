//! History scored as the service would have scored it, and counted; nothing is written.

use engine::PassError;
use engine::backfill::Backfill;
use engine::backtest::cases::Case;
use engine::backtest::claims::Claims;
use engine::backtest::result::{Overall, SeriesResult};
use engine::backtest::scope::{Scope, labels_of};
use engine::backtest::{Incident, Line, Tally};
use engine::evaluate::Curve;
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
    let cases = match &task.work.pipeline {
        Some(name) => Some(cases(task, name, (first, until)).await?),
        None => None,
    };
    let claims = Claims::said(cases.as_deref().unwrap_or_default());
    let mut tally = Tally::new(pipeline.anomaly.patience_points(pipeline.step), claims);
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
    let results = tally.results(step, first, end);
    if let Some(against) = Overall::of(&results, &Curve::default()) {
        result["summary"]["against"] = held(&against);
    }
    if let Some(cases) = cases {
        result["cases"] = cases.iter().rev().map(|case| outcome(case, &results)).collect();
    }
    Ok(result)
}

/// What people said of the pipeline and the range, the oldest first.
async fn cases(task: &Task, pipeline: &str, (from, until): (Timestamp, Timestamp)) -> Result<Vec<Case>, JobError> {
    let (from, until) = (Some(from), Some(until));
    let filter = Filter { pipeline: Some(pipeline.to_owned()), from, until, ..Filter::default() };
    let rows = feedback::list(&task.app.database, filter, Limit::MOST).await?;
    let case = |row: &feedback::Feedback| {
        let said = serde_json::from_value(json!(row.verdict)).ok()?;
        let scope = Scope::any_of(row.scope().iter().map(labels_of).collect());
        let (id, note) = (row.id.clone(), row.note.clone());
        Some(Case { id, scope, from_ms: row.start_ms, until_ms: row.end_ms, said, note })
    };
    Ok(rows.iter().rev().filter_map(case).collect())
}

fn outcome(case: &Case, results: &[SeriesResult]) -> Value {
    json!({ "id": case.id, "verdict": case.said, "outcome": case.outcome(results) })
}

/// How alarms at the threshold 1 and what people called an anomaly met.
fn held(against: &Overall) -> Value {
    let Overall { events, caught, recall, precision, delay_minutes, false_alarms, false_alarms_a_week, .. } = against;
    json!({
        "events": events, "caught": caught, "recall": recall, "precision": precision, "delay_minutes": delay_minutes,
        "false_alarms": false_alarms, "false_alarms_a_week": false_alarms_a_week,
    })
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
