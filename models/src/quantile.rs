//! The quantiles of what was there, for all of the context or for each time of a season.

use crate::buckets::{Bucketed, PARAMETERS};
use crate::entry::{Built, Entry, per_series};
use crate::residuals::Residuals;
use crate::resources::Resources;
use crate::spec::ModelSpec;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "quantile",
    aliases: &["quantile_online"],
    summary: "the quantiles of the values seen, flat or for each time of a season",
    parameters: PARAMETERS,
    build,
};

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |buckets| Bucketed { buckets, quantiles })
}

/// The quantiles of `values`; NaN without any.
pub(crate) fn quantiles(values: Vec<f64>, levels: &[f64]) -> Vec<f64> {
    let Some(distribution) = Residuals::plain(values) else { return vec![f64::NAN; levels.len()] };
    levels.iter().map(|level| distribution.quantile(*level)).collect()
}
