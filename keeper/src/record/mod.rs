//! The record: SQLite in WAL mode. A block is done only when all its verdicts and intended actions are stored, in one
//! transaction; every action has a key that lets it happen once; incidents carry all that their report needs.

mod alarms;
mod blocks;
mod breaches;
mod codec;
mod dossier;
mod events;
mod follow;
mod incidents;
mod intents;
mod model;
mod notices;
mod outbox;
mod stopped;
mod transactions;
mod witnesses;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Notify;

pub use alarms::{Alarm, AlarmKind};
pub use blocks::{BlockCommit, BlockRecord, Witnessed};
pub use codec::{decode_verdicts, encode_verdicts};
pub use incidents::OpenIncident;
pub use intents::{Confirmation, NewIntent};
pub use model::{
    Closure, Incident, IncidentState, Intent, IntentKind, NamedContainment, Names, Outcome, TimelineEntry,
    TransactionRecord,
};
pub use notices::{AcknowledgeError, Notice, NoticeKind, OpenTopic};
pub use outbox::{DeliveryEnd, Due, Subscription};
pub use transactions::SentTransaction;

/// Why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the record {path}: {source}; check that its directory exists and may be written to", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the record up to date: {0}; it may have been written by a newer version")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the record could not be read or written: {0}")]
    Sql(#[from] sqlx::Error),
    /// The file belongs to another guard or chain.
    #[error(
        "the record belongs to guard {held} on chain {held_chain}, not to {wanted} on chain {wanted_chain}: use another file for each guard ([keeper] store)"
    )]
    Foreign {
        /// Chain of the record.
        held_chain: u64,
        /// Guard of the record.
        held: Address,
        /// Chain that was asked for.
        wanted_chain: u64,
        /// Guard that was asked for.
        wanted: Address,
    },
    /// A stored value is not what was written there.
    #[error("the record holds a damaged {what}: restore it from a backup, or start with a new file")]
    Damaged {
        /// What is damaged.
        what: &'static str,
    },
    /// A number does not fit the record.
    #[error("{what} {value} does not fit the record")]
    Range {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: u64,
    },
}

/// The keeper's record of one guard. Cheap to clone; all clones share the file.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    chain_id: u64,
    guard: Address,
    /// Wakes whoever tells people.
    fresh: Arc<Notify>,
}

impl Store {
    /// Opens the record at `path`, creating it when it is missing, for one guard on one chain.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Migrate`], [`StoreError::Foreign`].
    pub async fn open(path: impl AsRef<Path>, chain_id: u64, guard: Address) -> Result<Self, StoreError> {
        let path = path.as_ref();
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
        sqlx::migrate!("./migrations").run(&pool).await?;
        let store = Self {
            pool,
            chain_id,
            guard,
            fresh: Arc::default(),
        };
        store.claim().await?;
        Ok(store)
    }

    /// Chain that the record belongs to.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Guard that the record belongs to.
    #[must_use]
    pub fn guard(&self) -> Address {
        self.guard
    }

    /// Waits until there may be notices that were not put on their way. They may come from another process too, which wakes
    /// nobody.
    pub async fn fresh_notices(&self) {
        self.fresh.notified().await;
    }

    fn news(&self) {
        self.fresh.notify_one();
    }

    /// Closes the file when its last user is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn claim(&self) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO identity (id, chain_id, guard) VALUES (1, ?, ?) ON CONFLICT DO NOTHING")
            .bind(int("chain id", self.chain_id)?)
            .bind(self.guard.to_vec())
            .execute(&mut *tx)
            .await?;
        let (chain, guard): (i64, Vec<u8>) = sqlx::query_as("SELECT chain_id, guard FROM identity WHERE id = 1")
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        let held = Address::try_from(guard.as_slice()).map_err(|_| StoreError::Damaged { what: "guard address" })?;
        let held_chain = uint("chain id", chain)?;
        if held != self.guard || held_chain != self.chain_id {
            return Err(StoreError::Foreign {
                held_chain,
                held,
                wanted_chain: self.chain_id,
                wanted: self.guard,
            });
        }
        Ok(())
    }

    /// A transaction that has the write lock from the start, so that it cannot fail half way for want of it.
    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn int(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Range { what, value })
}

fn uint(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Damaged { what })
}

fn word(what: &'static str, bytes: &[u8]) -> Result<B256, StoreError> {
    B256::try_from(bytes).map_err(|_| StoreError::Damaged { what })
}

fn small<T: TryFrom<i64>>(what: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Damaged { what })
}
