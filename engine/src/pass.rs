//! One pass of a pipeline, top to bottom: read what is new, forecast or judge, write.

mod roll_call;
mod standing;

use std::collections::VecDeque;
use std::sync::Arc;

use models::{ForecastError, Forecaster};
use tsdb::{Bound, Frame, Labels, Limits, RangeQuery, Read, ReadError, ReadFault, Timestamp, Write, WriteError};

use crate::context::History;
use crate::covariates;
use crate::drift::Sample;
use crate::feedback::Verdict;
use crate::incident::{Anomalous, anomalous};
use crate::judge::{Judge, Masks};
use crate::mask::LevelShift;
use crate::outlook::{Outlook, Sheet, Turn, context_start, newest, turns};
use crate::output::{Names, SCORE_KINDS, blank_written, selector};
use crate::pipeline::Pipeline;
use crate::presence::Presence;
pub use crate::report::{PassError, Report};
use crate::silence::Silence;
use crate::warm;
pub use standing::Standing;

/// How many outlooks are kept.
const MOST_OUTLOOKS: usize = 8;

/// More turns than this in one pass are worth telling people about.
const MANY_TURNS: usize = 12;

/// Where a pipeline reads and writes, and what it forecasts with.
#[derive(Clone)]
pub struct Ports {
    /// Where the series come from.
    pub source: Arc<dyn Read>,
    /// Where scores and forecasts go, and from where they can be read back.
    pub sink: Arc<dyn Write>,
    /// Reads back what was written.
    pub written: Arc<dyn Read>,
    /// The model.
    pub model: Arc<dyn Forecaster>,
}

/// A pipeline at work: its history, its forecasts, and how far it has judged. All of it can be rebuilt from the TSDB.
pub struct Watch {
    pipeline: Arc<Pipeline>,
    ports: Ports,
    history: Arc<History>,
    outlooks: VecDeque<Arc<Outlook>>,
    judged_until: Option<Timestamp>,
    /// Points up to this one may have been written already, though they are not judged yet.
    unsure_until: Option<Timestamp>,
    /// The newest point of an earlier run, or the last one before the first.
    took_up: Option<Timestamp>,
    names: Names,
    anomalous: Vec<Anomalous>,
    samples: Vec<(Timestamp, Sample)>,
    judge: Judge,
    /// Which series have gone.
    presence: Presence,
    /// A turn that was judged and could not be written.
    unwritten: Option<Unwritten>,
}

/// The scores of a turn, under their names, and what was anomalous.
struct Unwritten {
    turn: Turn,
    frames: [Frame; 5],
    found: Vec<Anomalous>,
}

impl Watch {
    /// A pipeline that has done nothing yet.
    pub fn new(pipeline: Pipeline, ports: Ports) -> Self {
        let pipeline = Arc::new(pipeline);
        let history = Arc::new(History::starting(Timestamp::default(), pipeline.step));
        let names = Names::new(pipeline.clone());
        Self {
            judge: Judge::new(pipeline.clone()),
            presence: Presence::new(pipeline.step, pipeline.step.times(pipeline.context_points - 1)),
            unwritten: None,
            pipeline,
            ports,
            history,
            outlooks: VecDeque::new(),
            judged_until: None,
            unsure_until: None,
            took_up: None,
            names,
            anomalous: vec![],
            samples: vec![],
        }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The newest point that has been judged.
    pub fn judged_until(&self) -> Option<Timestamp> {
        self.judged_until
    }

    /// Neither scores nor learns from what is in `silences`, from now on, beside the pipeline's own calendars.
    pub fn silence(&mut self, silences: Vec<Silence>) {
        self.judge.silence(silences);
    }

    /// What was found anomalous since this was last asked, by passes that failed later on too: a series once for each
    /// turn in which it was. After a restart the points of the last turn come again.
    pub fn take_anomalous(&mut self) -> Vec<Anomalous> {
        std::mem::take(&mut self.anomalous)
    }

    /// The series whose history is kept.
    pub fn series(&self) -> &[Labels] {
        self.history.series()
    }

    /// What is silenced beside the pipeline's own calendars.
    pub fn silences(&self) -> &[Silence] {
        self.judge.silences()
    }

    /// Scores from now on with the thresholds that these verdicts have moved, instead of those before.
    pub fn heed(&mut self, verdicts: Arc<[Verdict]>) {
        self.judge.heed(verdicts);
    }

    /// What was counted for [`crate::drift`], by the hour, since this was last asked.
    pub fn take_samples(&mut self) -> Vec<(Timestamp, Sample)> {
        std::mem::take(&mut self.samples)
    }

    /// Makes the forecast of `tick`, writes it, and keeps it for the points to come.
    ///
    /// # Errors
    /// Any stage failed.
    pub async fn forecast(&mut self, tick: Timestamp) -> Result<Report, PassError> {
        let origin = newest(&self.pipeline, tick);
        let mut report = Report::default();
        self.catch_up(origin, origin, limits(&self.pipeline), &mut report).await?;
        self.forget_ended(origin);
        let outlook = self.outlook(origin, &mut report).await?;
        report.series = self.history.series().len();
        let output = &self.pipeline.output;
        if self.pipeline.mode.forecasts() && output.write_forecast {
            let ahead = self.ports.sink.takes_ahead().await;
            let frames = self.names.forecast(&outlook, self.history.series(), ahead)?;
            self.write(&frames, &mut report).await?;
        }
        Ok(report)
    }

    /// Judges every complete point that has not been judged yet, and writes the scores turn by turn.
    ///
    /// # Errors
    /// Any stage failed; the turns before are written, and the next pass goes on from there.
    pub async fn judge(&mut self, tick: Timestamp) -> Result<Report, PassError> {
        let mut report = Report::default();
        self.write_scored(&mut report).await?;
        let until = newest(&self.pipeline, tick);
        let after = self.judged_until.unwrap_or(until - self.pipeline.step);
        let turns: Vec<Turn> = turns(&self.pipeline, after, until).collect();
        if let Some(first) = turns.first() {
            self.warm_up(after, first.origin, until, &mut report).await?;
            self.catch_up(first.origin, until, limits(&self.pipeline), &mut report).await?;
        }
        for (done, turn) in turns.iter().enumerate() {
            if turns.len() > MANY_TURNS && done % MANY_TURNS == 0 {
                tracing::info!(pipeline = self.pipeline.name, from = %turn.first, %until, "makes up for missed points");
            }
            self.judge_turn(*turn, &mut report).await?;
            self.write_scored(&mut report).await?;
        }
        report.series = self.history.series().len();
        report.budget_used = self.judge.budget_used();
        Ok(report)
    }

    /// Makes the judge have seen all points up to `after`: those that somebody else has judged meanwhile, or, where it
    /// knows nothing of the time before, as much of that as it learns from. `origin` is the end of the first context.
    async fn warm_up(
        &mut self,
        after: Timestamp,
        origin: Timestamp,
        until: Timestamp,
        report: &mut Report,
    ) -> Result<(), PassError> {
        let since = self.judge.since(after);
        let known = self.judge.until().filter(|judged| since <= *judged && *judged <= after);
        if known == Some(after) {
            return Ok(());
        }
        let missed: Vec<Turn> = turns(&self.pipeline, known.unwrap_or(since), after).collect();
        let first = missed.first().map_or(origin, |turn| turn.origin.min(origin));
        let wide = if missed.is_empty() { limits(&self.pipeline) } else { warm::wide_limits(&self.pipeline) };
        self.catch_up(first, until, wide, report).await?;
        let mut judge = Judge::new(self.pipeline.clone());
        judge.silence(self.judge.silences().to_vec());
        judge.heed(self.judge.verdicts().clone());
        if known.is_some() {
            std::mem::swap(&mut judge, &mut self.judge);
        } else {
            let range = (context_start(&self.pipeline, first), after);
            warm::recall(&mut judge, &self.names, &*self.ports.written, &self.history, range).await?;
        }
        if !missed.is_empty() {
            tracing::info!(pipeline = self.pipeline.name, from = %missed[0].first, until = %after, "learns from history");
            let turns = warm::known(&self.pipeline, &*self.ports.source, missed).await?;
            judge = warm::learn(judge, &self.ports, self.history.clone(), turns, known.is_some()).await?;
        }
        self.judge = judge;
        if let Some(history) = Arc::get_mut(&mut self.history) {
            history.forget_before(context_start(&self.pipeline, origin));
        }
        self.forget_ended(origin);
        Ok(())
    }

    async fn judge_turn(&mut self, turn: Turn, report: &mut Report) -> Result<(), PassError> {
        let outlook = match self.pipeline.detects() {
            true => Arc::new(Outlook::none(turn.origin, &self.pipeline)),
            false => self.outlook(turn.origin, report).await?,
        };
        let span = tracing::info_span!("score", first = %turn.first, last = %turn.last);
        let (found, samples, frames) = span.in_scope(|| {
            let judged = self.judge.judge(turn, &outlook, &self.history, true);
            report.uncalibrated = judged.uncalibrated;
            self.tell(&judged.shifts);
            report.shifts.extend(judged.shifts);
            let mut sheet = Sheet::new(&self.history, turn.first, turn.last);
            sheet.fill(turn.first, &judged.rows);
            let scored = sheet.finish();
            (anomalous(&scored), Sample::of(&scored), self.names.scores(scored))
        });
        self.samples.extend(samples);
        self.unwritten = Some(Unwritten { turn, frames: frames?, found });
        Ok(())
    }

    fn tell(&self, shifts: &[LevelShift]) {
        for LevelShift { series, since, from, to, .. } in shifts {
            let pipeline = &self.pipeline.name;
            tracing::info!(pipeline, %series, %since, from, to, "the level has shifted, and is learned from now on");
        }
    }

    /// Writes the turn that was judged last, if that has not been done.
    async fn write_scored(&mut self, report: &mut Report) -> Result<(), PassError> {
        let Some(Unwritten { turn, frames, .. }) = &self.unwritten else { return Ok(()) };
        let (turn, mut frames) = (*turn, frames.clone());
        if self.unsure_until.is_some_and(|until| turn.first <= until) {
            self.blank_written(&mut frames, turn).await?;
        }
        report.count(&frames);
        if self.pipeline.output.write_anomaly_score
            && let Err(error) = self.write(&frames, report).await
        {
            // Some of the turn may have been written.
            self.unsure_until = self.unsure_until.max(Some(turn.last));
            return Err(error.into());
        }
        let written = self.unwritten.take();
        self.anomalous.extend(written.into_iter().flat_map(|written| written.found));
        self.judged_until = self.judged_until.max(Some(turn.last));
        Ok(())
    }

    async fn write(&self, frames: &[Frame], report: &mut Report) -> Result<(), WriteError> {
        let written = self.ports.sink.write(frames).await?;
        report.written += written.samples;
        report.rejected.extend(written.rejected);
        Ok(())
    }

    /// Takes out of `frames` what an earlier attempt has written of `turn`, so that no sample is written twice.
    async fn blank_written(&self, frames: &mut [Frame; 5], turn: Turn) -> Result<(), ReadError> {
        leave_out_written(&self.pipeline, &*self.ports.written, frames, turn.first, turn.last).await
    }

    /// Makes the history reach from the context of `origin` up to `until`, reading only what is not there yet.
    async fn catch_up(
        &mut self,
        origin: Timestamp,
        until: Timestamp,
        limits: Limits,
        report: &mut Report,
    ) -> Result<(), ReadError> {
        let step = self.pipeline.step;
        let start = origin - step.times(self.pipeline.context_points - 1);
        let next = self.history.end() + step;
        let is_usable = self.history.start() <= start && next >= start;
        let from = if is_usable { next } else { start };
        let Some(query) = RangeQuery::new(&self.pipeline.query, from, until, step) else {
            return self.bound_series(start, limits.series);
        };
        let answer = self.ports.source.read(&query, &limits).await?;
        report.warnings.extend(answer.warnings);
        // What this pass will look at stays, however far judging has fallen behind.
        let needed = (until.millis() - start.millis()) / step.millis() + 1;
        let usual = self.pipeline.context_points + 2 * self.pipeline.horizon_points;
        let keep = usual.max(usize::try_from(needed).unwrap_or(0));
        match Arc::get_mut(&mut self.history) {
            Some(history) if is_usable => history.extend(&answer.frame, keep),
            _ => {
                self.history = Arc::new(History::of(answer.frame));
                self.forget_rows();
            }
        }
        self.bound_series(start, limits.series)
    }

    /// Holds the series that are kept, those that have come and gone among them, to the bound that one read has: a
    /// restart reads them all at once.
    fn bound_series(&mut self, since: Timestamp, limit: usize) -> Result<(), ReadError> {
        if self.history.series().len() > limit {
            self.forget_ended_before(since);
        }
        if self.history.series().len() <= limit {
            return Ok(());
        }
        let fault = ReadFault::TooLarge { bound: Bound::Series, limit: limit as u64 };
        Err(ReadError { query: self.pipeline.query.clone(), origin: "the kept history".into(), fault })
    }

    /// Drops the series that had no value in the whole context of `origin`.
    fn forget_ended(&mut self, origin: Timestamp) {
        let since = origin - self.pipeline.step.times(self.pipeline.context_points - 1);
        let unjudged = self.judged_until.map_or(since, |judged| judged + self.pipeline.step);
        self.forget_ended_before(since.min(unjudged));
    }

    fn forget_ended_before(&mut self, since: Timestamp) {
        if Arc::get_mut(&mut self.history).is_some_and(|history| history.forget_ended(since)) {
            self.forget_rows();
        }
    }

    /// Row numbers have changed: what goes by them is made anew.
    fn forget_rows(&mut self) {
        self.outlooks.clear();
        self.names.clear();
    }

    /// The outlook of `origin`: the one that is kept, or a new one, made on the threads for computing.
    async fn outlook(&mut self, origin: Timestamp, report: &mut Report) -> Result<Arc<Outlook>, PassError> {
        let masks = self.judge.masks(&self.history, origin);
        let kept = self.outlooks.iter().position(|outlook| outlook.origin == origin);
        let kept = kept.and_then(|at| self.outlooks.remove(at));
        let made = match kept {
            Some(kept) if kept.has(&masks) => kept,
            kept => self.make_outlook(origin, kept, masks, report).await?,
        };
        self.outlooks.push_back(made.clone());
        self.forget_outlooks();
        Ok(made)
    }

    /// The outlook of `origin` from which `masks` are hidden, on the threads for computing: `kept` is one from which
    /// something else is.
    async fn make_outlook(
        &mut self,
        origin: Timestamp,
        kept: Option<Arc<Outlook>>,
        masks: Masks,
        report: &mut Report,
    ) -> Result<Arc<Outlook>, PassError> {
        let (pipeline, history, model) = (self.pipeline.clone(), self.history.clone(), self.ports.model.clone());
        let (known, warnings) = covariates::known(&self.pipeline, &*self.ports.source, origin).await?;
        report.warnings.extend(warnings);
        let waits = model.waits();
        let series = history.series().len();
        let span = tracing::info_span!("forecast", model = pipeline.model.id, %origin, series);
        let work = move || match kept {
            Some(kept) => {
                let renewed = kept.renewed(&pipeline, &*model, &history, &known, masks)?;
                Ok(renewed.map_or(kept, Arc::new))
            }
            None => Outlook::at(origin, &pipeline, &*model, &history, &known, masks).map(Arc::new),
        };
        let made = compute(waits, move || span.in_scope(work)).await;
        let made = made.unwrap_or_else(|| Err(ForecastError::new(&self.pipeline.model.id, "the model panicked")))?;
        report.warnings.extend(self.failures(&made));
        Ok(made)
    }

    /// Which series of a forecast failed, in a sentence.
    fn failures(&self, outlook: &Outlook) -> Option<String> {
        let failures = outlook.forecast.failures();
        let first = failures.first()?;
        let (series, all) = (&self.history.series()[first.series], outlook.forecast.series());
        Some(format!("{} of {all} series could not be forecast; {series}: {}", failures.len(), first.message))
    }

    /// Keeps the outlooks that points still to be judged will need: that of the turn after `judged_until`, and later
    /// ones. Where judging has fallen far behind, what is dropped is made again when its turn comes.
    fn forget_outlooks(&mut self) {
        let next = |judged| turns(&self.pipeline, judged, judged + self.pipeline.step).next();
        if let Some(turn) = self.judged_until.and_then(next) {
            self.outlooks.retain(|outlook| outlook.origin >= turn.origin);
        }
        let surplus = self.outlooks.len().saturating_sub(MOST_OUTLOOKS);
        self.outlooks.drain(..surplus);
    }
}

/// How much a pipeline reads at once.
pub(crate) fn limits(pipeline: &Pipeline) -> Limits {
    Limits { series: pipeline.max_series, ..Limits::default() }
}

/// Takes out of the score `frames` what is written already from `first` to `last`.
pub(crate) async fn leave_out_written(
    pipeline: &Pipeline,
    written: &dyn Read,
    frames: &mut [Frame; 5],
    first: Timestamp,
    last: Timestamp,
) -> Result<(), ReadError> {
    for (kind, frame) in SCORE_KINDS.iter().zip(frames) {
        let query = format!("timestamp({})", selector(pipeline, kind));
        let Some(query) = RangeQuery::new(query, first, last, pipeline.step) else { continue };
        let answer = written.read(&query, &limits(pipeline)).await?;
        blank_written(frame, &answer.frame);
    }
    Ok(())
}

/// Runs `work` on the threads for computing, or on one of its own where it only waits; `None` if it panicked.
pub async fn compute<T: Send + 'static>(waits: bool, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if waits {
        return tokio::task::spawn_blocking(work).await.ok();
    }
    let (done, result) = tokio::sync::oneshot::channel();
    rayon::spawn(move || {
        // A panic in a model must not take the process with it.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let _ = done.send(outcome.ok());
    });
    result.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::outlook::Known;
    use crate::pipeline::{Covariate, Mode};

    use crate::testing::{LastValue, Memory, eventful, learning, pipeline, wave};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn watch(memory: &Arc<Memory>) -> Watch {
        watch_of(pipeline(), memory)
    }

    fn watch_of(mut pipeline: Pipeline, memory: &Arc<Memory>) -> Watch {
        let ports =
            Ports { source: memory.clone(), sink: memory.clone(), written: memory.clone(), model: Arc::new(LastValue) };
        pipeline.mode = Mode::AnomalyOnly;
        Watch::new(pipeline, ports)
    }

    /// Something to watch, from after a second until another.
    #[derive(Clone)]
    struct Case {
        pipeline: Pipeline,
        frame: Frame,
        after: i64,
        until: i64,
    }

    /// One whose scores depend on nothing before, and one whose scores depend on all that they can, over the begin of an
    /// epoch at 768 s.
    fn cases() -> [Case; 2] {
        [
            Case { pipeline: pipeline(), frame: wave(4, 200), after: 50, until: 150 },
            Case { pipeline: learning(), frame: eventful(1000), after: 700, until: 810 },
        ]
    }

    impl Case {
        fn memory(&self) -> Arc<Memory> {
            Arc::new(Memory::of(self.frame.clone()))
        }

        fn begin(&self, memory: &Arc<Memory>) -> Watch {
            let mut watch = watch_of(self.pipeline.clone(), memory);
            watch.begin_after(at(self.after));
            watch
        }

        /// What an undisturbed run writes.
        async fn undisturbed(&self) -> Vec<(String, Vec<f64>)> {
            let memory = self.memory();
            run(&mut self.begin(&memory), self.after + 1..=self.until).await.unwrap();
            samples(&memory)
        }
    }

    /// Runs the passes that are due in a range of seconds, as the daemon would: judging comes before forecasting.
    async fn run(watch: &mut Watch, seconds: std::ops::RangeInclusive<i64>) -> Result<(), PassError> {
        for second in seconds {
            watch.judge(at(second)).await?;
            if second % 10 == 0 {
                watch.forecast(at(second)).await?;
            }
        }
        Ok(())
    }

    /// Both must be the same to the last bit.
    fn same(found: &[(String, Vec<f64>)], expected: &[(String, Vec<f64>)], what: &str) {
        let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
        assert!(
            differs.is_none() && found.len() == expected.len(),
            "{what}: {differs:?}, {} of {}",
            found.len(),
            expected.len()
        );
    }

    fn samples(memory: &Memory) -> Vec<(String, Vec<f64>)> {
        let samples = memory.samples.lock().unwrap();
        samples.iter().map(|((labels, time), values)| (format!("{labels} {time}"), values.clone())).collect()
    }

    #[tokio::test]
    async fn live_scores_are_those_of_a_replay() {
        for case in cases() {
            let Case { pipeline, frame, after, until } = case.clone();
            let series = frame.series().len();
            let replayed = crate::replay(&pipeline, &LastValue, &History::of(frame), at(after), at(until)).unwrap();
            let mut names = Names::new(Arc::new(pipeline));
            let mut expected = vec![];
            for frame in names.scores(replayed).unwrap() {
                for (labels, values) in frame.rows() {
                    let named =
                        |(point, value): (usize, &f64)| (format!("{labels} {}", frame.time(point)), vec![*value]);
                    expected.extend(values.iter().enumerate().filter(|(_, value)| !value.is_nan()).map(named));
                }
            }
            let mut live = case.undisturbed().await;
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            live.sort_by(|a, b| a.0.cmp(&b.0));
            assert!(live.len() > 4 * series * (until - after) as usize, "{}", live.len());
            same(&live, &expected, "live");
        }
    }

    #[tokio::test]
    async fn only_what_is_new_is_read() {
        let memory = Arc::new(Memory::of(wave(4, 200)));
        let mut watch = watch(&memory);
        run(&mut watch, 51..=100).await.unwrap();
        let reads = memory.reads.lock().unwrap();
        assert!(reads[1..].iter().all(|query| query.points() == 1), "{reads:?}");
        assert!(reads.windows(2).all(|pair| pair[1].start() > pair[0].end()), "{reads:?}");
    }

    /// Ends a run after `room` samples and takes it up again with a new process `pause` seconds later.
    async fn check_restart(case: &Case, expected: &[(String, Vec<f64>)], room: usize, pause: i64) {
        let memory = case.memory();
        let mut first = case.begin(&memory);
        *memory.room.lock().unwrap() = Some(room);
        let mut second = case.after + 1;
        while run(&mut first, second..=second).await.is_ok() {
            second += 1;
        }
        *memory.room.lock().unwrap() = None;
        let mut again = watch_of(case.pipeline.clone(), &memory);
        again.resume(at(case.after - 50), at(second + pause)).await.unwrap();
        again.begin_after(at(case.after));
        run(&mut again, second + pause..=case.until).await.unwrap();
        same(&samples(&memory), expected, &format!("stopped after {room} samples for {pause} s"));
    }

    #[tokio::test]
    async fn after_a_restart_no_score_is_missing_doubled_or_different() {
        for case in cases() {
            let expected = case.undisturbed().await;
            for room in [0, 1, 4, 5, 19, 20, 21, 187, 200, 399, 400, 777, 1111] {
                for pause in [0, 1, 9, 25] {
                    check_restart(&case, &expected, room, pause).await;
                }
            }
        }
    }

    #[tokio::test]
    async fn after_a_failed_write_the_same_process_goes_on_where_it_was() {
        for case in cases() {
            let memory = case.memory();
            let mut watch = case.begin(&memory);
            *memory.room.lock().unwrap() = Some(433);
            for second in case.after + 1..=case.until - 5 {
                let _ = run(&mut watch, second..=second).await;
            }
            *memory.room.lock().unwrap() = None;
            run(&mut watch, case.until - 4..=case.until).await.unwrap();
            same(&samples(&memory), &case.undisturbed().await, "disturbed");
        }
    }

    #[tokio::test]
    async fn judging_that_is_seldom_due_gives_the_same_scores() {
        for case in cases() {
            let memory = case.memory();
            let mut watch = case.begin(&memory);
            for second in case.after + 1..=case.until {
                if second % 35 == case.until % 35 {
                    watch.judge(at(second)).await.unwrap();
                }
                if second % 10 == 0 {
                    watch.forecast(at(second)).await.unwrap();
                }
            }
            same(&samples(&memory), &case.undisturbed().await, "disturbed");
        }
    }

    #[tokio::test]
    async fn what_somebody_else_has_judged_meanwhile_is_made_up_for() {
        for case in cases() {
            let memory = case.memory();
            let mut watch = case.begin(&memory);
            run(&mut watch, case.after + 1..=case.after + 40).await.unwrap();
            let mut other = watch_of(case.pipeline.clone(), &memory);
            other.take_over(watch.standing());
            run(&mut other, case.after + 41..=case.after + 75).await.unwrap();
            watch.take_over(other.standing());
            run(&mut watch, case.after + 76..=case.until).await.unwrap();
            same(&samples(&memory), &case.undisturbed().await, "disturbed");
        }
    }

    #[tokio::test]
    async fn a_level_that_stays_is_told_once_and_learned() {
        let [_, case] = cases();
        let memory = case.memory();
        let mut watch = case.begin(&memory);
        let mut shifts = vec![];
        for second in case.after + 1..=case.until {
            shifts.extend(watch.judge(at(second)).await.unwrap().shifts);
        }
        let [shift] = &shifts[..] else { panic!("{shifts:?}") };
        assert_eq!(shift.series.get("row"), Some("1"));
        assert_eq!((shift.since, shift.at), (at(720), at(728)));
        assert!(shift.from < 1.0 && shift.to > 20.0, "{shift:?}");
        let samples = memory.samples.lock().unwrap();
        let score = |second: i64| {
            let of_row =
                |(labels, _): &&(Labels, Timestamp)| labels.name() == "anomaly_score" && labels.get("row") == Some("1");
            samples.iter().filter(|(key, _)| of_row(key)).find(|(key, _)| key.1 == at(second)).unwrap().1[0]
        };
        assert!((720..=730).all(|second| score(second) > 2.0), "the old level is expected until the shift is accepted");
        assert!((741..=810).filter(|second| score(*second) > 1.0).count() < 14, "then the new one is");
    }

    #[tokio::test]
    async fn a_longer_delay_after_a_restart_writes_nothing_twice() {
        let memory = Arc::new(Memory::of(wave(4, 200)));
        let mut first = watch(&memory);
        first.begin_after(at(50));
        run(&mut first, 51..=100).await.unwrap();
        let mut again = watch(&memory);
        Arc::make_mut(&mut again.pipeline).data_delay = Duration::from_secs(7);
        again.resume(at(0), at(102)).await.unwrap();
        run(&mut again, 102..=130).await.unwrap();
        let samples = memory.samples.lock().unwrap();
        assert_eq!(samples.len(), 5 * 4 * 73);
        assert!(samples.values().all(|values| values.len() == 1));
    }

    #[tokio::test]
    async fn the_newest_score_is_found_at_every_point_of_the_grid() {
        for back in [0, 1, 3599, 3600, 3601, 3602, 17_999, 18_000, 18_001, 18_002, 50_000] {
            let memory = Arc::new(Memory::of(wave(1, 10)));
            let watch = watch(&memory);
            let score = Labels::metric("anomaly_score").with("pipeline", "test");
            memory.samples.lock().unwrap().insert((score, at(100_000 - back)), vec![0.0]);
            let newest = watch.newest_score(at(40_000), at(100_000)).await.unwrap();
            assert_eq!(newest, Some(at(100_000 - back)));
        }
    }

    #[tokio::test]
    async fn more_series_than_allowed_are_an_error_however_they_came() {
        let mut frame = wave(4, 200);
        frame.row_mut(3)[..90].fill(f64::NAN);
        let memory = Arc::new(Memory::of(frame));
        let mut watch = watch(&memory);
        Arc::make_mut(&mut watch.pipeline).max_series = 3;
        run(&mut watch, 51..=89).await.unwrap();
        let error = run(&mut watch, 90..=91).await.unwrap_err().to_string();
        assert!(error.contains("more than 3 series"), "{error}");
    }

    /// Fails for the second series, and writes down what it was asked beside the contexts.
    #[derive(Default)]
    struct Choosy(Mutex<Vec<(bool, Vec<Known>)>>);

    impl Forecaster for Choosy {
        fn forecast(&self, request: &models::Request<'_>) -> Result<models::Forecast, ForecastError> {
            let owned = |known: &models::Covariate<'_>| Known { past: known.past.into(), future: known.future.into() };
            let asked = (request.together, request.covariates.iter().map(owned).collect());
            self.0.lock().unwrap().push(asked);
            let mut forecast = LastValue.forecast(request)?;
            forecast.fail(1, "it is not to my taste");
            Ok(forecast)
        }

        fn waits(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn the_model_sees_covariates_as_far_as_they_are_known() {
        let (memory, model) = (Arc::new(Memory::of(wave(2, 200))), Arc::new(Choosy::default()));
        let mut watch = watch(&memory);
        watch.ports.model = model.clone();
        let covariate = |future| Covariate { name: "x".into(), query: "x".into(), future };
        let pipeline = Arc::make_mut(&mut watch.pipeline);
        (pipeline.covariates, pipeline.together) = (vec![covariate(false), covariate(true)], true);
        watch.forecast(at(100)).await.unwrap();
        let wave = wave(1, 200);
        let (past, future) = (wave.row(0)[81..=100].to_vec(), wave.row(0)[101..=115].to_vec());
        let expected = vec![Known { past: past.clone(), future: vec![] }, Known { past, future }];
        assert_eq!(*model.0.lock().unwrap(), [(true, expected)]);
    }

    #[tokio::test]
    async fn a_series_that_fails_is_told_and_the_others_are_scored() {
        let memory = Arc::new(Memory::of(wave(3, 200)));
        let mut watch = watch(&memory);
        watch.ports.model = Arc::new(Choosy::default());
        watch.begin_after(at(100));
        let report = watch.judge(at(101)).await.unwrap();
        assert_eq!(report.scored, 2);
        let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
        assert!(warning.starts_with("1 of 3 series could not be forecast; up{row=\"1\"}: it is not"), "{warning}");
    }
}
