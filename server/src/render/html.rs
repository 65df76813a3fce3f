//! A report as one file that needs nothing else: no server, no network.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::chart::Trace;
use super::format::{count, duration, number, time};
use super::{Incident, Report};

const PAGE: &str = include_str!("html/page.html");
/// What all pages look like.
pub(super) const STYLE: &str = include_str!("html/page.css");
pub(super) const SCRIPT: &str = concat!(include_str!("html/chart.js"), include_str!("html/page.js"));

/// How many bytes the numbers of all charts may take. The series with the worst incidents are drawn first.
const CHART_BYTES: usize = 1_700_000;

/// Incidents listed in the table.
const LISTED: usize = 500;

/// Writes the page: what was found as a table, and charts of the worst `charts` series with band and anomalies.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, charts: usize, out: &mut dyn Write) -> io::Result<()> {
    let drawn = chosen(report, charts);
    let rows: Vec<usize> = drawn.iter().map(|chart| chart.row).collect();
    let data = serde_json::to_string(&drawn)?.replace('<', "\\u003c");
    let parts = [
        ("style", STYLE.to_string()),
        ("title", escape(&report.source)),
        ("summary", summary(report)),
        ("incidents", incidents(report, &rows)),
        ("left", left_out(report, drawn.len())),
        ("settings", settings(report)),
        ("data", data),
        ("script", SCRIPT.to_string()),
    ];
    fill(PAGE, &parts, out)
}

/// Writes `page` with each `{{name}}` replaced by the part of that name; they stand in the order of the page.
pub(super) fn fill(page: &str, parts: &[(&str, String)], out: &mut dyn Write) -> io::Result<()> {
    let mut rest = page;
    for (name, part) in parts {
        let (before, after) = rest.split_once(&format!("{{{{{name}}}}}")).unwrap_or((rest, ""));
        out.write_all(before.as_bytes())?;
        out.write_all(part.as_bytes())?;
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// One chart. The numbers are whole multiples of `unit`, written as the difference to the one before; a gap is
/// empty. Scores are in hundredths and no differences.
#[derive(Serialize)]
struct Chart {
    #[serde(skip)]
    row: usize,
    title: String,
    start: i64,
    step: i64,
    unit: f64,
    y: String,
    f: String,
    l: String,
    u: String,
    s: String,
}

impl Chart {
    fn new(report: &Report, row: usize) -> Self {
        let scored = &report.scored;
        let title = scored.y.series()[row].to_string();
        Self::of(row, title, &Trace::of(scored, row, 0..scored.y.points()))
    }

    fn of(row: usize, title: String, trace: &Trace<'_>) -> Self {
        let unit = unit(trace.y);
        Self {
            row,
            title,
            start: trace.start.millis(),
            step: trace.step.millis(),
            unit,
            y: pack(trace.y, unit),
            f: pack(trace.yhat, unit),
            l: pack(trace.lower, unit),
            u: pack(trace.upper, unit),
            s: hundredths(trace.score),
        }
    }

    fn bytes(&self) -> usize {
        [&self.title, &self.y, &self.f, &self.l, &self.u, &self.s].iter().map(|text| text.len()).sum::<usize>() + 99
    }
}

/// The data of one chart, for the script of the page.
pub(super) fn chart_data(title: &str, trace: &Trace<'_>) -> io::Result<String> {
    Ok(serde_json::to_string(&[Chart::of(0, title.to_owned(), trace)])?.replace('<', "\\u003c"))
}

/// The worst series, as many as fit.
fn chosen(report: &Report, charts: usize) -> Vec<Chart> {
    let mut room = CHART_BYTES;
    let rows = report.worst_first().into_iter().take(charts).map(|row| Chart::new(report, row));
    let fitting = rows.enumerate().take_while(|(at, chart)| {
        let fits = chart.bytes() <= room || *at == 0;
        room = room.saturating_sub(chart.bytes());
        fits
    });
    fitting.map(|(_, chart)| chart).collect()
}

/// The power of ten that splits the range of the values into 10,000 to 100,000 parts.
pub(super) fn unit(values: &[f64]) -> f64 {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let range = if high > low { high - low } else { low.abs().clamp(1e-9, 1e300) };
    if range.is_finite() { 10f64.powf((range / 1e4).log10().floor()) } else { 1.0 }
}

pub(super) fn pack(values: &[f64], unit: f64) -> String {
    let mut before = 0i64;
    joined(values.iter().map(|value| {
        let whole = (value / unit).round();
        // Beyond this, a double has no whole numbers left; such a value can't be drawn beside the others anyway.
        (whole.abs() < 9e15).then(|| {
            let difference = whole as i64 - before;
            before = whole as i64;
            difference
        })
    }))
}

pub(super) fn hundredths(scores: &[f64]) -> String {
    joined(scores.iter().map(|score| (!score.is_nan()).then(|| (score * 100.0).round().min(9e15) as i64)))
}

fn joined(numbers: impl Iterator<Item = Option<i64>>) -> String {
    let mut text = String::new();
    for (at, number) in numbers.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.push_str(comma);
        if let Some(number) = number {
            let _ = write!(text, "{number}");
        }
    }
    text
}

fn summary(report: &Report) -> String {
    let grid = &report.scored.y;
    let worst = report.incidents.first().map_or("–".into(), super::table::score);
    let cards = [
        ("anomalies", report.incidents.len().to_string()),
        ("series", grid.series().len().to_string()),
        ("points scored", count(report.points_scored(), "", "").trim().to_string()),
        ("worst score", worst),
        ("took", duration(report.took)),
    ];
    let cards = cards.map(|(name, value)| format!("<div><b>{}</b>{name}</div>", escape(&value)));
    let range = format!("{} – {} UTC", time(grid.start(), grid.step()), time(grid.end(), grid.step()));
    format!("<p class=\"range\">{range}</p><div class=\"cards\">{}</div>", cards.concat())
}

fn incidents(report: &Report, drawn: &[usize]) -> String {
    if report.incidents.is_empty() {
        return "<p class=\"good\">Nothing left its band.</p>".into();
    }
    let shown = report.incidents.iter().take(LISTED);
    let rows: String = shown.map(|incident| incident_row(report, incident, drawn)).collect();
    let more = report.incidents.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("<p class=\"faint\">… and {more} more.</p>") } else { String::new() };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th class=\"n\">Score</th><th>Start (UTC)</th><th>Lasted</th>\
         <th class=\"n\">Points</th><th class=\"n\">Value</th><th class=\"n\">Expected</th><th>Series</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>{more}"
    )
}

fn incident_row(report: &Report, incident: &Incident, drawn: &[usize]) -> String {
    let scored = &report.scored;
    let at = |frame: &tsdb::Frame| number(frame.row(incident.series)[incident.peak]);
    let chart = drawn.iter().position(|row| *row == incident.series);
    let link = chart.map_or(String::new(), |chart| {
        format!(
            " data-chart=\"{chart}\" data-first=\"{}\" data-last=\"{}\" tabindex=\"0\"",
            incident.first, incident.last
        )
    });
    format!(
        "<tr{link}><td class=\"n score\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{} – {}</td><td>{}</td></tr>",
        super::table::score(incident),
        time(scored.y.time(incident.first), scored.y.step()),
        duration(scored.y.step().times(incident.last - incident.first + 1)),
        incident.points,
        at(&scored.y),
        at(&scored.yhat_lower),
        at(&scored.yhat_upper),
        escape(&scored.y.series()[incident.series].to_string()),
    )
}

fn left_out(report: &Report, drawn: usize) -> String {
    match report.scored.y.series().len() - drawn {
        0 => String::new(),
        more => format!("<p class=\"faint\">{} not drawn here.</p>", count(more, "series is", "series are")),
    }
}

fn settings(report: &Report) -> String {
    let row = |(name, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    report.settings.iter().map(row).collect()
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    fn page(series: usize, points: usize, charts: usize) -> String {
        let mut out = vec![];
        write(&fixture::report(series, points), charts, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_page_is_whole_and_needs_no_network() {
        let page = page(3, 300, 10);
        for absent in ["{{", "http://", "https://", "src=", "@import", "cpu_<usage>"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("cpu_&lt;usage&gt;") && page.contains("\\u003cusage"));
        assert!(page.trim_end().ends_with("</html>"));
    }

    #[test]
    fn a_hundred_series_stay_under_two_megabytes() {
        let page = page(100, 2000, 100);
        assert!(page.len() < 2_000_000, "{}", page.len());
        assert!(page.contains("not drawn here"));
    }

    #[test]
    fn numbers_are_packed_as_differences() {
        assert_eq!(pack(&[1.0, f64::NAN, 1.5, 1.25], 0.25), "4,,2,-1");
        assert_eq!(pack(&[f64::INFINITY], 1.0), "");
        assert_eq!(hundredths(&[0.5, f64::NAN, 1.234]), "50,,123");
        for (values, expected) in [(vec![0.0, 1.0], 1e-4), (vec![5.0, 5.0], 1e-4), (vec![0.0, 2e6], 100.0)] {
            assert!((unit(&values) / expected - 1.0).abs() < 1e-9, "{values:?}: {}", unit(&values));
        }
        assert!(unit(&[]).is_finite() && unit(&[0.0]) > 0.0 && unit(&[f64::MAX, f64::MIN]) > 0.0);
    }
}
