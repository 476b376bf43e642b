//! The databases that a record can be kept in, behind one trait: [`Database`] opens [`Session`]s, a session runs statements.
//!
//! Statements are written once, with `?` or `?1` for what is bound, in the SQL that SQLite and PostgreSQL have in common.
//! Every transaction that writes is the only one that does: SQLite has one writer anyway, with PostgreSQL the row of the
//! lease is locked first. So whatever a transaction reads stays true until it commits, on either.

mod disk;
mod lease;
mod postgres;
mod query;
mod sqlite;
mod transaction;
mod value;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cordon_client::config::SecretText;
use futures::future::BoxFuture;

use super::{Step, StoreError};
use crate::fail_point::{When, reach};
use crate::turns::{Turns, Urgency};
pub(crate) use disk::Landing;
pub(super) use lease::LeaseState;
pub use lease::{Lease, LeaseHolder};
use query::Statement;
pub(super) use query::{Both, QueryAs, Together, query, query_as};
pub(super) use transaction::{Connection, Transaction};
pub(super) use value::{FromRow, Kind, Row, Value};

/// A place where a record can be kept.
pub(super) trait Database: Debug + Send + Sync {
    /// A transaction that is the only writer until it ends.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>>;

    /// A session that reads.
    fn acquire(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>>;

    /// Ends all sessions when their users are done.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Whether keepers on several machines may use it at the same time.
    fn is_shared(&self) -> bool;

    /// Version of the newest tables that this program makes.
    fn newest_migration(&self) -> i64;

    /// To be said after each commit: when it is kept. Where the server sees to all of that, it is kept already.
    fn wrote(&self) -> Wrote {
        Wrote {
            landing: Landing::at_once(),
            is_log_long: false,
        }
    }

    /// Moves what a log holds to where it belongs, beside those who write. Whether all of it was moved.
    fn empty_log(&self) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Why something of what is written may be lost with the power; `None` when nothing is.
    fn fault(&self) -> Option<String> {
        None
    }

    /// Begins the log that was emptied anew: who writes next would have to wait for the disk.
    fn begin_log(&self) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What is to be known after a commit.
#[derive(Debug)]
pub(super) struct Wrote {
    landing: Landing,
    /// Whether the log should be emptied now.
    is_log_long: bool,
}

/// The newest of these.
fn newest(migrations: &sqlx::migrate::Migrator) -> i64 {
    migrations
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

/// The versions that a database lists as applied: it has no such table before the first.
const APPLIED: &str = "SELECT version FROM _sqlx_migrations";

/// Makes the changes of tables that are due by `apply`, each by itself, so that tests can let the process die between them.
async fn migrate(
    migrations: &sqlx::migrate::Migrator,
    applied: &[i64],
    apply: impl AsyncFn(i64) -> Result<(), sqlx::migrate::MigrateError>,
) -> Result<(), StoreError> {
    let known = migrations.iter().map(|migration| migration.version);
    for version in known.filter(|version| !applied.contains(version)) {
        reach(When::Before, Step::Migration);
        apply(version).await?;
        reach(When::After, Step::Migration);
    }
    // What was applied before must be what it is now.
    Ok(apply(newest(migrations)).await?)
}

/// What a statement answers.
#[derive(Debug, Default)]
pub(super) struct Answer {
    rows: Vec<Row>,
    /// How many rows it has changed.
    changed: u64,
}

/// A connection, or a transaction on it. What is dropped without [`Session::commit`] is undone.
pub(super) trait Session: Send {
    /// Runs statements one after the other; answers what each of them answers.
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>>;

    /// Runs these last, and makes what was done last.
    fn commit(self: Box<Self>, last: Vec<Statement>) -> BoxFuture<'static, Result<(), sqlx::Error>>;
}

/// How long who writes into a shared database goes first while others wait: as long as the server lets one wait for the row of the lease,
/// which keeps writers apart whoever has the turn. One whose connection hangs must not keep breaches waiting, statement by statement.
const TURN: Duration = Duration::from_secs(5);

/// The open database. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    database: Arc<dyn Database>,
    /// Whose turn it is to write. A database lets who waits for its lock try again now and then, or in the order in which they came: on a
    /// slow disk those who write much would starve the others, and the many ends of what is over would delay what is decided.
    turns: Turns,
}

impl Pool {
    pub(super) async fn sqlite(path: &Path) -> Result<Self, StoreError> {
        Self::opened(sqlite::Sqlite::open(path)).await
    }

    pub(super) async fn postgres(url: &SecretText) -> Result<Self, StoreError> {
        Self::opened(postgres::Postgres::open(url)).await
    }

    /// The file, to be looked into and not changed.
    pub(super) async fn look_into_sqlite(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::of(sqlite::Sqlite::look_into(path).await?))
    }

    /// The database, to be looked into and not changed.
    pub(super) async fn look_into_postgres(url: &SecretText) -> Result<Self, StoreError> {
        Ok(Self::of(postgres::Postgres::look_into(url).await?))
    }

    /// Whether there is a table of this name.
    pub(super) async fn has_table(&self, name: &str) -> Result<bool, StoreError> {
        let sql = if self.is_shared() {
            "SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass(?)::oid"
        } else {
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        };
        let (count,): (i64,) = query_as(sql).bind(name).fetch_one(self).await?;
        Ok(count > 0)
    }

    /// Version of the newest tables that this program makes.
    pub(super) fn newest_migration(&self) -> i64 {
        self.database.newest_migration()
    }

    /// Opening brings the tables up to date, each change in a transaction of its own.
    async fn opened(
        open: impl Future<Output = Result<impl Database + 'static, StoreError>>,
    ) -> Result<Self, StoreError> {
        reach(When::Before, Step::Migrate);
        let database = open.await?;
        reach(When::After, Step::Migrate);
        Ok(Self::of(database))
    }

    fn of(database: impl Database + 'static) -> Self {
        // A file has one writer, who waits for nobody else: its lock cannot be had before the turn is over.
        let turns = if database.is_shared() {
            Turns::of_at_most(TURN)
        } else {
            Turns::default()
        };
        Self {
            database: Arc::new(database),
            turns,
        }
    }

    pub(super) async fn begin(&self, urgency: Urgency) -> Result<Transaction, StoreError> {
        let turn = self.turns.take(urgency).await;
        Ok(Transaction {
            connection: Connection::of(self.database.begin().await?, true),
            turn,
            pool: self.clone(),
        })
    }

    pub(super) async fn acquire(&self) -> Result<Connection, StoreError> {
        Ok(Connection::of(self.database.acquire().await?, false))
    }

    /// For one statement that is a step by itself.
    pub(super) fn alone(&self, step: Step) -> Alone<'_> {
        Alone { pool: self, step }
    }

    pub(super) async fn close(&self) {
        self.database.close().await;
    }

    /// Why something of what is written may be lost with the power; `None` when nothing is.
    pub(super) fn fault(&self) -> Option<String> {
        self.database.fault()
    }

    /// To be said after each commit, when others may write.
    fn wrote(&self) -> Landing {
        let Wrote { landing, is_log_long } = self.database.wrote();
        if is_log_long {
            let pool = self.clone();
            tokio::spawn(async move {
                if let Err(error) = pool.empty_log().await {
                    tracing::debug!(%error, "the record's log is not emptied now");
                }
            });
        }
        landing
    }

    /// Empties the log while nobody waits for it. SQLite would do so within a commit, which might be a decision's.
    async fn empty_log(&self) -> Result<(), StoreError> {
        // The second time has little to do, and what is written meanwhile is less; nobody adds to that then.
        for _ in 0..2 {
            if self.database.empty_log().await? {
                break;
            }
        }
        let _turn = self.turns.take(Urgency::Rest).await;
        if self.database.empty_log().await? {
            self.database.begin_log().await?;
        }
        Ok(())
    }

    /// How many wait for their turn to write.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.database.is_shared()
    }
}

/// What can be read from: a connection, or a pool that lends one.
pub(super) trait Reads: Send {
    fn run_statement(self, statement: Statement) -> impl Future<Output = Result<Answer, StoreError>> + Send;
}

/// What can be written to: a transaction, or a pool for a statement that is a [`Step`] by itself.
pub(super) trait Runs: Reads {}

impl Reads for &mut Connection {
    async fn run_statement(self, statement: Statement) -> Result<Answer, StoreError> {
        self.run(statement).await
    }
}

impl Runs for &mut Connection {}

impl Reads for &Pool {
    async fn run_statement(self, statement: Statement) -> Result<Answer, StoreError> {
        debug_assert!(
            statement.sql.starts_with("SELECT"),
            "what writes is a step of the record: {}",
            statement.sql
        );
        self.acquire().await?.run(statement).await
    }
}

/// One statement that is committed by itself.
pub(super) struct Alone<'p> {
    pool: &'p Pool,
    step: Step,
}

impl Reads for Alone<'_> {
    async fn run_statement(self, statement: Statement) -> Result<Answer, StoreError> {
        reach(When::Before, self.step);
        let answer = self.pool.acquire().await?.run(statement).await?;
        reach(When::After, self.step);
        self.pool.wrote().kept().await;
        Ok(answer)
    }
}

impl Runs for Alone<'_> {}

#[cfg(test)]
mod writing_tests;
