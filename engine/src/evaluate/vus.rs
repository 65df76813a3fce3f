//! The volume under the surface of precision and recall: how well scores rank what is anomalous, whatever the
//! threshold, and however exactly the labels are placed.
//!
//! Paparrizos, Boniol, Palpanas, Tsay, Elmore & Franklin, *Volume Under the Surface*, VLDB 2022, section 4. Around each
//! event lies a buffer, in which the label falls from 1 to 0 as the root of the distance. Precision and recall, the
//! latter multiplied by the share of events that hold an alarm at all, give an area for each width of the buffer; the
//! mean over all widths up to the given one is the volume. 250 thresholds at equally spaced ranks, as in the authors'
//! own TSB-AD benchmark, with which this agrees.

use super::{Event, events};

/// How many thresholds are looked at.
const THRESHOLDS: usize = 250;

/// The volume, between 0 and 1, for buffers of up to `window` points; `None` where no label is true. A score that is NaN
/// counts as the lowest.
pub fn vus_pr(scores: &[f64], labels: &[bool], window: usize) -> Option<f64> {
    let events = events(labels);
    if events.is_empty() {
        return None;
    }
    let surface = Surface::new(scores, labels);
    let mut scratch = vec![0.0; scores.len()];
    let areas = (0..=window).map(|width| surface.area(&events, width, &mut scratch));
    Some(areas.sum::<f64>() / (window + 1) as f64)
}

/// What does not depend on the width of the buffer.
struct Surface {
    /// From which threshold on each point is an alarm.
    since: Vec<usize>,
    /// How many points are alarms at each threshold.
    alarms: Vec<f64>,
    /// How many of those are labelled.
    labelled: Vec<f64>,
    /// How many points are labelled.
    positives: f64,
    is_labelled: Vec<bool>,
}

impl Surface {
    fn new(scores: &[f64], labels: &[bool]) -> Self {
        let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let lowest = if lowest.is_finite() { lowest } else { 0.0 };
        let scores: Vec<f64> = scores.iter().map(|score| if score.is_nan() { lowest } else { *score }).collect();
        let mut sorted = scores.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let (last, steps) = (scores.len() - 1, THRESHOLDS - 1);
        let rank = |at: usize| if at == steps { last } else { (last as f64 / steps as f64 * at as f64) as usize };
        let thresholds: Vec<f64> = (0..THRESHOLDS).map(|at| sorted[rank(at)]).collect();
        let since: Vec<usize> =
            scores.iter().map(|score| thresholds.partition_point(|threshold| threshold > score)).collect();
        let (mut alarms, mut labelled) = (vec![0.0; THRESHOLDS], vec![0.0; THRESHOLDS]);
        for (at, label) in since.iter().zip(labels).filter(|(at, _)| **at < THRESHOLDS) {
            alarms[*at] += 1.0;
            labelled[*at] += f64::from(u8::from(*label));
        }
        Self {
            alarms: running(alarms),
            labelled: running(labelled),
            positives: labels.iter().filter(|label| **label).count() as f64,
            is_labelled: labels.to_vec(),
            since,
        }
    }

    /// The area under precision and recall with a buffer of `width` points. `scratch` is as long as the series, and
    /// zero before and after.
    fn area(&self, events: &[Event], width: usize, scratch: &mut [f64]) -> f64 {
        let buffered = self.buffered(events, width, scratch);
        let (found, count) = self.found(events, width / 2);
        let (mut area, mut before) = (0.0, 0.0);
        for at in 0..THRESHOLDS {
            let hits = self.labelled[at] + buffered[at];
            let recall = (hits / (self.positives + buffered[at] / 2.0)).min(1.0) * found[at] / count;
            area += (recall - before) * hits / self.alarms[at];
            before = recall;
        }
        area
    }

    /// The labels in the buffers of the points that are alarms, at each threshold.
    fn buffered(&self, events: &[Event], width: usize, scratch: &mut [f64]) -> Vec<f64> {
        let (half, points) = (width / 2, self.since.len());
        let before = |event: &Event| event.first.saturating_sub(half)..event.first;
        let behind = |event: &Event| event.last + 1..(event.last + half + 1).min(points);
        let weight = |distance: usize| (1.0 - distance as f64 / width as f64).sqrt();
        for event in events {
            behind(event).for_each(|at| scratch[at] += weight(at - event.last));
            before(event).for_each(|at| scratch[at] += weight(event.first - at));
        }
        let mut sums = vec![0.0; THRESHOLDS];
        for at in events.iter().flat_map(|event| before(event).chain(behind(event))) {
            // Where buffers overlap, a point is met twice and counts once.
            let weight = std::mem::take(&mut scratch[at]).min(1.0);
            if !self.is_labelled[at] && self.since[at] < THRESHOLDS {
                sums[self.since[at]] += weight;
            }
        }
        running(sums)
    }

    /// How many events hold an alarm at each threshold, their buffers included, and how many events there are; those
    /// whose buffers meet are one.
    fn found(&self, events: &[Event], half: usize) -> (Vec<f64>, f64) {
        let (mut sums, mut count) = (vec![0.0; THRESHOLDS], 0.0);
        let mut start = events[0].first.saturating_sub(half);
        for (at, event) in events.iter().enumerate() {
            let next = events.get(at + 1);
            if next.is_some_and(|next| event.last + 2 * half >= next.first) {
                continue;
            }
            let end = (event.last + half).min(self.since.len() - 1);
            let since = self.since[start..=end].iter().min().copied().unwrap_or(THRESHOLDS);
            sums.iter_mut().skip(since).take(1).for_each(|sum| *sum += 1.0);
            count += 1.0;
            start = next.map_or(start, |next| next.first - half);
        }
        (running(sums), count)
    }
}

/// The sums up to each threshold.
fn running(mut sums: Vec<f64>) -> Vec<f64> {
    for at in 1..sums.len() {
        sums[at] += sums[at - 1];
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scores: &[f64], marks: &str, window: usize, expected: Option<f64>) {
        let labels: Vec<bool> = marks.chars().map(|mark| mark == '#').collect();
        let found = vus_pr(scores, &labels, window);
        let same = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found == expected,
        };
        assert!(same, "{scores:?} {marks} {window}: {found:?} is not {expected:?}");
    }

    #[test]
    fn without_a_buffer_it_is_the_area_under_precision_and_recall() {
        check(&[0.0, 9.0, 0.0, 0.0], ".#..", 0, Some(1.0));
        check(&[9.0, 1.0, 0.0, 0.0], ".#..", 0, Some(0.5));
        check(&[3.0, 2.0, 1.0, 0.0], "...#", 0, Some(0.25));
        check(&[1.0, 1.0, 1.0, 1.0], ".#..", 0, Some(0.25));
        check(&[f64::NAN, 9.0, f64::NAN, f64::NAN], "..#.", 0, Some(0.25));
    }

    #[test]
    fn without_events_there_is_nothing_to_rank() {
        check(&[1.0, 2.0], "..", 3, None);
        check(&[], "", 3, None);
        check(&[f64::NAN], "#", 3, Some(1.0));
    }
}
