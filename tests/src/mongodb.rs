//! MongoDB: a replica set of one, or a server by itself.

use std::path::PathBuf;

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use crate::eventually;
use crate::server::{Program, Ready, Server};

const SOURCE: &str = "`./test` fetches it; OPENANOMALY_TEST_MONGOD names another one";

/// What kind of MongoDB it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// It tells of changes.
    ReplicaSet,
    /// It doesn't.
    Standalone,
}

/// A MongoDB of a test's own. Whoever reaches it may do everything.
pub struct MongoDb(Server);

impl MongoDb {
    /// Starts it and waits until it takes writes.
    ///
    /// # Panics
    /// Where it can't be started.
    pub async fn start(topology: Topology) -> Self {
        let program = Program {
            binary: binary().to_string_lossy().into_owned().into(),
            source: SOURCE,
            ready: Ready::Listens,
            owner: None,
            end: "-TERM",
        };
        let server = Server::start(&program, |dir, address| {
            std::fs::create_dir_all(dir.join("data")).expect("the folder is new");
            let (host, port) = address.split_once(':').expect("an address has a port");
            let data = dir.join("data").to_string_lossy().into_owned();
            let arguments = ["--dbpath", &data, "--bind_ip", host, "--port", port, "--nounixsocket"];
            let parameters = ["diagnosticDataCollectionEnabled=false", "shutdownTimeoutMillisForSignaledShutdown=100"];
            let lean =
                ["--wiredTigerCacheSizeGB", "0.25", "--setParameter", parameters[0], "--setParameter", parameters[1]];
            let set: &[&str] = if topology == Topology::ReplicaSet { &["--replSet", "rs0"] } else { &[] };
            arguments.iter().chain(&lean).chain(set).map(ToString::to_string).collect()
        });
        let server = Self(server.await);
        if topology == Topology::ReplicaSet {
            let members = [doc! {"_id": 0, "host": &server.0.address}];
            let set = doc! {"replSetInitiate": {"_id": "rs0", "members": members.as_slice()}};
            let initiated = server.client(true).await.database("admin").run_command(set).await;
            initiated.expect("the server is new");
        }
        server.takes_writes().await;
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("mongodb://{}", self.0.address)
    }

    /// The documents of `collection` in `database`, as any other program sees them.
    ///
    /// # Panics
    /// Where it can't be reached.
    pub async fn collection(&self, database: &str, collection: &str) -> Collection<Document> {
        self.client(false).await.database(database).collection(collection)
    }

    /// Ends it at once; its data and its address stay.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Starts it anew on the same data and address.
    ///
    /// # Panics
    /// Where it can't be started.
    pub async fn start_again(&mut self) {
        self.0.start_again().await;
        self.takes_writes().await;
    }

    async fn client(&self, is_direct: bool) -> Client {
        let mut options = ClientOptions::parse(self.url()).await.expect("the address is right");
        options.direct_connection = is_direct.then_some(true);
        Client::with_options(options).expect("the options are right")
    }

    /// It listens before it answers, and a replica set has to choose whom to write to.
    async fn takes_writes(&self) {
        let collection = self.collection("harness", "probes").await;
        eventually("a MongoDB that takes writes", async || collection.insert_one(doc! {}).await.ok()).await;
    }
}

/// The server of the version that `./test` fetches, unless the environment says otherwise.
fn binary() -> PathBuf {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache"))).unwrap_or_default();
    given("OPENANOMALY_TEST_MONGOD").unwrap_or_else(|| cache().join("openanomaly/mongodb-6.0.5/mongod"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_kinds_keep_data_over_a_stop() {
        for topology in [Topology::Standalone, Topology::ReplicaSet] {
            let mut server = MongoDb::start(topology).await;
            let collection = server.collection("a", "b").await;
            collection.insert_one(doc! {"_id": 1}).await.expect("the server takes writes");
            assert_eq!(collection.watch().await.is_ok(), topology == Topology::ReplicaSet);
            server.stop();
            server.start_again().await;
            let collection = server.collection("a", "b").await;
            assert_eq!(collection.find_one(doc! {}).await.ok().flatten(), Some(doc! {"_id": 1}));
        }
    }
}
