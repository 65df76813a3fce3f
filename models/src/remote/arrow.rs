//! The Arrow that the first OpenAnomaly spoke with its models: many series in one IPC file (Feather v2), and as many
//! forecasts in another.
//!
//! The answer may be written by pandas, polars or anything else: columns of whatever numeric type, text as utf8,
//! large utf8, views or categories, times in any unit.

mod bounds;

use std::collections::HashMap;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_cast::cast;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::FileReaderBuilder;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use bytes::Bytes;

use super::answer::{Answer, is_same, wrong};
use super::batch::Batch;
use super::client::Reply;
use super::fault::{Fault, readable};

const MAGIC: &[u8] = b"ARROW1";

/// Whether an answer is an Arrow file.
pub(super) fn is_file(reply: &Reply) -> bool {
    reply.body.starts_with(MAGIC)
}

/// The series of `batch` as `unique_id, ds, y`, in LZ4 as pandas writes it; a gap is null.
///
/// # Errors
/// The series are too many for one file.
pub(super) fn write(batch: &Batch<'_>) -> Result<Bytes, ArrowError> {
    let rows = batch.contexts().map(<[f64]>::len).sum();
    let mut times = Vec::with_capacity(rows);
    let mut ids = Vec::with_capacity(rows);
    let names: Vec<String> = (0..batch.len()).map(|at| at.to_string()).collect();
    for (name, context) in names.iter().zip(batch.contexts()) {
        times.extend((0..context.len()).rev().map(|back| batch.past_ms(back)));
        ids.extend(std::iter::repeat_n(name.as_str(), context.len()));
    }
    let values = batch.contexts().flatten().map(|value| Some(*value).filter(|value| value.is_finite()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(TimestampMillisecondArray::from(times)),
        Arc::new(Float64Array::from_iter(values)),
    ];
    let schema = Arc::new(Schema::new(vec![
        Field::new("unique_id", DataType::Utf8, false),
        Field::new("ds", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("y", DataType::Float64, true),
    ]));
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = FileWriter::try_new_with_options(vec![], &schema, options)?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// Reads the forecasts of the series of `batch`, in its order, from a file that takes at most `limit` bytes when it is
/// decompressed.
///
/// # Errors
/// What makes the whole file unreadable, or its series not those of `batch`.
pub(super) fn answers(reply: &Reply, batch: &Batch<'_>, limit: usize) -> Result<Vec<Result<Answer, Fault>>, Fault> {
    let body = &reply.body;
    if !is_file(reply) {
        let hint = "its answer is no Arrow file (Feather v2)";
        return Err(wrong(format!("{hint}: {}", readable(body))));
    }
    bounds::check(body, limit).map_err(|what| wrong(format!("its Arrow file is damaged: {what}")))?;
    // The decoder panics over some damage, as offsets of text that are cut off, rather than answer an error.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(body, batch)));
    decoded.unwrap_or_else(|_| Err(wrong("its Arrow file is damaged in a way that can't be told")))
}

fn decode(body: &[u8], batch: &Batch<'_>) -> Result<Vec<Result<Answer, Fault>>, Fault> {
    let damaged = |error: ArrowError| {
        let text = readable(error.to_string().as_bytes());
        wrong(format!("its Arrow file can't be read: {text}"))
    };
    let whole = FileReaderBuilder::new().build(Cursor::new(body)).map_err(damaged)?;
    let layout = Layout::new(&whole.schema(), batch.levels())?;
    let reader =
        FileReaderBuilder::new().with_projection(layout.columns()).build(Cursor::new(body)).map_err(damaged)?;
    let mut table = Table::new(batch, &layout);
    for part in reader {
        table.add(&part.map_err(damaged)?, &layout)?;
    }
    Ok(table.answers(&layout))
}

/// Which of the file's columns are read.
struct Layout {
    id: usize,
    time: Option<usize>,
    point: Option<usize>,
    /// The levels that were asked for, with their columns.
    levels: Vec<(f64, usize)>,
}

impl Layout {
    fn new(schema: &Schema, asked: &[f64]) -> Result<Self, Fault> {
        let find = |names: &[&str]| {
            let mut found = (0..schema.fields().len()).filter(|at| names.contains(&schema.field(*at).name().as_str()));
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(wrong(format!("its column {} is there twice", names[0]))),
                (found, _) => Ok(found),
            }
        };
        let names =
            || schema.fields().iter().take(20).map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let id =
            find(&["unique_id"])?.ok_or_else(|| wrong(format!("it lacks the column unique_id; it has {}", names())))?;
        let is_asked = |level: f64| asked.iter().any(|known| is_same(*known, level));
        let level = |(at, field): (usize, &Arc<Field>)| {
            let level = field.name().strip_prefix("q_")?.parse().ok().filter(|level| is_asked(*level))?;
            Some((level, at))
        };
        let point = find(&["mean"])?.or(find(&["forecast"])?);
        let found = Self {
            id,
            time: find(&["ds"])?,
            point,
            levels: schema.fields().iter().enumerate().filter_map(level).collect(),
        };
        found.check_types(schema)?;
        Ok(found)
    }

    fn check_types(&self, schema: &Schema) -> Result<(), Fault> {
        let check = |at: usize, is_right: fn(&DataType) -> bool, expected: &str| {
            let field = schema.field(at);
            if is_right(field.data_type()) {
                return Ok(());
            }
            let kind = readable(field.data_type().to_string().as_bytes());
            Err(wrong(format!("its column {} is {kind}, not {expected}", field.name())))
        };
        check(self.id, is_text, "text")?;
        if let Some(time) = self.time {
            check(time, is_time, "a time")?;
        }
        let mut numbers = self.point.iter().chain(self.levels.iter().map(|(_, at)| at));
        numbers.try_for_each(|at| check(*at, DataType::is_numeric, "a number"))
    }

    /// The columns that are read, in the file's order.
    fn columns(&self) -> Vec<usize> {
        let mut columns = vec![self.id];
        columns.extend(self.time.iter().chain(&self.point).chain(self.levels.iter().map(|(_, at)| at)));
        columns.sort_unstable();
        columns
    }

    /// Where among those that are read the column `at` of the file stands.
    fn place(&self, at: usize) -> usize {
        self.columns().iter().position(|column| *column == at).unwrap_or(0)
    }

    /// The columns of numbers, the levels' first, then the point forecast's.
    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.levels.iter().map(|(_, at)| *at).chain(self.point)
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// Rows of the answer, put to the series and steps that they belong to.
struct Table<'a> {
    batch: &'a Batch<'a>,
    places: HashMap<String, usize>,
    /// `[series, column, step ahead]`.
    values: Vec<f64>,
    columns: usize,
    /// How many rows each series has had.
    rows: Vec<usize>,
    /// Which steps of which series are there: `[series, step ahead]`.
    is_there: Vec<bool>,
    faults: Vec<Option<Fault>>,
}

impl<'a> Table<'a> {
    fn new(batch: &'a Batch<'a>, layout: &Layout) -> Self {
        let (series, horizon, columns) = (batch.len(), batch.horizon(), layout.numbers().count());
        Self {
            batch,
            places: (0..series).map(|at| (at.to_string(), at)).collect(),
            values: vec![f64::NAN; series * columns * horizon],
            columns,
            rows: vec![0; series],
            is_there: vec![false; series * horizon],
            faults: vec![None; series],
        }
    }

    fn add(&mut self, part: &RecordBatch, layout: &Layout) -> Result<(), Fault> {
        let ids = Text::new(part.column(layout.place(layout.id)));
        let times = layout.time.map(|at| Times::new(part.column(layout.place(at)))).transpose()?;
        let columns =
            layout.numbers().map(|at| numbers(part.column(layout.place(at)))).collect::<Result<Vec<_>, _>>()?;
        for row in 0..part.num_rows() {
            let id = ids.at(row).ok_or_else(|| wrong("a row of its answer has no unique_id"))?;
            let Some(series) = self.places.get(id).copied() else {
                let id = readable(id.as_bytes());
                return Err(wrong(format!("it answers about the unique_id {id:?}, about which nothing was asked")));
            };
            match self.step(series, row, times.as_ref()) {
                Ok(step) => self.put(series, step, columns.iter().map(|column| number(column, row))),
                Err(fault) => _ = self.faults[series].get_or_insert(fault),
            }
            self.rows[series] += 1;
        }
        Ok(())
    }

    /// Which step ahead a row is: by its time, or else by its place among those of its series.
    fn step(&self, series: usize, row: usize, times: Option<&Times>) -> Result<usize, Fault> {
        let horizon = self.batch.horizon();
        let step = match times {
            None => self.rows[series],
            Some(times) => {
                let ns = times.ns(row).ok_or_else(|| wrong("a row of its answer has no ds"))?;
                let since = ns - self.batch.end_ns();
                let steps = (2 * since + self.batch.step_ns()).div_euclid(2 * self.batch.step_ns());
                let is_off = (since - steps * self.batch.step_ns()).abs() >= times.unit_ns.max(1_000_000);
                match usize::try_from(steps - 1) {
                    Ok(step) if step < horizon && !is_off => step,
                    _ => return Err(wrong(format!("its ds {} is not among the times asked for", printable(ns)))),
                }
            }
        };
        match self.is_there.get(series * horizon + step) {
            _ if step >= horizon => Err(wrong(format!("it has more than the {horizon} rows that were asked for"))),
            Some(false) => Ok(step),
            _ => Err(wrong(format!("it has step {} twice", step + 1))),
        }
    }

    fn put(&mut self, series: usize, step: usize, values: impl Iterator<Item = f64>) {
        let horizon = self.batch.horizon();
        self.is_there[series * horizon + step] = true;
        for (column, value) in values.enumerate() {
            self.values[(series * self.columns + column) * horizon + step] = value;
        }
    }

    fn answers(self, layout: &Layout) -> Vec<Result<Answer, Fault>> {
        (0..self.batch.len()).map(|series| self.answer(series, layout)).collect()
    }

    fn answer(&self, series: usize, layout: &Layout) -> Result<Answer, Fault> {
        let (horizon, rows) = (self.batch.horizon(), self.rows[series]);
        if let Some(fault) = &self.faults[series] {
            return Err(fault.clone());
        }
        match rows {
            0 => return Err(wrong(format!("its answer lacks the unique_id \"{series}\""))),
            rows if rows != horizon => return Err(wrong(format!("it has {rows} rows where {horizon} were asked for"))),
            _ => {}
        }
        let row = |column: usize| self.values[(series * self.columns + column) * horizon..][..horizon].to_vec();
        let quantiles = layout.levels.iter().enumerate().map(|(column, (level, _))| (*level, row(column))).collect();
        Ok(Answer { quantiles, point: layout.point.map(|_| row(layout.levels.len())) })
    }
}

fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Fault> {
    cast(column, to).map_err(|error| wrong(readable(error.to_string().as_bytes())))
}

fn numbers(column: &ArrayRef) -> Result<Float64Array, Fault> {
    Ok(converted(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn number(column: &Float64Array, row: usize) -> f64 {
    if column.is_null(row) { f64::NAN } else { column.value(row) }
}

/// A time as people write it.
fn printable(ns: i128) -> String {
    let ms = i64::try_from(ns.div_euclid(1_000_000)).ok();
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ns} ns"), |time| time.to_string())
}

/// A column of text. It is looked at in place: views and categories may repeat one long text a million times.
struct Text {
    values: ArrayRef,
    /// Where the text of each row stands among `values`, for categories.
    keys: Option<Vec<Option<usize>>>,
}

impl Text {
    fn new(column: &ArrayRef) -> Self {
        match column.as_any_dictionary_opt() {
            Some(dictionary) if !dictionary.values().is_empty() => {
                let keys = dictionary.normalized_keys().into_iter().enumerate();
                let keys = keys.map(|(row, key)| (!column.is_null(row)).then_some(key)).collect();
                Self { values: dictionary.values().clone(), keys: Some(keys) }
            }
            Some(dictionary) => Self { values: dictionary.values().clone(), keys: Some(vec![]) },
            None => Self { values: column.clone(), keys: None },
        }
    }

    fn at(&self, row: usize) -> Option<&str> {
        let row = match &self.keys {
            Some(keys) => (*keys.get(row)?)?,
            None => row,
        };
        if row >= self.values.len() || self.values.is_null(row) {
            return None;
        }
        match self.values.data_type() {
            DataType::Utf8 => Some(self.values.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(self.values.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(self.values.as_string_view().value(row)),
            _ => None,
        }
    }
}

/// A column of times, as what it counts and in which unit; a zone changes neither.
struct Times {
    counts: Int64Array,
    unit_ns: i128,
}

impl Times {
    fn new(column: &ArrayRef) -> Result<Self, Fault> {
        let unit_ns = match column.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => 1_000_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Date32 => 86_400_000_000_000,
            _ => 1,
        };
        Ok(Self { counts: converted(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(), unit_ns })
    }

    fn ns(&self, row: usize) -> Option<i128> {
        (!self.counts.is_null(row)).then(|| i128::from(self.counts.value(row)) * self.unit_ns)
    }
}

#[cfg(test)]
mod tests;
