//! The record: SQLite in WAL mode, or PostgreSQL for several keepers of a guard. A block is done only when all of it is stored, in one
//! transaction, but for what is to be sent, which may be stored before; every action has a key that lets it happen once; incidents carry all that their report needs.

mod acknowledge;
mod alarms;
mod backup;
mod blocks;
mod breaches;
mod checkpoint;
mod codec;
mod configurations;
mod db;
mod decisions;
mod dossier;
mod due;
mod error;
mod events;
mod evidence;
mod fleet;
mod follow;
mod frames;
mod ground;
#[cfg(test)]
mod hurry_tests;
mod incidents;
mod intents;
mod ladder;
mod linked;
mod model;
mod notices;
mod occupy;
mod outbox;
mod owner;
mod past;
mod peek;
mod playbook;
mod prune;
mod queue;
mod refused;
mod revert;
mod rulebook;
#[cfg(test)]
pub(crate) mod samples;
mod set;
mod settings;
mod sightings;
mod stopped;
mod timeline;
mod transactions;
mod votes;
mod waiting;
mod witnesses;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use alloy::primitives::{Address, B64, B256, hex};
use cordon_client::config::{SecretText, StorePlace};
use tokio::sync::Notify;

pub use crate::fail_point::Step;
use crate::turns::Urgency;
use db::{LeaseState, Pool, Transaction, query, query_as};

pub use acknowledge::{AcknowledgeError, OpenTopic};
pub use alarms::{Alarm, AlarmKind};
pub use backup::BackupError;
pub(crate) use blocks::BLOCKS_AT_ONCE;
pub use blocks::{BlockCommit, BlockRecord, Witnessed};
pub use checkpoint::Look;
pub use codec::{decode_verdicts, encode_verdicts};
pub use configurations::Configuration;
pub use db::{Lease, LeaseHolder};
pub use error::StoreError;
pub use evidence::{Evidence, EvidenceError, Line, Link, Proof};
pub use ground::Ground;
pub use incidents::OpenIncident;
pub use intents::{Confirmation, NewIntent};
pub use ladder::{Ladder, LadderRule};
pub use model::{
    Closure, Incident, IncidentState, Intent, IntentKind, NamedContainment, Names, Outcome, TimelineEntry,
    TransactionRecord,
};
pub(crate) use notices::alarm_topic;
pub use notices::{Notice, NoticeKind};
pub(crate) use occupy::Occupied;
pub(crate) use outbox::EXPIRY_MS;
pub use outbox::{DeliveryEnd, Due, Subscription};
pub(crate) use playbook::is_of_playbook;
pub use playbook::{
    Answers, ApproveError, Approved, AskedStep, OpenApproval, PlayPlan, PlaybookRun, PlaybookStep, Played,
};
pub use set::{set_orders, set_text, set_words};
pub(crate) use sightings::MEMPOOL;
pub use sightings::StoredSighting;
pub use transactions::SentTransaction;

/// The keeper's record of one guard. Cheap to clone; all clones share the database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
    chain_id: u64,
    guard: Address,
    /// See [`Store::name`].
    name: Option<Arc<str>>,
    /// Wakes whoever tells people.
    fresh: Arc<Notify>,
    lease: Arc<LeaseState>,
    /// What the verdicts of the next block are compared with.
    frame: Arc<Mutex<Option<frames::Frame>>>,
    /// The file; `None` for a database that several share.
    file: Option<Arc<Path>>,
    /// What keeps other keepers off, see [`Store::alone`].
    alone: Option<Arc<Occupied>>,
}

impl Store {
    /// Opens the record in the SQLite file at `path`, creating it when it is missing, for one guard on one chain.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Migrate`], [`StoreError::Foreign`].
    pub async fn open(path: impl AsRef<Path>, chain_id: u64, guard: Address) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let mut store = Self::of(Pool::sqlite(path).await?, chain_id, guard).await?;
        store.file = Some(Arc::from(real_path(path)));
        Ok(store)
    }

    /// Opens the record in the PostgreSQL database at `url`, creating its tables when they are missing.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::Connect`], [`StoreError::Migrate`], [`StoreError::Foreign`].
    pub async fn connect(url: &SecretText, chain_id: u64, guard: Address) -> Result<Self, StoreError> {
        Self::of(Pool::postgres(url).await?, chain_id, guard).await
    }

    /// Opens the record where a configuration says; `directory` is the configuration's.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::connect`], and [`StoreError::Secret`].
    pub async fn at(place: &StorePlace, directory: &Path, chain_id: u64, guard: Address) -> Result<Self, StoreError> {
        match place {
            StorePlace::File(path) => Self::open(path, chain_id, guard).await,
            StorePlace::Postgres(url) => Self::connect(&url.read(directory)?, chain_id, guard).await,
        }
    }

    /// Opens the record where a configuration says, for a keeper that is to run on it: other keepers are kept off a file before anything in it
    /// is changed, for as long as this store or a clone of it lives. `before` is the store of the run before in this process, which may be of
    /// the same file.
    ///
    /// # Errors
    /// As [`Store::at`], and [`StoreError::InUse`] when another keeper runs on the file; nothing of it was touched then.
    pub async fn alone(
        place: &StorePlace,
        directory: &Path,
        chain_id: u64,
        guard: Address,
        before: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let StorePlace::File(path) = place else {
            return Self::at(place, directory, chain_id, guard).await;
        };
        let record = real_path(path);
        let held = before
            .filter(|before| before.file.as_deref() == Some(&record))
            .and_then(|before| before.alone.clone());
        let alone = match held {
            Some(held) => held,
            None => Arc::new(Occupied::of(&record)?),
        };
        let mut store = Self::open(path, chain_id, guard).await?;
        store.alone = Some(alone);
        Ok(store)
    }

    async fn of(pool: Pool, chain_id: u64, guard: Address) -> Result<Self, StoreError> {
        let mut store = Self {
            pool,
            chain_id,
            guard,
            name: None,
            fresh: Arc::default(),
            lease: Arc::default(),
            frame: Arc::default(),
            file: None,
            alone: None,
        };
        store.name = store.claim().await?;
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

    /// What tells this record from any other of the same guard: 16 hexadecimal digits. Records of the first versions have none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Waits until there may be notices that were not put on their way. They may come from another process too, which wakes
    /// nobody.
    pub async fn fresh_notices(&self) {
        self.fresh.notified().await;
    }

    fn news(&self) {
        self.fresh.notify_one();
    }

    /// Keeps other keepers off the file until the answer is dropped, or this process ends, however it ends. Who only reads, or
    /// acknowledges, is not kept off. A database that several share needs none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a keeper runs on the file; [`StoreError::Lock`] when the file beside it cannot be locked.
    pub(crate) fn occupy(&self) -> Result<Option<Arc<Occupied>>, StoreError> {
        match (&self.alone, self.file.as_deref()) {
            (Some(alone), _) => Ok(Some(Arc::clone(alone))),
            (None, Some(file)) => Occupied::of(file).map(|held| Some(Arc::new(held))),
            (None, None) => Ok(None),
        }
    }

    /// Why something of what is written may be lost with the power: the disk has refused to keep it. `None` when nothing is, and of a database
    /// that sees to that itself.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.pool.fault()
    }

    /// Closes the database when its last user is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn claim(&self) -> Result<Option<Arc<str>>, StoreError> {
        let mut tx = self.begin().await?;
        query("INSERT INTO identity (id, chain_id, guard, record) VALUES (1, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(int("chain id", self.chain_id)?)
            .bind(self.guard.to_vec())
            .bind(hex::encode(B64::random()))
            .later(&mut tx);
        let (chain, guard, name): (i64, Vec<u8>, Option<String>) =
            query_as("SELECT chain_id, guard, record FROM identity WHERE id = 1")
                .fetch_one(&mut *tx)
                .await?;
        tx.commit(Step::Claim).await?;
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
        Ok(name.map(Arc::from))
    }

    /// A transaction that is in no hurry, see [`Store::begin_for`].
    async fn begin(&self) -> Result<Transaction, StoreError> {
        self.begin_for(Urgency::Rest).await
    }

    /// A transaction that is the only writer until it ends. In a fleet it is refused unless the turn is ours, and stays so until
    /// it ends: nobody else can take the turn while the row of the lease is locked.
    async fn begin_for(&self, urgency: Urgency) -> Result<Transaction, StoreError> {
        let mut tx = self.pool.begin(urgency).await?;
        if !self.is_shared() {
            tx.set_now(crate::clock::now_ms());
            return Ok(tx);
        }
        let sql = format!(
            "SELECT token, {} FROM leases WHERE name = 'keeper' FOR UPDATE",
            fleet::NOW
        );
        let (token, now): (i64, i64) = query_as(&sql).fetch_one(&mut *tx).await?;
        self.lease.check(token)?;
        self.lease.note_clock(now);
        tx.set_now(now);
        Ok(tx)
    }
}

/// Several names of one file are one file, also before it is there.
fn real_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")));
        match (folder, path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        }
    })
}

/// Channels as they are stored: each name between spaces, so that one is found without being part of another. `None` for none.
fn route_text(channels: &[String]) -> Option<String> {
    let names: String = channels.iter().map(|channel| format!(" {channel} ")).collect();
    (!names.is_empty()).then_some(names)
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
