//! Many series on one step grid.

use std::collections::HashMap;

use crate::labels::Labels;
use crate::time::{Step, Timestamp};

/// Why numbers and labels don't make a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The values are not `series × points`.
    #[error("{values} values don't fill {series} series of {points} points")]
    Shape {
        /// How many series were named.
        series: usize,
        /// How many points each should have.
        points: usize,
        /// How many values were given.
        values: usize,
    },
    /// Two rows have the same labels.
    #[error("the series {0} is there twice")]
    Duplicate(Labels),
}

/// Many series on one step grid: `values[series, point]`, row-major and contiguous; a gap is NaN.
///
/// The point `i` of every series stands at `start + i × step`. No two series have the same labels.
#[derive(Clone, Debug)]
pub struct Frame {
    series: Vec<Labels>,
    start: Timestamp,
    step: Step,
    points: usize,
    values: Vec<f64>,
}

impl Frame {
    /// A frame of `series.len()` rows of `points` values.
    ///
    /// # Errors
    /// A wrong number of values, or two series of the same labels.
    pub fn new(
        series: Vec<Labels>,
        start: Timestamp,
        step: Step,
        points: usize,
        values: Vec<f64>,
    ) -> Result<Self, FrameError> {
        if Some(values.len()) != series.len().checked_mul(points) {
            return Err(FrameError::Shape { series: series.len(), points, values: values.len() });
        }
        let mut seen = std::collections::HashSet::with_capacity(series.len());
        if let Some(twice) = series.iter().find(|labels| !seen.insert(*labels)) {
            return Err(FrameError::Duplicate(twice.clone()));
        }
        Ok(Self { series, start, step, points, values })
    }

    /// A frame without series.
    pub fn empty(start: Timestamp, step: Step, points: usize) -> Self {
        Self { series: vec![], start, step, points, values: vec![] }
    }

    /// The labels of every series, in the order of the rows.
    pub fn series(&self) -> &[Labels] {
        &self.series
    }

    /// The time of the first point.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The distance between two points.
    pub fn step(&self) -> Step {
        self.step
    }

    /// How many points every series has.
    pub fn points(&self) -> usize {
        self.points
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The time of the point `index`, which may lie past the end.
    pub fn time(&self, index: usize) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + index as i64 * self.step.millis())
    }

    /// The time of the last point; one step before `start` where there is no point.
    pub fn end(&self) -> Timestamp {
        Timestamp::from_millis(self.start.millis() + (self.points as i64 - 1) * self.step.millis())
    }

    /// Which point stands at `time`; `None` off the grid and outside the frame.
    pub fn index(&self, time: Timestamp) -> Option<usize> {
        let offset = time.millis().checked_sub(self.start.millis())?;
        let index = usize::try_from(offset / self.step.millis()).ok()?;
        (offset >= 0 && offset % self.step.millis() == 0 && index < self.points).then_some(index)
    }

    /// Which point is nearest to `time`, the later one of two; `None` outside the frame.
    pub fn nearest(&self, time: Timestamp) -> Option<usize> {
        nearest(self.start, self.step, self.points, time)
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All values, row after row, to change in place.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The values of one series.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.points..(row + 1) * self.points]
    }

    /// The values of one series, to change in place.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.points..(row + 1) * self.points]
    }

    /// Labels and values of every series.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&Labels, &[f64])> {
        (0..self.series.len()).map(|row| (&self.series[row], self.row(row)))
    }

    /// How many values are there, gaps not counted.
    pub fn samples(&self) -> usize {
        self.values.iter().filter(|value| !value.is_nan()).count()
    }

    /// Labels, start, step, points and values, to be taken apart without a copy.
    pub fn into_parts(self) -> (Vec<Labels>, Timestamp, Step, usize, Vec<f64>) {
        (self.series, self.start, self.step, self.points, self.values)
    }
}

fn nearest(start: Timestamp, step: Step, points: usize, time: Timestamp) -> Option<usize> {
    let offset = time.millis().saturating_sub(start.millis()).saturating_add(step.millis() / 2);
    usize::try_from(offset.div_euclid(step.millis())).ok().filter(|index| *index < points)
}

/// Fills a frame from samples that come in any order: a sample goes to the nearest point of the grid, the last
/// one to come wins, and what lies outside is left out.
pub struct FrameBuilder {
    start: Timestamp,
    step: Step,
    points: usize,
    rows: HashMap<Labels, usize>,
    series: Vec<Labels>,
    values: Vec<f64>,
}

impl FrameBuilder {
    /// A builder for the grid of `points` points from `start`.
    pub fn new(start: Timestamp, step: Step, points: usize) -> Self {
        Self { start, step, points, rows: HashMap::new(), series: vec![], values: vec![] }
    }

    /// The row of `labels`, made of gaps where it is new.
    pub fn row(&mut self, labels: &Labels) -> usize {
        if let Some(&row) = self.rows.get(labels) {
            return row;
        }
        let row = self.series.len();
        self.rows.insert(labels.clone(), row);
        self.series.push(labels.clone());
        self.values.resize(self.values.len() + self.points, f64::NAN);
        row
    }

    /// Sets the point of `row` that is nearest to `time`; says whether there is one.
    pub fn set(&mut self, row: usize, time: Timestamp, value: f64) -> bool {
        let Some(index) = nearest(self.start, self.step, self.points, time) else { return false };
        self.values[row * self.points + index] = value;
        true
    }

    /// How many series there are so far.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// The frame.
    pub fn finish(self) -> Frame {
        Frame { series: self.series, start: self.start, step: self.step, points: self.points, values: self.values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(points: usize) -> Frame {
        let mut builder = FrameBuilder::new(Timestamp::from_seconds(60), Step::from_millis(60_000).unwrap(), points);
        let row = builder.row(&Labels::metric("up"));
        builder.set(row, Timestamp::from_seconds(125), 1.0);
        builder.finish()
    }

    #[test]
    fn a_sample_goes_to_the_nearest_point() {
        let frame = frame(3);
        assert_eq!(frame.row(0)[1], 1.0);
        assert!(frame.row(0)[0].is_nan() && frame.row(0)[2].is_nan());
        assert_eq!(frame.samples(), 1);
    }

    #[test]
    fn times_and_indices_agree() {
        let frame = frame(3);
        for index in 0..3 {
            assert_eq!(frame.index(frame.time(index)), Some(index));
        }
        assert_eq!(frame.index(frame.time(3)), None);
        assert_eq!(frame.index(Timestamp::from_seconds(0)), None);
        assert_eq!(frame.index(Timestamp::from_seconds(61)), None);
        assert_eq!(frame.end(), Timestamp::from_seconds(180));
    }

    #[test]
    fn wrong_shapes_and_doubles_are_refused() {
        let (up, step) = (Labels::metric("up"), Step::from_millis(1000).unwrap());
        let zero = Timestamp::default();
        assert!(matches!(Frame::new(vec![up.clone()], zero, step, 2, vec![1.0]), Err(FrameError::Shape { .. })));
        assert!(matches!(
            Frame::new(vec![up.clone(), up], zero, step, 1, vec![1.0, 2.0]),
            Err(FrameError::Duplicate(_))
        ));
    }
}
