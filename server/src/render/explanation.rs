//! An explanation: for a terminal, and as a page that needs nothing else.

use std::io::{self, Write};

use tsdb::{Step, Timestamp};

use super::chart::{Style, Trace, draw};
use super::format::{Ink, Paint};
use super::html::{SCRIPT, STYLE, chart_data, escape, fill};
use crate::explanation::{Drawing, Explanation};

const PAGE: &str = include_str!("html/explanation.html");

/// How high the chart of a terminal is, in lines.
const HEIGHT: usize = 12;

/// The numbers of a drawing, gaps as NaN.
struct Rows {
    start: Timestamp,
    step: Step,
    rows: [Vec<f64>; 5],
}

impl Rows {
    /// None where there is nothing to draw, or rows that don't fit together.
    fn of(drawing: &Drawing) -> Option<Self> {
        let Drawing { y, yhat, yhat_lower, yhat_upper, anomaly_score, start_ms, step_ms } = drawing;
        let values = |row: &Vec<Option<f64>>| row.iter().map(|value| value.unwrap_or(f64::NAN)).collect::<Vec<f64>>();
        let rows = [y, yhat, yhat_lower, yhat_upper, anomaly_score].map(values);
        let fits = !rows[0].is_empty() && rows.iter().all(|row| row.len() == rows[0].len());
        let step = Step::from_millis(*step_ms)?;
        fits.then_some(Self { start: Timestamp::from_millis(*start_ms), step, rows })
    }

    fn trace(&self) -> Trace<'_> {
        let [y, yhat, lower, upper, score] = &self.rows;
        Trace { start: self.start, step: self.step, y, yhat, lower, upper, score }
    }
}

/// Writes it for a terminal of that width: the headline, the chart, and the sentences.
///
/// # Errors
/// The writer's.
pub fn text(explanation: &Explanation, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    for line in wrapped(&explanation.headline, width) {
        writeln!(out, "{}", paint.ink(Ink::Strong, line))?;
    }
    if let Some(rows) = Rows::of(&explanation.chart) {
        writeln!(out)?;
        let title = "dots: what came · shaded: what would have been usual · ▲ unusual";
        draw(title, &rows.trace(), Style { width, height: HEIGHT, paint }, out)?;
    }
    for section in &explanation.sections {
        writeln!(out, "\n{}", paint.ink(Ink::Strong, &section.title))?;
        for sentence in &section.text {
            for (at, line) in wrapped(sentence, width.saturating_sub(4)).into_iter().enumerate() {
                writeln!(out, "{}{line}", if at == 0 { "  " } else { "    " })?;
            }
        }
    }
    Ok(())
}

/// A text in lines of at most `width` characters, broken between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(20);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            let space = if line.is_empty() { "" } else { " " };
            line.push_str(space);
            line.push_str(word);
        }
    }
    lines
}

/// Writes it as a page.
///
/// # Errors
/// The writer's.
pub fn html(explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    let data = match Rows::of(&explanation.chart) {
        Some(rows) => chart_data(&explanation.series, &rows.trace())?,
        None => "[]".to_owned(),
    };
    let Explanation { pipeline, incident, .. } = explanation;
    let parts = [
        ("title", escape(&explanation.headline)),
        ("style", STYLE.to_string()),
        ("headline", escape(&explanation.headline)),
        ("about", escape(&format!("Pipeline {pipeline}, incident {incident}"))),
        ("sections", sections(explanation)),
        ("data", data),
        ("script", SCRIPT.to_string()),
    ];
    fill(PAGE, &parts, out)
}

fn sections(explanation: &Explanation) -> String {
    let section = |section: &engine::explain::Section| {
        let text: String = section.text.iter().map(|sentence| format!("<p>{}</p>", escape(sentence))).collect();
        format!("<section><h2>{}</h2>{text}</section>", escape(&section.title))
    };
    explanation.sections.iter().map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::explain::Section;

    fn explanation(points: usize) -> Explanation {
        let row = |value: f64| vec![Some(value); points];
        Explanation {
            incident: "0199f3b2".into(),
            pipeline: "cpu".into(),
            series: "load{host=\"<a>\"}".into(),
            at: "2026-01-01T00:00:00Z".into(),
            headline: "load{host=\"<a>\"} was far above what is usual on Thu 1 Jan 2026 00:00 UTC.".into(),
            sections: vec![
                Section::new("What was expected", vec!["About 5. ".repeat(30).trim_end().to_owned()]),
                Section::new("What came", vec!["9, which is 4 more than expected.".into()]),
            ],
            is_same: Some(true),
            recipe: None,
            model: serde_json::json!({"id": "mstl"}),
            chart: Drawing {
                start_ms: 0,
                step_ms: 60_000,
                y: row(9.0),
                yhat: row(5.0),
                yhat_lower: row(4.0),
                yhat_upper: row(6.0),
                anomaly_score: row(4.0),
            },
        }
    }

    fn plain(explanation: &Explanation, width: usize) -> String {
        let mut out = vec![];
        text(explanation, width, Paint { on: false }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_shows_all_of_it_within_its_width() {
        for width in [40, 80, 200] {
            let text = plain(&explanation(50), width);
            assert!(text.lines().all(|line| line.chars().count() <= width.max(40)), "{width}\n{text}");
            assert!(text.contains("▲") && text.contains("What came"), "{text}");
        }
        assert!(!plain(&explanation(0), 80).contains('▲'), "nothing is drawn of nothing");
        let mut odd = explanation(5);
        odd.chart.y.pop();
        assert!(!plain(&odd, 80).contains('▲'));
    }

    #[test]
    fn the_page_is_whole_and_needs_no_network() {
        let mut out = vec![];
        html(&explanation(50), &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        for absent in ["{{", "http://", "https://", "src=", "@import", "<a>"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("host=&quot;&lt;a&gt;&quot;") && page.contains("\\u003ca"));
        assert!(page.contains("<h2>What came</h2>") && page.trim_end().ends_with("</html>"));
    }
}
