//! Seasons by loess, what they leave by exponential smoothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;

use crate::entry::{Built, Entry, Parameter, per_series};
use crate::prepare::{Series, median};
use crate::residuals::Residuals;
use crate::resources::Resources;
use crate::rough::Rough;
use crate::season::SEASON;
use crate::season::Season;
use crate::smoothing::{Smoothed, Start};
use crate::spec::ModelSpec;
use crate::stl::{Plan, decompose};
use crate::univariate::{Rows, Univariate};

/// The seasonal windows of the shortest and each further season, in cycles (Bandara et al.: 7 + 4 i).
const WINDOWS: [usize; 6] = [11, 15, 19, 23, 27, 31];
/// Beyond this many robust standard deviations from its neighbourhood, a value tells nothing about seasons.
const CLIP: f64 = 4.0;
/// For how many shapes of series the plans are kept.
const KEPT_PLANS: usize = 64;
/// How much memory the kept plans may take, but for the last one.
const KEPT_BYTES: usize = 64 << 20;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "mstl",
    aliases: &["stl"],
    summary: "one or more seasons by loess (STL, MSTL), the rest by exponential smoothing with a damped trend",
    parameters: &[
        SEASON,
        Parameter { name: "trend", default: "true", meaning: "whether a damped trend is followed, where there is one" },
    ],
    build,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    season: Season,
    trend: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { season: Season::Auto, trend: true }
    }
}

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |parameters: Parameters| Mstl { parameters, plans: RwLock::default() })
}

/// Points, period and seasonal window of a plan.
type Shape = (usize, usize, usize);

struct Mstl {
    parameters: Parameters,
    plans: RwLock<HashMap<Shape, Arc<Plan>>>,
}

impl Univariate for Mstl {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        let mut periods = self.parameters.season.lengths(series);
        periods.truncate(WINDOWS.len());
        let plans: Vec<Arc<Plan>> =
            periods.iter().zip(WINDOWS).map(|(period, window)| self.plan((series.len(), *period, window))).collect();
        let seasons = seasons(series, &periods, &plans);
        let start = Start { cycle: &[0.0], seasonal: false, trend: self.parameters.trend };
        let mut rest = series.values.clone();
        for season in &seasons {
            rest.iter_mut().zip(season).for_each(|(rest, season)| *rest -= season);
        }
        let mut smoothed = Smoothed::fit(&rest, start)?;
        let inflation = plans.iter().map(|plan| plan.inflation()).product::<f64>();
        let residuals = Residuals::new(std::mem::take(&mut smoothed.surprises))?;
        let widening = smoothed.widening(rows.horizon());
        rows.spread(&residuals, |ahead| {
            let season: f64 = seasons.iter().zip(&periods).map(|(season, period)| again(season, *period, ahead)).sum();
            (smoothed.point(ahead) + season, inflation * widening[ahead])
        });
        Some(())
    }
}

/// The last cycle goes on.
fn again(season: &[f64], period: usize, ahead: usize) -> f64 {
    season[season.len() - period + ahead % period]
}

fn seasons(series: &Series, periods: &[usize], plans: &[Arc<Plan>]) -> Vec<Vec<f64>> {
    let Some(shortest) = periods.first() else { return vec![] };
    let mut values = series.filled(periods.last().copied());
    clip(&mut values, *shortest);
    decompose(&values, plans.iter().map(|plan| &**plan)).seasons
}

/// Pulls outliers to the edge of what is usual around a first decomposition, so that no incident becomes a season.
fn clip(values: &mut [f64], period: usize) {
    let rough = Rough::new(values, period);
    let mut rest: Vec<f64> = values.iter().enumerate().map(|(at, value)| (value - rough.at(at)).abs()).collect();
    let limit = CLIP * 1.4826 * median(&mut rest);
    if limit > 0.0 {
        for (at, value) in values.iter_mut().enumerate() {
            let usual = rough.at(at);
            *value = value.clamp(usual - limit, usual + limit);
        }
    }
}

impl Mstl {
    /// The plan for a shape. Kept plans are dropped all at once when they are too many or too large.
    fn plan(&self, shape: Shape) -> Arc<Plan> {
        let known = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(&shape).cloned();
        known.unwrap_or_else(|| self.keep(shape, Plan::new(shape.0, shape.1, shape.2)))
    }

    /// The plan that another thread has kept in the meantime, or else this one.
    fn keep(&self, shape: Shape, plan: Plan) -> Arc<Plan> {
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plans.get(&shape) {
            return known.clone();
        }
        let bytes: usize = plans.values().map(|plan| plan.bytes()).sum();
        if plans.len() >= KEPT_PLANS || bytes >= KEPT_BYTES {
            plans.clear();
        }
        plans.entry(shape).or_insert_with(|| Arc::new(plan)).clone()
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{forecast, request, seasonal};

    #[test]
    fn a_spike_or_an_incident_is_not_expected_again() {
        let plain = seasonal(24 * 10, 24, 1);
        let mut spiky = plain.clone();
        spiky[220] = 1e3;
        spiky[150..156].fill(-200.0);
        let found = forecast("mstl", r#"{"season": 24}"#, &request(&[&plain, &spiky]));
        for (plain, spiky) in found.quantile(0, 3).iter().zip(found.quantile(1, 3)) {
            assert!((plain - spiky).abs() < 2.0, "{spiky} after a spike, {plain} without");
        }
        let width = |series: usize| found.quantile(series, 5)[0] - found.quantile(series, 1)[0];
        assert!(width(1) < 2.0 * width(0), "{} wide, {} without", width(1), width(0));
    }
}
