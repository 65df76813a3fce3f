//! The series of one request to an endpoint.

use crate::forecaster::Request;

/// A request holds no more points than this, unless a single series does: 32 MB of numbers.
const MOST_POINTS: usize = 4_000_000;

/// Some of the series of a [`Request`], known to the endpoint by their place in the batch, written as a number.
#[derive(Debug, Clone)]
pub(super) struct Batch<'a> {
    request: &'a Request<'a>,
    /// Which series of the request.
    pub(super) series: Vec<usize>,
}

impl<'a> Batch<'a> {
    /// Cuts a request into batches of at most `most` series. A series without any value is in none: nothing can be
    /// said of it.
    pub(super) fn of(request: &'a Request<'a>, most: usize) -> Vec<Self> {
        let mut batches: Vec<Self> = vec![];
        let mut points = 0;
        for (series, context) in request.contexts.iter().enumerate() {
            let length = known(context).len();
            if length == 0 {
                continue;
            }
            match batches.last_mut() {
                Some(last) if last.len() < most && points + length <= MOST_POINTS => last.series.push(series),
                _ => {
                    points = 0;
                    batches.push(Self { request, series: vec![series] });
                }
            }
            points += length;
        }
        batches
    }

    /// How many series there are: at least one.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// The history of a series from its first value on; what is not finite is a gap.
    pub(super) fn context(&self, at: usize) -> &'a [f64] {
        known(self.request.contexts[self.series[at]])
    }

    /// The histories, as [`Self::context`].
    pub(super) fn contexts(&self) -> impl Iterator<Item = &'a [f64]> {
        (0..self.len()).map(|at| self.context(at))
    }

    /// The quantile levels asked for, rising.
    pub(super) fn levels(&self) -> &'a [f64] {
        self.request.levels.as_slice()
    }

    /// How many points ahead are asked for.
    pub(super) fn horizon(&self) -> usize {
        self.request.horizon
    }

    /// The distance between two points, in nanoseconds: at least 1.
    pub(super) fn step_ns(&self) -> i128 {
        (self.request.step.as_nanos() as i128).max(1)
    }

    /// The time of the last point of every history, in nanoseconds since the Unix epoch.
    pub(super) fn end_ns(&self) -> i128 {
        i128::from(self.request.end_ms) * 1_000_000
    }

    /// The time of the point `back` steps before the last one, in milliseconds since the Unix epoch.
    pub(super) fn past_ms(&self, back: usize) -> i64 {
        past_ms(self.request.end_ms, self.step_ns(), back)
    }

    /// How many numbers the answer holds, a point forecast and times included.
    pub(super) fn numbers(&self) -> usize {
        let columns = self.levels().len() + 3;
        self.len().saturating_mul(self.horizon()).saturating_mul(columns)
    }

    /// Chooses the random part of the waits: another for each request, the same for the same one.
    pub(super) fn seed(&self) -> u64 {
        let first = self.series.first().copied().unwrap_or(0) as u64;
        (self.request.end_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ first
    }
}

/// The time of the point `back` steps before `end_ms`, in milliseconds; where no calendar reaches, the edge of it.
pub(super) fn past_ms(end_ms: i64, step_ns: i128, back: usize) -> i64 {
    let ms = i128::from(end_ms) - step_ns * back as i128 / 1_000_000;
    ms.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn known(context: &[f64]) -> &[f64] {
    let first = context.iter().position(|value| value.is_finite()).unwrap_or(context.len());
    &context[first..]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::forecast::Levels;

    #[test]
    fn batches_are_bounded_and_leave_out_what_has_no_value() {
        let gap = [f64::NAN, f64::INFINITY];
        let values = [f64::NAN, 1.0, f64::NAN];
        let contexts: [&[f64]; 6] = [&values, &gap, &[], &values, &values, &gap];
        let levels = Levels::new(vec![0.5]).unwrap();
        let request = Request::new(&contexts, 1000, Duration::from_millis(300), 2, &levels);
        let batches = Batch::of(&request, 2);
        assert_eq!(batches.iter().map(|batch| batch.series.clone()).collect::<Vec<_>>(), [vec![0, 3], vec![4]]);
        assert_eq!((batches[0].context(1).len(), batches[0].past_ms(2)), (2, 400));
        let long = vec![1.0; MOST_POINTS - 1];
        let contexts: [&[f64]; 4] = [&long, &values, &long, &long];
        let request = Request::new(&contexts, 1000, Duration::from_millis(300), 2, &levels);
        assert_eq!(Batch::of(&request, 9).len(), 4);
    }
}
