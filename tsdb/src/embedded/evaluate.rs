//! A range query over the store: the plain selector by hand, all else by tsink's PromQL.

use std::collections::HashSet;
use std::sync::Arc;

use tsink::promql::ast::{Expr, VectorSelector};
use tsink::promql::types::{is_stale_nan_value, value_to_f64};
use tsink::promql::{Engine, PromqlError, PromqlValue};
use tsink::{DataPoint, Label, Storage, TimestampPrecision, TsinkError};

use super::selectors::{bad_regex, bare, drops_name, looks_at_ends, selection, simplify, wanted};
use super::view::View;
use crate::frame::{Frame, FrameBuilder};
use crate::labels::{Interner, Labels, METRIC_NAME};
use crate::read::{Answer, Bound, Limits, RangeQuery, ReadFault};
use crate::time::{Step, Timestamp};

/// How far back a selector looks for a value, in milliseconds.
const LOOKBACK: i64 = 5 * 60 * 1000;

/// Steps evaluated at once. At every step, tsink's evaluation looks at all the points that it was given, so that the
/// whole range at once would cost the square of its length.
const STEPS: usize = 8;

/// Steps whose points are read from the store at once.
const WINDOW: usize = 64 * STEPS;

/// Evaluates the query at every point of its grid.
pub(super) fn evaluate(storage: &Arc<dyn Storage>, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadFault> {
    let expr = tsink::promql::parse(query.query()).map_err(refusal)?;
    if let Some(message) = bad_regex(&expr) {
        return Err(ReadFault::Query { kind: "bad_data".to_string(), message });
    }
    let wanted = wanted(&expr);
    let simple = simplify(query.query(), &wanted);
    let view = Arc::new(View::new(storage.clone(), *limits, wanted));
    let answer = match plain(&expr) {
        Some(selector) => select(&view, selector, query, limits),
        None => by_promql(&view, &expr, &simple, query, limits),
    };
    match (answer, view.fault()) {
        (Err(_), Some(fault)) => Err(fault),
        (Err(fault), None) => Err(fault),
        (Ok(frame), _) => Ok(Answer { frame: tidy(frame), warnings: vec![], bytes: view.bytes() }),
    }
}

/// The selector, where the query is nothing else.
pub(super) fn plain(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) if selector.at.is_none() => Some(selector),
        Expr::Paren(inner) => plain(inner),
        _ => None,
    }
}

fn select(view: &View, selector: &VectorSelector, query: &RangeQuery, limits: &Limits) -> Result<Frame, ReadFault> {
    let (first, step) = (query.start().millis() - selector.offset, query.step().millis());
    let (from, to) = (first - LOOKBACK, query.end().millis() - selector.offset + 1);
    let series = view.series(&selection(selector), from, to).map_err(|error| ReadFault::Local(error.to_string()))?;
    check(series.len(), query, limits)?;
    let mut strings = Interner::default();
    let (mut names, mut values) = (vec![], Vec::with_capacity(series.len() * query.points()));
    let taken = view.points(&series, from, to, |series, points| {
        if !points.is_empty() {
            names.push(labels(&mut strings, &series.name, &series.labels));
            let mut points = points.iter().peekable();
            let mut latest: Option<&DataPoint> = None;
            values.extend((0..query.points()).map(|at| {
                let time = first + at as i64 * step;
                while let Some(point) = points.next_if(|point| point.timestamp <= time) {
                    latest = Some(point);
                }
                latest.filter(|point| point.timestamp >= time - LOOKBACK).map_or(f64::NAN, value)
            }));
        }
    });
    taken.map_err(|error| ReadFault::Local(error.to_string()))?;
    let names = names.into_iter().collect::<Result<Vec<_>, _>>()?;
    Frame::new(names, query.start(), query.step(), query.points(), values)
        .map_err(|error| ReadFault::Local(error.to_string()))
}

/// The mark that a series has ended is no value.
fn value(point: &DataPoint) -> f64 {
    if is_stale_nan_value(&point.value) { f64::NAN } else { value_to_f64(&point.value) }
}

/// Which series have ended: a value at every point since whose predecessor the mark has come. Nothing where the query is
/// no selector.
pub(super) fn ended(
    storage: &Arc<dyn Storage>,
    query: &RangeQuery,
    limits: &Limits,
) -> Result<Option<Frame>, ReadFault> {
    let expr = tsink::promql::parse(query.query()).map_err(refusal)?;
    let Some(selector) = bare(&expr) else { return Ok(None) };
    let view = View::new(storage.clone(), *limits, wanted(&expr));
    let (start, step) = (query.start().millis(), query.step().millis());
    let (from, to) = (start - step + 1, query.end().millis() + 1);
    let failed = |error: TsinkError| view.fault().unwrap_or_else(|| ReadFault::Local(error.to_string()));
    let series = view.series(&selection(selector), from, to).map_err(failed)?;
    let mut builder = FrameBuilder::new(query.start(), query.step(), query.points());
    let (mut strings, mut fault) = (Interner::default(), None);
    let taken = view.points(&series, from, to, |series, points| {
        let mut marks = points.iter().filter(|point| is_stale_nan_value(&point.value)).peekable();
        if marks.peek().is_none() {
            return;
        }
        match labels(&mut strings, &series.name, &series.labels) {
            Ok(labels) => {
                let row = builder.row(&labels);
                for mark in marks {
                    let steps = (mark.timestamp - start + step - 1).div_euclid(step);
                    builder.set(row, Timestamp::from_millis(start + steps * step), 1.0);
                }
            }
            Err(error) => fault = Some(error),
        }
    });
    taken.map_err(failed)?;
    fault.map_or(Ok(Some(builder.finish())), Err)
}

/// `text` is the query as tsink is to see it.
fn by_promql(
    view: &Arc<View>,
    expr: &Expr,
    text: &str,
    query: &RangeQuery,
    limits: &Limits,
) -> Result<Frame, ReadFault> {
    let engine = Engine::with_precision(view.clone(), TimestampPrecision::Milliseconds);
    let (whole, nameless) = (looks_at_ends(expr), drops_name(expr));
    let (window, steps) = if whole { (query.points(), query.points()) } else { (WINDOW, STEPS) };
    let mut builder = FrameBuilder::new(query.start(), query.step(), query.points());
    let mut strings = Interner::default();
    for from in (0..query.points()).step_by(steps) {
        let time = |at: usize| query.start().millis() + at.min(query.points() - 1) as i64 * query.step().millis();
        if from % window == 0 {
            view.advance(time(from + window - 1));
        }
        let (start, end) = (time(from), time(from + steps - 1));
        let value = engine.range_query(text, start, end, query.step().millis()).map_err(refusal)?;
        let PromqlValue::RangeVector(found) = value else { continue };
        let mut seen = HashSet::with_capacity(found.len());
        for series in &found {
            let name = if nameless { "" } else { &series.metric };
            let labels = labels(&mut strings, name, &series.labels)?;
            let row = builder.row(&labels);
            check(builder.series(), query, limits)?;
            if !seen.insert(row) || series.samples.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(ReadFault::Duplicate(labels.to_string()));
            }
            for (time, value) in &series.samples {
                builder.set(row, Timestamp::from_millis(*time), *value);
            }
        }
    }
    Ok(builder.finish())
}

pub(super) fn labels(strings: &mut Interner, name: &str, labels: &[Label]) -> Result<Labels, ReadFault> {
    let pairs = labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    let pairs = pairs.chain([(METRIC_NAME, name)]).map(|(name, value)| (strings.intern(name), strings.intern(value)));
    Labels::new(pairs.collect::<Vec<_>>()).map_err(|error| ReadFault::Local(format!("a series in the store: {error}")))
}

fn check(series: usize, query: &RangeQuery, limits: &Limits) -> Result<(), ReadFault> {
    let too_large = |bound, limit: usize| Err(ReadFault::TooLarge { bound, limit: limit as u64 });
    if series > limits.series {
        too_large(Bound::Series, limits.series)
    } else if series.saturating_mul(query.points()) > limits.samples {
        too_large(Bound::Samples, limits.samples)
    } else {
        Ok(())
    }
}

pub(super) fn refusal(error: PromqlError) -> ReadFault {
    let kind = match &error {
        PromqlError::Storage(error) => return ReadFault::Local(error.to_string()),
        PromqlError::Eval(_) => "execution",
        _ => "bad_data",
    };
    ReadFault::Query { kind: kind.to_string(), message: error.to_string() }
}

/// The series sorted by their labels, those without any value left out.
fn tidy(frame: Frame) -> Frame {
    let full = |row: usize| frame.row(row).iter().any(|value| !value.is_nan());
    let names = frame.series();
    if names.is_sorted() && (0..names.len()).all(full) {
        return frame;
    }
    let mut order: Vec<usize> = (0..names.len()).filter(|row| full(*row)).collect();
    order.sort_unstable_by(|a, b| names[*a].cmp(&names[*b]));
    let values = order.iter().flat_map(|row| frame.row(*row)).copied().collect();
    let names = order.iter().map(|row| names[*row].clone()).collect();
    let (start, step, points): (Timestamp, Step, usize) = (frame.start(), frame.step(), frame.points());
    Frame::new(names, start, step, points, values).expect("rows of a frame make a frame")
}
