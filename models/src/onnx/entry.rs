//! Foundation models in the registry: the one in this program, those of the models folder by their hub id, and any file there.

use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::batch::{self, MOST_TOGETHER, Options};
use super::graph::{Graph, GraphError};
use super::load::Source;
use super::{Graphs, Settings, lock};
use crate::entry::{BuildError, Built, Entry, Parameter, parse};
use crate::forecast::Forecast;
use crate::forecaster::{ForecastError, Forecaster, Request};
use crate::resources::Resources;
use crate::spec::ModelSpec;

/// The file of a model in its folder.
pub(crate) const GRAPH_FILE: &str = "model.onnx";
/// With fewer values a foundation model says less than their median and spread do.
const LEAST_CONTEXT: usize = 32;
/// Large enough that a core is busy with numbers, small enough that they stay in its cache.
const BATCH: usize = 16;

const CONTEXT: Parameter = Parameter {
    name: "context",
    default: "as many as the model takes",
    meaning: "the most points of history that are looked at",
};
const LEAST: Parameter = Parameter {
    name: "least_context",
    default: "32",
    meaning: "with fewer values than this in it, the median and spread of the history are answered",
};
const AT_ONCE: Parameter =
    Parameter { name: "batch", default: "16", meaning: "how many series go through the model at once" };

/// The bundled model's line in the registry.
pub(crate) const NANO: Entry = Entry {
    id: "nano",
    aliases: &["openanomaly-nano"],
    summary: "a small foundation model that comes with the program: a causal patch decoder trained on synthetic series",
    parameters: &[CONTEXT, LEAST, AT_ONCE],
    build: |spec, resources| built(&NANO, Place::Bundled, spec, resources),
};

/// A model in the models folder, by its hub id.
const HUB: Entry = Entry {
    id: "organisation/model",
    aliases: &[],
    summary: "a foundation model in the models folder, by its hub id, as amazon/chronos-bolt-small",
    parameters: &[CONTEXT, LEAST, AT_ONCE],
    build: |spec, resources| built(&HUB, Place::Hub(hub_id(&spec.id).unwrap_or(&spec.id).to_owned()), spec, resources),
};

/// A graph in the models folder, by its path.
const FILE: Entry = Entry {
    id: "onnx",
    aliases: &[],
    summary: "a foundation model in an ONNX file in the models folder",
    parameters: &[
        Parameter { name: "file", default: "none: it must be set", meaning: "the file's path in the models folder" },
        CONTEXT,
        LEAST,
        AT_ONCE,
    ],
    build: build_file,
};

/// Models that people know by a short name.
const SHORT: &[(&str, &str)] = &[
    ("chronos-bolt-tiny", "amazon/chronos-bolt-tiny"),
    ("chronos-bolt-mini", "amazon/chronos-bolt-mini"),
    ("chronos-bolt-small", "amazon/chronos-bolt-small"),
    ("chronos-bolt-base", "amazon/chronos-bolt-base"),
    ("chronos-2", "amazon/chronos-2"),
    ("timesfm-2.5", "google/timesfm-2.5-200m-pytorch"),
];

/// The entry behind an id that is not in the registry's list: a hub id, a short name for one, or `onnx`.
pub(crate) fn entry(id: &str) -> Option<&'static Entry> {
    if id == FILE.id {
        return Some(&FILE);
    }
    hub_id(id).map(|_| &HUB)
}

/// The hub id that `id` is, or is short for: `organisation/name`, of letters, digits, `-`, `_` and `.`.
pub(crate) fn hub_id(id: &str) -> Option<&str> {
    if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == id) {
        return Some(long);
    }
    let (organisation, name) = id.split_once('/')?;
    let allowed = |part: &str| {
        let letters = part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        letters && !part.is_empty() && !part.starts_with('.')
    };
    (allowed(organisation) && allowed(name)).then_some(id)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    context: Option<NonZeroUsize>,
    least_context: NonZeroUsize,
    batch: NonZeroUsize,
}

impl Default for Parameters {
    fn default() -> Self {
        let [least_context, batch] =
            [LEAST_CONTEXT, BATCH].map(|number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN));
        Self { context: None, least_context, batch }
    }
}

fn build_file(spec: &ModelSpec, resources: &Resources) -> Built {
    let mut others = spec.clone();
    let file = others.parameters.remove("file");
    let wrong = |message: &str| BuildError::Parameter {
        model: FILE.id.into(),
        parameter: Some("file".to_owned()),
        message: message.to_owned(),
        allowed: "file".to_owned(),
    };
    let file =
        file.as_ref().and_then(|file| file.as_str()).ok_or_else(|| wrong("it must be a path in the models folder"))?;
    let file = PathBuf::from(file);
    let plain = file.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || file.extension().is_none_or(|ending| ending != "onnx") {
        return Err(wrong("it must be a path in the models folder that ends in .onnx, without `..`"));
    }
    built(&FILE, Place::File(file), &others, resources)
}

fn built(entry: &'static Entry, place: Place, spec: &ModelSpec, resources: &Resources) -> Built {
    let named = |error| match error {
        // One entry stands for all models of the folder.
        BuildError::Parameter { parameter, message, allowed, .. } => {
            BuildError::Parameter { model: spec.id.as_str().into(), parameter, message, allowed }
        }
        other => other,
    };
    let Parameters { context, least_context, batch } = parse(entry, &spec.parameters).map_err(named)?;
    if context.is_some_and(|context| context < least_context) {
        return Err(BuildError::Parameter {
            model: spec.id.as_str().into(),
            parameter: Some("context".to_owned()),
            message: format!("it is less than least_context, {least_context}, so that nothing would be forecast"),
            allowed: String::new(),
        });
    }
    let options =
        Options { context: context.map(Into::into), least_context: least_context.into(), batch: batch.into() };
    Ok(Arc::new(Model {
        id: spec.id.clone(),
        place,
        options,
        graphs: Arc::clone(&resources.onnx),
        graph: Mutex::new(None),
    }))
}

/// Where a model's graph is.
#[derive(Debug, Clone)]
enum Place {
    Bundled,
    Hub(String),
    File(PathBuf),
}

impl Place {
    fn source(&self, settings: &Settings) -> Result<Source, String> {
        let path = match self {
            Self::Bundled => return Ok(Source::Bundled { name: "nano", bytes: include_bytes!("nano.onnx") }),
            Self::Hub(id) => Path::new(id).join(GRAPH_FILE),
            Self::File(path) => path.clone(),
        };
        let folder = settings.models_folder().ok_or("there is no models folder: set onnx.folder")?;
        let Ok(found) = folder.join(&path).canonicalize() else { return Err(self.missing(&folder)) };
        let root = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
        if found.starts_with(&root) {
            return Ok(Source::File(found));
        }
        Err(format!("{} leads out of the models folder {}", path.display(), root.display()))
    }

    fn missing(&self, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Self::Hub(id) => {
                format!(
                    "it is not in the models folder {folder}; `openanomaly models pull {id}` fetches it where the hub has it as ONNX, models/export makes one of it elsewhere"
                )
            }
            Self::File(path) => format!("there is no {} in the models folder {folder}", path.display()),
            Self::Bundled => String::new(),
        }
    }
}

/// A foundation model behind the port. Its graph is loaded when it is first needed.
struct Model {
    id: String,
    place: Place,
    options: Options,
    graphs: Arc<Graphs>,
    graph: Mutex<Option<Arc<Graph>>>,
}

impl Model {
    fn graph(&self) -> Result<Arc<Graph>, ForecastError> {
        let mut graph = lock(&self.graph);
        if let Some(graph) = &*graph {
            return Ok(Arc::clone(graph));
        }
        let source =
            self.place.source(self.graphs.settings()).map_err(|message| ForecastError::new(&self.id, message))?;
        let loaded = self.graphs.load(source).map_err(|error| self.failed(&error))?;
        Ok(Arc::clone(graph.insert(loaded)))
    }

    fn failed(&self, error: &GraphError) -> ForecastError {
        ForecastError::new(&self.id, error)
    }

    fn check_joint(&self, graph: &Graph, request: &Request<'_>) -> Result<(), ForecastError> {
        if request.is_joint() && !takes_joint(graph) {
            return Err(ForecastError::new(&self.id, "it forecasts each series from its own past alone"));
        }
        let rows = request.covariates.len() + if request.together { request.contexts.len() } else { 1 };
        if request.is_joint() && rows > MOST_TOGETHER {
            let message = format!("it forecasts at most {MOST_TOGETHER} series and covariates together, not {rows}");
            return Err(ForecastError::new(&self.id, message));
        }
        Ok(())
    }
}

fn takes_joint(graph: &Graph) -> bool {
    graph.card().family.architecture().takes_joint()
}

impl Forecaster for Model {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        let graph = self.graph()?;
        self.check_joint(&graph, request)?;
        batch::forecast(&graph, self.options, request).map_err(|error| self.failed(&error))
    }

    fn prepare(&self) -> Result<(), ForecastError> {
        self.graph().map(|_| ())
    }

    fn takes_joint(&self) -> bool {
        // The family of a file is known when it is loaded.
        let graph = lock(&self.graph);
        graph.as_ref().map_or(!matches!(self.place, Place::Bundled), |graph| takes_joint(graph))
    }
}
