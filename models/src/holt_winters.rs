//! Level, damped trend and one season by exponential smoothing.

use serde::Deserialize;

use crate::entry::{Built, Entry, Parameter, per_series};
use crate::prepare::Series;
use crate::residuals::Residuals;
use crate::resources::Resources;
use crate::rough::Rough;
use crate::season::SEASON;
use crate::season::Season;
use crate::smoothing::{Smoothed, Start};
use crate::spec::ModelSpec;
use crate::univariate::{Rows, Univariate};

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "holt_winters",
    aliases: &["holtwinters"],
    summary: "additive Holt–Winters: level, damped trend and one season by exponential smoothing",
    parameters: &[
        SEASON,
        Parameter { name: "trend", default: "true", meaning: "whether a damped trend is followed, where there is one" },
    ],
    build,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HoltWinters {
    season: Season,
    trend: bool,
}

impl Default for HoltWinters {
    fn default() -> Self {
        Self { season: Season::Auto, trend: true }
    }
}

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |model: HoltWinters| model)
}

impl Univariate for HoltWinters {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        let period = self.season.length(series);
        let cycle = period.map_or(vec![0.0], |period| Rough::new(&series.filled(Some(period)), period).cycle);
        let start = Start { cycle: &cycle, seasonal: period.is_some(), trend: self.trend };
        let mut smoothed = Smoothed::fit(&series.values, start)?;
        let residuals = Residuals::new(std::mem::take(&mut smoothed.surprises))?;
        // The first cycle was fitted to the same values that it is compared with.
        let part = period.map_or(0.0, |period| (1.57 * period as f64 / series.len() as f64).min(0.7));
        let inflation = ((1.0 + part) / (1.0 - part)).sqrt();
        let widening = smoothed.widening(rows.horizon());
        rows.spread(&residuals, |ahead| (smoothed.point(ahead), inflation * widening[ahead]));
        Some(())
    }
}
