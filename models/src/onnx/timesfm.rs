//! TimesFM 2.5 (Das et al., "A decoder-only foundation model for time-series forecasting", 2024, and its package's
//! `ForecastConfig` with flip invariance, the continuous quantile head and quantiles that don't cross).

use ndarray::{Array2, Array3, ArrayD, ArrayView2, ArrayViewMut1, Axis, Ix3, Slice, s};

use super::family::{Architecture, Batch};
use super::graph::{Graph, GraphError};
use super::rollout::{appended, joined, level, reached, run, whole};

/// x and −x are forecast apart, each going on from its own median beyond one run, and half of their difference is
/// taken. The median is that of the head `point`; how far the other quantiles are from it says the head `spread` of
/// the first run, which reaches over the whole horizon.
pub(crate) struct Timesfm;

impl Architecture for Timesfm {
    fn predict(&self, graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        let median = level(graph, 0.5)?;
        let contexts = held(batch.contexts);
        let plain = trajectory(graph, contexts.view(), median, batch.horizon)?;
        let flipped = trajectory(graph, (-&contexts).view(), median, batch.horizon)?;
        let point = (&plain.point - &reversed(&flipped.point)) / 2.0;
        let spread = (&plain.spread - &reversed(&flipped.spread)) / 2.0;
        let mut found = spread;
        for mut quantiles in found.lanes_mut(Axis(1)) {
            let middle = quantiles[median];
            quantiles -= middle;
        }
        found += &point.slice(s![.., median..=median, ..]);
        found.lanes_mut(Axis(1)).into_iter().for_each(|quantiles| uncross(quantiles, median));
        Ok(found)
    }
}

/// What both heads say of one trajectory, `[row, level, step ahead]`.
struct Heads {
    point: Array3<f32>,
    spread: Array3<f32>,
}

fn trajectory(
    graph: &Graph,
    contexts: ArrayView2<'_, f32>,
    median: usize,
    horizon: usize,
) -> Result<Heads, GraphError> {
    let Heads { point, spread } = pass(graph, contexts)?;
    let widest = spread.len_of(Axis(2));
    if horizon > widest {
        return Err(graph.refused(format!("it reaches {widest} steps ahead, not {horizon}")));
    }
    let mut parts = vec![point];
    let mut path = contexts.to_owned();
    while reached(&parts) < horizon {
        // The context is not cut here: what the model may look at leaves room for the horizon.
        path = appended(path.view(), parts[parts.len() - 1].index_axis(Axis(1), median), usize::MAX);
        parts.push(pass(graph, path.view())?.point);
    }
    Ok(Heads { point: joined(graph, &parts, horizon)?, spread: joined(graph, &[spread], horizon)? })
}

fn pass(graph: &Graph, contexts: ArrayView2<'_, f32>) -> Result<Heads, GraphError> {
    let mut found: Vec<Option<ArrayD<f32>>> = run(graph, contexts, &[])?.into_iter().map(Some).collect();
    let mut head = |name: &str| {
        let at = graph.outputs().iter().position(|port| port.name == name);
        let head = at.and_then(|at| found.get_mut(at)).and_then(Option::take);
        let head = head.ok_or_else(|| graph.refused(format!("it has no output {name:?}")))?;
        whole(graph, quantiles(graph, head)?, contexts.nrows())
    };
    Ok(Heads { point: head("point")?, spread: head("spread")? })
}

/// Of the rows of a head the first is the mean, which nobody needs.
fn quantiles(graph: &Graph, head: ArrayD<f32>) -> Result<Array3<f32>, GraphError> {
    let rows = graph.card().quantiles.len() + 1;
    let shape = head.shape().to_vec();
    match head.into_dimensionality::<Ix3>() {
        Ok(head) if head.len_of(Axis(1)) == rows => Ok(head.slice_axis_move(Axis(1), Slice::from(1..))),
        _ => Err(GraphError::Shape {
            graph: graph.name().to_owned(),
            found: shape,
            expected: format!("[batch, {rows} rows, steps ahead]"),
        }),
    }
}

/// The last value of each row in place of NaN at its end, which a forecast would otherwise follow as if it was a gap
/// within the data.
fn held(contexts: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut held = contexts.to_owned();
    for mut row in held.rows_mut() {
        if let Some(last) = row.iter().rposition(|value| !value.is_nan()) {
            let value = row[last];
            row.slice_mut(s![last + 1..]).fill(value);
        }
    }
    held
}

/// The quantiles of −x in the order of those of x.
fn reversed(quantiles: &Array3<f32>) -> Array3<f32> {
    quantiles.slice(s![.., ..;-1, ..]).to_owned()
}

/// Each quantile at least as far from the median as the one inside of it.
fn uncross(mut quantiles: ArrayViewMut1<'_, f32>, median: usize) {
    for above in median + 1..quantiles.len() {
        quantiles[above] = quantiles[above].max(quantiles[above - 1]);
    }
    for below in (0..median).rev() {
        quantiles[below] = quantiles[below].min(quantiles[below + 1]);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_end_holds_the_last_value() {
        let contexts = array![[1.0, f32::NAN, 3.0, f32::NAN, f32::NAN], [f32::NAN, 1.0, 2.0, 3.0, 4.0]];
        let found = held(contexts.view());
        assert!(found[[0, 1]].is_nan() && found[[1, 0]].is_nan());
        assert_eq!(found.slice(s![0, 2..]), array![3.0, 3.0, 3.0]);
        assert_eq!(found.slice(s![1, 1..]), contexts.slice(s![1, 1..]));
        assert!(held(array![[f32::NAN, f32::NAN]].view()).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn quantiles_that_cross_move_away_from_the_median() {
        for (found, expected) in [
            ([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]),
            ([4.0, 2.0, 3.0, 1.0, 2.0], [2.0, 2.0, 3.0, 3.0, 3.0]),
            ([1.0, 9.0, 0.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 2.0]),
        ] {
            let mut quantiles = ndarray::Array1::from_iter(found);
            uncross(quantiles.view_mut(), 2);
            assert_eq!(quantiles.to_vec(), expected);
        }
    }
}
