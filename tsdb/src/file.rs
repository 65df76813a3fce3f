//! Series from a file: CSV, Parquet and Arrow, as other programs write them.
//!
//! The content says what the format is, not the file's name; gzip around it is undone. Two layouts are read.
//! *Long* has one value a row: a time, a value, and columns that name the series. *Wide* has a column of numbers for
//! each series. Which is meant, and which column is what, is guessed from names and contents where [`FileOptions`]
//! doesn't say it.

pub mod arrow;
pub mod csv;
pub mod parquet;

mod columns;
mod samples;
mod selector;
mod table;
mod times;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::frame::Frame;
use crate::labels::LabelError;
use crate::read::{Answer, Bound, Limits, RangeQuery, Read, ReadError, ReadFault};
use crate::time::{Step, Timestamp};
use samples::Samples;

/// What the columns of a file are, where they shall not be guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The column of the times.
    pub time: Option<String>,
    /// The column of the values; makes the layout long. A column of anomaly labels is read when it is named here.
    pub value: Option<String>,
    /// The column that names the series, as `name` or `name{label="value"}`.
    pub series: Option<String>,
    /// The columns that become labels; where empty, all columns of text.
    pub labels: Vec<String>,
    /// How series lie in the file.
    pub layout: Option<Layout>,
    /// The distance between points; where absent, guessed from the times.
    pub step: Option<Step>,
    /// Whether the rows are kept as they stand in the file, beside the series: see [`File::rows`].
    pub rows: bool,
}

/// One value of a file as it stands there, gaps and doubles too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The row of its series in [`File::frame`].
    pub series: usize,
    /// Its time.
    pub time: Timestamp,
    /// What a column `label`, `is_anomaly` or `anomaly` says of it; `None` where there is no such column.
    pub is_anomaly: Option<bool>,
}

/// How series lie in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One value a row.
    Long,
    /// One column a series, or a metric.
    Wide,
}

/// Why a file can't be read as series.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct FileError {
    /// The path, or what the caller called the bytes.
    pub file: String,
    /// What is wrong.
    pub fault: FileFault,
}

/// What can be wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// The file is missing, is a folder, or can't be read.
    #[error("{0}")]
    Io(String),
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// There is a header and nothing else.
    #[error("there is no row of data")]
    NoRows,
    /// Neither of the binary formats, and no UTF-8 either.
    #[error("line {line} is not UTF-8, and the file is neither Parquet nor Arrow")]
    NotText {
        /// Counted from 1.
        line: u64,
    },
    /// The format's own reader gave up.
    #[error("no valid {format}: {message}")]
    Format {
        /// `gzip`, `CSV`, `Parquet`, `Arrow file` or `Arrow stream`.
        format: &'static str,
        /// The reader's words.
        message: String,
    },
    /// A row has more or fewer cells than the header.
    #[error("line {line} has {found} cells where the header has {expected}")]
    Ragged {
        /// Counted from 1.
        line: u64,
        /// Cells in the header.
        expected: u64,
        /// Cells in this row.
        found: u64,
    },
    /// Two columns have the same name.
    #[error("there are two columns `{0}`")]
    TwoColumns(String),
    /// An option names a column that isn't there.
    #[error("there is no column `{column}`; there are {}", list(.found))]
    NoColumn {
        /// The column asked for.
        column: String,
        /// The columns there are.
        found: Vec<String>,
    },
    /// No column has the name or the content of a time.
    #[error("no column is a time; there are {}. Name it by the option `time`", list(.0))]
    NoTime(Vec<String>),
    /// No column holds numbers to read.
    #[error("no column beside the time holds values; there are {}", list(.0))]
    NoValues(Vec<String>),
    /// A column whose type can't be what it is asked to be.
    #[error("the column `{column}` of type {found} can't be read as {wanted}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A cell that is not what its column is.
    #[error("line {line}, column `{column}`: `{text}` is not a {wanted}")]
    Cell {
        /// The line of a text file, or the row of a binary one; counted from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is in the cell, cut to a readable length.
        text: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// A series whose name is none.
    #[error("line {line}: {error}")]
    Series {
        /// The line or row of its first sample; counted from 1.
        line: u64,
        /// What is wrong.
        error: LabelError,
    },
    /// The grid would be beyond all measure: usually one wrong time, or too small a step.
    #[error("{series} series of {points} points of {step_seconds} s are too many; is a time or the step wrong?")]
    TooLarge {
        /// Series in the file.
        series: usize,
        /// Points from the first time to the last.
        points: u64,
        /// The step, as text.
        step_seconds: String,
    },
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none".to_string(),
        n if n > 20 => format!("{}, and {} more", quoted.join(", "), n - 20),
        _ => quoted.join(", "),
    }
}

/// The series of one file, in memory. Cheap to clone.
#[derive(Clone)]
pub struct File {
    name: Arc<str>,
    samples: Arc<Samples>,
    step: Step,
}

impl File {
    /// Reads the file at `path`. Blocks.
    ///
    /// # Errors
    /// Whatever keeps any part of it from being read: nothing is left out in silence but gaps.
    pub fn open(path: impl AsRef<Path>, options: &FileOptions) -> Result<Self, FileError> {
        let name = path.as_ref().display().to_string();
        match std::fs::read(path.as_ref()) {
            Ok(bytes) => Self::from_bytes(&name, bytes, options),
            Err(error) => Err(FileError { file: name, fault: FileFault::Io(error.to_string()) }),
        }
    }

    /// Reads the bytes of a file, such as standard input; `name` is what errors call it.
    ///
    /// # Errors
    /// As for [`File::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>, options: &FileOptions) -> Result<Self, FileError> {
        let samples = load(bytes, options).map_err(|fault| FileError { file: name.to_string(), fault })?;
        let step = options.step.unwrap_or_else(|| samples.step());
        Ok(Self { name: name.into(), samples: Arc::new(samples), step })
    }

    /// The step that the options name, or else the most frequent distance between times (each rounded to a usual one
    /// where it is within 2 % of that) among the first thousand of each series. One minute where the file has one time
    /// only.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Every value in the order of the file; none unless the options asked for them.
    pub fn rows(&self) -> &[Row] {
        self.samples.rows()
    }

    /// What the reader should know: times that are there twice.
    pub fn warnings(&self) -> Vec<String> {
        self.samples.warnings()
    }

    /// All series from the first time to the last, on the grid of `step`, or else of [`File::step`]. A sample
    /// stands at the nearest point, the latest one where there are several. The grid is that of the multiples of
    /// the step, unless most of the first thousand times of each series are off those by more than 2 %: then it begins at
    /// the first time.
    ///
    /// # Errors
    /// The frame would have more than 200 million points.
    pub fn frame(&self, step: Option<Step>) -> Result<Frame, FileError> {
        let frame = self.samples.frame(step.unwrap_or(self.step));
        frame.map_err(|fault| FileError { file: self.name.to_string(), fault })
    }

    fn select(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadFault> {
        let selector = selector::Selector::parse(query.query())?;
        let rows: Vec<usize> = self.samples.matching(|labels| selector.matches(labels));
        let too_large = |bound, limit| Err(ReadFault::TooLarge { bound, limit });
        if rows.len() > limits.series {
            return too_large(Bound::Series, limits.series as u64);
        }
        if rows.len().saturating_mul(query.points()) > limits.samples {
            return too_large(Bound::Samples, limits.samples as u64);
        }
        let (frame, bytes) = self.samples.range(&rows, query, self.step);
        if bytes > limits.bytes {
            return too_large(Bound::Bytes, limits.bytes);
        }
        Ok(Answer { frame, warnings: self.warnings(), bytes })
    }
}

/// A file answers a selector, such as `cpu{host=~"web.*"}`; an empty query asks for all series. The value at a point
/// of the grid is the last one of the step of the file up to that point, so nothing comes from the future.
#[async_trait]
impl Read for File {
    async fn read(&self, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
        let (file, owned, limits) = (self.clone(), query.clone(), *limits);
        tokio::task::spawn_blocking(move || file.select(&owned, &limits))
            .await
            .unwrap_or_else(|panic| Err(ReadFault::Local(format!("the read broke off: {panic}"))))
            .map_err(|fault| ReadError { query: query.query().to_string(), origin: self.name.to_string(), fault })
    }
}

fn load(bytes: Vec<u8>, options: &FileOptions) -> Result<Samples, FileFault> {
    let bytes = csv::gunzip(bytes)?;
    let samples = match bytes.get(..4) {
        _ if bytes.is_empty() => return Err(FileFault::Empty),
        Some(b"PAR1") => undamaged("Parquet", || parquet::read(bytes, options)),
        Some(b"ARRO") => undamaged("Arrow file", || arrow::read_file(bytes, options)),
        Some([0xff, 0xff, 0xff, 0xff]) => undamaged("Arrow stream", || arrow::read_stream(&bytes, options)),
        _ => csv::read(&bytes, options),
    }?;
    if samples.is_empty() { Err(FileFault::NoRows) } else { Ok(samples) }
}

/// The readers of the binary formats check most of what they read, but a damaged file can still make them panic.
fn undamaged(format: &'static str, read: impl FnOnce() -> Result<Samples, FileFault>) -> Result<Samples, FileFault> {
    let broken = || FileFault::Format { format, message: "the file is damaged".to_string() };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| Err(broken()))
}

#[cfg(test)]
mod tests;
