//! Arrow IPC, as a file (Feather version 2) and as a stream; and record batches of whatever origin.
//!
//! `arrow-ipc` believes what a compressed buffer says of its own size, so a file damaged just there can ask for more
//! memory than there is, which ends the process. Read files of your own making.

use std::io::Cursor;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, Schema, TimeUnit};

use super::columns::{Heading, Kind, Namer, Roles};
use super::samples::Samples;
use super::{FileFault, FileOptions, times};

/// Reads an Arrow file.
pub(super) fn read_file(bytes: Vec<u8>, options: &FileOptions) -> Result<Samples, FileFault> {
    let format = "Arrow file";
    let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(|error| invalid(format, &error))?;
    let schema = reader.schema();
    collect(&schema, reader, format, options)
}

/// Reads an Arrow stream.
pub(super) fn read_stream(bytes: &[u8], options: &FileOptions) -> Result<Samples, FileFault> {
    let format = "Arrow stream";
    let reader = StreamReader::try_new(bytes, None).map_err(|error| invalid(format, &error))?;
    let schema = reader.schema();
    collect(&schema, reader, format, options)
}

pub(super) fn invalid(format: &'static str, error: &impl ToString) -> FileFault {
    FileFault::Format { format, message: error.to_string() }
}

/// A cell that is not what it should be.
pub(super) fn bad_cell(line: u64, column: &str, text: &str, wanted: &'static str) -> FileFault {
    let text = text.chars().take(60).collect();
    FileFault::Cell { line, column: column.to_string(), text, wanted }
}

/// The samples of all batches.
pub(super) fn collect(
    schema: &Schema,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    format: &'static str,
    options: &FileOptions,
) -> Result<Samples, FileFault> {
    let fields = schema.fields().iter();
    let headings: Vec<Heading> =
        fields.map(|field| Heading { name: field.name().clone(), kind: kind(field.data_type()) }).collect();
    let roles = Roles::new(&headings, options)?;
    let mut namer = Namer::new(&headings, &roles);
    let (mut samples, mut line) = (Samples::new(options.rows), 0);
    for batch in batches {
        let batch = batch.map_err(|error| invalid(format, &error))?;
        Batch::new(&batch, &headings, &roles)?.push(&mut samples, &mut namer, line)?;
        line += batch.num_rows() as u64;
    }
    Ok(samples.finish())
}

fn kind(data: &DataType) -> Kind {
    match data {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Kind::Time,
        DataType::Boolean => Kind::Flag,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Dictionary(_, value) => kind(value),
        data if data.is_numeric() || *data == DataType::Null => Kind::Number,
        _ => Kind::Other,
    }
}

/// The columns of one batch that are read, as what they are read as.
struct Batch<'a> {
    headings: &'a [Heading],
    roles: &'a Roles,
    times: Vec<Option<i64>>,
    time: ArrayRef,
    values: Vec<Float64Array>,
    truth: Option<Float64Array>,
    texts: Vec<Option<StringArray>>,
}

impl<'a> Batch<'a> {
    fn new(batch: &RecordBatch, headings: &'a [Heading], roles: &'a Roles) -> Result<Self, FileFault> {
        let column = |at: usize| (headings[at].name.as_str(), batch.column(at));
        let (name, time) = column(roles.time);
        let numbers = |at: &usize| {
            let (name, array) = column(*at);
            Ok(cast(name, array, &DataType::Float64, "numbers")?.as_primitive::<Float64Type>().clone())
        };
        let values = roles.values.iter().map(numbers);
        let mut texts = vec![None; headings.len()];
        for at in roles.series.iter().chain(&roles.labels) {
            let (name, array) = column(*at);
            texts[*at] = Some(cast(name, array, &DataType::Utf8, "text")?.as_string::<i32>().clone());
        }
        let values = values.collect::<Result<_, FileFault>>()?;
        let truth = roles.truth.as_ref().map(numbers).transpose()?;
        Ok(Self { headings, roles, times: millis(name, time)?, time: time.clone(), values, truth, texts })
    }

    fn push(&self, samples: &mut Samples, namer: &mut Namer, before: u64) -> Result<(), FileFault> {
        for (row, time) in self.times.iter().enumerate() {
            let line = before + row as u64 + 1;
            let time = time.ok_or_else(|| {
                let text = arrow_cast::display::array_value_to_string(&self.time, row).unwrap_or_default();
                bad_cell(line, &self.headings[self.roles.time].name, &text, "time")
            })?;
            let text = |at: usize| match &self.texts[at] {
                Some(texts) if texts.is_valid(row) => texts.value(row),
                _ => "",
            };
            let number = |column: &Float64Array| if column.is_valid(row) { column.value(row) } else { f64::NAN };
            let is_anomaly = self.truth.as_ref().map(|truth| number(truth) > 0.0);
            let series = namer.series(samples, line, text)?;
            for (values, series) in self.values.iter().zip(series) {
                samples.push(*series, time, number(values), is_anomaly);
            }
        }
        Ok(())
    }
}

fn cast(name: &str, array: &ArrayRef, to: &DataType, wanted: &'static str) -> Result<ArrayRef, FileFault> {
    let wrong = || FileFault::Type { column: name.to_string(), found: array.data_type().to_string(), wanted };
    if matches!(kind(array.data_type()), Kind::Other)
        || matches!(array.data_type(), DataType::Null) && wanted == "times"
    {
        return Err(wrong());
    }
    arrow_cast::cast(array, to).map_err(|_| wrong())
}

/// The times of a column in milliseconds; `None` where a cell is no time.
fn millis(name: &str, array: &ArrayRef) -> Result<Vec<Option<i64>>, FileFault> {
    let cast = |to: &DataType| cast(name, array, to, "times");
    Ok(match array.data_type() {
        DataType::Timestamp(_, zone) => {
            // The zone stays, so that the numbers stay in UTC.
            let cast = cast(&DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?;
            cast.as_primitive::<TimestampMillisecondType>().iter().map(in_range).collect()
        }
        DataType::Date32 | DataType::Date64 => {
            let cast = cast(&DataType::Timestamp(TimeUnit::Millisecond, None))?;
            cast.as_primitive::<TimestampMillisecondType>().iter().map(in_range).collect()
        }
        data if data.is_integer() => {
            let cast = cast(&DataType::Int64)?;
            cast.as_primitive::<Int64Type>().iter().map(|cell| cell.and_then(times::from_integer)).collect()
        }
        data if data.is_numeric() => {
            let cast = cast(&DataType::Float64)?;
            cast.as_primitive::<Float64Type>().iter().map(|cell| cell.and_then(times::from_number)).collect()
        }
        DataType::Dictionary(_, value) if kind(value) == Kind::Time => millis(name, &cast(value)?)?,
        _ => {
            let cast = cast(&DataType::Utf8)?;
            cast.as_string::<i32>().iter().map(|cell| cell.and_then(times::from_text)).collect()
        }
    })
}

/// The time, if it is one that can be reckoned with.
fn in_range(cell: Option<i64>) -> Option<i64> {
    cell.filter(|millis| times::RANGE.contains(millis))
}

/// An array of texts, a missing label being null.
pub(super) fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(texts))
}
