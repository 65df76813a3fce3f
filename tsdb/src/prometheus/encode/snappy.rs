//! Snappy's block format, written by one who knows beforehand what repeats.
//!
//! Neighbouring series share most of their labels, and the rows of a frame all of their times. A general
//! compressor finds that out by hashing all bytes; here it is known, so what repeats is not even written once.
//! The elements are those of the [format description](https://github.com/google/snappy/blob/main/format_description.txt).

use super::varint;

/// The longest distance that a copy with two bytes of offset reaches back.
const FARTHEST: usize = 65_535;
/// The longest copy in one element.
const LONGEST_COPY: usize = 64;
/// The room for the length of the plain bytes, which is known last and stands first.
const LENGTH_ROOM: usize = 5;
/// A copy takes three bytes and may begin a literal anew: what is shorter is better written out.
const SHORTEST_REPEAT: usize = 5;

/// Takes plain bytes, new and repeated ones, and writes them as snappy's elements.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    /// Bytes that are not yet in an element.
    literal: Vec<u8>,
    /// A copy that is not yet in an element, and may become longer.
    copy: usize,
    distance: usize,
    position: usize,
}

impl Writer {
    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.out.clear();
        self.out.resize(LENGTH_ROOM, 0);
        self.literal.clear();
        (self.copy, self.position) = (0, 0);
    }

    /// How many plain bytes there are so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Appends new bytes.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end_copy();
        self.literal.extend_from_slice(bytes);
        self.position += bytes.len();
    }

    /// Whether `bytes` bytes from the position `from` are near enough, and enough, to be repeated. Those that
    /// lengthen a copy always are.
    #[inline]
    pub(super) fn can_repeat(&self, from: usize, bytes: usize) -> bool {
        let distance = self.position - from;
        distance <= FARTHEST && (bytes >= SHORTEST_REPEAT || (self.copy > 0 && self.distance == distance))
    }

    /// Appends `bytes` bytes that are the same as those from the position `from`.
    #[inline]
    pub(super) fn repeat(&mut self, from: usize, bytes: usize) {
        let distance = self.position - from;
        if self.copy == 0 || self.distance != distance {
            self.end_copy();
            self.end_literal();
            self.distance = distance;
        }
        self.copy += bytes;
        self.position += bytes;
    }

    /// Appends `values`, each as 8 new bytes with `between` repeated bytes after it, all from `distance` before.
    /// The last value has none after it.
    pub(super) fn put_interleaved(&mut self, values: &[f64], between: usize, distance: usize) {
        let Some((last, values)) = values.split_last() else { return };
        debug_assert!((1..=LONGEST_COPY).contains(&between) && distance <= FARTHEST);
        self.end_copy();
        if let Some((first, values)) = values.split_first() {
            self.literal.extend_from_slice(&first.to_le_bytes());
            self.end_literal();
            let copy = copy(between, distance);
            self.out.extend_from_slice(&copy);
            self.out.reserve(12 * values.len());
            for value in values {
                let mut elements = [7 << 2; 12];
                elements[1..9].copy_from_slice(&value.to_le_bytes());
                elements[9..].copy_from_slice(&copy);
                self.out.extend_from_slice(&elements);
            }
            self.position += (8 + between) * (values.len() + 1);
        }
        self.put(&last.to_le_bytes());
    }

    /// The whole block.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.end_copy();
        self.end_literal();
        let (length, count) = varint(self.position as u64);
        self.out[LENGTH_ROOM - count..LENGTH_ROOM].copy_from_slice(&length[..count]);
        &self.out[LENGTH_ROOM - count..]
    }

    #[inline]
    fn end_copy(&mut self) {
        while self.copy > 0 {
            let bytes = self.copy.min(LONGEST_COPY);
            self.out.extend_from_slice(&copy(bytes, self.distance));
            self.copy -= bytes;
        }
    }

    #[inline]
    fn end_literal(&mut self) {
        let Some(length) = self.literal.len().checked_sub(1) else { return };
        match length {
            0..60 => self.out.push((length as u8) << 2),
            60..0x100 => self.out.extend_from_slice(&[60 << 2, length as u8]),
            0x100..0x1_0000 => self.out.extend_from_slice(&[61 << 2, length as u8, (length >> 8) as u8]),
            _ => {
                self.out.push(63 << 2);
                self.out.extend_from_slice(&(length as u32).to_le_bytes());
            }
        }
        self.out.extend_from_slice(&self.literal);
        self.literal.clear();
    }
}

/// A copy of 1 to 64 bytes from up to 65,535 before.
#[inline]
fn copy(bytes: usize, distance: usize) -> [u8; 3] {
    [((bytes as u8 - 1) << 2) | 2, distance as u8, (distance >> 8) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(writer: &mut Writer) -> Vec<u8> {
        snap::raw::Decoder::new().decompress_vec(writer.finish()).unwrap()
    }

    #[test]
    fn literals_of_every_length_come_back() {
        let mut writer = Writer::default();
        for length in [0, 1, 59, 60, 61, 255, 256, 257, 65_535, 65_536, 65_537, 20_000_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            writer.clear();
            writer.put(&bytes);
            assert!(plain(&mut writer) == bytes, "{length}");
        }
    }

    #[test]
    fn repeats_of_every_length_come_back_and_near_ones_become_one() {
        let mut writer = Writer::default();
        for length in [1, 4, 5, 63, 64, 65, 128, 1000] {
            let bytes: Vec<u8> = (0..1000).map(|at| (at * 7) as u8).collect();
            writer.clear();
            writer.put(&bytes);
            writer.repeat(0, length);
            if length < 1000 {
                writer.repeat(length, 1);
            }
            writer.put(b"end");
            let end = &bytes[..(length + 1).min(1000)];
            assert!(plain(&mut writer) == [&bytes, end, b"end"].concat(), "{length}");
        }
        assert!(writer.can_repeat(1000, 5) && !writer.can_repeat(1000, 4));
        writer.put(&[0; 65_536]);
        assert!(!writer.can_repeat(0, 100));
    }
}
