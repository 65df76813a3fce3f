//! Foundation models in this process, as ONNX graphs.

mod batch;
mod bolt;
mod card;
mod chronos2;
pub(crate) mod entry;
mod family;
mod folders;
mod graph;
pub mod hub;
pub mod inspect;
pub mod install;
mod joint;
mod levels;
pub mod library;
mod load;
pub mod manifest;
mod nano;
mod rollout;
pub mod runtime;
pub mod settings;
mod timesfm;
#[cfg(test)]
mod tiny;
mod toto;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use graph::{Graph, GraphError};
pub use install::{InstallError, Progress};
use load::Source;
pub use runtime::RuntimeError;
pub use settings::{Provider, Settings};

/// The graphs of one program: the runtime, found once, and each graph, loaded once and shared by all who name it.
///
/// A graph stays loaded as long as a model that uses it is there. A file that has changed is another graph.
#[derive(Debug, Default)]
pub struct Graphs {
    settings: Settings,
    loaded: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// What tells one graph from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Bundled(&'static str),
    File { path: PathBuf, bytes: u64, changed: Option<SystemTime> },
}

/// A graph that is loaded, is being loaded, or was.
type Slot = Mutex<Weak<Graph>>;

impl Graphs {
    /// Nothing is loaded yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, loaded: Mutex::default() }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The graph of `source`, loaded unless it is; who asks for it meanwhile waits and gets the same one.
    pub(crate) fn load(&self, source: Source) -> Result<Arc<Graph>, GraphError> {
        let slot = self.slot(Key::of(&source));
        let mut known = lock(&slot);
        if let Some(graph) = known.upgrade() {
            return Ok(graph);
        }
        let graph = Arc::new(Graph::load(source, &self.settings)?);
        *known = Arc::downgrade(&graph);
        Ok(graph)
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut loaded = lock(&self.loaded);
        // A slot that nobody holds and whose graph is gone is only a key.
        loaded.retain(|_, slot| Arc::strong_count(slot) > 1 || lock(slot).strong_count() > 0);
        Arc::clone(loaded.entry(key).or_default())
    }
}

/// What is behind these locks is whole at any time, even if a thread that held one has died.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Key {
    fn of(source: &Source) -> Self {
        match source {
            Source::Bundled { name, .. } => Self::Bundled(name),
            Source::File(path) => {
                let found = path.metadata().ok();
                Self::File {
                    path: path.clone(),
                    bytes: found.as_ref().map_or(0, std::fs::Metadata::len),
                    changed: found.and_then(|found| found.modified().ok()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use serde_json::Map;

    use super::*;
    use crate::check::{LEVELS, difference, forecast, noise, request, seasonal};
    use crate::{Forecast, Forecaster, Levels, ModelSpec, Request, Resources, build};

    fn nano(resources: &Resources) -> Arc<dyn Forecaster> {
        build(&ModelSpec::local("nano", Map::new()), resources).unwrap()
    }

    fn ask(model: &dyn Forecaster, contexts: &[&[f64]], horizon: usize) -> Forecast {
        let levels = Levels::new(LEVELS.to_vec()).unwrap();
        model.forecast(&Request::new(contexts, 0, Duration::from_secs(60), horizon, &levels)).unwrap()
    }

    #[test]
    fn models_of_one_program_share_a_graph_while_one_of_them_is_there() {
        let resources = Resources::default();
        let source = || Source::Bundled { name: "nano", bytes: include_bytes!("onnx/nano.onnx") };
        let graph = || resources.onnx.load(source()).unwrap();
        let graphs: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(graph)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(graphs.iter().all(|other| Arc::ptr_eq(other, &graphs[0])));
        let gone = Arc::downgrade(&graphs[0]);
        let model = nano(&resources);
        model.prepare().unwrap();
        drop(graphs);
        assert!(gone.upgrade().is_some_and(|held| Arc::ptr_eq(&held, &graph())));
        drop(model);
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn threads_that_ask_at_once_get_what_one_gets() {
        let resources = Resources::default();
        let model = nano(&resources);
        let series: Vec<Vec<f64>> = (0..40).map(|seed| seasonal(100 + 7 * seed as usize, 24, seed)).collect();
        let contexts: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
        let expected = ask(&*model, &contexts, 12);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(ask(&*model, &contexts, 12), expected));
            }
        });
    }

    #[test]
    fn an_offset_of_a_billion_costs_no_digits() {
        let plain = seasonal(500, 24, 5);
        let far: Vec<f64> = plain.iter().map(|value| value + 1e9).collect();
        let found = forecast("nano", "{}", &request(&[&plain, &far]));
        for (near, far) in found.of(0).iter().zip(found.of(1)) {
            // What a double at a billion can tell, and a little of single precision, of a spread of 4.
            assert!((far - 1e9 - near).abs() < 1e-4, "{far} is not {near} and a billion");
        }
    }

    #[test]
    fn the_rest_of_a_batch_does_not_matter() {
        let asked = seasonal(300, 24, 1);
        let alone = forecast("nano", "{}", &request(&[&asked]));
        for others in [1, 15, 16, 40] {
            let others: Vec<Vec<f64>> = (0..others).map(|seed| noise(40 + 45 * seed as usize, seed)).collect();
            let mut contexts: Vec<&[f64]> = others.iter().map(Vec::as_slice).collect();
            contexts.push(&asked);
            let among = forecast("nano", "{}", &request(&contexts));
            let differs = difference(&alone, 0, &among, contexts.len() - 1);
            assert!(differs < 1e-5, "{} others change it by {differs}", contexts.len() - 1);
        }
    }

    #[test]
    fn beyond_one_run_a_walk_goes_on_spreading() {
        let mut level = 0.0;
        let walk: Vec<f64> = noise(600, 3)
            .into_iter()
            .map(|step| {
                level += step;
                level
            })
            .collect();
        let resources = Resources::default();
        let found = ask(&*nano(&resources), &[&walk], 400);
        let width = |ahead: usize| found.quantile(0, 5)[ahead] - found.quantile(0, 1)[ahead];
        assert!(width(399) > width(63) && width(63) > width(0), "{} {} {}", width(0), width(63), width(399));
    }

    #[test]
    fn what_it_can_not_do_is_said() {
        let resources = Resources::default();
        let model = nano(&resources);
        let (a, b) = (noise(50, 1), noise(50, 2));
        let levels = Levels::new(vec![0.5]).unwrap();
        let contexts = [a.as_slice(), &b];
        let mut request = Request::new(&contexts, 0, Duration::from_secs(1), 3, &levels);
        request.together = true;
        let error = model.forecast(&request).unwrap_err().to_string();
        assert!(error.contains("model nano: it forecasts each series from its own past alone"), "{error}");
    }

    #[test]
    fn a_provider_that_is_not_there_is_an_error() {
        let settings = Settings { provider: Provider::Tensorrt, ..Settings::default() };
        let error = nano(&Resources::new(settings)).prepare().unwrap_err().to_string();
        assert!(error.contains("asks for TensorrtExecutionProvider") && error.contains("onnx.library"), "{error}");
    }

    fn check_missing(spec: &ModelSpec, settings: Settings, expected: &[&str]) {
        let error = build(spec, &Resources::new(settings)).unwrap().prepare().unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_models_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let settings = || Settings { folder: Some(folder.path().to_owned()), ..Settings::default() };
        let pull = "`openanomaly models pull amazon/chronos-bolt-small` fetches it";
        for id in ["amazon/chronos-bolt-small", "chronos-bolt-small"] {
            check_missing(&ModelSpec::local(id, Map::new()), settings(), &[id, pull]);
        }
        let file = |path: &str| {
            let parameters = serde_json::json!({ "file": path }).as_object().unwrap().clone();
            ModelSpec::local("onnx", parameters)
        };
        check_missing(&file("own/a.onnx"), settings(), &["there is no own/a.onnx in the models folder"]);
        std::fs::write(folder.path().join("bad.onnx"), "no graph").unwrap();
        check_missing(&file("bad.onnx"), settings(), &["bad.onnx can't be loaded"]);
        std::fs::write(folder.path().join("bad.onnx"), "a longer one").unwrap();
        let small = Settings { max_file_bytes: 9, ..settings() };
        check_missing(&file("bad.onnx"), small, &["has 12 bytes, and onnx.max_file_bytes is 9"]);
        for path in ["../a.onnx", "/a.onnx", "a/../../b.onnx", "a.txt", ""] {
            let Err(error) = build(&file(path), &Resources::default()) else { panic!("{path} was taken") };
            assert!(error.to_string().contains("model onnx: parameter file"), "{error}");
        }
        for id in ["../b", "a/..", "a/b/c", "/b", "a/", "a b/c"] {
            assert!(build(&ModelSpec::local(id, Map::new()), &Resources::default()).is_err(), "{id} was taken");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_does_not_lead_out_of_the_models_folder() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("model.onnx"), "").unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("a/b")).unwrap();
        let settings = Settings { folder: Some(folder.path().to_owned()), ..Settings::default() };
        check_missing(&ModelSpec::local("a/b", Map::new()), settings, &["leads out of the models folder"]);
    }

    #[test]
    fn a_file_says_of_itself_what_a_bundled_graph_says() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("own/copy")).unwrap();
        std::fs::write(folder.path().join("own/copy/model.onnx"), include_bytes!("onnx/nano.onnx")).unwrap();
        let resources = Resources::new(Settings { folder: Some(folder.path().to_owned()), ..Settings::default() });
        let copy = build(&ModelSpec::local("own/copy", Map::new()), &resources).unwrap();
        let context = seasonal(200, 24, 8);
        assert_eq!(ask(&*copy, &[&context], 12), ask(&*nano(&resources), &[&context], 12));
    }

    /// A graph of a few nodes in the models folder.
    fn own(tiny: &tiny::Tiny, parameters: &str) -> (tempfile::TempDir, Arc<dyn Forecaster>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("own/tiny")).unwrap();
        std::fs::write(folder.path().join("own/tiny/model.onnx"), tiny.file()).unwrap();
        let resources = Resources::new(Settings { folder: Some(folder.path().to_owned()), ..Settings::default() });
        let spec = ModelSpec::local("own/tiny", serde_json::from_str(parameters).unwrap());
        (folder, build(&spec, &resources).unwrap())
    }

    fn at(model: &dyn Forecaster, contexts: &[&[f64]], levels: &[f64], horizon: usize) -> Result<Forecast, String> {
        let levels = Levels::new(levels.to_vec()).unwrap();
        let request = Request::new(contexts, 0, Duration::from_secs(60), horizon, &levels);
        model.forecast(&request).map_err(|error| error.to_string())
    }

    /// A median of 100 and a median absolute deviation of 1, ending in 110.
    fn hundred() -> Vec<f64> {
        (0..40).map(|i| if i == 39 { 110.0 } else { 99.0 + f64::from(i % 3) }).collect()
    }

    fn check_tiny(tiny: &tiny::Tiny) {
        let (_folder, model) = own(tiny, "{}");
        let context = hundred();
        let longer = [seasonal(100, 24, 1), hundred()].concat();
        let found = at(&*model, &[&context, &longer, &context], &[0.1, 0.5, 0.9], 2).unwrap();
        for series in [0, 2] {
            let expected = [109.0, 108.0, 110.0, 110.0, 111.0, 112.0];
            let near = found.of(series).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4);
            assert!(near, "{:?}", found.of(series));
        }
    }

    #[test]
    fn layouts_and_fixed_shapes_give_the_same() {
        for input in [[0, 0], [1, 40], [7, 64], [0, 64]] {
            for turned in [false, true] {
                check_tiny(&tiny::Tiny { input, turned, ..tiny::Tiny::new() });
            }
        }
    }

    #[test]
    fn crossing_quantiles_are_put_in_order() {
        let offsets = vec![vec![1.0, 2.0], vec![0.0, 0.0], vec![-1.0, -2.0]];
        check_tiny(&tiny::Tiny { offsets, ..tiny::Tiny::new() });
    }

    #[test]
    fn no_number_is_no_answer() {
        let (_folder, model) = own(&tiny::Tiny::new(), "{}");
        // The last value is missing, and so is what this graph makes of it.
        let context = [hundred(), vec![f64::NAN]].concat();
        let found = at(&*model, &[&context], &[0.1, 0.5, 0.9], 3).unwrap();
        assert!(found.of(0).iter().all(|value| (95.0..105.0).contains(value)), "{:?}", found.of(0));
    }

    #[test]
    fn beyond_one_run_what_has_grown_is_carried_on() {
        let (_folder, model) = own(&tiny::Tiny::new(), "{}");
        let found = at(&*model, &[&hundred()], &[0.1, 0.5, 0.9], 5).unwrap();
        let expected = [1.0, 2.0, 4.0f64.sqrt(), 7.0f64.sqrt(), 7.0f64.sqrt()];
        for (ahead, width) in expected.into_iter().enumerate() {
            assert!((found.quantile(0, 1)[ahead] - 110.0).abs() < 1e-4);
            let above = found.quantile(0, 2)[ahead] - 110.0;
            assert!((above - width).abs() < 1e-3, "{above} and not {width} at {ahead}");
        }
    }

    #[test]
    fn graphs_that_do_not_keep_to_what_they_say_are_named() {
        let right = tiny::Tiny::new;
        let fact = |key: &'static str, value: &'static str| {
            let facts = right().facts.into_iter().filter(|(known, _)| *known != key).chain([(key, value)]).collect();
            tiny::Tiny { facts, ..right() }
        };
        for (tiny, expected) in [
            (tiny::Tiny { rows: 7, ..right() }, "model.onnx failed: "),
            (fact("quantiles", "0.1,0.4,0.6,0.9"), "answered [2, 3, 2], where [batch, 4 quantiles, steps ahead]"),
            (fact("family", "arima"), "model.onnx can't be loaded: it is of the family \"arima\""),
            (fact("contract", "2"), "it keeps to contract 2"),
        ] {
            let (_folder, model) = own(&tiny, "{}");
            let error = at(&*model, &[&hundred()], &[0.5], 2).unwrap_err();
            assert!(error.contains("model own/tiny: ") && error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_manifest_says_what_the_file_does_not() {
        let (folder, model) = own(&tiny::Tiny { facts: vec![], ..tiny::Tiny::new() }, "{}");
        assert!(model.takes_joint());
        let error = model.prepare().unwrap_err().to_string();
        assert!(error.contains("does not say of which family"), "{error}");
        let manifest = folder.path().join("own/tiny/manifest.json");
        std::fs::write(&manifest, "{").unwrap();
        let error = model.prepare().unwrap_err().to_string();
        assert!(error.contains("manifest.json: "), "{error}");
        std::fs::write(&manifest, r#"{"family": "nano", "quantiles": [0.1, 0.5, 0.9], "context_max": 64}"#).unwrap();
        model.prepare().unwrap();
        assert!(!model.takes_joint());
    }

    #[test]
    fn parameters_hold() {
        let context = [seasonal(30, 24, 1), hundred()].concat();
        let (_folder, model) = own(&tiny::Tiny::new(), r#"{"least_context": 45, "batch": 1, "context": 45}"#);
        let mut one_less = context.clone();
        one_less[60] = f64::NAN;
        let flat = at(&*model, &[&one_less], &[0.5], 1).unwrap();
        assert!((flat.of(0)[0] - 100.0).abs() < 2.0, "{:?}", flat.of(0));
        let (_folder, model) = own(&tiny::Tiny::new(), r#"{"least_context": 20, "context": 30}"#);
        assert!((at(&*model, &[&context], &[0.5], 1).unwrap().of(0)[0] - 110.0).abs() < 1e-4);
        for parameters in [
            r#"{"batch": 0}"#,
            r#"{"context": -1}"#,
            r#"{"context": 31}"#,
            r#"{"least_context": 0}"#,
            r#"{"file": "a.onnx"}"#,
        ] {
            let spec = ModelSpec::local("own/tiny", serde_json::from_str(parameters).unwrap());
            assert!(build(&spec, &Resources::default()).is_err(), "{parameters} was taken");
        }
    }
}
