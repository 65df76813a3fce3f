//! What one forecast says of the points to come, and which points it is asked about.

use std::borrow::Cow;

use models::{Covariate, ForecastError, Forecaster, Levels, Request};
use rayon::prelude::*;
use tsdb::{Frame, Labels, Step, Timestamp};

use crate::band::{self, Band};
use crate::context::{History, fill};
use crate::judge::{Cell, Masks};
use crate::pipeline::{Missing, Pipeline};
use crate::score::Scored;
use crate::silence::Quiet;

/// The quantiles that are written beside the median.
pub const WRITTEN_LEVELS: [f64; 2] = [0.1, 0.9];

/// A forecast and the points that it judges: those after its own context, up to the context of the next one.
///
/// Which forecast judges a point depends on the schedule alone, not on when the program was running: so a score is
/// the same whether it was made live, after a restart, or in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The last point of the forecast's context.
    pub origin: Timestamp,
    /// The first point that it judges.
    pub first: Timestamp,
    /// The last point that it judges.
    pub last: Timestamp,
}

/// The newest point that can be complete at `tick`.
pub fn newest(pipeline: &Pipeline, tick: Timestamp) -> Timestamp {
    (tick - pipeline.data_delay).floor(pipeline.step)
}

/// Which forecasts judge the points after `after`, up to `until`.
pub fn turns(pipeline: &Pipeline, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Turn> {
    let (step, schedule) = (pipeline.step, &pipeline.forecast_schedule);
    let mut first = after.floor(step) + step;
    std::iter::from_fn(move || {
        if first > until {
            return None;
        }
        let just_before = Timestamp::from_millis((first + pipeline.data_delay).millis() - 1);
        let tick = schedule.last_until(just_before);
        let last = newest(pipeline, schedule.next_after(tick)).clamp(first, until.floor(step));
        let turn = Turn { origin: newest(pipeline, tick), first, last };
        first = last + step;
        Some(turn)
    })
}

/// A further input of the model, as far as it is known for one forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its values over the context.
    pub past: Vec<f64>,
    /// Its values over the horizon; none where they are not known.
    pub future: Vec<f64>,
}

/// What one forecast says of the points after `origin`.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// The last point that the model saw.
    pub origin: Timestamp,
    /// The quantiles, a row for each series of the history at that time.
    pub forecast: models::Forecast,
    /// What the model expects: neither calibrated nor shaped yet.
    pub band: Band,
    /// What was hidden from the model.
    masks: Masks,
}

impl Outlook {
    /// Asks the model what comes after `origin`, given the pipeline's context of each series, of which it doesn't see what
    /// `masks` hide, and `known`, what there is of each covariate.
    ///
    /// # Errors
    /// The model fails, or answers quantiles that cross.
    pub fn at(
        origin: Timestamp,
        pipeline: &Pipeline,
        model: &dyn Forecaster,
        history: &History,
        known: &[Known],
        masks: Masks,
    ) -> Result<Self, ForecastError> {
        let rows: Vec<usize> = (0..history.series().len()).collect();
        let (forecast, band) = ask(origin, pipeline, model, history, &rows, known, &masks)?;
        Ok(Self { origin, forecast, band, masks })
    }

    /// What is known of the points after `origin` where no forecast judges them: nothing.
    pub fn none(origin: Timestamp, pipeline: &Pipeline) -> Self {
        let forecast = models::Forecast::unknown(0, levels(pipeline), pipeline.horizon_points);
        let band = Band::around(&forecast, &pipeline.anomaly).expect("no quantiles don't cross");
        Self { origin, forecast, band, masks: Masks::new() }
    }

    /// The same where other points are hidden: `None` where `masks` are those that it was made with. Only series that
    /// see something else are forecast again.
    ///
    /// # Errors
    /// The model fails, or answers quantiles that cross.
    pub fn renewed(
        &self,
        pipeline: &Pipeline,
        model: &dyn Forecaster,
        history: &History,
        known: &[Known],
        masks: Masks,
    ) -> Result<Option<Self>, ForecastError> {
        let changed = |row: &usize| self.masks.get(row) != masks.get(row);
        let rows: Vec<usize> = (0..self.forecast.series()).filter(changed).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        if pipeline.together {
            return Self::at(self.origin, pipeline, model, history, known, masks).map(Some);
        }
        let (forecast, band) = ask(self.origin, pipeline, model, history, &rows, known, &masks)?;
        let mut whole = Self { masks, ..self.clone() };
        let size = forecast.levels().len() * forecast.horizon();
        for (asked, row) in rows.iter().enumerate() {
            whole.forecast.values_mut()[row * size..(row + 1) * size].copy_from_slice(forecast.of(asked));
        }
        for failure in forecast.failures() {
            whole.forecast.fail(rows[failure.series], failure.message.as_str());
        }
        whole.band.replace(&rows, &band);
        Ok(Some(whole))
    }

    /// Whether it was made with these masks.
    pub fn has(&self, masks: &Masks) -> bool {
        self.masks == *masks
    }
}

/// Asks the model what comes of the series `rows`.
fn ask(
    origin: Timestamp,
    pipeline: &Pipeline,
    model: &dyn Forecaster,
    history: &History,
    rows: &[usize],
    known: &[Known],
    masks: &Masks,
) -> Result<(models::Forecast, Band), ForecastError> {
    let first = context_start(pipeline, origin).max(history.start());
    let context = |row: &usize| context(history.range(*row, first, origin), first, pipeline, masks.get(row));
    let contexts: Vec<Cow<[f64]>> = rows.par_iter().map(context).collect();
    let contexts: Vec<&[f64]> = contexts.iter().map(Cow::as_ref).collect();
    let levels = levels(pipeline);
    let (step, horizon) = (pipeline.step.duration(), pipeline.horizon_points);
    let covariates: Vec<Covariate> =
        known.iter().map(|known| Covariate { past: &known.past, future: &known.future }).collect();
    let request = Request::new(&contexts, origin.millis(), step, horizon, &levels);
    let forecast = model.forecast(&Request { together: pipeline.together, covariates: &covariates, ..request })?;
    let band =
        Band::around(&forecast, &pipeline.anomaly).map_err(|error| ForecastError::new(&pipeline.model.id, error))?;
    Ok((forecast, band))
}

/// What the model sees of the points of one series from `first` on: gaps filled as the pipeline says, and gaps for what
/// is hidden, whatever it says of gaps.
pub(crate) fn context<'a>(
    values: &'a [f64],
    first: Timestamp,
    pipeline: &Pipeline,
    mask: Option<&Quiet>,
) -> Cow<'a, [f64]> {
    let mut context = Cow::Borrowed(values);
    if pipeline.missing != Missing::Nan {
        fill(context.to_mut(), pipeline.missing);
    }
    let step = pipeline.step.millis();
    for range in mask.map(Quiet::ranges).unwrap_or_default() {
        let offset =
            |time: Timestamp| (-(first.millis() - time.millis()).div_euclid(step)).clamp(0, values.len() as i64);
        let (from, until) = (offset(range.start) as usize, offset(range.end) as usize);
        context.to_mut()[from..until].fill(f64::NAN);
    }
    context
}

/// The first point of the context of a forecast made at `origin`.
pub fn context_start(pipeline: &Pipeline, origin: Timestamp) -> Timestamp {
    origin - pipeline.step.times(pipeline.context_points - 1)
}

/// The quantile levels that the pipeline's band and its written forecast need.
fn levels(pipeline: &Pipeline) -> Levels {
    let band = band::levels(pipeline.anomaly.technique);
    let written = WRITTEN_LEVELS.into_iter().filter(|_| pipeline.mode.forecasts());
    Levels::new(band.as_slice().iter().copied().chain(written).collect()).expect("all lie between 0 and 1")
}

/// Scores being filled in for a range of points of all series of a history.
#[derive(Debug)]
pub struct Sheet {
    series: Vec<Labels>,
    start: Timestamp,
    step: Step,
    points: usize,
    // y, yhat, yhat_lower, yhat_upper, score
    columns: [Vec<f64>; 5],
}

impl Sheet {
    /// An empty sheet for the points from `first` to `last`, both included.
    pub fn new(history: &History, first: Timestamp, last: Timestamp) -> Self {
        let step = history.step();
        let points = usize::try_from((last.millis() - first.millis()) / step.millis() + 1).unwrap_or(0);
        let series = history.series().to_vec();
        let columns = std::array::from_fn(|_| vec![f64::NAN; series.len() * points]);
        Self { series, start: first, step, points, columns }
    }

    /// Fills in the points of every row from `first` on.
    pub fn fill(&mut self, first: Timestamp, rows: &[Vec<Cell>]) {
        let at = ((first.millis() - self.start.millis()) / self.step.millis()) as usize;
        for (row, cells) in rows.iter().enumerate() {
            let start = row * self.points + at;
            for (cell, values) in cells.iter().enumerate() {
                self.columns.iter_mut().zip(values).for_each(|(column, value)| column[start + cell] = *value);
            }
        }
    }

    /// The five frames.
    pub fn finish(self) -> Scored {
        let frame = |values| {
            Frame::new(self.series.clone(), self.start, self.step, self.points, values)
                .expect("a history's rows are unique, and the columns were made to fit")
        };
        let [y, yhat, yhat_lower, yhat_upper, score] = self.columns.map(frame);
        Scored { y, yhat, yhat_lower, yhat_upper, score }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Schedule;
    use crate::testing::pipeline;
    use std::time::Duration;

    fn seconds(turn: Turn) -> [i64; 3] {
        [turn.origin, turn.first, turn.last].map(|time| time.millis() / 1000)
    }

    /// With a step of 1 m and a forecast every 5 m.
    fn check(delay: u64, after: i64, until: i64, expected: &[[i64; 3]]) {
        let mut pipeline = pipeline();
        pipeline.step = Step::from_millis(60_000).unwrap();
        pipeline.forecast_schedule = Schedule::Every(Duration::from_secs(300));
        pipeline.data_delay = Duration::from_secs(delay);
        let turns = turns(&pipeline, Timestamp::from_seconds(after), Timestamp::from_seconds(until));
        assert_eq!(turns.map(seconds).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_point_is_judged_by_the_last_forecast_that_did_not_see_it() {
        check(0, 300, 360, &[[300, 360, 360]]);
        check(0, 240, 300, &[[0, 300, 300]]);
        check(0, 0, 660, &[[0, 60, 300], [300, 360, 600], [600, 660, 660]]);
        check(0, 300, 300, &[]);
    }

    #[test]
    fn a_delay_moves_what_a_forecast_can_see() {
        // The forecast of 5:00 sees the points up to 3:00 (4:00 is complete at 5:30 only).
        check(90, 180, 480, &[[180, 240, 480]]);
        check(90, 120, 240, &[[-120, 180, 180], [180, 240, 240]]);
    }
}
