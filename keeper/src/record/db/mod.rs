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
mod value;

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cordon_client::config::SecretText;
use futures::future::BoxFuture;

use super::{Step, StoreError};
use crate::fail_point::{When, reach};
use crate::turns::{Turn, Turns, Urgency};
pub(crate) use disk::Landing;
pub(super) use lease::LeaseState;
pub use lease::{Lease, LeaseHolder};
use query::Statement;
pub(super) use query::{QueryAs, Together, query, query_as};
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

    /// Makes what was done last.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>>;
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
        self.database.empty_log().await?;
        // What was written meanwhile is little, and nobody adds to it now.
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

/// A session, and what time it is for what it writes.
pub(super) struct Connection {
    session: Box<dyn Session>,
    now_ms: i64,
    /// What runs before the next statement whose answer is wanted, see [`query::Query::later`].
    later: Vec<Statement>,
    /// Whether it is a transaction's: what another puts off is never run.
    is_writing: bool,
    /// Whether something of it was begun and not done: what was put off went with it.
    is_broken: bool,
}

impl Connection {
    fn of(session: Box<dyn Session>, is_writing: bool) -> Self {
        Self {
            session,
            now_ms: 0,
            later: Vec::new(),
            is_writing,
            is_broken: false,
        }
    }

    /// The record's time: Unix milliseconds. With a shared database it is the database's, whatever this machine's clock says.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn put_off(&mut self, statement: Statement) {
        debug_assert!(self.is_writing, "nothing would run this: {}", statement.sql);
        self.later.push(statement);
    }

    /// Runs what was put off, and then these.
    async fn run_all(&mut self, wanted: Vec<Statement>) -> Result<impl Iterator<Item = Answer> + use<>, StoreError> {
        let mut statements = std::mem::take(&mut self.later);
        let put_off = statements.len();
        statements.extend(wanted);
        // Also for who gives up waiting: nothing of this comes back then.
        let was_broken = std::mem::replace(&mut self.is_broken, true);
        let answers = self.session.run(statements).await?;
        self.is_broken = was_broken;
        Ok(answers.into_iter().skip(put_off))
    }

    async fn run(&mut self, statement: Statement) -> Result<Answer, StoreError> {
        Ok(self.run_all(vec![statement]).await?.next().unwrap_or_default())
    }
}

/// A transaction; undone unless it is committed.
pub(super) struct Transaction {
    // Before the turn: fields are dropped in this order, and the next one must find it undone.
    connection: Connection,
    turn: Turn,
    pool: Pool,
}

impl Transaction {
    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.connection.now_ms = now_ms;
    }

    /// Commits a step that a restart has to find either done or not begun, and waits until it outlives a power cut.
    ///
    /// # Errors
    /// See [`Self::write`]; besides, when the disk refuses to keep what is written.
    pub(super) async fn commit(self, step: Step) -> Result<(), StoreError> {
        self.write(step).await?.kept().await
    }

    /// Commits a step that a restart has to find either done or not begun: however the process ends from here on, it is done. That it outlives a
    /// power cut is to be waited for. There is no other way to commit.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when something of it was not done, whatever became of the error: a step is done as a whole. PostgreSQL answers
    /// such a commit as if it had been one.
    pub(super) async fn write(self, step: Step) -> Result<Landing, StoreError> {
        let Connection {
            mut session,
            later,
            is_broken,
            ..
        } = self.connection;
        if is_broken {
            return Err(StoreError::Broken { step: step.name() });
        }
        if !later.is_empty() {
            session.run(later).await?;
        }
        reach(When::Before, step);
        session.commit().await?;
        drop(self.turn);
        reach(When::After, step);
        Ok(self.pool.wrote())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
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
        self.pool.wrote().kept().await?;
        Ok(answer)
    }
}

impl Runs for Alone<'_> {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;

    use super::*;

    async fn pool() -> (tempfile::TempDir, Pool) {
        let dir = tempfile::tempdir().unwrap();
        let pool = Pool::sqlite(&dir.path().join("cordon.db")).await.unwrap();
        (dir, pool)
    }

    #[tokio::test]
    async fn who_writes_waits_for_its_turn_however_long_the_others_take() {
        let (_dir, pool) = pool().await;
        let first = pool.begin(Urgency::Rest).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut others = Vec::new();
        for (number, urgency) in [Urgency::Rest, Urgency::Rest, Urgency::Breach].into_iter().enumerate() {
            let (pool, order) = (pool.clone(), Arc::clone(&order));
            others.push(tokio::spawn(async move {
                let turn = pool.begin(urgency).await.unwrap();
                order.lock().unwrap().push(number);
                turn.commit(Step::Note).await.unwrap();
            }));
            // Each is in the line before the next comes.
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(sqlite::BUSY + Duration::from_millis(500)).await;
        assert!(order.lock().unwrap().is_empty(), "one at a time");
        first.commit(Step::Note).await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        let order = order.lock().unwrap();
        assert_eq!(
            *order,
            [2, 0, 1],
            "what is urgent first, the others in the order in which they came"
        );
    }

    #[tokio::test]
    async fn a_writer_that_is_stuck_keeps_nobody_waiting_for_ever_in_a_shared_database() {
        let server = cordon_testkit::Postgres::start().unwrap();
        let pool = Pool::postgres(&SecretText::new(server.url())).await.unwrap();
        let stuck = pool.begin(Urgency::Rest).await.unwrap();
        let next = tokio::time::timeout(TURN + Duration::from_secs(15), pool.begin(Urgency::Breach)).await;
        let mut next = next.unwrap().unwrap();
        query("INSERT INTO settings (name, value) VALUES ('a', '')").later(&mut next);
        next.commit(Step::Note).await.unwrap();
        drop(stuck);
        pool.begin(Urgency::Rest)
            .await
            .unwrap()
            .commit(Step::Note)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn the_log_of_a_file_does_not_grow_for_ever() {
        let (dir, pool) = pool().await;
        let log = dir.path().join("cordon.db-wal");
        let length = || std::fs::metadata(&log).unwrap().len();
        let text = |n: u32| format!("{n:>6}").repeat(1_000);
        let write = async |count: u32| {
            for n in 0..count {
                let mut tx = pool.begin(Urgency::Sending).await.unwrap();
                query("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
                    .bind(format!("n{}", n % 8))
                    .bind(text(n))
                    .later(&mut tx);
                tx.commit(Step::Note).await.unwrap();
            }
        };
        write(160).await;
        let first = length();
        write(1_440).await;
        // What is emptied is written over. SQLite itself would have let it grow to 64 MiB first, and this is ten times the first.
        assert!(length() < 3 * first, "{first} bytes, then {}", length());
    }

    #[tokio::test]
    async fn a_log_that_was_emptied_is_begun_anew_by_nobody_who_decides() {
        let (dir, pool) = pool().await;
        let log = dir.path().join("cordon.db-wal");
        // Its header counts how often it was begun.
        let begun = || std::fs::read(&log).unwrap()[12..16].to_vec();
        let write = async |name: &str| {
            let mut tx = pool.begin(Urgency::Breach).await.unwrap();
            query("INSERT INTO settings (name, value) VALUES (?, '')")
                .bind(name)
                .later(&mut tx);
            tx.commit(Step::Note).await.unwrap();
        };
        write("a").await;
        let before = begun();
        pool.empty_log().await.unwrap();
        let after = begun();
        assert_ne!(before, after);
        write("b").await;
        assert_eq!(begun(), after);
    }

    /// One that a statement breaks off, with what was put off before it.
    async fn half_done(pool: &Pool) -> Transaction {
        let mut tx = pool.begin(Urgency::Rest).await.unwrap();
        query("INSERT INTO settings (name, value) VALUES ('lost', '')").later(&mut tx);
        let nothing: Result<Vec<(i64,)>, _> = query_as("SELECT a FROM nowhere").fetch_all(&mut *tx).await;
        assert!(matches!(nothing, Err(StoreError::Sql(_))));
        tx
    }

    async fn is_whole_or_nothing(pool: Pool) {
        let error = half_done(&pool).await.commit(Step::Note).await.unwrap_err();
        assert!(matches!(error, StoreError::Broken { .. }), "{error}");
        let mut tx = half_done(&pool).await;
        // What succeeds after it mends nothing.
        let _: Result<Vec<(i64,)>, _> = query_as("SELECT 1").fetch_all(&mut *tx).await;
        assert!(matches!(tx.commit(Step::Note).await, Err(StoreError::Broken { .. })));
        let held: Vec<(String,)> = query_as("SELECT name FROM settings").fetch_all(&pool).await.unwrap();
        assert!(held.is_empty());
        pool.begin(Urgency::Rest)
            .await
            .unwrap()
            .commit(Step::Note)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_was_broken_off_is_not_committed() {
        let (_dir, pool) = pool().await;
        is_whole_or_nothing(pool).await;
    }

    #[tokio::test]
    async fn what_was_broken_off_is_not_committed_in_a_shared_database() {
        let server = cordon_testkit::Postgres::start().unwrap();
        is_whole_or_nothing(Pool::postgres(&SecretText::new(server.url())).await.unwrap()).await;
    }

    /// A session that never answers what it is asked, and commits whatever it is told to.
    struct Silent;

    impl Session for Silent {
        fn run(&mut self, _: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
            Box::pin(std::future::pending())
        }

        fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn what_nobody_waited_for_is_not_committed() {
        let (_dir, pool) = pool().await;
        let turn = Turns::default().take(Urgency::Rest).await;
        let mut tx = Transaction {
            connection: Connection::of(Box::new(Silent), true),
            turn,
            pool,
        };
        query("INSERT INTO settings (name, value) VALUES ('lost', '')").later(&mut tx);
        let asked: Option<Result<Vec<(i64,)>, _>> = query_as("SELECT 1").fetch_all(&mut *tx).now_or_never();
        assert!(asked.is_none());
        let committed = tx.commit(Step::Note).now_or_never();
        assert!(
            matches!(committed, Some(Err(StoreError::Broken { .. }))),
            "{committed:?}"
        );
    }

    #[tokio::test]
    async fn what_is_put_off_is_done_by_the_end_and_undone_with_the_rest() {
        let (_dir, pool) = pool().await;
        let note = |name: &str, tx: &mut Connection| {
            query("INSERT INTO settings (name, value) VALUES (?, '')")
                .bind(name)
                .later(tx);
        };
        let held = async || -> Vec<(String,)> {
            let all = query_as("SELECT name FROM settings ORDER BY name");
            all.fetch_all(&pool).await.unwrap()
        };
        let mut tx = pool.begin(Urgency::Rest).await.unwrap();
        note("a", &mut tx);
        let seen: Vec<(String,)> = query_as("SELECT name FROM settings").fetch_all(&mut *tx).await.unwrap();
        assert_eq!(seen, [("a".to_owned(),)], "who asks sees it");
        drop(tx);
        assert!(held().await.is_empty());
        let mut tx = pool.begin(Urgency::Rest).await.unwrap();
        note("b", &mut tx);
        tx.commit(Step::Note).await.unwrap();
        assert_eq!(held().await, [("b".to_owned(),)]);
        let mut tx = pool.begin(Urgency::Rest).await.unwrap();
        note("c", &mut tx);
        note("b", &mut tx);
        assert!(tx.commit(Step::Note).await.is_err(), "what fails last is told too");
        assert_eq!(held().await, [("b".to_owned(),)], "and nothing of it is left");
    }
}
