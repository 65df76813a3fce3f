//! A loaded graph: sessions of ONNX Runtime that run it side by side.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ndarray::{Array3, ArrayD, ArrayViewD, Axis, Ix3};
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::card::Card;
use super::runtime::RuntimeError;

/// Makes one more session of a graph.
pub(crate) type Maker = Box<dyn Fn() -> Result<Session, GraphError> + Send + Sync>;

/// What goes into a graph.
pub(crate) enum Input<'a> {
    /// Numbers; NaN where a value is missing.
    F32(ArrayViewD<'a, f32>),
    /// Group ids and the like.
    I64(ArrayViewD<'a, i64>),
    /// Masks.
    Bool(ArrayViewD<'a, bool>),
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name.
    pub(crate) name: String,
    /// Of what it is.
    pub(crate) kind: Kind,
    /// Its shape; `None` where a dimension is left open.
    pub(crate) shape: Vec<Option<usize>>,
}

/// Of what an input or output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Single-precision numbers.
    F32,
    /// Integers.
    I64,
    /// Yes or no.
    Bool,
    /// Anything else.
    Other,
}

/// Why a graph gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    /// There is no ONNX Runtime to run it with.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The file, or the provider that was asked for, can't be used.
    #[error("graph {graph} can't be loaded: {message}")]
    Load {
        /// The file or bundled graph.
        graph: String,
        /// What is wrong.
        message: String,
    },
    /// A run failed.
    #[error("graph {graph} failed: {message}")]
    Run {
        /// The file or bundled graph.
        graph: String,
        /// What ONNX Runtime said.
        message: String,
    },
    /// It answers something else than its family does.
    #[error("graph {graph} answered {found:?}, where {expected} was expected")]
    Shape {
        /// The file or bundled graph.
        graph: String,
        /// The shape of what it answered.
        found: Vec<usize>,
        /// What was expected.
        expected: String,
    },
    /// It can't do what was asked.
    #[error("graph {graph}: {message}")]
    Refused {
        /// The file or bundled graph.
        graph: String,
        /// What it can't do.
        message: String,
    },
}

/// A graph and the sessions that run it: each on one thread, made when all others are busy, up to a bound.
pub(crate) struct Graph {
    name: String,
    card: Card,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    pool: Mutex<Pool>,
    returned: Condvar,
    most: usize,
    make: Maker,
}

struct Pool {
    idle: Vec<Session>,
    made: usize,
}

impl Graph {
    /// A graph whose first session is there, of up to `most`.
    pub(crate) fn new(name: String, card: Card, first: Session, most: usize, make: Maker) -> Self {
        let (inputs, outputs) = (ports(first.inputs()), ports(first.outputs()));
        let pool = Mutex::new(Pool { idle: vec![first], made: 1 });
        Self { name, card, inputs, outputs, pool, returned: Condvar::new(), most: most.max(1), make }
    }

    /// What is known of it.
    pub(crate) fn card(&self) -> &Card {
        &self.card
    }

    /// The file it was read from, or what it is bundled as.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its inputs, in its own order.
    pub(crate) fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Its outputs, in its own order.
    pub(crate) fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The input `name`, if it has one.
    pub(crate) fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The input that takes contexts: `context`, or the first one of numbers `[row, time]`.
    pub(crate) fn context(&self) -> Option<&Port> {
        let like = |port: &&Port| port.kind == Kind::F32 && port.shape.len() == 2;
        self.input("context").or_else(|| self.inputs.iter().find(like))
    }

    /// How many rows and points a context must have, where the graph does not leave that open.
    pub(crate) fn fixed(&self) -> (Option<usize>, Option<usize>) {
        let shape = self.context().map(|port| port.shape.as_slice()).unwrap_or_default();
        (shape.first().copied().flatten(), shape.get(1).copied().flatten())
    }

    /// An answer of a shape that was not expected.
    pub(crate) fn shape_error(&self, found: &[usize], expected: String) -> GraphError {
        GraphError::Shape { graph: self.name.clone(), found: found.to_vec(), expected }
    }

    /// How many runs it does at the same time.
    pub(crate) fn sessions(&self) -> usize {
        self.most
    }

    /// Runs it once, on this thread; waits for a session where all are busy. Outputs are in the graph's order.
    ///
    /// # Errors
    /// ONNX Runtime's, or an output that is not `f32`.
    pub(crate) fn run(&self, inputs: &[(&str, Input<'_>)]) -> Result<Vec<ArrayD<f32>>, GraphError> {
        let mut session = self.take()?;
        let found = run(&mut session, inputs);
        self.give_back(session);
        found.map_err(|error| GraphError::Run { graph: self.name.clone(), message: error.message().to_owned() })
    }

    /// That it can't do what was asked, as `message` says.
    pub(crate) fn refused(&self, message: impl Into<String>) -> GraphError {
        GraphError::Refused { graph: self.name.clone(), message: message.into() }
    }

    /// An output as `[batch, quantile, step ahead]`, whichever of the last two the graph has last.
    ///
    /// # Errors
    /// It has not three dimensions, or none of them is that of the quantiles.
    pub(crate) fn quantiles(&self, output: ArrayD<f32>) -> Result<Array3<f32>, GraphError> {
        let levels = self.card.quantiles.len();
        let shape = output.shape().to_vec();
        let wrong = || self.shape_error(&shape, format!("[batch, {levels} quantiles, steps ahead]"));
        let output = output.into_dimensionality::<Ix3>().map_err(|_| wrong())?;
        match (output.len_of(Axis(1)) == levels, output.len_of(Axis(2)) == levels) {
            (true, _) => Ok(output),
            (false, true) => Ok(output.permuted_axes([0, 2, 1])),
            (false, false) => Err(wrong()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // A pool is consistent between any two statements that change it.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Result<Session, GraphError> {
        let mut pool = self.lock();
        loop {
            if let Some(session) = pool.idle.pop() {
                return Ok(session);
            }
            if pool.made < self.most {
                pool.made += 1;
                break;
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        drop(pool);
        (self.make)().inspect_err(|_| {
            self.lock().made -= 1;
            self.returned.notify_one();
        })
    }

    fn give_back(&self, session: Session) {
        self.lock().idle.push(session);
        self.returned.notify_one();
    }
}

fn run(session: &mut Session, inputs: &[(&str, Input<'_>)]) -> Result<Vec<ArrayD<f32>>, ort::Error> {
    let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
    for (name, input) in inputs {
        values.push((name, input.value()?));
    }
    let outputs = session.run(values)?;
    outputs.values().map(|value| Ok(value.try_extract_array::<f32>()?.into_owned())).collect()
}

impl Input<'_> {
    /// The same once more.
    pub(crate) fn view(&self) -> Input<'_> {
        match self {
            Self::F32(array) => Input::F32(array.view()),
            Self::I64(array) => Input::I64(array.view()),
            Self::Bool(array) => Input::Bool(array.view()),
        }
    }

    fn value(&self) -> Result<SessionInputValue<'_>, ort::Error> {
        Ok(match self {
            Self::F32(array) => TensorRef::from_array_view(array.view())?.into(),
            Self::I64(array) => TensorRef::from_array_view(array.view())?.into(),
            Self::Bool(array) => TensorRef::from_array_view(array.view())?.into(),
        })
    }
}

/// What goes in or out of a session.
pub(crate) fn ports(outlets: &[Outlet]) -> Vec<Port> {
    let one = |outlet: &Outlet| {
        let (kind, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                (kind(*ty), shape.iter().map(|size| usize::try_from(*size).ok()).collect())
            }
            _ => (Kind::Other, vec![]),
        };
        Port { name: outlet.name().to_owned(), kind, shape }
    };
    outlets.iter().map(one).collect()
}

fn kind(element: TensorElementType) -> Kind {
    match element {
        TensorElementType::Float32 => Kind::F32,
        TensorElementType::Int64 => Kind::I64,
        TensorElementType::Bool => Kind::Bool,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use ndarray::{Array2, arr2};

    use super::*;
    use crate::onnx::Settings;
    use crate::onnx::tiny::Tiny;

    fn tiny(settings: &Settings) -> Graph {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.onnx");
        std::fs::write(&path, Tiny::new().file()).unwrap();
        Graph::open(&path, settings).unwrap()
    }

    fn ask(graph: &Graph, name: &str, contexts: &Array2<f32>) -> Result<Vec<ArrayD<f32>>, GraphError> {
        graph.run(&[(name, Input::F32(contexts.view().into_dyn()))])
    }

    #[test]
    fn sessions_are_bounded_and_shared() {
        let graph = tiny(&Settings { sessions: Some(1), ..Settings::default() });
        assert_eq!(graph.sessions(), 1);
        thread::scope(|scope| {
            for row in 0..8 {
                let graph = &graph;
                scope.spawn(move || {
                    let contexts = arr2(&[[0.0, row as f32], [0.0, 5.0]]);
                    for _ in 0..20 {
                        let found = ask(graph, "context", &contexts).unwrap();
                        assert_eq!(found[0].as_slice().unwrap()[..4], [-1.0, -2.0, 0.0, 0.0].map(|it| it + row as f32));
                    }
                });
            }
        });
        assert_eq!(graph.lock().made, 1);
    }

    #[test]
    fn a_run_that_fails_costs_no_session() {
        let graph = tiny(&Settings { sessions: Some(1), ..Settings::default() });
        for _ in 0..3 {
            let error = ask(&graph, "history", &arr2(&[[1.0]])).unwrap_err().to_string();
            assert!(error.contains("tiny.onnx failed: "), "{error}");
        }
        assert!(ask(&graph, "context", &arr2(&[[1.0]])).is_ok());
    }
}
