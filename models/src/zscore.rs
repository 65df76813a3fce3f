//! Mean and standard deviation, for all of the context or for each time of a season.

use crate::buckets::{Bucketed, PARAMETERS};
use crate::entry::{Built, Entry, per_series};
use crate::residuals::{Residuals, normal};
use crate::resources::Resources;
use crate::spec::ModelSpec;
/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "zscore",
    aliases: &["zscore_online"],
    summary: "mean ± standard deviations, both moved little by outliers, flat or for each time of a season",
    parameters: PARAMETERS,
    build,
};

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |buckets| Bucketed { buckets, quantiles })
}

/// Normal quantiles around the mean of the values, winsorised at 4 robust standard deviations.
fn quantiles(values: Vec<f64>, levels: &[f64]) -> Vec<f64> {
    let Some(distribution) = Residuals::new(values) else { return vec![f64::NAN; levels.len()] };
    let (mean, deviation) = (distribution.mean(), distribution.uncertain_deviation());
    levels.iter().map(|level| mean + deviation * normal(*level)).collect()
}
