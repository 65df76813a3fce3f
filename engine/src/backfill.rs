//! History scored once, in order: read, replayed and written a piece at a time.

use std::sync::Arc;

use models::{ForecastError, Judging};
use tsdb::{Labels, Limits, RangeQuery, Timestamp};

use crate::context::History;
use crate::explain::Grouped;
use crate::feedback::Verdict;
use crate::judge::Judge;
use crate::mask::LevelShift;
use crate::outlook::{context_start, newest, turns};
use crate::output::Names;
use crate::pass::{PassError, Ports, Report, compute, leave_out_written, limits};
use crate::pipeline::Pipeline;
use crate::replay::go_on;
use crate::score::Scored;
use crate::silence::Silence;
use crate::{panel, warm};

/// About how many points of a series are scored at a time.
const PIECE: usize = 2000;

/// A pipeline whose history is scored.
pub struct Backfill {
    pipeline: Arc<Pipeline>,
    ports: Ports,
    names: Names,
    judge: Judge,
}

/// The scores of a piece of the history.
#[derive(Debug)]
pub struct Piece {
    /// The scores, under the names of the source series.
    pub scored: Scored,
    /// The last point of the piece.
    pub until: Timestamp,
    /// What the store said beside its answer.
    pub warnings: Vec<String>,
    /// The shifts of levels that were accepted.
    pub shifts: Vec<LevelShift>,
}

impl Backfill {
    /// The pipeline, and where it reads and writes.
    pub fn new(pipeline: Pipeline, ports: Ports) -> Self {
        let pipeline = Arc::new(pipeline);
        Self { names: Names::new(pipeline.clone()), judge: Judge::new(pipeline.clone()), pipeline, ports }
    }

    /// Neither scores nor learns from what is in `silences`, and scores with the thresholds that `verdicts` have moved.
    pub fn advise(&mut self, silences: Vec<Silence>, verdicts: Arc<[Verdict]>) {
        self.judge.silence(silences);
        self.judge.heed(verdicts);
    }

    /// A judge that has seen nothing, and is told the same as that of before.
    fn fresh(&self) -> Judge {
        let mut judge = Judge::new(self.pipeline.clone());
        judge.silence(self.judge.silences().to_vec());
        judge.heed(self.judge.verdicts().clone());
        judge
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The newest point that is complete at `now`.
    pub fn newest(&self, now: Timestamp) -> Timestamp {
        newest(&self.pipeline, now)
    }

    /// Scores the next piece after `after`, at most up to `until`, each point by the forecast that would have judged it;
    /// `None` where there is no point left.
    ///
    /// # Errors
    /// The source can't be read, or the model fails.
    pub async fn score(&mut self, after: Timestamp, until: Timestamp) -> Result<Option<Piece>, PassError> {
        let step = self.pipeline.step;
        let bound = (after + step.times(PIECE.max(self.pipeline.horizon_points))).min(until);
        let turns: Vec<_> = turns(&self.pipeline, after, bound).collect();
        let (Some(first), Some(last)) = (turns.first(), turns.last()) else { return Ok(None) };
        // The last turn may be cut off by the bound, and then goes on with the same forecast.
        let (first, end) = (self.first_origin(first.origin, after), last.last);
        let start = context_start(&self.pipeline, first);
        let Some(query) = RangeQuery::new(&self.pipeline.query, start, end, step) else { return Ok(None) };
        let answer = self.ports.source.read(&query, &self.limits(after)).await?;
        let history = History::of(answer.frame);
        let fresh = self.fresh();
        let mut judge = std::mem::replace(&mut self.judge, fresh);
        if judge.until() != Some(after) {
            judge = self.fresh();
            warm::recall(&mut judge, &self.names, &*self.ports.written, &history, (start, after)).await?;
        }
        let model = self.ports.model.clone();
        let work = move || go_on(&mut judge, &*model, &history, after, end).map(|scored| (judge, scored));
        let done = compute(self.ports.model.waits(), work).await;
        let panicked = || Err(ForecastError::new(&self.pipeline.model.id, "the model panicked"));
        let (judge, (scored, shifts)) = done.unwrap_or_else(panicked)?;
        self.judge = judge;
        Ok(Some(Piece { scored, until: end, warnings: answer.warnings, shifts }))
    }

    /// Why a detector that looks at several series found the point at `at` of the series `labels` as it did, in the eyes of a
    /// service that began at the origin of its turn; `None` where no such detector judges, or nothing was found.
    ///
    /// # Errors
    /// The source can't be read, or the detector panics.
    pub async fn reason(&self, labels: &Labels, at: Timestamp) -> Result<Option<Grouped>, PassError> {
        let pipeline = self.pipeline.clone();
        let (step, judging) = (pipeline.step, pipeline.judging());
        let (Judging::Panel(detector), Some(turn)) = (judging, turns(&pipeline, at - step, at).next()) else {
            return Ok(None);
        };
        let start = context_start(&pipeline, turn.origin);
        let Some(query) = RangeQuery::new(&pipeline.query, start, turn.last, step) else { return Ok(None) };
        let history = History::of(self.ports.source.read(&query, &limits(&pipeline)).await?.frame);
        let mut judge = self.fresh();
        warm::recall(&mut judge, &self.names, &*self.ports.written, &history, (start, turn.origin)).await?;
        let masks = judge.masks(&history, turn.origin);
        let (id, labels) = (pipeline.model.id.clone(), labels.clone());
        let work = move || panel::reason(&pipeline, &detector, turn, &history, &masks, &labels);
        let done = compute(false, work).await;
        Ok(done.ok_or_else(|| ForecastError::new(id, "the detector panicked"))?)
    }

    /// The origin of the first forecast that the points after `after` need, if that is `origin` for a judge that goes on.
    fn first_origin(&self, origin: Timestamp, after: Timestamp) -> Timestamp {
        if self.judge.until() == Some(after) {
            return origin;
        }
        turns(&self.pipeline, self.judge.since(after), after).next().map_or(origin, |turn| turn.origin.min(origin))
    }

    fn limits(&self, after: Timestamp) -> Limits {
        if self.judge.until() == Some(after) { limits(&self.pipeline) } else { warm::wide_limits(&self.pipeline) }
    }

    /// Writes what is not there yet of the scores of a piece.
    ///
    /// # Errors
    /// What is there can't be read, or the rest not be written.
    pub async fn write(&mut self, scored: Scored) -> Result<Report, PassError> {
        let mut report = Report { series: scored.y.series().len(), ..Report::default() };
        // Rows are those of this piece.
        self.names.clear();
        let mut frames = self.names.scores(scored)?;
        let (first, last) = (frames[0].start(), frames[0].end());
        // What an earlier attempt has written was scored all the same.
        report.count(&frames);
        leave_out_written(&self.pipeline, &*self.ports.written, &mut frames, first, last).await?;
        if self.pipeline.output.write_anomaly_score {
            let written = self.ports.sink.write(&frames).await?;
            report.written = written.samples;
            report.rejected = written.rejected;
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LastValue, Memory, eventful, learning, pipeline, wave};
    use models::panel::Reason;
    use tsdb::Frame;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn backfill(pipeline: Pipeline, memory: &Arc<Memory>) -> Backfill {
        let (source, sink, written) = (memory.clone(), memory.clone(), memory.clone());
        Backfill::new(pipeline, Ports { source, sink, written, model: Arc::new(LastValue) })
    }

    /// Scores and writes from `after` on, in pieces that end where `ends` says; each by a new process if they are `apart`.
    async fn fill(pipeline: &Pipeline, memory: &Arc<Memory>, after: i64, ends: &[i64], apart: bool) {
        let (mut backfill, mut after) = (self::backfill(pipeline.clone(), memory), at(after));
        for end in ends {
            while let Some(piece) = backfill.score(after, at(*end)).await.unwrap() {
                after = piece.until;
                backfill.write(piece.scored).await.unwrap();
            }
            if apart {
                backfill = self::backfill(pipeline.clone(), memory);
            }
        }
    }

    fn same(found: &[(String, Vec<f64>)], expected: &[(String, Vec<f64>)], what: &str) {
        let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
        assert!(differs.is_none() && found.len() == expected.len(), "{what}: {differs:?}");
    }

    fn samples(memory: &Memory) -> Vec<(String, Vec<f64>)> {
        let samples = memory.samples.lock().unwrap();
        samples.iter().map(|((labels, time), values)| (format!("{labels} {time}"), values.clone())).collect()
    }

    /// From `after` on for 70 s.
    async fn check(pipeline: &Pipeline, frame: &Frame, after: i64) {
        let whole = Arc::new(Memory::of(frame.clone()));
        let end = after + 70;
        fill(pipeline, &whole, after, &[end], false).await;
        assert!(samples(&whole).len() > 4 * 3 * 70);
        for ends in [vec![after + 10, end], vec![after + 1, after + 17, after + 18, end], (after + 1..=end).collect()] {
            let cut = Arc::new(Memory::of(frame.clone()));
            for apart in [false, true] {
                fill(pipeline, &cut, after, &ends, apart).await;
                same(&samples(&cut), &samples(&whole), &format!("{ends:?}, apart: {apart}"));
            }
            let cut = Arc::new(Memory::of(frame.clone()));
            fill(pipeline, &cut, after, &ends, true).await;
            same(&samples(&cut), &samples(&whole), &format!("{ends:?}, by many"));
        }
    }

    #[tokio::test]
    async fn however_it_is_cut_the_scores_are_the_same_and_none_is_written_twice() {
        check(&pipeline(), &wave(3, 200), 50).await;
        check(&learning(), &eventful(1000), 715).await;
    }

    /// What is told of the point with the highest score is what it was judged by.
    #[tokio::test]
    async fn a_reason_is_that_of_the_score() {
        for (id, parameters) in [("isolation_forest", r#"{"group_by": []}"#), ("peers", "{}"), ("last", "{}")] {
            let mut pipeline = pipeline();
            pipeline.model = models::ModelSpec::local(id, serde_json::from_str(parameters).unwrap());
            pipeline.context_points = 100;
            let memory = Arc::new(Memory::of(eventful(781)));
            let mut backfill = backfill(pipeline, &memory);
            let scored = backfill.score(at(300), at(780)).await.unwrap().unwrap().scored;
            let highest = |row: &usize| scored.score.row(*row).iter().copied().fold(0.0, f64::max);
            let row = (0..3).max_by(|a, b| highest(a).total_cmp(&highest(b))).unwrap();
            let point = scored.score.row(row).iter().position(|score| *score >= highest(&row)).unwrap();
            let (labels, time) = (&scored.score.series()[row], scored.score.time(point));
            let value = |frame: &Frame| frame.row(row)[point];
            let found = backfill.reason(labels, time).await.unwrap();
            let (found, expected) = match found.as_ref().map(|found| &found.reason) {
                Some(Reason::Values { score, .. }) => (*score, value(&scored.score)),
                Some(Reason::Others(others)) => (others.deviation, value(&scored.y) - value(&scored.yhat)),
                None => (0.0, f64::from(u8::from(id != "last"))),
            };
            assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{id}: {found} instead of {expected}");
            assert_eq!(backfill.reason(&Labels::metric("other"), time).await.unwrap(), None, "{id}");
        }
    }

    #[tokio::test]
    async fn where_nothing_is_left_nothing_is_scored() {
        let memory = Arc::new(Memory::of(wave(3, 200)));
        assert!(backfill(pipeline(), &memory).score(at(50), at(50)).await.unwrap().is_none());
    }
}
