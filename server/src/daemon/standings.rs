//! How far each pipeline has judged, shared between its worker and jobs, so that no point is written twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Standing;
use tokio::sync::OwnedMutexGuard;
use tsdb::Timestamp;

/// A worker of this process at its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtWork {
    /// After which point it has begun: what came before is not its business.
    pub since: Timestamp,
    /// How far it has judged.
    pub standing: Standing,
}

/// The right to judge points of one pipeline in this process; nobody else may meanwhile. It holds how far has been
/// judged: nothing where no worker of this process is at the pipeline.
pub type Seat = OwnedMutexGuard<Option<AtWork>>;

type Shared = Arc<tokio::sync::Mutex<Option<AtWork>>>;

/// How far each pipeline has judged.
#[derive(Debug, Default)]
pub struct Standings(Mutex<HashMap<String, Shared>>);

impl Standings {
    /// Waits for the right to judge points of `pipeline`.
    pub async fn seat(&self, pipeline: &str) -> Seat {
        self.shared(pipeline).lock_owned().await
    }

    fn shared(&self, pipeline: &str) -> Shared {
        let mut standings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        standings.entry(pipeline.to_owned()).or_default().clone()
    }
}
