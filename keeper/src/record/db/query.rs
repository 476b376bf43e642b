//! Statements with what is bound to them.

use std::marker::PhantomData;

use super::value::FromRow;
use super::{Answer, Connection, Reads, Row, Runs, Value};
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
pub(in crate::record) trait Together: Send + Sized {
    /// The rows of each.
    type Answers: Send;

    /// The statements, and how what they answer is read, in their order.
    fn ask(
        self,
    ) -> (
        Vec<Statement>,
        impl FnOnce(&mut Coming) -> Result<Self::Answers, StoreError> + Send,
    );

    fn fetch_together(self, on: &mut Connection) -> impl Future<Output = Result<Self::Answers, StoreError>> + Send {
        async move {
            let (statements, read) = self.ask();
            read(&mut on.run_all(statements).await?)
        }
    }
}

/// Answers that were not read yet.
pub(in crate::record) type Coming = std::iter::Skip<std::vec::IntoIter<Answer>>;

fn rows<T: FromRow>(coming: &mut Coming) -> Result<Vec<T>, StoreError> {
    let answer = coming.next().unwrap_or_default();
    answer.rows.iter().map(T::from_row).collect()
}

impl<T: FromRow + Send> Together for Vec<QueryAs<T>> {
    type Answers = Vec<Vec<T>>;

    fn ask(
        self,
    ) -> (
        Vec<Statement>,
        impl FnOnce(&mut Coming) -> Result<Self::Answers, StoreError> + Send,
    ) {
        let count = self.len();
        let statements = self.into_iter().map(|question| question.query.0).collect();
        (statements, move |coming: &mut Coming| {
            (0..count).map(|_| rows(coming)).collect()
        })
    }
}

/// Two sets of questions as one.
pub(in crate::record) struct Both<A, B>(pub(in crate::record) A, pub(in crate::record) B);

impl<A: Together, B: Together> Together for Both<A, B> {
    type Answers = (A::Answers, B::Answers);

    fn ask(
        self,
    ) -> (
        Vec<Statement>,
        impl FnOnce(&mut Coming) -> Result<Self::Answers, StoreError> + Send,
    ) {
        let ((mut statements, first), (others, second)) = (self.0.ask(), self.1.ask());
        statements.extend(others);
        (statements, |coming: &mut Coming| Ok((first(coming)?, second(coming)?)))
    }
}

macro_rules! together {
    ($(($($question:ident: $row:ident),+))*) => {$(
        impl<$($row: FromRow + Send),+> Together for ($(QueryAs<$row>,)+) {
            type Answers = ($(Vec<$row>,)+);

            fn ask(self) -> (Vec<Statement>, impl FnOnce(&mut Coming) -> Result<Self::Answers, StoreError> + Send) {
                let ($($question,)+) = self;
                let statements = vec![$($question.query.0),+];
                (statements, |coming: &mut Coming| Ok(($(rows::<$row>(coming)?,)+)))
            }
        }
    )*};
}

together! {
    (a: A, b: B) (a: A, b: B, c: C) (a: A, b: B, c: C, d: D) (a: A, b: B, c: C, d: D, e: E)
}
