//! Toto 2.0 (Khwaja et al., "Toto 2.0: Time Series Forecasting Enters the Scaling Era", 2026, and the package toto-2's
//! `Toto2Model.forecast`): one run answers all quantiles of a block of steps.

use ndarray::{Array3, ArrayView2, Axis};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError, Input};
use super::rollout::{appended, group_ids, joined, level, quantiles, reached};

/// Rows of one number in `series_ids` are forecast together. Beyond one run the median is appended as if it had
/// happened.
pub(crate) struct Toto;

impl Architecture for Toto {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        if batch.future.is_some_and(|future| future.iter().any(|value| value.is_finite())) {
            return Err(graph.refused("it has no input for known futures"));
        }
        let ids = group_ids(batch.groups, batch.contexts.nrows());
        let pass = |contexts: ArrayView2<'_, f32>| {
            quantiles(graph, contexts, &[("series_ids", Input::I64(ids.view().into_dyn()))])
        };
        let mut parts = vec![pass(batch.contexts)?];
        let mut path = batch.contexts.to_owned();
        while reached(&parts) < batch.horizon {
            let happened = parts[parts.len() - 1].index_axis(Axis(1), level(graph, 0.5)?);
            path = appended(path.view(), happened, graph.card().context_max);
            parts.push(pass(path.view())?);
        }
        joined(graph, &parts, batch.horizon)
    }

    fn takes_joint(&self) -> bool {
        true
    }
}
