//! What the store of pipelines says, whenever it may say something else.

use std::sync::Arc;
use std::time::Duration;

use engine::store::{Listing, PipelineStore, StoreError};

/// How long to wait before a store that can't be watched is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Waits for changes of a store.
pub(super) struct Changes {
    store: Arc<dyn PipelineStore>,
    // The store has changed and was not read yet: whoever waits may give up at any time and come again.
    is_due: bool,
}

impl Changes {
    /// Those of `store`.
    pub(super) fn new(store: Arc<dyn PipelineStore>) -> Self {
        Self { store, is_due: false }
    }

    /// What the store says after the next change, or every now and then where it can't be watched. Nothing is lost
    /// where the wait is broken off.
    pub(super) async fn next(&mut self) -> Result<Listing, StoreError> {
        if !self.is_due {
            if let Err(error) = self.store.changed().await {
                tracing::debug!("{error}");
                tokio::time::sleep(RETRY).await;
            }
            self.is_due = true;
        }
        let found = self.store.list().await;
        self.is_due = false;
        found
    }
}
