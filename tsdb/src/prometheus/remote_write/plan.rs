//! Frames into series, and series into requests.

use std::collections::HashMap;

use super::Options;
use crate::frame::Frame;
use crate::labels::Labels;
use crate::prometheus::encode::{Points, Series};
use crate::time::Timestamp;
use crate::write::is_sent;

/// The series of some frames, each once.
pub(super) struct Rows<'a> {
    single: Vec<Series<'a>>,
    merged: Vec<(&'a Labels, Vec<(Timestamp, f64)>)>,
}

impl<'a> Rows<'a> {
    /// The rows of all frames; those of the same labels become one, oldest first, whose later frames win where
    /// two have a value at the same time.
    pub(super) fn of(frames: &'a [Frame]) -> Self {
        let all: Vec<Series<'a>> = frames.iter().flat_map(rows).collect();
        if frames.len() < 2 {
            return Self { single: all, merged: vec![] };
        }
        let mut at: HashMap<&Labels, usize> = HashMap::with_capacity(all.len());
        let mut groups: Vec<(Series<'a>, Vec<Series<'a>>)> = Vec::with_capacity(all.len());
        for series in all {
            match at.entry(series.labels) {
                std::collections::hash_map::Entry::Occupied(known) => groups[*known.get()].1.push(series),
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(groups.len());
                    groups.push((series, vec![]));
                }
            }
        }
        let (single, several): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(_, more)| more.is_empty());
        Self {
            single: single.into_iter().map(|(series, _)| series).collect(),
            merged: several.into_iter().map(|(first, more)| (first.labels, merge(first, &more))).collect(),
        }
    }

    /// The series, those that are in several frames last.
    pub(super) fn series(&self) -> Vec<Series<'_>> {
        let merged = self.merged.iter().map(|(labels, list)| Series { labels, points: Points::List(list) });
        self.single.iter().copied().chain(merged).collect()
    }
}

fn rows(frame: &Frame) -> impl Iterator<Item = Series<'_>> {
    let (start, step) = (frame.start(), frame.step());
    frame.rows().map(move |(labels, values)| Series { labels, points: Points::Grid { start, step, values } })
}

fn merge(first: Series<'_>, more: &[Series<'_>]) -> Vec<(Timestamp, f64)> {
    let mut all: Vec<(Timestamp, f64)> = std::iter::once(&first)
        .chain(more)
        .flat_map(|series| (0..series.points.len()).map(|i| (series.points.time(i), series.points.value(i))))
        .filter(|(_, value)| is_sent(*value))
        .collect();
    all.sort_by_key(|&(time, _)| time);
    all.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 = later.1;
        }
        same
    });
    all
}

/// Cuts the series into parts of which each fits into one request, or is one series that doesn't.
pub(super) fn cut<'s, 'a>(series: &'s [Series<'a>], options: &Options) -> Vec<&'s [Series<'a>]> {
    let (mut parts, mut start, mut samples, mut bytes) = (vec![], 0, 0, 0);
    for (at, series_here) in series.iter().enumerate() {
        let (more_samples, more_bytes) = (series_here.points.len(), series_here.bytes_bound());
        let full =
            samples + more_samples > options.samples_per_request || bytes + more_bytes > options.bytes_per_request;
        if full && at > start {
            parts.push(&series[start..at]);
            (start, samples, bytes) = (at, 0, 0);
        }
        samples += more_samples;
        bytes += more_bytes;
    }
    parts.extend((start < series.len()).then(|| &series[start..]));
    parts
}

/// The requests of one part, in the order in which they are to be sent.
pub(super) fn requests<'a>(part: &[Series<'a>], options: &Options) -> impl Iterator<Item = Vec<Series<'a>>> {
    let points = part[0].points.len();
    let window = if part.len() > 1 { usize::MAX } else { window(&part[0], options) };
    let count = points.div_ceil(window).max(1);
    (0..count).map(move |at| match count {
        1 => part.to_vec(),
        _ => vec![Series {
            labels: part[0].labels,
            points: part[0].points.slice(at * window..points.min((at + 1) * window)),
        }],
    })
}

/// How many points of a series fit into one request.
fn window(series: &Series<'_>, options: &Options) -> usize {
    let none = Series { labels: series.labels, points: Points::List(&[]) }.bytes_bound();
    let a_point = (series.bytes_bound() - none) / series.points.len().max(1);
    let fit = options.bytes_per_request.saturating_sub(none) / a_point.max(1);
    fit.min(options.samples_per_request).max(1)
}
