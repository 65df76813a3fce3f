//! Which series are judged together, and what is found of the points of a turn.

use std::collections::BTreeMap;

use models::panel::{Detector, Found, Panel};
use rayon::prelude::*;

use crate::context::History;
use crate::judge::Masks;
use crate::outlook::{Turn, context, context_start};
use crate::pipeline::Pipeline;

/// What is found of each point of `turn` in each row of `history`, by the context of its origin, of which `masks` are
/// hidden.
pub(crate) fn found(
    pipeline: &Pipeline,
    detector: &Detector,
    turn: Turn,
    history: &History,
    masks: &Masks,
) -> Vec<Vec<Option<Found>>> {
    if history.series().is_empty() {
        return vec![];
    }
    let first = context_start(pipeline, turn.origin).max(history.start());
    let row = |row: usize| -> Vec<f64> {
        let known = context(history.range(row, first, turn.origin), first, pipeline, masks.get(&row));
        let next = turn.origin + pipeline.step.duration();
        known.iter().chain(history.range(row, next, turn.last)).copied().collect()
    };
    let judged = history.range(0, turn.first, turn.last).len();
    let find = |rows: Vec<usize>| {
        let values: Vec<Vec<f64>> = rows.iter().map(|at| row(*at)).collect();
        let panel = Panel {
            rows: &values,
            known: history.range(rows[0], first, turn.origin).len(),
            start_ms: first.millis(),
            step: pipeline.step.duration(),
            confidence: pipeline.anomaly.confidence(),
        };
        // Points between the context and the turn belong to the turn before.
        let newest = |found: Vec<Option<Found>>| found[found.len().saturating_sub(judged)..].to_vec();
        rows.into_iter().zip(detector.judge(&panel).into_iter().map(newest)).collect::<Vec<_>>()
    };
    let mut all = vec![vec![]; history.series().len()];
    for (row, found) in groups(pipeline, detector, history).into_par_iter().flat_map_iter(find).collect::<Vec<_>>() {
        all[row] = found;
    }
    all
}

/// The rows of `history` that are judged together.
fn groups(pipeline: &Pipeline, detector: &Detector, history: &History) -> Vec<Vec<usize>> {
    let rows = 0..history.series().len();
    let by = match detector.group_by() {
        None if !pipeline.together => return rows.map(|row| vec![row]).collect(),
        by => by.unwrap_or_default(),
    };
    let mut groups: BTreeMap<Vec<Option<&str>>, Vec<usize>> = BTreeMap::new();
    for row in rows {
        let labels = &history.series()[row];
        groups.entry(by.iter().map(|name| labels.get(name)).collect()).or_default().push(row);
    }
    // What other rows there are, and in which order, doesn't change a score that it has no part in.
    let in_order = |mut rows: Vec<usize>| {
        rows.sort_by(|a, b| history.series()[*a].pairs().cmp(history.series()[*b].pairs()));
        rows
    };
    groups.into_values().map(in_order).collect()
}
