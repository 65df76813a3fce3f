//! The values of a series: the part of the answer that is nearly all of it.

use super::cursor::{Cursor, Stop};
use super::rows::Rows;
use super::{Parser, Place, number};

/// How many points' times are kept as text: those of the longest range that servers answer, with room.
const TEXTS: usize = 65_536;

/// The length of `,[1700000000,"`.
const TEXT_BYTES: usize = 14;

/// The fast loop only looks at points with this many bytes left: enough for the longest that it takes.
pub(super) const POINT_BYTES: usize = 48;

impl Parser<'_> {
    /// As many points as are easy, and one more.
    pub(super) fn values(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !self.first && self.plain_points(cursor) {
            return Ok(());
        }
        if !cursor.element(self.first)? {
            self.back(Place::Series);
            return Ok(());
        }
        cursor.expect(b'[', "at the start of a point")?;
        cursor.peek()?;
        let time = cursor.at;
        let millis = cursor.word()?;
        cursor.expect(b',', "between time and value")?;
        let value = self.value(cursor)?;
        cursor.expect(b']', "at the end of a point")?;
        let point = self.point(millis).map_err(|message| Stop::Wrong(time, message))?;
        self.set(point, value);
        self.first = false;
        Ok(())
    }

    /// A value, as a string or bare.
    fn value(&mut self, cursor: &mut Cursor<'_>) -> Result<f64, Stop> {
        let quoted = cursor.peek()? == b'"';
        let start = cursor.at;
        let number = if quoted {
            cursor.string(&mut self.text)?;
            number::value(self.text.as_bytes())
        } else {
            number::value(cursor.word()?)
        };
        let shown = || cursor.bytes[start..cursor.at].escape_ascii().to_string();
        number.ok_or_else(|| Stop::Wrong(start, format!("{} is no value", shown())))
    }

    /// Which point of the piece stands at the time that is written `text`.
    fn point(&self, text: &[u8]) -> Result<usize, String> {
        let shown = text.escape_ascii();
        let Some(millis) = number::millis(text) else { return Err(format!("`{shown}` is no time")) };
        let (start, step) = (self.rows.piece_start().millis(), self.rows.step().millis());
        let past = i128::from(millis) - i128::from(start);
        let nearest = (past + i128::from(step / 2)).div_euclid(i128::from(step));
        if (past - nearest * i128::from(step)).abs() > 1 {
            return Err(format!("the time {shown} is not on the grid of the query, every {step} ms"));
        }
        match usize::try_from(nearest) {
            Ok(point) if point >= self.rows.piece_points() => Err(format!("the time {shown} is after the query's end")),
            Ok(point) if point < self.series.next => Err(format!("the time {shown} does not come after the last one")),
            Ok(point) => Ok(point),
            Err(_) => Err(format!("the time {shown} is before the query's start")),
        }
    }

    fn set(&mut self, point: usize, value: f64) {
        let row = self.series.row.expect("the values of a series have a row");
        self.rows.values_of(row)[point] = value;
        self.series.next = point + 1;
        self.series.any |= !value.is_nan();
    }

    /// Takes points as long as each stands where the grid has the next one, is written in the usual way, and ends
    /// well within the bytes: whether there was any.
    fn plain_points(&mut self, cursor: &mut Cursor<'_>) -> bool {
        let row = self.series.row.expect("the values of a series have a row");
        let (mut rest, mut any) = (&cursor.bytes[cursor.at..], self.series.any);
        let start = self.series.next;
        let texts = self.texts.get(start..).unwrap_or_default();
        let slots = self.rows.values_of(row).get_mut(start..).unwrap_or_default();
        let mut count = 0;
        for (text, slot) in texts.iter().zip(slots) {
            let Some(bytes) = rest.first_chunk::<POINT_BYTES>() else { break };
            let Some((value, length)) = plain_point(bytes, *text) else { break };
            *slot = value;
            any |= !value.is_nan();
            rest = &rest[length..];
            count += 1;
        }
        cursor.at = cursor.bytes.len() - rest.len();
        self.series.next += count;
        self.series.any = any;
        count > 0
    }
}

/// The point at the start of `bytes` if its time is written `text`, and its length.
#[inline(always)]
fn plain_point(bytes: &[u8; POINT_BYTES], text: u128) -> Option<(f64, usize)> {
    const MASK: u128 = (1 << (8 * TEXT_BYTES)) - 1;
    let head = u128::from_le_bytes(*bytes.first_chunk()?);
    if head & MASK != text {
        return None;
    }
    let rest = &bytes[TEXT_BYTES..];
    let (value, length) = number::short(*rest.first_chunk()?).or_else(|| number::long(rest)).or_else(|| other(rest))?;
    let end = [*rest.get(length)?, *rest.get(length + 1)?];
    (end == *b"\"]").then_some((value, TEXT_BYTES + length + 2))
}

/// A value of any form that a quote ends within `text`.
fn other(text: &[u8]) -> Option<(f64, usize)> {
    let length = text.iter().position(|&byte| byte == b'"')?;
    Some((number::value(&text[..length])?, length))
}

/// How `,[TIME,"` is written for every point of the piece. Empty where times are no whole seconds of ten digits, as
/// they are from 2001 to 2286: then the general path reads them all.
pub(super) fn texts(rows: &Rows) -> Vec<u128> {
    let (start, step) = (rows.piece_start().millis(), rows.step().millis());
    let points = rows.piece_points().min(TEXTS) as i64;
    let last = start.saturating_add(step.saturating_mul(points - 1));
    let usual = 1_000_000_000_000..10_000_000_000_000;
    if start % 1000 != 0 || step % 1000 != 0 || !usual.contains(&start) || !usual.contains(&last) {
        return vec![];
    }
    (0..points).map(|point| text((start + point * step) / 1000)).collect()
}

fn text(mut seconds: i64) -> u128 {
    let mut bytes = *b",[0000000000,\"\0\0";
    for digit in bytes[2..12].iter_mut().rev() {
        *digit += (seconds % 10) as u8;
        seconds /= 10;
    }
    u128::from_le_bytes(bytes)
}
