//! Median and median absolute deviation, for all of the context or for each time of a season.

use crate::buckets::{Bucketed, PARAMETERS};
use crate::entry::{Built, Entry, per_series};
use crate::prepare::median;
use crate::residuals::{Residuals, normal};
use crate::resources::Resources;
use crate::spec::ModelSpec;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "mad",
    aliases: &["mad_online"],
    summary: "median ± median absolute deviations, flat or for each time of a season",
    parameters: PARAMETERS,
    build,
};

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |buckets| Bucketed { buckets, quantiles })
}

/// Normal quantiles around the median, with the standard deviation that the median absolute deviation implies; where
/// that is 0 because more than half of the values are equal, with the robust one of all values.
fn quantiles(mut values: Vec<f64>, levels: &[f64]) -> Vec<f64> {
    let centre = median(&mut values);
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    // As many as there are make the estimate unsure by about that much.
    let unsure = 1.0 + 2.0 / values.len().max(1) as f64;
    let deviation = match 1.4826 * median(&mut deviations) {
        0.0 => Residuals::new(values).map_or(0.0, |all| all.deviation()),
        typical => typical,
    };
    levels.iter().map(|level| centre + unsure * deviation * normal(*level)).collect()
}
