//! What can still be written of a request that was refused for the sake of some of its samples.
//!
//! Receivers that refuse say neither which samples they mean nor, as Prometheus, take the others. So the request
//! is halved until the bad ones stand alone, oldest first in every series. What one refusal says about others is
//! used: what is older than a sample that is too old needs no request of its own.

use std::collections::HashMap;

use super::send::Fault;
use super::{RemoteWrite, Tally};
use crate::labels::Labels;
use crate::prometheus::encode::Series;
use crate::time::Timestamp;
use crate::write::WriteError;

/// The most requests that one refused request is taken apart into.
pub(super) const REQUESTS: u32 = 256;

/// So many samples at the beginning of a series are tried one by one before some are leapt over.
const SINGLE_STEPS: usize = 64;

impl RemoteWrite {
    /// Writes what can be written of a request that was refused with `fault`, and counts the rest.
    pub(super) async fn salvage(
        &self,
        request: &[Series<'_>],
        mut fault: Fault,
        tally: &mut Tally,
    ) -> Result<(), WriteError> {
        let mut known = Known::default();
        let mut parts = self.refused(with_samples(request), &fault, &mut known, tally);
        let mut budget = REQUESTS;
        while let Some(part) = parts.pop() {
            let part: Vec<_> = part.into_iter().filter_map(|series| known.trim(series, tally)).collect();
            let samples = count(&part);
            if budget == 0 {
                tally.reject(fault.reason, samples, &fault.message);
            } else if samples > 0 {
                budget -= 1;
                match self.post(&part, tally).await? {
                    None => known.taken(&part, &fault),
                    Some(new) => {
                        fault = new;
                        parts.extend(self.refused(with_samples(&part), &fault, &mut known, tally));
                    }
                }
            }
        }
        Ok(())
    }

    /// What is to be sent instead of a part that was refused, the last first. A sample that is alone is counted.
    fn refused<'a>(
        &self,
        part: Vec<Series<'a>>,
        fault: &Fault,
        known: &mut Known<'a>,
        tally: &mut Tally,
    ) -> Vec<Vec<Series<'a>>> {
        if count(&part) > 1 {
            return split(part, fault.reason, known);
        }
        for series in &part {
            tally.reject(fault.reason, 1, &fault.message);
            let time = series.points.time(sent(series)[0]);
            known.learn(series.labels, time, fault);
            if fault.reason == "too_far_ahead" {
                self.learn_too_far(time, &fault.message);
            }
        }
        vec![]
    }
}

fn with_samples<'a>(part: &[Series<'a>]) -> Vec<Series<'a>> {
    part.iter().filter(|series| series.points.samples() > 0).copied().collect()
}

fn count(part: &[Series<'_>]) -> u64 {
    part.iter().map(|series| series.points.samples() as u64).sum()
}

/// Which points are samples and no gaps.
fn sent(series: &Series<'_>) -> Vec<usize> {
    (0..series.points.len()).filter(|&index| series.points.slice(index..index + 1).samples() == 1).collect()
}

/// Halves several series between them and one between its samples. Where the bad samples of one series are its
/// oldest, they are stepped over one by one, later in leaps that double every four: the good ones can't be found
/// from behind, since one that is taken shuts out all older ones.
fn split<'a>(mut part: Vec<Series<'a>>, reason: &str, known: &Known<'a>) -> Vec<Vec<Series<'a>>> {
    if part.len() > 1 {
        let behind = part.split_off(part.len() / 2);
        return vec![behind, part];
    }
    let one = |from: usize, to: usize| vec![Series { labels: part[0].labels, points: part[0].points.slice(from..to) }];
    let (samples, points) = (sent(&part[0]), part[0].points.len());
    if !matches!(reason, "too_old" | "out_of_order") {
        let middle = samples[samples.len() / 2];
        return vec![one(middle, points), one(0, middle)];
    }
    let misses = known.misses.get(part[0].labels).copied().unwrap_or(0);
    let leap = misses.checked_sub(SINGLE_STEPS).map_or(0, |leaps| 1 << (leaps / 4).min(32));
    let probe = samples[leap.min(samples.len() - 1)];
    vec![one(probe + 1, points), one(0, probe), one(probe, probe + 1)]
}

/// What the refusals so far say about other samples: a time, and the receiver's words.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// This and all later ones, in every series.
    pub(super) too_far: Option<(Timestamp, String)>,
    /// This and all earlier ones, in every series.
    too_old: Option<(Timestamp, String)>,
    /// This and all earlier ones of the series, and why.
    behind: HashMap<&'a Labels, (Timestamp, &'static str, String)>,
    /// How many samples of a series were refused at its beginning.
    misses: HashMap<&'a Labels, usize>,
}

impl<'a> Known<'a> {
    fn learn(&mut self, labels: &'a Labels, time: Timestamp, fault: &Fault) {
        let bound = (time, fault.message.clone());
        *self.misses.entry(labels).or_default() += 1;
        match fault.reason {
            "too_far_ahead" => self.too_far = Some(bound),
            // What is out of bounds is older than the store takes. Too old, without that, is one series only: another
            // one that has nothing newer may still be written there.
            "too_old" if fault.message.contains("out of bounds") => self.too_old = Some(bound),
            "too_old" | "out_of_order" => drop(self.behind.insert(labels, (time, fault.reason, bound.1))),
            _ => {}
        }
    }

    /// A series goes on after the samples that were taken, never before them.
    fn taken(&mut self, part: &[Series<'a>], fault: &Fault) {
        for series in part {
            let last = series.points.time(series.points.len() - 1);
            self.behind.insert(series.labels, (last, "out_of_order", fault.message.clone()));
        }
    }

    /// The part of the series that may be taken; the rest is counted.
    pub(super) fn trim(&self, series: Series<'a>, tally: &mut Tally) -> Option<Series<'a>> {
        let Series { labels, points } = series;
        let (mut from, mut to) = (0, points.len());
        let mut drop = |from: usize, to: usize, reason, message: &str| {
            if from < to {
                tally.reject(reason, points.slice(from..to).samples() as u64, message);
            }
        };
        let old = self.too_old.iter().map(|(time, message)| (time, "too_old", message));
        let behind = self.behind.get(labels).map(|(time, reason, message)| (time, *reason, message));
        for (time, reason, message) in old.chain(behind) {
            let first = points.index_from(Timestamp::from_millis(time.millis().saturating_add(1)));
            drop(from, first, reason, message);
            from = from.max(first);
        }
        if let Some((time, message)) = &self.too_far {
            let end = points.index_from(*time).max(from);
            drop(end, to, "too_far_ahead", message);
            to = end;
        }
        (from < to).then(|| Series { labels, points: points.slice(from..to) })
    }
}
