//! Graphs that forecast rows of a group together, and take what is known of their future.

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Zip, s};

use super::family::Batch;
use super::graph::{Graph, GraphError, Input, Port};
use super::rollout::quantiles;

/// Every row attends to every other one in each patch: so many pairs, over all patches of a batch, take about half a
/// gigabyte for twelve attention heads.
const MOST_PAIRS: usize = 10_000_000;

/// What files call the input for groups.
const GROUPS: &[&str] = &["group_ids", "series_ids"];
/// What files call the input for known futures.
const FUTURES: &[&str] = &["future", "future_covariates"];

/// What stays the same from run to run of one batch.
pub(super) struct Joint<'g, 'b> {
    graph: &'g Graph,
    /// The input that tells which rows belong together.
    group_port: &'g Port,
    /// The input that tells what is known of the future, where there is one.
    future_port: Option<&'g Port>,
    /// A number for each row.
    groups: Array1<i64>,
    /// `[row, horizon]`, NaN where nothing is known.
    known: Option<ArrayView2<'b, f32>>,
    horizon: usize,
}

impl<'g, 'b> Joint<'g, 'b> {
    /// Prepares runs of `graph` for `batch`. Without groups, each row is one of its own.
    ///
    /// # Errors
    /// The graph has no input for groups, or none for known futures where there are any, or the batch is too large.
    pub(super) fn new(graph: &'g Graph, batch: &Batch<'b>) -> Result<Self, GraphError> {
        let port = |names: &[&str]| names.iter().find_map(|name| graph.input(name));
        let (group_port, future_port) = (port(GROUPS), port(FUTURES));
        let group_port = group_port.ok_or_else(|| graph.refused(format!("it has no input {}", GROUPS.join(" or "))))?;
        let known = batch.future.filter(|future| future.iter().any(|value| value.is_finite()));
        if known.is_some() && future_port.is_none() {
            return Err(graph.refused("it has no input for known futures"));
        }
        let (rows, time) = batch.contexts.dim();
        check_pairs(graph, rows, time + batch.horizon.min(graph.card().horizon))?;
        let groups = batch.groups.map_or_else(|| (0..rows as i64).collect(), |groups| groups.iter().copied().collect());
        Ok(Self { graph, group_port, future_port, groups, known, horizon: batch.horizon })
    }

    /// The answer to `contexts`, which end `done` steps after those of the batch: as many steps as are still needed, or
    /// as one run has.
    ///
    /// # Errors
    /// The graph's.
    pub(super) fn pass(&self, contexts: ArrayView2<'_, f32>, done: usize) -> Result<Array3<f32>, GraphError> {
        let future = self.future_port.map(|port| (&*port.name, self.known(done, self.steps(port, done))));
        let mut others = vec![(&*self.group_port.name, Input::I64(self.groups.view().into_dyn()))];
        others.extend(future.as_ref().map(|(name, future)| (*name, Input::F32(future.view().into_dyn()))));
        quantiles(self.graph, contexts, &others)
    }

    /// What is taken to have happened, `[row, step]`, after `done` steps: what is known of it, else `forecast`.
    pub(super) fn happened(&self, mut forecast: Array2<f32>, done: usize) -> Array2<f32> {
        let known = self.known(done, forecast.len_of(Axis(1)));
        Zip::from(&mut forecast).and(&known).for_each(|value, known| {
            if !known.is_nan() {
                *value = *known;
            }
        });
        forecast
    }

    /// How many steps are asked for after `done`: whole patches, or as many as the input has.
    fn steps(&self, port: &Port, done: usize) -> usize {
        let card = self.graph.card();
        let left = self.horizon.saturating_sub(done).next_multiple_of(card.patch.max(1));
        port.shape.get(1).copied().flatten().unwrap_or_else(|| left.min(card.horizon))
    }

    /// What is known of `steps` after `done`, `[row, step]`; NaN where nothing is.
    fn known(&self, done: usize, steps: usize) -> Array2<f32> {
        let mut found = Array2::from_elem((self.groups.len(), steps), f32::NAN);
        if let Some(known) = self.known {
            let end = (done + steps).min(known.ncols());
            let given = known.slice(s![.., done.min(end)..end]);
            found.slice_mut(s![.., ..given.ncols()]).assign(&given);
        }
        found
    }
}

fn check_pairs(graph: &Graph, rows: usize, time: usize) -> Result<(), GraphError> {
    let patches = time.div_ceil(graph.card().patch.max(1)).max(1);
    let most = (MOST_PAIRS / patches).isqrt().max(1);
    if rows <= most {
        return Ok(());
    }
    Err(graph.refused(format!(
        "it can forecast {most} series and covariates together over {time} points, not {rows}; a shorter context lets \
         it take more"
    )))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ndarray::{Array2, Array3, array, s};

    use crate::onnx::Settings;
    use crate::onnx::family::Batch;
    use crate::onnx::graph::{Graph, GraphError};
    use crate::onnx::load::Source;

    /// A graph in a layout that others have published; `testdata/make.py` says what it answers.
    fn graph(name: &str) -> Graph {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/onnx/testdata");
        Graph::load(Source::File(folder.join(name).with_extension("onnx")), &Settings::default()).unwrap()
    }

    fn predict(graph: &Graph, batch: &Batch<'_>) -> Result<Array3<f32>, GraphError> {
        graph.card().family.architecture().predict(graph, batch)
    }

    #[test]
    fn toto_of_one_length_goes_on_from_its_median() {
        let contexts = array![[1.0, 2.0, 3.0], [f32::NAN, 5.0, 40.0]];
        let groups = Some(&[7, 8][..]);
        let batch = Batch { contexts: contexts.view(), horizon: 200, groups, future: None };
        let found = predict(&graph("toto"), &batch).unwrap();
        assert_eq!(found.dim(), (2, 9, 200));
        for ((row, level, step), value) in found.indexed_iter() {
            let (start, id) = [(3.0, 0.007), (40.0, 0.008)][row];
            let run = (step / 96) as f32;
            let expected = start + run * 0.96 + (run + 1.0) * id + 0.01 * (step % 96 + 1) as f32 + level as f32 - 4.0;
            assert!((value - expected).abs() < 1e-4, "{row} {level} {step}: {value}, not {expected}");
        }
    }

    #[test]
    fn chronos_2_is_told_what_is_there_and_what_is_known() {
        let contexts = array![[1.0, f32::NAN, 3.0], [1.0, 2.0, 4.0]];
        let mut future = Array2::from_elem((2, 70), f32::NAN);
        future.slice_mut(s![1, ..]).fill(9.0);
        let batch = Batch { contexts: contexts.view(), horizon: 70, groups: None, future: Some(future.view()) };
        let found = predict(&graph("chronos2"), &batch).unwrap();
        assert_eq!(found.dim(), (2, 21, 70));
        assert!((found[[0, 10, 0]] - 203.01).abs() < 1e-4, "{}", found[[0, 10, 0]]);
        assert!((found[[0, 20, 63]] - 213.64).abs() < 1e-4, "{}", found[[0, 20, 63]]);
        assert!(found.slice(s![1, .., ..]).iter().all(|value| *value == 9.0));
        // 64 more points are there in the second run.
        let on = found[[0, 10, 64]] - found[[0, 10, 63]];
        assert!((on - 6600.01).abs() < 2.0, "{on}");
    }

    #[test]
    fn what_a_graph_can_not_do_is_refused() {
        let future = array![[1.0]];
        let contexts = array![[1.0, 2.0]];
        let known = Batch { contexts: contexts.view(), horizon: 1, groups: None, future: Some(future.view()) };
        let many = Array2::zeros((3000, 512));
        let many = Batch { contexts: many.view(), horizon: 1, groups: None, future: None };
        for (batch, expected) in
            [(known, "no input for known futures"), (many, "766 series and covariates together over 513")]
        {
            let error = predict(&graph("toto"), &batch).unwrap_err().to_string();
            assert!(error.contains("toto.onnx") && error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
