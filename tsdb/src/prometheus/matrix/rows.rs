//! The frame while it is filled, row by row and piece by piece.

use std::collections::HashMap;

use crate::frame::Frame;
use crate::labels::{Interner, Labels};
use crate::read::{Bound, Limits, RangeQuery, ReadFault};
use crate::time::{Step, Timestamp};

/// At most this many warnings are kept.
const WARNINGS: usize = 100;

/// The rows of a frame on the grid of a query, whose points come in one or more pieces, each a range of the grid.
/// The values are written straight to where they stay.
pub struct Rows {
    start: Timestamp,
    step: Step,
    points: usize,
    limits: Limits,
    series: Vec<Labels>,
    known: HashMap<Labels, usize>,
    /// For every row, the piece that wrote to it last.
    written: Vec<usize>,
    values: Vec<f64>,
    interner: Interner,
    warnings: Vec<String>,
    bytes: u64,
    piece: Piece,
}

/// What one request asks for: the points `first .. first + points`.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    number: usize,
    first: usize,
    points: usize,
    /// How many rows there were before it.
    rows: usize,
    /// How many bytes came before it.
    bytes: u64,
}

impl Rows {
    /// No rows yet, for the grid of `query`; the first piece is the whole of it.
    pub fn new(query: &RangeQuery, limits: &Limits) -> Self {
        Self {
            start: query.start(),
            step: query.step(),
            points: query.points(),
            limits: *limits,
            series: vec![],
            known: HashMap::new(),
            written: vec![],
            values: vec![],
            interner: Interner::default(),
            warnings: vec![],
            bytes: 0,
            piece: Piece { points: query.points(), ..Piece::default() },
        }
    }

    /// Goes on to the piece of `points` points from the point `first`.
    pub fn next_piece(&mut self, first: usize, points: usize) {
        let number = self.piece.number + 1;
        self.piece = Piece { number, first, points, rows: self.series.len(), bytes: self.bytes };
    }

    /// The first and the last point of this piece.
    pub fn piece_ends(&self) -> (Timestamp, Timestamp) {
        let last = (self.piece.points as i64 - 1) * self.step.millis();
        (self.piece_start(), Timestamp::from_millis(self.piece_start().millis() + last))
    }

    /// Forgets what came of this piece, so that it can come again.
    pub fn restart_piece(&mut self) {
        for labels in self.series.drain(self.piece.rows..) {
            self.known.remove(&labels);
        }
        self.written.truncate(self.piece.rows);
        self.values.truncate(self.piece.rows * self.points);
        for row in 0..self.piece.rows {
            self.values_of(row).fill(f64::NAN);
            self.written[row] = usize::MAX;
        }
        self.bytes = self.piece.bytes;
    }

    /// Counts bytes that came.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), ReadFault> {
        self.bytes += bytes as u64;
        if self.bytes > self.limits.bytes {
            return Err(ReadFault::TooLarge { bound: Bound::Bytes, limit: self.limits.bytes });
        }
        Ok(())
    }

    /// The bytes of this piece so far.
    pub(super) fn piece_bytes(&self) -> u64 {
        self.bytes - self.piece.bytes
    }

    pub(super) fn piece_points(&self) -> usize {
        self.piece.points
    }

    pub(super) fn piece_start(&self) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + self.piece.first as i64 * self.step.millis())
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    pub(super) fn interner(&mut self) -> &mut Interner {
        &mut self.interner
    }

    pub(super) fn warn(&mut self, text: &str) {
        if self.warnings.len() < WARNINGS && !self.warnings.iter().any(|known| known == text) {
            self.warnings.push(text.to_string());
        }
    }

    /// The row of `labels`: the one that an earlier piece has made, or a new one of gaps. Before the labels are
    /// known it is always a new one, which [`Self::name`] settles.
    pub(super) fn row(&mut self, labels: Option<&Labels>) -> Result<usize, ReadFault> {
        match labels.and_then(|labels| self.known.get(labels)) {
            Some(&row) => Ok(row),
            None => self.append(),
        }
    }

    fn append(&mut self) -> Result<usize, ReadFault> {
        let rows = self.series.len() + 1;
        if rows > self.limits.series {
            return Err(ReadFault::TooLarge { bound: Bound::Series, limit: self.limits.series as u64 });
        }
        let length = rows.checked_mul(self.points).filter(|&length| length <= self.limits.samples);
        let Some(length) = length else {
            return Err(ReadFault::TooLarge { bound: Bound::Samples, limit: self.limits.samples as u64 });
        };
        if length > self.values.capacity() {
            // By half, not by two, so that old and new together stay under three times what is held.
            let more = self.points.max((self.values.len() / 2).min(self.limits.samples - self.values.len()));
            self.values.reserve_exact(more);
        }
        self.values.resize(length, f64::NAN);
        Ok(rows - 1)
    }

    /// The values of this piece in `row`.
    #[inline]
    pub(super) fn values_of(&mut self, row: usize) -> &mut [f64] {
        let first = row * self.points + self.piece.first;
        &mut self.values[first..first + self.piece.points]
    }

    /// Ends the series whose values are in `row`.
    pub(super) fn name(&mut self, row: usize, labels: Labels) -> Result<(), ReadFault> {
        let number = self.piece.number;
        match self.known.get(&labels).copied() {
            Some(known) if self.written[known] == number => return Err(ReadFault::Duplicate(labels.to_string())),
            Some(known) => {
                self.written[known] = number;
                if known != row {
                    self.join(row, known);
                }
            }
            None => {
                self.known.insert(labels.clone(), row);
                self.series.push(labels);
                self.written.push(number);
            }
        }
        Ok(())
    }

    /// Puts the values of the last row, which was written before its labels were known, where they belong.
    fn join(&mut self, last: usize, row: usize) {
        let from = last * self.points + self.piece.first;
        let to = row * self.points + self.piece.first;
        self.values.copy_within(from..from + self.piece.points, to);
        self.values.truncate(last * self.points);
    }

    /// Forgets a series without values.
    pub(super) fn leave_out(&mut self) {
        self.values.truncate(self.series.len() * self.points);
    }

    /// The frame, the warnings, and how many bytes came in all pieces.
    ///
    /// # Errors
    /// Rows that make no frame, which the parser doesn't let through.
    pub fn finish(mut self) -> Result<(Frame, Vec<String>, u64), ReadFault> {
        self.values.shrink_to_fit();
        let frame = Frame::new(self.series, self.start, self.step, self.points, self.values)
            .map_err(|e| ReadFault::Malformed { offset: self.bytes, message: e.to_string() })?;
        Ok((frame, self.warnings, self.bytes))
    }
}
