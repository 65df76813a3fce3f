//! Scores as a file: a row for every row of the input, in its order and with its times.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use engine::Scored;
use tsdb::Timestamp;

use super::input::Table;
use super::replay::scored_cell;
use crate::cli::CliError;

/// What a file of scores holds. Times are seconds since 1970; what is not known is empty.
const COLUMNS: &str = "timestamp,anomaly_score,y,yhat,yhat_lower,yhat_upper";

/// The file of the scores of one input.
///
/// The points of a server are written as they are scored. The rows of a file may be those of many series in any order, so
/// that scores are kept until all are there.
pub(super) struct ScoreFile {
    path: PathBuf,
    out: BufWriter<File>,
    /// Where the scores of each series are: the number of the piece, and the row in it.
    places: Vec<(usize, usize)>,
    pieces: Vec<Scored>,
    has_names: bool,
}

impl ScoreFile {
    /// A file for the scores of `table` in `folder`, which is made where there is none.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn create(folder: &Path, table: &Table) -> Result<Self, CliError> {
        let name: String = table.name.chars().map(|c| if matches!(c, '/' | '\\' | ':') { '_' } else { c }).collect();
        let path = folder.join(name + ".csv");
        let has_names = table.frame.series().len() > 1;
        let titles = if has_names { format!("{COLUMNS},series\n") } else { format!("{COLUMNS}\n") };
        let open = || {
            fs::create_dir_all(folder)?;
            let mut out = BufWriter::with_capacity(1 << 16, File::create(&path)?);
            out.write_all(titles.as_bytes())?;
            Ok(out)
        };
        let out = open().map_err(|source| CliError::File { path: path.clone(), source })?;
        Ok(Self { path, out, places: vec![(0, 0); table.frame.series().len()], pieces: vec![], has_names })
    }

    /// Takes the scores of the series `rows` of the table.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn add(&mut self, table: &Table, rows: &[usize], scored: Scored) -> Result<(), CliError> {
        rows.iter().enumerate().for_each(|(at, row)| self.places[*row] = (self.pieces.len(), at));
        self.pieces.push(scored);
        if table.rows.is_none() {
            for &row in rows {
                for point in table.points(row) {
                    self.line(table, row, point.time, Some(point.cell)).map_err(|error| self.failed(error))?;
                }
            }
            // They are written, and not looked at again.
            self.pieces.clear();
        }
        Ok(())
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn finish(mut self, table: &Table) -> Result<(), CliError> {
        for row in table.rows.iter().flatten() {
            let line = self.line(table, row.series, row.time, table.cell(row.time));
            line.map_err(|error| self.failed(error))?;
        }
        self.out.flush().map_err(|error| self.failed(error))
    }

    fn line(&mut self, table: &Table, series: usize, time: Timestamp, cell: Option<usize>) -> io::Result<()> {
        let (piece, at) = self.places[series];
        let scored = &self.pieces[piece];
        let place = cell.and_then(|cell| scored_cell(table, scored, cell));
        let frames = [&scored.score, &scored.yhat, &scored.yhat_lower, &scored.yhat_upper];
        let [score, yhat, lower, upper] = frames.map(|frame| place.map_or(f64::NAN, |place| frame.row(at)[place]));
        let y = cell.map_or(f64::NAN, |cell| table.frame.row(series)[cell]);
        let out = &mut self.out;
        match time.millis() % 1000 {
            0 => write!(out, "{}", time.millis() / 1000)?,
            _ => write!(out, "{:.3}", time.seconds())?,
        }
        for value in [score, y, yhat, lower, upper] {
            if value.is_nan() { out.write_all(b",")? } else { write!(out, ",{value}")? }
        }
        if self.has_names {
            write!(out, ",\"{}\"", table.frame.series()[series].to_string().replace('"', "\"\""))?;
        }
        out.write_all(b"\n")
    }

    fn failed(&self, source: io::Error) -> CliError {
        CliError::File { path: self.path.clone(), source }
    }
}
