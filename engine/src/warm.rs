//! How a judge that has seen nothing comes to the state of one that never stopped.

use std::collections::HashMap;

use models::ForecastError;
use tsdb::{Labels, Limits, RangeQuery, Read, ReadError, Timestamp};

use crate::context::History;
use crate::covariates;
use crate::judge::Judge;
use crate::outlook::{Known, Turn};
use crate::output::{Names, SCORE_KINDS, selector};
use crate::pass::{Ports, compute, limits};
use crate::pipeline::Pipeline;
use crate::replay::advance;

/// How many times as many series as a pipeline may have may have been there in the time that is learned from: those that
/// have ended are forgotten afterwards.
const ENDED: usize = 4;

/// How much is read of the time that is learned from.
pub(crate) fn wide_limits(pipeline: &Pipeline) -> Limits {
    let limits = limits(pipeline);
    Limits { series: limits.series.saturating_mul(ENDED), ..limits }
}

/// Reads which points from `first` to `last` were scored above 1, as far as `judge` hides such points: they stand in the
/// store.
pub(crate) async fn recall(
    judge: &mut Judge,
    names: &Names,
    written: &dyn Read,
    history: &History,
    (first, last): (Timestamp, Timestamp),
) -> Result<(), ReadError> {
    let pipeline = judge.pipeline().clone();
    let Some(limit) = pipeline.anomaly.mask_limit else { return Ok(()) };
    let query = format!("{} > 1", selector(&pipeline, SCORE_KINDS[0]));
    let Some(query) = RangeQuery::new(query, first - limit, last, pipeline.step) else { return Ok(()) };
    let found = written.read(&query, &wide_limits(&pipeline)).await?.frame;
    if found.series().is_empty() {
        return Ok(());
    }
    let name = |source: &Labels| names.score_name(SCORE_KINDS[0], source);
    let rows: HashMap<Labels, usize> = history.series().iter().map(name).zip(0..).collect();
    for (labels, scores) in found.rows() {
        let Some(&row) = rows.get(labels) else { continue };
        for (point, score) in scores.iter().enumerate().filter(|(_, score)| **score > 1.0) {
            let time = found.time(point);
            // A store that looks back answers an older score where there was no value to be scored.
            if time < history.start() || !history.value(row, time).is_nan() {
                judge.recall(history, row, time, *score);
            }
        }
    }
    Ok(())
}

/// Has `judge` learn from `turns`, which somebody else has scored if they count, on the threads for computing.
pub(crate) async fn learn(
    mut judge: Judge,
    ports: &Ports,
    history: std::sync::Arc<History>,
    turns: Vec<(Turn, Vec<Known>)>,
    counts: bool,
) -> Result<Judge, ForecastError> {
    let (model, id) = (ports.model.clone(), judge.pipeline().model.id.clone());
    let work = move || advance(&mut judge, &*model, &history, &turns, counts, None).map(|_| judge);
    compute(ports.model.waits(), work).await.unwrap_or_else(|| Err(ForecastError::new(id, "the model panicked")))
}

/// `turns` with what is known of the pipeline's covariates for the forecast of each.
pub(crate) async fn known(
    pipeline: &Pipeline,
    source: &dyn Read,
    turns: Vec<Turn>,
) -> Result<Vec<(Turn, Vec<Known>)>, ReadError> {
    let mut all = Vec::with_capacity(turns.len());
    for turn in turns {
        let (known, _) = covariates::known(pipeline, source, turn.origin).await?;
        all.push((turn, known));
    }
    Ok(all)
}
