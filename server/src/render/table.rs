//! Incidents as a table for a terminal.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use engine::incident::Incident;

use super::Report;
use super::format::{Ink, Paint, count, duration, number, time};

/// A table without lines, as wide as the terminal, with bold titles.
pub fn plain(titles: &[&str], width: usize, paint: Paint) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    if paint.on {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(titles.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table
}

/// Aligns the numbers of these columns to the right.
pub fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Writes a table without spaces at the ends of its lines.
///
/// # Errors
/// The writer's.
pub fn write(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

/// Writes the worst `limit` incidents, one a line, and how many more there are.
///
/// # Errors
/// The writer's.
pub fn incidents(report: &Report, limit: usize, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    if report.incidents.is_empty() {
        return Ok(());
    }
    let mut table = plain(&["Score", "Start (UTC)", "Lasted", "Points", "Value", "Expected", "Series"], width, paint);
    for incident in report.incidents.iter().take(limit) {
        table.add_row(row(report, incident));
    }
    right(&mut table, &[0, 3, 4]);
    write(&table, out)?;
    match report.incidents.len().saturating_sub(limit) {
        0 => Ok(()),
        more => writeln!(out, "{}", paint.ink(Ink::Faint, format!("… and {more} more (--limit 0 shows all)"))),
    }
}

/// The score with two digits after the point.
pub fn score(incident: &Incident) -> String {
    number((incident.score * 100.0).round() / 100.0)
}

fn row(report: &Report, incident: &Incident) -> Vec<Cell> {
    let scored = &report.scored;
    let at = |frame: &tsdb::Frame| frame.row(incident.series)[incident.peak];
    let band = format!("{} – {}", number(at(&scored.yhat_lower)), number(at(&scored.yhat_upper)));
    let arrow = if at(&scored.y) > at(&scored.yhat) { "↑" } else { "↓" };
    vec![
        Cell::new(score(incident)).fg(Color::Red).add_attribute(Attribute::Bold),
        Cell::new(time(scored.y.time(incident.first), scored.y.step())),
        Cell::new(duration(scored.y.step().times(incident.last - incident.first + 1))),
        Cell::new(incident.points),
        Cell::new(format!("{} {arrow}", number(at(&scored.y)))),
        Cell::new(band),
        Cell::new(&scored.y.series()[incident.series]),
    ]
}

/// Writes one line: how much was looked at, what was found, how long it took.
///
/// # Errors
/// The writer's.
pub fn summary(report: &Report, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let points = report.points_scored();
    let hit = report.incidents.iter().map(|i| i.series).collect::<std::collections::HashSet<_>>().len();
    let found = match report.incidents.len() {
        0 => paint.ink(Ink::Strong, "no anomaly"),
        many => {
            let found = paint.ink(Ink::Alarm, count(many, "anomaly", "anomalies"));
            format!("{found} in {hit} of")
        }
    };
    let rate = points as f64 / report.took.as_secs_f64().max(1e-9);
    let rate = number((rate / 100.0).round() * 100.0);
    let series = count(report.scored.y.series().len(), "series", "series");
    let joint = if report.incidents.is_empty() { " in" } else { "" };
    let points = count(points, "point", "points");
    let took = duration(report.took);
    writeln!(out, "{found}{joint} {series} · {points} scored in {took} ({rate} points/s)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    fn table(limit: usize, on: bool) -> String {
        let mut out = vec![];
        incidents(&fixture::report(4, 300), limit, 110, Paint { on }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_worst_comes_first_and_the_rest_is_counted() {
        let text = table(2, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains("Score") && lines[1].contains("host-002"), "{text}");
        assert!(lines[3].contains("and 2 more"), "{text}");
        assert!(!text.contains('\x1b') && table(2, true).contains("\x1b["));
    }

    #[test]
    fn nothing_found_is_said_in_the_summary_alone() {
        let mut report = fixture::report(2, 30);
        report.incidents.clear();
        let (mut list, mut line) = (vec![], vec![]);
        incidents(&report, 2, 80, Paint { on: false }, &mut list).unwrap();
        summary(&report, Paint { on: false }, &mut line).unwrap();
        assert!(list.is_empty());
        let line = String::from_utf8(line).unwrap();
        assert!(line.starts_with("no anomaly in 2 series · 54 points scored in 1.23s"), "{line}");
    }
}
