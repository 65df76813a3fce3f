//! Which series are judged together, what is found of the points of a turn, and why.

use std::collections::BTreeMap;

use models::panel::{Detector, Found, Panel};
use rayon::prelude::*;
use tsdb::{Labels, Timestamp};

use crate::context::History;
use crate::explain::Grouped;
use crate::judge::Masks;
use crate::outlook::{Turn, context, context_start};
use crate::pipeline::Pipeline;

/// The history that a turn is judged by, of which `masks` are hidden.
struct Sight<'a> {
    pipeline: &'a Pipeline,
    turn: Turn,
    history: &'a History,
    masks: &'a Masks,
    /// The first point of the context.
    first: Timestamp,
}

impl<'a> Sight<'a> {
    fn new(pipeline: &'a Pipeline, turn: Turn, history: &'a History, masks: &'a Masks) -> Self {
        let first = context_start(pipeline, turn.origin).max(history.start());
        Self { pipeline, turn, history, masks, first }
    }

    /// The context of a row, and the points after it.
    fn values(&self, row: usize) -> Vec<f64> {
        let Self { pipeline, turn, history, masks, first } = self;
        let known = context(history.range(row, *first, turn.origin), *first, pipeline, masks.get(&row));
        let next = turn.origin + pipeline.step.duration();
        known.iter().chain(history.range(row, next, turn.last)).copied().collect()
    }

    /// The panel of `rows`, whose values those are.
    fn panel<'b>(&self, rows: &[usize], values: &'b [Vec<f64>]) -> Panel<'b> {
        Panel {
            rows: values,
            known: self.history.range(rows[0], self.first, self.turn.origin).len(),
            start_ms: self.first.millis(),
            step: self.pipeline.step.duration(),
            confidence: self.pipeline.anomaly.confidence(),
        }
    }
}

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
    let sight = Sight::new(pipeline, turn, history, masks);
    let judged = history.range(0, turn.first, turn.last).len();
    let find = |rows: Vec<usize>| {
        let values: Vec<Vec<f64>> = rows.iter().map(|row| sight.values(*row)).collect();
        let found = detector.judge(&sight.panel(&rows, &values));
        // Points between the context and the turn belong to the turn before.
        let newest = |found: Vec<Option<Found>>| found[found.len().saturating_sub(judged)..].to_vec();
        rows.into_iter().zip(found.into_iter().map(newest)).collect::<Vec<_>>()
    };
    let mut all = vec![vec![]; history.series().len()];
    for (row, found) in groups(pipeline, detector, history).into_par_iter().flat_map_iter(find).collect::<Vec<_>>() {
        all[row] = found;
    }
    all
}

/// Why the point at the end of `turn` of the series `labels` was found as it was; `None` where nothing was found of it.
pub(crate) fn reason(
    pipeline: &Pipeline,
    detector: &Detector,
    turn: Turn,
    history: &History,
    masks: &Masks,
    labels: &Labels,
) -> Option<Grouped> {
    let own = history.series().iter().position(|series| series == labels)?;
    let rows = groups(pipeline, detector, history).into_iter().find(|rows| rows.contains(&own))?;
    let sight = Sight::new(pipeline, turn, history, masks);
    let values: Vec<Vec<f64>> = rows.iter().map(|row| sight.values(*row)).collect();
    let at = rows.iter().position(|row| *row == own)?;
    let reason = detector.reason(&sight.panel(&rows, &values), at)?;
    let members = rows.iter().map(|row| history.series()[*row].clone()).collect();
    Some(Grouped { by: detector.group_by().unwrap_or_default().to_vec(), members, reason })
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
