//! What differs from architecture to architecture: how a batch is put to its graph, and how it goes on beyond one run.

use ndarray::{Array3, ArrayView2};

use super::card::Family;
use super::graph::{Graph, GraphError};

/// Rows that are forecast in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// `[row, time]`, centred and scaled row by row, in standard layout. A missing value is NaN, and so is what a
    /// shorter row is padded with on its left; `time` is a multiple of the card's patch, at most its `context_max`
    /// rounded up to that. Every row has a value.
    pub(crate) contexts: ArrayView2<'a, f32>,
    /// How many steps ahead are asked for: at least one.
    pub(crate) horizon: usize,
    /// Which rows are forecast together, an id for each; none where each is on its own.
    pub(crate) groups: Option<&'a [i64]>,
    /// `[row, horizon]`: what is known of the future, NaN where it is to be forecast; only with `groups`.
    pub(crate) future: Option<ArrayView2<'a, f32>>,
}

/// How one architecture is asked.
pub(crate) trait Architecture: Send + Sync {
    /// Quantiles `[row, level of the card, horizon]` in the units of the contexts. They may cross.
    ///
    /// # Errors
    /// The graph's.
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError>;

    /// Whether it knows groups and a known future.
    fn takes_joint(&self) -> bool {
        false
    }
}

impl Family {
    /// How it is asked.
    pub(crate) fn architecture(self) -> &'static dyn Architecture {
        match self {
            Self::Nano => &super::nano::Nano,
            Self::Bolt => &super::bolt::Bolt,
            Self::Chronos2 => &super::chronos2::Chronos2,
            Self::Timesfm => &super::timesfm::Timesfm,
            Self::Toto => &super::toto::Toto,
        }
    }
}
