//! SQLite in WAL mode: one file, one keeper.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Column, Row as _, SqliteConnection, SqlitePool, TypeInfo, ValueRef};

use super::{Database, Kind, Row, Session, Value};
use crate::record::StoreError;

/// The file.
#[derive(Debug)]
pub(super) struct Sqlite(SqlitePool);

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An intent must outlive a power cut: every commit reaches the disk.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source,
            })?;
        sqlx::migrate!("./migrations/sqlite").run(&pool).await?;
        Ok(Self(pool))
    }
}

impl Database for Sqlite {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async {
            // The write lock from the start, so that the transaction cannot fail half way for want of it.
            let tx = self.0.begin_with("BEGIN IMMEDIATE").await?;
            Ok(Box::new(Writing(tx)) as Box<dyn Session>)
        })
    }

    fn acquire(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async { Ok(Box::new(Reading(self.0.acquire().await?)) as Box<dyn Session>) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.close())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

struct Writing(sqlx::Transaction<'static, sqlx::Sqlite>);

struct Reading(PoolConnection<sqlx::Sqlite>);

impl Session for Writing {
    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, sqlx::Error>> {
        Box::pin(fetch(&mut self.0, sql, values))
    }

    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(execute(&mut self.0, sql, values))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.0.commit())
    }
}

impl Session for Reading {
    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, sqlx::Error>> {
        Box::pin(fetch(&mut self.0, sql, values))
    }

    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(execute(&mut self.0, sql, values))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async { Ok(()) })
    }
}

type Bound<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bound(sql: &str, values: Vec<Value>) -> Bound<'static> {
    values
        .into_iter()
        .fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
            Value::Int(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Blob(bytes) => query.bind(bytes),
            Value::Null(_) => query.bind(None::<i64>),
        })
}

async fn fetch(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, sqlx::Error> {
    let rows = bound(sql, values).fetch_all(connection).await?;
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    rows.iter().map(|row| read(row, &columns)).collect()
}

async fn execute(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Result<u64, sqlx::Error> {
    Ok(bound(sql, values).execute(connection).await?.rows_affected())
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
