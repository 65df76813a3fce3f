//! What was scored, for other programs: CSV, JSON and Parquet.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use tsdb::{Frame, Labels};

use super::{Incident, Report};

/// Columns that hold numbers, in the order in which they follow the labels.
const VALUES: [&str; 5] = ["y", "yhat", "yhat_lower", "yhat_upper", "anomaly_score"];

/// The names of all labels, and of the columns that hold them: a label that has the name of another column gets
/// `exported_` in front, as Prometheus does it.
pub(crate) fn label_columns(series: &[Labels]) -> Vec<(String, String)> {
    let names: BTreeSet<&str> = series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    let taken = |name: &str| name == "timestamp" || VALUES.contains(&name);
    let column = |name: &str| if taken(name) { format!("exported_{name}") } else { name.to_string() };
    names.into_iter().map(|name| (name.to_string(), column(name))).collect()
}

fn values(report: &Report) -> [&Frame; 5] {
    let scored = &report.scored;
    [&scored.y, &scored.yhat, &scored.yhat_lower, &scored.yhat_upper, &scored.score]
}

/// Writes a line a point: `timestamp` (RFC 3339), a column a label, `y`, `yhat`, `yhat_lower`, `yhat_upper` and
/// `anomaly_score`. Points of which nothing is known are left out; a gap is empty.
///
/// # Errors
/// The writer's.
pub fn csv(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let frames = values(report);
    let labels = label_columns(frames[0].series());
    let mut writer = csv::Writer::from_writer(out);
    let titles = labels.iter().map(|(_, column)| column.as_str());
    writer.write_record(std::iter::once("timestamp").chain(titles).chain(VALUES))?;
    for (row, series) in frames[0].series().iter().enumerate() {
        for point in known(&frames, row) {
            writer.write_field(frames[0].time(point).to_string())?;
            labels.iter().try_for_each(|(name, _)| writer.write_field(series.get(name).unwrap_or("")))?;
            let cells = frames.map(|frame| super::format::exact(frame.row(row)[point]));
            writer.write_record(cells)?;
        }
    }
    writer.flush()
}

/// The points of a row at which any of the frames has a value.
fn known<'a>(frames: &'a [&'a Frame; 5], row: usize) -> impl Iterator<Item = usize> + 'a {
    (0..frames[0].points()).filter(move |point| frames.iter().any(|frame| !frame.row(row)[*point].is_nan()))
}

/// Writes the columns of [`csv`] as Parquet: `timestamp` in milliseconds UTC, labels as text (null where a series
/// has none of that name), values as doubles (null for a gap). Compressed with Zstandard, one row group a series
/// or more.
///
/// # Errors
/// The writer's, or a column that Parquet refuses.
pub fn parquet(report: &Report, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let frames = values(report);
    let labels = label_columns(frames[0].series());
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
    let schema = batch(&frames, &labels, None).map_err(io::Error::other)?.schema();
    let mut writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(io::Error::other)?;
    for row in 0..frames[0].series().len() {
        let batch = batch(&frames, &labels, Some(row)).map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
    }
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

/// The points of one series as columns; without a series, the columns alone.
fn batch(
    frames: &[&Frame; 5],
    labels: &[(String, String)],
    row: Option<usize>,
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let points: Vec<usize> = row.map(|row| known(frames, row).collect()).unwrap_or_default();
    let times = TimestampMillisecondArray::from_iter_values(points.iter().map(|p| frames[0].time(*p).millis()));
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![("timestamp", Arc::new(times.with_timezone("UTC")), false)];
    for (name, column) in labels {
        let value = row.and_then(|row| frames[0].series()[row].get(name));
        let cells: StringArray = points.iter().map(|_| value).collect();
        columns.push((column, Arc::new(cells), true));
    }
    for (column, frame) in VALUES.into_iter().zip(frames) {
        let cell = |point: &usize| row.map(|row| frame.row(row)[*point]).filter(|value| !value.is_nan());
        columns.push((column, Arc::new(points.iter().map(cell).collect::<Float64Array>()), true));
    }
    RecordBatch::try_from_iter_with_nullable(columns)
}

/// Writes one JSON object:
///
/// ```json
/// {"source": "cpu.csv", "settings": {"model": "mstl"}, "step_seconds": 300.0, "took_seconds": 0.12,
///  "timestamps_ms": [1767225600000],
///  "series": [{"labels": {"__name__": "cpu"}, "y": [1.0], "yhat": [1.1], "yhat_lower": [0.9],
///              "yhat_upper": [1.3], "anomaly_score": [0.5]}],
///  "incidents": [{"labels": {"__name__": "cpu"}, "start_ms": 1767225600000, "end_ms": 1767225600000, "points": 1,
///                 "peak_ms": 1767225600000, "peak_score": 3.4, "y": 9.1, "yhat": 1.1, "yhat_lower": 0.9,
///                 "yhat_upper": 1.3}]}
/// ```
///
/// The values of every series stand at `timestamps_ms`; a gap is `null`. Incidents come worst first.
///
/// # Errors
/// The writer's.
pub fn json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let scored = &report.scored;
    let points = 0..scored.y.points();
    let document = Document {
        source: &report.source,
        settings: Pairs(report.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()),
        step_seconds: scored.y.step().seconds(),
        took_seconds: report.took.as_secs_f64(),
        timestamps_ms: points.map(|point| scored.y.time(point).millis()).collect(),
        series: AllSeries(report),
        incidents: report.incidents.iter().map(|incident| describe(report, incident)).collect(),
    };
    serde_json::to_writer(&mut *out, &document)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    source: &'a str,
    settings: Pairs<'a>,
    step_seconds: f64,
    took_seconds: f64,
    timestamps_ms: Vec<i64>,
    series: AllSeries<'a>,
    incidents: Vec<IncidentDocument<'a>>,
}

/// Names and values, written as an object in their order.
pub(crate) struct Pairs<'a>(pub(crate) Vec<(&'a str, &'a str)>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

struct AllSeries<'a>(&'a Report);

impl Serialize for AllSeries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frames = values(self.0);
        let mut list = serializer.serialize_seq(Some(frames[0].series().len()))?;
        for (row, labels) in frames[0].series().iter().enumerate() {
            let [y, yhat, yhat_lower, yhat_upper, anomaly_score] = frames.map(|frame| frame.row(row));
            let labels = Pairs(labels.iter().collect());
            list.serialize_element(&SeriesDocument { labels, y, yhat, yhat_lower, yhat_upper, anomaly_score })?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct SeriesDocument<'a> {
    labels: Pairs<'a>,
    y: &'a [f64],
    yhat: &'a [f64],
    yhat_lower: &'a [f64],
    yhat_upper: &'a [f64],
    anomaly_score: &'a [f64],
}

#[derive(Serialize)]
struct IncidentDocument<'a> {
    labels: Pairs<'a>,
    start_ms: i64,
    end_ms: i64,
    points: usize,
    peak_ms: i64,
    peak_score: f64,
    y: f64,
    yhat: f64,
    yhat_lower: f64,
    yhat_upper: f64,
}

fn describe<'a>(report: &'a Report, incident: &Incident) -> IncidentDocument<'a> {
    let [y, yhat, yhat_lower, yhat_upper, _] = values(report).map(|frame| frame.row(incident.series)[incident.peak]);
    let grid = &report.scored.y;
    IncidentDocument {
        labels: Pairs(grid.series()[incident.series].iter().collect()),
        start_ms: grid.time(incident.first).millis(),
        end_ms: grid.time(incident.last).millis(),
        points: incident.points,
        peak_ms: grid.time(incident.peak).millis(),
        peak_score: incident.score,
        y,
        yhat,
        yhat_lower,
        yhat_upper,
    }
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::render::fixture;

    #[test]
    fn csv_has_a_line_a_point() {
        let mut out = vec![];
        csv(&fixture::report(2, 30), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 61);
        assert_eq!(lines[0], "timestamp,__name__,instance,y,yhat,yhat_lower,yhat_upper,anomaly_score");
        assert!(lines[1].starts_with("2026-01-01T00:00:00Z,cpu_<usage>,host-000,48,50,44,56,0.33"), "{}", lines[1]);
        assert!(lines[16].contains(",host-000,,"), "a gap is empty: {}", lines[16]);
    }

    #[test]
    fn json_has_series_and_incidents() {
        let mut out = vec![];
        json(&fixture::report(2, 30), &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["timestamps_ms"].as_array().unwrap().len(), 30);
        assert_eq!(value["series"][1]["labels"]["instance"], "host-001");
        assert_eq!(value["series"][0]["y"][15], serde_json::Value::Null);
        assert_eq!(value["incidents"][0]["points"], 6);
        assert_eq!(value["settings"]["model"], "mstl");
    }

    #[test]
    fn parquet_is_read_back() {
        let mut out = vec![];
        parquet(&fixture::report(2, 30), &mut out).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(out)).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 60);
        assert_eq!(batches[0].column_by_name("y").unwrap().null_count(), 6);
        assert_eq!(batches[0].num_columns(), 8);
    }

    #[test]
    fn a_label_never_hides_a_column() {
        let labels = Labels::new([("y", "1"), ("timestamp", "2"), ("job", "3")]).unwrap();
        let columns: Vec<String> = label_columns(&[labels]).into_iter().map(|(_, column)| column).collect();
        assert_eq!(columns, ["job", "exported_timestamp", "exported_y"]);
    }
}
