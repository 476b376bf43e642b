//! SQLite in WAL mode: one file, one keeper.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Column, Either, Executor, Row as _, SqliteConnection, SqlitePool, TypeInfo, ValueRef};

use super::disk::Disk;
use super::{APPLIED, Answer, Database, Kind, Row, Session, Statement, Value, Wrote, migrate, newest};
use crate::record::StoreError;
use crate::record::occupy::Opening;

/// How long somebody else's transaction (a command beside the keeper) is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// The file.
#[derive(Debug)]
pub(super) struct Sqlite {
    pool: SqlitePool,
    disk: Arc<Disk>,
}

/// Commits after which the log is emptied. A block's is some ten pages of 4 KiB, with a thousand rules some thirty.
const LOG: u64 = 128;
/// Pages at which SQLite empties the log itself, within a commit: 64 MiB, when it could not be done beside.
const LONGEST_LOG: &str = "16384";

/// Texts that each connection keeps prepared. Several statements that go together are one text, and what goes together varies with what a
/// block holds: there is no end of such texts, and each keeps up to [`TOGETHER`] prepared statements of a few kilobytes. What every block
/// and every decision runs are a few dozen and stay; what was not used for longest makes room.
const STATEMENTS: usize = 128;
/// Statements that go in one text at most.
const TOGETHER: usize = 16;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let _opening = Opening::of(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An intent must outlive a power cut: commits reach the disk, see `disk`.
            .synchronous(SqliteSynchronous::Normal)
            .pragma("wal_autocheckpoint", LONGEST_LOG)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENTS)
            .busy_timeout(BUSY);
        // By a connection that is used for nothing else, and before there are others: one that knows the tables as they were before takes a
        // row for one of theirs, and finds other columns in it.
        let tables = Self::connect(path, options.clone(), 1).await?;
        let applied = sqlx::query_scalar(APPLIED)
            .fetch_all(&tables.pool)
            .await
            .unwrap_or_default();
        migrate(&MIGRATIONS, &applied, async |version| {
            MIGRATIONS.run_to(version, &tables.pool).await
        })
        .await?;
        let file = Self::connect(path, options, 4).await;
        tables.pool.close().await;
        file
    }

    /// Lets the disk have refused something.
    #[cfg(test)]
    pub(super) fn refused_by_the_disk(&self) {
        self.disk.refused(&std::io::Error::other("no"));
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
        // SQLite follows links: its log is beside the file that they lead to.
        let disk = Arc::new(Disk::under(
            &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        ));
        Ok(Self { pool, disk })
    }
}

impl Database for Sqlite {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async {
            // The write lock from the start, so that the transaction cannot fail half way for want of it.
            let tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            Ok(Box::new(Writing(tx)) as Box<dyn Session>)
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

    fn wrote(&self) -> Wrote {
        let (number, landing) = self.disk.wrote();
        Wrote {
            landing,
            is_log_long: number.is_multiple_of(LOG) || self.disk.fault().is_some(),
        }
    }

    fn empty_log(&self) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async {
            let sql = "PRAGMA wal_checkpoint(PASSIVE)";
            let moving = sqlx::query_as(sql).fetch_one(&self.pool).await;
            // -1 of -1 when somebody else is doing it.
            let (busy, held, moved): (i64, i64, i64) = moving.inspect_err(|error| {
                if matches!(error, sqlx::Error::Database(_)) {
                    self.disk.refused(error);
                }
            })?;
            let is_all = busy == 0 && held >= 0 && held == moved;
            if is_all {
                self.disk.moved();
            }
            Ok(is_all)
        })
    }

    fn fault(&self) -> Option<String> {
        self.disk.fault()
    }

    fn begin_log(&self) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        // A page has to be written, whichever. What changes nothing writes none, but for this: the number is the one that it has.
        let sql = "PRAGMA user_version = 0";
        Box::pin(async move { sqlx::query(sql).execute(&self.pool).await.map(|_| ()) })
    }
}

struct Writing(sqlx::Transaction<'static, sqlx::Sqlite>);

struct Reading(PoolConnection<sqlx::Sqlite>);

impl Session for Writing {
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(run(&mut self.0, statements))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.0.commit())
    }
}

impl Session for Reading {
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(run(&mut self.0, statements))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// One statement of several: every value is bound where it stands, once for each time that it is named by number.
fn unnumbered(statement: Statement) -> Statement {
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
fn parts<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<T> = all.by_ref().take(TOGETHER).collect();
        (!part.is_empty()).then_some(part)
    })
}

async fn run(connection: &mut SqliteConnection, statements: Vec<Statement>) -> Result<Vec<Answer>, sqlx::Error> {
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

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
