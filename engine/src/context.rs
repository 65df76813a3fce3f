//! What the model sees: the history of every series, kept and extended, never read twice.

use std::collections::HashMap;

use tsdb::{Frame, Labels, Step, Timestamp};

use crate::pipeline::Missing;

/// The newest part of every series of a pipeline, `[series, point]` on one grid; a gap is NaN.
///
/// Rows are only ever appended, so that a row number stays valid until [`History::forget_ended`].
#[derive(Debug)]
pub struct History {
    series: Vec<Labels>,
    rows: HashMap<Labels, usize>,
    start: Timestamp,
    step: Step,
    points: usize,
    // A row owns more room than it has points, so that most extensions move nothing.
    stride: usize,
    values: Vec<f64>,
}

impl History {
    /// A history that ends just before `start`.
    pub fn starting(start: Timestamp, step: Step) -> Self {
        Self { series: vec![], rows: HashMap::new(), start, step, points: 0, stride: 0, values: vec![] }
    }

    /// The history that is in `frame`.
    pub fn of(frame: Frame) -> Self {
        let (series, start, step, points, values) = frame.into_parts();
        let rows = series.iter().cloned().zip(0..).collect();
        Self { series, rows, start, step, points, stride: points, values }
    }

    /// The labels of every row.
    pub fn series(&self) -> &[Labels] {
        &self.series
    }

    /// The time of the first point.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The time of the last point; one step before the start where there is none.
    pub fn end(&self) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + (self.points as i64 - 1) * self.step.millis())
    }

    /// The distance between points.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The values of `row` from `first` to `last`, both included; what lies before the start is left out.
    pub fn range(&self, row: usize, first: Timestamp, last: Timestamp) -> &[f64] {
        let first = self.offset(first).clamp(0, self.points as i64) as usize;
        let last = (self.offset(last) + 1).clamp(first as i64, self.points as i64) as usize;
        &self.values[row * self.stride + first..row * self.stride + last]
    }

    /// The value of `row` at `time`; NaN where the history doesn't reach.
    pub fn value(&self, row: usize, time: Timestamp) -> f64 {
        self.range(row, time, time).first().copied().unwrap_or(f64::NAN)
    }

    /// The row of `series`.
    pub fn find(&self, series: &Labels) -> Option<usize> {
        self.rows.get(series).copied()
    }

    /// The newest point of `row` that is no gap.
    pub fn newest(&self, row: usize) -> Option<Timestamp> {
        self.newest_until(row, self.end())
    }

    /// The newest point of `row` up to `time` that is no gap.
    pub fn newest_until(&self, row: usize, time: Timestamp) -> Option<Timestamp> {
        let at = self.range(row, self.start, time).iter().rposition(|value| !value.is_nan())?;
        Some(self.start + self.step.times(at))
    }

    fn offset(&self, time: Timestamp) -> i64 {
        (time.millis() - self.start.millis()).div_euclid(self.step.millis())
    }

    /// Appends the points of `new`, which begin where this history ends, and keeps the newest `keep` points. Series
    /// that are new get gaps for the past; series that `new` doesn't have get gaps for its points.
    pub fn extend(&mut self, new: &Frame, keep: usize) {
        debug_assert_eq!(new.start(), self.end() + self.step, "the frame must begin where the history ends");
        self.make_room(new.points(), keep);
        let rows: Vec<usize> = new.series().iter().map(|labels| self.row(labels)).collect();
        for (row, values) in rows.into_iter().zip(new.rows().map(|(_, values)| values)) {
            let at = row * self.stride + self.points;
            self.values[at..at + values.len()].copy_from_slice(values);
        }
        self.points += new.points();
        let surplus = self.points.saturating_sub(keep.max(new.points()));
        self.drop_oldest_if_full(surplus, keep);
    }

    fn row(&mut self, labels: &Labels) -> usize {
        if let Some(&row) = self.rows.get(labels) {
            return row;
        }
        let row = self.series.len();
        self.series.push(labels.clone());
        self.rows.insert(labels.clone(), row);
        self.values.resize((row + 1) * self.stride, f64::NAN);
        row
    }

    /// Makes every row long enough for `more` points, and empties the room behind the last point.
    fn make_room(&mut self, more: usize, keep: usize) {
        let needed = self.points + more;
        if needed > self.stride {
            let stride = needed.max(keep) + keep / 4 + more;
            let mut values = vec![f64::NAN; self.series.len() * stride];
            for row in 0..self.series.len() {
                let old = &self.values[row * self.stride..row * self.stride + self.points];
                values[row * stride..row * stride + self.points].copy_from_slice(old);
            }
            (self.values, self.stride) = (values, stride);
        }
    }

    /// Moves the points to the front of their rows, without the oldest, once the room behind them is used up.
    fn drop_oldest_if_full(&mut self, surplus: usize, keep: usize) {
        if surplus == 0 || self.stride - self.points >= (keep / 4).min(surplus) {
            return;
        }
        for row in self.values.chunks_exact_mut(self.stride) {
            row.copy_within(surplus..self.points, 0);
            row[self.points - surplus..].fill(f64::NAN);
        }
        self.points -= surplus;
        self.start = self.start + self.step.times(surplus);
    }

    /// Gives back the room of the points before `first`.
    pub fn forget_before(&mut self, first: Timestamp) {
        let surplus = self.offset(first).clamp(0, self.points as i64) as usize;
        let kept = self.points - surplus;
        let rows = (0..self.series.len()).map(|row| row * self.stride + surplus);
        self.values = rows.flat_map(|at| &self.values[at..at + kept]).copied().collect();
        (self.points, self.stride) = (kept, kept);
        self.start = self.start + self.step.times(surplus);
    }

    /// Takes out the series without any value since `since`; says whether there were any, so that row numbers
    /// have changed.
    pub fn forget_ended(&mut self, since: Timestamp) -> bool {
        let alive: Vec<usize> = (0..self.series.len())
            .filter(|&row| self.range(row, since, self.end()).iter().any(|value| !value.is_nan()))
            .collect();
        if alive.len() == self.series.len() {
            return false;
        }
        for (to, &from) in alive.iter().enumerate() {
            self.values.copy_within(from * self.stride..(from + 1) * self.stride, to * self.stride);
        }
        self.series = alive.iter().map(|&row| self.series[row].clone()).collect();
        self.values.truncate(self.series.len() * self.stride);
        self.rows = self.series.iter().cloned().zip(0..).collect();
        true
    }
}

/// Replaces the gaps of one context as `missing` says. Gaps before the first value stay: nothing is known of that
/// time.
pub fn fill(context: &mut [f64], missing: Missing) {
    let Some(first) = context.iter().position(|value| !value.is_nan()) else { return };
    let context = &mut context[first..];
    match missing {
        Missing::Nan => {}
        Missing::Fixed(fixed) => context.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = fixed),
        Missing::Previous => {
            for at in 1..context.len() {
                if context[at].is_nan() {
                    context[at] = context[at - 1];
                }
            }
        }
        Missing::Linear => fill_linear(context),
    }
}

/// Puts every gap on the line between its neighbours; behind the last value it stays at that value.
fn fill_linear(context: &mut [f64]) {
    let mut known = 0;
    for at in 1..=context.len() {
        let next = context.get(at).copied().unwrap_or(context[known]);
        if next.is_nan() {
            continue;
        }
        let (from, span) = (context[known], (at - known) as f64);
        for (gap, value) in context[known..at].iter_mut().enumerate().skip(1) {
            *value = from + (next - from) * gap as f64 / span;
        }
        known = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step = Step::from_millis(1000).unwrap();
    const GAP: f64 = f64::NAN;

    fn frame(start: i64, rows: &[(&str, &[f64])]) -> Frame {
        let points = rows.first().map_or(1, |row| row.1.len());
        let values = rows.iter().flat_map(|row| row.1).copied().collect();
        let series = rows.iter().map(|row| Labels::metric(row.0)).collect();
        Frame::new(series, Timestamp::from_seconds(start), STEP, points, values).unwrap()
    }

    fn text(values: &[f64]) -> String {
        format!("{values:?}")
    }

    #[test]
    fn extending_point_by_point_is_the_same_as_reading_it_all() {
        let mut history = History::starting(Timestamp::from_seconds(0), STEP);
        for second in 0..100 {
            let value = second as f64;
            let mut rows: Vec<(&str, &[f64])> = vec![];
            let (a, b) = ([value], [-value]);
            rows.push(("a", &a));
            if second >= 50 {
                rows.push(("b", &b));
            }
            history.extend(&frame(second, &rows), 10);
            assert_eq!(history.end(), Timestamp::from_seconds(second));
        }
        let last = |row| text(history.range(row, Timestamp::from_seconds(95), Timestamp::from_seconds(99)));
        assert_eq!(last(0), text(&[95.0, 96.0, 97.0, 98.0, 99.0]));
        assert_eq!(last(1), text(&[-95.0, -96.0, -97.0, -98.0, -99.0]));
        assert!(history.start() <= Timestamp::from_seconds(90));
        assert!(history.start() >= Timestamp::from_seconds(80), "old points are dropped");
    }

    #[test]
    fn series_that_come_and_go_have_gaps_and_are_forgotten() {
        let mut history = History::of(frame(0, &[("a", &[1.0, 2.0]), ("b", &[3.0, GAP])]));
        history.extend(&frame(2, &[("c", &[5.0])]), 10);
        history.extend(&Frame::empty(Timestamp::from_seconds(3), STEP, 2), 10);
        let all = |history: &History, row| text(history.range(row, history.start(), history.end()));
        assert_eq!(all(&history, 0), text(&[1.0, 2.0, GAP, GAP, GAP]));
        assert_eq!(all(&history, 2), text(&[GAP, GAP, 5.0, GAP, GAP]));
        assert!(history.forget_ended(Timestamp::from_seconds(2)));
        assert_eq!(history.series(), [Labels::metric("c")]);
        assert_eq!(all(&history, 0), text(&[GAP, GAP, 5.0, GAP, GAP]));
        assert!(!history.forget_ended(Timestamp::from_seconds(2)));
        history.forget_before(Timestamp::from_seconds(2));
        assert_eq!(
            (history.start(), text(history.range(0, history.start(), history.end()))),
            (Timestamp::from_seconds(2), text(&[5.0, GAP, GAP]))
        );
        history.extend(&frame(5, &[("c", &[6.0])]), 10);
        assert_eq!(all(&history, 0), text(&[5.0, GAP, GAP, 6.0]));
    }

    #[test]
    fn ranges_stop_at_the_edges() {
        let history = History::of(frame(10, &[("a", &[1.0, 2.0, 3.0])]));
        let range = |from, to| history.range(0, Timestamp::from_seconds(from), Timestamp::from_seconds(to)).to_vec();
        assert_eq!(range(0, 10), [1.0]);
        assert_eq!(range(12, 50), [3.0]);
        assert!(range(0, 9).is_empty() && range(13, 20).is_empty() && range(12, 11).is_empty());
        assert!(history.value(0, Timestamp::from_seconds(9)).is_nan());
    }

    #[test]
    fn gaps_are_filled_as_asked() {
        let gappy = [GAP, 1.0, GAP, GAP, 4.0, GAP];
        let cases = [
            (Missing::Nan, [GAP, 1.0, GAP, GAP, 4.0, GAP]),
            (Missing::Previous, [GAP, 1.0, 1.0, 1.0, 4.0, 4.0]),
            (Missing::Linear, [GAP, 1.0, 2.0, 3.0, 4.0, 4.0]),
            (Missing::Fixed(0.0), [GAP, 1.0, 0.0, 0.0, 4.0, 0.0]),
        ];
        for (missing, expected) in cases {
            let mut context = gappy;
            fill(&mut context, missing);
            assert_eq!(text(&context), text(&expected), "{missing:?}");
        }
        let mut nothing = [GAP; 3];
        fill(&mut nothing, Missing::Linear);
        assert_eq!(text(&nothing), text(&[GAP; 3]));
    }
}
