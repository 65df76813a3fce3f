//! Pipelines in a folder of files, which people and their tools write. It is only read.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Stored, Unreadable, Version};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Mutex, mpsc};

use crate::config::{ConfigError, load_documents, pipeline_files};
use crate::daemon::environment;
use crate::daemon::reload::{SETTLE, is_config};

/// A folder of files.
pub struct Folder {
    path: PathBuf,
    changes: Mutex<mpsc::Receiver<()>>,
    // Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

impl Folder {
    /// The folder at `path`, which need not be there yet.
    ///
    /// # Errors
    /// It can't be watched.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let wrong = |error: notify::Error| StoreError::Unavailable {
            store: path.display().to_string(),
            reason: error.to_string(),
        };
        let (sender, changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(|path| is_config(path))) {
                // One change that waits is as good as many.
                let _ = sender.try_send(());
            }
        })
        .map_err(wrong)?;
        if path.is_dir() {
            watcher.watch(path, RecursiveMode::NonRecursive).map_err(wrong)?;
        }
        Ok(Self { path: path.to_owned(), changes: Mutex::new(changes), _watcher: watcher })
    }

    fn read(&self) -> Listing {
        let mut listing = Listing::default();
        if !self.path.exists() {
            return listing;
        }
        let unreadable = |origin: &Path, error: &dyn std::fmt::Display| {
            let (origin, reason) = (origin.display().to_string(), error.to_string());
            Unreadable { origin, reason }
        };
        let files = match pipeline_files(&self.path) {
            Ok(files) => files,
            Err(error) => {
                listing.unreadable.push(unreadable(&self.path, &error));
                return listing;
            }
        };
        for file in files {
            for (document, outcome) in load_documents(&file, &environment) {
                match stored(&file, document, outcome) {
                    Ok(stored) => match listing.pipelines.iter().find(|other| other.name == stored.name) {
                        None => listing.pipelines.push(stored),
                        Some(other) => {
                            let reason = format!(
                                "{}: pipeline `{}`: another pipeline has the same name, in {}",
                                file.display(),
                                stored.name,
                                other.origin
                            );
                            listing.unreadable.push(unreadable(&file, &reason));
                        }
                    },
                    Err(error) => listing.unreadable.push(unreadable(&file, &error)),
                }
            }
        }
        listing.pipelines.sort_by(|a, b| a.name.cmp(&b.name));
        listing
    }
}

/// A document that has a name is a pipeline, though maybe a wrong one.
fn stored(
    file: &Path,
    document: Document,
    outcome: Result<engine::Pipeline, ConfigError>,
) -> Result<Stored, ConfigError> {
    let checked = match outcome {
        Ok(pipeline) => Ok(pipeline),
        Err(ConfigError::Pipeline(errors)) => Err(errors),
        Err(other) => return Err(other),
    };
    let named = document.get("name").and_then(|name| name.as_str()).map(str::to_owned);
    let name = checked.as_ref().ok().map(|pipeline| pipeline.name.clone()).or(named);
    match (name, checked) {
        (Some(name), checked) => Ok(Stored {
            name,
            origin: file.display().to_string(),
            version: Version::of(&document),
            document,
            is_read_only: true,
            checked,
        }),
        (None, Err(errors)) => Err(errors.into()),
        (None, Ok(_)) => unreachable!("a pipeline that is right has a name"),
    }
}

#[async_trait]
impl PipelineStore for Folder {
    async fn list(&self) -> Result<Listing, StoreError> {
        Ok(self.read())
    }

    async fn get(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        Ok(self.read().pipelines.into_iter().find(|stored| stored.name == name))
    }

    async fn put(&self, document: Document, _expected: &Expected) -> Result<Stored, StoreError> {
        let origin = self.path.display().to_string();
        let (name, _) = super::check(&document, &origin)?;
        Err(StoreError::ReadOnly { name, origin })
    }

    async fn delete(&self, name: &str, _expected: &Expected) -> Result<(), StoreError> {
        match self.get(name).await? {
            Some(stored) => Err(StoreError::ReadOnly { name: name.into(), origin: stored.origin }),
            None => Err(StoreError::Missing { name: name.into() }),
        }
    }

    async fn changed(&self) -> Result<(), StoreError> {
        let mut changes = self.changes.lock().await;
        if changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        // Editors write a file in several steps.
        tokio::time::sleep(SETTLE).await;
        while changes.try_recv().is_ok() {}
        Ok(())
    }
}
