//! The state of a pipeline's scoring: what is learned from judging points, and what the next points are judged by.
//!
//! All of it is here, per series, and is advanced in the order of time, turn by turn, by whoever judges: the service, a
//! backfill, a replay. Three things make it the same for all of them. Calibrations and thresholds depend on a bounded
//! time before the point, whose begin is a matter of the clock alone ([`Judge::since`]), so whoever lets a new judge go
//! through that time has the state of one that never stopped. What models must not see are points that were scored,
//! and scores stand in the store ([`Judge::recall`]). And a forecast is made of what was known when its context ended,
//! whenever it is made ([`Judge::masks`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use models::Judging;
use models::detect::{Detector, Finding};
use models::panel::Found;
use rayon::prelude::*;
use tsdb::{Labels, Step, Timestamp};

use crate::band::Expectation;
use crate::budget::{Share, Threshold};
use crate::calibrate::{Calibration, EPOCH_POINTS};
use crate::context::History;
use crate::feedback::{Verdict, heeded};
use crate::incident::Lasting;
use crate::mask::{LevelShift, Runs};
use crate::outlook::{Outlook, Turn, context_start};
use crate::panel;
use crate::pipeline::Pipeline;
use crate::score::{beside_threshold, detected_score, score};
use crate::silence::{Quiet, Silence};

/// How far ahead calendars are looked up at a time.
const LOOK_AHEAD: Duration = Duration::from_secs(86_400);

/// Rows that one thread judges at a time, at least: one alone is not worth a thread.
const FEWEST_ROWS: usize = 64;

/// The same where each row has a detector, which takes longer.
const FEWEST_DETECTORS: usize = 4;

/// What is hidden from the contexts of a forecast, by row; nothing of the rows that are not there.
pub type Masks = BTreeMap<usize, Quiet>;

/// The value, what was expected, the edges and the score of one point; all NaN where there is no score.
pub type Cell = [f64; 5];

/// What a turn's points were worth.
#[derive(Debug, Default)]
pub struct Judged {
    /// The points of each row of the history.
    pub rows: Vec<Vec<Cell>>,
    /// The shifts of a level that were accepted.
    pub shifts: Vec<LevelShift>,
    /// Series whose band is wide because it is not calibrated yet.
    pub uncalibrated: usize,
}

/// The state of a pipeline's scoring.
#[derive(Debug, Clone)]
pub struct Judge {
    pipeline: Arc<Pipeline>,
    judging: Judging,
    series: Vec<Labels>,
    lines: Vec<Line>,
    /// Lines of series that the history doesn't have any more, and may have again.
    parked: HashMap<Labels, Line>,
    silences: Vec<Silence>,
    verdicts: Arc<[Verdict]>,
    /// The range of time that the lines know their silences of.
    looked_up: Option<(Timestamp, Timestamp)>,
    /// The threshold of all series together.
    threshold: Option<Threshold>,
    until: Option<Timestamp>,
}

/// The state of one series.
#[derive(Debug, Clone)]
struct Line {
    calibration: Option<Calibration>,
    /// What judges the points, where forecasts don't.
    detector: Option<Detector>,
    runs: Option<Runs>,
    threshold: Option<Threshold>,
    lasting: Lasting,
    quiet: Quiet,
    /// What people have said of its pattern.
    verdicts: Vec<Verdict>,
    /// The newest point that was judged.
    last: Timestamp,
}

impl Line {
    fn new(pipeline: &Pipeline) -> Self {
        let anomaly = &pipeline.anomaly;
        let own = anomaly.budget.filter(|budget| budget.share == Share::Series);
        Self {
            // A detector's own band is calibrated already.
            calibration: anomaly.calibrated_level().filter(|_| !pipeline.detects()).map(Calibration::new),
            detector: pipeline.learns().then(|| Detector::new(pipeline.step.duration(), anomaly.confidence())),
            runs: anomaly.mask_limit.map(|limit| Runs::new(limit, pipeline.step)),
            threshold: own.map(|budget| Threshold::new(budget, pipeline.step)),
            lasting: Lasting::new(anomaly.patience_points(pipeline.step)),
            quiet: Quiet::default(),
            verdicts: vec![],
            last: Timestamp::from_millis(i64::MIN),
        }
    }
}

/// What is the same for all points of a row in a turn.
struct Bench<'a> {
    pipeline: &'a Pipeline,
    turn: Turn,
    outlook: &'a Outlook,
    /// What was found of the points of each row, where something looks at several at once.
    found: &'a [Vec<Option<Found>>],
    history: &'a History,
    /// The threshold that all series have in common.
    factor: Option<f64>,
    /// Whether what is found counts as scored.
    counts: bool,
}

/// What a point is judged by.
#[derive(Clone, Copy)]
enum Basis {
    /// The band of a forecast, and how many steps ahead of it the point is.
    Forecast(Expectation, usize),
    /// What a detector that looks at several series says.
    Found(Option<Found>),
}

/// What became of a row.
struct Row {
    cells: Vec<Cell>,
    /// How high what lasts is at each point, before it is divided by a threshold; for a common budget only.
    lasting: Vec<f64>,
    shift: Option<LevelShift>,
}

impl Judge {
    /// A judge of `pipeline` that has seen nothing.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        let common = pipeline.anomaly.budget.filter(|budget| budget.share == Share::Pipeline);
        Self {
            threshold: common.map(|budget| Threshold::new(budget, pipeline.step)),
            judging: pipeline.judging(),
            pipeline,
            series: vec![],
            lines: vec![],
            parked: HashMap::new(),
            silences: vec![],
            verdicts: Arc::default(),
            looked_up: None,
            until: None,
        }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// The newest point that has been judged.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// The last point before those that must be judged before the points after `after` are: what calibrations and
    /// thresholds are learned from. `after` itself where nothing is.
    pub fn since(&self, after: Timestamp) -> Timestamp {
        let (anomaly, step) = (&self.pipeline.anomaly, self.pipeline.step);
        // Every point of the turn is judged by the thresholds of its origin, which may lie in the day before.
        let origin = after - self.pipeline.forecast_schedule.largest_gap() - self.pipeline.data_delay;
        let first = anomaly.budget.map_or(after + step, |budget| budget.since(origin));
        if self.judging == Judging::Ensemble {
            return first.floor(step) - step.times(1 + self.pipeline.known_points().min(Detector::KEEPS));
        }
        match anomaly.calibrated_level().filter(|_| self.judging == Judging::Forecasts) {
            Some(_) => Calibration::since(first, step) - step,
            None => first.floor(step) - step,
        }
    }

    /// Neither scores nor learns from what is in `silences`, from now on, beside the pipeline's own calendars.
    pub fn silence(&mut self, silences: Vec<Silence>) {
        self.silences = silences;
        self.looked_up = None;
    }

    /// What is silenced beside the pipeline's calendars.
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// Scores from now on with the thresholds that these verdicts have moved.
    pub fn heed(&mut self, verdicts: Arc<[Verdict]>) {
        if *self.verdicts != *verdicts {
            self.verdicts = verdicts;
            self.looked_up = None;
        }
    }

    /// The verdicts that have moved thresholds.
    pub fn verdicts(&self) -> &Arc<[Verdict]> {
        &self.verdicts
    }

    /// Takes in a score of the series `row` of `history` that was given before; they come in the order of time.
    pub fn recall(&mut self, history: &History, row: usize, time: Timestamp, score: f64) {
        self.align(history);
        if let Some(runs) = self.lines.get_mut(row).and_then(|line| line.runs.as_mut()) {
            runs.note(time, score);
        }
    }

    /// What is hidden from the forecast whose contexts end with `origin`.
    pub fn masks(&mut self, history: &History, origin: Timestamp) -> Masks {
        self.align(history);
        let first = context_start(&self.pipeline, origin);
        self.look_up(first, origin);
        let of_line = |(row, line): (usize, &Line)| {
            let silenced = line.quiet.ranges().iter().filter(|range| range.start <= origin && range.end > first);
            let hidden = line.runs.iter().flat_map(|runs| runs.hidden(origin)).filter(|range| range.end > first);
            let ranges: Vec<_> = silenced.cloned().chain(hidden).collect();
            (!ranges.is_empty()).then(|| (row, Quiet::new(ranges)))
        };
        self.lines.iter().enumerate().filter_map(of_line).collect()
    }

    /// Judges the points of `turn` by the outlook of its origin, and learns from them. Where they don't count, since
    /// nobody will see their scores, they are not hidden from models either.
    pub fn judge(&mut self, turn: Turn, outlook: &Outlook, history: &History, counts: bool) -> Judged {
        self.align(history);
        self.look_up(context_start(&self.pipeline, turn.origin), turn.last);
        let factor = self.threshold.as_mut().map(|threshold| threshold.factor(turn.origin));
        let pipeline = self.pipeline.clone();
        let found = self.found(turn, history);
        let bench = Bench { pipeline: &pipeline, turn, outlook, found: &found, history, factor, counts };
        let fewest = if self.judging == Judging::Ensemble { FEWEST_DETECTORS } else { FEWEST_ROWS };
        let rows = self.lines.par_iter_mut().enumerate().with_min_len(fewest);
        let rows: Vec<Row> = rows.map(|(row, line)| bench.judge(row, line)).collect();
        self.push(turn, &rows);
        self.until = Some(turn.last);
        let is_unsure = |line: &&Line| line.calibration.as_ref().is_some_and(|calibration| !calibration.is_sure());
        let uncalibrated = self.lines.iter().filter(is_unsure).count();
        let (rows, shifts): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (row.cells, row.shift)).unzip();
        Judged { rows, shifts: shifts.into_iter().flatten().collect(), uncalibrated }
    }

    /// What a detector that looks at several series says of the points of `turn`, by row; nothing where there is none.
    fn found(&mut self, turn: Turn, history: &History) -> Vec<Vec<Option<Found>>> {
        let Judging::Panel(detector) = self.judging.clone() else { return vec![] };
        let masks = self.masks(history, turn.origin);
        panel::found(&self.pipeline, &detector, turn, history, &masks)
    }

    /// Whether `series`, which may be the row `row`, has got a score, as far as that is remembered.
    pub fn has_scored(&self, row: Option<usize>, series: &Labels) -> bool {
        self.line(row, series).is_some_and(|line| line.last > Timestamp::from_millis(i64::MIN))
    }

    /// Whether `series`, which may be the row `row`, is silenced at `time`, near the points that were judged last.
    pub fn is_silenced(&self, row: Option<usize>, series: &Labels, time: Timestamp) -> bool {
        self.line(row, series).is_some_and(|line| line.quiet.covers(time))
    }

    fn line(&self, row: Option<usize>, series: &Labels) -> Option<&Line> {
        let row = row.filter(|row| self.series.get(*row) == Some(series));
        row.and_then(|row| self.lines.get(row)).or_else(|| self.parked.get(series))
    }

    /// How much of the alert budget was used in its time before the newest point: 1 is all of it. Where each series has
    /// its own, that of the one that used most.
    pub fn budget_used(&self) -> Option<f64> {
        let until = self.until?;
        let own = self.lines.iter().filter_map(|line| line.threshold.as_ref());
        self.threshold.iter().chain(own).map(|threshold| threshold.used(until)).max_by(f64::total_cmp)
    }

    /// Gives the common threshold the highest of what lasts at each point.
    fn push(&mut self, turn: Turn, rows: &[Row]) {
        let Some(threshold) = &mut self.threshold else { return };
        let points = rows.iter().map(|row| row.lasting.len()).max().unwrap_or(0);
        for point in 0..points {
            let all = rows.iter().filter_map(|row| row.lasting.get(point)).filter(|score| !score.is_nan());
            if let Some(highest) = all.copied().max_by(f64::total_cmp) {
                threshold.push(turn.first + self.pipeline.step.times(point), highest);
            }
        }
    }

    /// Makes row numbers those of `history`.
    fn align(&mut self, history: &History) {
        if self.series == history.series() {
            return;
        }
        let known = std::mem::take(&mut self.series).into_iter().zip(std::mem::take(&mut self.lines));
        self.parked.extend(known);
        self.series = history.series().to_vec();
        let line = |labels: &Labels| self.parked.remove(labels).unwrap_or_else(|| Line::new(&self.pipeline));
        self.lines = self.series.iter().map(line).collect();
        // What a line has learned is forgotten after two epochs, and so is the line.
        let memory = self.pipeline.step.times(2 * EPOCH_POINTS as usize);
        let until = self.until.unwrap_or_default();
        self.parked.retain(|_, line| line.last + memory >= until);
        self.looked_up = None;
    }

    /// Makes the lines know their silences from `first` to `last`.
    fn look_up(&mut self, first: Timestamp, last: Timestamp) {
        if self.pipeline.calendars.is_empty() && self.silences.is_empty() && self.looked_up.is_some() {
            return;
        }
        if self.looked_up.is_some_and(|(from, until)| from <= first && last <= until) {
            return;
        }
        let (from, until) = (first - LOOK_AHEAD, last + LOOK_AHEAD);
        let planned = self.pipeline.calendars.iter().flat_map(|calendar| calendar.silences(from, until));
        let all: Vec<Silence> = planned.chain(self.silences.iter().cloned()).collect();
        for (labels, line) in self.series.iter().zip(&mut self.lines) {
            line.quiet = Quiet::of(&all, labels);
            line.verdicts = self.verdicts.iter().filter(|verdict| verdict.is_for(labels)).cloned().collect();
        }
        self.looked_up = Some((from, until));
    }
}

impl Bench<'_> {
    fn judge(&self, row: usize, line: &mut Line) -> Row {
        let Self { pipeline, turn, outlook, history, .. } = self;
        let step = pipeline.step;
        if let Some(runs) = &mut line.runs {
            runs.forget_before(context_start(pipeline, turn.origin));
        }
        let factor = line.threshold.as_mut().map(|threshold| threshold.factor(turn.origin)).or(self.factor);
        let ahead = ((turn.first.millis() - turn.origin.millis()) / step.millis()) as usize;
        let actual = history.range(row, turn.first, turn.last);
        let mut done = Row { cells: Vec::with_capacity(actual.len()), lasting: vec![], shift: None };
        for (point, &y) in actual.iter().enumerate() {
            let time = turn.first + step.times(point);
            if y.is_nan() || line.quiet.covers(time) {
                self.skip(line, &mut done);
                continue;
            }
            let basis = match self.found.get(row) {
                Some(found) => Basis::Found(found[point]),
                None => Basis::Forecast(outlook.band.at(row, ahead + point - 1), ahead + point),
            };
            let Some((band, raw)) = line.judge(y, basis, time, pipeline) else {
                self.skip(line, &mut done);
                continue;
            };
            self.push(line, time, raw, &mut done);
            let score = factor.map_or(raw, |factor| beside_threshold(raw, factor, y, &pipeline.anomaly));
            let score = heeded(&line.verdicts, time, (y, band.expected), score);
            if self.counts {
                let shift = line.note(time, score).map(|since| self.shift(row, since, time));
                done.shift = shift.or(done.shift.take());
            }
            line.last = time;
            done.cells.push([y, band.expected, band.lower, band.upper, score]);
        }
        done
    }

    /// The next point has no score.
    fn skip(&self, line: &mut Line, done: &mut Row) {
        line.lasting.push(f64::NAN);
        done.cells.push([f64::NAN; 5]);
        done.lasting.extend(self.factor.map(|_| f64::NAN));
    }

    /// Gives what lasts to the series' own threshold, or keeps it for the common one.
    fn push(&self, line: &mut Line, time: Timestamp, raw: f64, done: &mut Row) {
        if line.threshold.is_none() && self.factor.is_none() {
            return;
        }
        let lasting = line.lasting.push(raw);
        if let Some(threshold) = &mut line.threshold {
            threshold.push(time, lasting);
        }
        done.lasting.extend(self.factor.map(|_| lasting));
    }

    /// The shift of a row that began at `since` and is accepted at `at`.
    fn shift(&self, row: usize, since: Timestamp, at: Timestamp) -> LevelShift {
        let lasted = Duration::from_millis((at.millis() - since.millis()).unsigned_abs());
        let before = self.history.range(row, since - lasted, since - self.pipeline.step.duration());
        LevelShift {
            series: self.history.series()[row].clone(),
            since,
            at,
            from: median(before),
            to: median(self.history.range(row, since, at)),
        }
    }
}

impl Line {
    /// What was expected of `y`, and how far off it is: by the series' own detector, or by `basis`. `None` where neither
    /// expects anything.
    fn judge(&mut self, y: f64, basis: Basis, time: Timestamp, pipeline: &Pipeline) -> Option<(Expectation, f64)> {
        let anomaly = &pipeline.anomaly;
        let (band, detected) = match (&mut self.detector, basis) {
            (Some(detector), _) => {
                let Finding { score, expected, lower, upper, .. } = detector.push(time.millis(), y)?;
                (Expectation { expected, lower, upper }, Some(score))
            }
            (None, Basis::Found(found)) => {
                let Found { expected, lower, upper, score } = found?;
                (Expectation { expected, lower, upper }, score)
            }
            (None, Basis::Forecast(model, _)) if model.expected.is_nan() => return None,
            (None, Basis::Forecast(model, ahead)) => (self.calibrate(y, model, ahead, time, pipeline.step), None),
        };
        let band = band.shaped(anomaly);
        let by_band = || score(y, band, anomaly);
        Some((band, detected.map_or_else(by_band, |detected| detected_score(y, band, detected, anomaly))))
    }

    /// The band that `model` gives, as wide as it must be; then learns what came.
    fn calibrate(&mut self, y: f64, model: Expectation, ahead: usize, time: Timestamp, step: Step) -> Expectation {
        let Some(calibration) = &mut self.calibration else { return model };
        calibration.go_to(time, step);
        let band = calibration.widen(model, ahead);
        calibration.learn(y, model, ahead);
        band
    }

    fn note(&mut self, time: Timestamp, score: f64) -> Option<Timestamp> {
        self.runs.as_mut().and_then(|runs| runs.note(time, score))
    }
}

/// The median of what is known; NaN where nothing is.
fn median(values: &[f64]) -> f64 {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if known.is_empty() {
        return f64::NAN;
    }
    let middle = known.len() / 2;
    *known.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlook::{Known, turns};
    use crate::pipeline::Calibration as Kind;
    use crate::replay::advance;
    use crate::schedule::Schedule;
    use crate::testing::{LastValue, learning, pipeline};
    use models::{Forecast, ForecastError, Forecaster, Request};
    use tsdb::Frame;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn noise(point: i64) -> f64 {
        let hash = (point as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (hash >> 40) as f64 / (1 << 24) as f64 - 0.5
    }

    fn frame(points: i64, value: impl Fn(i64) -> f64) -> Frame {
        let values = (0..points).map(value).collect();
        Frame::new(vec![Labels::metric("up")], at(0), Step::from_millis(1000).unwrap(), points as usize, values)
            .unwrap()
    }

    /// What a judge makes of the points from 100 s on: value, expected value, edges and score of each, and shifts.
    fn judged(
        pipeline: &Pipeline,
        silences: Vec<Silence>,
        model: &dyn Forecaster,
        frame: Frame,
    ) -> (Vec<Cell>, Vec<LevelShift>) {
        let mut judge = Judge::new(Arc::new(pipeline.clone()));
        judge.silence(silences);
        let history = History::of(frame);
        let turns: Vec<(Turn, Vec<Known>)> =
            turns(pipeline, at(100), history.end()).map(|turn| (turn, vec![])).collect();
        let mut sheet = crate::outlook::Sheet::new(&history, at(101), history.end());
        let shifts = advance(&mut judge, model, &history, &turns, true, Some(&mut sheet)).unwrap();
        let columns = sheet.finish().named().map(|(_, frame)| frame.into_parts().4);
        // In the order of names: score, y, yhat, lower, upper.
        let cell = |point: usize| [1, 2, 3, 4, 0].map(|column: usize| columns[column][point]);
        ((0..columns[0].len()).map(cell).collect(), shifts)
    }

    /// Expects the mean of the context, give or take half its range.
    struct Mean;

    impl Forecaster for Mean {
        fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
            let mut forecast = Forecast::unknown(request.contexts.len(), request.levels.clone(), request.horizon);
            let size = request.levels.len() * request.horizon;
            for (context, row) in request.contexts.iter().zip(forecast.values_mut().chunks_mut(size)) {
                let known: Vec<f64> = context.iter().copied().filter(|value| !value.is_nan()).collect();
                let (low, high) =
                    known.iter().fold((f64::MAX, f64::MIN), |ends, value| (ends.0.min(*value), ends.1.max(*value)));
                let mean = known.iter().sum::<f64>() / known.len() as f64;
                for (level, row) in request.levels.as_slice().iter().zip(row.chunks_mut(request.horizon)) {
                    row.fill(mean + (level - 0.5) * (high - low));
                }
            }
            Ok(forecast)
        }
    }

    /// A step of 1 s, contexts of 200 s.
    fn masking(limit: Option<u64>) -> Pipeline {
        let mut pipeline = pipeline();
        pipeline.context_points = 200;
        pipeline.anomaly.mask_limit = limit.map(Duration::from_secs);
        pipeline
    }

    #[test]
    fn after_a_spike_the_band_is_what_it_would_have_been() {
        let spike = |point: i64| if (300..330).contains(&point) { 50.0 } else { noise(point) };
        let (calm, _) = judged(&masking(Some(60)), vec![], &Mean, frame(500, noise));
        let (masked, shifts) = judged(&masking(Some(60)), vec![], &Mean, frame(500, spike));
        let (blind, _) = judged(&masking(None), vec![], &Mean, frame(500, spike));
        assert!(shifts.is_empty());
        // From 101 s on; the context of 200 s holds the spike until 530 s.
        for point in [340 - 101, 400 - 101, 490 - 101] {
            let width = |cells: &[Cell]| cells[point][3] - cells[point][2];
            assert!((width(&masked) - width(&calm)).abs() < 0.1 * width(&calm), "{point}: {}", width(&masked));
            assert!((masked[point][1] - calm[point][1]).abs() < 0.05);
            assert!(width(&blind) > 20.0 * width(&calm), "a model that sees the spike is blind: {}", width(&blind));
        }
    }

    #[test]
    fn a_level_that_stays_longer_than_the_limit_is_learned() {
        let shifted = |point: i64| noise(point) + if point >= 300 { 50.0 } else { 0.0 };
        let (cells, shifts) = judged(&masking(Some(60)), vec![], &LastValue, frame(600, shifted));
        let [shift] = &shifts[..] else { panic!("{shifts:?}") };
        assert_eq!((shift.since, shift.at), (at(300), at(360)));
        assert!(shift.from.abs() < 0.2 && (shift.to - 50.0).abs() < 0.2, "{shift:?}");
        let score = |second: usize| cells[second - 101][4];
        assert!((300..=360).all(|second| score(second) > HIDDEN), "it is told for as long as the limit says");
        assert!((371..600).all(|second| score(second) <= 1.0), "and then it is how things are");
        let (_, none) = judged(&masking(None), vec![], &LastValue, frame(600, shifted));
        assert!(none.is_empty());
    }

    const HIDDEN: f64 = crate::mask::HIDDEN_ABOVE;

    #[test]
    fn in_a_silence_nothing_is_scored_and_nothing_learned() {
        let silence = |from, until, matchers: &[&str]| Silence {
            from: at(from),
            until: at(until),
            matchers: matchers.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let noisy = |point: i64| if (300..330).contains(&point) { 50.0 } else { noise(point) };
        let (calm, _) = judged(&masking(None), vec![], &Mean, frame(500, noise));
        let (cells, _) = judged(&masking(None), vec![silence(300, 330, &["__name__=up"])], &Mean, frame(500, noisy));
        let silent: Vec<usize> = (101..500).filter(|second| cells[second - 101][4].is_nan()).collect();
        assert_eq!(silent, (300..330).collect::<Vec<_>>());
        assert!((cells[300][3] - calm[300][3]).abs() < 0.1);
        let (cells, _) = judged(&masking(None), vec![silence(300, 330, &["__name__=down"])], &Mean, frame(500, noisy));
        assert!(cells.iter().all(|cell| !cell[4].is_nan()));
    }

    #[test]
    fn a_calibrated_band_holds_its_level_where_the_models_own_does_not() {
        let inside = |calibration: Kind| {
            let mut pipeline = learning();
            (pipeline.anomaly.calibration, pipeline.calendars) = (calibration, vec![]);
            let (cells, _) = judged(&pipeline, vec![], &LastValue, frame(3000, noise));
            let held = cells[500..].iter().filter(|[y, _, lower, upper, _]| lower <= y && y <= upper).count();
            held as f64 / (cells.len() - 500) as f64
        };
        assert!((inside(Kind::Conformal) - 0.9).abs() < 0.03, "{}", inside(Kind::Conformal));
        assert!(inside(Kind::None) > 0.96, "{}", inside(Kind::None));
    }

    /// A step of an hour, so that a threshold needs few points, and one alert a day at random.
    fn budgeted(budget: &str) -> Pipeline {
        let mut pipeline = pipeline();
        pipeline.step = Step::from_millis(3_600_000).unwrap();
        pipeline.forecast_schedule = Schedule::Every(Duration::from_secs(3600));
        pipeline.anomaly.budget = Some(budget.parse().unwrap());
        pipeline
    }

    #[test]
    fn a_budget_moves_the_scores_so_that_about_as_many_alerts_come() {
        let labels: Vec<Labels> = (0..5).map(|row| Labels::metric("up").with("row", &row.to_string())).collect();
        let points = 24 * 7 * 12;
        let values = (0..5 * points).map(|at| noise(at) * (1.0 + 6.0 * noise(at * 7 + 1).abs().powi(6))).collect();
        let step = Step::from_millis(3_600_000).unwrap();
        let history = History::of(Frame::new(labels, at(0), step, points as usize, values).unwrap());
        let alerts = |budget: &str| -> Vec<f64> {
            let pipeline = budgeted(budget);
            let after = at(0) + step.times(24 * 7 * 4);
            let scored = crate::replay(&pipeline, &LastValue, &history, after, history.end()).unwrap();
            let incidents = crate::incident::incidents(&scored.score, 3);
            (0..5).map(|row| incidents.iter().filter(|one| one.series == row).count() as f64 / 8.0).collect()
        };
        let all: f64 = alerts("2/week").iter().sum();
        assert!((0.5..=4.0).contains(&all), "{all} a week of all series together");
        let each = alerts("2/week per series");
        assert!(each.iter().all(|rate| (0.5..=4.0).contains(rate)), "{each:?}");
    }

    /// A threshold and a calibration depend on whole days and epochs before a point, so whoever begins later has the same.
    #[test]
    fn with_a_budget_it_does_not_matter_where_a_replay_begins() {
        for budget in ["2/week", "1/day per series"] {
            let mut pipeline = budgeted(budget);
            pipeline.anomaly.calibration = Kind::Conformal;
            pipeline.anomaly.patience = Duration::from_secs(7200);
            let labels: Vec<Labels> = (0..3).map(|row| Labels::metric("up").with("row", &row.to_string())).collect();
            let values = (0..3 * 1700).map(|at| noise(at) * (1.0 + 6.0 * noise(at * 7 + 1).abs().powi(6))).collect();
            let history = History::of(Frame::new(labels, at(0), pipeline.step, 1700, values).unwrap());
            let [early, late] = [1200, 1613].map(|after| {
                let after = at(0) + pipeline.step.times(after);
                crate::replay(&pipeline, &LastValue, &history, after, history.end()).unwrap().score
            });
            for row in 0..3 {
                let (early, late) = (early.row(row), late.row(row));
                assert_eq!(early[early.len() - late.len()..], *late, "{budget}");
            }
        }
    }

    #[test]
    fn what_a_judge_learns_from_begins_by_the_clock() {
        let since = |pipeline: Pipeline, after: Timestamp| Judge::new(Arc::new(pipeline)).since(after);
        assert_eq!(since(pipeline(), at(1000)), at(1000), "where nothing is learned there is nothing to go through");
        assert_eq!(since(learning(), at(1022)), at(511));
        assert_eq!(since(learning(), at(1023)), at(767), "1024 s is the begin of an epoch");
        let day = 86_400;
        assert_eq!(since(budgeted("2/week"), at(30 * day + 7200)), at(21 * day - 3600));
    }

    #[test]
    fn rows_may_come_go_and_change_their_places() {
        let row = |name: &str| Labels::metric(name);
        let frame = |names: &[&str]| {
            let values =
                names.iter().flat_map(|name| (0..700).map(|at| noise(at + name.len() as i64 * 1000))).collect();
            let series = names.iter().map(|name| row(name)).collect();
            History::of(Frame::new(series, at(0), Step::from_millis(1000).unwrap(), 700, values).unwrap())
        };
        let pipeline = Arc::new(learning());
        let widths = |histories: [&History; 3]| {
            let mut judge = Judge::new(pipeline.clone());
            let spans = [(100, 300), (300, 310), (310, 690)];
            for (history, (after, until)) in histories.into_iter().zip(spans) {
                crate::replay::go_on(&mut judge, &LastValue, history, at(after), at(until)).unwrap();
            }
            judge
                .lines
                .iter()
                .map(|line| {
                    line.calibration
                        .as_ref()
                        .map(|one| one.widen(Expectation { expected: 0.0, lower: -1.0, upper: 1.0 }, 1))
                })
                .collect::<Vec<_>>()
        };
        let (both, turned, one) = (frame(&["a", "bb"]), frame(&["bb", "a"]), frame(&["bb"]));
        let [a, b] = &widths([&both, &both, &both])[..] else { panic!("two rows") };
        assert_eq!(widths([&both, &turned, &turned]), [*b, *a]);
        // A row that is away for a while keeps what was learned of it; it had no points meanwhile.
        assert_eq!(widths([&both, &one, &both])[1], *b);
        assert_ne!(widths([&both, &one, &both])[0], *a);
    }
}
