//! A record of its own, in a file or in a schema of PostgreSQL, and what is put into it.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_client::config::{SecretText, Severity};
use cordon_core::action::{Action, ActionSet};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{Act, Decision, Reading, RuleVerdict, ScopeReading, Waiting};
use cordon_keeper::record::{
    BlockCommit, BlockRecord, Confirmation, NamedContainment, Names, Outcome, SentTransaction, Store, StoreError,
    Witnessed,
};
use cordon_keeper::rules::{GuardEvent, GuardEventKind, Sightings, StoppedCall};
use cordon_testkit::Postgres;

pub(crate) const GUARD: Address = Address::repeat_byte(0x11);

/// The rulebook of blocks that say nothing else.
pub(crate) const VERSION: B256 = B256::repeat_byte(5);

pub(crate) fn names() -> Names {
    Names {
        scopes: vec!["protocol".into(), "weth".into()],
        rules: vec!["price".into(), "solvent".into()],
        containments: vec![NamedContainment {
            id: "stop-borrowing".into(),
            closes: ActionSet::EMPTY.with(Action::Increase),
        }],
        hooked: true,
        matrix: cordon_core::Matrix::DEFAULT,
        channels: vec![],
    }
}

pub(crate) fn block(number: u64, fork: u8) -> BlockRef {
    let hash = |n: u64| keccak256([&n.to_be_bytes()[..], &[if n < 100 { 0 } else { fork }]].concat());
    BlockRef {
        number,
        hash: hash(number),
        parent: hash(number - 1),
        timestamp: 1_000_000 + number / 4,
        base_fee: 0,
    }
}

pub(crate) fn verdict(rule: u16, verdict: Verdict) -> RuleVerdict {
    let reading = Reading {
        verdict,
        reason: 0,
        observed: Int::from(U256::from(90)),
        bound: Int::from(U256::from(100)),
    };
    RuleVerdict {
        rule,
        witness: vec![],
        reading,
    }
}

pub(crate) fn trip(rule: u16) -> Decision {
    Decision {
        rule,
        witness: vec![],
        act: Act::Trip,
        scope: 1,
        level: Level::ReduceOnly,
        duration: 3_600,
        severity: Severity::P1,
        reading: verdict(rule, Verdict::Breached).reading,
    }
}

pub(crate) fn event(log_index: u64, kind: GuardEventKind) -> GuardEvent {
    GuardEvent {
        tx: B256::repeat_byte(0xee),
        log_index,
        kind,
    }
}

pub(crate) fn raised(log_index: u64) -> GuardEvent {
    event(
        log_index,
        GuardEventKind::Raised {
            scope: 1,
            from: Level::Normal,
            to: Level::ReduceOnly,
            expires_at: 2_000_000,
            incident: 7,
            by: Address::repeat_byte(9),
        },
    )
}

/// Where a record is kept, for as long as the test runs.
enum Place {
    File(tempfile::TempDir),
    Postgres(Postgres),
}

impl Place {
    async fn open(&self, chain: u64, guard: Address) -> Result<Store, StoreError> {
        match self {
            Self::File(dir) => Store::open(dir.path().join("cordon.db"), chain, guard).await,
            Self::Postgres(server) => Store::connect(&SecretText::new(server.url()), chain, guard).await,
        }
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Store,
    place: Place,
}

impl Fixture {
    pub(crate) async fn sqlite() -> Self {
        Self::of(Place::File(tempfile::tempdir().unwrap())).await
    }

    pub(crate) async fn postgres() -> Self {
        Self::of(Place::Postgres(Postgres::start().unwrap_or_else(|e| panic!("{e}")))).await
    }

    async fn of(place: Place) -> Self {
        let store = place.open(42_161, GUARD).await.unwrap_or_else(|e| panic!("{e}"));
        Self { store, place }
    }

    /// Changes the database behind the record's back.
    pub(crate) async fn tamper(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match &self.place {
            Place::File(dir) => {
                let path = dir.path().join("cordon.db");
                let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
                sqlx::raw_sql(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
            Place::Postgres(server) => {
                let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
                sqlx::raw_sql(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
        }
    }

    /// A hash as a literal of this database.
    pub(crate) fn literal(&self, hash: B256) -> String {
        let hex = alloy::hex::encode(hash);
        match &self.place {
            Place::File(_) => format!("X'{hex}'"),
            Place::Postgres(_) => format!("'\\x{hex}'::bytea"),
        }
    }
}

/// The same tests on both databases.
macro_rules! on_both {
    ($($test:ident)+) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::Fixture::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::Fixture::postgres().await).await;
            })+
        }
    };
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Block<'a> {
    pub(crate) verdicts: &'a [RuleVerdict],
    pub(crate) scopes: Option<&'a [ScopeReading]>,
    pub(crate) decisions: &'a [Decision],
    pub(crate) waiting: &'a [Waiting],
    pub(crate) events: &'a [GuardEvent],
    pub(crate) stopped: &'a [StoppedCall],
    pub(crate) sightings: Option<&'a Sightings>,
    pub(crate) witnessed: &'a [Witnessed],
}

pub(crate) fn record<'a>(block: &'a BlockRef, content: Block<'a>, none: &'a Sightings) -> BlockRecord<'a> {
    BlockRecord {
        block,
        version: VERSION,
        verdicts: content.verdicts,
        scopes: content.scopes,
        decisions: content.decisions,
        waiting: content.waiting,
        events: content.events,
        stopped: content.stopped,
        sightings: content.sightings.unwrap_or(none),
        witnessed: content.witnessed,
        witness_limit: 3,
        head_to_decision: Some(Duration::from_micros(1_500)),
        is_next: true,
    }
}

impl Fixture {
    /// Empty blocks in one transaction.
    pub(crate) async fn commit_all(&self, blocks: &[BlockRef]) -> Result<Vec<BlockCommit>, StoreError> {
        let none = Sightings::default();
        let records: Vec<BlockRecord<'_>> = blocks
            .iter()
            .map(|block| record(block, Block::default(), &none))
            .collect();
        self.store.commit_blocks(&records, &names()).await
    }

    pub(crate) async fn commit(&self, block: &BlockRef, content: Block<'_>) -> Result<BlockCommit, StoreError> {
        let none = Sightings::default();
        let record = record(block, content, &none);
        self.store.commit_block(&record, &names()).await
    }

    /// Stores a block that another rulebook was evaluated for.
    pub(crate) async fn commit_under(
        &self,
        version: B256,
        block: &BlockRef,
        content: Block<'_>,
    ) -> Result<BlockCommit, StoreError> {
        let none = Sightings::default();
        let record = BlockRecord {
            version,
            ..record(block, content, &none)
        };
        self.store.commit_block(&record, &names()).await
    }

    /// Stores an empty block ahead of its turn.
    pub(crate) async fn ahead(&self, block: &BlockRef) {
        self.ahead_with(block, Block::default()).await;
    }

    /// Stores a block ahead of its turn.
    pub(crate) async fn ahead_with(&self, block: &BlockRef, content: Block<'_>) {
        let none = Sightings::default();
        let ahead = BlockRecord {
            is_next: false,
            ..record(block, content, &none)
        };
        self.store.commit_block(&ahead, &names()).await.unwrap();
    }

    /// The record's file; `None` for a database.
    pub(crate) fn file(&self) -> Option<std::path::PathBuf> {
        match &self.place {
            Place::File(dir) => Some(dir.path().join("cordon.db")),
            Place::Postgres(_) => None,
        }
    }

    /// As a crash leaves it: no clean shutdown, a new process opens the record.
    pub(crate) async fn reopen(&self) -> Store {
        self.place.open(42_161, GUARD).await.unwrap()
    }

    pub(crate) async fn open(&self, chain: u64, guard: Address) -> Result<Store, StoreError> {
        self.place.open(chain, guard).await
    }
}

pub(crate) fn done(block: BlockRef, tx: B256) -> Confirmation {
    Confirmation {
        outcome: Outcome::Done,
        detail: "weth is ReduceOnly".into(),
        included: Some((tx, block, 400_000, 12_345)),
        judged_at: None,
        decision_to_broadcast: Some(Duration::from_millis(4)),
        broadcast_to_contained: Some(Duration::from_millis(250)),
    }
}

pub(crate) fn sent(byte: u8) -> SentTransaction {
    SentTransaction {
        hash: B256::repeat_byte(byte),
        sender: Address::repeat_byte(0x44),
        nonce: 3,
        raw: Bytes::from(vec![1, 2, 3]),
        max_fee: 2_000_000_000,
        priority_fee: 1,
    }
}
