//! From a request to batches for a graph and back: what all families share.
//!
//! Every context is cut to what the graph sees, centred and scaled in `f64` (single precision is wrong by many times
//! the spread of a series far from zero), and grouped with others of its length. A context with fewer values than the
//! model needs, or one that never changes, is no question for it: its median and spread are answered.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError};
use super::levels::LevelMap;
use crate::forecast::Forecast;
use crate::forecaster::{Covariate, Request};
use crate::prepare::Series;
use crate::univariate::Rows;

/// What is farther from the median than this, in scaled units, is cut off: its square is still a number in `f32`.
const FARTHEST: f64 = 1e12;
/// ONNX Runtime multiplies a single row by other means than several, which sum up in another order: a series alone would
/// not be told quite the same as in a batch.
const FEWEST_ROWS: usize = 2;
/// The group of rows that only fill up a batch.
const NOBODY: i64 = -1;
/// So many rows may be forecast together.
pub(crate) const MOST_TOGETHER: usize = 1024;

/// What can be set for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// The most points of a context that are looked at; by default as many as the graph takes.
    pub(crate) context: Option<usize>,
    /// With fewer values than this, the median and spread of the context are answered.
    pub(crate) least_context: usize,
    /// How many series go through the graph at once.
    pub(crate) batch: usize,
}

/// Forecasts every series of `request`.
///
/// # Errors
/// The graph's.
pub(crate) fn forecast(graph: &Graph, options: Options, request: &Request<'_>) -> Result<Forecast, GraphError> {
    forecast_by(graph.card().family.architecture(), graph, options, request)
}

fn forecast_by(
    architecture: &dyn Architecture,
    graph: &Graph,
    options: Options,
    request: &Request<'_>,
) -> Result<Forecast, GraphError> {
    let mut forecast = Forecast::unknown(request.contexts.len(), request.levels.clone(), request.horizon);
    let size = request.levels.len() * request.horizon;
    if size == 0 || request.contexts.is_empty() {
        return Ok(forecast);
    }
    let job = Job {
        graph,
        architecture,
        options,
        levels: request.levels.as_slice(),
        map: LevelMap::new(&graph.card().quantiles, request.levels),
        horizon: request.horizon,
        joint: request.is_joint(),
    };
    let seen = job.seen();
    // Where nothing is left of what is looked at, what was before is better than nothing.
    let whole = |context: &[f64]| Series::new(context, request.end_ms, request.step);
    let of = |context: &&[f64]| whole(last(context, seen)).or_else(|| whole(context));
    let series: Vec<Option<Series>> = request.contexts.par_iter().map(of).collect();
    let covariates: Vec<Known> = request.covariates.iter().filter_map(|one| Known::new(one, seen, request)).collect();
    let (asked, answered): (Vec<_>, Vec<_>) = series
        .iter()
        .zip(forecast.values_mut().chunks_mut(size))
        .filter_map(|(series, values)| Some(Answer { series: series.as_ref()?, values }))
        .partition(|answer| job.can_forecast(answer.series));
    answered.into_par_iter().for_each(|answer| job.flat(answer));
    let groups = groups(asked, &covariates, request.together);
    job.batches(groups).into_par_iter().try_for_each(|rows| job.run(rows))?;
    Ok(forecast)
}

/// The last `most` values.
fn last(values: &[f64], most: usize) -> &[f64] {
    &values[values.len().saturating_sub(most)..]
}

/// A covariate, scaled.
struct Known {
    series: Series,
    /// How many of the values are of the future.
    ahead: usize,
}

impl Known {
    /// `None` where nothing is known of its past.
    fn new(covariate: &Covariate<'_>, seen: usize, request: &Request<'_>) -> Option<Self> {
        let past = last(covariate.past, seen);
        let whole = [past, covariate.future].concat();
        let series = Series::new(&whole, request.end_ms, request.step)?;
        let ahead = covariate.future.len();
        let past = series.len().saturating_sub(ahead);
        series.values[..past].iter().any(|value| !value.is_nan()).then_some(Self { series, ahead })
    }
}

/// Where the forecast of a series goes: `[level, step ahead]`.
struct Answer<'a> {
    series: &'a Series,
    values: &'a mut [f64],
}

/// A row of a batch: a series to forecast, or a covariate.
struct Row<'a> {
    /// Scaled, oldest first.
    past: &'a [f64],
    /// What is known of the horizon, scaled.
    future: &'a [f64],
    /// Which rows it is forecast with.
    group: i64,
    answer: Option<Answer<'a>>,
}

/// Rows that are forecast together; most often one.
type Group<'a> = Vec<Row<'a>>;

fn groups<'a>(asked: Vec<Answer<'a>>, covariates: &'a [Known], together: bool) -> Vec<Group<'a>> {
    let row = |answer: Answer<'a>, group| Row { past: &answer.series.values, future: &[], group, answer: Some(answer) };
    let others = |group| {
        covariates.iter().map(move |known| {
            let (past, future) = known.series.values.split_at(known.series.len() - known.ahead);
            Row { past, future, group, answer: None }
        })
    };
    if together && !asked.is_empty() {
        return vec![asked.into_iter().map(|answer| row(answer, 0)).chain(others(0)).collect()];
    }
    let groups = (0..).zip(asked);
    groups.map(|(group, answer)| std::iter::once(row(answer, group)).chain(others(group)).collect()).collect()
}

fn longest(rows: &[Row<'_>]) -> usize {
    rows.iter().map(|row| row.past.len()).max().unwrap_or(0)
}

/// What is the same for every batch of a request.
struct Job<'a> {
    graph: &'a Graph,
    architecture: &'a dyn Architecture,
    options: Options,
    levels: &'a [f64],
    map: LevelMap,
    horizon: usize,
    joint: bool,
}

impl Job<'_> {
    /// How many points of a context are looked at.
    fn seen(&self) -> usize {
        let most = self.graph.fixed().1.unwrap_or(usize::MAX).min(self.graph.card().context_max);
        self.options.context.unwrap_or(most).min(most)
    }

    /// Whether there is enough of a series, and it is not the same all the time up to what a float can tell.
    fn can_forecast(&self, series: &Series) -> bool {
        let enough = series.present >= self.options.least_context && series.len() <= self.seen();
        enough && series.range.0 < series.range.1 && series.floor < 1.0
    }

    fn flat(&self, answer: Answer<'_>) {
        let mut rows = Rows::new(answer.values, self.levels, self.horizon);
        rows.flat(answer.series);
        rows.finish(answer.series);
    }

    /// Groups of one length, in whole patches, go together, in batches of as many as were set, or fewer where there is
    /// a session for each. Were shorter ones padded to the longest, sums would be rounded otherwise than for the same
    /// series alone (Chronos-2: by 1e-5 of its spread); so they are the same to the last bit.
    fn batches<'r>(&self, mut groups: Vec<Group<'r>>) -> Vec<Group<'r>> {
        let rows: usize = groups.iter().map(Vec::len).sum();
        let even = rows.div_ceil(self.graph.sessions());
        let most = self.graph.fixed().0.unwrap_or_else(|| even.clamp(self.options.batch.min(8), self.options.batch));
        groups.sort_by_key(|group| std::cmp::Reverse(longest(group)));
        let mut batches: Vec<Group<'r>> = vec![];
        for mut group in groups {
            match batches.last_mut() {
                Some(batch) if batch.len() + group.len() <= most && self.time(&group) == self.time(batch) => {
                    batch.append(&mut group);
                }
                _ => batches.push(group),
            }
        }
        batches
    }

    /// How many points the longest of `rows` takes in the graph.
    fn time(&self, rows: &[Row<'_>]) -> usize {
        self.graph.fixed().1.unwrap_or_else(|| longest(rows).next_multiple_of(self.graph.card().patch))
    }

    fn run(&self, rows: Group<'_>) -> Result<(), GraphError> {
        let fixed_rows = self.graph.fixed().0;
        let time = self.time(&rows);
        let count = fixed_rows.unwrap_or(FEWEST_ROWS).max(rows.len());
        // In place of rows that are not there, the graph gets the first one again.
        let filled = || rows.iter().chain(std::iter::repeat_n(&rows[0], count - rows.len()));
        let mut contexts = Array2::from_elem((count, time), f32::NAN);
        for (mut to, row) in contexts.outer_iter_mut().zip(filled()) {
            write(&mut to.as_slice_mut().unwrap_or_default()[time - row.past.len()..], row.past);
        }
        let joint = self.joint.then(|| {
            let (mut groups, future) = self.known(filled(), count);
            groups[rows.len()..].fill(NOBODY);
            (groups, future)
        });
        let batch = Batch {
            contexts: contexts.view(),
            horizon: self.horizon,
            groups: joint.as_ref().map(|(groups, _)| groups.as_slice()),
            future: joint.as_ref().map(|(_, future)| future.view()),
        };
        let found = self.architecture.predict(self.graph, &batch)?;
        let levels = self.graph.card().quantiles.len();
        if found.dim() != (count, levels, self.horizon) {
            let expected = format!("[{count} rows, {levels} quantiles, {} steps]", self.horizon);
            return Err(self.graph.shape_error(found.shape(), expected));
        }
        for (row, quantiles) in rows.into_iter().zip(found.outer_iter()) {
            if let Some(answer) = row.answer {
                self.answer(answer, quantiles);
            }
        }
        Ok(())
    }

    /// The groups of rows, and what is known of their future.
    fn known<'r>(&self, rows: impl Iterator<Item = &'r Row<'r>>, count: usize) -> (Vec<i64>, Array2<f32>) {
        let mut future = Array2::from_elem((count, self.horizon), f32::NAN);
        let groups = rows.zip(future.outer_iter_mut()).map(|(row, mut to)| {
            write(&mut to.as_slice_mut().unwrap_or_default()[..row.future.len()], row.future);
            row.group
        });
        (groups.collect(), future)
    }

    /// Writes down a row's quantiles `[level of the card, step ahead]` at the levels asked for; its median and spread
    /// where the graph answers no number.
    fn answer(&self, answer: Answer<'_>, quantiles: ArrayView2<'_, f32>) {
        let mut rows = Rows::new(answer.values, self.levels, self.horizon);
        let mut wanted = vec![0.0; self.levels.len()];
        let mut column = vec![0.0; quantiles.len_of(Axis(0))];
        for (ahead, found) in quantiles.columns().into_iter().enumerate() {
            for (to, value) in column.iter_mut().zip(found) {
                *to = f64::from(*value);
            }
            // A graph's quantiles may cross.
            column.sort_unstable_by(f64::total_cmp);
            for (to, value) in wanted.iter_mut().zip(self.map.wanted(&column)) {
                *to = value;
            }
            rows.set(ahead, &wanted);
        }
        if !rows.is_finite() {
            rows.flat(answer.series);
        }
        rows.finish(answer.series);
    }
}

/// Scaled values in single precision; a gap stays NaN.
fn write(to: &mut [f32], from: &[f64]) {
    for (to, value) in to.iter_mut().zip(from) {
        *to = value.clamp(-FARTHEST, FARTHEST) as f32;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use ndarray::Array3;

    use super::*;
    use crate::check::noise;
    use crate::forecast::Levels;
    use crate::onnx::Settings;
    use crate::onnx::tiny::Tiny;

    const NAN: f64 = f64::NAN;

    /// A batch: contexts `[row, time]`, groups, and the future `[row, horizon]`.
    type Asked = (Array2<f32>, Vec<i64>, Array2<f32>);

    /// Answers the number of the row, and keeps what it was asked.
    #[derive(Default)]
    struct Spy(Mutex<Vec<Asked>>);

    impl Architecture for Spy {
        fn predict(&self, _: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
            let shape = (batch.contexts.nrows(), 3, batch.horizon);
            let future = batch.future.map(|future| future.to_owned()).unwrap_or_default();
            let asked = (batch.contexts.to_owned(), batch.groups.unwrap_or_default().to_vec(), future);
            self.0.lock().unwrap().push(asked);
            Ok(Array3::from_shape_fn(shape, |(row, level, _)| row as f32 + level as f32 / 10.0))
        }
    }

    /// The batches that a model is asked of `contexts`.
    fn asked(contexts: &[&[f64]], together: bool, covariates: &[Covariate<'_>]) -> Vec<Asked> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.onnx");
        std::fs::write(&path, Tiny::new().file()).unwrap();
        let graph = Graph::open(&path, &Settings { sessions: Some(1), ..Settings::default() }).unwrap();
        let (spy, levels) = (Spy::default(), Levels::new(vec![0.5]).unwrap());
        let plain = Request::new(contexts, 0, Duration::from_secs(60), 2, &levels);
        let request = Request { together, covariates, ..plain };
        let options = Options { context: None, least_context: 4, batch: 4 };
        let forecast = forecast_by(&spy, &graph, options, &request).unwrap();
        assert_eq!(forecast.series(), contexts.len());
        assert!((0..contexts.len()).all(|series| forecast.of(series).iter().all(|value| value.is_finite())));
        spy.0.into_inner().unwrap()
    }

    #[test]
    fn rows_of_one_length_go_together() {
        let lengths = [5, 60, 9, 200, 58, 12, 64];
        let series: Vec<Vec<f64>> = lengths.iter().map(|length| noise(*length, 1)).collect();
        let contexts: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
        let batches = asked(&contexts, false, &[]);
        // Rounded up to patches of 4, cut to 64 points, and none padded any further; never a row alone.
        let mut shapes: Vec<_> = batches.iter().map(|(contexts, ..)| contexts.dim()).collect();
        shapes.sort_unstable();
        assert_eq!(shapes, [(2, 8), (2, 12), (2, 60), (2, 64)]);
        assert!(batches.iter().all(|(_, groups, future)| groups.is_empty() && future.is_empty()));
    }

    #[test]
    fn what_is_no_question_is_not_asked() {
        let (series, few) = (noise(40, 1), [vec![NAN; 30], noise(3, 2)].concat());
        let batches = asked(&[&series, &[5.0; 40], &few], false, &[]);
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].0.dim(), (2, 40), "one question, and it again");
    }

    #[test]
    fn gaps_are_gaps_and_what_is_short_is_padded_on_its_left() {
        let batches = asked(&[&[-2.0, -1.0, 0.0, NAN, 1.0, 2.0], &[3.0, 1.0, 2.0, 4.0, 5.0]], false, &[]);
        let text = format!("{:?}", batches[0].0.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>());
        assert_eq!(text, "[[NaN, NaN, -2.0, -1.0, 0.0, NaN, 1.0, 2.0], [NaN, NaN, NaN, 0.0, -2.0, -1.0, 1.0, 2.0]]");
    }

    #[test]
    fn covariates_go_with_every_series() {
        let (a, b) = (noise(20, 1), noise(16, 2));
        let past: Vec<f64> = (0..18).map(f64::from).collect();
        let known = Covariate { past: &past, future: &[18.0, NAN] };
        let nothing = Covariate { past: &[NAN, NAN], future: &[1.0, 2.0] };
        let past_only = Covariate { past: &past, future: &[] };
        let batches = asked(&[&a, &b], false, &[known, nothing]);
        let (contexts, groups, future) = &batches[0];
        assert_eq!((contexts.dim(), future.dim(), groups.as_slice()), ((4, 20), (4, 2), &[0, 0, 1, 1][..]));
        for row in [1, 3] {
            // The step from the last known value to the first known one ahead is as long as any other.
            let step = contexts[[row, 19]] - contexts[[row, 18]];
            assert!((future[[row, 0]] - contexts[[row, 19]] - step).abs() < 1e-5 && future[[row, 1]].is_nan());
            assert!(future.row(row - 1).iter().all(|value| value.is_nan()));
        }
        let (contexts, groups, future) = &asked(&[&a, &b], true, &[known, past_only])[0];
        assert_eq!((contexts.dim(), groups.as_slice()), ((4, 20), &[0; 4][..]));
        assert!(future.row(3).iter().all(|value| value.is_nan()) && future[[2, 0]].is_finite());
    }
}
