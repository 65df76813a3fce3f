//! What the parts of the running service share.

use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use engine::store::PipelineStore;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tsdb::Timestamp;

use crate::advice::Advice;
use crate::assembly::Assembly;
use crate::auth::Auth;
use crate::config::Config;
use crate::daemon::journal::Journal;
use crate::daemon::standings::Standings;
use crate::daemon::status::Status;
use crate::daemon::worker;
use crate::database::Database;
use crate::metrics::Metrics;

/// The name of this process among all that share the database, and in its traces.
pub fn instance() -> &'static str {
    static INSTANCE: LazyLock<String> = LazyLock::new(|| uuid::Uuid::now_v7().to_string());
    &INSTANCE
}

/// The running service, as the handlers of the API, the jobs and the scheduler see it. Cloning it is cheap.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    /// What the service remembers.
    pub database: Database,
    /// Where pipelines are kept.
    pub store: Arc<dyn PipelineStore>,
    /// The service's own metrics.
    pub metrics: Arc<Metrics>,
    /// Who may come in.
    pub auth: Auth,
    /// How each pipeline goes.
    pub status: Arc<Status>,
    /// Where passes note what they did.
    pub journal: Journal,
    /// The name of this process among those that share the database.
    pub instance: String,
    /// Cancelled when the service stops: no request comes in any more, and streams end.
    pub stopping: CancellationToken,
    /// Wakes who does jobs.
    pub new_job: Notify,
    /// What people say that passes heed.
    pub advice: Advice,
    /// How far each pipeline has judged.
    pub standings: Standings,
    /// What a reload replaces.
    pub current: RwLock<Current>,
}

/// What a reload replaces.
#[derive(Clone)]
pub struct Current {
    /// The configuration.
    pub config: Arc<Config>,
    /// The datasources and models.
    pub assembly: Arc<Assembly>,
}

impl App {
    /// A service of these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The configuration and what is made of it, as they are now.
    pub fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts what a reload has made in place.
    pub fn replace(&self, current: Current) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Now: the one clock of everything that serves requests.
    pub fn now(&self) -> Timestamp {
        worker::now()
    }

    /// A new id, which sorts by the time at which it was made.
    pub fn new_id(&self) -> String {
        new_id()
    }
}

/// A new id, which sorts by the time at which it was made.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
