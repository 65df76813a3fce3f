//! Rows of frames into the bytes of a remote-write 1.0 request: protobuf, then snappy's block format.
//!
//! The bytes are written straight from labels and values, without messages in between; buffers are kept from one
//! request to the next.

use std::ops::Range;
use std::sync::Arc;

use crate::labels::{Labels, METRIC_NAME};
use crate::time::{Step, Timestamp};

/// The marker that ends a series in Prometheus: the one NaN that is sent. Every other NaN is a gap.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The most bytes that a sample takes: tag and length, tag and value, tag and the longest varint.
const SAMPLE_BYTES: usize = 2 + 9 + 1 + 10;
/// What a sample takes at a time between 2004 and 2109, whose varint has six bytes.
const USUAL_SAMPLE_BYTES: usize = SAMPLE_BYTES - 4;

/// The samples of a series, oldest first, no time twice; a gap is NaN.
#[derive(Clone, Copy, Debug)]
pub enum Points<'a> {
    /// One value a step.
    Grid {
        /// When the first value stands.
        start: Timestamp,
        /// The distance between values.
        step: Step,
        /// The values.
        values: &'a [f64],
    },
    /// Each value with its time.
    List(&'a [(Timestamp, f64)]),
}

impl Points<'_> {
    /// How many points there are, gaps counted.
    pub fn len(&self) -> usize {
        match self {
            Self::Grid { values, .. } => values.len(),
            Self::List(list) => list.len(),
        }
    }

    /// Whether there is no point at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time of the point `index`.
    ///
    /// # Panics
    /// Where a list has no such point.
    pub fn time(&self, index: usize) -> Timestamp {
        match self {
            Self::Grid { start, step, .. } => Timestamp::from_millis(
                start.millis().saturating_add(step.millis().saturating_mul(i64::try_from(index).unwrap_or(i64::MAX))),
            ),
            Self::List(list) => list[index].0,
        }
    }

    /// The value of the point `index`.
    ///
    /// # Panics
    /// Where there is no such point.
    pub fn value(&self, index: usize) -> f64 {
        match self {
            Self::Grid { values, .. } => values[index],
            Self::List(list) => list[index].1,
        }
    }

    /// Some of the points.
    ///
    /// # Panics
    /// Where the range is not inside them.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Grid { step, values, .. } => {
                Self::Grid { start: self.time(range.start), step: *step, values: &values[range] }
            }
            Self::List(list) => Self::List(&list[range]),
        }
    }

    /// The first point that is not before `time`; the number of points where all are.
    pub fn index_from(&self, time: Timestamp) -> usize {
        match self {
            Self::List(list) => list.partition_point(|(at, _)| *at < time),
            Self::Grid { start, step, values } => {
                let offset = time.millis().saturating_sub(start.millis());
                let steps = if offset <= 0 { 0 } else { (offset - 1) / step.millis() + 1 };
                usize::try_from(steps).map_or(values.len(), |index| index.min(values.len()))
            }
        }
    }

    /// How many samples there are to send.
    pub fn samples(&self) -> usize {
        (0..self.len()).filter(|&index| is_sent(self.value(index))).count()
    }
}

/// Some samples of one series.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// Its samples.
    pub points: Points<'a>,
}

impl Series<'_> {
    /// No fewer bytes than the series takes in a request before compression.
    pub fn bytes_bound(&self) -> usize {
        labels_bytes(self.labels) + self.points.len() * SAMPLE_BYTES + 8
    }
}

/// Whether a value is sent: it is no gap.
pub(super) fn is_sent(value: f64) -> bool {
    !value.is_nan() || value.to_bits() == STALE.to_bits()
}

/// Turns series into request bodies.
pub struct Encoder {
    plain: Vec<u8>,
    body: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { plain: vec![], body: vec![], snappy: snap::raw::Encoder::new() }
    }
}

impl Encoder {
    /// The body of a request with `series`, in their order, and how many samples are in it. A series without
    /// samples is left out.
    pub fn encode(&mut self, series: &[Series<'_>]) -> (&[u8], u64) {
        self.plain.clear();
        let samples = series.iter().map(|series| put_series(&mut self.plain, series)).sum();
        let room = snap::raw::max_compress_len(self.plain.len());
        if self.body.len() < room {
            self.body.resize(room, 0);
        }
        let bytes = self.snappy.compress(&self.plain, &mut self.body).expect("requests are far below snappy's 4 GiB");
        (&self.body[..bytes], samples)
    }
}

/// Writes field 1 of a `WriteRequest`; answers the number of samples.
fn put_series(out: &mut Vec<u8>, series: &Series<'_>) -> u64 {
    let at = out.len();
    // The length comes first but is known last: leave the room it most likely needs.
    let room = varint_bytes(labels_bytes(series.labels) + series.points.len() * USUAL_SAMPLE_BYTES);
    out.push(0x0a);
    out.resize(at + 1 + room, 0);
    put_labels(out, series.labels);
    let samples = match series.points {
        Points::Grid { start, step, values } => put_grid(out, start, step, values),
        Points::List(list) => list.iter().map(|&(time, value)| put_sample(out, time.millis(), value)).sum(),
    };
    if samples == 0 {
        out.truncate(at);
    } else {
        set_length(out, at + 1, room);
    }
    samples
}

fn put_grid(out: &mut Vec<u8>, start: Timestamp, step: Step, values: &[f64]) -> u64 {
    out.reserve(values.len() * USUAL_SAMPLE_BYTES + SAMPLE_BYTES);
    let mut millis = start.millis();
    let mut samples = 0;
    for &value in values {
        samples += put_sample(out, millis, value);
        millis = millis.wrapping_add(step.millis());
    }
    samples
}

/// Writes the length of what follows `room` bytes at `at` into them, making the room smaller or larger if need be.
fn set_length(out: &mut Vec<u8>, at: usize, room: usize) {
    let length = out.len() - at - room;
    let needed = varint_bytes(length);
    if needed != room {
        out.splice(at..at + room, std::iter::repeat_n(0, needed));
    }
    let (bytes, count) = varint(length as u64);
    out[at..at + count].copy_from_slice(&bytes[..count]);
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.pairs() {
        out.push(0x0a);
        put_varint(out, text_bytes(name) + text_bytes(value));
        put_text(out, 0x0a, name);
        put_text(out, 0x12, value);
    }
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_varint(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Writes field 2 of a `TimeSeries`; answers how many samples that are.
#[inline]
fn put_sample(out: &mut Vec<u8>, millis: i64, value: f64) -> u64 {
    if !is_sent(value) {
        return 0;
    }
    let (time, count) = varint(millis.cast_unsigned());
    let mut bytes = [0; SAMPLE_BYTES];
    bytes[0] = 0x12;
    bytes[1] = 10 + count as u8;
    bytes[2] = 0x09;
    bytes[3..11].copy_from_slice(&value.to_le_bytes());
    bytes[11] = 0x10;
    bytes[12..].copy_from_slice(&time);
    // A copy of known length and a cut are faster than a copy of unknown length.
    out.extend_from_slice(&bytes);
    out.truncate(out.len() - (10 - count));
    1
}

/// How many bytes the labels of a series take.
fn labels_bytes(labels: &Labels) -> usize {
    let inner = |(name, value): &(Arc<str>, Arc<str>)| text_bytes(name) + text_bytes(value);
    labels.pairs().iter().map(inner).map(|inner| 1 + varint_bytes(inner) + inner).sum()
}

fn text_bytes(text: &str) -> usize {
    1 + varint_bytes(text.len()) + text.len()
}

fn varint_bytes(value: usize) -> usize {
    (value as u64 | 1).ilog2() as usize / 7 + 1
}

fn put_varint(out: &mut Vec<u8>, value: usize) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    let (bytes, count) = varint(value as u64);
    out.extend_from_slice(&bytes[..count]);
}

/// Base-128 digits, the lowest first, and how many.
#[inline]
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut count) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[count] = value as u8 | 0x80;
        value >>= 7;
        count += 1;
    }
    bytes[count] = value as u8;
    (bytes, count + 1)
}

/// What keeps a series from being sent: it has no metric name, or a name that Prometheus doesn't allow.
pub fn invalid_label(labels: &Labels) -> Option<String> {
    if !is_name(labels.name(), true) {
        return Some(format!("{labels}: `{}` is no metric name", labels.name()));
    }
    let bad = labels.iter().map(|(name, _)| name).find(|name| *name != METRIC_NAME && !is_name(name, false));
    bad.map(|name| format!("{labels}: `{name}` is no label name"))
}

fn is_name(name: &str, colon: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|&first| letter(first)) && bytes.iter().all(|&byte| letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::prometheus::proto::WriteRequest;

    fn decode(body: &[u8]) -> WriteRequest {
        WriteRequest::decode(&*snap::raw::Decoder::new().decompress_vec(body).unwrap()).unwrap()
    }

    /// An independent reader sees the labels and the samples, bit for bit.
    fn check(labels: &Labels, points: Points<'_>) {
        let mut encoder = Encoder::default();
        let series = Series { labels, points };
        let (body, samples) = encoder.encode(&[series, series]);
        let request = decode(body);
        assert_eq!(samples as usize, 2 * points.samples());
        assert_eq!(request.timeseries.len(), if samples == 0 { 0 } else { 2 });
        for read in request.timeseries {
            let seen: Vec<_> = read.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
            assert_eq!(seen, labels.iter().collect::<Vec<_>>());
            let seen: Vec<_> = read.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect();
            let kept = (0..points.len()).filter(|&index| is_sent(points.value(index)));
            let kept: Vec<_> = kept.map(|index| (points.time(index).millis(), points.value(index).to_bits())).collect();
            assert_eq!(seen, kept);
            assert!(encoder.plain.len() <= 2 * series.bytes_bound());
        }
    }

    fn grid(start: i64, values: &[f64]) -> Points<'_> {
        Points::Grid { start: Timestamp::from_millis(start), step: Step::from_millis(15_000).unwrap(), values }
    }

    #[test]
    fn odd_labels_arrive_as_they_were() {
        let long = "x".repeat(10_000);
        let many: Vec<(String, String)> = (0..64).map(|i| (format!("label_{i}"), format!("value {i}"))).collect();
        let cases = [
            Labels::metric("up"),
            Labels::metric("job:requests:rate5m"),
            Labels::metric("up").with("a", "π ≠ 💥").with("b", "\u{0}\n\t\"\\\u{7f}"),
            Labels::metric("up").with("long", &long).with(&"n".repeat(300), "v"),
            Labels::new(many).unwrap().with("__name__", "many"),
        ];
        for labels in cases {
            check(&labels, grid(1_700_000_000_000, &[1.5]));
            check(&labels, grid(1_700_000_000_000, &vec![0.1; 5000]));
        }
    }

    #[test]
    fn odd_values_arrive_bit_for_bit() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            f64::MIN_POSITIVE / 3.0,
            f64::from_bits(1),
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            STALE,
        ];
        check(&Labels::metric("up"), grid(0, &values));
    }

    #[test]
    fn gaps_are_skipped_whatever_that_does_to_the_length() {
        for points in [1, 5, 6, 7, 8, 900, 1000, 200_000] {
            for every in [1, 2, 7, 1000, usize::MAX] {
                let values: Vec<f64> = (0..points).map(|i| if i % every == 0 { f64::NAN } else { i as f64 }).collect();
                check(&Labels::metric("up"), grid(1_700_000_000_000, &values));
            }
        }
        check(&Labels::metric("up"), grid(0, &[]));
    }

    #[test]
    fn times_near_and_far_arrive() {
        for start in [0, -1, 127, 128, -60_000, 1_700_000_000_000, i64::MIN, i64::MAX - 15_000, 1 << 35, (1 << 42) - 1]
        {
            check(&Labels::metric("up"), grid(start, &[1.0, 2.0]));
            check(&Labels::metric("up"), Points::List(&[(Timestamp::from_millis(start), 1.0)]));
        }
    }

    #[test]
    fn a_slice_keeps_its_times() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let list: Vec<_> = (0..4).map(|i| (grid(60_000, &values).time(i), values[i])).collect();
        for points in [grid(60_000, &values), Points::List(&list)] {
            let part = points.slice(1..3);
            assert_eq!((part.len(), part.time(0).millis(), part.value(1)), (2, 75_000, 3.0));
            for (millis, index) in [(i64::MIN, 0), (60_000, 0), (60_001, 1), (75_000, 1), (105_000, 3), (105_001, 4)] {
                assert_eq!(points.index_from(Timestamp::from_millis(millis)), index, "{millis}");
            }
        }
    }

    #[test]
    fn names_are_checked() {
        let named = |name: &str| Labels::metric("up").with(name, "x");
        for labels in [Labels::metric("a:b"), named("_a9"), named("A_"), Labels::metric("_"), named("__meta")] {
            assert_eq!(invalid_label(&labels), None, "{labels}");
        }
        let bad = ["9a", "a-b", "a.b", "a:b", "ä", "a b", " ", "a\u{0}"].map(named);
        let unnamed = [Labels::metric(""), Labels::metric("9up"), Labels::metric("u p"), Labels::metric("é")];
        for labels in bad.into_iter().chain(unnamed) {
            assert!(invalid_label(&labels).is_some(), "{labels}");
        }
    }
}
