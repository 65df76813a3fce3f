//! Every input under every setup: read, replayed, judged and written, several at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use engine::backtest::claims::{Claim, Claims};
use engine::backtest::group::incidents;
use engine::backtest::result::{SeriesResult, Summary, Trial};
use engine::backtest::scope::labels_of;
use engine::context::History;
use engine::evaluate::{Curve, Fit};
use engine::pipeline::{Pipeline, Technique};
use engine::replay::replay;
use engine::{Scored, band};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use tsdb::{Frame, Timestamp};

use super::input::{How, Input, Point, Table};
use super::scores::ScoreFile;
use super::setup::Setup;
use crate::cli::CliError;
use crate::render::backtest::{Picture, Run};

/// How many series are replayed at a time: what bounds the memory of an input of very many.
const CHUNK: usize = 64;

/// How many pictures are kept; of more, those of which there is least to see are dropped.
const MOST_PICTURES: usize = 200;

/// What is done with every input.
#[derive(Default)]
pub(crate) struct Work {
    /// How inputs are read.
    pub(crate) how: How,
    /// What is known to have happened, beside what the inputs say.
    pub(crate) claims: Option<Claims>,
    /// Where scores are written.
    pub(crate) scores: Option<PathBuf>,
    /// Whether there are several setups, so that each gets a folder of its own.
    pub(crate) is_many: bool,
    /// Whether pictures are made.
    pub(crate) pictures: bool,
    /// The parts of the judged points that get a result of their own, as shares: one part of all unless said otherwise.
    pub(crate) parts: Vec<(f64, f64)>,
}

/// What one part of a replay of all inputs shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// The series, in the order of the inputs.
    pub(crate) results: Vec<SeriesResult>,
    /// How many incidents their alerts are.
    incidents: usize,
    /// What each threshold would have done.
    pub(crate) curve: Curve,
}

impl Part {
    /// All series together.
    pub(crate) fn summary(&self) -> Summary {
        Summary::of(&self.results, self.incidents, &self.curve)
    }
}

/// What a replay of all inputs under one setup shows.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Each part.
    pub(crate) parts: Vec<Part>,
    /// What there is to see.
    pub(crate) pictures: Vec<Picture>,
}

impl Outcome {
    fn empty(parts: usize) -> Self {
        Self { parts: vec![Part::default(); parts], pictures: vec![] }
    }

    fn join(&mut self, other: Self) {
        for (part, more) in self.parts.iter_mut().zip(other.parts) {
            part.results.extend(more.results);
            part.incidents += more.incidents;
            part.curve.join(&more.curve);
        }
        self.pictures.extend(other.pictures);
        if self.pictures.len() > 2 * MOST_PICTURES {
            self.thin();
        }
    }

    /// What the first part shows, for a report.
    pub(crate) fn into_run(self, setup: &Setup) -> Run {
        let part = self.parts.into_iter().next().unwrap_or_default();
        Run {
            name: setup.name.clone(),
            settings: setup.settings(),
            summary: part.summary(),
            series: part.results,
            pictures: self.pictures,
        }
    }

    fn thin(&mut self) {
        self.pictures.sort_by(|a, b| b.interest.total_cmp(&a.interest));
        self.pictures.truncate(MOST_PICTURES);
    }
}

/// Replays all inputs under all setups; the outcomes in the order of the setups.
///
/// Work is taken by as many threads as there are cores, so that an input is read and written while others are replayed; as
/// many inputs are in memory at a time. Forecasts themselves run on the threads for computing.
///
/// # Errors
/// The first that any of them meets.
pub(crate) fn run(setups: &[Setup], inputs: &[Input], work: &Work) -> Result<Vec<Outcome>, CliError> {
    let tasks: Vec<(usize, usize)> =
        (0..setups.len()).flat_map(|setup| (0..inputs.len()).map(move |input| (setup, input))).collect();
    let bar = progress(tasks.len() as u64);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, Result<Outcome, CliError>)>> = Mutex::new(vec![]);
    let take = || {
        while let Some(&(setup, input)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let outcome = one(&setups[setup], &inputs[input], work, &bar);
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((setup * inputs.len() + input, outcome));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(take))));
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    let mut outcomes: Vec<Outcome> = setups.iter().map(|_| Outcome::empty(work.parts().len())).collect();
    for (at, outcome) in done {
        outcomes[at / inputs.len()].join(outcome?);
    }
    outcomes.iter_mut().for_each(Outcome::thin);
    Ok(outcomes)
}

fn progress(tasks: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.cyan} {pos}/{len} parts, {eta} left  {msg}")
        .expect("the template is well formed");
    ProgressBar::new(tasks).with_style(style)
}

impl Work {
    fn parts(&self) -> &[(f64, f64)] {
        if self.parts.is_empty() { &[(0.0, 1.0)] } else { &self.parts }
    }
}

/// One input under one setup.
fn one(setup: &Setup, input: &Input, work: &Work, bar: &ProgressBar) -> Result<Outcome, CliError> {
    let table = input.read(&work.how, setup.pipeline_of(input, &work.how)?.as_ref())?;
    bar.set_message(table.name.clone());
    let pipeline = setup.pipeline(table.frame.step());
    let chunk = if pipeline.series_stand_alone() { CHUNK } else { usize::MAX };
    let chunks: Vec<Vec<usize>> =
        (0..table.frame.series().len()).collect::<Vec<_>>().chunks(chunk).map(<[usize]>::to_vec).collect();
    bar.inc_length(chunks.len() as u64 - 1);
    let folder = work.scores.as_ref().map(|folder| setup.scores(folder, work.is_many));
    let mut scores = folder.map(|folder| ScoreFile::create(&folder, &table)).transpose()?;
    let mut outcome = Outcome::empty(work.parts().len());
    for rows in chunks {
        let history = History::of(part(&table.frame, &rows));
        let scored = replay(&pipeline, &*setup.model, &history, table.before(), table.frame.end())?;
        drop(history);
        let judge = |at: usize| judge(&table, &scored, at, rows[at], &pipeline, work);
        let judged: Vec<Outcome> = (0..rows.len()).into_par_iter().map(judge).collect();
        judged.into_iter().for_each(|one| outcome.join(one));
        if let Some(scores) = &mut scores {
            scores.add(&table, &rows, scored)?;
        }
        bar.inc(1);
    }
    if let Some(scores) = scores {
        scores.finish(&table)?;
    }
    for part in &mut outcome.parts {
        part.incidents = incidents(&part.results);
    }
    Ok(outcome)
}

/// Some rows of a frame.
fn part(frame: &Frame, rows: &[usize]) -> Frame {
    let series = rows.iter().map(|row| frame.series()[*row].clone()).collect();
    let values = rows.iter().flat_map(|row| frame.row(*row)).copied().collect();
    Frame::new(series, frame.start(), frame.step(), frame.points(), values).expect("its rows are those of a frame")
}

/// The lower of the two levels that the band's edges stand for, as far as they are quantiles.
fn low(pipeline: &Pipeline) -> f64 {
    match pipeline.anomaly.technique {
        Technique::ConfidenceInterval { confidence_level } => (1.0 - confidence_level) / 2.0,
        technique => band::levels(technique).as_slice()[0],
    }
}

/// Where a cell of the table stands in what was scored; `None` where it was not.
pub(crate) fn scored_cell(table: &Table, scored: &Scored, cell: usize) -> Option<usize> {
    scored.score.index(table.frame.time(cell))
}

/// Judges the row `at` of what was scored, which is the series `series` of the table.
fn judge(table: &Table, scored: &Scored, at: usize, series: usize, pipeline: &Pipeline, work: &Work) -> Outcome {
    let points = table.points(series);
    let points = &points[table.judged_from(&points)..];
    let (name, labels) = (table.series_name(series), labels_of(&table.frame.series()[series]));
    let claimed = work.claims.as_ref().map(|claims| claims.of(&name, &labels)).unwrap_or_default();
    let claims: Vec<Option<Claim>> = points.iter().map(|point| claimed.at(point.time)).collect();
    let is_event = |(point, claim): (&Point, &Option<Claim>)| point.is_anomaly || *claim == Some(Claim::Event);
    let truth: Vec<bool> = points.iter().zip(&claims).map(is_event).collect();
    let neither: Vec<bool> = claims.iter().zip(&truth).map(|(claim, truth)| claim.is_some() && !truth).collect();
    let score = |point: &Point| scored_cell(table, scored, point.cell).map(|cell| scored.score.row(at)[cell]);
    let scores: Vec<f64> = points.iter().map(|point| score(point).unwrap_or(f64::NAN)).collect();
    let times: Vec<Timestamp> = points.iter().map(|point| point.time).collect();
    let is_known = table.has_labels || work.claims.is_some();
    let mut outcome = Outcome::empty(work.parts().len());
    for (part, (from, until)) in outcome.parts.iter_mut().zip(work.parts()) {
        let place = |share: &f64| (share * points.len() as f64).round() as usize;
        let range = place(from)..place(until);
        let cells = points[range.clone()].iter().filter_map(|point| scored_cell(table, scored, point.cell));
        let (first, last) = (cells.clone().min(), cells.max());
        let fitted = first.zip(last).map(|(first, last)| Fit::of(scored, at, first..last + 1, low(pipeline)));
        let trial = Trial {
            series: name.clone(),
            labels: labels.clone(),
            step: table.frame.step(),
            patience: pipeline.anomaly.patience_points(table.frame.step()),
            times: &times[range.clone()],
            scores: &scores[range.clone()],
            truth: is_known.then(|| (&truth[range.clone()], &neither[range.clone()])),
            fit: fitted.unwrap_or_default(),
            vus_window: table.vus_window,
        };
        part.results.push(trial.judge(&mut part.curve));
    }
    if work.pictures {
        let result = &outcome.parts[0].results[0];
        outcome.pictures.push(Picture::new(result, scored, at, table.frame.row(series), table.offset));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::cli::backtest::inputs;

    /// More series than are replayed at a time; the last of them do something else than the others.
    const SERIES: usize = CHUNK + 6;
    const POINTS: usize = 120;

    fn value(series: usize, point: usize) -> f64 {
        let hash = ((series * 1009 + point + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / (1 << 24) as f64;
        let spike = if hash.is_multiple_of(31) { 9.0 } else { 0.0 };
        let wave = (point as f64 / 24.0 * std::f64::consts::TAU).sin();
        if series < CHUNK { 10.0 * wave + noise + spike } else { 50.0 + 3.0 * noise * wave }
    }

    /// A file of so many series, an hour between two points.
    fn file(dir: &Path) -> Vec<Input> {
        let mut text = String::from("time,host,cpu\n");
        for (point, series) in (0..POINTS).flat_map(|point| (0..SERIES).map(move |series| (point, series))) {
            writeln!(text, "{},h{series:02},{}", 1_767_225_600 + 3600 * point, value(series, point)).unwrap();
        }
        let path = dir.join("fleet.csv");
        std::fs::write(&path, text).unwrap();
        inputs(&[path.to_str().unwrap().to_owned()]).unwrap()
    }

    /// What is told of each series: how many points were anomalous, and the alerts by their peaks.
    type Said = BTreeMap<String, (usize, Vec<(i64, f64)>)>;

    /// The same of the series `rows` of the table, replayed at once.
    fn at_once(setup: &Setup, table: &Table, rows: &[usize]) -> Said {
        let pipeline = setup.pipeline(table.frame.step());
        let history = History::of(part(&table.frame, rows));
        let scored = replay(&pipeline, &*setup.model, &history, table.before(), table.frame.end()).unwrap();
        let judge = |(at, row): (usize, &usize)| judge(table, &scored, at, *row, &pipeline, &Work::default());
        rows.iter().enumerate().map(judge).flat_map(|outcome| said(&outcome)).collect()
    }

    fn said(outcome: &Outcome) -> Said {
        let peaks = |one: &SeriesResult| one.alerts.iter().map(|alert| (alert.peak_ms, alert.peak_score)).collect();
        let results = outcome.parts[0].results.iter();
        results.map(|one| (one.series.clone(), (one.anomalous, peaks(one)))).collect()
    }

    /// Where `model` and `anomaly` make something of all series together, however many there are, they are not replayed in
    /// pieces.
    #[test]
    fn what_is_judged_together_is_replayed_together() {
        for (model, anomaly, stands_alone) in [
            ("{id: peers}", "{}", false),
            ("{id: seasonal_naive}", "{alert_budget: 1/day, calibration: none}", false),
            ("{id: seasonal_naive}", "{alert_budget: 1/day per series, calibration: none}", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let pipeline = dir.path().join("fleet.yaml");
            let text = format!(
                "{{name: fleet, query: cpu, step: 1h, context_window: 2d, prediction_horizon: 12h, forecast_schedule: \
                 12h, model: {model}, anomaly: {anomaly}}}"
            );
            std::fs::write(&pipeline, text).unwrap();
            let setup = Setup::of_files(&[pipeline.to_str().unwrap().to_owned()]).unwrap().remove(0);
            let inputs = file(dir.path());
            let table = inputs[0].read(&How::default(), setup.written()).unwrap();
            let rows: Vec<usize> = (0..SERIES).collect();
            let whole = at_once(&setup, &table, &rows);
            assert!(whole.len() == SERIES && whole.values().any(|(anomalous, _)| *anomalous > 0), "{model} {anomaly}");
            let found = run(std::slice::from_ref(&setup), &inputs, &Work::default()).unwrap().remove(0);
            assert_eq!(said(&found), whole, "{model} {anomaly}");
            let last = at_once(&setup, &table, &rows[CHUNK..]);
            let is_same = last.iter().all(|(name, said)| whole[name] == *said);
            assert_eq!(is_same, stands_alone, "{model} {anomaly}: whether pieces would show the same");
        }
    }
}
