//! Training: the settings of a model are chosen on one part of the history, and proven on the next, which they have
//! not seen.
//!
//! The newest fifth of the history is the tail, on which the verdict falls; the fifth before it is where candidates are
//! compared. Forecasts roll over both as they would have been made live, each from the pipeline's own context.
//!
//! Measured are the mean absolute scaled error (Hyndman & Koehler 2006, the error of the median over the in-sample error
//! of the naive forecast of one season), the pinball loss (Koenker & Bassett 1978, the mean over all quantile levels,
//! over the same scale) and the coverage of the band. The pinball loss decides: it is least for the true quantiles, so it
//! rewards a right middle and a right width at once.

use std::time::Duration;

use models::remote::{self, Training};
use models::{BuildError, Built, Endpoint, ForecastError, ModelSpec, Resources, tuning};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tsdb::{Frame, Labels, Timestamp};

use crate::context::History;
use crate::judge::Masks;
use crate::outlook::Outlook;
use crate::pipeline::{Mode, Pipeline};

/// How many series are looked at, at most.
pub const MOST_SERIES: usize = 50;

/// How many points of history are read, at most, unless the context alone is longer.
const MOST_POINTS: usize = 100_000;

/// How many forecasts are made on each of the two parts, at most.
const MOST_FORECASTS: usize = 24;

/// How many sets of seasons are candidates.
const MOST_SEASONS: usize = 3;

/// One part in so many of the history is the tail, and one is for choosing.
const PARTS: usize = 5;

/// Losses that differ by less than this part are the same.
const SAME: f64 = 1e-9;

/// Why nothing was trained.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrainError {
    /// There is too little history.
    #[error("the history has {points} points; training needs the context of {context} and two forecasts of {horizon}")]
    TooShort {
        /// The points that it has.
        points: usize,
        /// The points of a context.
        context: usize,
        /// The points of a forecast.
        horizon: usize,
    },
    /// No series has values in the tail that a forecast can be measured by.
    #[error("no series has values that change before the tail and values in it, so nothing can be measured")]
    Nothing,
    /// The pipeline has inputs of which there is no history here.
    #[error("a model with covariates can't be trained here; leave `training` out")]
    Covariates,
    /// A model that has no settings to choose from.
    #[error("model {model} has no setting to train")]
    Untrainable {
        /// Its id.
        model: String,
    },
    /// A remote model without a trainer.
    #[error("a remote model is trained at `training.endpoint`, which the pipeline does not have")]
    NoTrainer,
    /// The model can't be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The model failed.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// It was told to stop.
    #[error("the training was stopped")]
    Stopped,
}

impl From<remote::TrainError> for TrainError {
    fn from(error: remote::TrainError) -> Self {
        match error {
            remote::TrainError::Parameters(error) => Self::Build(error),
            remote::TrainError::Failed(error) => Self::Forecast(error),
        }
    }
}

/// How well a model forecasts a part of the history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean absolute scaled error of the median; below 1 is better than the naive forecast.
    pub mase: f64,
    /// Mean pinball loss over the quantile levels, over the same scale; less is better.
    pub pinball: f64,
    /// The part of the points inside the band.
    pub coverage: f64,
    /// How many points were forecast and measured.
    pub points: usize,
}

/// Parameters, and how well they did where candidates are compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The parameters.
    pub parameters: Map<String, Value>,
    /// How well they did; nothing where they failed.
    pub evaluation: Option<Evaluation>,
}

/// What the tail says of a trained model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether it is no worse than what it would replace.
    pub no_worse: bool,
    /// The same in a sentence, with the figures.
    pub reason: String,
    /// The trained model on the tail.
    pub trained: Evaluation,
    /// The pipeline's own model on the tail.
    pub untrained: Evaluation,
    /// The version in use on the tail, where there is one.
    pub current: Option<Evaluation>,
}

/// What training made.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The pipeline's model with what was found.
    pub model: ModelSpec,
    /// What was compared; nothing where the model is trained behind a URL.
    pub candidates: Vec<Candidate>,
    /// What the tail says of it.
    pub verdict: Verdict,
    /// How many series were looked at.
    pub series: usize,
    /// The last point before the tail, and the last of it.
    pub tail: (Timestamp, Timestamp),
}

/// How many points of history training reads: the window of the pipeline's training, or `usual` where it has none, but
/// enough for its context and some forecasts.
pub fn window_points(pipeline: &Pipeline, usual: Duration) -> usize {
    let window = pipeline.training.as_ref().map_or(usual, |training| training.window);
    let least = pipeline.context_points + 2 * PARTS * pipeline.horizon_points;
    pipeline.step.count(window).clamp(least, least.max(MOST_POINTS))
}

/// Trains the model of `pipeline` on `frame`, the history of its series: a local model here, a remote one at its trainer.
/// `current` is the version in use. It blocks for as long as that takes.
///
/// # Errors
/// There is nothing to train on, a model fails, or `go_on` says stop.
pub fn train(
    pipeline: &Pipeline,
    frame: &Frame,
    current: Option<&ModelSpec>,
    resources: &Resources,
    go_on: GoOn<'_>,
) -> Result<Trained, TrainError> {
    let build: Build<'_> = &|spec| models::build(spec, resources);
    let exam = Exam::new(pipeline, frame)?;
    // The verdict costs about as much as two or three candidates.
    let (model, candidates) = match &pipeline.model.endpoint {
        None => exam.choose(build, &|part| go_on(0.8 * part))?,
        Some(endpoint) => (exam.send(endpoint, resources)?, vec![]),
    };
    if !go_on(0.8) {
        return Err(TrainError::Stopped);
    }
    let verdict = exam.judge(&model, current, build)?;
    Ok(Trained { model, candidates, verdict, series: exam.series().len(), tail: exam.tail() })
}

/// How models are made from their specifications.
pub type Build<'a> = &'a (dyn Fn(&ModelSpec) -> Built + Sync);

/// Says how far it has come, 0 to 1; answers whether to go on.
pub type GoOn<'a> = &'a (dyn Fn(f64) -> bool + Sync);

/// The history of a sample of a pipeline's series, its two parts to forecast, and what errors are measured by.
#[derive(Debug)]
pub struct Exam {
    pipeline: Pipeline,
    history: History,
    /// What errors in each row are divided by.
    scales: Vec<f64>,
    /// Sets of season lengths, the one that most series have first.
    seasons: Vec<Vec<usize>>,
    choosing: Vec<Timestamp>,
    tail: Vec<Timestamp>,
}

impl Exam {
    /// An exam over `frame`, which holds the history of the series of `pipeline`. Where there are very many series, a
    /// sample is looked at, which is always the same for the same series.
    ///
    /// # Errors
    /// Too little history, or covariates.
    pub fn new(pipeline: &Pipeline, frame: &Frame) -> Result<Self, TrainError> {
        if !pipeline.covariates.is_empty() {
            return Err(TrainError::Covariates);
        }
        let (context, horizon) = (pipeline.context_points, pipeline.horizon_points);
        let first = (0..frame.points()).find(|at| frame.rows().any(|(_, row)| !row[*at].is_nan()));
        let points = first.map_or(0, |first| frame.points() - first);
        let part = (points / PARTS).max(horizon);
        if points < context.min(points / PARTS) + 2 * part || points < 2 * horizon + 2 {
            return Err(TrainError::TooShort { points, context, horizon });
        }
        let (tail, choosing) = (frame.points() - part, frame.points() - 2 * part);
        let (frame, seasons, scales) = sample(frame, choosing, tail)?;
        // All levels that the service would ask for.
        let pipeline = Pipeline { mode: Mode::ForecastAndAnomaly, ..pipeline.clone() };
        Ok(Self {
            seasons: most_common(&seasons),
            choosing: origins(&frame, choosing, tail, horizon),
            tail: origins(&frame, tail, frame.points(), horizon),
            history: History::of(frame),
            pipeline,
            scales,
        })
    }

    /// The labels of the series that are looked at.
    pub fn series(&self) -> &[Labels] {
        self.history.series()
    }

    /// What came before the tail: all that a trainer may see.
    pub fn before_tail(&self) -> (Vec<&[f64]>, Timestamp) {
        let end = self.tail[0];
        let rows = 0..self.history.series().len();
        (rows.map(|row| self.history.range(row, self.history.start(), end)).collect(), end)
    }

    /// The last point before the tail, and the last of it.
    pub fn tail(&self) -> (Timestamp, Timestamp) {
        (self.tail[0], self.history.end())
    }

    /// Compares all settings that are worth it, on the part before the tail; the best one, and all of them. Where two
    /// are equally good, the earlier is the better: the pipeline's own ones come first.
    ///
    /// # Errors
    /// The pipeline's own model fails, or `go_on` says stop.
    pub fn choose(&self, build: Build<'_>, go_on: GoOn<'_>) -> Result<(ModelSpec, Vec<Candidate>), TrainError> {
        let own = &self.pipeline.model;
        if !tuning::is_tunable(own) {
            return Err(TrainError::Untrainable { model: own.id.clone() });
        }
        let all = tuning::candidates(own, &self.seasons, self.pipeline.step.duration());
        let count = all.len();
        let mut candidates: Vec<Candidate> = vec![];
        for (done, parameters) in all.into_iter().enumerate() {
            if !go_on(done as f64 / count as f64) {
                return Err(TrainError::Stopped);
            }
            let spec = ModelSpec { parameters, ..own.clone() };
            let evaluation = match self.measure(&spec, &self.choosing, build) {
                Err(error) if done == 0 => return Err(error),
                evaluation => evaluation.ok(),
            };
            candidates.push(Candidate { parameters: spec.parameters, evaluation });
        }
        let best = best(&candidates).clone();
        Ok((ModelSpec { parameters: best, ..own.clone() }, candidates))
    }

    /// Has a remote model trained by its trainer, on what came before the tail.
    fn send(&self, endpoint: &Endpoint, resources: &Resources) -> Result<ModelSpec, TrainError> {
        let own = &self.pipeline.model;
        let told = self.pipeline.training.as_ref().and_then(|told| Some((told.endpoint.clone()?, &told.parameters)));
        let (url, parameters) = told.ok_or(TrainError::NoTrainer)?;
        let (rows, end) = self.before_tail();
        let names: Vec<String> = self.series().iter().map(ToString::to_string).collect();
        let series: Vec<(&str, &[f64])> = names.iter().map(String::as_str).zip(rows).collect();
        let training = Training { series: &series, end_ms: end.millis(), step: self.pipeline.step.duration() };
        let spec = ModelSpec { parameters: parameters.clone(), ..own.clone() };
        let trained = remote::train(&spec, &Endpoint { url, ..endpoint.clone() }, &training, resources)?;
        let mut model = own.clone();
        for (name, value) in [("model_id", trained.model_id), ("artifact_uri", trained.artifact_uri)] {
            if let Some(value) = value {
                model.parameters.insert(name.into(), value.into());
            }
        }
        Ok(model)
    }

    /// What the tail says of `trained`, beside the pipeline's own model and `current`, the version in use.
    ///
    /// # Errors
    /// A model fails.
    pub fn judge(
        &self,
        trained: &ModelSpec,
        current: Option<&ModelSpec>,
        build: Build<'_>,
    ) -> Result<Verdict, TrainError> {
        let measure = |spec: &ModelSpec| self.measure(spec, &self.tail, build);
        let untrained = measure(&self.pipeline.model)?;
        // A version that can't be used any more is no yardstick.
        let current = current.and_then(|spec| measure(spec).ok());
        let trained = measure(trained)?;
        let (name, yardstick) = current.map_or(("the untrained model", untrained), |one| ("the version in use", one));
        let no_worse = trained.pinball <= yardstick.pinball * (1.0 + SAME) && trained.points >= yardstick.points;
        let word = if no_worse { "no worse than" } else { "worse than" };
        let (ours, theirs) = (trained.pinball, yardstick.pinball);
        let reason = format!("{word} {name} on the tail: pinball loss {ours:.4}, that of {name} {theirs:.4}");
        Ok(Verdict { no_worse, reason, trained, untrained, current })
    }

    fn measure(&self, spec: &ModelSpec, origins: &[Timestamp], build: Build<'_>) -> Result<Evaluation, TrainError> {
        let model = build(spec)?;
        let at = |origin: &Timestamp| Outlook::at(*origin, &self.pipeline, &*model, &self.history, &[], Masks::new());
        // What waits for somebody else must not hold the threads for computing.
        let outlooks: Result<Vec<Outlook>, ForecastError> =
            if model.waits() { origins.iter().map(at).collect() } else { origins.par_iter().map(at).collect() };
        let mut sums = Sums::default();
        for outlook in outlooks? {
            self.add(&outlook, &mut sums);
        }
        sums.evaluation().ok_or(TrainError::Nothing)
    }

    fn add(&self, outlook: &Outlook, sums: &mut Sums) {
        let levels = outlook.forecast.levels();
        let median = levels.position(0.5).expect("a pipeline always asks for the median");
        for (row, scale) in self.scales.iter().enumerate() {
            let first = outlook.origin + self.pipeline.step;
            let last = outlook.origin + self.pipeline.step.times(outlook.forecast.horizon());
            for (ahead, actual) in self.history.range(row, first, last).iter().enumerate() {
                let band = outlook.band.at(row, ahead).shaped(&self.pipeline.anomaly);
                if actual.is_nan() || band.expected.is_nan() {
                    continue;
                }
                let loss =
                    |(at, level): (usize, &f64)| pinball(*level, *actual, outlook.forecast.quantile(row, at)[ahead]);
                let pinball = levels.as_slice().iter().enumerate().map(loss).sum::<f64>() / levels.len() as f64;
                sums.points += 1;
                sums.inside += usize::from(band.lower <= *actual && *actual <= band.upper);
                sums.absolute += (actual - outlook.forecast.quantile(row, median)[ahead]).abs() / scale;
                sums.pinball += pinball / scale;
            }
        }
    }
}

/// The pinball loss of the quantile `forecast` at `level`.
fn pinball(level: f64, actual: f64, forecast: f64) -> f64 {
    let above = actual - forecast;
    (level * above).max((level - 1.0) * above)
}

#[derive(Default)]
struct Sums {
    points: usize,
    inside: usize,
    absolute: f64,
    pinball: f64,
}

impl Sums {
    fn evaluation(&self) -> Option<Evaluation> {
        let Self { points, inside, absolute, pinball } = *self;
        let count = points as f64;
        (points > 0).then(|| Evaluation {
            mase: absolute / count,
            pinball: pinball / count,
            coverage: inside as f64 / count,
            points,
        })
    }
}

/// The parameters with the least loss, among those that could forecast as much as the first.
fn best(candidates: &[Candidate]) -> &Map<String, Value> {
    let own = candidates[0].evaluation.expect("the pipeline's own model was measured");
    let (mut best, mut least) = (&candidates[0].parameters, own.pinball);
    for candidate in &candidates[1..] {
        if let Some(found) = candidate.evaluation
            && found.points >= own.points
            && found.pinball < least * (1.0 - SAME)
        {
            (best, least) = (&candidate.parameters, found.pinball);
        }
    }
    best
}

/// The last points of the contexts of forecasts that roll from the point `from` up to before `until`, not more than are
/// affordable.
fn origins(frame: &Frame, from: usize, until: usize, horizon: usize) -> Vec<Timestamp> {
    let forecasts = ((until - from) / horizon).max(1);
    let stride = horizon * forecasts.div_ceil(MOST_FORECASTS);
    (from..=until.saturating_sub(horizon).max(from)).step_by(stride).map(|first| frame.time(first - 1)).collect()
}

type Sample = (Frame, Vec<Vec<usize>>, Vec<f64>);

/// A sample of the rows that can be measured, their seasons and their scales. Everything that is learned of them lies
/// before the points `choosing` and `tail`.
fn sample(frame: &Frame, choosing: usize, tail: usize) -> Result<Sample, TrainError> {
    let (end, step) = (frame.time(choosing - 1).millis(), frame.step().duration());
    let learn = |row: usize| {
        let past = &frame.row(row)[..choosing];
        let seasons = tuning::seasons(past, end, step);
        // Where a series is younger, all that comes before the tail is looked at.
        let scale = scale(past, &seasons).or_else(|| scale(&frame.row(row)[..tail], &seasons))?;
        let has_tail = frame.row(row)[tail..].iter().any(|value| !value.is_nan());
        has_tail.then_some((row, seasons, scale))
    };
    let mut rows: Vec<usize> = (0..frame.series().len()).collect();
    rows.sort_by_cached_key(|row| Sha256::digest(frame.series()[*row].to_string()));
    let mut learned = vec![];
    // Not all rows of very many are looked at until enough are found.
    for chunk in rows.chunks(MOST_SERIES) {
        learned.extend(chunk.par_iter().filter_map(|row| learn(*row)).collect::<Vec<_>>());
        if learned.len() >= MOST_SERIES {
            break;
        }
    }
    learned.truncate(MOST_SERIES);
    learned.sort_unstable_by_key(|(row, ..)| *row);
    if learned.is_empty() {
        return Err(TrainError::Nothing);
    }
    let series = learned.iter().map(|(row, ..)| frame.series()[*row].clone()).collect();
    let values = learned.iter().flat_map(|(row, ..)| frame.row(*row)).copied().collect();
    let sampled = Frame::new(series, frame.start(), frame.step(), frame.points(), values);
    let (seasons, scales) = learned.into_iter().map(|(_, seasons, scale)| (seasons, scale)).unzip();
    Ok((sampled.expect("rows of a frame are unique, and of one length"), seasons, scales))
}

/// The mean absolute error of the naive forecast of one season, the shortest; of one point where there is no season.
/// `None` where nothing changes.
fn scale(values: &[f64], seasons: &[usize]) -> Option<f64> {
    let season = seasons.first().copied().unwrap_or(1);
    let changes = values.iter().zip(values.get(season..)?).map(|(before, after)| (after - before).abs());
    let changes: Vec<f64> = changes.filter(|change| change.is_finite()).collect();
    let mean = changes.iter().sum::<f64>() / changes.len() as f64;
    (mean > 0.0 && mean.is_finite()).then_some(mean)
}

/// The different sets of seasons, the one that most series have first, then the more ones.
fn most_common(seasons: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut counted: Vec<(usize, Vec<usize>)> = vec![];
    for set in seasons.iter().filter(|set| !set.is_empty()) {
        match counted.iter_mut().find(|(_, known)| known == set) {
            Some((count, _)) => *count += 1,
            None => counted.push((1, set.clone())),
        }
    }
    counted.sort_by_key(|(count, set)| (std::cmp::Reverse(*count), std::cmp::Reverse(set.len())));
    counted.truncate(MOST_SEASONS);
    counted.into_iter().map(|(_, set)| set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pipeline;
    use serde_json::json;
    use tsdb::Step;

    fn build(spec: &ModelSpec) -> Built {
        models::build(spec, &Resources::default())
    }

    fn spec(id: &str, parameters: Value) -> ModelSpec {
        ModelSpec::local(id, parameters.as_object().unwrap().clone())
    }

    fn exam(model: ModelSpec, points: usize, value: impl Fn(usize, usize) -> f64) -> Result<Exam, TrainError> {
        let pipeline = Pipeline { model, context_points: 120, horizon_points: 15, ..pipeline() };
        let labels = (0..3).map(|row| Labels::metric("up").with("row", &row.to_string())).collect();
        let values = (0..3).flat_map(|row| (0..points).map(move |at| (row, at))).map(|(row, at)| value(row, at));
        let step = Step::from_millis(1000).unwrap();
        Exam::new(&pipeline, &Frame::new(labels, Timestamp::default(), step, points, values.collect()).unwrap())
    }

    fn noise(row: usize, at: usize) -> f64 {
        let hash = (at as u64 * 31 + row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 40) as f64 / (1 << 24) as f64 - 0.5
    }

    /// A season of 20 points.
    fn seasonal(row: usize, at: usize) -> f64 {
        ((at + row) as f64 / 20.0 * std::f64::consts::TAU).sin() * 10.0 + noise(row, at)
    }

    #[test]
    fn what_is_chosen_on_seasonal_data_beats_a_model_that_sees_no_season() {
        let exam = exam(spec("seasonal_naive", json!({"season": "none"})), 600, seasonal).unwrap();
        let (best, candidates) = exam.choose(&build, &|_| true).unwrap();
        assert_eq!(candidates[0].parameters, exam.pipeline.model.parameters);
        assert_ne!(best.parameters, exam.pipeline.model.parameters);
        let verdict = exam.judge(&best, None, &build).unwrap();
        assert!(verdict.no_worse, "{}", verdict.reason);
        assert!(verdict.trained.pinball < 0.3 * verdict.untrained.pinball, "{verdict:?}");
        assert!(verdict.trained.mase < 1.5 && verdict.trained.coverage > 0.7, "{verdict:?}");
    }

    #[test]
    fn where_its_own_parameters_are_best_they_are_chosen() {
        let exam = exam(spec("mstl", json!({})), 600, seasonal).unwrap();
        let (best, _) = exam.choose(&build, &|_| true).unwrap();
        let verdict = exam.judge(&best, None, &build).unwrap();
        assert!(verdict.trained.pinball <= 1.1 * verdict.untrained.pinball, "{verdict:?}");
    }

    #[test]
    fn what_does_worse_on_the_tail_is_not_recommended() {
        // The season ends where the tail begins.
        let ends = |row, at| if at < 480 { seasonal(row, at) } else { 100.0 + noise(row, at) };
        let exam = exam(spec("seasonal_naive", json!({"season": "none"})), 600, ends).unwrap();
        let (best, _) = exam.choose(&build, &|_| true).unwrap();
        let verdict = exam.judge(&best, None, &build).unwrap();
        assert!(!verdict.no_worse, "{verdict:?}");
        assert!(verdict.reason.starts_with("worse than the untrained model on the tail"), "{}", verdict.reason);
    }

    #[test]
    fn the_version_in_use_is_the_yardstick() {
        let exam = exam(spec("seasonal_naive", json!({"season": "none"})), 600, seasonal).unwrap();
        let good = spec("seasonal_naive", json!({"season": "20s"}));
        let verdict = exam.judge(&exam.pipeline.model.clone(), Some(&good), &build).unwrap();
        assert!(!verdict.no_worse && verdict.current.is_some(), "{verdict:?}");
        let gone = spec("no_such_model", json!({}));
        let verdict = exam.judge(&exam.pipeline.model.clone(), Some(&gone), &build).unwrap();
        assert!(verdict.no_worse && verdict.current.is_none(), "{verdict:?}");
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let naive = || spec("seasonal_naive", json!({}));
        for (points, value, expected) in [
            (20, 1.0, "the history has 20 points"),
            (600, 1.0, "no series has values that change"),
            (600, f64::NAN, "the history has 0 points"),
        ] {
            let error = exam(naive(), points, |_, _| value).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let exam = exam(naive(), 600, seasonal).unwrap();
        assert!(matches!(exam.choose(&build, &|_| false), Err(TrainError::Stopped)));
    }

    #[test]
    fn a_trainer_sees_nothing_of_the_tail() {
        let exam = exam(spec("mstl", json!({})), 600, seasonal).unwrap();
        let (rows, end) = exam.before_tail();
        assert_eq!((rows.len(), rows[0].len(), end), (3, 480, Timestamp::from_seconds(479)));
        assert_eq!(exam.tail(), (Timestamp::from_seconds(479), Timestamp::from_seconds(599)));
    }

    #[test]
    fn the_loss_of_a_quantile_leans_to_its_side() {
        assert!((pinball(0.9, 10.0, 8.0) - 1.8).abs() < 1e-12);
        assert!((pinball(0.9, 8.0, 10.0) - 0.2).abs() < 1e-12);
        assert!(pinball(0.5, 3.0, 3.0).abs() < 1e-12);
    }
}
