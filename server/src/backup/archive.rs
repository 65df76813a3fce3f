//! The archive: lines of JSON, compressed by gzip.
//!
//! The first line says what it is and where it comes from. Each table is a line with its columns, and then a line for
//! each row. The last line has the number of rows of each table and the SHA-256 of all the lines before it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tsdb::Timestamp;

use super::Summary;
use super::tables::Column;

/// What the first line calls itself.
const FORMAT: &str = "openanomaly-backup";

/// The version of the format.
const FORMAT_VERSION: u32 = 1;

/// The longest line that is read: more than any row that the service writes.
const LONGEST_LINE: u64 = 1 << 28;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be written.
    #[error("writing the backup: {0}")]
    Write(#[from] io::Error),
    /// It is none.
    #[error("{path} is no backup of openanomaly: {reason}", path = path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It is not as it was written.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

impl ArchiveError {
    /// The file at `path` can't be used.
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What the file is.
    format: String,
    /// The version of the format.
    format_version: u32,
    /// The program that wrote it.
    pub version: String,
    /// The newest migration of the database.
    pub migration: i64,
    /// When it was written, RFC 3339.
    pub created: String,
}

impl Header {
    /// The header of a copy that is made at `now` of a database with this migration.
    pub(super) fn new(migration: i64, now: Timestamp) -> Self {
        Self {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            migration,
            created: now.to_string(),
        }
    }
}

/// A line after the first.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Row(Vec<Value>),
    Table { table: String, columns: Vec<Column> },
    End { rows: Vec<(String, u64)>, sha256: String },
}

/// Writes an archive.
pub(super) struct Writer<W: Write> {
    out: BufWriter<GzEncoder<W>>,
    hash: Sha256,
    summary: Summary,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, header: Header) -> Result<Self, ArchiveError> {
        let out = BufWriter::new(GzEncoder::new(out, Compression::default()));
        let mut writer = Self { out, hash: Sha256::new(), summary: Summary { header: header.clone(), rows: vec![] } };
        writer.put(&header)?;
        Ok(writer)
    }

    pub(super) fn table(&mut self, name: &str, columns: &[Column]) -> Result<(), ArchiveError> {
        self.summary.rows.push((name.to_owned(), 0));
        self.put(&Line::Table { table: name.to_owned(), columns: columns.to_vec() })
    }

    /// A row of the last table.
    pub(super) fn row(&mut self, values: &[Value]) -> Result<(), ArchiveError> {
        if let Some((_, rows)) = self.summary.rows.last_mut() {
            *rows += 1;
        }
        self.put(&values)
    }

    pub(super) fn finish(mut self) -> Result<Summary, ArchiveError> {
        let sha256 = hex(self.hash.clone());
        self.put(&Line::End { rows: self.summary.rows.clone(), sha256 })?;
        let encoder = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        encoder.finish()?.flush()?;
        Ok(self.summary)
    }

    fn put(&mut self, line: &impl Serialize) -> Result<(), ArchiveError> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
        text.push(b'\n');
        self.hash.update(&text);
        Ok(self.out.write_all(&text)?)
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens the archive at `path`.
pub(super) fn open(path: &Path) -> Result<File, ArchiveError> {
    File::open(path).map_err(|error| ArchiveError::file(path, error))
}

/// A table that begins, or a row of the one that began last.
pub(super) enum Entry {
    Table { name: String, columns: Vec<Column> },
    Row(Vec<Value>),
}

/// Reads an archive, and checks it while it goes.
pub(super) struct Reader<'a> {
    lines: BufReader<MultiGzDecoder<BufReader<&'a File>>>,
    path: &'a Path,
    hash: Sha256,
    summary: Summary,
}

impl<'a> Reader<'a> {
    /// Begins with the first line.
    pub(super) fn begin(file: &'a File, path: &'a Path) -> Result<Self, ArchiveError> {
        let foreign = |reason: String| ArchiveError::Foreign { path: path.to_owned(), reason };
        if file.metadata().is_ok_and(|file| file.len() == 0) {
            return Err(foreign("it is empty".into()));
        }
        let mut lines = BufReader::new(MultiGzDecoder::new(BufReader::new(file)));
        let first = read_line(&mut lines).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Damaged { path: path.to_owned(), reason: error.to_string() },
            _ => foreign(error.to_string()),
        })?;
        let header: Header = serde_json::from_slice(&first).map_err(|error| foreign(error.to_string()))?;
        if header.format != FORMAT || header.format_version != FORMAT_VERSION {
            let Header { format, format_version, .. } = &header;
            let reason = format!("it is `{format}` of the version {format_version}, not {FORMAT} {FORMAT_VERSION}");
            return Err(foreign(reason));
        }
        let hash = Sha256::new_with_prefix(&first);
        Ok(Self { lines, path, hash, summary: Summary { header, rows: vec![] } })
    }

    /// The next table or row; `None` at the end, where all that was read has turned out to be what was written.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let text = read_line(&mut self.lines).map_err(|error| self.damaged(error))?;
        if text.is_empty() {
            return Err(self.damaged("it ends too early"));
        }
        match serde_json::from_slice(&text).map_err(|error| self.damaged(error))? {
            Line::End { rows, sha256 } => self.end(&rows, &sha256).map(|()| None),
            Line::Table { table: name, columns } => {
                self.hash.update(&text);
                self.summary.rows.push((name.clone(), 0));
                Ok(Some(Entry::Table { name, columns }))
            }
            Line::Row(values) => {
                self.hash.update(&text);
                if let Some((_, rows)) = self.summary.rows.last_mut() {
                    *rows += 1;
                }
                Ok(Some(Entry::Row(values)))
            }
        }
    }

    fn end(&mut self, rows: &[(String, u64)], sha256: &str) -> Result<(), ArchiveError> {
        if rows != self.summary.rows {
            return Err(self.damaged("the rows are not as many as it says"));
        }
        if hex(self.hash.clone()) != sha256 {
            return Err(self.damaged("its hash is not the one that it says"));
        }
        match read_line(&mut self.lines) {
            Ok(rest) if rest.is_empty() => Ok(()),
            _ => Err(self.damaged("something follows its end")),
        }
    }

    /// What was read so far.
    pub(super) fn summary(self) -> Summary {
        self.summary
    }

    pub(super) fn damaged(&self, reason: impl ToString) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.to_owned(), reason: reason.to_string() }
    }
}

/// A line with its end; nothing at the end of the file.
fn read_line(lines: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = vec![];
    lines.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.last().is_some_and(|last| *last != b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a line has no end"));
    }
    Ok(line)
}
