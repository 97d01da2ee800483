//! `WHERE` clauses that grow with the query. Clauses are constant text; values are always bound.

use fettle_ports::{Page, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::de::DeserializeOwned;

use super::codec::{decode, from_sql, to_sql};
use super::failure::Failure;

/// Conditions with their values, all of which must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    clauses: Vec<&'static str>,
    values: Vec<Value>,
}

/// In which order a list runs over its sequence numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

impl Conditions {
    /// Adds a condition with one `?`.
    pub(super) fn and(&mut self, clause: &'static str, value: impl Into<Value>) {
        self.clauses.push(clause);
        self.values.push(value.into());
    }

    /// Adds a condition with one `?`, where there is a value.
    pub(super) fn and_if(&mut self, clause: &'static str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.and(clause, value.as_ref().to_owned());
        }
    }

    fn where_clause(&self) -> String {
        if self.clauses.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.clauses.join(" AND "))
        }
    }

    /// How many rows of `table` there are.
    pub(super) fn count(&self, db: &Connection, table: &str) -> Result<u64, Failure> {
        let sql = format!("SELECT COUNT(*) FROM {table}{}", self.where_clause());
        let mut statement = db.prepare_cached(&sql)?;
        let count = statement.query_row(params_from_iter(&self.values), |row| row.get(0))?;
        Ok(from_sql(count))
    }

    /// A page of rows by `seq`.
    pub(super) fn page<T>(
        mut self,
        db: &Connection,
        select: &str,
        order: Order,
        page: Page,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        let (after, direction) = match order {
            Order::Ascending => ("seq > ?", " ORDER BY seq ASC"),
            Order::Descending => ("seq < ?", " ORDER BY seq DESC"),
        };
        if let Some(cursor) = page.after {
            self.and(after, cursor);
        }
        self.rows(db, select, direction, page.offset, page.limit, read)
    }

    /// A page of records of a `kind` with their sequence numbers; `select` gives `seq`, the id and the JSON body.
    pub(super) fn records<T: DeserializeOwned>(
        self,
        db: &Connection,
        select: &str,
        order: Order,
        page: Page,
        kind: &'static str,
    ) -> Result<Vec<(i64, T)>, Failure> {
        let rows: Vec<(i64, String, String)> = self.page(db, select, order, page, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let records = rows
            .into_iter()
            .map(|(seq, id, body)| Ok((seq, decode(kind, &id, &body)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(records)
    }

    /// Rows in the order that `order_by` says.
    pub(super) fn rows<T>(
        mut self,
        db: &Connection,
        select: &str,
        order_by: &str,
        offset: u64,
        limit: u64,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        let sql = format!("{select}{}{order_by} LIMIT ? OFFSET ?", self.where_clause());
        self.values.push(to_sql(limit).into());
        self.values.push(to_sql(offset).into());
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(&self.values), read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
