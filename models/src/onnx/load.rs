//! A graph from a file or from this program: its first session, its card, and the provider that it runs on.

use std::path::PathBuf;
use std::time::SystemTime;
use std::{fmt, fs, thread};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use serde_json::{Map, Value};

use super::card::{Card, PREFIX};
use super::graph::{Graph, GraphError, Maker, ports};
use super::inspect::{External, Limits, inspect};
use super::runtime;
use super::settings::{Provider, Settings};

/// Every session holds the weights: there are no more of them than make up this much, with more threads each instead.
const MOST_HELD_BYTES: u64 = 1 << 30;
/// A manifest is a page of text.
const MOST_MANIFEST_BYTES: u64 = 1 << 20;

/// Where a graph is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// In this program.
    Bundled {
        /// What it is called.
        name: &'static str,
        /// The ONNX file.
        bytes: &'static [u8],
    },
    /// In a file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled { name, .. } => write!(f, "{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Graph {
    /// Loads a graph and its first session.
    ///
    /// # Errors
    /// No runtime, no such file or provider, a file that ONNX Runtime does not take, or one that does not say enough
    /// of itself.
    pub(crate) fn load(source: Source, settings: &Settings) -> Result<Self, GraphError> {
        let name = source.to_string();
        let refused = |message: String| GraphError::Load { graph: name.clone(), message };
        let mut bytes = source.size().map_err(refused)?;
        let changed = source.changed();
        if bytes > settings.max_file_bytes {
            return Err(refused(format!(
                "it has {bytes} bytes, and onnx.max_file_bytes is {}",
                settings.max_file_bytes
            )));
        }
        if let Source::File(path) = &source {
            let limits = Limits { file_bytes: settings.max_file_bytes, ..Limits::default() };
            let found = inspect(path, &limits).map_err(|error| refused(error.fault.to_string()))?;
            // Weights may stand in files beside it, and every session holds them all.
            let beside =
                |file: &External| fs::metadata(path.with_file_name(&file.location)).map_or(0, |file| file.len());
            bytes += found.external.iter().map(beside).sum::<u64>();
        }
        let (sessions, threads) = sessions(bytes, settings);
        let environment = runtime::environment(settings)?;
        let recipe = Recipe { source, changed, environment, provider: settings.provider, threads };
        let first = recipe.session()?;
        let card = recipe.card(&first).map_err(refused)?;
        tell(&name, &card);
        let make: Maker = Box::new(move || recipe.session());
        Ok(Self::new(name, card, first, sessions, make))
    }
}

#[cfg(test)]
impl Graph {
    /// Loads the graph in a file.
    pub(crate) fn open(path: &std::path::Path, settings: &Settings) -> Result<Self, GraphError> {
        Self::load(Source::File(path.to_owned()), settings)
    }
}

/// How many sessions a graph of so many bytes gets, and how many threads each.
fn sessions(bytes: u64, settings: &Settings) -> (usize, usize) {
    let threads = settings.sessions.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into)).max(1);
    let affordable = usize::try_from(MOST_HELD_BYTES / bytes.max(1)).unwrap_or(usize::MAX);
    let sessions = affordable.clamp(1, threads);
    (sessions, threads / sessions)
}

/// Says what was assumed, and under which licence the weights are.
fn tell(name: &str, card: &Card) {
    let license = card.license.as_deref().unwrap_or("not stated");
    tracing::info!(graph = name, family = ?card.family, license, precision = card.precision, "graph is loaded");
    for assumed in &card.assumed {
        tracing::warn!(graph = name, "{assumed}");
    }
}

impl Source {
    fn size(&self) -> Result<u64, String> {
        match self {
            Self::Bundled { bytes, .. } => Ok(bytes.len() as u64),
            Self::File(path) => match fs::metadata(path) {
                Ok(found) if found.is_file() => Ok(found.len()),
                Ok(_) => Err("it is no file".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// When the file was changed last.
    fn changed(&self) -> Option<SystemTime> {
        match self {
            Self::Bundled { .. } => None,
            Self::File(path) => fs::metadata(path).and_then(|found| found.modified()).ok(),
        }
    }

    /// What the manifest beside the file states; nothing where there is none.
    fn manifest(&self) -> Result<Map<String, Value>, String> {
        let Self::File(path) = self else { return Ok(Map::new()) };
        let path = path.with_file_name("manifest.json");
        let Ok(found) = fs::metadata(&path) else { return Ok(Map::new()) };
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        if found.len() > MOST_MANIFEST_BYTES {
            return Err(wrong(&"it is too long for a manifest"));
        }
        let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }
}

/// All that it takes to make a session.
struct Recipe {
    source: Source,
    /// When the file that was looked into was changed last.
    changed: Option<SystemTime>,
    environment: Environment,
    provider: Provider,
    threads: usize,
}

impl Recipe {
    fn session(&self) -> Result<Session, GraphError> {
        let refused = |message: String| GraphError::Load { graph: self.source.to_string(), message };
        // All sessions of a graph are of one file, the one that was looked into.
        if self.source.changed() != self.changed {
            return Err(refused("the file has been replaced; a restart loads the new one".to_owned()));
        }
        let provider = provider(self.provider).map_err(refused)?;
        let mut builder = self.builder(provider).map_err(|error| refused(error.message().to_owned()))?;
        let made = match &self.source {
            Source::Bundled { bytes, .. } => builder.commit_from_memory(bytes),
            Source::File(path) => builder.commit_from_file(path),
        };
        made.map_err(|error| refused(error.message().to_owned()))
    }

    fn builder(&self, provider: Option<ExecutionProviderDispatch>) -> Result<SessionBuilder, ort::Error> {
        let builder = Session::builder(&self.environment)?.with_intra_threads(self.threads)?.with_inter_threads(1)?;
        // A thread that waits for work does not spin: others need the core.
        let builder = builder.with_intra_op_spinning(false)?.with_memory_pattern(false)?;
        Ok(match provider {
            Some(provider) => builder.with_execution_providers([provider])?,
            None => builder,
        })
    }

    fn card(&self, session: &Session) -> Result<Card, String> {
        let metadata = session.metadata().map_err(|error| error.message().to_owned())?;
        let keys = metadata.custom_keys().map_err(|error| error.message().to_owned())?;
        let mut facts = self.source.manifest()?;
        for key in keys.iter().filter_map(|key| key.strip_prefix(PREFIX)) {
            if let Some(value) = metadata.custom(&format!("{PREFIX}{key}")) {
                facts.insert(key.to_owned(), Value::String(value));
            }
        }
        Card::read(facts, &ports(session.inputs()), &ports(session.outputs()))
    }
}

/// ONNX Runtime's execution provider, which fails rather than falls back; none for the processor, which is always there.
fn provider(provider: Provider) -> Result<Option<ExecutionProviderDispatch>, String> {
    match provider {
        Provider::Cpu => Ok(None),
        Provider::Cuda => there(ep::CUDA::default()),
        Provider::Tensorrt => there(ep::TensorRT::default()),
        Provider::Openvino => there(ep::OpenVINO::default()),
        Provider::Coreml => there(ep::CoreML::default()),
        Provider::Directml => there(ep::DirectML::default()),
    }
}

fn there<P: ExecutionProvider + 'static>(provider: P) -> Result<Option<ExecutionProviderDispatch>, String>
where
    ExecutionProviderDispatch: From<P>,
{
    match P::is_available() {
        Ok(true) => Ok(Some(ExecutionProviderDispatch::from(provider).error_on_failure())),
        Ok(false) => Err(format!(
            "onnx.provider asks for {}, which the ONNX Runtime library that is loaded does not have; name one that \
             does with onnx.library, or choose cpu",
            P::NAME
        )),
        Err(error) => Err(error.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn great_graphs_are_held_a_few_times_only() {
        let settings = Settings { sessions: Some(8), ..Settings::default() };
        for (megabytes, expected) in
            [(0, (8, 1)), (3, (8, 1)), (200, (5, 1)), (500, (2, 4)), (900, (1, 8)), (4000, (1, 8))]
        {
            assert_eq!(sessions(megabytes << 20, &settings), expected, "{megabytes} MB");
        }
        assert_eq!(sessions(1, &Settings { sessions: Some(0), ..Settings::default() }), (1, 1));
    }
}
