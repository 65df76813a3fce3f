//! PostgreSQL, as `initdb` makes it.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{Connection, Executor, PgConnection};

use crate::eventually;
use crate::server::{Program, Ready, Server};

const SOURCE: &str = "`apt-get install --no-install-recommends postgresql-15` brings it";

/// A PostgreSQL of a test's own. Whoever reaches it may do everything.
pub struct Postgres(Server);

impl Postgres {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where it can't be started.
    pub async fn start() -> Self {
        let folder = binaries();
        let program = Program {
            binary: folder.join("postgres").to_string_lossy().into_owned().into(),
            source: SOURCE,
            ready: Ready::Listens,
            owner: owner(),
            // At once, and with all of its processes.
            end: "-QUIT",
        };
        let server = Server::start(&program, |dir, address| {
            let data = dir.join("data");
            initialize(&folder, &program, dir, &data);
            let (host, port) = address.split_once(':').expect("an address has a port");
            let settings = ["unix_socket_directories=", "fsync=off", "max_connections=200"];
            let arguments = ["-D", &data.to_string_lossy(), "-h", host, "-p", port].map(String::from);
            let settings = settings.into_iter().flat_map(|setting| ["-c", setting]).map(String::from);
            arguments.into_iter().chain(settings).collect()
        });
        let server = Self(server.await);
        server.answers().await;
        server
    }

    /// The address of the database that is there from the start.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes a new and empty database, and answers its address.
    ///
    /// # Panics
    /// Where there is one of this name.
    pub async fn database(&self, name: &str) -> String {
        let mut connection = PgConnection::connect(&self.url()).await.expect("the server is up");
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(statement).await.expect("the name is new");
        self.url_of(name)
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
        self.answers().await;
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.0.address)
    }

    /// It listens before it answers.
    async fn answers(&self) {
        eventually("an answer of PostgreSQL", async || PgConnection::connect(&self.url()).await.ok()).await;
    }
}

/// The newest version of Debian's packages, or whatever is in the path.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .max_by_key(|folder| folder.iter().rev().nth(1).and_then(|version| version.to_str()?.parse::<u32>().ok()));
    newest.unwrap_or_default()
}

/// PostgreSQL refuses to run as root; Debian's package makes a user for it.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().expect("`id` is everywhere");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("there is no user `postgres`: {SOURCE}"))
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn initialize(binaries: &Path, program: &Program, dir: &Path, data: &Path) {
    let mut command = Command::new(binaries.join("initdb"));
    if let Some((user, group)) = program.owner {
        chown(dir, Some(user), Some(group)).expect("root may give a folder away");
        command.uid(user).gid(group);
    }
    command.current_dir(dir).args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
    let output = command.arg(data).output().unwrap_or_else(|e| panic!("`initdb` can't be started ({e}): {SOURCE}"));
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn data_outlives_a_stop() {
        let mut server = Postgres::start().await;
        let url = server.database("a").await;
        let mut connection = PgConnection::connect(&url).await.expect("the database is there");
        connection.execute("CREATE TABLE t (a BIGINT)").await.expect("the table is new");
        server.stop();
        assert!(PgConnection::connect(&url).await.is_err());
        server.start_again().await;
        let mut connection = PgConnection::connect(&url).await.expect("the database is there");
        connection.execute("INSERT INTO t VALUES (1)").await.expect("the table is there");
    }
}
