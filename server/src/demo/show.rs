//! The demo's result, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color};
use engine::Scored;
use serde_json::{Value, json};
use tsdb::{Labels, Timestamp};

use super::alerts::{Alert, Verdict};
use super::outcome::Outcome;
use super::{Plan, STEP};
use crate::render::chart::{Style, Trace, draw, window};
use crate::render::format::{Ink, Paint, count, cut, duration, number, time};
use crate::render::table;

/// Writes what is about to be done.
///
/// # Errors
/// The writer's.
pub fn opening(plan: &Plan, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", paint.ink(Ink::Strong, "OpenAnomaly watches a fleet in fast motion"))?;
    writeln!(
        out,
        "{} with seed {}: two weeks to learn from, then {} with known incidents.",
        count(plan.series, "generated series", "generated series"),
        plan.seed,
        weeks(plan.watched),
    )?;
    writeln!(out, "Pipelines read them from an embedded time series database and write their scores back to it.\n")
}

/// Draws one incident in the middle of its surroundings.
///
/// # Errors
/// The writer's.
pub fn chart(verdict: &Verdict, scored: &Scored, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let start = scored.y.index(verdict.incident.start).unwrap_or(0);
    let range = window(start, scored.y.points(), style.readable_points());
    let title = format!("{} · {}", words(verdict), name(&verdict.incident.series));
    draw(&title, &Trace::of(scored, 0, range), style, out)?;
    writeln!(out)
}

/// The score at which a chart shows both the incident and the band: with a far higher one the band is but a line.
const FIT_TO_DRAW: f64 = 6.0;

/// The found incidents that are worth a chart, of different kinds, at most `most`.
pub fn worth_a_chart(outcome: &Outcome, most: usize) -> Vec<&Verdict> {
    let mut found: Vec<(&Verdict, f64)> =
        outcome.verdicts.iter().filter_map(|verdict| Some((verdict, verdict.alert.as_ref()?.score))).collect();
    let unfit = |score: f64| (score / FIT_TO_DRAW).ln().abs();
    found.sort_by(|a, b| unfit(a.1).total_cmp(&unfit(b.1)));
    let mut kinds = vec![];
    found.retain(|(verdict, _)| {
        let new = !kinds.contains(&verdict.incident.kind);
        kinds.push(verdict.incident.kind);
        new
    });
    found.into_iter().take(most).map(|(verdict, _)| verdict).collect()
}

/// Writes the incidents, one a line.
///
/// # Errors
/// The writer's.
pub fn incidents(outcome: &Outcome, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table::plain(&["Incident", "Start (UTC)", "Lasts", "Found after", "Score", "Series"], width, paint);
    for verdict in &outcome.verdicts {
        let incident = &verdict.incident;
        let lasts = Duration::from_millis((incident.end.millis() - incident.start.millis()).unsigned_abs());
        let (found, score) = match (&verdict.alert, verdict.delay()) {
            (Some(alert), Some(delay)) => {
                let delay = if delay.is_zero() { "at once".to_string() } else { duration(delay) };
                (Cell::new(format!("✓ {delay}")).fg(Color::Green), number(round(alert.score)))
            }
            _ => (Cell::new("✗ missed").fg(Color::Red).add_attribute(Attribute::Bold), "–".to_string()),
        };
        table.add_row([
            Cell::new(words(verdict)),
            Cell::new(time(incident.start, STEP)),
            Cell::new(duration(lasts)),
            found,
            Cell::new(score),
            Cell::new(cut(&name(&incident.series), width.saturating_sub(70).max(24))),
        ]);
    }
    table::right(&mut table, &[4]);
    table::write(&table, out)?;
    writeln!(out)
}

/// Writes what it comes to: found, false alarms, figures.
///
/// # Errors
/// The writer's.
pub fn summary(outcome: &Outcome, took: Duration, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let (found, all) = (outcome.found(), outcome.verdicts.len());
    let delay = outcome.median_delay().map(|delay| format!(", half of them within {}", duration(delay)));
    let found = paint.ink(Ink::Strong, format!("{found} of {}", count(all, "incident", "incidents")));
    writeln!(out, "Found         {found}{}", delay.unwrap_or_default())?;
    let alarms = paint.ink(Ink::Strong, count(outcome.false_alarms.len(), "false alarm", "false alarms"));
    let rate = number((outcome.false_alarms_per_series_week() * 1000.0).round() / 1000.0);
    writeln!(out, "False         {alarms}, that is {rate} a series and week")?;
    for alert in &outcome.false_alarms {
        let (start, score, series) = (time(alert.start, STEP), round(alert.score), name(&outcome.series[alert.row]));
        writeln!(
            out,
            "              {}",
            paint.ink(Ink::Faint, format!("{start} · score {} · {series}", number(score)))
        )?;
    }
    let figures = outcome.figures;
    let points = usize::try_from(figures.scored).unwrap_or(usize::MAX);
    let passes = usize::try_from(figures.passes).unwrap_or(usize::MAX);
    let rate = number((figures.scored as f64 / took.as_secs_f64().max(1e-9) / 100.0).round() * 100.0);
    writeln!(
        out,
        "Work          {} by {} in {} · {} scored in {} ({rate} points/s)",
        count(outcome.plan.series, "series", "series"),
        count(outcome.pipelines, "pipeline", "pipelines"),
        count(passes, "pass", "passes"),
        count(points, "point", "points"),
        duration(took),
    )
}

/// Writes how to go on.
///
/// # Errors
/// The writer's.
pub fn next(paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let lines = [
        ("openanomaly run --demo", "such a fleet live, and a page to watch it: http://127.0.0.1:8490"),
        ("openanomaly detect metrics.csv", "your own file; or a server: detect http://localhost:9090 -q up"),
        ("openanomaly run --config FILE", "the service, with your pipelines on their schedules"),
    ];
    writeln!(out)?;
    for (command, what) in lines {
        writeln!(out, "  {}  {}", paint.ink(Ink::Actual, format!("{command:<31}")), paint.ink(Ink::Faint, what))?;
    }
    Ok(())
}

/// Writes one JSON object: `seed`, `series`, `watched_seconds`, `passes`, `points_scored`, `samples_written`,
/// `took_seconds`, `points_per_second`, `incidents` (each with `found`, and where it was, `delay_seconds` and
/// `score`), `found`, `missed`, `false_alarms`, `false_alarms_per_series_week` and `good`.
///
/// # Errors
/// The writer's.
pub fn json(outcome: &Outcome, took: Duration, out: &mut dyn Write) -> io::Result<()> {
    let (found, figures) = (outcome.found(), outcome.figures);
    let document = json!({
        "seed": outcome.plan.seed,
        "series": outcome.plan.series,
        "watched_seconds": outcome.plan.watched.as_secs(),
        "passes": figures.passes,
        "points_scored": figures.scored,
        "samples_written": figures.written,
        "took_seconds": took.as_secs_f64(),
        "points_per_second": figures.scored as f64 / took.as_secs_f64().max(1e-9),
        "found": found,
        "missed": outcome.verdicts.len() - found,
        "false_alarms_per_series_week": outcome.false_alarms_per_series_week(),
        "good": outcome.is_good(),
        "incidents": outcome.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
        "false_alarms": outcome.false_alarms.iter().map(|alert| alert_json(alert, &outcome.series)).collect::<Vec<_>>(),
    });
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn verdict_json(verdict: &Verdict) -> Value {
    let incident = &verdict.incident;
    json!({
        "series": incident.series.to_string(),
        "kind": incident.kind.to_string(),
        "start": incident.start.to_string(),
        "end": incident.end.to_string(),
        "found": verdict.alert.is_some(),
        "delay_seconds": verdict.delay().map(|delay| delay.as_secs()),
        "score": verdict.alert.as_ref().map(|alert| alert.score),
    })
}

fn alert_json(alert: &Alert, series: &[Labels]) -> Value {
    let text = |time: Timestamp| time.to_string();
    json!({
        "series": series[alert.row].to_string(),
        "start": text(alert.start),
        "called": text(alert.called),
        "last": text(alert.last),
        "score": alert.score,
    })
}

/// `1 week`, or `2d` where it is no whole week.
fn weeks(time: Duration) -> String {
    let week = 7 * 86_400;
    match time.as_secs() {
        seconds if seconds.is_multiple_of(week) => {
            count(usize::try_from(seconds / week).unwrap_or(usize::MAX), "week", "weeks")
        }
        _ => duration(time),
    }
}

/// The kind of incident, in words.
fn words(verdict: &Verdict) -> String {
    verdict.incident.kind.to_string().replace('_', " ")
}

/// What tells a series from the others of the fleet.
fn name(series: &Labels) -> String {
    let instance = series.get("instance").unwrap_or("");
    let service = series.get("service").or(series.get("queue")).map(|name| format!(" {name}"));
    let host = instance.split(':').next().unwrap_or(instance);
    format!("{} {host}{}", series.name(), service.unwrap_or_default())
}

/// With two digits after the point.
fn round(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use data::{Incident, IncidentKind};
    use tsdb::Frame;

    use super::*;
    use crate::demo::Figures;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Two incidents, one of them found, and a false alarm.
    fn outcome() -> Outcome {
        let series: Vec<Labels> = ["up{instance=\"10.0.0.1:9100\"}", "down"].map(|text| text.parse().unwrap()).into();
        let at = |hours: i64| Timestamp::from_seconds(1_768_780_800 + 3600 * hours);
        let alert = Alert { row: 0, start: at(1), called: at(2), last: at(3), score: 4.125 };
        let incident = |kind| Incident { row: 0, series: series[0].clone(), kind, start: at(1), end: at(4) };
        Outcome {
            plan: Plan { seed: 1, series: 2, watched: 7 * DAY },
            figures: Figures { passes: 10, scored: 4000, written: 20_000 },
            pipelines: 2,
            score: Frame::empty(at(0), STEP, 0),
            verdicts: vec![
                Verdict { incident: incident(IncidentKind::LevelShift), alert: Some(alert.clone()) },
                Verdict { incident: incident(IncidentKind::Spike), alert: None },
            ],
            false_alarms: vec![Alert { row: 1, ..alert }],
            series,
        }
    }

    #[test]
    fn the_tables_say_what_was_found_missed_and_wrong() {
        let (mut out, paint) = (vec![], Paint { on: false });
        incidents(&outcome(), 100, paint, &mut out).unwrap();
        summary(&outcome(), Duration::from_secs(2), paint, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "✓ 1h",
            "✗ missed",
            "level shift",
            "up 10.0.0.1",
            "1 of 2 incidents, half of them within 1h",
            "1 false alarm, that is 0.5 a series and week",
            "score 4.13 · down",
            "(2000 points/s)",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }

    #[test]
    fn json_says_the_same() {
        let mut out = vec![];
        json(&outcome(), Duration::from_secs(2), &mut out).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["incidents"][0]["delay_seconds"], 3600);
        assert_eq!(value["incidents"][1]["found"], false);
        assert_eq!((&value["found"], &value["missed"]), (&json!(1), &json!(1)));
        assert_eq!(value["false_alarms_per_series_week"], 0.5);
        assert_eq!(value["false_alarms"][0]["series"], "down");
        assert_eq!(value["good"], true);
    }
}
