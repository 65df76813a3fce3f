//! Scores history as the daemon would have scored it, point by point, without looking ahead.

use models::{ForecastError, Forecaster};
use rayon::prelude::*;
use tsdb::Timestamp;

use crate::context::History;
use crate::outlook::{Known, Outlook, Sheet, Turn, turns};
use crate::pipeline::Pipeline;
use crate::score::Scored;

/// How many forecasts are held at a time.
const BATCH: usize = 16;

/// Scores the points of `history` after `after`, up to `until`, each by the forecast that would have judged it.
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
    if !pipeline.covariates.is_empty() {
        return Err(ForecastError::new(&pipeline.model.id, "history can't be replayed with covariates"));
    }
    let turns: Vec<(Turn, Vec<Known>)> = turns(pipeline, after, until).map(|turn| (turn, vec![])).collect();
    judge(pipeline, model, history, &turns, until)
}

/// Scores the points of `turns`, which follow each other, each with what was known of the covariates. Where there are
/// none, the scores are those of no point at all, just before `until`.
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
    let first = turns.first().map_or(until, |(turn, _)| turn.first);
    let last = turns.last().map_or(until - pipeline.step, |(turn, _)| turn.last);
    let mut sheet = Sheet::new(history, first, last);
    for batch in turns.chunks(BATCH) {
        let outlooks: Vec<Result<Outlook, _>> =
            batch.par_iter().map(|(turn, known)| Outlook::at(turn.origin, pipeline, model, history, known)).collect();
        for ((turn, _), outlook) in batch.iter().zip(outlooks) {
            sheet.judge(*turn, &outlook?, history, pipeline);
        }
    }
    Ok(sheet.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LastValue, pipeline, wave};

    fn scores(until: i64, cut: i64) -> Vec<f64> {
        let history = History::of(wave(3, cut));
        let (after, until) = (Timestamp::from_seconds(50), Timestamp::from_seconds(until));
        let scored = replay(&pipeline(), &LastValue, &history, after, until).unwrap();
        scored.score.values().to_vec()
    }

    #[test]
    fn the_future_has_no_say() {
        assert_eq!(scores(80, 100), scores(80, 81));
        assert!(scores(80, 100).iter().all(|score| score.is_finite()));
    }

    #[test]
    fn nothing_to_judge_is_no_error() {
        assert!(scores(50, 100).is_empty());
    }
}
