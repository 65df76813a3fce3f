//! Pipelines in a collection of MongoDB, keyed by `name`, as the original service keeps them.

use std::time::Duration;

use async_trait::async_trait;
use engine::store::{Document, Expected, Listing, PipelineStore, StoreError, Stored, Unreadable, Version};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use mongodb::bson::{Bson, DateTime, Document as Raw, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, ConnectionString, HostInfo, IndexOptions};
use mongodb::{Client, Collection, IndexModel};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::{bson, conflict};
use crate::config::service::Mongodb as Settings;
use crate::daemon::worker::now;

/// How long a request waits for a server that isn't there, unless the address says otherwise.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether something has changed, where the server doesn't tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a change that takes whatever is there is tried against others that change it at the same time.
const MOST_TRIES: usize = 20;

/// The code of a key that is there already.
const DUPLICATE_KEY: i32 = 11000;

/// The pipelines of a collection.
pub struct Mongodb {
    address: ConnectionString,
    database: String,
    collection: String,
    /// `mongodb://HOST/DATABASE.COLLECTION`, for messages.
    label: String,
    // Names of servers may have to be looked up first, which can fail.
    client: OnceCell<Collection<Raw>>,
    index: OnceCell<()>,
    watch: Mutex<Watch>,
}

/// How changes are noticed.
enum Watch {
    /// Not yet, or no longer.
    Not,
    /// The server tells.
    Stream(Box<ChangeStream<ChangeStreamEvent<Raw>>>),
    /// By a hash of all documents: the server is no replica set.
    Polling(Hash),
}

type Hash = [u8; 32];

impl Mongodb {
    /// The collection that `settings` name. No server is asked yet.
    ///
    /// # Errors
    /// The address is none, or can't be read.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Unavailable { store: "mongodb".into(), reason };
        let url = match (&settings.url_file, &settings.url) {
            (Some(file), _) => std::fs::read_to_string(file)
                .map_err(|error| wrong(format!("{}: {error}", file.display())))?
                .trim()
                .to_owned(),
            (None, Some(url)) => url.clone(),
            (None, None) => return Err(wrong("give its address as `mongodb: {url: …}`".into())),
        };
        let address = ConnectionString::parse(&url).map_err(|error| wrong(reason(&error)))?;
        let database = settings.database.clone().or(address.default_database.clone());
        let (database, collection) = (database.unwrap_or_else(|| "openanomaly".into()), settings.collection.clone());
        let label = format!("mongodb://{}/{database}.{collection}", hosts(&address));
        let (client, index, watch) = (OnceCell::new(), OnceCell::new(), Mutex::new(Watch::Not));
        Ok(Self { address, database, collection, label, client, index, watch })
    }

    fn unavailable(&self, error: &Error) -> StoreError {
        StoreError::Unavailable { store: self.label.clone(), reason: reason(error) }
    }

    async fn collection(&self) -> Result<&Collection<Raw>, Error> {
        let connect = async || {
            let mut options = ClientOptions::parse(self.address.clone()).await?;
            options.app_name.get_or_insert_with(|| "openanomaly".into());
            options.server_selection_timeout.get_or_insert(PATIENCE);
            options.connect_timeout.get_or_insert(PATIENCE);
            Ok(Client::with_options(options)?.database(&self.database).collection(&self.collection))
        };
        self.client.get_or_try_init(connect).await
    }

    /// The collection, in which names are unique from now on.
    async fn unique(&self) -> Result<&Collection<Raw>, Error> {
        let collection = self.collection().await?;
        let make = async || {
            let options = IndexOptions::builder().unique(true).build();
            let index = IndexModel::builder().keys(doc! {"name": 1}).options(options).build();
            collection.create_index(index).await.map(drop)
        };
        self.index.get_or_try_init(make).await?;
        Ok(collection)
    }

    async fn all(&self) -> Result<Vec<Raw>, Error> {
        self.collection().await?.find(doc! {}).sort(doc! {"_id": 1}).await?.try_collect().await
    }

    async fn find(&self, name: &str) -> Result<Option<Raw>, Error> {
        self.collection().await?.find_one(doc! {"name": name}).await
    }

    fn stored(&self, raw: &Raw) -> Result<Stored, Unreadable> {
        let lost = |origin: String, reason: &str| Unreadable { reason: format!("{origin}: {reason}"), origin };
        let Ok(name) = raw.get_str("name") else {
            let id = raw.get("_id").cloned().unwrap_or(Bson::Null);
            return Err(lost(format!("{}, document {id}", self.label), "has no `name` that is text"));
        };
        let origin = format!("{}, pipeline {name}", self.label);
        super::stored(name.into(), origin.clone(), bson::document(raw)).map_err(|reason| lost(origin, &reason))
    }

    /// What is there, where it is as expected.
    async fn expect(&self, name: &str, expected: &Expected) -> Result<Option<Raw>, StoreError> {
        let found = self.find(name).await.map_err(|error| self.unavailable(&error))?;
        let version = found.as_ref().map(|raw| Version::of(&bson::document(raw)));
        match conflict(name, expected, found.is_some(), version.as_ref()) {
            Some(conflict) => Err(conflict),
            None => Ok(found),
        }
    }

    /// Puts `after` in the place of `before`; says whether that was still there.
    async fn replace(&self, before: Option<&Raw>, after: &Raw) -> Result<bool, Error> {
        let collection = self.unique().await?;
        match before {
            Some(before) => Ok(collection.find_one_and_replace(exactly(before), after).await?.is_some()),
            None => match collection.insert_one(after).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    async fn fingerprint(&self) -> Result<Hash, Error> {
        let mut hash = Sha256::new();
        for raw in self.all().await? {
            hash.update(raw.to_vec()?);
        }
        Ok(hash.finalize().into())
    }

    async fn watch(&self) -> Result<Watch, Error> {
        if let Err(error) = self.unique().await {
            if !is_duplicate(&error) {
                return Err(error);
            }
            tracing::error!("{}: names are not unique: {}", self.label, reason(&error));
        }
        match self.collection().await?.watch().await {
            Ok(stream) => Ok(Watch::Stream(Box::new(stream))),
            Err(error) if matches!(*error.kind, ErrorKind::Command(_)) => {
                let (store, reason) = (&self.label, reason(&error));
                tracing::info!(
                    "{store}: the server tells no changes ({reason}); looking for them every {LOOK_EVERY:?}"
                );
                self.fingerprint().await.map(Watch::Polling)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the next change. Nothing is lost where the wait is broken off.
    async fn next_change(&self, watch: &mut Watch) -> Result<(), Error> {
        match watch {
            // What was before the watch is not known.
            Watch::Not => *watch = self.watch().await?,
            Watch::Stream(stream) => match stream.next().await.transpose()? {
                // Many changes at once are as good as one.
                Some(_) => while let Some(Some(Ok(_))) = stream.next().now_or_never() {},
                // The collection was dropped or renamed.
                None => *watch = Watch::Not,
            },
            Watch::Polling(seen) => loop {
                let found = self.fingerprint().await?;
                if std::mem::replace(seen, found) != found {
                    break;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            },
        }
        Ok(())
    }
}

fn hosts(address: &ConnectionString) -> String {
    match &address.host_info {
        HostInfo::HostIdentifiers(hosts) => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        HostInfo::DnsRecord(name) => name.clone(),
        _ => String::new(),
    }
}

/// Matches the document `before` if nothing at all of it has changed.
fn exactly(before: &Raw) -> Raw {
    let id = before.get("_id").cloned().unwrap_or(Bson::Null);
    doc! {"_id": id, "$expr": {"$eq": ["$$ROOT", {"$literal": before.clone()}]}}
}

fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// What is wrong, for people.
fn reason(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } => format!("no server answers: {message}"),
        ErrorKind::Command(error) => format!("{} ({})", error.message, error.code_name),
        other => other.to_string(),
    }
}

#[async_trait]
impl PipelineStore for Mongodb {
    async fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for raw in self.all().await.map_err(|error| self.unavailable(&error))? {
            match self.stored(&raw) {
                Ok(stored) => match listing.pipelines.iter().find(|other: &&Stored| other.name == stored.name) {
                    None => listing.pipelines.push(stored),
                    Some(Stored { name, origin, .. }) => {
                        let reason = format!("{origin}: another document has the name `{name}` too");
                        listing.unreadable.push(Unreadable { origin: stored.origin, reason });
                    }
                },
                Err(lost) => listing.unreadable.push(lost),
            }
        }
        listing.pipelines.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    async fn get(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let found = self.find(name).await.map_err(|error| self.unavailable(&error))?;
        let lost = |lost: Unreadable| StoreError::Unavailable { store: self.label.clone(), reason: lost.reason };
        found.map(|raw| self.stored(&raw)).transpose().map_err(lost)
    }

    async fn put(&self, document: Document, expected: &Expected) -> Result<Stored, StoreError> {
        let (name, _) = super::check(&document, "the document")?;
        for _ in 0..MOST_TRIES {
            let before = self.expect(&name, expected).await?;
            let after = bson::raw(&document, before.as_ref(), DateTime::from_millis(now().millis()));
            if self.replace(before.as_ref(), &after).await.map_err(|error| self.unavailable(&error))? {
                let lost = |lost: Unreadable| StoreError::Unavailable { store: lost.origin, reason: lost.reason };
                return self.stored(&after).map_err(lost);
            }
        }
        Err(super::busy(&self.label, &name))
    }

    async fn delete(&self, name: &str, expected: &Expected) -> Result<(), StoreError> {
        for _ in 0..MOST_TRIES {
            let Some(before) = self.expect(name, expected).await? else {
                return Err(StoreError::Missing { name: name.into() });
            };
            let collection = self.collection().await.map_err(|error| self.unavailable(&error))?;
            let done = collection.find_one_and_delete(exactly(&before)).await;
            if done.map_err(|error| self.unavailable(&error))?.is_some() {
                return Ok(());
            }
        }
        Err(super::busy(&self.label, name))
    }

    async fn changed(&self) -> Result<(), StoreError> {
        let mut watch = self.watch.lock().await;
        self.next_change(&mut watch).await.map_err(|error| {
            *watch = Watch::Not;
            self.unavailable(&error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_that_are_none_are_refused_and_passwords_not_shown() {
        let open = |url: &str| Mongodb::open(&Settings { url: Some(url.into()), ..Settings::default() });
        for url in ["", "localhost:27017", "postgres://a/b", "mongodb://", "mongodb://a:b:c@d/e", "mongodb://a/?w=-1"] {
            assert!(open(url).is_err(), "{url} is taken");
        }
        assert!(Mongodb::open(&Settings::default()).is_err());
        let store = open("mongodb://me:secret@127.0.0.1:9,b.example/there?w=1").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(store.label, "mongodb://127.0.0.1:9,b.example:27017/there.pipelines");
        let store = open("mongodb://me:secret@127.0.0.1:9").unwrap_or_else(|e| panic!("{e}"));
        let error = store.list().await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:9/openanomaly.pipelines: no server answers"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
