//! Pipelines in a folder of files, which people and their tools write. It is only read.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Stored, Unreadable, Version};
use tokio::sync::Mutex;

use crate::config::{ConfigError, load_documents, pipeline_files};
use crate::daemon::environment;
use crate::daemon::reload::Files;

/// How often it is looked whether the folder itself has come, gone or become another one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A folder of files.
pub struct Folder {
    path: PathBuf,
    watch: Mutex<Watch>,
}

/// A watch over the files of a folder, which follows where the folder is a link that is swapped.
struct Watch {
    path: PathBuf,
    files: Files,
    watched: Option<Identity>,
}

/// Which folder it is, whatever its name: device and inode.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some((found.dev(), found.ino()))
}

impl Watch {
    /// Watches what is at the path now; says whether that is another folder than before.
    fn follow(&mut self) -> Result<bool, notify::Error> {
        let found = identity(&self.path);
        if found == self.watched {
            return Ok(false);
        }
        match found {
            Some(_) => self.files.watch(&self.path)?,
            None => self.files.forget(&self.path),
        }
        self.watched = found;
        Ok(true)
    }
}

impl Folder {
    /// The folder at `path`, which need not be there yet.
    ///
    /// # Errors
    /// It can't be watched.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let open = || {
            let mut watch = Watch { path: path.clone(), files: Files::new()?, watched: None };
            watch.follow()?;
            Ok(watch)
        };
        let watch = open().map_err(|error| unavailable(&path, &error))?;
        Ok(Self { path, watch: Mutex::new(watch) })
    }

    fn read(&self) -> Listing {
        let mut listing = Listing::default();
        if !self.path.exists() {
            return listing;
        }
        match pipeline_files(&self.path) {
            Ok(files) => files.iter().for_each(|file| read_file(file, &mut listing)),
            Err(error) => listing.unreadable.push(unreadable(&self.path, &error)),
        }
        listing.pipelines.sort_by(|a, b| a.name.cmp(&b.name));
        listing
    }
}

/// Adds the pipelines of a file. A name belongs to the first that has it.
fn read_file(file: &Path, listing: &mut Listing) {
    for (document, outcome) in load_documents(file, &environment) {
        let stored = match stored(file, document, outcome) {
            Ok(stored) => stored,
            Err(error) => {
                listing.unreadable.push(unreadable(file, &error));
                continue;
            }
        };
        match (listing.pipelines.iter().find(|other| other.name == stored.name), &stored.checked) {
            (None, _) => listing.pipelines.push(stored),
            // Such as the same name twice in one file, with the place of both.
            (Some(_), Err(errors)) => listing.unreadable.push(unreadable(file, errors)),
            (Some(other), Ok(_)) => {
                let (file_name, name, origin) = (file.display(), &stored.name, &other.origin);
                let reason = format!("{file_name}: pipeline `{name}`: another pipeline has the same name, in {origin}");
                listing.unreadable.push(unreadable(file, &reason));
            }
        }
    }
}

fn unreadable(origin: &Path, reason: &dyn std::fmt::Display) -> Unreadable {
    Unreadable { origin: origin.display().to_string(), reason: reason.to_string() }
}

fn unavailable(path: &Path, error: &notify::Error) -> StoreError {
    StoreError::Unavailable { store: path.display().to_string(), reason: error.to_string() }
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
        let (listing, store) = (self.read(), self.path.display().to_string());
        match listing.unreadable.into_iter().find(|one| one.origin == store) {
            Some(Unreadable { reason, .. }) => Err(StoreError::Unavailable { store, reason }),
            None => Ok(listing.pipelines.into_iter().find(|stored| stored.name == name)),
        }
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
        let mut watch = self.watch.lock().await;
        loop {
            if watch.follow().map_err(|error| unavailable(&self.path, &error))? {
                return Ok(());
            }
            // A change that was begun is not lost where the time is up first.
            if tokio::time::timeout(LOOK_EVERY, watch.files.changed()).await.is_ok() {
                return Ok(());
            }
        }
    }
}
