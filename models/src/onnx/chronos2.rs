//! Chronos-2 (Ansari et al., "Chronos-2: From Univariate to Universal Forecasting", 2025, and its package's
//! `Chronos2Pipeline`): series of a group help to forecast each other, and known futures help too.

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Zip, s};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError, Input};
use super::rollout::{appended, group_ids, joined, level, pooled, quantiles, reached, weighted};

/// A run answers as many patches as the horizon needs, up to the graph's own: an answer depends on how many were asked
/// for. Beyond it, nine of its quantiles are appended to the context, known futures in place of what was forecast of
/// them, and the series of a group go on together at one level. Of all answers, weighted quantiles are taken.
pub(crate) struct Chronos2;

/// The levels that it goes on from.
const UNROLLED: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

const FUTURE: &str = "future";

impl Architecture for Chronos2 {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let asked = Asked::new(graph, batch)?;
        let mut parts = vec![asked.pass(batch.contexts, 0)?];
        if reached(&parts) >= batch.horizon {
            return joined(graph, &parts, batch.horizon);
        }
        let chosen = UNROLLED.iter().map(|wanted| level(graph, *wanted)).collect::<Result<Vec<_>, _>>()?;
        let mut paths = vec![batch.contexts.to_owned(); chosen.len()];
        while reached(&parts) < batch.horizon {
            let next = asked.next(&mut paths, &chosen, &parts)?;
            parts.push(next);
        }
        joined(graph, &parts, batch.horizon)
    }

    fn takes_joint(&self) -> bool {
        true
    }
}

/// What stays the same from run to run.
struct Asked<'g, 'a> {
    graph: &'g Graph,
    groups: Array1<i64>,
    known: Option<ArrayView2<'a, f32>>,
    horizon: usize,
}

impl<'g, 'a> Asked<'g, 'a> {
    fn new(graph: &'g Graph, batch: &Batch<'a>) -> Result<Self, GraphError> {
        let known = batch.future.filter(|future| future.iter().any(|value| value.is_finite()));
        if known.is_some() && graph.input(FUTURE).is_none() {
            return Err(graph.refused("it has no input for known futures"));
        }
        let groups = group_ids(batch.groups, batch.contexts.nrows());
        Ok(Self { graph, groups, known, horizon: batch.horizon })
    }

    /// The answer to `contexts`, which end `done` steps after those of the batch.
    fn pass(&self, contexts: ArrayView2<'_, f32>, done: usize) -> Result<Array3<f32>, GraphError> {
        let future = self.graph.input(FUTURE).map(|_| self.known(done, self.steps(done)));
        let mut others = vec![("group_ids", Input::I64(self.groups.view().into_dyn()))];
        if let Some(future) = &future {
            others.push((FUTURE, Input::F32(future.view().into_dyn())));
        }
        quantiles(self.graph, contexts, &others)
    }

    /// How many steps are asked for after `done`: whole patches, no more than the graph answers at once.
    fn steps(&self, done: usize) -> usize {
        let card = self.graph.card();
        let patch = card.patch.max(1);
        ((self.horizon - done).div_ceil(patch) * patch).min(card.horizon.max(patch))
    }

    /// What is known of `steps` after `done`, `[row, steps]`; NaN where nothing is.
    fn known(&self, done: usize, steps: usize) -> Array2<f32> {
        let mut found = Array2::from_elem((self.groups.len(), steps), f32::NAN);
        if let Some(known) = self.known {
            let end = (done + steps).min(known.ncols());
            let given = known.slice(s![.., done.min(end)..end]);
            found.slice_mut(s![.., ..given.ncols()]).assign(&given);
        }
        found
    }

    /// The run after all of `parts`; one level after the other, so that it is never larger than the batch.
    fn next(
        &self,
        paths: &mut [Array2<f32>],
        chosen: &[usize],
        parts: &[Array3<f32>],
    ) -> Result<Array3<f32>, GraphError> {
        let (done, last) = (reached(parts), &parts[parts.len() - 1]);
        let given = self.known(done - last.len_of(Axis(2)), last.len_of(Axis(2)));
        let mut answers = Vec::with_capacity(paths.len());
        for (path, level) in paths.iter_mut().zip(chosen) {
            let mut happened = last.index_axis(Axis(1), *level).to_owned();
            Zip::from(&mut happened).and(&given).for_each(|value, given| {
                if !given.is_nan() {
                    *value = *given;
                }
            });
            *path = appended(path.view(), happened.view(), self.graph.card().context_max);
            answers.push(self.pass(path.view(), done)?);
        }
        let levels = self.graph.card().quantiles.as_slice();
        let weights = weights(levels);
        Ok(pooled(&answers, |samples| weighted(samples, &weights, levels)))
    }
}

/// How much probability each sample stands for, `[unrolled level, level]`: the product of both levels' shares.
fn weights(levels: &[f64]) -> Vec<f64> {
    let own = masses(levels);
    masses(&UNROLLED).iter().flat_map(|unrolled| own.iter().map(move |own| unrolled * own)).collect()
}

/// The share of each level: half of the way to its neighbours, of which the outer ones are 0 and 1.
fn masses(levels: &[f64]) -> Vec<f64> {
    let before = std::iter::once(0.0).chain(levels.iter().copied());
    let after = levels.iter().skip(1).copied().chain(std::iter::once(1.0));
    let shares: Vec<f64> = before.zip(after).map(|(before, after)| (after - before) / 2.0).collect();
    let whole: f64 = shares.iter().sum();
    shares.iter().map(|share| share / whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_stands_for_half_of_the_way_to_its_neighbours() {
        // What `_get_prob_mass_per_quantile_level` of the package answers.
        let expected = [0.111_111, 0.222_222, 0.388_889, 0.277_778];
        let found = masses(&[0.1, 0.2, 0.5, 0.9]);
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
        assert_eq!(masses(&[0.3]), [1.0]);
        let samples = weights(&[0.1, 0.5, 0.9]);
        assert_eq!(samples.len(), 27);
        assert!((samples.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
