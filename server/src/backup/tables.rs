//! The tables of the database, as it describes them itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::BackupError;
use crate::database::Kind;

/// Who holds what, who is there, and how often others were told of changes: true of this database now, and of no other.
const OF_THE_MOMENT: [&str; 3] = ["leases", "instances", "revisions"];

/// How many values go into the database at a time; both kinds take far more.
const VALUES_AT_A_TIME: usize = 2000;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColumnType {
    Text,
    Integer,
    Real,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: ColumnType,
}

/// A table with some or all of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

/// All tables whose rows are worth keeping, in the order of their names.
pub(super) async fn all(kind: Kind, connection: &mut AnyConnection) -> Result<Vec<Table>, BackupError> {
    let select = match kind {
        Kind::Sqlite => {
            "SELECT m.name, c.name, LOWER(c.type) FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY m.name, c.cid"
        }
        Kind::Postgres => {
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT) \
             FROM information_schema.columns WHERE table_schema = current_schema() \
             ORDER BY table_name COLLATE \"C\", ordinal_position"
        }
    };
    let rows: Vec<(String, String, String)> = sqlx::query_as(select).fetch_all(connection).await?;
    let mut tables: Vec<Table> = vec![];
    for (table, column, kind) in rows {
        if table == "_sqlx_migrations" || OF_THE_MOMENT.contains(&table.as_str()) {
            continue;
        }
        let kind = match kind.as_str() {
            "text" => ColumnType::Text,
            "bigint" => ColumnType::Integer,
            "double precision" => ColumnType::Real,
            _ => return Err(BackupError::Type { table, column, kind }),
        };
        if tables.last().is_none_or(|last| last.name != table) {
            tables.push(Table { name: table, columns: vec![] });
        }
        tables.last_mut().into_iter().for_each(|last| last.columns.push(Column { name: column.clone(), kind }));
    }
    Ok(tables)
}

impl Table {
    fn column_names(&self) -> String {
        let quoted: Vec<String> = self.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        quoted.join(", ")
    }

    /// The statement that reads all rows.
    pub(super) fn select(&self) -> String {
        format!("SELECT {} FROM \"{}\"", self.column_names(), self.name)
    }

    /// A row of [`select`](Self::select), as an archive holds it. A real number is text: what is read from JSON as a
    /// number may differ in its last bit, and JSON knows nothing infinite.
    pub(super) fn values(&self, row: &AnyRow) -> Result<Vec<Value>, sqlx::Error> {
        let value = |(index, column): (usize, &Column)| match column.kind {
            ColumnType::Text => row.try_get::<Option<String>, _>(index).map(Value::from),
            ColumnType::Integer => row.try_get::<Option<i64>, _>(index).map(Value::from),
            ColumnType::Real => {
                let value = row.try_get::<Option<f64>, _>(index)?;
                Ok(value.map(|value| value.to_string()).into())
            }
        };
        self.columns.iter().enumerate().map(value).collect()
    }

    pub(super) async fn has_rows(&self, connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let select = format!("SELECT 1 FROM \"{}\" LIMIT 1", self.name);
        Ok(sqlx::query(AssertSqlSafe(select)).fetch_optional(connection).await?.is_some())
    }

    pub(super) async fn clear(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM \"{}\"", self.name))).execute(connection).await?;
        Ok(())
    }
}

/// Rows on their way into a table.
pub(super) struct Insert {
    table: Table,
    rows: Vec<Vec<Value>>,
}

impl Insert {
    pub(super) fn new(table: Table) -> Self {
        Self { table, rows: vec![] }
    }

    pub(super) async fn add(&mut self, row: Vec<Value>, connection: &mut AnyConnection) -> Result<(), BackupError> {
        if row.len() != self.table.columns.len() {
            let (table, found, columns) = (&self.table.name, row.len(), self.table.columns.len());
            return Err(BackupError::Unknown { what: format!("{found} values in a row of `{table}` for {columns}") });
        }
        self.rows.push(row);
        if self.rows.len() * self.table.columns.len() >= VALUES_AT_A_TIME {
            self.flush(connection).await?;
        }
        Ok(())
    }

    /// Writes what is still to be written.
    pub(super) async fn flush(&mut self, connection: &mut AnyConnection) -> Result<(), BackupError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let columns = self.table.columns.len();
        let row = |row: usize| {
            let places: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
            format!("({})", places.join(", "))
        };
        let places: Vec<String> = (0..self.rows.len()).map(row).collect();
        let (names, table) = (self.table.column_names(), &self.table.name);
        let insert = format!("INSERT INTO \"{table}\" ({names}) VALUES {}", places.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(insert));
        for row in self.rows.drain(..) {
            for (value, column) in row.into_iter().zip(&self.table.columns) {
                query = bind(query, value, column.kind);
            }
        }
        query.execute(connection).await?;
        Ok(())
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, AnyArguments>;

/// A value that is not of its column's type is one that is missing, which the database refuses where it must be there.
fn bind(query: Query<'_>, value: Value, kind: ColumnType) -> Query<'_> {
    match kind {
        ColumnType::Text => query.bind(value.as_str().map(str::to_owned)),
        ColumnType::Integer => query.bind(value.as_i64()),
        ColumnType::Real => query.bind(value.as_str().and_then(|text| text.parse::<f64>().ok())),
    }
}
