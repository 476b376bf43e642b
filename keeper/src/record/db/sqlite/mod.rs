//! SQLite in WAL mode: one file, one keeper.

mod statements;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use self::statements::run;
use self::writer::Writer;
use super::disk::Disk;
use super::{APPLIED, Answer, Database, Session, Statement, Wrote, migrate, newest};
use crate::record::StoreError;
use crate::record::occupy::Opening;

/// How long somebody else's transaction (a command beside the keeper) is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// The file.
#[derive(Debug)]
pub(super) struct Sqlite {
    /// Connections that read, or run one statement that is a step by itself.
    pool: SqlitePool,
    writer: Writer,
    disk: Arc<Disk>,
}

/// Commits after which the log is emptied. A block's is some ten pages of 4 KiB, with a thousand rules some thirty.
const LOG: u64 = 128;
/// Pages at which SQLite empties the log itself, within a commit: 64 MiB, when it could not be done beside.
const LONGEST_LOG: &str = "16384";

/// Texts that each connection keeps prepared. Several statements that go together are one text, and what goes together varies with what a
/// block holds: there is no end of such texts, and each keeps up to [`statements::TOGETHER`] prepared statements of a few kilobytes. What every block
/// and every decision runs are a few dozen and stay; what was not used for longest makes room.
const STATEMENTS: usize = 128;

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
            .connect_with(options.clone())
            .await
            .map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source,
            })?;
        // SQLite follows links: its log is beside the file that they lead to.
        let disk = Arc::new(Disk::under(
            &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        ));
        Ok(Self {
            pool,
            writer: Writer::new(options),
            disk,
        })
    }
}

impl Database for Sqlite {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async {
            let writing = self.writer.begin().await?;
            Ok(Box::new(writing) as Box<dyn Session>)
        })
    }

    fn acquire(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async { Ok(Box::new(Reading(self.pool.acquire().await?)) as Box<dyn Session>) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.writer.close().await;
            self.pool.close().await;
        })
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

struct Reading(PoolConnection<sqlx::Sqlite>);

impl Session for Reading {
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(run(&mut self.0, statements))
    }

    fn commit(self: Box<Self>, _last: Vec<Statement>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests;
