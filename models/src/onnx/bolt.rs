//! Chronos-Bolt (Ansari et al., "Chronos: Learning the Language of Time Series", 2024, and its package's
//! `ChronosBoltPipeline`): one run answers all quantiles of 64 steps.

use ndarray::{Array2, Array3, Axis};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError};
use super::rollout::{appended, empirical, joined, pooled, quantiles, reached};

/// Beyond one run, each of its quantiles is appended to the context as if it had happened. Of the answers to all of
/// those trajectories, empirical quantiles are taken; they are the next steps, and are what is appended after it.
pub(crate) struct Bolt;

impl Architecture for Bolt {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let levels = graph.card().quantiles.as_slice();
        let mut parts = vec![quantiles(graph, batch.contexts, &[])?];
        let mut paths: Vec<Array2<f32>> = vec![];
        while reached(&parts) < batch.horizon {
            if paths.is_empty() {
                paths = vec![batch.contexts.to_owned(); levels.len()];
            }
            let next = next(graph, &mut paths, &parts[parts.len() - 1])?;
            parts.push(next);
        }
        joined(graph, &parts, batch.horizon)
    }
}

/// One path after the other rather than all at once, so that a run is never larger than the batch.
fn next(graph: &Graph, paths: &mut [Array2<f32>], last: &Array3<f32>) -> Result<Array3<f32>, GraphError> {
    let card = graph.card();
    let mut answers = Vec::with_capacity(paths.len());
    for (path, happened) in paths.iter_mut().zip(last.axis_iter(Axis(1))) {
        *path = appended(path.view(), happened, card.context_max);
        answers.push(quantiles(graph, path.view(), &[])?);
    }
    Ok(pooled(&answers, |samples| empirical(samples, card.quantiles.as_slice())))
}
