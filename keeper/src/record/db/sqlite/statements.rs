//! Statements on a connection, several as one text.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Either, Executor, Row as _, SqliteConnection, TypeInfo, ValueRef};

use crate::record::db::{Answer, Kind, Row, Statement, Value};

/// Statements that go in one text at most.
pub(super) const TOGETHER: usize = 16;

/// One statement of several: every value is bound where it stands, once for each time that it is named by number.
pub(super) fn unnumbered(statement: Statement) -> Statement {
    let Statement { sql, values } = statement;
    let mut out = String::with_capacity(sql.len());
    let mut bound = Vec::with_capacity(values.len());
    let mut next = 0_usize;
    let mut parts = sql.split('?');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let at = number.parse().map_or(next, |number: usize| number.saturating_sub(1));
        next = at.saturating_add(1).max(next);
        bound.push(values.get(at).cloned().unwrap_or(Value::Null(Kind::Int)));
        out.push('?');
        out.push_str(rest);
    }
    Statement {
        sql: out,
        values: bound,
    }
}

/// Several statements as one text: each costs a way to the connection's thread and back, if it goes by itself.
fn joined(statements: Vec<Statement>) -> Statement {
    let mut all = Statement {
        sql: String::new(),
        values: Vec::new(),
    };
    for statement in statements.into_iter().map(unnumbered) {
        if !all.sql.is_empty() {
            all.sql.push_str(";\n");
        }
        all.sql.push_str(&statement.sql);
        all.values.extend(statement.values);
    }
    all
}

type Bound<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bound(statement: Statement) -> Bound<'static> {
    let query = sqlx::query(AssertSqlSafe(statement.sql));
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Blob(bytes) => query.bind(bytes),
        Value::Null(_) => query.bind(None::<i64>),
    })
}

/// They in their order, [`TOGETHER`] at a time.
pub(super) fn parts<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<T> = all.by_ref().take(TOGETHER).collect();
        (!part.is_empty()).then_some(part)
    })
}

/// Runs them one after the other; answers what each of them answers.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    statements: Vec<Statement>,
) -> Result<Vec<Answer>, sqlx::Error> {
    let mut answers = Vec::with_capacity(statements.len());
    for part in parts(statements) {
        let text = match <[Statement; 1]>::try_from(part) {
            Ok([statement]) => statement,
            Err(several) => joined(several),
        };
        run_text(connection, text, &mut answers).await?;
    }
    Ok(answers)
}

/// Runs the statements of a text; adds what each of them answers.
async fn run_text(
    connection: &mut SqliteConnection,
    text: Statement,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let mut rows = Vec::new();
    let mut columns: Option<Arc<[String]>> = None;
    let mut stream = connection.fetch_many(bound(text));
    while let Some(part) = stream.try_next().await? {
        match part {
            Either::Left(done) => {
                columns = None;
                answers.push(Answer {
                    rows: std::mem::take(&mut rows),
                    changed: done.rows_affected(),
                });
            }
            Either::Right(row) => {
                let columns = columns.get_or_insert_with(|| names(&row));
                rows.push(read(&row, columns)?);
            }
        }
    }
    Ok(())
}

fn names(row: &SqliteRow) -> Arc<[String]> {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}

fn read(row: &SqliteRow, columns: &Arc<[String]>) -> Result<Row, sqlx::Error> {
    let values = (0..columns.len())
        .map(|at| {
            let raw = row.try_get_raw(at)?;
            if raw.is_null() {
                return Ok(Value::Null(Kind::Int));
            }
            let kind = raw.type_info().name().to_owned();
            match kind.as_str() {
                "TEXT" => row.try_get(at).map(Value::Text),
                "BLOB" => row.try_get(at).map(Value::Blob),
                _ => row.try_get(at).map(Value::Int),
            }
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Row::new(Arc::clone(columns), values))
}
