//! What was there a season ago comes again.
//!
//! With three seasons or more, the median of up to five of them is expected, so that one spike is not expected
//! again. The spread is that of the same forecast made at every earlier point of the context.

use serde::Deserialize;

use crate::entry::{Built, Entry, per_series};
use crate::prepare::{Series, median};
use crate::residuals::Residuals;
use crate::resources::Resources;
use crate::season::{SEASON, Season};
use crate::spec::ModelSpec;
use crate::univariate::{Rows, Univariate};

/// How many seasons are looked at.
const SEASONS: usize = 5;
/// Over how many points a level is taken where there is no season; the one that did best is used.
const WINDOWS: [usize; 3] = [1, 5, 25];

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "seasonal_naive",
    aliases: &["naive"],
    summary: "the median of the last seasons at the same time; the last level where there is no season",
    parameters: &[SEASON],
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SeasonalNaive {
    season: Season,
}

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    per_series(&ENTRY, &spec.parameters, |model: SeasonalNaive| model)
}

impl Univariate for SeasonalNaive {
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()> {
        match self.season.length(series) {
            Some(season) => seasonal(series, season, rows),
            None => level(series, rows),
        }
    }
}

fn seasonal(series: &Series, season: usize, rows: &mut Rows<'_>) -> Option<()> {
    let filled = series.filled(Some(season));
    let whole = series.len() / season;
    // Judged where as many seasons as possible are looked back at, yet over a season at least.
    let from = season * whole.saturating_sub(1).min(3);
    let missed = (from..series.len())
        .filter(|at| !series.values[*at].is_nan())
        .map(|at| series.values[at] - expected(&filled, at, season));
    let residuals = Residuals::new(missed.collect())?;
    let cycle: Vec<f64> =
        (0..season.min(rows.horizon())).map(|ahead| expected(&filled, filled.len() + ahead, season)).collect();
    // Levels wander from season to season: errors of as many steps add up as a random walk's do.
    rows.spread(&residuals, |ahead| (cycle[ahead % season], ((ahead / season + 1) as f64).sqrt()));
    Some(())
}

/// What is expected at the index `at`, up to a season behind the last value.
fn expected(values: &[f64], at: usize, season: usize) -> f64 {
    let mut seen = [0.0; SEASONS];
    let count = (at / season).min(SEASONS);
    for (back, value) in seen[..count].iter_mut().enumerate() {
        *value = values[at - (back + 1) * season];
    }
    if count < 3 { seen[0] } else { median(&mut seen[..count]) }
}

/// Without a season: the median of the last few points, as many as would have been best.
fn level(series: &Series, rows: &mut Rows<'_>) -> Option<()> {
    let filled = series.filled(None);
    let (level, residuals) = WINDOWS
        .iter()
        .filter(|window| **window * 4 <= filled.len())
        .filter_map(|window| one_level(series, &filled, *window))
        .min_by(|a, b| a.1.deviation().total_cmp(&b.1.deviation()))?;
    let growth = growth(&filled, rows.horizon());
    rows.spread(&residuals, |ahead| (level, (1.0 + growth * ahead as f64).sqrt()));
    Some(())
}

/// The median of the last `window` points, and how such a one missed the point after it.
fn one_level(series: &Series, filled: &[f64], window: usize) -> Option<(f64, Residuals)> {
    let mut scratch = vec![0.0; window];
    let mut level = |end: usize| {
        scratch.copy_from_slice(&filled[end - window..end]);
        median(&mut scratch)
    };
    let missed = (window..filled.len())
        .filter(|at| !series.values[*at].is_nan())
        .map(|at| series.values[at] - level(at))
        .collect();
    Some((level(filled.len()), Residuals::new(missed)?))
}

/// By which part of the variance of one step the variance grows a step: 0 for white noise, 1 for a random walk.
fn growth(values: &[f64], horizon: usize) -> f64 {
    let far = horizon.min(values.len() / 4);
    if far < 2 {
        return 0.0;
    }
    let deviation = |lag: usize| {
        let mut steps: Vec<f64> = values.windows(lag + 1).map(|window| (window[lag] - window[0]).abs()).collect();
        median(&mut steps)
    };
    let (near, far_off) = (deviation(1), deviation(far));
    if near > 0.0 { (((far_off / near).powi(2) - 1.0) / (far - 1) as f64).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use crate::check::{forecast, request};

    fn median_of(context: &[f64], parameters: &str) -> Vec<f64> {
        let found = forecast("seasonal_naive", parameters, &request(&[context]));
        found.quantile(0, found.levels().position(0.5).unwrap()).to_vec()
    }

    #[test]
    fn a_spike_a_season_ago_is_not_expected_again() {
        let mut context: Vec<f64> = (0..70).map(|i| f64::from(i % 10)).collect();
        context[65] = 1e6;
        let found = median_of(&context, r#"{"season": 10}"#);
        for (ahead, value) in found.iter().take(10).enumerate() {
            assert!((value - ahead as f64).abs() < 0.1, "{value} at {ahead}");
        }
    }

    #[test]
    fn two_seasons_repeat_the_last() {
        let context = [1.0, 5.0, 9.0, 2.0, 6.0, 10.0];
        let found = median_of(&context, r#"{"season": 3}"#);
        // The drift between the two seasons is part of the residuals.
        assert!((found[0] - 3.0).abs() < 1e-6 && (found[1] - 7.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn without_a_season_the_level_stays() {
        let found = median_of(&[4.0; 30], "{}");
        assert!(found.iter().all(|value| (value - 4.0).abs() < 1e-6));
    }
}
