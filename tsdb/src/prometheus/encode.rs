//! Rows of frames into the bytes of a remote-write 1.0 request: protobuf, then snappy's block format.
//!
//! The bytes are written straight from labels and values, without messages in between, and compressed while they
//! are written; buffers are kept from one request to the next.

mod snappy;

use std::ops::Range;
use std::sync::Arc;

use crate::labels::{Labels, METRIC_NAME};
use crate::time::{Step, Timestamp};
use crate::write::is_sent;

/// A label's name and value.
type Pair = (Arc<str>, Arc<str>);

/// The most bytes that a sample takes: tag and length, tag and value, tag and the longest varint.
const SAMPLE_BYTES: usize = 2 + 9 + 1 + 10;

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
        match self {
            Self::Grid { values, .. } => values.iter().filter(|value| is_sent(**value)).count(),
            Self::List(list) => list.iter().filter(|(_, value)| is_sent(*value)).count(),
        }
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

/// Turns series into request bodies.
#[derive(Default)]
pub struct Encoder {
    snappy: snappy::Writer,
    scratch: Vec<u8>,
    /// Where the labels of the series before begin, and those of this one.
    labels_at: [Vec<usize>; 2],
}

/// What the series before left behind, for this one to repeat.
#[derive(Clone, Copy)]
struct Before<'a> {
    labels: &'a Labels,
    header_at: usize,
    length: usize,
    samples_at: usize,
    times: Option<Times>,
}

/// The times of points on a grid without gaps, all with varints of `bytes` bytes.
#[derive(Clone, Copy, PartialEq)]
struct Times {
    start: Timestamp,
    step: Step,
    points: usize,
    bytes: usize,
}

impl Encoder {
    /// The body of a request with `series`, in their order, and how many samples are in it. A series without
    /// samples is left out.
    pub fn encode(&mut self, series: &[Series<'_>]) -> (&[u8], u64) {
        self.snappy.clear();
        let mut before = None;
        let mut total = 0;
        for series in series {
            let samples = series.points.samples();
            if samples > 0 {
                before = Some(self.put_series(series, samples, before));
                total += samples as u64;
            }
        }
        (self.snappy.finish(), total)
    }

    /// Writes field 1 of a `WriteRequest`.
    fn put_series<'a>(&mut self, series: &Series<'a>, samples: usize, before: Option<Before<'a>>) -> Before<'a> {
        let times = times(series.points, samples);
        let samples_length = match times {
            Some(times) => samples * (12 + times.bytes),
            None => samples_bytes(series.points),
        };
        let length = labels_bytes(series.labels) + samples_length;
        let header_at = self.snappy.position();
        self.put_header(length, before);
        self.put_labels(series.labels, before.map(|before| before.labels));
        let samples_at = self.snappy.position();
        match (series.points, times) {
            (Points::Grid { values, .. }, Some(times)) => self.put_grid(values, times, before),
            (points, _) => self.put_samples(points),
        }
        Before { labels: series.labels, header_at, length, samples_at, times }
    }

    fn put_header(&mut self, length: usize, before: Option<Before<'_>>) {
        let bytes = 1 + varint_bytes(length as u64);
        match before {
            Some(before) if before.length == length && self.snappy.can_repeat(before.header_at, bytes) => {
                self.snappy.repeat(before.header_at, bytes);
            }
            _ => self.put_tagged_length(0x0a, length),
        }
    }

    fn put_labels(&mut self, labels: &Labels, before: Option<&Labels>) {
        self.labels_at.swap(0, 1);
        self.labels_at[1].clear();
        let before = before.map_or(&[][..], Labels::pairs);
        for (at, pair) in labels.pairs().iter().enumerate() {
            self.labels_at[1].push(self.snappy.position());
            match before.get(at) {
                Some(before) if is_same(&before.0, &pair.0) => self.put_value(pair, &before.1, self.labels_at[0][at]),
                _ => self.put_label(pair),
            }
        }
    }

    /// Writes a label with nothing repeated.
    fn put_label(&mut self, (name, value): &Pair) {
        self.scratch.clear();
        self.scratch.push(0x0a);
        put_varint(&mut self.scratch, text_bytes(name) + text_bytes(value));
        put_text(&mut self.scratch, 0x0a, name);
        put_text(&mut self.scratch, 0x12, value);
        self.snappy.put(&self.scratch);
    }

    /// Writes a label of which one with another value, or the same, stands at `from`.
    #[inline]
    fn put_value(&mut self, pair: &Pair, before: &Arc<str>, from: usize) {
        let (name, value) = pair;
        let bytes = label_bytes(pair);
        let equal = if Arc::ptr_eq(value, before) { value.len() } else { common_prefix(value, before) };
        if value.len() == before.len() {
            let same = bytes - value.len() + equal;
            return match self.snappy.can_repeat(from, same) {
                true => {
                    self.snappy.repeat(from, same);
                    self.snappy.put(&value.as_bytes()[equal..]);
                }
                false => self.put_label(pair),
            };
        }
        // The lengths differ, and with them the first bytes; the name is the same.
        let before_inner = text_bytes(name) + text_bytes(before);
        let name_at = from + 1 + varint_bytes(before_inner as u64);
        if !self.snappy.can_repeat(name_at, text_bytes(name)) {
            return self.put_label(pair);
        }
        self.put_tagged_length(0x0a, text_bytes(name) + text_bytes(value));
        self.snappy.repeat(name_at, text_bytes(name));
        self.put_tagged_length(0x12, value.len());
        let value_at = name_at + before_inner - before.len();
        let equal = if self.snappy.can_repeat(value_at, equal) { equal } else { 0 };
        if equal > 0 {
            self.snappy.repeat(value_at, equal);
        }
        self.snappy.put(&value.as_bytes()[equal..]);
    }

    fn put_tagged_length(&mut self, tag: u8, length: usize) {
        let (digits, count) = varint(length as u64);
        let mut bytes = [tag; 11];
        bytes[1..].copy_from_slice(&digits);
        self.snappy.put(&bytes[..=count]);
    }

    /// Writes samples on a grid without gaps. Where the series before has the same times, only the values are new.
    fn put_grid(&mut self, values: &[f64], times: Times, before: Option<Before<'_>>) {
        let Some(before) = before.filter(|before| before.times == Some(times)) else {
            return self.put_samples(Points::Grid { start: times.start, step: times.step, values });
        };
        let distance = self.snappy.position() - before.samples_at;
        if !self.snappy.can_repeat(before.samples_at, 1 + times.bytes) {
            return self.put_samples(Points::Grid { start: times.start, step: times.step, values });
        }
        self.snappy.put(&[0x12, 10 + times.bytes as u8, 0x09]);
        self.snappy.put_interleaved(values, 1 + times.bytes + 3, distance);
        let end = self.snappy.position();
        self.snappy.repeat(end - distance, 1 + times.bytes);
    }

    /// Writes samples with nothing repeated.
    fn put_samples(&mut self, points: Points<'_>) {
        self.scratch.clear();
        match points {
            Points::Grid { start, step, values } => {
                let mut millis = start.millis();
                for &value in values {
                    put_sample(&mut self.scratch, millis, value);
                    millis = millis.saturating_add(step.millis());
                }
            }
            Points::List(list) => {
                list.iter().for_each(|&(time, value)| put_sample(&mut self.scratch, time.millis(), value))
            }
        }
        self.snappy.put(&self.scratch);
    }
}

/// The times of the points, if they are on a grid, without gaps and all of one length.
fn times(points: Points<'_>, samples: usize) -> Option<Times> {
    let Points::Grid { start, step, values } = points else { return None };
    let last = points.time(values.len().checked_sub(1)?);
    let bytes = varint_bytes(start.millis().cast_unsigned());
    let is_even = start.millis() >= 0 && bytes == varint_bytes(last.millis().cast_unsigned());
    (samples == values.len() && is_even).then_some(Times { start, step, points: samples, bytes })
}

/// How many bytes samples take, counted one by one.
fn samples_bytes(points: Points<'_>) -> usize {
    let kept = (0..points.len()).filter(|&index| is_sent(points.value(index)));
    kept.map(|index| 12 + varint_bytes(points.time(index).millis().cast_unsigned())).sum()
}

#[inline]
fn is_same(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// How many bytes are equal from the beginning, found eight at a time.
#[inline]
fn common_prefix(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut equal = 0;
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return equal + differs.trailing_zeros() as usize / 8;
        }
        equal += 8;
    }
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_varint(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Writes field 2 of a `TimeSeries`, unless the value is a gap.
#[inline]
fn put_sample(out: &mut Vec<u8>, millis: i64, value: f64) {
    if !is_sent(value) {
        return;
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
}

/// How many bytes the labels of a series take.
fn labels_bytes(labels: &Labels) -> usize {
    labels.pairs().iter().map(label_bytes).sum()
}

/// How many bytes a label takes.
#[inline]
fn label_bytes((name, value): &Pair) -> usize {
    let inner = text_bytes(name) + text_bytes(value);
    1 + varint_bytes(inner as u64) + inner
}

#[inline]
fn text_bytes(text: &str) -> usize {
    1 + varint_bytes(text.len() as u64) + text.len()
}

#[inline]
fn varint_bytes(value: u64) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
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

/// What keeps a series from being sent: it has no metric name, or a name that Prometheus doesn't allow. `valid`, a
/// series known to be right, saves looking at the names that both share.
pub fn invalid_label(labels: &Labels, valid: Option<&Labels>) -> Option<String> {
    if valid.is_some_and(|valid| shares_names(labels, valid)) {
        return None;
    }
    if !is_name(labels.name(), true) {
        return Some(format!("{labels}: `{}` is no metric name", labels.name()));
    }
    let bad = labels.iter().map(|(name, _)| name).find(|name| *name != METRIC_NAME && !is_name(name, false));
    bad.map(|name| format!("{labels}: `{name}` is no label name"))
}

/// Whether all names are the same in memory, and the metric's name too.
fn shares_names(a: &Labels, b: &Labels) -> bool {
    let shares = |(a, b): (&Pair, &Pair)| Arc::ptr_eq(&a.0, &b.0) && (Arc::ptr_eq(&a.1, &b.1) || *a.0 != *METRIC_NAME);
    a.len() == b.len() && a.pairs().iter().zip(b.pairs()).all(shares)
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
    use crate::write::STALE;

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
            assert!(encoder.snappy.position() <= 2 * series.bytes_bound());
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
    fn what_repeats_from_series_to_series_comes_back_whole() {
        let up = |pod: &str| Labels::metric("up").with("job", "api").with("pod", pod).with("zone", "z");
        let long = "y".repeat(70_000);
        let labels = [
            up("a-1"),
            up("a-2"),
            up("a-13"),
            up("b"),
            up("b").with("job", ""),
            up(&long),
            up("a-1"),
            up("é"),
            up("è"),
        ];
        let values = [1.0, 2.0, 3.0, f64::NAN, 5.0, 6.0];
        let many = vec![0.25; 5000];
        let list = [(Timestamp::from_millis(5), 1.0)];
        let usual = 1_700_000_000_000;
        let points = [
            grid(usual, &values[..3]),
            grid(usual, &values[..3]),
            grid(usual, &values[..1]),
            grid(usual, &values[1..2]),
            grid(usual, &values),
            grid(usual, &values),
            grid(usual + 1, &values[..3]),
            grid(100, &values[..3]),
            Points::List(&list),
            Points::List(&list),
            grid(usual, &many),
            grid(usual, &many),
        ];
        let all: Vec<_> = (0..500).map(|i| Series { labels: &labels[i * 7 % 9], points: points[i * 5 % 12] }).collect();
        let twice: Vec<_> = all.iter().flat_map(|&series| [series, series]).collect();
        let mut encoder = Encoder::default();
        for (all, parts) in [(&all, 1), (&twice, 1), (&all, 3)] {
            for all in all.chunks(all.len().div_ceil(parts)) {
                let request = decode(encoder.encode(all).0);
                assert_eq!(request.timeseries.len(), all.len());
                for (read, Series { labels, points }) in request.timeseries.iter().zip(all) {
                    assert!(read.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).eq(labels.iter()));
                    let kept = (0..points.len()).filter(|&index| is_sent(points.value(index)));
                    let kept = kept.map(|index| (points.time(index).millis(), points.value(index)));
                    assert!(read.samples.iter().map(|s| (s.timestamp, s.value)).eq(kept));
                }
            }
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
            assert_eq!(invalid_label(&labels, None), None, "{labels}");
        }
        let bad = ["9a", "a-b", "a.b", "a:b", "ä", "a b", " ", "a\u{0}"].map(named);
        let unnamed = [Labels::metric(""), Labels::metric("9up"), Labels::metric("u p"), Labels::metric("é")];
        for labels in bad.into_iter().chain(unnamed) {
            for valid in [None, Some(&named("a")), Some(&Labels::metric("up"))] {
                assert!(invalid_label(&labels, valid).is_some(), "{labels}");
            }
        }
        let (valid, pod) = (named("pod"), named("pod").with("pod", "y"));
        assert_eq!(invalid_label(&pod, Some(&valid)), None);
        assert!(invalid_label(&pod.with("__name__", "9up"), Some(&valid)).is_some());
        assert!(invalid_label(&pod.with("__name__", ""), Some(&valid)).is_some());
    }
}
