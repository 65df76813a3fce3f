//! `run`: the service. Starts a worker for each pipeline, serves metrics and health, reloads what changes.

pub mod banner;
pub(crate) mod drifting;
pub mod journal;
pub mod lease;
pub mod reload;
pub mod retention;
pub mod standings;
pub mod status;
pub mod stored;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use engine::store::{Listing, StoreError, Stored, Unreadable, lies_in};
use engine::{Pipeline, Ports};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::advice::{self, Advice};
use crate::app::{App, Current, Parts};
use crate::assembly::{Assembly, AssemblyError, Trust};
use crate::auth::{Auth, AuthError};
use crate::config::service::database_url;
use crate::config::{Config, ConfigError, Datasource};
use crate::database::{self, Database, DatabaseError};
use crate::demo::live;
use crate::metrics::Metrics;
use crate::recipe::Recipe;
use crate::registry::Current as Versions;
use crate::render::format::Paint;
use crate::tls::{Certificate, TlsError};
use crate::{api, app, jobs, store};
use journal::Journal;
use lease::Leases;
use standings::Standings;
use status::Status;

/// How often is looked whether another version of a trained model has become current.
const VERSIONS: Duration = Duration::from_secs(2);

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
    /// How a person who looks on is greeted; where nobody does, a line in the log says the same.
    pub greeting: Option<Paint>,
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
    let (app, leases) = assemble(config_file, config, options.insecure).await?;
    if options.demo {
        live::begin(&app).await?;
    }
    let mut service = Service::new(config_file, app.clone(), leases);
    let mut pipelines = stored::Changes::new(app.store.clone());
    advice::first(&app).await;
    service.start().await;
    greet(&app, address, options.greeting);
    let uses = tokio::spawn(write_uses(app.clone()));
    let server = tokio::spawn(api::serve::serve(app.clone(), listener, certificate));
    let jobs = tokio::spawn(jobs::runner::run(app.clone()));
    let retention = tokio::spawn(retention::keep(app.clone()));
    let advice = tokio::spawn(advice::listen(app.clone()));
    loop {
        tokio::select! {
            event = changes.next() => match event {
                reload::Event::Changed => service.reload().await,
                reload::Event::Stop => break,
            },
            () = service.leases.changed() => service.rebalance().await,
            found = pipelines.next(service.has_seen_all()) => service.found(found).await,
            () = service.other_versions() => service.again(false).await,
        }
    }
    tracing::info!("stopping: passes that have begun are finished first");
    app.stopping.cancel();
    retention.abort();
    let (_, served, worked, ..) = tokio::join!(service.stop(), server, jobs, uses, advice);
    if let Err(error) = worked {
        tracing::error!("doing jobs broke off: {error}");
    }
    match served {
        Ok(Err(error)) => tracing::error!(%address, "serving failed: {error}"),
        Err(error) => tracing::error!(%address, "serving failed: {error}"),
        Ok(Ok(())) => {}
    }
    app.current().assembly.close();
    app.database.close().await;
    Ok(())
}

/// Says that the service is up.
fn greet(app: &App, address: SocketAddr, greeting: Option<Paint>) {
    match greeting {
        Some(paint) => {
            let text = banner::banner(app, address, paint);
            // Whoever has closed stderr wants no greeting.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        }
        None => {
            let health = app.status.health();
            let datasources: Vec<String> = app.current().config.datasources.keys().cloned().collect();
            let (version, pipelines, datasources) =
                (env!("CARGO_PKG_VERSION"), health.pipelines.len(), datasources.join(", "));
            tracing::info!(%address, version, pipelines, datasources, "openanomaly is up");
        }
    }
}

/// Opens everything that a service needs.
///
/// # Errors
/// What can't be opened.
pub async fn assemble(config_file: &Path, config: Config, is_insecure: bool) -> Result<(App, Leases), DaemonError> {
    let folder = config_file.parent().unwrap_or(Path::new(""));
    let url = database_url(config.database.as_ref(), folder)
        .map_err(|error| DaemonError::Config(ConfigError::File { path: folder.into(), reason: error.to_string() }))?;
    let database = Database::open(&url).await?;
    let auth = Auth::open(&config, is_insecure, &database).await?;
    auth.may_listen(&config, &database).await?;
    let store = store::open(&config, &database).await?;
    let assembly = Assembly::new(&config)?;
    let current = Current { config: Arc::new(config), assembly: Arc::new(assembly) };
    let metrics = Metrics::new(worker::now());
    let app = App::new(Parts {
        journal: Journal::open(database.clone(), metrics.clone()),
        database,
        store,
        auth,
        metrics,
        status: Arc::new(Status::default()),
        instance: app::instance().to_owned(),
        stopping: CancellationToken::new(),
        new_job: Notify::new(),
        advice: Advice::default(),
        standings: Standings::default(),
        current: RwLock::new(current),
    });
    let leases = Leases::open(app.clone(), database::file_of(&url).as_deref()).await;
    Ok((app, leases))
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
    leases: Leases,
    /// The pipelines that were ours when it was last looked.
    ours: BTreeSet<String>,
    workers: BTreeMap<String, Running>,
    /// What the store said last.
    seen: Option<Result<Listing, StoreError>>,
    /// The trained versions that the workers run with.
    versions: Versions,
}

/// A pipeline that is about to run.
struct Fresh {
    origin: String,
    trust: Trust,
    pipeline: Pipeline,
    version: Option<i64>,
    recipe: Arc<Recipe>,
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
    fn new(config_file: &Path, app: App, leases: Leases) -> Self {
        Self {
            config_file: config_file.to_owned(),
            app,
            leases,
            ours: BTreeSet::new(),
            workers: BTreeMap::new(),
            seen: None,
            versions: Versions::default(),
        }
    }

    async fn start(&mut self) {
        self.again(false).await;
    }

    /// The pipelines that are to be started, because they are new or have changed, or because `all` are. What can't
    /// be assembled is one more fault.
    fn assemble(&mut self, found: Listing, all: bool) -> (Vec<Fresh>, Vec<Fault>) {
        let Current { config, assembly } = self.app.current();
        let fault = |lost: Unreadable| Fault { origin: lost.origin, message: lost.reason };
        let (mut fresh, mut faults): (_, Vec<Fault>) = (vec![], found.unreadable.into_iter().map(fault).collect());
        for stored in found.pipelines {
            let trust = Trust::of(&stored);
            let Stored { origin, checked, document, .. } = stored;
            let (version, pipeline) = match checked {
                Ok(pipeline) if pipeline.enabled => (self.versions.version(&pipeline), self.versions.applied(pipeline)),
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
                Ok(ports) => {
                    let recipe = Arc::new(Recipe::of((&document, trust), &pipeline, version, assembly.resources()));
                    fresh.push(Fresh { origin, trust, pipeline, version, recipe, ports });
                }
                Err(error) => faults.push(Fault { message: format!("{origin}: {error}"), origin }),
            }
        }
        (fresh, faults)
    }

    fn spawn(&mut self, Fresh { origin, trust, pipeline, version, recipe, ports }: Fresh) {
        tracing::debug!(pipeline = pipeline.name, origin, "a pipeline runs");
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(worker::work(pipeline.clone(), version, recipe, ports, self.app.clone(), stopped));
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
        if config.pipelines != before.config.pipelines
            || config.store != before.config.store
            || config.mongodb != before.config.mongodb
            || config.database != before.config.database
        {
            tracing::warn!("a change of `pipelines`, `store`, `mongodb` or `database` needs a restart");
        }
        // Files with secrets may have changed without their names.
        let is_same = config.datasources == before.config.datasources
            && config.catch_up == before.config.catch_up
            && config.onnx == before.config.onnx
            && config.egress == before.config.egress
            && !config.datasources.values().any(Datasource::has_files);
        self.app.replace(Current { config: Arc::new(config), assembly: Arc::new(assembly) });
        self.again(!is_same).await;
    }

    /// Whether all that the store holds could be read when it was last asked.
    fn has_seen_all(&self) -> bool {
        matches!(&self.seen, Some(Ok(listing)) if listing.unreadable.is_empty())
    }

    /// Takes what the store says, if that is something new.
    async fn found(&mut self, found: Result<Listing, StoreError>) {
        if self.seen.as_ref() != Some(&found) {
            let is_good = self.replace_changed(found, false).await;
            self.app.metrics.reloaded(is_good);
        }
    }

    /// Waits until other versions of trained models are current than those that the workers run with, whoever has made
    /// them so.
    async fn other_versions(&self) {
        loop {
            tokio::time::sleep(VERSIONS).await;
            match Versions::read(&self.app.database).await {
                Ok(versions) if versions != self.versions => return,
                Ok(_) => {}
                Err(error) => tracing::warn!("looking for trained models: {error}"),
            }
        }
    }

    /// Asks the store again.
    async fn again(&mut self, all: bool) {
        let found = self.app.store.list().await;
        let is_good = self.replace_changed(found, all).await;
        self.app.metrics.reloaded(is_good);
    }

    /// Starts the pipelines that have become ours, and stops those that are no more.
    async fn rebalance(&mut self) {
        if self.leases.ours() != self.ours {
            let found = self.app.store.list().await;
            self.replace_changed(found, false).await;
        }
    }

    /// Starts what is new and ours, stops what is gone or not ours, and answers whether everything is right. Where the
    /// store can't be read everything goes on as it is.
    async fn replace_changed(&mut self, found: Result<Listing, StoreError>, all: bool) -> bool {
        self.seen = Some(found.clone());
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.report(&[Fault { origin: String::new(), message: error.to_string() }]);
                return false;
            }
        };
        match Versions::read(&self.app.database).await {
            Ok(versions) => self.versions = versions,
            Err(error) => tracing::warn!("looking for trained models: {error}"),
        }
        let enabled: BTreeMap<String, bool> = found
            .pipelines
            .iter()
            .filter_map(|stored| stored.checked.as_ref().ok())
            .map(|pipeline| (pipeline.name.clone(), pipeline.enabled))
            .collect();
        let (fresh, faults) = self.assemble(found, all);
        let is_broken = |origin: &str| faults.iter().any(|fault| lies_in(origin, &fault.origin));
        let is_over = |running: &Running| match enabled.get(&running.pipeline.name) {
            Some(true) => fresh.iter().any(|fresh| fresh.pipeline.name == running.pipeline.name),
            Some(false) => true,
            None => !is_broken(&running.origin),
        };
        let mut over: Vec<String> =
            self.workers.values().filter(|one| is_over(one)).map(|one| one.pipeline.name.clone()).collect();
        let kept = self.workers.keys().filter(|name| !over.contains(*name)).cloned();
        let wanted = kept.chain(fresh.iter().map(|fresh| fresh.pipeline.name.clone())).collect();
        self.ours = self.leases.want(wanted).await;
        over.extend(self.workers.keys().filter(|name| !self.ours.contains(*name)).cloned());
        stop_all(over.iter().filter_map(|name| self.workers.remove(name)).collect()).await;
        if !over.is_empty() {
            // Whoever runs them next goes on from what is recorded.
            self.app.journal.flush().await;
        }
        let held = self.leases.hold(self.running(), fresh.iter().map(|fresh| fresh.pipeline.name.as_str()));
        fresh.into_iter().filter(|one| held.contains(&one.pipeline.name)).for_each(|one| self.spawn(one));
        over.iter().filter(|name| !self.workers.contains_key(*name)).for_each(|name| self.app.metrics.forget(name));
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
        self.app.journal.flush().await;
        self.leases.close().await;
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
