//! Exponential smoothing with the best of its forms, by `augurs`.

use augurs::ets::{AutoETS, AutoSpec};
use augurs::{Fit, Predict};
use serde::Deserialize;

use crate::entry::{Built, Entry, Parameter, per_series};
use crate::prepare::Series;
use crate::residuals::{Residuals, normal};
use crate::resources::Resources;
use crate::season::SEASON;
use crate::season::Season;
use crate::spec::ModelSpec;
use crate::univariate::{Rows, Univariate};

/// The longest season that is fitted: each of its points is a parameter of its own.
const LONGEST_SEASON: usize = 24;
/// As many of the last points are fitted, or three seasons: older ones hardly count, and each costs.
const POINTS: usize = 200;
/// The level at which the library is asked for its band.
const LEVEL: f64 = 0.9;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "ets",
    aliases: &["auto_ets"],
    summary: "the best form of exponential smoothing by AICc over the last 200 points; slow",
    parameters: &[
        SEASON,
        Parameter {
            name: "spec",
            default: "AZA",
            meaning: "error, trend and season: each A (additive), Z (the best) or N (none; not the error); a season \
                      of more than 24 points is left out",
        },
    ],
    build,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ets {
    season: Season,
    spec: Spec,
}

impl Default for Ets {
    fn default() -> Self {
        Self { season: Season::Auto, spec: Spec("AZA".to_owned()) }
    }
}

/// A form, checked by the library. Multiplicative parts need data above zero, and no centred series is.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Spec(String);

impl TryFrom<String> for Spec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('M') {
            return Err(format!(
                "{text:?} has a multiplicative part (M), which needs data above zero, and no centred series is; allowed \
                 are A and Z, and N for trend and season"
            ));
        }
        AutoSpec::try_from(text.as_str()).map_err(|error| error.to_string())?;
        Ok(Self(text))
    }
}

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |model: Ets| model)
}

impl Univariate for Ets {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        let period = self.season.length(series).filter(|period| *period <= LONGEST_SEASON);
        let values = series.filled(period);
        let recent = &values[values.len().saturating_sub(POINTS.max(3 * period.unwrap_or(1)))..];
        let spec = if period.is_some() { self.spec.0.clone() } else { format!("{}N", &self.spec.0[..2]) };
        let fitted = AutoETS::new(period.unwrap_or(1), spec.as_str()).ok()?.fit(recent).ok()?;
        let inside = fitted.predict_in_sample(None).ok()?.point;
        let missed = recent.iter().zip(&inside).map(|(value, expected)| value - expected);
        let residuals = Residuals::new(missed.filter(|missed| missed.is_finite()).collect())?;
        let ahead = fitted.predict(rows.horizon(), LEVEL).ok()?;
        let upper = ahead.intervals?.upper;
        let width = |step: usize| (upper[step] - ahead.point[step]) / normal(f64::midpoint(LEVEL, 1.0));
        let first = width(0);
        rows.spread(&residuals, |step| (ahead.point[step], if first > 0.0 { width(step) / first } else { 1.0 }));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_cannot_be_fitted_are_refused() {
        for good in ["AZA", "ZZZ", "ANN", "AAA"] {
            assert!(Spec::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for (bad, part) in [("MAA", "multiplicative"), ("AAM", "multiplicative"), ("AMN", "A and Z"), ("XAA", "X")] {
            let error = Spec::try_from(bad.to_owned()).unwrap_err();
            assert!(error.contains(part), "{error:?} of {bad} lacks {part:?}");
        }
    }
}
