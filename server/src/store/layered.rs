//! The folder of files, and beside it the store of what is made over the API.

use std::sync::Arc;

use async_trait::async_trait;
use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Stored, Unreadable};

use super::folder::Folder;

/// Two stores as one. Where both have a pipeline of one name, the folder's counts.
pub struct Layered {
    folder: Folder,
    written: Arc<dyn PipelineStore>,
}

impl Layered {
    /// The folder, and where new pipelines go.
    pub fn new(folder: Folder, written: Arc<dyn PipelineStore>) -> Self {
        Self { folder, written }
    }
}

#[async_trait]
impl PipelineStore for Layered {
    async fn list(&self) -> Result<Listing, StoreError> {
        let mut all = self.folder.list().await?;
        let written = match self.written.list().await {
            Ok(written) => written,
            // What is in the folder runs all the same.
            Err(StoreError::Unavailable { store, reason }) => {
                let unreadable = vec![Unreadable { reason: format!("{store}: {reason}"), origin: store }];
                Listing { pipelines: vec![], unreadable }
            }
            Err(other) => return Err(other),
        };
        all.unreadable.extend(written.unreadable);
        for stored in written.pipelines {
            match all.pipelines.iter().find(|other| other.name == stored.name) {
                None => all.pipelines.push(stored),
                Some(other) => {
                    let (origin, name, first) = (stored.origin, stored.name, &other.origin);
                    let reason = format!("{origin}: pipeline `{name}`: another pipeline has the same name, in {first}");
                    all.unreadable.push(Unreadable { origin, reason });
                }
            }
        }
        all.pipelines.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    async fn get(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        match self.folder.get(name).await? {
            Some(stored) => Ok(Some(stored)),
            None => self.written.get(name).await,
        }
    }

    async fn put(&self, document: Document, expected: &Expected) -> Result<Stored, StoreError> {
        let (name, _) = super::check(&document, "the document")?;
        match self.folder.get(&name).await? {
            Some(stored) => Err(StoreError::ReadOnly { name, origin: stored.origin }),
            None => self.written.put(document, expected).await,
        }
    }

    async fn delete(&self, name: &str, expected: &Expected) -> Result<(), StoreError> {
        match self.folder.get(name).await? {
            Some(_) => self.folder.delete(name, expected).await,
            None => self.written.delete(name, expected).await,
        }
    }

    async fn changed(&self) -> Result<(), StoreError> {
        tokio::select! {
            changed = self.folder.changed() => changed,
            changed = self.written.changed() => changed,
        }
    }
}
