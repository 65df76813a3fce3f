//! After an anomaly pass: which series have gone, told and written.

use std::collections::{BTreeMap, HashSet};

use tsdb::labels::METRIC_NAME;
use tsdb::{Frame, FrameError, Labels, RangeQuery, ReadError, STALE, Timestamp};

use super::{PassError, Report, Watch, limits};
use crate::output::{MISSING, SCORE_KINDS, selector};
use crate::presence::{Changes, Presence};

/// How many series a line of the log names.
const NAMED: usize = 10;

impl Watch {
    /// Finds out which series have gone since the last time, tells of them, and writes what their readers must know: that
    /// scores have ended, and which series are missing. Nothing is counted as found before it is written; what fails is
    /// told in the report, and tried again after the next pass.
    pub async fn call_roll(&mut self, report: &mut Report) {
        if let Err(error) = self.try_roll(report).await {
            report.warnings.push(format!("which series have gone could not be found out: {error}"));
        }
        report.missing = self.presence.missing().count();
    }

    async fn try_roll(&mut self, report: &mut Report) -> Result<(), PassError> {
        let until = self.history.end();
        // What an earlier run has said of a point is not said twice.
        let is_said = self.presence.until().or(self.unsure_until).is_some_and(|said| until <= said);
        if self.history.series().is_empty() || is_said {
            return Ok(());
        }
        let mut presence = self.presence.clone();
        if presence.until().is_none() {
            self.recall(&mut presence).await?;
        }
        let mut changes = presence.look(&self.history);
        let ended = match presence.question() {
            Some((first, last)) => self.ask(first, last, report).await?,
            None => None,
        };
        presence.answer(&self.history, ended.as_ref(), &mut changes);
        if self.pipeline.output.write_anomaly_score {
            let frames = self.frames(&presence, &changes, until)?;
            self.write(&frames, report).await?;
        }
        self.presence = presence;
        report.ended += changes.ended.len();
        self.tell_gone(&changes);
        Ok(())
    }

    /// Which series were missing when an earlier run ended, and which it has said of that they have ended.
    async fn recall(&self, presence: &mut Presence) -> Result<(), ReadError> {
        let (pipeline, written, history) = (&self.pipeline, &*self.ports.written, &*self.history);
        let memory = pipeline.step.times(pipeline.context_points).as_millis();
        let query = format!("last_over_time({}[{memory}ms])", selector(pipeline, MISSING));
        let Some(query) = RangeQuery::new(query, history.end(), history.end(), pipeline.step) else { return Ok(()) };
        let found = written.read(&query, &limits(pipeline)).await?.frame;
        let is_missing = |row: &[f64]| row.contains(&1.0);
        let missing = found.rows().filter(|(_, row)| is_missing(row)).map(|(labels, _)| labels.with(METRIC_NAME, ""));
        let missing: HashSet<Labels> = missing.collect();
        let name = |kind: &str, series: &Labels| self.names.score_name(kind, series);
        let was_missing = |series: &Labels| missing.contains(&name(MISSING, series).with(METRIC_NAME, ""));
        let rows = history.series().iter().enumerate().filter(|(_, series)| !missing.is_empty() && was_missing(series));
        let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
        let since = self.took_up.unwrap_or(history.end());
        let is_silenced = |row: usize| self.judge.is_silenced(Some(row), &history.series()[row], since);
        let unsure = presence.recall(history, since, &rows, is_silenced);
        let scores = selector(pipeline, SCORE_KINDS[0]);
        let query = unsure.and_then(|(first, last)| RangeQuery::new(scores, first, last, pipeline.step));
        if let Some(query) = query
            && let Some(told) = written.ended(&query, &limits(pipeline)).await?
        {
            presence.settle(&told, |series| name(SCORE_KINDS[0], series));
        }
        Ok(())
    }

    /// Asks which series have ended from `first` to `last`. A store that refuses to say can't tell.
    async fn ask(&self, first: Timestamp, last: Timestamp, report: &mut Report) -> Result<Option<Frame>, ReadError> {
        let query = RangeQuery::new(self.pipeline.query.as_str(), first, last, self.pipeline.step);
        let Some(query) = query else { return Ok(None) };
        match self.ports.source.ended(&query, &limits(&self.pipeline)).await {
            Err(error) if !error.is_retryable() => {
                report.warnings.push(format!("which series have ended is not known: {error}"));
                Ok(None)
            }
            answer => answer,
        }
    }

    /// What is written: of each series that is missing that it is, unless it is silenced; of one that has come again once
    /// that it is not; and the end of what nothing comes of any more.
    fn frames(&self, presence: &Presence, changes: &Changes, until: Timestamp) -> Result<Vec<Frame>, FrameError> {
        let step = self.pipeline.step;
        let name = |kind: &str, series: &Labels| self.names.score_name(kind, series);
        let scores = |series: &Labels| SCORE_KINDS.map(|kind| name(kind, series));
        let mut points: BTreeMap<Timestamp, Vec<(Labels, f64)>> = BTreeMap::new();
        let row = |series: &Labels| self.history.find(series);
        // A series that came and went before it got a score has nothing to end.
        let scored = changes.ended.iter().filter(|(series, _)| self.judge.has_scored(row(series), series));
        for (series, last) in scored {
            points.entry(*last + step).or_default().extend(scores(series).map(|labels| (labels, STALE)));
        }
        let is_told = |series: &&Labels| !self.judge.is_silenced(row(series), series, until);
        let now = points.entry(until).or_default();
        now.extend(presence.missing().filter(is_told).map(|series| (name(MISSING, series), 1.0)));
        now.extend(changes.back.iter().map(|series| (name(MISSING, series), 0.0)));
        for series in &changes.forgotten {
            now.extend(scores(series).into_iter().chain([name(MISSING, series)]).map(|labels| (labels, STALE)));
        }
        let points = points.into_iter().filter(|(_, points)| !points.is_empty());
        let frame = |(time, points): (Timestamp, Vec<(Labels, f64)>)| {
            let (series, values) = points.into_iter().unzip();
            Frame::new(series, time, step, 1, values)
        };
        points.map(frame).collect()
    }

    fn tell_gone(&self, changes: &Changes) {
        let pipeline = &self.pipeline.name;
        let ended: Vec<&Labels> = changes.ended.iter().map(|(series, _)| series).collect();
        if !ended.is_empty() {
            tracing::info!(pipeline, count = ended.len(), series = list(&ended), "series have ended");
        }
        if !changes.missing.is_empty() {
            let (count, series) = (changes.missing.len(), list(&changes.missing));
            tracing::warn!(
                pipeline,
                count,
                series,
                "series are missing: their samples have stopped, and no marker ends them"
            );
        }
        if !changes.back.is_empty() {
            let (count, series) = (changes.back.len(), list(&changes.back));
            tracing::info!(pipeline, count, series, "series that were missing have come again");
        }
        if !changes.forgotten.is_empty() {
            let (count, series) = (changes.forgotten.len(), list(&changes.forgotten));
            tracing::info!(pipeline, count, series, "series have been missing for so long that they are forgotten");
        }
        if !changes.unknown.is_empty() {
            let (count, series) = (changes.unknown.len(), list(&changes.unknown));
            tracing::debug!(
                pipeline,
                count,
                series,
                "series have gone, and the store can't tell whether they have ended"
            );
        }
    }
}

/// The first few of them.
fn list(series: &[impl std::fmt::Display]) -> String {
    let named: Vec<String> = series.iter().take(NAMED).map(ToString::to_string).collect();
    named.join(", ") + if series.len() > NAMED { ", …" } else { "" }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Silence;
    use crate::pass::Ports;
    use crate::testing::{LastValue, Memory, pipeline, wave};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn up(row: usize) -> Labels {
        Labels::metric("up").with("row", &row.to_string())
    }

    /// Three series of a second's step: one ends at 100 s, one stops there and comes again at 450 s, one goes on.
    fn memory() -> Arc<Memory> {
        let mut frame = wave(3, 600);
        frame.row_mut(0)[100..].fill(f64::NAN);
        frame.row_mut(1)[100..450].fill(f64::NAN);
        let memory = Memory::of(frame);
        memory.marks.lock().unwrap().push((up(0), at(100)));
        Arc::new(memory)
    }

    fn watch(memory: &Arc<Memory>) -> Watch {
        let ports =
            Ports { source: memory.clone(), sink: memory.clone(), written: memory.clone(), model: Arc::new(LastValue) };
        let mut pipeline = pipeline();
        pipeline.context_points = 500;
        Watch::new(pipeline, ports)
    }

    /// Runs the passes of the seconds, and forgets what has ended every now and then; answers how many series have ended,
    /// and how many are missing in the end.
    async fn run(watch: &mut Watch, seconds: std::ops::RangeInclusive<i64>) -> (usize, usize) {
        let (mut ended, mut missing) = (0, 0);
        for second in seconds {
            let mut report = watch.judge(at(second)).await.unwrap();
            watch.call_roll(&mut report).await;
            assert_eq!(report.warnings, Vec::<String>::new(), "{second}");
            if second % 50 == 0 {
                watch.forecast(at(second)).await.unwrap();
            }
            (ended, missing) = (ended + report.ended, report.missing);
        }
        (ended, missing)
    }

    /// The seconds at which each kind was written of a row and the values, having checked that none was written twice.
    fn written(memory: &Memory, kind: &str, row: usize) -> Vec<(f64, f64)> {
        let samples = memory.samples.lock().unwrap();
        let row = row.to_string();
        let of_row = |labels: &Labels| labels.name() == kind && labels.get("row") == Some(row.as_str());
        let found = samples.iter().filter(|((labels, _), _)| of_row(labels));
        found
            .map(|((labels, time), values)| {
                assert_eq!(values.len(), 1, "{labels} is written twice at {time}");
                (time.seconds(), values[0])
            })
            .collect()
    }

    /// What a run writes beside the scores of what is there: the end of the first series, and that the second is missing.
    fn check_written(memory: &Memory, missing: &[i64], what: &str) {
        for kind in SCORE_KINDS {
            let first = written(memory, kind, 0);
            let (time, last) = first.last().unwrap();
            assert_eq!((*time, last.to_bits()), (100.0, STALE.to_bits()), "{what}: {kind}");
            assert!(first[..first.len() - 1].iter().all(|(time, value)| *time < 100.0 && !value.is_nan()), "{what}");
            for row in [1, 2] {
                assert!(written(memory, kind, row).iter().all(|(_, value)| !value.is_nan()), "{what}: {kind} of {row}");
            }
        }
        let expected: Vec<(f64, f64)> =
            missing.iter().map(|second| (*second as f64, 1.0)).chain([(450.0, 0.0)]).collect();
        assert_eq!(written(memory, MISSING, 1), expected, "{what}");
        assert!(written(memory, MISSING, 0).is_empty() && written(memory, MISSING, 2).is_empty(), "{what}");
    }

    #[tokio::test]
    async fn scores_end_with_their_series_and_what_stops_is_missing() {
        let memory = memory();
        let mut watch = watch(&memory);
        watch.begin_after(at(60));
        assert_eq!(run(&mut watch, 61..=99).await, (0, 0));
        assert_eq!(run(&mut watch, 100..=398).await, (1, 0));
        assert_eq!(run(&mut watch, 399..=449).await, (0, 1));
        assert_eq!(run(&mut watch, 450..=500).await, (0, 0));
        check_written(&memory, &(399..450).collect::<Vec<_>>(), "undisturbed");
    }

    #[tokio::test]
    async fn after_a_restart_nothing_is_written_twice() {
        for stop in [95, 100, 103, 380, 398, 399, 420, 448] {
            let memory = memory();
            let mut first = watch(&memory);
            first.begin_after(at(60));
            run(&mut first, 61..=stop).await;
            let mut again = watch(&memory);
            again.resume(at(0), at(stop + 1)).await.unwrap();
            run(&mut again, stop + 1..=500).await;
            // What may have been said of the point at which it begins is not said again.
            let missing: Vec<i64> = (399..450).filter(|second| *second != stop + 1).collect();
            check_written(&memory, &missing, &format!("stopped at {stop}"));
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_told_by_the_next_pass() {
        let memory = memory();
        let mut watch = watch(&memory);
        watch.begin_after(at(60));
        run(&mut watch, 61..=398).await;
        for second in 399..=401 {
            // Enough for the scores of the series that goes on.
            *memory.room.lock().unwrap() = Some(5);
            let mut report = watch.judge(at(second)).await.unwrap();
            watch.call_roll(&mut report).await;
            assert_eq!((report.missing, report.warnings.len()), (0, 1), "{:?}", report.warnings);
        }
        *memory.room.lock().unwrap() = None;
        assert_eq!(run(&mut watch, 402..=500).await, (0, 0));
        check_written(&memory, &(402..450).collect::<Vec<_>>(), "disturbed");
    }

    #[tokio::test]
    async fn what_is_missing_for_longer_than_the_context_is_forgotten() {
        let memory = memory();
        let mut watch = watch(&memory);
        Arc::make_mut(&mut watch.pipeline).context_points = 331;
        watch.presence = Presence::new(watch.pipeline.step, watch.pipeline.step.times(330));
        watch.begin_after(at(60));
        assert_eq!(run(&mut watch, 61..=429).await, (1, 1));
        assert_eq!(run(&mut watch, 430..=449).await, (0, 0));
        for kind in SCORE_KINDS.into_iter().chain([MISSING]) {
            let (time, value) = *written(&memory, kind, 1).last().unwrap();
            assert_eq!((time, value.to_bits()), (430.0, STALE.to_bits()), "{kind}");
        }
    }

    #[tokio::test]
    async fn in_a_silence_nothing_is_missing() {
        let silence = || {
            let matchers = vec!["row=\"1\"".parse().unwrap()];
            vec![Silence { from: at(390), until: at(420), matchers }]
        };
        for stop in [None, Some(405), Some(415)] {
            let memory = memory();
            let mut watch = watch(&memory);
            watch.begin_after(at(60));
            watch.silence(silence());
            if let Some(stop) = stop {
                run(&mut watch, 61..=stop).await;
                watch = self::watch(&memory);
                watch.silence(silence());
                watch.resume(at(0), at(stop + 1)).await.unwrap();
            }
            run(&mut watch, stop.map_or(61, |stop| stop + 1)..=500).await;
            check_written(&memory, &(420..450).collect::<Vec<_>>(), &format!("silenced, stopped at {stop:?}"));
        }
    }

    #[tokio::test]
    async fn where_no_scores_are_written_what_has_gone_is_only_told() {
        let memory = memory();
        let mut watch = watch(&memory);
        Arc::make_mut(&mut watch.pipeline).output.write_anomaly_score = false;
        watch.begin_after(at(60));
        assert_eq!(run(&mut watch, 61..=420).await, (1, 1));
        assert!(memory.samples.lock().unwrap().keys().all(|(labels, _)| labels.name().ends_with("_forecast")));
    }
}
