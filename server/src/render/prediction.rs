//! Forecasts: as a chart, a table, and for other programs.

use std::io::{self, Write};
use std::time::Duration;

use models::Forecast;
use serde_json::{Map, Value, json};
use tsdb::{Frame, Timestamp};

use super::chart::{Style, Trace, draw};
use super::export::label_columns;
use super::format::{Ink, Paint, count, duration, exact, number, time};
use super::table;

/// What was forecast, from what.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Where the series come from.
    pub source: String,
    /// The model's id.
    pub model: String,
    /// How long the model took.
    pub took: Duration,
    /// What is known of the series.
    pub frame: Frame,
    /// What comes after its last point, a row for each of its series; holds the median.
    pub forecast: Forecast,
}

impl Prediction {
    /// The time of a step ahead, from 0.
    fn time(&self, ahead: usize) -> Timestamp {
        self.frame.time(self.frame.points() + ahead)
    }

    fn levels(&self) -> &[f64] {
        self.forecast.levels().as_slice()
    }

    /// Every series and step ahead of which something is known.
    fn known(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let steps = |row| (0..self.forecast.horizon()).map(move |ahead| (row, ahead));
        let all = (0..self.forecast.series()).flat_map(steps);
        all.filter(|(row, ahead)| !self.forecast.quantile(*row, 0)[*ahead].is_nan())
    }
}

/// Draws the end of the first `charts` series, and what is expected to follow it.
///
/// # Errors
/// The writer's.
pub fn charts(
    prediction: &Prediction,
    charts: usize,
    width: usize,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (frame, forecast) = (&prediction.frame, &prediction.forecast);
    let style = Style { width, height: 10, paint };
    let horizon = forecast.horizon();
    let tail = frame.points().min((horizon * 4).max(style.readable_points() / 2));
    for row in 0..frame.series().len().min(charts) {
        let with_past = |past: &[f64], ahead: &[f64]| [past, ahead].concat();
        let (gap, unknown) = (vec![f64::NAN; tail], vec![f64::NAN; horizon]);
        let median = forecast.levels().position(0.5).unwrap_or(forecast.levels().len() / 2);
        let level = |level: usize| with_past(&gap, forecast.quantile(row, level));
        let trace = Trace {
            start: frame.time(frame.points() - tail),
            step: frame.step(),
            y: &with_past(&frame.row(row)[frame.points() - tail..], &unknown),
            yhat: &level(median),
            lower: &level(0),
            upper: &level(forecast.levels().len() - 1),
            score: &[],
        };
        draw(&frame.series()[row].to_string(), &trace, style, out)?;
        writeln!(out)?;
    }
    Ok(())
}

/// Writes the first `limit` steps ahead, one a line, and how many more there are.
///
/// # Errors
/// The writer's.
pub fn table(prediction: &Prediction, limit: usize, width: usize, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let levels: Vec<String> = prediction.levels().iter().map(|level| format!("q{level}")).collect();
    let titles = std::iter::once("Time (UTC)").chain(levels.iter().map(String::as_str)).chain(["Series"]);
    let mut table = table::plain(&titles.collect::<Vec<_>>(), width, paint);
    for (row, ahead) in prediction.known().take(limit) {
        let mut cells = vec![time(prediction.time(ahead), prediction.frame.step())];
        cells.extend((0..levels.len()).map(|level| number(prediction.forecast.quantile(row, level)[ahead])));
        cells.push(prediction.frame.series()[row].to_string());
        table.add_row(cells);
    }
    table::right(&mut table, &(1..=levels.len()).collect::<Vec<_>>());
    table::write(&table, out)?;
    match prediction.known().count().saturating_sub(limit) {
        0 => Ok(()),
        more => writeln!(out, "{}", paint.ink(Ink::Faint, format!("… and {more} more (--limit 0 shows all)"))),
    }
}

/// Writes one line: what was forecast, and how long it took.
///
/// # Errors
/// The writer's.
pub fn summary(prediction: &Prediction, out: &mut dyn Write) -> io::Result<()> {
    let series = prediction.forecast.series();
    let rate = number((series as f64 / prediction.took.as_secs_f64().max(1e-9)).round());
    let steps = count(prediction.forecast.horizon(), "point", "points");
    let (took, series) = (duration(prediction.took), count(series, "series", "series"));
    writeln!(out, "{series} · {steps} ahead by {} in {took} ({rate} series/s)", prediction.model)
}

/// Writes a line a step ahead: `timestamp` (RFC 3339), a column a label, and a column a quantile, such as `q0.5`.
///
/// # Errors
/// The writer's.
pub fn csv(prediction: &Prediction, out: &mut dyn Write) -> io::Result<()> {
    let series = prediction.frame.series();
    let labels = label_columns(series);
    let mut writer = csv::Writer::from_writer(out);
    let levels = prediction.levels().iter().map(|level| format!("q{level}"));
    let names = labels.iter().map(|(_, column)| column.clone());
    writer.write_record(std::iter::once("timestamp".to_string()).chain(names).chain(levels))?;
    for (row, ahead) in prediction.known() {
        let values = (0..prediction.levels().len()).map(|level| exact(prediction.forecast.quantile(row, level)[ahead]));
        let names = labels.iter().map(|(name, _)| series[row].get(name).unwrap_or("").to_string());
        writer.write_record(std::iter::once(prediction.time(ahead).to_string()).chain(names).chain(values))?;
    }
    writer.flush()
}

/// Writes one JSON object: `source`, `model`, `took_seconds`, `step_seconds`, `timestamps_ms` of the steps ahead, and
/// `series`, each with its `labels` and `quantiles`, an object from the level to its values (`null` where nothing
/// can be said).
///
/// # Errors
/// The writer's.
pub fn json(prediction: &Prediction, out: &mut dyn Write) -> io::Result<()> {
    let forecast = &prediction.forecast;
    let times: Vec<i64> = (0..forecast.horizon()).map(|ahead| prediction.time(ahead).millis()).collect();
    let series = prediction.frame.series().iter().enumerate().map(|(row, labels)| {
        let labels: Map<String, Value> = labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let quantile = |(level, name): (usize, &f64)| (name.to_string(), json!(forecast.quantile(row, level)));
        let quantiles: Map<String, Value> = prediction.levels().iter().enumerate().map(quantile).collect();
        json!({"labels": labels, "quantiles": quantiles})
    });
    let document = json!({
        "source": prediction.source,
        "model": prediction.model,
        "took_seconds": prediction.took.as_secs_f64(),
        "step_seconds": prediction.frame.step().seconds(),
        "timestamps_ms": times,
        "series": series.collect::<Vec<_>>(),
    });
    serde_json::to_writer(&mut *out, &document)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use models::Levels;

    use super::*;
    use crate::render::fixture;

    fn prediction() -> Prediction {
        let frame = fixture::report(2, 300).scored.yhat;
        let mut forecast = Forecast::unknown(2, Levels::new(vec![0.1, 0.5, 0.9]).unwrap(), 2);
        forecast.values_mut()[..6].copy_from_slice(&[40.0, 41.0, 50.0, 51.0, 60.0, 61.0]);
        let took = Duration::from_millis(10);
        Prediction { source: "metrics.csv".into(), model: "mstl".into(), took, frame, forecast }
    }

    fn text(write: impl FnOnce(&Prediction, &mut dyn Write) -> io::Result<()>) -> String {
        let mut out = vec![];
        write(&prediction(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_nothing_is_known_of_is_left_out_of_csv() {
        let csv = text(csv);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "timestamp,__name__,instance,q0.1,q0.5,q0.9");
        assert_eq!(lines[1], "2026-01-02T01:00:00Z,cpu_<usage>,host-000,40,50,60");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn json_names_levels_and_says_null() {
        let value: Value = serde_json::from_str(&text(json)).unwrap();
        assert_eq!(value["series"][0]["quantiles"]["0.5"], json!([50.0, 51.0]));
        assert_eq!(value["series"][1]["quantiles"]["0.5"], json!([null, null]));
        assert_eq!(value["timestamps_ms"], json!([1_767_315_600_000_i64, 1_767_315_900_000_i64]));
    }

    #[test]
    fn charts_tables_and_the_summary_fit_the_width() {
        let paint = Paint { on: false };
        let text = text(|prediction, out| {
            charts(prediction, 1, 90, paint, out)?;
            table(prediction, 1, 90, paint, out)?;
            summary(prediction, out)
        });
        assert!(text.lines().all(|line| line.chars().count() <= 92), "{text}");
        assert!(text.contains("░") && text.contains("… and 1 more"), "{text}");
        assert!(text.contains("2 series · 2 points ahead by mstl in 10ms (200 series/s)"), "{text}");
    }
}
