//! A graph that keeps to the contract and needs nothing else: `context` in, `quantiles` out.

use ndarray::{Array2, Array3, ArrayView3, Axis, Zip, s};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError, Input};
use super::levels::LevelMap;
use crate::forecast::Levels;

/// The contract and nothing else.
///
/// Beyond the steps of one run the median is taken for what came, and the graph is asked again. It then knows nothing
/// of how unsure that was, so the variance of every run grows by as much as that of the runs before it has grown from
/// their first step to their last, on each side of the median: a random walk goes on spreading as it should, and what
/// returns to a level is not widened.
pub(crate) struct Nano;

impl Architecture for Nano {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let mut found = pass(graph, &batch.contexts.to_owned())?;
        if batch.horizon <= found.len_of(Axis(2)) {
            found.slice_collapse(s![.., .., ..batch.horizon]);
            return Ok(found);
        }
        unroll(graph, batch, found)
    }
}

fn pass(graph: &Graph, contexts: &Array2<f32>) -> Result<Array3<f32>, GraphError> {
    let name = graph.context().map_or("context", |port| port.name.as_str());
    let found = graph.run(&[(name, Input::F32(contexts.view().into_dyn()))])?;
    let first = found.into_iter().next().ok_or_else(|| graph.shape_error(&[], "an output".to_owned()))?;
    let found = graph.quantiles(first)?;
    let steps = found.len_of(Axis(2));
    if found.len_of(Axis(0)) == contexts.nrows() && steps > 0 {
        return Ok(found);
    }
    Err(graph.shape_error(found.shape(), format!("{} rows and a step or more", contexts.nrows())))
}

fn unroll(graph: &Graph, batch: &Batch<'_>, first: Array3<f32>) -> Result<Array3<f32>, GraphError> {
    let levels = &graph.card().quantiles;
    let (rows, count, steps) = first.dim();
    let mut all = Array3::zeros((rows, count, batch.horizon));
    let mut carried = Array2::zeros((rows, count));
    let mut contexts = batch.contexts.to_owned();
    let (mut found, mut from) = (first, 0);
    loop {
        let here = steps.min(batch.horizon - from);
        let medians = medians(found.view(), levels);
        widen(&mut found, &medians, &mut carried);
        all.slice_mut(s![.., .., from..from + here]).assign(&found.slice(s![.., .., ..here]));
        from += here;
        if from == batch.horizon {
            return Ok(all);
        }
        contexts = append(graph, &contexts, &medians);
        found = pass(graph, &contexts)?;
        if found.len_of(Axis(2)) != steps {
            return Err(graph.shape_error(found.shape(), format!("{steps} steps, as before")));
        }
    }
}

/// `[row, step ahead]`.
fn medians(found: ArrayView3<'_, f32>, levels: &Levels) -> Array2<f32> {
    let map = LevelMap::new(levels, levels);
    let mut column = vec![0.0; levels.len()];
    let mut medians = Array2::zeros((found.len_of(Axis(0)), found.len_of(Axis(2))));
    for (row, mut to) in found.outer_iter().zip(medians.outer_iter_mut()) {
        for (quantiles, to) in row.columns().into_iter().zip(to.iter_mut()) {
            column.iter_mut().zip(quantiles).for_each(|(to, value)| *to = f64::from(*value));
            column.sort_unstable_by(f64::total_cmp);
            *to = map.median(&column) as f32;
        }
    }
    medians
}

/// Adds the variance `carried`, `[row, level]`, and carries on by how much this run's own has grown.
fn widen(found: &mut Array3<f32>, medians: &Array2<f32>, carried: &mut Array2<f32>) {
    let lanes = Zip::indexed(found.lanes_mut(Axis(2))).and(carried);
    lanes.for_each(|(row, _), mut quantile, carried| {
        let median = medians.row(row);
        let own = |at: usize, value: f32| (value - median[at]).powi(2);
        let last = quantile.len() - 1;
        let grown = (own(last, quantile[last]) - own(0, quantile[0])).max(0.0);
        for (value, median) in quantile.iter_mut().zip(median) {
            let away = *value - median;
            *value = median + (away * away + *carried).sqrt().copysign(away);
        }
        *carried += grown;
    });
}

/// The contexts with the medians behind them, and as many points as the graph takes.
fn append(graph: &Graph, contexts: &Array2<f32>, medians: &Array2<f32>) -> Array2<f32> {
    let card = graph.card();
    let (rows, before) = contexts.dim();
    let whole = before + medians.ncols();
    let most = card.context_max.next_multiple_of(card.patch).max(before);
    let time = graph.fixed().1.unwrap_or_else(|| whole.next_multiple_of(card.patch).min(most));
    let mut longer = Array2::from_elem((rows, time), f32::NAN);
    let new = medians.ncols().min(time);
    longer.slice_mut(s![.., time - new..]).assign(&medians.slice(s![.., medians.ncols() - new..]));
    let kept = before.min(time - new);
    longer.slice_mut(s![.., time - new - kept..time - new]).assign(&contexts.slice(s![.., before - kept..]));
    longer
}
