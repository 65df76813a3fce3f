//! `run`: the service. Starts a worker for each pipeline, serves metrics and health, reloads what changes.

pub mod http;
pub mod reload;
pub mod status;
pub mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Pipeline, Ports};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assembly::{Assembly, AssemblyError};
use crate::config::{Config, ConfigError, Datasource, Pipelines};
use crate::metrics::Metrics;
use status::Status;
use worker::Shared;

/// How long passes that have begun may still run after they were told to stop, all of them together.
const GRACE: Duration = Duration::from_secs(14);

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A datasource.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The address is taken, or not ours.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The folders can't be watched, or signals not be caught.
    #[error("watching for changes: {0}")]
    Changes(String),
}

/// Reads the environment of the process.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// It can't start; once it runs, errors are logged and it goes on.
pub async fn run(config_file: &Path) -> Result<(), DaemonError> {
    let config = Config::load(config_file, &environment)?;
    let metrics = Metrics::new(worker::now());
    let status = Arc::new(Status::default());
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| DaemonError::Listen { address: config.listen, source })?;
    let shared = Shared { metrics: metrics.clone(), status: status.clone(), catch_up: config.catch_up };
    let address = config.listen;
    let mut changes = reload::Changes::watch(config_file, &config.pipelines)?;
    let mut service = Service::start(config_file, config, shared)?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "openanomaly is up");
    let server = axum::serve(listener, http::routes(http::Parts { metrics, status }));
    let server = tokio::spawn(async move { server.await });
    while let reload::Event::Changed = changes.next().await {
        service.reload().await;
    }
    tracing::info!("stopping: passes that have begun are finished first");
    service.stop().await;
    server.abort();
    Ok(())
}

/// The pipelines that run.
struct Service {
    config_file: PathBuf,
    config: Config,
    assembly: Assembly,
    shared: Shared,
    workers: BTreeMap<String, Running>,
}

/// A pipeline that is about to run.
struct Fresh {
    file: PathBuf,
    pipeline: Pipeline,
    ports: Ports,
}

struct Running {
    file: PathBuf,
    pipeline: Pipeline,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Service {
    fn start(config_file: &Path, config: Config, shared: Shared) -> Result<Self, DaemonError> {
        let assembly = Assembly::new(&config)?;
        let (workers, config_file) = (BTreeMap::new(), config_file.to_owned());
        let mut service = Self { config_file, config, assembly, shared, workers };
        let found = service.config.pipelines(&environment);
        let (fresh, errors) = service.assemble(found, false);
        fresh.into_iter().for_each(|fresh| service.spawn(fresh));
        service.shared.metrics.configured(errors.is_empty());
        service.report(&errors);
        Ok(service)
    }

    /// The pipelines that are to be started, because they are new or have changed, or because `all` are. What can't
    /// be assembled is one more error of its file.
    fn assemble(&mut self, found: Pipelines, all: bool) -> (Vec<Fresh>, Vec<(PathBuf, ConfigError)>) {
        let (mut fresh, mut errors) = (vec![], found.errors);
        for (file, pipeline) in found.good.into_iter().filter(|(_, pipeline)| pipeline.enabled) {
            if let Some(running) = self.workers.get_mut(&pipeline.name)
                && running.pipeline == pipeline
                && !all
            {
                running.file = file;
                continue;
            }
            match self.assembly.ports(&pipeline, &self.shared.metrics) {
                Ok(ports) => fresh.push(Fresh { file, pipeline, ports }),
                Err(error) => {
                    let (origin, message) = (file.display().to_string(), error.to_string());
                    errors.push((file, ConfigError::Invalid { origin, message }));
                }
            }
        }
        (fresh, errors)
    }

    fn spawn(&mut self, Fresh { file, pipeline, ports }: Fresh) {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(worker::work(pipeline.clone(), ports, self.shared.clone(), stopped));
        self.workers.insert(pipeline.name.clone(), Running { file, pipeline, stop, task });
    }

    /// Reads the configuration again. What is wrong keeps its last good version.
    async fn reload(&mut self) {
        let (config, assembly) = match self.read_again() {
            Ok(read) => read,
            Err(error) => {
                self.shared.metrics.reloaded(false);
                tracing::error!("the configuration is not reloaded: {error}");
                return self.shared.status.configured(self.running(), vec![error.to_string()]);
            }
        };
        if config.listen != self.config.listen {
            tracing::warn!("a change of `listen` needs a restart");
        }
        // Files with secrets may have changed without their names.
        let is_same = config.datasources == self.config.datasources
            && config.catch_up == self.config.catch_up
            && config.onnx == self.config.onnx
            && !config.datasources.values().any(Datasource::has_files);
        self.shared.catch_up = config.catch_up;
        (self.config, self.assembly) = (config, assembly);
        self.replace_changed(!is_same).await;
    }

    fn read_again(&self) -> Result<(Config, Assembly), DaemonError> {
        let config = Config::load(&self.config_file, &environment)?;
        let assembly = self.assembly.again(&config)?;
        Ok((config, assembly))
    }

    async fn replace_changed(&mut self, all: bool) {
        let found = self.config.pipelines(&environment);
        let enabled: BTreeMap<String, bool> =
            found.good.iter().map(|(_, pipeline)| (pipeline.name.clone(), pipeline.enabled)).collect();
        let (fresh, errors) = self.assemble(found, all);
        let is_broken =
            |file: &PathBuf| errors.iter().any(|(broken, _)| broken == file || *broken == self.config.pipelines);
        let is_over = |running: &Running| match enabled.get(&running.pipeline.name) {
            Some(true) => fresh.iter().any(|fresh| fresh.pipeline.name == running.pipeline.name),
            Some(false) => true,
            None => !is_broken(&running.file),
        };
        let over: Vec<String> =
            self.workers.values().filter(|one| is_over(one)).map(|one| one.pipeline.name.clone()).collect();
        stop_all(over.iter().filter_map(|name| self.workers.remove(name)).collect()).await;
        fresh.into_iter().for_each(|fresh| self.spawn(fresh));
        over.iter().filter(|name| !self.workers.contains_key(*name)).for_each(|name| self.shared.metrics.forget(name));
        self.shared.metrics.reloaded(errors.is_empty());
        self.report(&errors);
    }

    fn running(&self) -> impl Iterator<Item = &str> {
        self.workers.keys().map(String::as_str)
    }

    fn report(&self, errors: &[(PathBuf, ConfigError)]) {
        for (_, error) in errors {
            tracing::error!("{error}");
        }
        self.shared.metrics.running(self.workers.len());
        self.shared.status.configured(self.running(), errors.iter().map(|(_, error)| error.to_string()).collect());
        tracing::info!(pipelines = self.workers.len(), errors = errors.len(), "pipelines are loaded");
    }

    async fn stop(mut self) {
        stop_all(std::mem::take(&mut self.workers).into_values().collect()).await;
        self.assembly.close();
    }
}

/// Tells the workers to stop, and waits for the passes that they are in.
async fn stop_all(workers: Vec<Running>) {
    for running in &workers {
        // A worker that has ended by itself hears nothing.
        let _ = running.stop.send(true);
    }
    let end = tokio::time::Instant::now() + GRACE;
    for mut running in workers {
        if tokio::time::timeout_at(end, &mut running.task).await.is_err() {
            tracing::warn!(pipeline = running.pipeline.name, "a pass did not end in time and is cut off");
            running.task.abort();
            // Not before it has ended may another one take its place.
            let _ = running.task.await;
        }
    }
}
