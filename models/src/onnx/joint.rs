//! Graphs that forecast rows of a group together, and take what is known of their future.

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Zip, s};

use super::family::Batch;
use super::graph::{Graph, GraphError, Input};
use super::rollout::quantiles;

/// Every row attends to every other one in each patch: so many pairs, over all patches of a batch, take about half a
/// gigabyte for twelve attention heads.
const MOST_PAIRS: usize = 10_000_000;

const FUTURE: &str = "future";

/// What stays the same from run to run of one batch.
pub(super) struct Joint<'g, 'b> {
    graph: &'g Graph,
    /// The input that tells which rows belong together.
    group_input: &'g str,
    /// A number for each row.
    groups: Array1<i64>,
    /// `[row, horizon]`, NaN where nothing is known.
    known: Option<ArrayView2<'b, f32>>,
    horizon: usize,
}

impl<'g, 'b> Joint<'g, 'b> {
    /// Prepares runs of `graph` for `batch`. Without groups, each row is one of its own.
    ///
    /// # Errors
    /// The graph has no input for groups, or none for known futures where there are any, or the batch is too large.
    pub(super) fn new(graph: &'g Graph, batch: &Batch<'b>) -> Result<Self, GraphError> {
        let known = batch.future.filter(|future| future.iter().any(|value| value.is_finite()));
        if known.is_some() && graph.input(FUTURE).is_none() {
            return Err(graph.refused("it has no input for known futures"));
        }
        let names = ["group_ids", "series_ids"];
        let group_input = names.iter().find_map(|name| graph.input(name)).map(|port| port.name.as_str());
        let group_input =
            group_input.ok_or_else(|| graph.refused(format!("it has no input {}", names.join(" or "))))?;
        let (rows, time) = batch.contexts.dim();
        check_pairs(graph, rows, time + batch.horizon.min(graph.card().horizon))?;
        let groups = batch.groups.map_or_else(|| (0..rows as i64).collect(), |groups| groups.iter().copied().collect());
        Ok(Self { graph, group_input, groups, known, horizon: batch.horizon })
    }

    /// The answer to `contexts`, which end `done` steps after those of the batch: as many steps as are still needed, or
    /// as one run has.
    ///
    /// # Errors
    /// The graph's.
    pub(super) fn pass(&self, contexts: ArrayView2<'_, f32>, done: usize) -> Result<Array3<f32>, GraphError> {
        let future = self.graph.input(FUTURE).map(|_| self.known(done, self.steps(done)));
        let mut others = vec![(self.group_input, Input::I64(self.groups.view().into_dyn()))];
        if let Some(future) = &future {
            others.push((FUTURE, Input::F32(future.view().into_dyn())));
        }
        quantiles(self.graph, contexts, &others)
    }

    /// What is taken to have happened, `[row, step]`, after `done` steps: what is known of it, else `forecast`.
    pub(super) fn happened(&self, mut forecast: Array2<f32>, done: usize) -> Array2<f32> {
        let known = self.known(done, forecast.len_of(Axis(1)));
        Zip::from(&mut forecast).and(&known).for_each(|value, known| {
            if !known.is_nan() {
                *value = *known;
            }
        });
        forecast
    }

    /// How many steps are asked for after `done`: whole patches.
    fn steps(&self, done: usize) -> usize {
        let card = self.graph.card();
        let left = self.horizon.saturating_sub(done);
        left.next_multiple_of(card.patch.max(1)).min(card.horizon)
    }

    /// What is known of `steps` after `done`, `[row, step]`; NaN where nothing is.
    fn known(&self, done: usize, steps: usize) -> Array2<f32> {
        let mut found = Array2::from_elem((self.groups.len(), steps), f32::NAN);
        if let Some(known) = self.known {
            let end = (done + steps).min(known.ncols());
            let given = known.slice(s![.., done.min(end)..end]);
            found.slice_mut(s![.., ..given.ncols()]).assign(&given);
        }
        found
    }
}

fn check_pairs(graph: &Graph, rows: usize, time: usize) -> Result<(), GraphError> {
    let patches = time.div_ceil(graph.card().patch.max(1)).max(1);
    let most = (MOST_PAIRS / patches).isqrt().max(1);
    if rows <= most {
        return Ok(());
    }
    Err(graph.refused(format!(
        "it can forecast {most} series and covariates together over {time} points, not {rows}; a shorter context lets \
         it take more"
    )))
}
