//! Pipelines in the SQL database.

use std::time::Duration;

use async_trait::async_trait;
use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Stored, Unreadable, Version};
use tokio::sync::Mutex;

use super::conflict;
use crate::daemon::worker::now;
use crate::database::{Database, pipelines};

/// How often it is looked whether another process has changed something.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where all of it lies, for messages.
const STORE: &str = "the database";

/// How often a change that takes whatever is there is tried against others that change it at the same time.
const MOST_TRIES: usize = 20;

/// The pipelines of a database.
pub struct Sql {
    database: Database,
    seen: Mutex<Option<i64>>,
}

impl Sql {
    /// The pipelines of `database`.
    pub fn new(database: Database) -> Self {
        Self { database, seen: Mutex::new(None) }
    }

    /// The text that is there, where it is as expected.
    async fn expect(&self, name: &str, expected: &Expected) -> Result<Option<String>, StoreError> {
        let text = pipelines::get(&self.database, name).await.map_err(|error| unavailable(&error))?;
        // What is no document has no version that anybody could know.
        let version = text.as_deref().and_then(|text| document(text).ok()).map(|document| Version::of(&document));
        match conflict(name, expected, text.is_some(), version.as_ref()) {
            Some(conflict) => Err(conflict),
            None => Ok(text),
        }
    }
}

fn unavailable(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable { store: STORE.into(), reason: error.to_string() }
}

fn origin(name: &str) -> String {
    format!("{STORE}, pipeline {name}")
}

fn document(text: &str) -> Result<Document, serde_json::Error> {
    serde_json::from_str(text)
}

fn stored((name, text): (String, String)) -> Result<Stored, Unreadable> {
    let origin = origin(&name);
    let lost = |reason: String| Unreadable { reason: format!("{origin}: {reason}"), origin: origin.clone() };
    let document = document(&text).map_err(|error| lost(format!("is no JSON object: {error}")))?;
    super::stored(name, origin.clone(), document).map_err(lost)
}

#[async_trait]
impl PipelineStore for Sql {
    async fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for row in pipelines::list(&self.database).await.map_err(|error| unavailable(&error))? {
            match stored(row) {
                Ok(stored) => listing.pipelines.push(stored),
                Err(lost) => listing.unreadable.push(lost),
            }
        }
        Ok(listing)
    }

    async fn get(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let Some(text) = pipelines::get(&self.database, name).await.map_err(|error| unavailable(&error))? else {
            return Ok(None);
        };
        let lost = |lost: Unreadable| StoreError::Unavailable { store: STORE.into(), reason: lost.reason };
        stored((name.into(), text)).map(Some).map_err(lost)
    }

    async fn put(&self, document: Document, expected: &Expected) -> Result<Stored, StoreError> {
        let (name, pipeline) = super::check(&document, "the document")?;
        let text = serde_json::Value::Object(document.clone()).to_string();
        for _ in 0..MOST_TRIES {
            let before = self.expect(&name, expected).await?;
            let done = pipelines::put(&self.database, &name, &text, before.as_deref(), now()).await;
            if done.map_err(|error| unavailable(&error))? {
                let (version, origin) = (Version::of(&document), origin(&name));
                return Ok(Stored { name, origin, document, version, is_read_only: false, checked: Ok(pipeline) });
            }
        }
        Err(super::busy(STORE, &name))
    }

    async fn delete(&self, name: &str, expected: &Expected) -> Result<(), StoreError> {
        for _ in 0..MOST_TRIES {
            let Some(before) = self.expect(name, expected).await? else {
                return Err(StoreError::Missing { name: name.into() });
            };
            if pipelines::delete(&self.database, name, &before).await.map_err(|error| unavailable(&error))? {
                return Ok(());
            }
        }
        Err(super::busy(STORE, name))
    }

    async fn changed(&self) -> Result<(), StoreError> {
        let mut seen = self.seen.lock().await;
        loop {
            let revision = pipelines::revision(&self.database).await.map_err(|error| unavailable(&error))?;
            // What was before the first look is not known.
            if seen.replace(revision) != Some(revision) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
