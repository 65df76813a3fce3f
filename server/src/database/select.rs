//! Questions whose conditions depend on what was asked for.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::QueryAs;
use sqlx::{Any, AssertSqlSafe, FromRow};

use super::{Database, DatabaseError};

/// A value of a condition. It never becomes part of the statement's text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// A `SELECT` that conditions are added to.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    text: String,
    joint: &'static str,
    values: Vec<Value>,
}

impl Select {
    /// All columns and rows of `table`.
    pub fn all(table: &'static str) -> Self {
        Self { text: format!("SELECT * FROM {table}"), joint: " WHERE ", values: vec![] }
    }

    /// Only rows for which `condition` holds; each `?` in it is one of `values`.
    #[must_use]
    pub fn and(mut self, condition: &'static str, values: impl IntoIterator<Item = Value>) -> Self {
        self.text += std::mem::replace(&mut self.joint, " AND ");
        self.add(condition, values);
        self
    }

    /// The same where there is a `value`.
    #[must_use]
    pub fn and_if<V: Into<Value>>(self, condition: &'static str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.and(condition, [value.into()]),
            None => self,
        }
    }

    /// Only rows whose `column` is one of `values`.
    #[must_use]
    pub fn and_in(self, column: &'static str, values: impl IntoIterator<Item = String>) -> Self {
        let mut select = self.and(column, []);
        select.text += " IN (";
        let before = select.values.len();
        for value in values {
            let next = if select.values.len() > before { ", ?" } else { "?" };
            select.add(next, [value.into()]);
        }
        // An empty list has to be written in another way: nothing is in it.
        select.text += if select.values.len() > before { ")" } else { "NULL)" };
        select
    }

    /// What follows the conditions: the order, and how many rows.
    #[must_use]
    pub fn then(mut self, end: &'static str, values: impl IntoIterator<Item = Value>) -> Self {
        self.text.push(' ');
        self.add(end, values);
        self
    }

    fn add(&mut self, text: &'static str, values: impl IntoIterator<Item = Value>) {
        let mut parts = text.split('?');
        self.text += parts.next().unwrap_or_default();
        for (part, value) in parts.zip(values) {
            self.values.push(value);
            self.text += &format!("${}{part}", self.values.len());
        }
    }

    fn query<T: for<'r> FromRow<'r, AnyRow>>(self) -> QueryAs<'static, Any, T, AnyArguments> {
        // The text consists of what is written in this program.
        self.values.into_iter().fold(sqlx::query_as(AssertSqlSafe(self.text)), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Integer(number) => query.bind(number),
            Value::Real(number) => query.bind(number),
        })
    }

    /// The rows.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn rows<T>(self, database: &Database) -> Result<Vec<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        Ok(self.query().fetch_all(&database.pool).await?)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn row<T>(self, database: &Database) -> Result<Option<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        Ok(self.query().fetch_optional(&database.pool).await?)
    }
}

/// The placeholders of an `INSERT` of many rows: `($1, $2), ($3, $4)`.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let cells: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", cells.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_become_numbered_placeholders() {
        let select = Select::all("runs")
            .and_if("pipeline = ?", Some("a".to_string()))
            .and_if("stage = ?", None::<String>)
            .and("(at, id) < (?, ?)", [5.into(), "x".to_string().into()])
            .and_in("id", ["p".to_string(), "q".to_string()])
            .and_in("owner", [])
            .then("ORDER BY at LIMIT ?", [7.into()]);
        let text = "SELECT * FROM runs WHERE pipeline = $1 AND (at, id) < ($2, $3) AND id IN ($4, $5) \
                    AND owner IN (NULL) ORDER BY at LIMIT $6";
        assert_eq!(select.text, text);
        assert_eq!(select.values.len(), 6);
    }

    #[test]
    fn every_cell_has_a_placeholder() {
        assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
