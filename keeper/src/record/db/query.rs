//! Statements with what is bound to them.

use std::marker::PhantomData;

use super::value::FromRow;
use super::{Connection, Reads, Row, Runs, Value};
use crate::record::StoreError;

/// A statement, with what is bound to it in the order of its `?`, or by number.
#[derive(Debug, Clone)]
pub(in crate::record) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// A statement. No text of anybody else belongs into `sql`: what is not ours is bound.
pub(in crate::record) fn query(sql: &str) -> Query {
    Query(Statement {
        sql: sql.to_owned(),
        values: Vec::new(),
    })
}

/// A statement whose rows are read as tuples.
pub(in crate::record) fn query_as<T: FromRow>(sql: &str) -> QueryAs<T> {
    QueryAs {
        query: query(sql),
        row: PhantomData,
    }
}

/// See [`query`].
#[must_use]
pub(in crate::record) struct Query(Statement);

/// How many rows a statement has changed.
#[derive(Debug, Clone, Copy)]
pub(in crate::record) struct Done(u64);

impl Done {
    pub(in crate::record) fn rows_affected(self) -> u64 {
        self.0
    }
}

impl Query {
    pub(in crate::record) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.0.values.push(value.into());
        self
    }

    pub(in crate::record) async fn execute(self, on: impl Runs) -> Result<Done, StoreError> {
        on.run_statement(self.0).await.map(|answer| Done(answer.changed))
    }

    /// Puts it off until something of the transaction is asked for, or it is committed: nothing waits for its answer. Many of them cost
    /// little more than one then. That it fails is told by what it runs with.
    pub(in crate::record) fn later(self, transaction: &mut Connection) {
        transaction.put_off(self.0);
    }

    pub(in crate::record) async fn fetch_all(self, on: impl Reads) -> Result<Vec<Row>, StoreError> {
        on.run_statement(self.0).await.map(|answer| answer.rows)
    }

    pub(in crate::record) async fn fetch_optional(self, on: impl Reads) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }
}

/// See [`query_as`].
#[must_use]
pub(in crate::record) struct QueryAs<T> {
    query: Query,
    row: PhantomData<fn() -> T>,
}

impl<T: FromRow> QueryAs<T> {
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

/// Questions that are asked together: they cost little more than one.
pub(in crate::record) trait Together {
    /// The rows of each.
    type Answers;

    fn fetch_together(self, on: &mut Connection) -> impl Future<Output = Result<Self::Answers, StoreError>> + Send;
}

macro_rules! together {
    ($(($($question:ident: $row:ident),+))*) => {$(
        impl<$($row: FromRow),+> Together for ($(QueryAs<$row>,)+) {
            type Answers = ($(Vec<$row>,)+);

            async fn fetch_together(self, on: &mut Connection) -> Result<Self::Answers, StoreError> {
                let ($($question,)+) = self;
                let mut answers = on.run_all(vec![$($question.query.0),+]).await?;
                Ok(($(
                    answers.next().unwrap_or_default().rows.iter().map($row::from_row).collect::<Result<_, _>>()?,
                )+))
            }
        }
    )*};
}

together! {
    (a: A, b: B) (a: A, b: B, c: C) (a: A, b: B, c: C, d: D) (a: A, b: B, c: C, d: D, e: E)
}
