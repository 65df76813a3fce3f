//! One distribution for each time of the day, the week or another season.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::entry::Parameter;
use crate::prepare::Series;
use crate::season::Length;
use crate::univariate::{Rows, Univariate};

const HOUR_MS: i64 = 3_600_000;
/// A bucket with fewer values than this is answered with the distribution of all values.
const ENOUGH: usize = 8;

/// What the parameters of [`Buckets`] mean.
pub(crate) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "seasonal_interval",
        default: "none",
        meaning: "the season, such as 1d or 1w, that is cut into buckets with a distribution each; counted from \
                  1970-01-01 (a Thursday) in UTC",
    },
    Parameter {
        name: "min_subseason",
        default: "1h, at most 1/24 of the season",
        meaning: "how long a bucket of the season is",
    },
];

/// How times are put into buckets: all into one without a season.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Buckets {
    seasonal_interval: Option<Length>,
    min_subseason: Option<Length>,
}

impl Buckets {
    fn bucket(&self, time_ms: i64, step_ms: i64) -> i64 {
        let Some(season) = self.seasonal_interval else { return 0 };
        let season = season.millis(step_ms);
        let least = self.min_subseason.map_or(HOUR_MS.min(season / 24), |length| length.millis(step_ms));
        time_ms.rem_euclid(season) / least.max(step_ms).max(1)
    }
}

/// Flat in each bucket: `quantiles` says what values that were seen (at least one) imply at quantile levels.
pub(crate) struct Bucketed {
    /// How times are put into buckets.
    pub(crate) buckets: Buckets,
    /// From values and levels to quantiles.
    pub(crate) quantiles: fn(Vec<f64>, &[f64]) -> Vec<f64>,
}

impl Univariate for Bucketed {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        let mut seen: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        let bucket = |at: i64| self.buckets.bucket(series.end_ms.saturating_add(at * series.step_ms), series.step_ms);
        for (at, value) in (1 - series.len() as i64..).zip(&series.values).filter(|(_, value)| !value.is_nan()) {
            seen.entry(bucket(at)).or_default().push(*value);
        }
        let all = (self.quantiles)(series.observed(), rows.levels());
        seen.retain(|_, values| values.len() >= ENOUGH);
        let known: BTreeMap<i64, Vec<f64>> =
            seen.into_iter().map(|(bucket, values)| (bucket, (self.quantiles)(values, rows.levels()))).collect();
        for ahead in 0..rows.horizon() {
            rows.set(ahead, known.get(&bucket(ahead as i64 + 1)).unwrap_or(&all));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{forecast, request};

    #[test]
    fn each_hour_has_its_own_level() {
        // Four days of hours; the value is the hour, and the end is midnight less an hour.
        let day = |hour: usize| (hour % 24) as f64;
        let context: Vec<f64> = (0..24 * 10).map(day).collect();
        let end_ms = 10 * 24 * HOUR_MS - HOUR_MS;
        for model in ["zscore", "mad", "quantile"] {
            let mut request = request(&[&context]);
            request.step_ms = HOUR_MS;
            request.end_ms = end_ms;
            request.horizon = 24;
            let found = forecast(model, r#"{"seasonal_interval": "1d"}"#, &request);
            let median = found.quantile(0, found.levels().position(0.5).unwrap());
            for (hour, value) in median.iter().enumerate() {
                assert!((value - hour as f64).abs() < 1e-6, "{model}: {value} at {hour}");
            }
        }
    }
}
