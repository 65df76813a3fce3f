//! The answer of `query_range`, parsed while it comes: bytes go in as the network brings them, values go straight
//! to their place in the frame. There is no tree, no struct a point, and no copy of the body.
//!
//! The parser is a machine of a few places (in the answer, in a series, among its values, …). In each it takes one
//! whole unit at a time: a key, a label, a point. What a chunk has of a unit that it doesn't end is carried over and
//! completed by the next chunk. Where units are short and many, among the values, a fast loop takes those that lie
//! wholly in the chunk: it knows by heart how the next point's time is written, compares sixteen bytes, and reads the
//! value's digits eight at a time. Whatever it does not know at sight is left to the general path, so that the two
//! can't differ in what they accept.

mod cursor;
mod number;
mod points;
mod rows;

use std::sync::Arc;

use cursor::{Cursor, Stop};
pub use rows::Rows;

use crate::labels::Labels;
use crate::read::ReadFault;

/// How deep a value of no interest may be nested.
const DEPTH: usize = 64;

/// Where in the answer the parser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Answer,
    Data,
    Result,
    Series,
    Metric,
    Values,
    Warnings,
    Skip,
    End,
}

/// Parses one answer into [`Rows`].
pub struct Parser<'a> {
    rows: &'a mut Rows,
    place: Place,
    /// Whether nothing came yet in the object or array that we are in.
    first: bool,
    /// What a chunk had of a unit that it didn't end.
    carry: Vec<u8>,
    /// The carry is looked at again when it is this long.
    patience: usize,
    /// How many bytes of the body are behind the slice at hand.
    offset: u64,
    /// How the time of every point is written.
    texts: Vec<u128>,
    key: String,
    text: String,
    skip: Skip,
    series: Series,
    head: Head,
}

/// What is left out: the brackets that are open, and where to go on after the last.
#[derive(Default)]
struct Skip {
    open: Vec<u8>,
    back: Option<Place>,
}

/// The series that is being read.
#[derive(Default)]
struct Series {
    labels: Option<Labels>,
    pairs: Vec<(Arc<str>, Arc<str>)>,
    row: Option<usize>,
    /// The point after the last that came.
    next: usize,
    /// Whether any value was no gap.
    any: bool,
    histograms: bool,
}

/// What the answer says beside its series.
#[derive(Default)]
struct Head {
    status: Option<String>,
    result_type: Option<String>,
    error_type: Option<String>,
    error: Option<String>,
    partial: bool,
    result: bool,
}

impl<'a> Parser<'a> {
    /// A parser of the answer for the piece that `rows` is at.
    pub fn new(rows: &'a mut Rows) -> Self {
        Self {
            texts: points::texts(rows),
            rows,
            place: Place::Start,
            first: true,
            carry: vec![],
            patience: 0,
            offset: 0,
            key: String::new(),
            text: String::new(),
            skip: Skip::default(),
            series: Series::default(),
            head: Head::default(),
        }
    }

    /// Takes the next bytes of the decompressed body.
    ///
    /// # Errors
    /// What is wrong with the answer so far. The parser is of no use after that.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ReadFault> {
        self.rows.count(chunk.len())?;
        let taken = self.finish_carry(chunk)?;
        let rest = &chunk[taken..];
        let done = self.advance(rest)?;
        self.carry.extend_from_slice(&rest[done..]);
        self.patience = patience(self.carry.len());
        Ok(())
    }

    /// Completes the carried unit from the beginning of `chunk`; how much of `chunk` is then done. If it is all of
    /// it, something may still be carried.
    fn finish_carry(&mut self, chunk: &[u8]) -> Result<usize, ReadFault> {
        let mut taken = 0;
        while !self.carry.is_empty() && taken < chunk.len() {
            let before = self.carry.len();
            let more = before.max(2 * points::POINT_BYTES).min(chunk.len() - taken);
            self.carry.extend_from_slice(&chunk[taken..taken + more]);
            taken += more;
            if self.carry.len() < self.patience {
                continue;
            }
            let carry = std::mem::take(&mut self.carry);
            let done = self.advance(&carry)?;
            self.carry = carry;
            if done >= before {
                self.carry.clear();
                return Ok(taken - more + (done - before));
            }
            self.carry.drain(..done);
            self.patience = patience(self.carry.len());
        }
        Ok(taken)
    }

    /// How many bytes came so far.
    pub fn bytes(&self) -> u64 {
        self.rows.piece_bytes()
    }

    /// The end of the body: whether the answer was whole and good.
    ///
    /// # Errors
    /// An answer that ends in the middle, or says that it is an error, a part, or no matrix.
    pub fn finish(mut self) -> Result<(), ReadFault> {
        let carry = std::mem::take(&mut self.carry);
        self.advance(&carry)?;
        if self.place != Place::End {
            return Err(ReadFault::Truncated { bytes: self.rows.piece_bytes() });
        }
        let malformed = |message: &str| ReadFault::Malformed { offset: self.offset, message: message.to_string() };
        match self.head.status.as_deref() {
            Some("success") => {}
            Some("error") => return Err(self.head.query_fault()),
            Some(other) => return Err(malformed(&format!("the status is `{other}`, not `success` or `error`"))),
            None => return Err(malformed("there is no `status`")),
        }
        if self.head.partial {
            let message = "the server could not read all of the data (`isPartial`)".to_string();
            return Err(ReadFault::Query { kind: "partial".to_string(), message });
        }
        if self.head.result_type.is_none() {
            return Err(malformed("there is no `resultType`"));
        }
        if self.head.result { Ok(()) } else { Err(malformed("there is no `result`")) }
    }

    /// Takes all units that end in `bytes`: how many bytes that were.
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, ReadFault> {
        let mut cursor = Cursor { bytes, at: 0 };
        loop {
            let done = cursor.at;
            match self.unit(&mut cursor) {
                Ok(()) => {}
                Err(Stop::More) => {
                    self.offset += done as u64;
                    return Ok(done);
                }
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Wrong(at, message)) => {
                    return Err(ReadFault::Malformed { offset: self.offset + at as u64, message });
                }
            }
        }
    }

    /// Takes one unit. Where it is not all there, nothing but the cursor and the scratch texts has changed.
    fn unit(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        match self.place {
            Place::Start => {
                cursor.expect(b'{', "at the start of the answer")?;
                self.enter(Place::Answer)
            }
            Place::Answer => self.answer(cursor)?,
            Place::Data => self.data(cursor)?,
            Place::Result => self.result(cursor)?,
            Place::Series => self.series(cursor)?,
            Place::Metric => self.metric(cursor)?,
            Place::Values => self.values(cursor)?,
            Place::Warnings => self.warning(cursor)?,
            Place::Skip => self.skipped(cursor)?,
            Place::End => {
                cursor.peek()?;
                return cursor.wrong("there is text after the end of the answer");
            }
        }
        Ok(())
    }

    /// Goes into an object or array.
    fn enter(&mut self, place: Place) {
        self.place = place;
        self.first = true;
    }

    /// Goes on in `place`, where something has come already.
    fn back(&mut self, place: Place) {
        self.place = place;
        self.first = false;
    }

    /// A member of the outermost object.
    fn answer(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.key(self.first, &mut self.key)? {
            self.back(Place::End);
            return Ok(());
        }
        match self.key.as_str() {
            "status" => once(cursor, "status", &mut self.head.status, &mut self.text)?,
            "errorType" => once(cursor, "errorType", &mut self.head.error_type, &mut self.text)?,
            "error" => once(cursor, "error", &mut self.head.error, &mut self.text)?,
            "isPartial" => self.head.partial |= partial(cursor)?,
            "warnings" | "infos" if cursor.peek()? != b'n' => {
                cursor.expect(b'[', "at the start of the warnings")?;
                self.enter(Place::Warnings);
                return Ok(());
            }
            "data" if cursor.peek()? != b'n' => {
                cursor.expect(b'{', "at the start of `data`")?;
                self.enter(Place::Data);
                return Ok(());
            }
            _ => return self.skip(cursor),
        }
        self.first = false;
        Ok(())
    }

    /// A member of `data`.
    fn data(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.key(self.first, &mut self.key)? {
            self.back(Place::Answer);
            return Ok(());
        }
        match self.key.as_str() {
            "resultType" => {
                once(cursor, "resultType", &mut self.head.result_type, &mut self.text)?;
                if self.text != "matrix" {
                    return cursor.wrong(format!("the `resultType` is `{}`, not `matrix`", self.text));
                }
                self.first = false;
            }
            "result" if self.head.result => return cursor.wrong("`result` is there twice"),
            "result" => {
                cursor.expect(b'[', "at the start of `result`")?;
                self.head.result = true;
                self.enter(Place::Result);
            }
            _ => return self.skip(cursor),
        }
        Ok(())
    }

    /// The start of a series.
    fn result(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.element(self.first)? {
            self.back(Place::Data);
            return Ok(());
        }
        cursor.expect(b'{', "at the start of a series")?;
        self.series = Series { pairs: std::mem::take(&mut self.series.pairs), ..Series::default() };
        self.enter(Place::Series);
        Ok(())
    }

    /// A member of a series.
    fn series(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.key(self.first, &mut self.key)? {
            self.end_series(cursor)?;
            self.back(Place::Result);
            return Ok(());
        }
        match self.key.as_str() {
            "metric" if self.series.labels.is_some() => return cursor.wrong("`metric` is there twice in a series"),
            "values" if self.series.row.is_some() => return cursor.wrong("`values` is there twice in a series"),
            "metric" => {
                cursor.expect(b'{', "at the start of a series' labels")?;
                self.series.pairs.clear();
                self.enter(Place::Metric);
            }
            "values" => {
                cursor.expect(b'[', "at the start of a series' values")?;
                self.series.row = Some(self.rows.row(self.series.labels.as_ref()).map_err(Stop::Fault)?);
                self.enter(Place::Values);
            }
            other => {
                self.series.histograms |= other == "histograms";
                return self.skip(cursor);
            }
        }
        Ok(())
    }

    fn end_series(&mut self, cursor: &Cursor<'_>) -> Result<(), Stop> {
        let Some(labels) = self.series.labels.take() else { return cursor.wrong("a series without `metric`") };
        if self.series.histograms {
            self.rows.warn("native histograms are left out");
        }
        match self.series.row {
            Some(row) if self.series.any => self.rows.name(row, labels).map_err(Stop::Fault)?,
            Some(_) => self.rows.leave_out(),
            None if self.series.histograms => {}
            None => return cursor.wrong("a series without `values`"),
        }
        Ok(())
    }

    /// A label.
    fn metric(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if cursor.key(self.first, &mut self.key)? {
            cursor.string(&mut self.text)?;
            let interner = self.rows.interner();
            self.series.pairs.push((interner.intern(&self.key), interner.intern(&self.text)));
            self.first = false;
            return Ok(());
        }
        let labels = Labels::new(self.series.pairs.drain(..));
        self.series.labels = Some(labels.or_else(|e| cursor.wrong(e.to_string()))?);
        self.back(Place::Series);
        Ok(())
    }

    fn warning(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.element(self.first)? {
            self.back(Place::Answer);
            return Ok(());
        }
        cursor.string(&mut self.text)?;
        self.rows.warn(&self.text);
        self.first = false;
        Ok(())
    }

    /// Leaves out the value of a key.
    fn skip(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        match cursor.peek()? {
            open @ (b'{' | b'[') => {
                cursor.at += 1;
                self.skip.open.push(open);
                self.skip.back = Some(self.place);
                self.enter(Place::Skip);
            }
            _ => {
                cursor.skip_scalar(&mut self.text)?;
                self.first = false;
            }
        }
        Ok(())
    }

    /// One member or element of what is left out.
    fn skipped(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let more = match self.skip.open.last() {
            Some(b'{') => cursor.key(self.first, &mut self.key)?,
            _ => cursor.element(self.first)?,
        };
        if !more {
            self.skip.open.pop();
            self.first = false;
            if self.skip.open.is_empty() {
                self.place = self.skip.back.take().expect("whoever skips says where to go on");
            }
            return Ok(());
        }
        match cursor.peek()? {
            b'{' | b'[' if self.skip.open.len() == DEPTH => cursor.wrong(format!("nested more than {DEPTH} deep")),
            open @ (b'{' | b'[') => {
                cursor.at += 1;
                self.skip.open.push(open);
                self.first = true;
                Ok(())
            }
            _ => {
                cursor.skip_scalar(&mut self.text)?;
                self.first = false;
                Ok(())
            }
        }
    }
}

impl Head {
    fn query_fault(self) -> ReadFault {
        ReadFault::Query {
            kind: self.error_type.unwrap_or_else(|| "unknown".to_string()),
            message: self.error.unwrap_or_else(|| "the server says no more".to_string()),
        }
    }
}

/// The length from which a carry of `length` bytes is worth another look: at once while it is short; a long one has
/// to grow by half, so that a long string in short chunks isn't read from its start for each.
fn patience(length: usize) -> usize {
    if length < 4096 { 0 } else { length + length / 2 }
}

/// A string that may come once.
fn once(cursor: &mut Cursor<'_>, name: &str, slot: &mut Option<String>, text: &mut String) -> Result<(), Stop> {
    if slot.is_some() {
        return cursor.wrong(format!("`{name}` is there twice"));
    }
    cursor.string(text)?;
    *slot = Some(text.clone());
    Ok(())
}

fn partial(cursor: &mut Cursor<'_>) -> Result<bool, Stop> {
    match cursor.word()? {
        b"true" => Ok(true),
        b"false" | b"null" => Ok(false),
        other => cursor.wrong(format!("`isPartial` is `{}`", other.escape_ascii())),
    }
}

#[cfg(test)]
mod tests;
