//! Scores history as the daemon would have scored it, point by point, without looking ahead.

use std::sync::Arc;

use models::{ForecastError, Forecaster};
use rayon::prelude::*;
use tsdb::Timestamp;

use crate::context::History;
use crate::judge::{Judge, Masks};
use crate::mask::LevelShift;
use crate::outlook::{Known, Outlook, Sheet, Turn, turns};
use crate::pipeline::Pipeline;
use crate::score::Scored;

/// How many forecasts are held at a time.
const BATCH: usize = 16;

/// Scores the points of `history` after `after`, up to `until`, each by the forecast that would have judged it. What comes
/// before is learned from, as far as a judge looks back and `history` reaches.
///
/// # Errors
/// The model fails, or the pipeline has covariates, of which there is no history here.
pub fn replay(
    pipeline: &Pipeline,
    model: &dyn Forecaster,
    history: &History,
    after: Timestamp,
    until: Timestamp,
) -> Result<Scored, ForecastError> {
    let mut judge = Judge::new(Arc::new(pipeline.clone()));
    go_on(&mut judge, model, history, after, until).map(|(scored, _)| scored)
}

/// The same with a `judge` that is kept: one that has judged the points up to `after` goes on, and any other learns first
/// from what comes before. Answers the shifts of levels that were accepted, too.
///
/// # Errors
/// The model fails, or the pipeline has covariates, of which there is no history here.
pub fn go_on(
    judge: &mut Judge,
    model: &dyn Forecaster,
    history: &History,
    after: Timestamp,
    until: Timestamp,
) -> Result<(Scored, Vec<LevelShift>), ForecastError> {
    let pipeline = judge.pipeline().clone();
    if !pipeline.covariates.is_empty() {
        return Err(ForecastError::new(&pipeline.model.id, "history can't be replayed with covariates"));
    }
    let bare = |turn| (turn, vec![]);
    if judge.until() != Some(after.floor(pipeline.step)) {
        let before = turns(&pipeline, judge.since(after), after).filter(|turn| turn.origin >= history.start());
        advance(judge, model, history, &before.map(bare).collect::<Vec<_>>(), false, None)?;
    }
    let turns: Vec<(Turn, Vec<Known>)> = turns(&pipeline, after, until).map(bare).collect();
    score(judge, model, history, &turns, until)
}

/// Scores the points of `turns`, which follow each other, each with what was known of the covariates, by a judge that has
/// seen nothing before. Where there are no turns, the scores are those of no point at all, just before `until`.
///
/// # Errors
/// The model fails.
pub fn judge(
    pipeline: &Pipeline,
    model: &dyn Forecaster,
    history: &History,
    turns: &[(Turn, Vec<Known>)],
    until: Timestamp,
) -> Result<Scored, ForecastError> {
    score(&mut Judge::new(Arc::new(pipeline.clone())), model, history, turns, until).map(|(scored, _)| scored)
}

fn score(
    judge: &mut Judge,
    model: &dyn Forecaster,
    history: &History,
    turns: &[(Turn, Vec<Known>)],
    until: Timestamp,
) -> Result<(Scored, Vec<LevelShift>), ForecastError> {
    let step = judge.pipeline().step;
    let first = turns.first().map_or(until, |(turn, _)| turn.first);
    let last = turns.last().map_or(until - step, |(turn, _)| turn.last);
    let mut sheet = Sheet::new(history, first, last);
    let shifts = advance(judge, model, history, turns, true, Some(&mut sheet))?;
    Ok((sheet.finish(), shifts))
}

/// Has `judge` judge `turns`, which count as scored or only teach, and fills their points into a sheet, if there is one.
///
/// Forecasts of a batch are made side by side, with what is known to be hidden at its begin. Where a turn finds something
/// that must be hidden from the next forecast, that series is forecast again.
///
/// # Errors
/// The model fails.
pub fn advance(
    judge: &mut Judge,
    model: &dyn Forecaster,
    history: &History,
    turns: &[(Turn, Vec<Known>)],
    counts: bool,
    mut sheet: Option<&mut Sheet>,
) -> Result<Vec<LevelShift>, ForecastError> {
    let pipeline = judge.pipeline().clone();
    let mut shifts = vec![];
    if pipeline.detects() {
        for (turn, _) in turns {
            let judged = judge.judge(*turn, &Outlook::none(turn.origin, &pipeline), history, counts);
            shifts.extend(judged.shifts);
            if let Some(sheet) = &mut sheet {
                sheet.fill(turn.first, &judged.rows);
            }
        }
        return Ok(shifts);
    }
    for batch in turns.chunks(BATCH) {
        let masks: Vec<Masks> = batch.iter().map(|(turn, _)| judge.masks(history, turn.origin)).collect();
        let make = |((turn, known), masks): (&(Turn, Vec<Known>), Masks)| {
            Outlook::at(turn.origin, &pipeline, model, history, known, masks)
        };
        let outlooks: Vec<Result<Outlook, _>> = batch.par_iter().zip(masks).map(make).collect();
        for ((turn, known), outlook) in batch.iter().zip(outlooks) {
            let outlook = outlook?;
            let masks = judge.masks(history, turn.origin);
            let renewed = outlook.renewed(&pipeline, model, history, known, masks)?;
            let judged = judge.judge(*turn, renewed.as_ref().unwrap_or(&outlook), history, counts);
            shifts.extend(judged.shifts);
            if let Some(sheet) = &mut sheet {
                sheet.fill(turn.first, &judged.rows);
            }
        }
    }
    Ok(shifts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LastValue, eventful, learning, pipeline, wave};
    use tsdb::Frame;

    /// The scores of the points after `after` up to `until` of data that end before `cut`.
    fn scores(pipeline: &Pipeline, frame: Frame, after: i64, until: i64) -> Vec<f64> {
        let (after, until) = (Timestamp::from_seconds(after), Timestamp::from_seconds(until));
        replay(pipeline, &LastValue, &History::of(frame), after, until).unwrap().score.values().to_vec()
    }

    #[test]
    fn the_future_has_no_say() {
        let known = scores(&pipeline(), wave(3, 100), 50, 80);
        assert_eq!(known, scores(&pipeline(), wave(3, 81), 50, 80));
        assert!(known.iter().all(|score| score.is_finite()));
        let [known, cut] = [1000, 781].map(|cut| scores(&learning(), eventful(cut), 600, 780));
        assert_eq!(format!("{known:?}"), format!("{cut:?}"));
    }

    #[test]
    fn a_detector_knows_no_future_either() {
        let mut pipeline = pipeline();
        pipeline.model.id = "auto".into();
        let [known, cut] = [1000, 781].map(|cut| scores(&pipeline, eventful(cut), 600, 780));
        assert_eq!(format!("{known:?}"), format!("{cut:?}"));
        assert!(known.iter().all(|score| score.is_finite()) && known.iter().any(|score| *score > 0.0));
    }

    /// Hidden points aside, what looks at several series knows its context alone.
    #[test]
    fn what_looks_at_several_series_depends_on_the_clock_and_the_data_alone() {
        for (id, parameters) in
            [("isolation_forest", r#"{"group_by": []}"#), ("isolation_forest", "{}"), ("peers", "{}")]
        {
            let mut pipeline = pipeline();
            pipeline.model = models::ModelSpec::local(id, serde_json::from_str(parameters).unwrap());
            pipeline.context_points = 100;
            let all = scores(&pipeline, eventful(781), 300, 780);
            assert!(all.iter().all(|score| score.is_finite()), "{id}");
            assert!(all.iter().any(|score| *score > 1.0), "{id}");
            assert_eq!(all, scores(&pipeline, eventful(1000), 300, 780), "{id}: the future has no say");
            let later = scores(&pipeline, eventful(781), 603, 780);
            for (all, later) in all.chunks(480).zip(later.chunks(177)) {
                assert_eq!(all[303..], *later, "{id}: it doesn't matter where a replay begins");
            }
        }
    }

    #[test]
    fn nothing_to_judge_is_no_error() {
        assert!(scores(&pipeline(), wave(3, 100), 50, 50).is_empty());
    }

    /// Where nothing was anomalous, a score depends on what came in the two epochs before it.
    #[test]
    fn it_does_not_matter_where_a_replay_begins() {
        let (early, late) =
            (scores(&learning(), eventful(719), 100, 718), scores(&learning(), eventful(719), 690, 718));
        let tail = |scores: &[f64]| -> Vec<f64> {
            scores.chunks(scores.len() / 3).flat_map(|row| row[row.len() - 28..].to_vec()).collect()
        };
        assert_eq!(format!("{:?}", tail(&early)), format!("{:?}", tail(&late)));
    }
}
