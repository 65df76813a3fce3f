//! Where pipelines are kept: the port, its nouns and its errors.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::pipeline::{Pipeline, PipelineErrors};

/// The document of a pipeline as it was written, before any default is filled in.
pub type Document = Map<String, Value>;

/// What a document is at one time: two documents have the same version if and only if they are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(String);

impl Version {
    /// The version of `document`, which is a hash of it: whoever changes a document, by whatever tool, changes it.
    pub fn of(document: &Document) -> Self {
        let text = Value::Object(document.clone()).to_string();
        let hash = Sha256::digest(text.as_bytes());
        Self(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The version that somebody has named.
    pub fn named(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text, for an `ETag`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A pipeline in a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its name, unique in the store.
    pub name: String,
    /// Where it lies, for messages: a file, or a place in a database.
    pub origin: String,
    /// Its document.
    pub document: Document,
    /// The document's version.
    pub version: Version,
    /// Whether the store is never written by us, as a folder of files.
    pub is_read_only: bool,
    /// The document, checked.
    pub checked: Result<Pipeline, PipelineErrors>,
}

/// Something in a store that is no document with a name, such as a file that is no YAML; or a whole store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it lies.
    pub origin: String,
    /// What is wrong, for people.
    pub reason: String,
}

/// Whether what comes from `origin` lies in `place`: a pipeline's origin begins with that of its store.
///
/// ```
/// use engine::store::lies_in;
/// assert!(lies_in("pipelines/a.yaml", "pipelines/a.yaml") && lies_in("pipelines/a.yaml", "pipelines"));
/// assert!(lies_in("the database, pipeline a", "the database") && !lies_in("a.yaml2", "a.yaml"));
/// ```
pub fn lies_in(origin: &str, place: &str) -> bool {
    origin.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ',']))
}

/// All that is in a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The pipelines, right and wrong ones, in the order of their names.
    pub pipelines: Vec<Stored>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// What must be so for a change to be made; else it is a [`StoreError::Conflict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Anything,
    /// There is no pipeline of this name.
    Absent,
    /// There is one of this version: nobody has changed it since it was read.
    Version(Version),
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or failed.
    #[error("{store}: {reason}")]
    Unavailable {
        /// Which.
        store: String,
        /// Why.
        reason: String,
    },
    /// It is not ours to change.
    #[error("pipeline `{name}` is kept in {origin}, which is only read; change it there")]
    ReadOnly {
        /// The pipeline.
        name: String,
        /// Where it is kept.
        origin: String,
    },
    /// There is no such pipeline.
    #[error("there is no pipeline `{name}`")]
    Missing {
        /// The name.
        name: String,
    },
    /// It is not as it was expected to be.
    #[error("pipeline `{name}` {reason}")]
    Conflict {
        /// The pipeline.
        name: String,
        /// How it is.
        reason: &'static str,
    },
    /// The document is no right pipeline.
    #[error(transparent)]
    Invalid(#[from] PipelineErrors),
}

impl StoreError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A place that pipelines are kept in.
#[async_trait]
pub trait PipelineStore: Send + Sync {
    /// All pipelines.
    ///
    /// # Errors
    /// The store can't be read.
    async fn list(&self) -> Result<Listing, StoreError>;

    /// The pipeline `name`, if there is one.
    ///
    /// # Errors
    /// The store can't be read.
    async fn get(&self, name: &str) -> Result<Option<Stored>, StoreError>;

    /// Puts the pipeline that `document` names in the place of the one of that name, or beside the others. What is
    /// wrong is never stored.
    ///
    /// # Errors
    /// A wrong document; one that is not as expected; a store that is only read, or can't be written.
    async fn put(&self, document: Document, expected: &Expected) -> Result<Stored, StoreError>;

    /// Takes the pipeline `name` out.
    ///
    /// # Errors
    /// There is none, or it is not as expected; a store that is only read, or can't be written.
    async fn delete(&self, name: &str, expected: &Expected) -> Result<(), StoreError>;

    /// Waits until something in the store may have changed since the last call, by whomever. A change never goes
    /// unnoticed; a call may also return where nothing has changed.
    ///
    /// # Errors
    /// The store can't be watched now; it is worth trying again.
    async fn changed(&self) -> Result<(), StoreError>;
}
