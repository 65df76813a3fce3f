//! Level, season and the spread of what both leave.

use serde::Deserialize;

use crate::entry::{Built, Entry, Parameter, per_series};
use crate::prepare::Series;
use crate::residuals::{Residuals, normal};
use crate::resources::Resources;
use crate::rough::Rough;
use crate::season::SEASON;
use crate::season::Season;
use crate::spec::ModelSpec;
use crate::univariate::{Rows, Univariate};

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "std",
    aliases: &[],
    summary: "the last level and the median cycle, ± standard deviations of what they leave",
    parameters: &[Parameter { name: "period", ..SEASON }],
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SeasonalStd {
    period: Season,
}

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |model: SeasonalStd| model)
}

impl Univariate for SeasonalStd {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        let period = self.period.length(series).unwrap_or(1);
        let values = series.filled(Some(period));
        if values.len() < 8 {
            return None;
        }
        let rough = Rough::new(&values, period);
        let rest = series.values.iter().enumerate().filter(|(_, value)| !value.is_nan());
        let rest = Residuals::new(rest.map(|(at, value)| value - rough.at(at)).collect())?;
        // A median of so many cycles was fitted to the same values that it is compared with (its variance is π/2 that
        // of a mean): what comes is farther from it, and what was there is nearer.
        let part = if period > 1 { (1.57 * period as f64 / values.len() as f64).min(0.7) } else { 0.0 };
        let deviation = rest.deviation() * ((1.0 + part) / (1.0 - part)).sqrt();
        let offsets: Vec<f64> = rows.levels().iter().map(|level| deviation * normal(*level)).collect();
        for ahead in 0..rows.horizon() {
            let point = rough.at(values.len() + ahead);
            rows.set(ahead, &offsets.iter().map(|offset| point + offset).collect::<Vec<_>>());
        }
        Some(())
    }
}
