//! What the store of pipelines says, whenever it may say something else.

use std::sync::Arc;
use std::time::Duration;

use engine::store::{Listing, PipelineStore, StoreError};
use tokio::time::timeout;

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

    /// What the store says after the next change, or every now and then where it can't be watched, or where it was not
    /// `wholly_read` when it was last asked. Nothing is lost where the wait is broken off.
    pub(super) async fn next(&mut self, wholly_read: bool) -> Result<Listing, StoreError> {
        if !self.is_due {
            let changed = self.store.changed();
            // What was out of reach comes back without a change.
            let changed = if wholly_read { changed.await } else { timeout(RETRY, changed).await.unwrap_or(Ok(())) };
            if let Err(error) = changed {
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
