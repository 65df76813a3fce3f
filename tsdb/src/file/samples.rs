//! The samples of a file, series by series.

use std::collections::HashMap;

use super::{FileFault, Row};
use crate::frame::{Frame, FrameBuilder};
use crate::labels::Labels;
use crate::read::{Limits, RangeQuery};
use crate::time::{Step, Timestamp};

/// A time in milliseconds and a value.
type Sample = (i64, f64);

/// Steps that people use, in seconds.
const USUAL: [i64; 26] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800,
    43_200, 86_400, 172_800, 604_800, 1_209_600,
];

/// From so many of the first times of each series the grid is guessed: what comes later never changes how it is read.
const GUESSED_FROM: usize = 1000;

/// The samples of every series, times rising and each there once.
#[derive(Default)]
pub(super) struct Samples {
    index: HashMap<Labels, usize>,
    series: Vec<Labels>,
    samples: Vec<Vec<Sample>>,
    doubles: usize,
    count: u64,
    rows: Option<Vec<Row>>,
}

impl Samples {
    /// No samples yet. The rows are kept as they come where `keeps_rows`.
    pub(super) fn new(keeps_rows: bool) -> Self {
        Self { rows: keeps_rows.then(Vec::new), ..Self::default() }
    }

    /// Whether rows are kept.
    pub(super) fn keeps_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// The rows as they stand in the file; none where they were not to be kept.
    pub(super) fn rows(&self) -> &[Row] {
        self.rows.as_deref().unwrap_or_default()
    }

    /// The number of the series, new or known.
    pub(super) fn row(&mut self, labels: Labels) -> usize {
        let next = self.series.len();
        let row = *self.index.entry(labels).or_insert_with_key(|labels| {
            self.series.push(labels.clone());
            next
        });
        if row == next {
            self.samples.push(vec![]);
        }
        row
    }

    /// Adds a sample. A gap is kept too: that its time is there says how long the file is.
    pub(super) fn push(&mut self, row: usize, millis: i64, value: f64, is_anomaly: Option<bool>) {
        self.samples[row].push((millis, value));
        self.count += 1;
        if let Some(rows) = &mut self.rows {
            rows.push(Row { series: row, time: Timestamp::from_millis(millis), is_anomaly });
        }
    }

    /// Sorts by labels and times; of samples at one time, the one that came last stays.
    pub(super) fn finish(mut self) -> Self {
        let both = self.series.drain(..).zip(self.samples.drain(..));
        let mut both: Vec<(usize, (Labels, Vec<Sample>))> = both.enumerate().collect();
        both.sort_by(|a, b| a.1.0.cmp(&b.1.0));
        let mut places = vec![0; both.len()];
        both.iter().enumerate().for_each(|(new, (old, _))| places[*old] = new);
        self.rows.iter_mut().flatten().for_each(|row| row.series = places[row.series]);
        for (_, (labels, mut samples)) in both {
            let all = samples.len();
            samples.sort_by_key(|sample| sample.0);
            samples.reverse();
            samples.dedup_by_key(|sample| sample.0);
            samples.reverse();
            self.doubles += all - samples.len();
            self.series.push(labels);
            self.samples.push(samples);
        }
        self.index.clear();
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let n = self.doubles;
        let text = format!("{n} samples were left out: later ones of the same series have the same time");
        if n > 0 { vec![text] } else { vec![] }
    }

    /// The most frequent distance between neighbouring times, rounded to a usual one; the shorter of two as frequent.
    pub(super) fn step(&self) -> Step {
        let firsts = || self.samples.iter().map(|samples| &samples[..samples.len().min(GUESSED_FROM)]);
        let within = firsts().flat_map(|samples| samples.windows(2).map(|pair| pair[1].0 - pair[0].0));
        let mut distances: Vec<i64> = within.collect();
        if distances.is_empty() {
            let mut times: Vec<i64> = firsts().flatten().map(|sample| sample.0).collect();
            times.sort_unstable();
            times.dedup();
            distances = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        }
        distances.iter_mut().for_each(|distance| *distance = usual(*distance));
        distances.sort_unstable();
        let runs = distances.chunk_by(|a, b| a == b).rev().max_by_key(|run| run.len());
        Step::from_millis(runs.map_or(60_000, |run| run[0])).expect("times rise, so their distances are positive")
    }

    /// All series on one grid.
    pub(super) fn frame(&self, step: Step) -> Result<Frame, FileFault> {
        let times = || self.samples.iter().flatten().map(|sample| sample.0);
        let (first, last) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let off = |time: i64| (time + step.millis() / 2).rem_euclid(step.millis()) - step.millis() / 2;
        let firsts = || self.samples.iter().flat_map(|samples| samples.iter().take(GUESSED_FROM));
        let near = firsts().filter(|sample| off(sample.0).abs() * 50 <= step.millis()).count();
        let start = Timestamp::from_millis(if near * 2 >= firsts().count() { first - off(first) } else { first });
        let points = ((last - start.millis() + step.millis() / 2) / step.millis()) as u64 + 1;
        if points.saturating_mul(self.series.len() as u64) > Limits::default().samples as u64 {
            let step_seconds = step.seconds().to_string();
            return Err(FileFault::TooLarge { series: self.series.len(), points, step_seconds });
        }
        let mut builder = FrameBuilder::new(start, step, points as usize);
        for (labels, samples) in self.series.iter().zip(&self.samples) {
            let row = builder.row(labels);
            for (time, value) in samples.iter().filter(|sample| !sample.1.is_nan()) {
                builder.set(row, Timestamp::from_millis(*time), *value);
            }
        }
        Ok(builder.finish())
    }

    /// The numbers of the series that `wanted` says yes to.
    pub(super) fn matching(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<usize> {
        (0..self.series.len()).filter(|row| wanted(&self.series[*row])).collect()
    }

    /// The series on the grid of the query, each value held for `hold`; and the bytes of the samples looked at.
    pub(super) fn range(&self, rows: &[usize], query: &RangeQuery, hold: Step) -> (Frame, u64) {
        let (start, step) = (query.start().millis(), query.step().millis());
        let (mut names, mut values, mut read) = (vec![], vec![], 0);
        for &row in rows {
            let samples = &self.samples[row];
            let from = samples.partition_point(|sample| sample.0 <= start - hold.millis());
            let to = samples.partition_point(|sample| sample.0 <= query.end().millis()).max(from);
            let mut rest = samples[from..to].iter().peekable();
            let mut latest: Option<&Sample> = None;
            let before = values.len();
            values.extend((0..query.points() as i64).map(|at| start + at * step).map(|time| {
                while let Some(sample) = rest.next_if(|sample| sample.0 <= time) {
                    latest = Some(sample);
                }
                latest.filter(|sample| sample.0 > time - hold.millis()).map_or(f64::NAN, |sample| sample.1)
            }));
            read += (to - from) as u64 * 16;
            match values[before..].iter().all(|value| value.is_nan()) {
                true => values.truncate(before),
                false => names.push(self.series[row].clone()),
            }
        }
        let frame = Frame::new(names, query.start(), query.step(), query.points(), values);
        (frame.expect("the series of a file are distinct, and each got all points"), read)
    }
}

/// A usual step within 2 % of `millis`; else whole seconds, or milliseconds below ten seconds.
fn usual(millis: i64) -> i64 {
    let near = USUAL.iter().map(|seconds| seconds * 1000).find(|usual| (millis - usual).abs() * 50 <= *usual);
    near.unwrap_or(if millis < 10_000 { millis } else { (millis + 500) / 1000 * 1000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_rounded_to_usual_ones() {
        for (millis, wanted) in [
            (60_000, 60_000),
            (60_300, 60_000),
            (299_000, 300_000),
            (14_900, 15_000),
            (70_000, 70_000),
            (77_777, 78_000),
            (250, 250),
            (1, 1),
            (86_400_000, 86_400_000),
            (2_678_400_000, 2_678_400_000),
        ] {
            assert_eq!(usual(millis), wanted, "{millis}");
        }
    }
}
