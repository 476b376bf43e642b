//! The databases that a record can be kept in, behind one trait: [`Database`] opens [`Session`]s, a session runs statements.
//!
//! Statements are written once, with `?` or `?1` for what is bound, in the SQL that SQLite and PostgreSQL have in common.
//! Every transaction that writes is the only one that does: SQLite has one writer anyway, with PostgreSQL the row of the
//! lease is locked first. So whatever a transaction reads stays true until it commits, on either.

mod lease;
mod postgres;
mod query;
mod sqlite;
mod value;

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use cordon_client::config::SecretText;
use futures::future::BoxFuture;

use super::{Step, StoreError};
use crate::fail_point::{When, reach};
pub(super) use lease::LeaseState;
pub use lease::{Lease, LeaseHolder};
pub(super) use query::{query, query_as};
pub(super) use value::{Kind, Row, Value};

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

/// A connection, or a transaction on it. What is dropped without [`Session::commit`] is undone.
pub(super) trait Session: Send {
    /// Runs a statement that answers rows.
    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, sqlx::Error>>;

    /// Runs a statement that changes rows; answers how many.
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> BoxFuture<'a, Result<u64, sqlx::Error>>;

    /// Makes what was done last.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>>;
}

/// The open database. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<dyn Database>);

impl Pool {
    pub(super) async fn sqlite(path: &Path) -> Result<Self, StoreError> {
        Self::opened(sqlite::Sqlite::open(path)).await
    }

    pub(super) async fn postgres(url: &SecretText) -> Result<Self, StoreError> {
        Self::opened(postgres::Postgres::open(url)).await
    }

    /// The file, to be looked into and not changed.
    pub(super) async fn look_into_sqlite(path: &Path) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(sqlite::Sqlite::look_into(path).await?)))
    }

    /// The database, to be looked into and not changed.
    pub(super) async fn look_into_postgres(url: &SecretText) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(postgres::Postgres::look_into(url).await?)))
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
        self.0.newest_migration()
    }

    /// Opening brings the tables up to date, each change in a transaction of its own.
    async fn opened(
        open: impl Future<Output = Result<impl Database + 'static, StoreError>>,
    ) -> Result<Self, StoreError> {
        reach(When::Before, Step::Migrate);
        let database = open.await?;
        reach(When::After, Step::Migrate);
        Ok(Self(Arc::new(database)))
    }

    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(Transaction(Connection {
            session: self.0.begin().await?,
            now_ms: 0,
        }))
    }

    pub(super) async fn acquire(&self) -> Result<Connection, StoreError> {
        Ok(Connection {
            session: self.0.acquire().await?,
            now_ms: 0,
        })
    }

    /// For one statement that is a step by itself.
    pub(super) fn alone(&self, step: Step) -> Alone<'_> {
        Alone { pool: self, step }
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    pub(super) fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}

/// A session, and what time it is for what it writes.
pub(super) struct Connection {
    session: Box<dyn Session>,
    now_ms: i64,
}

impl Connection {
    /// The record's time: Unix milliseconds. With a shared database it is the database's, whatever this machine's clock says.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }
}

/// A transaction; undone unless it is committed.
pub(super) struct Transaction(Connection);

impl Transaction {
    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.0.now_ms = now_ms;
    }

    /// Commits a step that a restart has to find either done or not begun. There is no other way to commit.
    pub(super) async fn commit(self, step: Step) -> Result<(), StoreError> {
        reach(When::Before, step);
        self.0.session.commit().await?;
        reach(When::After, step);
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// What can be read from: a connection, or a pool that lends one.
pub(super) trait Reads: Send {
    fn run_fetch(self, sql: &str, values: Vec<Value>) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;
}

/// What can be written to: a transaction, or a pool for a statement that is a [`Step`] by itself.
pub(super) trait Runs: Reads {
    fn run_execute(self, sql: &str, values: Vec<Value>) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

impl Reads for &mut Connection {
    async fn run_fetch(self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(self.session.fetch(sql, values).await?)
    }
}

impl Runs for &mut Connection {
    async fn run_execute(self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        Ok(self.session.execute(sql, values).await?)
    }
}

impl Reads for &Pool {
    async fn run_fetch(self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        debug_assert!(sql.starts_with("SELECT"), "what writes is a step of the record: {sql}");
        let mut connection = self.acquire().await?;
        connection.run_fetch(sql, values).await
    }
}

/// One statement that is committed by itself.
pub(super) struct Alone<'p> {
    pool: &'p Pool,
    step: Step,
}

impl Reads for Alone<'_> {
    async fn run_fetch(self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        reach(When::Before, self.step);
        let rows = self.pool.acquire().await?.run_fetch(sql, values).await?;
        reach(When::After, self.step);
        Ok(rows)
    }
}

impl Runs for Alone<'_> {
    async fn run_execute(self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        reach(When::Before, self.step);
        let changed = self.pool.acquire().await?.run_execute(sql, values).await?;
        reach(When::After, self.step);
        Ok(changed)
    }
}
