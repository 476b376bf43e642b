//! SQLite in WAL mode: one file, one keeper.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Column, Row as _, SqliteConnection, SqlitePool, TypeInfo, ValueRef};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{APPLIED, Database, Kind, Row, Session, Value, migrate, newest};
use crate::record::StoreError;
use crate::record::occupy::Opening;

/// How long somebody else's transaction (a command beside the keeper) is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// The file.
#[derive(Debug)]
pub(super) struct Sqlite {
    pool: SqlitePool,
    /// Whose turn it is to write. SQLite lets who waits for its lock try again now and then, so that on a slow disk one that writes
    /// much starves the others until they give up; here they get it in the order in which they came.
    turn: Arc<Mutex<()>>,
}

/// More than there are.
const STATEMENTS: usize = 1_000;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let _opening = Opening::of(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An intent must outlive a power cut: every commit reaches the disk.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Every statement of the record is prepared once for each connection.
            .statement_cache_capacity(STATEMENTS)
            .busy_timeout(BUSY);
        let file = Self::connect(path, options, 4).await?;
        let applied = sqlx::query_scalar(APPLIED)
            .fetch_all(&file.pool)
            .await
            .unwrap_or_default();
        migrate(&MIGRATIONS, &applied, async |version| {
            MIGRATIONS.run_to(version, &file.pool).await
        })
        .await?;
        Ok(file)
    }

    /// Opens a file that is there, to read what it holds.
    pub(super) async fn look_into(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY);
        Self::connect(path, options, 1).await
    }

    async fn connect(path: &Path, options: SqliteConnectOptions, most: u32) -> Result<Self, StoreError> {
        let pool = SqlitePoolOptions::new()
            .max_connections(most)
            // A file does not hang up.
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            pool,
            turn: Arc::default(),
        })
    }
}

impl Database for Sqlite {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            // The write lock from the start, so that the transaction cannot fail half way for want of it.
            let tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            Ok(Box::new(Writing { tx, turn }) as Box<dyn Session>)
        })
    }

    fn acquire(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async { Ok(Box::new(Reading(self.pool.acquire().await?)) as Box<dyn Session>) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn newest_migration(&self) -> i64 {
        newest(&MIGRATIONS)
    }
}

struct Writing {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    turn: OwnedMutexGuard<()>,
}

struct Reading(PoolConnection<sqlx::Sqlite>);

impl Session for Writing {
    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, sqlx::Error>> {
        Box::pin(fetch(&mut self.tx, sql, values))
    }

    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(execute(&mut self.tx, sql, values))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let committed = self.tx.commit().await;
            drop(self.turn);
            committed
        })
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_writes_waits_for_its_turn_however_long_the_others_take() {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(Sqlite::open(&dir.path().join("cordon.db")).await.unwrap());
        let first = file.begin().await.unwrap();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut others = Vec::new();
        for number in 0..3 {
            let (file, order) = (Arc::clone(&file), Arc::clone(&order));
            others.push(tokio::spawn(async move {
                let turn = file.begin().await.unwrap();
                order.lock().unwrap().push(number);
                turn.commit().await.unwrap();
            }));
            // Each is in the queue before the next comes.
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(BUSY + Duration::from_millis(500)).await;
        assert!(order.lock().unwrap().is_empty(), "one at a time");
        first.commit().await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2], "in the order in which they came");
    }
}
