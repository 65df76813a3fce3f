//! Results for a terminal.

use std::io::{self, Write};

use comfy_table::{Cell, Color};
use engine::backtest::cases::{Outcome, Said};
use engine::backtest::diff::Diff;
use engine::backtest::result::{Alert, Overall, SeriesResult, Summary};
use tsdb::Timestamp;

use super::{CaseOutcome, Change, Report, Run};
use crate::render::format::{Ink, Paint, count, duration, number};
use crate::render::table::{plain, right, write};

/// Writes a table of the series of each run, the worst first, and what they come to.
///
/// # Errors
/// The writer's.
pub fn table(report: &Report, limit: usize, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    for run in &report.runs {
        writeln!(out, "{}", paint.ink(Ink::Strong, &run.name))?;
        series(run, limit, width, paint, out)?;
        writeln!(out)?;
    }
    summaries(&report.runs, width, paint, out)?;
    for change in &report.changes {
        self::change(change, limit, width, paint, out)?;
    }
    cases(&report.cases, width, paint, out)?;
    let (series, points) =
        report.runs.iter().fold((0, 0), |sum, run| (sum.0 + run.summary.series, sum.1 + run.summary.points));
    let (series, points) = (count(series, "series", "series"), count(points, "point", "points"));
    writeln!(out, "{}", paint.ink(Ink::Faint, format!("{series}, {points} judged in {}", duration(report.took()))))
}

/// A share in percent.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1}%", share * 100.0))
}

/// A number with three digits after the point.
pub(crate) fn thousandths(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// A number for people, with two or three digits.
pub(super) fn some(value: Option<f64>) -> String {
    let digits = |value: f64| {
        if value >= 10.0 {
            1.0
        } else if value >= 1.0 {
            10.0
        } else {
            100.0
        }
    };
    value.map_or("–".into(), |value| number((value * digits(value)).round() / digits(value)))
}

/// The series, those with the most that went wrong first: missed events, then false alarms, then alerts.
pub(super) fn worst_first(run: &Run) -> Vec<&SeriesResult> {
    let mut all: Vec<&SeriesResult> = run.series.iter().collect();
    let wrong = |one: &SeriesResult| {
        let against = one.against.as_ref();
        let missed = against.map_or(0, |a| a.events.iter().filter(|event| event.caught_ms.is_none()).count());
        (missed as u64 + against.map_or(0, |a| a.false_alarms), one.alerts.len())
    };
    all.sort_by_key(|one| std::cmp::Reverse(wrong(one)));
    all
}

fn series(run: &Run, limit: usize, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let has_labels = run.summary.against.is_some();
    let plain_titles = ["Series", "Days", "Alerts", "Coverage"];
    let labelled = ["Series", "Days", "Alerts", "Coverage", "Events", "Caught", "False", "VUS-PR", "R@1/d", "R@1/w"];
    let titles: &[&str] = if has_labels { &labelled } else { &plain_titles };
    let mut table = plain(titles, width, paint);
    let all = worst_first(run);
    for one in all.iter().take(limit) {
        let mut cells = vec![
            Cell::new(&one.series),
            Cell::new(number((one.days * 10.0).round() / 10.0)),
            Cell::new(one.alerts.len()),
            Cell::new(percent(one.coverage)),
        ];
        if has_labels {
            cells.extend(against(one));
        }
        table.add_row(cells);
    }
    right(&mut table, &(1..titles.len()).collect::<Vec<_>>());
    write(&table, out)?;
    match all.len().saturating_sub(limit) {
        0 => Ok(()),
        more => writeln!(out, "{}", paint.ink(Ink::Faint, format!("… and {more} more (--limit 0 shows all)"))),
    }
}

fn against(one: &SeriesResult) -> Vec<Cell> {
    let Some(against) = &one.against else { return vec![Cell::new("–"); 6] };
    let caught = against.events.iter().filter(|event| event.caught_ms.is_some()).count();
    let is_short = caught < against.events.len();
    let caught = if is_short { Cell::new(caught).fg(Color::Red) } else { Cell::new(caught) };
    vec![
        Cell::new(against.events.len()),
        caught,
        Cell::new(against.false_alarms),
        Cell::new(thousandths(against.vus_pr)),
        Cell::new(percent(against.one_a_day.map(|budgeted| budgeted.recall))),
        Cell::new(percent(against.one_a_week.map(|budgeted| budgeted.recall))),
    ]
}

/// What the runs come to, side by side.
fn summaries(runs: &[Run], width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let titles: Vec<&str> = std::iter::once("").chain(runs.iter().map(|run| run.name.as_str())).collect();
    let mut table = plain(&titles, width, paint);
    for (name, value) in figures() {
        let values: Vec<String> = runs.iter().map(|run| value(&run.summary)).collect();
        if values.iter().any(|value| value != "–") {
            table.add_row(std::iter::once(name.to_owned()).chain(values));
        }
    }
    right(&mut table, &(1..titles.len()).collect::<Vec<_>>());
    write(&table, out)
}

type Figure = (&'static str, fn(&Summary) -> String);

/// The figures of a summary, in the order to show them in.
pub(super) fn figures() -> Vec<Figure> {
    fn of(summary: &Summary, value: impl Fn(&Overall) -> Option<f64>, show: impl Fn(Option<f64>) -> String) -> String {
        show(summary.against.as_ref().and_then(value))
    }
    vec![
        ("alerts", |s| s.alerts.to_string()),
        ("alerts a series and week", |s| some(s.alerts_a_week)),
        ("incidents", |s| if s.incidents == s.alerts { some(None) } else { s.incidents.to_string() }),
        ("coverage of the band", |s| percent(s.coverage)),
        ("events", |s| of(s, |a| Some(a.events as f64), some)),
        ("events caught", |s| of(s, |a| a.recall, percent)),
        ("precision", |s| of(s, |a| a.precision, percent)),
        ("median delay, minutes", |s| of(s, |a| a.delay_minutes, some)),
        ("false alerts", |s| of(s, |a| Some(a.false_alerts as f64), some)),
        ("false alarms a series and week", |s| of(s, |a| a.false_alarms_a_week, some)),
        ("VUS-PR", |s| of(s, |a| a.vus_pr, thousandths)),
        ("recall at 1 false alarm a day", |s| of(s, |a| a.recall_one_a_day, percent)),
        ("recall at 1 false alarm a week", |s| of(s, |a| a.recall_one_a_week, percent)),
        ("… a day, one threshold for all", |s| of(s, |a| Some(a.shared_one_a_day?.recall), percent)),
        ("… a week, one threshold for all", |s| of(s, |a| Some(a.shared_one_a_week?.recall), percent)),
    ]
}

/// Which alerts are added, gone and moved.
fn change(change: &Change, limit: usize, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let Diff { added, gone, moved, same, unmatched } = &change.diff;
    writeln!(out, "\n{}", paint.ink(Ink::Strong, format!("{} → {}", change.before, change.after)))?;
    let (added_count, gone_count, moved_count) = (added.len(), gone.len(), moved.len());
    writeln!(out, "{added_count} added, {gone_count} gone, {moved_count} moved, {same} as before")?;
    let time = |ms| Timestamp::from_millis(ms).to_string();
    let row = |kind: Cell, alert: &Alert, series: &str| {
        let (from, until) = (Cell::new(time(alert.from_ms)), Cell::new(time(alert.until_ms)));
        vec![kind, from, until, Cell::new(format!("{:.2}", alert.peak_score)), Cell::new(series)]
    };
    let added = added.iter().map(|one| row(Cell::new("added").fg(Color::Red), &one.alert, &one.series));
    let gone = gone.iter().map(|one| row(Cell::new("gone"), &one.alert, &one.series));
    let moved = moved.iter().map(|one| row(Cell::new("moved"), &one.after, &one.series));
    let all: Vec<Vec<Cell>> = added.chain(gone).chain(moved).collect();
    if !all.is_empty() {
        let more = all.len().saturating_sub(limit);
        let mut table = plain(&["Alert", "From", "Until", "Score", "Series"], width, paint);
        for row in all.into_iter().take(limit) {
            table.add_row(row);
        }
        write(&table, out)?;
        if more > 0 {
            writeln!(out, "{}", paint.ink(Ink::Faint, format!("… and {more} more (--limit 0 shows all)")))?;
        }
    }
    for series in unmatched.iter().take(limit) {
        writeln!(out, "{}", paint.ink(Ink::Faint, format!("only one of both has {series}")))?;
    }
    Ok(())
}

/// The cases that are broken, and how many are kept.
fn cases(cases: &[CaseOutcome], width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    if cases.is_empty() {
        return Ok(());
    }
    let number = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    let [kept, broken, not_covered] = [Outcome::Kept, Outcome::Broken, Outcome::NotCovered].map(number);
    let cases_of = count(cases.len(), "case", "cases");
    writeln!(out, "\n{cases_of} of feedback: {kept} kept, {broken} broken, {not_covered} not covered")?;
    let mut table = plain(&["Broken", "Verdict", "From", "Until", "Run", "Note"], width, paint);
    let time = |ms| Timestamp::from_millis(ms).to_string();
    for case in cases.iter().filter(|case| case.is_broken()) {
        let why = if case.said == Said::Anomaly { "no alert" } else { "an alert" };
        let id = Cell::new(&case.id).fg(Color::Red);
        let verdict = Cell::new(format!("{}, but {why}", case.said_word()));
        let (from, until) = (Cell::new(time(case.from_ms)), Cell::new(time(case.until_ms)));
        table.add_row(vec![id, verdict, from, until, Cell::new(&case.run), Cell::new(&case.note)]);
    }
    if broken > 0 { write(&table, out) } else { Ok(()) }
}
