//! Toto 2.0 (Khwaja et al., "Toto 2.0: Time Series Forecasting Enters the Scaling Era", 2026, and the package toto-2's
//! `Toto2Model.forecast`): one run answers all quantiles of a block of steps.

use ndarray::{Array3, Axis};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError};
use super::joint::Joint;
use super::rollout::{appended, joined, level, reached};

/// Beyond one run the median, or what is known of the future, is appended to the context, of which nothing is cut off:
/// how a patch is scaled depends on all that was before it.
pub(crate) struct Toto;

impl Architecture for Toto {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let joint = Joint::new(graph, batch)?;
        let median = level(graph, 0.5)?;
        let mut path = batch.contexts.to_owned();
        let mut parts = vec![joint.pass(path.view(), 0)?];
        while reached(&parts) < batch.horizon {
            let (done, last) = (reached(&parts), &parts[parts.len() - 1]);
            let forecast = last.index_axis(Axis(1), median).to_owned();
            let happened = joint.happened(forecast, done - last.len_of(Axis(2)));
            path = appended(path.view(), happened.view(), usize::MAX);
            parts.push(joint.pass(path.view(), done)?);
        }
        joined(graph, &parts, batch.horizon)
    }

    fn takes_joint(&self) -> bool {
        true
    }
}
