//! Parquet.

use std::io::{self, Write};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;

use super::samples::Samples;
use super::table::Long;
use super::{FileFault, FileOptions, arrow};
use crate::frame::Frame;

/// Rows decoded at once.
const ROWS: usize = 65_536;

pub(super) fn read(bytes: Vec<u8>, options: &FileOptions) -> Result<Samples, FileFault> {
    let format = "Parquet";
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes));
    let builder = builder.map_err(|error| arrow::invalid(format, &error))?.with_batch_size(ROWS);
    let schema = builder.schema().clone();
    let reader = builder.build().map_err(|error| arrow::invalid(format, &error))?;
    arrow::collect(&schema, reader, format, options)
}

/// Writes frames of the same series and grid as one long table: `timestamp` (milliseconds, UTC), a column of text
/// for each label, and a column of 64-bit floats for each frame, a gap being null. Compressed by zstd.
///
/// # Errors
/// The frames are not of the same series and grid, or writing fails.
pub fn write_long(frames: &[(&str, &Frame)], writer: impl Write + Send) -> io::Result<()> {
    let long = Long::new(frames)?;
    let fields = long.header().enumerate().map(|(at, name)| match at {
        0 => Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        at if at <= long.labels().len() => Field::new(name, DataType::Utf8, true),
        _ => Field::new(name, DataType::Float64, true),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(writer, schema.clone(), Some(properties)).map_err(io::Error::other)?;
    let series_a_batch = (ROWS / long.points().max(1)).max(1);
    for from in (0..long.series().len()).step_by(series_a_batch) {
        let rows = from..(from + series_a_batch).min(long.series().len());
        let batch = RecordBatch::try_new(schema.clone(), columns(&long, frames, rows)).map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
    }
    writer.close().map(drop).map_err(io::Error::other)
}

fn columns(long: &Long, frames: &[(&str, &Frame)], rows: std::ops::Range<usize>) -> Vec<ArrayRef> {
    let points = long.points();
    let times = rows.clone().flat_map(|_| (0..points).map(|point| long.time(point).millis()));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"));
    let labels = long.labels().iter().map(|(_, label)| {
        let series = &long.series()[rows.clone()];
        arrow::texts(series.iter().flat_map(|labels| std::iter::repeat_n(labels.get(label), points)))
    });
    let values = frames.iter().map(|(_, frame)| {
        let values = &frame.values()[rows.start * points..rows.end * points];
        let present = values.iter().map(|value| (!value.is_nan()).then_some(*value));
        Arc::new(Float64Array::from_iter(present)) as ArrayRef
    });
    std::iter::once(times).chain(labels).chain(values).collect()
}
