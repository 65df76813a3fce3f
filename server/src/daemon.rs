//! `run`: the service. Starts a worker for each pipeline, serves metrics and health, reloads what changes.

pub mod reload;
pub mod status;
pub mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use engine::store::{Listing, StoreError, Stored, Unreadable};
use engine::{Pipeline, Ports};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Current, Parts};
use crate::assembly::{Assembly, AssemblyError, Trust};
use crate::auth::{Auth, AuthError};
use crate::config::service::database_url;
use crate::config::{Config, ConfigError, Datasource};
use crate::database::{Database, DatabaseError};
use crate::demo::live;
use crate::metrics::Metrics;
use crate::tls::{Certificate, TlsError};
use crate::{api, app, store};
use status::Status;

/// How long to wait before a store that can't be watched is tried again.
const STORE_RETRY: Duration = Duration::from_secs(2);

/// How often it is written down when keys were last used.
const USES_EVERY: Duration = Duration::from_secs(15);

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
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store of pipelines.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Who may come in.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The service's own certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is taken, or not ours.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The demo's fleet.
    #[error(transparent)]
    Demo(#[from] live::LiveError),
    /// The folders can't be watched, or signals not be caught.
    #[error("watching for changes: {0}")]
    Changes(String),
}

/// Reads the environment of the process.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the command line says about a run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to listen, instead of what the configuration says.
    pub listen: Option<SocketAddr>,
    /// Whether anybody may come in, on whatever address.
    pub insecure: bool,
    /// Whether a generated fleet is watched, which the datasource `default` is fed with.
    pub demo: bool,
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// It can't start; once it runs, errors are logged and it goes on.
pub async fn run(config_file: &Path, options: &Options) -> Result<(), DaemonError> {
    let mut config = Config::load(config_file, &environment)?;
    config.listen = options.listen.unwrap_or(config.listen);
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| DaemonError::Listen { address, source })?;
    let mut changes = reload::Changes::watch(config_file)?;
    let certificate = config.tls.as_ref().map(Certificate::load).transpose()?;
    let app = assemble(config_file, config, options.insecure).await?;
    if options.demo {
        live::begin(&app).await?;
    }
    let mut service = Service::new(config_file, app.clone());
    service.start().await;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "openanomaly is up");
    let uses = tokio::spawn(write_uses(app.clone()));
    let server = tokio::spawn(api::serve::serve(app.clone(), listener, certificate));
    loop {
        tokio::select! {
            event = changes.next() => match event {
                reload::Event::Changed => service.reload().await,
                reload::Event::Stop => break,
            },
            changed = app.store.changed() => match changed {
                Ok(()) => service.reload_pipelines().await,
                Err(error) => {
                    tracing::warn!("{error}");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            },
        }
    }
    tracing::info!("stopping: passes that have begun are finished first");
    app.stopping.cancel();
    let (_, served, _) = tokio::join!(service.stop(), server, uses);
    match served {
        Ok(Err(error)) => tracing::error!(%address, "serving failed: {error}"),
        Err(error) => tracing::error!(%address, "serving failed: {error}"),
        Ok(Ok(())) => {}
    }
    app.current().assembly.close();
    app.database.close().await;
    Ok(())
}

/// Opens everything that a service needs.
///
/// # Errors
/// What can't be opened.
pub async fn assemble(config_file: &Path, config: Config, is_insecure: bool) -> Result<App, DaemonError> {
    let folder = config_file.parent().unwrap_or(Path::new(""));
    let url = database_url(config.database.as_ref(), folder)
        .map_err(|error| DaemonError::Config(ConfigError::File { path: folder.into(), reason: error.to_string() }))?;
    let database = Database::open(&url).await?;
    let auth = Auth::open(&config, is_insecure, &database).await?;
    auth.may_listen(&config, &database).await?;
    let store = store::open(&config, &database).await?;
    let assembly = Assembly::new(&config)?;
    let current = Current { config: Arc::new(config), assembly: Arc::new(assembly) };
    Ok(App::new(Parts {
        database,
        store,
        auth,
        metrics: Metrics::new(worker::now()),
        status: Arc::new(Status::default()),
        instance: app::instance().to_owned(),
        stopping: CancellationToken::new(),
        current: RwLock::new(current),
    }))
}

/// Writes down from time to time, and in the end, when keys were last used.
async fn write_uses(app: App) {
    let mut is_over = false;
    while !is_over {
        is_over = tokio::time::timeout(USES_EVERY, app.stopping.cancelled()).await.is_ok();
        if let Err(error) = app.auth.keys.write_uses(&app.database).await {
            tracing::warn!("when keys were used can't be written down now: {error}");
        }
    }
}

/// The pipelines that run.
struct Service {
    config_file: PathBuf,
    app: App,
    workers: BTreeMap<String, Running>,
}

/// A pipeline that is about to run.
struct Fresh {
    origin: String,
    trust: Trust,
    pipeline: Pipeline,
    ports: Ports,
}

struct Running {
    origin: String,
    trust: Trust,
    pipeline: Pipeline,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Something that keeps a pipeline from running, and where it lies.
struct Fault {
    origin: String,
    message: String,
}

impl Service {
    fn new(config_file: &Path, app: App) -> Self {
        Self { config_file: config_file.to_owned(), app, workers: BTreeMap::new() }
    }

    async fn start(&mut self) {
        let is_good = self.replace_changed(false).await;
        self.app.metrics.configured(is_good);
    }

    /// The pipelines that are to be started, because they are new or have changed, or because `all` are. What can't
    /// be assembled is one more fault.
    fn assemble(&mut self, found: Listing, all: bool) -> (Vec<Fresh>, Vec<Fault>) {
        let Current { config, assembly } = self.app.current();
        let fault = |lost: Unreadable| Fault { origin: lost.origin, message: lost.reason };
        let (mut fresh, mut faults): (_, Vec<Fault>) = (vec![], found.unreadable.into_iter().map(fault).collect());
        for stored in found.pipelines {
            let trust = Trust::of(&stored);
            let Stored { origin, checked, .. } = stored;
            let pipeline = match checked {
                Ok(pipeline) if pipeline.enabled => pipeline,
                Ok(_) => continue,
                Err(errors) => {
                    faults.push(Fault { origin, message: errors.to_string() });
                    continue;
                }
            };
            if let Some(running) = self.workers.get_mut(&pipeline.name)
                && running.pipeline == pipeline
                && running.trust == trust
                && !all
            {
                running.origin = origin;
                continue;
            }
            let assembled = || assembly.ports(&pipeline, trust, &self.app.metrics).map_err(|error| error.to_string());
            match config.check(&pipeline).and_then(|()| assembled()) {
                Ok(ports) => fresh.push(Fresh { origin, trust, pipeline, ports }),
                Err(error) => faults.push(Fault { message: format!("{origin}: {error}"), origin }),
            }
        }
        (fresh, faults)
    }

    fn spawn(&mut self, Fresh { origin, trust, pipeline, ports }: Fresh) {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(worker::work(pipeline.clone(), ports, self.app.clone(), stopped));
        self.workers.insert(pipeline.name.clone(), Running { origin, trust, pipeline, stop, task });
    }

    /// Reads the configuration again. What is wrong keeps its last good version.
    async fn reload(&mut self) {
        let before = self.app.current();
        let config = Config::load(&self.config_file, &environment).map_err(DaemonError::from);
        let read = config.and_then(|config| Ok((before.assembly.again(&config)?, config)));
        let read = read.and_then(|read| self.app.auth.reload(&read.1).map(|()| read).map_err(DaemonError::from));
        let (assembly, config) = match read {
            Ok(read) => read,
            Err(error) => {
                self.app.metrics.reloaded(false);
                tracing::error!("the configuration is not reloaded: {error}");
                return self.app.status.configured(self.running(), vec![error.to_string()]);
            }
        };
        if config.listen != before.config.listen {
            tracing::warn!("a change of `listen` needs a restart");
        }
        // Files with secrets may have changed without their names.
        let is_same = config.datasources == before.config.datasources
            && config.catch_up == before.config.catch_up
            && config.onnx == before.config.onnx
            && config.egress == before.config.egress
            && !config.datasources.values().any(Datasource::has_files);
        self.app.replace(Current { config: Arc::new(config), assembly: Arc::new(assembly) });
        self.replace_changed(!is_same).await;
    }

    /// Reads the pipelines again.
    async fn reload_pipelines(&mut self) {
        self.replace_changed(false).await;
    }

    /// Starts what is new, stops what is gone, and answers whether everything is right.
    async fn replace_changed(&mut self, all: bool) -> bool {
        let found = match self.app.store.list().await {
            Ok(found) => found,
            Err(error) => {
                self.report(&[Fault { origin: String::new(), message: error.to_string() }]);
                return false;
            }
        };
        let enabled: BTreeMap<String, bool> = found
            .pipelines
            .iter()
            .filter_map(|stored| stored.checked.as_ref().ok())
            .map(|pipeline| (pipeline.name.clone(), pipeline.enabled))
            .collect();
        let (fresh, faults) = self.assemble(found, all);
        let folder = self.app.current().config.pipelines.display().to_string();
        let is_broken = |origin: &str| faults.iter().any(|fault| fault.origin == origin || fault.origin == folder);
        let is_over = |running: &Running| match enabled.get(&running.pipeline.name) {
            Some(true) => fresh.iter().any(|fresh| fresh.pipeline.name == running.pipeline.name),
            Some(false) => true,
            None => !is_broken(&running.origin),
        };
        let over: Vec<String> =
            self.workers.values().filter(|one| is_over(one)).map(|one| one.pipeline.name.clone()).collect();
        stop_all(over.iter().filter_map(|name| self.workers.remove(name)).collect()).await;
        fresh.into_iter().for_each(|fresh| self.spawn(fresh));
        over.iter().filter(|name| !self.workers.contains_key(*name)).for_each(|name| self.app.metrics.forget(name));
        self.app.metrics.reloaded(faults.is_empty());
        self.report(&faults);
        faults.is_empty()
    }

    fn running(&self) -> impl Iterator<Item = &str> {
        self.workers.keys().map(String::as_str)
    }

    fn report(&self, faults: &[Fault]) {
        for fault in faults {
            tracing::error!("{}", fault.message);
        }
        self.app.metrics.running(self.workers.len());
        self.app.status.configured(self.running(), faults.iter().map(|fault| fault.message.clone()).collect());
        tracing::info!(pipelines = self.workers.len(), errors = faults.len(), "pipelines are loaded");
    }

    async fn stop(mut self) {
        stop_all(std::mem::take(&mut self.workers).into_values().collect()).await;
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
