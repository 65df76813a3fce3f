//! The quantiles of the last values.

use serde::Deserialize;

use crate::entry::{Built, Entry, Parameter, per_series};
use crate::prepare::Series;
use crate::quantile::quantiles;
use crate::resources::Resources;
use crate::season::Length;
use crate::spec::ModelSpec;
use crate::univariate::{Rows, Univariate};

/// Fewer values than this are looked for farther back.
const FEWEST: usize = 8;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "rolling_quantile",
    aliases: &[],
    summary: "the quantiles of the values in the last window",
    parameters: &[Parameter {
        name: "window",
        default: "288",
        meaning: "how far back to look, as a number of points or a duration; also accepted as window_steps",
    }],
    build,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollingQuantile {
    #[serde(alias = "window_steps")]
    window: Length,
}

impl Default for RollingQuantile {
    fn default() -> Self {
        Self { window: Length::Points(288) }
    }
}

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |model: RollingQuantile| model)
}

impl Univariate for RollingQuantile {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        let window = self.window.points(series.step_ms);
        let latest = series.values.iter().rev().enumerate().filter(|(_, value)| !value.is_nan());
        let seen = latest.enumerate().take_while(|(count, (back, _))| *count < FEWEST || *back < window);
        let quantiles = quantiles(seen.map(|(_, (_, value))| *value).collect(), rows.levels());
        (0..rows.horizon()).for_each(|ahead| rows.set(ahead, &quantiles));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{forecast, request};

    #[test]
    fn only_the_window_counts() {
        let mut context = vec![1e6; 200];
        context[170..].fill(3.0);
        for window in [r#"{"window": 30}"#, r#"{"window_steps": 20}"#, r#"{"window": "2h"}"#] {
            let found = forecast("rolling_quantile", window, &request(&[&context]));
            assert!((found.quantile(0, 3)[0] - 3.0).abs() < 1e-6, "{window}");
            assert!(found.quantile(0, 6)[0] < 1e4, "{window}");
        }
    }
}
