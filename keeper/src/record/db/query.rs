//! Statements with what is bound to them.

use std::marker::PhantomData;

use super::value::FromRow;
use super::{Reads, Row, Runs, Value};
use crate::record::StoreError;

/// A statement. No text of anybody else belongs into `sql`: what is not ours is bound.
pub(in crate::record) fn query(sql: &str) -> Query<'_> {
    Query {
        sql,
        values: Vec::new(),
    }
}

/// A statement whose rows are read as tuples.
pub(in crate::record) fn query_as<T: FromRow>(sql: &str) -> QueryAs<'_, T> {
    QueryAs {
        query: query(sql),
        row: PhantomData,
    }
}

/// See [`query`].
pub(in crate::record) struct Query<'q> {
    sql: &'q str,
    values: Vec<Value>,
}

/// How many rows a statement has changed.
#[derive(Debug, Clone, Copy)]
pub(in crate::record) struct Done(u64);

impl Done {
    pub(in crate::record) fn rows_affected(self) -> u64 {
        self.0
    }
}

impl Query<'_> {
    pub(in crate::record) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(in crate::record) async fn execute(self, on: impl Runs) -> Result<Done, StoreError> {
        on.run_execute(self.sql, self.values).await.map(Done)
    }

    pub(in crate::record) async fn fetch_all(self, on: impl Reads) -> Result<Vec<Row>, StoreError> {
        on.run_fetch(self.sql, self.values).await
    }

    pub(in crate::record) async fn fetch_optional(self, on: impl Reads) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }
}

/// See [`query_as`].
pub(in crate::record) struct QueryAs<'q, T> {
    query: Query<'q>,
    row: PhantomData<fn() -> T>,
}

impl<T: FromRow> QueryAs<'_, T> {
    pub(in crate::record) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    pub(in crate::record) async fn fetch_all(self, on: impl Reads) -> Result<Vec<T>, StoreError> {
        self.query.fetch_all(on).await?.iter().map(T::from_row).collect()
    }

    pub(in crate::record) async fn fetch_optional(self, on: impl Reads) -> Result<Option<T>, StoreError> {
        self.query
            .fetch_optional(on)
            .await?
            .as_ref()
            .map(T::from_row)
            .transpose()
    }

    pub(in crate::record) async fn fetch_one(self, on: impl Reads) -> Result<T, StoreError> {
        self.fetch_optional(on)
            .await?
            .ok_or(StoreError::Sql(sqlx::Error::RowNotFound))
    }
}
