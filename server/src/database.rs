//! What the service remembers beside the series: one SQL database, SQLite in a file or PostgreSQL for many processes.
//!
//! The statements are those that both understand; each file below holds the rows of one table.

pub mod api_keys;
pub mod audit_log;
pub mod drifts;
pub mod feedback;
pub mod incidents;
pub mod jobs;
pub mod leases;
pub mod models;
pub mod pipelines;
pub mod recipes;
pub mod retention;
pub mod runs;
pub mod select;
pub mod settings;
pub mod users;

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::atomic::{self, AtomicU64};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, Transaction};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a statement waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address is none that is known.
    #[error("`{url}` is no database; write sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME")]
    Address {
        /// What was found, without a password.
        url: String,
    },
    /// It can't be opened.
    #[error("the database {url}: {source}")]
    Open {
        /// Which, without a password.
        url: String,
        /// Why.
        source: sqlx::Error,
    },
    /// It was written by a newer version of this program.
    #[error(
        "the database {url} has the migration {version}, which this version of openanomaly doesn't know; use a newer one"
    )]
    Newer {
        /// Which, without a password.
        url: String,
        /// The migration.
        version: i64,
    },
    /// It was last used by an older version of this program.
    #[error("the database {url} is not up to date; `openanomaly run` brings it up to date")]
    Older {
        /// Which, without a password.
        url: String,
    },
    /// A migration failed.
    #[error("the database {url}: {source}")]
    Migration {
        /// Which, without a password.
        url: String,
        /// Why.
        source: MigrateError,
    },
    /// A statement failed.
    #[error("the database: {0}")]
    Statement(#[source] sqlx::Error),
}

/// Statements that have failed in this process.
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// How many statements have failed in this process, for the metrics.
pub fn failures() -> u64 {
    FAILURES.load(atomic::Ordering::Relaxed)
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        FAILURES.fetch_add(1, atomic::Ordering::Relaxed);
        Self::Statement(error)
    }
}

/// Which kind of database it is, where that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of this process.
    Sqlite,
    /// A server, which other processes may use too.
    Postgres,
}

/// The database. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Database {
    pub(crate) pool: AnyPool,
    kind: Kind,
}

impl Database {
    /// Opens the database at `url`, `sqlite:FILE` or `postgres://…`, makes it where it is a file that isn't there, and
    /// brings its tables up to date.
    ///
    /// # Errors
    /// It can't be opened, or belongs to a newer version of this program.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        keep_private(url);
        let database = Self::connect(url, "rwc").await?;
        let shown = || without_password(url);
        MIGRATIONS.run(&database.pool).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => DatabaseError::Newer { url: shown(), version },
            source => DatabaseError::Migration { url: shown(), source },
        })?;
        Ok(database)
    }

    /// Opens the database at `url` as it is, beside the service that uses it.
    ///
    /// # Errors
    /// There is none, or it belongs to another version of this program.
    pub async fn existing(url: &str) -> Result<Self, DatabaseError> {
        let database = Self::connect(url, "rw").await?;
        let found = database.migration(&mut *database.pool.acquire().await?).await?;
        match found.cmp(&newest_migration()) {
            Ordering::Equal => Ok(database),
            Ordering::Less => Err(DatabaseError::Older { url: without_password(url) }),
            Ordering::Greater => Err(DatabaseError::Newer { url: without_password(url), version: found }),
        }
    }

    /// Opens the database at `url` as it is, and changes nothing; nothing, where there is none that holds pipelines.
    ///
    /// # Errors
    /// It can't be opened.
    pub async fn look(url: &str) -> Result<Option<Self>, DatabaseError> {
        if file_of(url).is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        let database = Self::connect(url, "rw").await?;
        match sqlx::query("SELECT 1 FROM pipelines").fetch_optional(&database.pool).await {
            Ok(_) => Ok(Some(database)),
            Err(sqlx::Error::Database(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what is at `url`, a file in the `mode` of SQLite.
    async fn connect(url: &str, mode: &str) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let shown = without_password(url);
        let kind = match url.split_once(':') {
            Some(("sqlite", _)) => Kind::Sqlite,
            Some(("postgres" | "postgresql", _)) => Kind::Postgres,
            _ => return Err(DatabaseError::Address { url: shown }),
        };
        let (address, connections) = match kind {
            Kind::Sqlite => (format!("{url}?mode={mode}"), 4),
            Kind::Postgres => (url.to_owned(), 16),
        };
        let open = |source| DatabaseError::Open { url: shown.clone(), source };
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if kind == Kind::Sqlite {
                        // One writes at a time, and who has much to write takes a while.
                        sqlx::query("PRAGMA busy_timeout = 30000").execute(connection).await?;
                    }
                    Ok(())
                })
            })
            .connect(&address)
            .await
            .map_err(open)?;
        if kind == Kind::Sqlite && mode == "rwc" {
            // Readers don't wait for the one that writes, and the file is whole after a crash.
            sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await.map_err(open)?;
        }
        Ok(Self { pool, kind })
    }

    /// The newest migration that it has, as `connection` sees it.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn migration(&self, connection: &mut AnyConnection) -> Result<i64, DatabaseError> {
        let (version,): (i64,) =
            sqlx::query_as("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").fetch_one(connection).await?;
        Ok(version)
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// It doesn't.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Begins a transaction that will write. Where only one can write at a time, it waits for its turn here and not in its
    /// midst, where it would fail.
    ///
    /// # Errors
    /// The database can't be reached, or others write for too long.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres => self.pool.begin().await,
        }
    }

    /// Now, in milliseconds, as an expression: one clock for all processes, however their own go.
    pub fn clock(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "CAST(unixepoch('subsec') * 1000 AS BIGINT)",
            Kind::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// Lets all connections go, so that the next opening finds a file that is whole.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The newest migration that this program knows.
pub fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Makes the file of an SQLite address where it isn't there, for its owner alone: it holds what logins are signed with.
/// What SQLite puts beside it is as the file is.
fn keep_private(url: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let Some(path) = file_of(url).filter(|path| !path.starts_with(":memory:")) else { return };
    // Where it can't be made, opening it says why.
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// The address of the database in the file `path`.
pub fn file_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// The file of an SQLite address.
pub fn file_of(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite:").map(|path| PathBuf::from(path.trim_start_matches("//")))
}

/// An address as it may be shown.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}:…@{host}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

/// A database for a test.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Database, file_url};

    /// A new database, which goes when this is dropped.
    pub(crate) struct Temporary {
        database: Database,
        _folder: tempfile::TempDir,
    }

    impl std::ops::Deref for Temporary {
        type Target = Database;

        fn deref(&self) -> &Database {
            &self.database
        }
    }

    pub(crate) async fn database() -> Temporary {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let database = Database::open(&file_url(&folder.path().join("state.db"))).await;
        Temporary { database: database.expect("the folder is new"), _folder: folder }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_made_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let url = file_url(&folder.path().join("state.db"));
        for _ in 0..2 {
            let database = Database::open(&url).await.unwrap();
            let insert =
                "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
            sqlx::query(insert).bind("a").bind("b").execute(&database.pool).await.unwrap();
            let permissions = std::fs::metadata(folder.path().join("state.db")).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, 0o600, "it is nobody else's business");
            database.close().await;
        }
    }

    #[tokio::test]
    async fn a_newer_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let url = file_url(&folder.path().join("state.db"));
        let database = Database::open(&url).await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'from the future', TRUE, x'00', 0)";
        sqlx::query(newer).execute(&database.pool).await.unwrap();
        database.close().await;
        let error = Database::open(&url).await.unwrap_err().to_string();
        assert!(error.contains("migration 9999") && error.contains("newer"), "{error}");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("postgres://me:secret@host/db"), "postgres://me:…@host/db");
        assert_eq!(without_password("sqlite:a.db"), "sqlite:a.db");
    }
}
