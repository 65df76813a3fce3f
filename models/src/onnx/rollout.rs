//! What architectures share in going on beyond one run of their graph: contexts that grow by what was forecast, and
//! many trajectories that become one forecast again.

use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView2, ArrayView3, Axis, concatenate, s};

use super::graph::{Graph, GraphError, Input, Kind};

/// The contexts and what follows them, `[row, time]` both; of the result the newest `longest` points.
pub(super) fn appended(contexts: ArrayView2<'_, f32>, next: ArrayView2<'_, f32>, longest: usize) -> Array2<f32> {
    let (rows, before) = contexts.dim();
    let kept = before.min(longest.saturating_sub(next.ncols()));
    let taken = next.ncols().min(longest);
    let mut grown = Array2::zeros((rows, kept + taken));
    grown.slice_mut(s![.., ..kept]).assign(&contexts.slice(s![.., before - kept..]));
    grown.slice_mut(s![.., kept..]).assign(&next.slice(s![.., next.ncols() - taken..]));
    grown
}

/// `[row, level, step ahead]`: one run after the other, cut to `horizon`. Without parts, nothing.
///
/// # Errors
/// Parts of different rows or levels, or fewer steps than `horizon`.
pub(super) fn joined(graph: &Graph, parts: &[Array3<f32>], horizon: usize) -> Result<Array3<f32>, GraphError> {
    let views: Vec<ArrayView3<'_, f32>> = parts.iter().map(ArrayView3::from).collect();
    let whole = concatenate(Axis(2), &views).ok().filter(|whole| whole.len_of(Axis(2)) >= horizon);
    let whole = whole.ok_or_else(|| GraphError::Shape {
        graph: graph.name().to_owned(),
        found: parts.last().map(|part| part.shape().to_vec()).unwrap_or_default(),
        expected: format!("[batch, quantiles, {horizon} steps ahead] over all runs"),
    })?;
    Ok(whole.slice_move(s![.., .., ..horizon]))
}

/// How many steps ahead the parts reach together.
pub(super) fn reached(parts: &[Array3<f32>]) -> usize {
    parts.iter().map(|part| part.len_of(Axis(2))).sum()
}

/// Trajectories of the same series, `[row, level, step ahead]` each, as one: `pool` makes of all their samples of a
/// row and step, in the order `[trajectory, level]`, a value for each level.
pub(super) fn pooled(trajectories: &[Array3<f32>], pool: impl Fn(&[f32]) -> Vec<f32>) -> Array3<f32> {
    let Some(first) = trajectories.first() else { return Array3::zeros((0, 0, 0)) };
    let (rows, levels, steps) = first.dim();
    let mut whole = Array3::zeros((rows, levels, steps));
    let mut samples = Vec::with_capacity(trajectories.len() * levels);
    for row in 0..rows {
        for step in 0..steps {
            samples.clear();
            samples.extend(trajectories.iter().flat_map(|one| one.slice(s![row, .., step]).to_vec()));
            whole.slice_mut(s![row, .., step]).assign(&Array1::from_vec(pool(&samples)));
        }
    }
    whole
}

/// Empirical quantiles of samples, all of one weight: linear between the order statistics, of which the first is the
/// quantile 0 and the last the quantile 1 (Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996, type 7).
pub(super) fn empirical(samples: &[f32], levels: &[f64]) -> Vec<f32> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = |level: f64| {
        let place = level * last as f64;
        let below = (place as usize).min(last);
        let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
        low + (place - below as f64) as f32 * (high - low)
    };
    levels.iter().map(|level| at(*level)).collect()
}

/// Quantiles of samples with a weight each: linear in the running sum of the weights, constant beyond both ends.
pub(super) fn weighted(samples: &[f32], weights: &[f64], levels: &[f64]) -> Vec<f32> {
    let mut sorted: Vec<(f32, f64)> = samples.iter().copied().zip(weights.iter().copied()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    for (_, weight) in &mut sorted {
        sum += *weight / total;
        *weight = sum;
    }
    let at = |level: f64| {
        let above = sorted.partition_point(|(_, reached)| *reached < level);
        match (above.checked_sub(1).and_then(|below| sorted.get(below)), sorted.get(above)) {
            (Some((low, from)), Some((high, to))) => low + ((level - from) / (to - from)) as f32 * (high - low),
            (Some((edge, _)), None) | (None, Some((edge, _))) => *edge,
            (None, None) => f32::NAN,
        }
    };
    levels.iter().map(|level| at(*level)).collect()
}

/// Where `level` stands among the graph's.
///
/// # Errors
/// Nowhere.
pub(super) fn level(graph: &Graph, level: f64) -> Result<usize, GraphError> {
    let found = graph.card().quantiles.as_slice().iter().position(|known| (known - level).abs() < 1e-6);
    found.ok_or_else(|| graph.refused(format!("it has no quantile {level}, from which it would go on beyond one run")))
}

/// Runs a graph on contexts `[row, time]` and other inputs. They are padded on the left with NaN, or cut, to the one
/// length that it takes where it takes only one; where it wants to be told what is there, it is.
///
/// # Errors
/// The graph's.
pub(super) fn run(
    graph: &Graph,
    contexts: ArrayView2<'_, f32>,
    others: &[(&str, Input<'_>)],
) -> Result<Vec<ArrayD<f32>>, GraphError> {
    let port = graph.input("context").or_else(|| graph.inputs().first());
    let (name, fixed) = port.map_or(("context", None), |port| (&*port.name, port.shape.get(1).copied().flatten()));
    let fitted = fixed.filter(|time| *time != contexts.ncols()).map(|time| fitted(contexts, time));
    let contexts = fitted.as_ref().map_or(contexts, |fitted| fitted.view());
    // A slice of a wider array is not one piece of memory, which ONNX Runtime wants.
    let contexts = contexts.as_standard_layout();
    let mask = graph.input(MASK).map(|port| Mask::new(port.kind, &contexts.view()));
    let mut inputs: Vec<(&str, Input<'_>)> = others.iter().map(|(name, input)| (*name, input.view())).collect();
    inputs.push((name, Input::F32(contexts.view().into_dyn())));
    inputs.extend(mask.as_ref().map(|mask| (MASK, mask.input())));
    graph.run(&inputs)
}

const MASK: &str = "attention_mask";

/// Which values of a context are there.
enum Mask {
    F32(Array2<f32>),
    I64(Array2<i64>),
    Bool(Array2<bool>),
}

impl Mask {
    fn new(kind: Kind, contexts: &ArrayView2<'_, f32>) -> Self {
        let there = contexts.mapv(|value| !value.is_nan());
        match kind {
            Kind::Bool => Self::Bool(there),
            Kind::I64 => Self::I64(there.mapv(i64::from)),
            Kind::F32 | Kind::Other => Self::F32(there.mapv(|there| f32::from(u8::from(there)))),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::F32(mask) => Input::F32(mask.view().into_dyn()),
            Self::I64(mask) => Input::I64(mask.view().into_dyn()),
            Self::Bool(mask) => Input::Bool(mask.view().into_dyn()),
        }
    }
}

/// Runs a graph as [`run`] does: its first output as `[row, level, step ahead]`, with all rows and at least one step.
///
/// # Errors
/// The graph's, or an output of another shape.
pub(super) fn quantiles(
    graph: &Graph,
    contexts: ArrayView2<'_, f32>,
    others: &[(&str, Input<'_>)],
) -> Result<Array3<f32>, GraphError> {
    let first = run(graph, contexts, others)?.into_iter().next().unwrap_or_default();
    whole(graph, graph.quantiles(first)?, contexts.nrows())
}

/// `answer`, if it has `rows` and at least one step ahead, without which going on would never end.
///
/// # Errors
/// It has not.
pub(super) fn whole(graph: &Graph, answer: Array3<f32>, rows: usize) -> Result<Array3<f32>, GraphError> {
    if answer.len_of(Axis(0)) == rows && answer.len_of(Axis(2)) > 0 {
        return Ok(answer);
    }
    Err(GraphError::Shape {
        graph: graph.name().to_owned(),
        found: answer.shape().to_vec(),
        expected: format!("[{rows} rows, quantiles, steps ahead]"),
    })
}

fn fitted(contexts: ArrayView2<'_, f32>, time: usize) -> Array2<f32> {
    let padding = Array2::from_elem((contexts.nrows(), time.saturating_sub(contexts.ncols())), f32::NAN);
    appended(padding.view(), contexts, time)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    const SAMPLES: [f32; 5] = [3.0, -1.0, 2.0, 8.0, 0.5];

    fn check(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
        assert!(near, "{found:?}, not {expected:?}");
    }

    // What the packages' own functions answer: `torch.quantile`, and `weighted_quantile` of chronos-forecasting.

    #[test]
    fn empirical_quantiles_lie_between_samples() {
        check(&empirical(&SAMPLES, &[0.1, 0.5, 0.9]), &[-0.4, 2.0, 6.0]);
        check(&empirical(&[7.0], &[0.1, 0.99]), &[7.0, 7.0]);
        check(&empirical(&[1.0, 2.0], &[0.0, 1.0]), &[1.0, 2.0]);
    }

    #[test]
    fn weighted_quantiles_go_by_the_running_sum() {
        let weights = [0.1, 0.3, 0.2, 0.15, 0.25];
        check(
            &weighted(&SAMPLES, &weights, &[0.05, 0.1, 0.45, 0.5, 0.9, 0.99]),
            &[-1.0, -1.0, -0.1, 0.2, 4.666_665, 7.666_667],
        );
        let twice = weights.map(|weight| 2.0 * weight);
        check(&weighted(&SAMPLES, &twice, &[0.45, 0.9]), &[-0.1, 4.666_665]);
        check(&weighted(&[7.0], &[0.3], &[0.1, 0.9]), &[7.0, 7.0]);
        assert!(weighted(&[], &[], &[0.5])[0].is_nan());
    }

    #[test]
    fn a_context_keeps_its_newest_points() {
        let contexts = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
        let next = array![[7.0, 8.0], [9.0, 10.0]];
        let grown = |longest| appended(contexts.view(), next.view(), longest);
        assert_eq!(grown(9), array![[1.0, 2.0, 3.0, 7.0, 8.0], [4.0, 5.0, 6.0, 9.0, 10.0]]);
        assert_eq!(grown(3), array![[3.0, 7.0, 8.0], [6.0, 9.0, 10.0]]);
        assert_eq!(grown(1), array![[8.0], [10.0]]);
    }

    #[test]
    fn a_graph_of_one_length_gets_that_length() {
        let contexts = array![[1.0, 2.0, 3.0]];
        assert_eq!(fitted(contexts.view(), 2), array![[2.0, 3.0]]);
        let padded = fitted(contexts.view(), 5);
        assert!(padded[[0, 1]].is_nan());
        assert_eq!(padded.slice(s![.., 2..]), contexts);
    }

    #[test]
    fn trajectories_are_pooled_by_row_and_step() {
        let one = array![[[1.0, 10.0], [2.0, 20.0]]];
        let other = array![[[3.0, 30.0], [4.0, 40.0]]];
        let edges = |samples: &[f32]| {
            assert_eq!(samples.len(), 4);
            vec![samples[0], samples[3]]
        };
        assert_eq!(pooled(&[one, other], edges), array![[[1.0, 10.0], [4.0, 40.0]]]);
        assert!(pooled(&[], edges).is_empty());
    }
}
