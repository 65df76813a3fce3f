//! Copies of the database: written while the service runs, checked, and put back, into SQLite or PostgreSQL.
//!
//! A copy is what one transaction sees, so that it fits together. It goes row by row rather than page by page, so
//! that either kind of database can take it back.

pub mod archive;
mod tables;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::{AnyConnection, AssertSqlSafe};
use tsdb::Timestamp;

use crate::database::{self, Database, DatabaseError, Kind};
use archive::{ArchiveError, Entry, Header, Reader, Writer};
use tables::{Column, Insert, Table};

/// Why a copy was not made or not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It belongs to another version of the program.
    #[error(
        "the backup has the migration {found} and was made by openanomaly {version}, this version has {known}; \
         restore it with that version, which later ones bring up to date"
    )]
    Migration {
        /// The migration of the backup.
        found: i64,
        /// That of this program.
        known: i64,
        /// The program that made it.
        version: String,
    },
    /// There is something to be lost.
    #[error("the database is not empty: `{table}` has rows; --force replaces everything in it")]
    NotEmpty {
        /// The first table with rows.
        table: String,
    },
    /// The archive has what the database doesn't.
    #[error("the backup has {what}, which the database doesn't")]
    Unknown {
        /// The table or column.
        what: String,
    },
    /// A column can't be copied.
    #[error("column `{column}` of `{table}` is of the type {kind}, which can't be copied")]
    Type {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        kind: String,
    },
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What is in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Where it comes from.
    pub header: Header,
    /// How many rows each table has.
    pub rows: Vec<(String, u64)>,
}

/// Writes a copy of `database` as it is at one moment to `out`; `now` is noted in it.
///
/// # Errors
/// The database can't be read, or `out` not be written.
pub async fn write(database: &Database, out: impl Write, now: Timestamp) -> Result<Summary, BackupError> {
    let mut transaction = database.pool.begin().await?;
    if database.kind() == Kind::Postgres {
        // SQLite's transactions see one moment by themselves.
        let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        sqlx::query(snapshot).execute(&mut *transaction).await?;
    }
    let header = Header::new(database.migration(&mut transaction).await?, now);
    let mut writer = Writer::begin(out, header)?;
    for table in tables::all(database.kind(), &mut transaction).await? {
        copy(&table, &mut transaction, &mut writer).await?;
    }
    Ok(writer.finish()?)
}

async fn copy(
    table: &Table,
    connection: &mut AnyConnection,
    writer: &mut Writer<impl Write>,
) -> Result<(), BackupError> {
    writer.table(&table.name, &table.columns)?;
    let mut rows = sqlx::query(AssertSqlSafe(table.select())).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        writer.row(&table.values(&row)?)?;
    }
    Ok(())
}

/// Reads the archive at `path` from its beginning to its end, and answers what is in it.
///
/// # Errors
/// It can't be read, or is not as it was written.
pub fn verify(path: &Path) -> Result<Summary, ArchiveError> {
    check(&archive::open(path)?, path)
}

fn check(file: &File, path: &Path) -> Result<Summary, ArchiveError> {
    let mut reader = Reader::begin(file, path)?;
    while reader.next()?.is_some() {}
    Ok(reader.summary())
}

/// Puts the archive at `path` into `database`: all of it, or nothing. The archive is checked before the database is
/// touched.
///
/// # Errors
/// An archive that is damaged or of another version; a database that is not empty, unless `force` says that what is
/// in it is to be replaced.
pub async fn restore(database: &Database, path: &Path, force: bool) -> Result<Summary, BackupError> {
    let mut file = archive::open(path)?;
    let summary = check(&file, path)?;
    let known = database::newest_migration();
    if summary.header.migration != known {
        let Header { migration: found, version, .. } = summary.header;
        return Err(BackupError::Migration { found, known, version });
    }
    file.rewind().map_err(|error| ArchiveError::file(path, error))?;
    let mut transaction = database.begin().await?;
    let tables = tables::all(database.kind(), &mut transaction).await?;
    clear(&tables, &mut transaction, force).await?;
    load(Reader::begin(&file, path)?, &tables, &mut transaction).await?;
    // Whoever uses the database all the same looks at it anew.
    sqlx::query("UPDATE revisions SET revision = revision + 1").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(summary)
}

async fn clear(tables: &[Table], connection: &mut AnyConnection, force: bool) -> Result<(), BackupError> {
    for table in tables {
        if !force && table.has_rows(connection).await? {
            return Err(BackupError::NotEmpty { table: table.name.clone() });
        }
        table.clear(connection).await?;
    }
    Ok(())
}

async fn load(mut reader: Reader<'_>, tables: &[Table], connection: &mut AnyConnection) -> Result<(), BackupError> {
    let mut insert: Option<Insert> = None;
    while let Some(entry) = reader.next()? {
        match (entry, &mut insert) {
            (Entry::Table { name, columns }, insert) => {
                if let Some(mut before) = insert.take() {
                    before.flush(connection).await?;
                }
                *insert = Some(Insert::new(known(tables, &name, columns)?));
            }
            (Entry::Row(values), Some(insert)) => insert.add(values, connection).await?,
            (Entry::Row(_), None) => return Err(reader.damaged("a row belongs to no table").into()),
        }
    }
    match insert {
        Some(mut last) => Ok(last.flush(connection).await?),
        None => Ok(()),
    }
}

/// The table `name` with `columns`, where the database has them: what an archive says is never made into a statement
/// before.
fn known(tables: &[Table], name: &str, columns: Vec<Column>) -> Result<Table, BackupError> {
    let missing = |what| BackupError::Unknown { what };
    let table = tables.iter().find(|table| table.name == name).ok_or_else(|| missing(format!("a table `{name}`")))?;
    if let Some(column) = columns.iter().find(|column| !table.columns.contains(column)) {
        return Err(missing(format!("a column `{}` in `{name}`", column.name)));
    }
    Ok(Table { name: name.to_owned(), columns })
}

#[cfg(test)]
mod tests;
