//! Comma-, semicolon- and tab-separated text.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use ::csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder, StringRecord};

use super::columns::{Heading, Kind, Namer, Roles};
use super::samples::Samples;
use super::{FileFault, FileOptions, arrow, times};
use crate::frame::Frame;

/// Rows that are looked at to see what a column holds.
const SAMPLE: usize = 1000;

/// What stands for a gap, beside an empty cell.
const GAPS: [&str; 6] = ["nan", "null", "none", "na", "n/a", "<na>"];

/// The bytes themselves, or what they hold where they are gzip.
pub(super) fn gunzip(bytes: Vec<u8>) -> Result<Vec<u8>, FileFault> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut out = vec![];
    let read = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut out);
    read.map_err(|error| FileFault::Format { format: "gzip", message: error.to_string() })?;
    Ok(out)
}

pub(super) fn read(bytes: &[u8], options: &FileOptions) -> Result<Samples, FileFault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        FileFault::NotText { line: before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1 }
    })?;
    if text.trim().is_empty() {
        return Err(FileFault::Empty);
    }
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter(text));
    let headings = headings(builder.from_reader(bytes))?;
    let roles = Roles::new(&headings, options)?;
    let mut reader = builder.from_reader(bytes);
    let mut namer = Namer::new(&headings, &roles);
    let mut samples = Samples::new(options.rows);
    let mut row = StringRecord::new();
    while reader.read_record(&mut row).map_err(fault)? {
        let line = row.position().map_or(0, ::csv::Position::line);
        let cell = |at: usize| row.get(at).unwrap_or("");
        let bad = |at: usize, wanted| arrow::bad_cell(line, &headings[at].name, cell(at), wanted);
        let time = times::from_text(cell(roles.time)).ok_or_else(|| bad(roles.time, "time"))?;
        let truth = roles.truth.filter(|_| samples.keeps_rows());
        let truth = truth.map(|at| number(cell(at)).ok_or_else(|| bad(at, "label (0 or 1)"))).transpose()?;
        let is_anomaly = truth.map(|number| number > 0.0);
        let series = namer.series(&mut samples, line, cell)?;
        for (value, row) in roles.values.iter().zip(series) {
            let number = number(cell(*value)).ok_or_else(|| bad(*value, "number"))?;
            samples.push(*row, time, number, is_anomaly);
        }
    }
    Ok(samples.finish())
}

fn fault(error: ::csv::Error) -> FileFault {
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => FileFault::Ragged {
            line: pos.as_ref().map_or(0, ::csv::Position::line),
            expected: *expected_len,
            found: *len,
        },
        _ => FileFault::Format { format: "CSV", message: error.to_string() },
    }
}

/// The separator that is most frequent in the first line, outside of quotes and braces.
fn delimiter(text: &str) -> u8 {
    let line = text.trim_start_matches(['\r', '\n']).lines().next().unwrap_or("");
    let (mut quoted, mut depth, mut counts) = (false, 0_usize, [0_usize; 3]);
    for byte in line.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => depth = depth.saturating_sub(1),
            b',' if !quoted && depth == 0 => counts[0] += 1,
            b';' if !quoted && depth == 0 => counts[1] += 1,
            b'\t' if !quoted && depth == 0 => counts[2] += 1,
            _ => {}
        }
    }
    let best = (0..3).rev().max_by_key(|at| counts[*at]).unwrap_or(0);
    b",;\t"[best]
}

/// The names of the columns, and what their first cells look like.
fn headings(mut reader: Reader<&[u8]>) -> Result<Vec<Heading>, FileFault> {
    let names: Vec<String> = reader.headers().map_err(fault)?.iter().map(|name| name.trim().to_string()).collect();
    let mut counts = vec![Counts::default(); names.len()];
    let mut row = ByteRecord::new();
    for _ in 0..SAMPLE {
        if !reader.read_byte_record(&mut row).map_err(fault)? {
            break;
        }
        for (count, cell) in counts.iter_mut().zip(row.iter()) {
            count.add(&String::from_utf8_lossy(cell));
        }
    }
    Ok(names.into_iter().zip(counts).map(|(name, counts)| Heading { name, kind: counts.kind() }).collect())
}

#[derive(Clone, Default)]
struct Counts {
    numbers: usize,
    flags: usize,
    times: usize,
    texts: usize,
}

impl Counts {
    fn add(&mut self, cell: &str) {
        match cell.trim() {
            gap if is_gap(gap) => {}
            flag if is_flag(flag).is_some() => self.flags += 1,
            number if number.parse::<f64>().is_ok() => self.numbers += 1,
            time if times::is_date(time) => self.times += 1,
            _ => self.texts += 1,
        }
    }

    /// The kind of most cells: so a column of numbers with one bad cell is one, and the cell is an error.
    fn kind(&self) -> Kind {
        let most = self.numbers.max(self.flags).max(self.times).max(self.texts);
        match most {
            0 => Kind::Number,
            most if most == self.numbers => Kind::Number,
            most if most == self.times => Kind::Time,
            most if most == self.flags => Kind::Flag,
            _ => Kind::Text,
        }
    }
}

fn is_gap(text: &str) -> bool {
    text.is_empty() || GAPS.iter().any(|gap| text.eq_ignore_ascii_case(gap))
}

fn is_flag(text: &str) -> Option<bool> {
    let is = |word| text.eq_ignore_ascii_case(word);
    if is("true") { Some(true) } else { is("false").then_some(false) }
}

/// The number in a cell; NaN where it is a gap.
fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    let flag = || is_flag(cell).map(|flag| f64::from(u8::from(flag)));
    if is_gap(cell) { Some(f64::NAN) } else { cell.parse().ok().or_else(flag) }
}

/// Writes frames of the same series and grid as one long table: `timestamp` (RFC 3339, UTC), a column for each
/// label, and a column of values for each frame, a gap being an empty cell.
///
/// # Errors
/// The frames are not of the same series and grid, or writing fails.
pub fn write_long(frames: &[(&str, &Frame)], writer: impl Write) -> io::Result<()> {
    let long = super::table::Long::new(frames)?;
    let mut writer = ::csv::Writer::from_writer(writer);
    writer.write_record(long.header())?;
    for (row, labels) in long.series().iter().enumerate() {
        for point in 0..long.points() {
            let time = Cow::Owned(long.time(point).to_string());
            let texts = long.labels().iter().map(|(_, label)| Cow::Borrowed(labels.get(label).unwrap_or("")));
            let values = frames.iter().map(|(_, frame)| text(frame.row(row)[point]));
            let cells = std::iter::once(time).chain(texts).chain(values.map(Cow::Owned));
            writer.write_record(cells.map(|cell| cell.into_owned()))?;
        }
    }
    writer.flush()
}

fn text(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}
