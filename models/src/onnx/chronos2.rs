//! Chronos-2 (Ansari et al., "Chronos-2: From Univariate to Universal Forecasting", 2025, and its package's
//! `Chronos2Pipeline`): series of a group help to forecast each other, and known futures help too.

use ndarray::{Array2, Array3, Axis};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError};
use super::joint::Joint;
use super::rollout::{appended, joined, level, pooled, reached, weighted};

/// A run answers as many patches as the horizon needs, up to the graph's own: an answer depends on how many were asked
/// for. Beyond it, nine of its quantiles are appended to the context, known futures in place of what was forecast of
/// them, and the series of a group go on together at one level. Of all answers, weighted quantiles are taken.
pub(crate) struct Chronos2;

/// The levels that it goes on from.
const UNROLLED: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

impl Architecture for Chronos2 {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let joint = Joint::new(graph, batch)?;
        let mut parts = vec![joint.pass(batch.contexts, 0)?];
        let mut paths: Vec<Path> = vec![];
        while reached(&parts) < batch.horizon {
            if paths.is_empty() {
                paths = UNROLLED.iter().map(|wanted| Path::new(graph, batch, *wanted)).collect::<Result<_, _>>()?;
            }
            let next = next(graph, &joint, &mut paths, &parts)?;
            parts.push(next);
        }
        joined(graph, &parts, batch.horizon)
    }

    fn takes_joint(&self) -> bool {
        true
    }
}

/// What is taken to have happened at one level.
struct Path {
    /// Where that level stands among the graph's.
    level: usize,
    /// `[row, time]`.
    contexts: Array2<f32>,
}

impl Path {
    fn new(graph: &Graph, batch: &Batch<'_>, wanted: f64) -> Result<Self, GraphError> {
        Ok(Self { level: level(graph, wanted)?, contexts: batch.contexts.to_owned() })
    }
}

/// The run after all of `parts`, one level after the other, so that it is never larger than the batch.
fn next(
    graph: &Graph,
    joint: &Joint<'_, '_>,
    paths: &mut [Path],
    parts: &[Array3<f32>],
) -> Result<Array3<f32>, GraphError> {
    let (done, last) = (reached(parts), &parts[parts.len() - 1]);
    let mut answers = Vec::with_capacity(paths.len());
    for path in paths {
        let forecast = last.index_axis(Axis(1), path.level).to_owned();
        let happened = joint.happened(forecast, done - last.len_of(Axis(2)));
        path.contexts = appended(path.contexts.view(), happened.view(), graph.card().context_max);
        answers.push(joint.pass(path.contexts.view(), done)?);
    }
    let levels = graph.card().quantiles.as_slice();
    let weights = weights(levels);
    Ok(pooled(&answers, |samples| weighted(samples, &weights, levels)))
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
