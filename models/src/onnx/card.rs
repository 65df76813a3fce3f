//! What a graph says of itself: which family it is of, what its quantiles are, how far it sees and how far it reaches.

use crate::forecast::Levels;

/// The architecture that a graph holds, which says how it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Family {
    /// The contract and nothing else: `context` in, `quantiles` out.
    Nano,
    /// Chronos-Bolt (Amazon).
    Bolt,
    /// Chronos-2 (Amazon).
    Chronos2,
    /// TimesFM 2.5 and later (Google).
    Timesfm,
    /// Toto 2.0 (Datadog).
    Toto,
}

/// What is known of a graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    /// The architecture.
    pub(crate) family: Family,
    /// The levels of its quantiles, in the order of its output.
    pub(crate) quantiles: Levels,
    /// How many steps ahead one run reaches, where the graph does not say otherwise by its output.
    pub(crate) horizon: usize,
    /// How many points a patch has: a context is padded to a multiple of it.
    pub(crate) patch: usize,
    /// The most points that it looks at.
    pub(crate) context_max: usize,
    /// The licence of the weights.
    pub(crate) license: Option<String>,
    /// Where the weights come from.
    pub(crate) source: Option<String>,
    /// The SHA-256 of the weights that it was made of.
    pub(crate) source_sha256: Option<String>,
    /// In which numbers the weights are held, as `fp32`.
    pub(crate) precision: Option<String>,
    /// What nobody said and was assumed, a sentence each.
    pub(crate) assumed: Vec<String>,
}
