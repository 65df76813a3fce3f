//! Protobuf's wire format, read field by field from a file of which only the fields that are asked for come to memory.
//!
//! A decoder that builds messages needs a hundred times the memory of a file of empty messages; this one needs none.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::Fault;

/// A file, read from front to back.
pub(super) struct Wire {
    file: BufReader<File>,
    at: u64,
}

/// A field's number, and its value where that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) value: Value,
}

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// An integer, an enum or a truth value.
    Varint(u64),
    /// Four or eight bytes, skipped.
    Fixed,
    /// Text, bytes, a message or packed numbers: so many bytes, which are still to be read or skipped.
    Bytes(u64),
}

impl Wire {
    pub(super) fn new(file: File) -> Self {
        Self { file: BufReader::with_capacity(1 << 16, file), at: 0 }
    }

    /// Where the `length` bytes that come next end.
    pub(super) fn end(&self, length: u64) -> u64 {
        self.at + length
    }

    /// The next field of the message that ends at `end`. What an earlier field holds must be read or skipped.
    pub(super) fn next(&mut self, end: u64) -> Result<Option<Field>, Fault> {
        if self.at >= end {
            return Ok(None);
        }
        let tag = self.varint(end)?;
        // Some readers cut a longer tag to 32 bits, and would find another field than we do.
        let tag = u32::try_from(tag).ok().filter(|tag| *tag >> 3 > 0).ok_or(Fault::Broken { at: self.at })?;
        let number = tag >> 3;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(end)?),
            1 => self.fixed(8, end)?,
            2 => {
                let length = self.varint(end)?;
                if length > end - self.at {
                    return Err(Fault::Truncated { at: self.at, wants: length, has: end - self.at });
                }
                Value::Bytes(length)
            }
            5 => self.fixed(4, end)?,
            _ => return Err(Fault::Broken { at: self.at }),
        };
        Ok(Some(Field { number, value }))
    }

    fn fixed(&mut self, bytes: u64, end: u64) -> Result<Value, Fault> {
        if bytes > end - self.at {
            return Err(Fault::Truncated { at: self.at, wants: bytes, has: end - self.at });
        }
        self.forward(bytes)?;
        Ok(Value::Fixed)
    }

    /// Passes over what a field holds.
    pub(super) fn skip(&mut self, value: Value) -> Result<(), Fault> {
        match value {
            Value::Bytes(length) => self.forward(length),
            Value::Varint(_) | Value::Fixed => Ok(()),
        }
    }

    /// What a field holds, at most `most` bytes.
    pub(super) fn bytes(&mut self, length: u64, what: &'static str, most: u64) -> Result<Vec<u8>, Fault> {
        if length > most {
            return Err(Fault::Limit { what, found: length, most });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact(&mut bytes)?;
        self.at += length;
        Ok(bytes)
    }

    /// An integer that ends before `end`.
    pub(super) fn varint(&mut self, end: u64) -> Result<u64, Fault> {
        let start = self.at;
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err(Fault::Truncated { at: start, wants: self.at - start + 1, has: end - start });
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            number |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::Broken { at: start })
    }

    /// Seeking past the end of a file succeeds, so that lengths are checked where they are read.
    fn forward(&mut self, bytes: u64) -> Result<(), Fault> {
        self.at += bytes;
        match i64::try_from(bytes) {
            Ok(bytes) => self.file.seek_relative(bytes)?,
            Err(_) => drop(self.file.seek(SeekFrom::Start(self.at))?),
        }
        Ok(())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
