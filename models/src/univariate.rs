//! Models that look at one series at a time: batches over cores, and what holds for the answer of every one of them.

use rayon::prelude::*;

use crate::forecast::Forecast;
use crate::forecaster::{ForecastError, Forecaster, Request};
use crate::prepare::Series;
use crate::residuals::{Residuals, normal};

/// A forecast leaves the range of its context by no more than this many times that range.
pub(crate) const REACH: f64 = 20.0;

/// A model of one series at a time.
pub(crate) trait Univariate: Send + Sync {
    /// Fills in `rows`, in the scaled units of `series`. `None` where the series is too short for the model or the
    /// model fails on it: its median and spread are then stated instead.
    fn forecast(&self, series: &Series, rows: &mut Rows<'_>) -> Option<()>;
}

/// The quantiles of one series to fill in, `[level, step ahead]`.
pub(crate) struct Rows<'a> {
    values: &'a mut [f64],
    levels: &'a [f64],
    horizon: usize,
}

impl<'a> Rows<'a> {
    /// The rows `values` of one series, `[level, step ahead]`.
    pub(crate) fn new(values: &'a mut [f64], levels: &'a [f64], horizon: usize) -> Self {
        Self { values, levels, horizon }
    }

    /// How many points ahead to forecast: at least one.
    pub(crate) fn horizon(&self) -> usize {
        self.horizon
    }

    /// Step `ahead` (0 is the first) becomes `point` plus the residuals' quantiles times `widening`.
    pub(crate) fn spread(&mut self, residuals: &Residuals, at: impl Fn(usize) -> (f64, f64)) {
        let quantiles: Vec<f64> = self.levels.iter().map(|level| residuals.quantile(*level)).collect();
        for ahead in 0..self.horizon {
            let (point, widening) = at(ahead);
            for (level, quantile) in quantiles.iter().enumerate() {
                self.values[level * self.horizon + ahead] = point + widening * quantile;
            }
        }
    }

    /// The quantile levels, rising.
    pub(crate) fn levels(&self) -> &[f64] {
        self.levels
    }

    /// Step `ahead` becomes `quantiles`, one a level.
    pub(crate) fn set(&mut self, ahead: usize, quantiles: &[f64]) {
        for (level, quantile) in quantiles.iter().enumerate() {
            self.values[level * self.horizon + ahead] = *quantile;
        }
    }

    /// Whether every value is a number.
    pub(crate) fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// The median and spread of all values: what can be said when a model can say nothing.
    pub(crate) fn flat(&mut self, series: &Series) {
        if let Some(distribution) = Residuals::new(series.observed()) {
            self.spread(&distribution, |_| (0.0, 1.0));
        }
    }

    /// In the units of the data, finite, rising from level to level, and at least as wide as the series' floor.
    pub(crate) fn finish(&mut self, series: &Series) {
        let (low, high) = series.range;
        let reach = REACH * (high - low).max(series.floor);
        let normals: Vec<f64> = self.levels.iter().map(|level| normal(*level)).collect();
        let middle = (0..normals.len()).min_by(|a, b| normals[*a].abs().total_cmp(&normals[*b].abs())).unwrap_or(0);
        for ahead in 0..self.horizon {
            let at = |level: usize| level * self.horizon + ahead;
            for level in 0..normals.len() {
                self.values[at(level)] = self.values[at(level)].clamp(low - reach, high + reach);
            }
            for level in middle + 1..normals.len() {
                let least = self.values[at(level - 1)] + series.floor * (normals[level] - normals[level - 1]);
                self.values[at(level)] = self.values[at(level)].max(least);
            }
            for level in (0..middle).rev() {
                let most = self.values[at(level + 1)] - series.floor * (normals[level + 1] - normals[level]);
                self.values[at(level)] = self.values[at(level)].min(most);
            }
        }
        for value in self.values.iter_mut() {
            *value = series.original(*value);
        }
    }
}

/// A [`Univariate`] model behind the port: spreads a batch over the cores of rayon's current pool.
pub(crate) struct PerSeries<M> {
    /// The model's id.
    pub(crate) id: &'static str,
    pub(crate) model: M,
}

impl<M: Univariate> Forecaster for PerSeries<M> {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        if request.is_joint() {
            return Err(ForecastError::new(self.id, "it forecasts each series from its own past alone"));
        }
        let mut forecast = Forecast::unknown(request.contexts.len(), request.levels.clone(), request.horizon);
        let size = request.levels.len() * request.horizon;
        if size > 0 {
            let rows = forecast.values_mut().par_chunks_mut(size);
            rows.zip(request.contexts).for_each(|(values, context)| self.one(request, context, values));
        }
        Ok(forecast)
    }
}

impl<M: Univariate> PerSeries<M> {
    fn one(&self, request: &Request<'_>, context: &[f64], values: &mut [f64]) {
        let Some(series) = Series::new(context, request.end_ms, request.step) else { return };
        let mut rows = Rows::new(values, request.levels.as_slice(), request.horizon);
        let done = self.model.forecast(&series, &mut rows);
        if done.is_none() || !rows.is_finite() {
            rows.flat(&series);
        }
        rows.finish(&series);
    }
}
