//! A graph that keeps to the contract: `context` in, `quantiles` out.

use ndarray::Array3;

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError, Input};

/// The contract and nothing else.
pub(crate) struct Nano;

impl Architecture for Nano {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let found = graph.run(&[("context", Input::F32(batch.contexts.into_dyn()))])?;
        let first = found.into_iter().next().unwrap_or_default();
        graph.quantiles(first)
    }
}
