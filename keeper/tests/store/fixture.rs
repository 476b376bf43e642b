//! A record in a file of its own, and what is put into it.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_client::config::Severity;
use cordon_core::action::{Action, ActionSet};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{Act, Decision, Reading, RuleVerdict, ScopeReading};
use cordon_keeper::record::{
    BlockCommit, BlockRecord, Confirmation, NamedContainment, Names, Outcome, SentTransaction, Store, StoreError,
    Witnessed,
};
use cordon_keeper::rules::{GuardEvent, GuardEventKind, StoppedCall};

pub(crate) const GUARD: Address = Address::repeat_byte(0x11);

pub(crate) fn names() -> Names {
    Names {
        scopes: vec!["protocol".into(), "weth".into()],
        rules: vec!["price".into(), "solvent".into()],
        containments: vec![NamedContainment {
            id: "stop-borrowing".into(),
            closes: ActionSet::EMPTY.with(Action::Increase),
        }],
        hooked: true,
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

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) path: std::path::PathBuf,
    pub(crate) _dir: tempfile::TempDir,
}

pub(crate) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cordon.db");
    let store = Store::open(&path, 42_161, GUARD).await.unwrap();
    Fixture { store, path, _dir: dir }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Block<'a> {
    pub(crate) verdicts: &'a [RuleVerdict],
    pub(crate) scopes: Option<&'a [ScopeReading]>,
    pub(crate) decisions: &'a [Decision],
    pub(crate) events: &'a [GuardEvent],
    pub(crate) stopped: &'a [StoppedCall],
    pub(crate) witnessed: &'a [Witnessed],
}

impl Fixture {
    pub(crate) async fn commit(&self, block: &BlockRef, content: Block<'_>) -> Result<BlockCommit, StoreError> {
        let record = BlockRecord {
            block,
            version: B256::repeat_byte(5),
            verdicts: content.verdicts,
            scopes: content.scopes,
            decisions: content.decisions,
            events: content.events,
            stopped: content.stopped,
            witnessed: content.witnessed,
            witness_limit: 3,
            head_to_decision: Some(Duration::from_micros(1_500)),
            is_next: true,
        };
        self.store.commit_block(&record, &names()).await
    }

    /// As a crash leaves it: no clean shutdown, a new process opens the file.
    pub(crate) async fn reopen(&self) -> Store {
        Store::open(&self.path, 42_161, GUARD).await.unwrap()
    }
}

pub(crate) fn done(block: BlockRef, tx: B256) -> Confirmation {
    Confirmation {
        outcome: Outcome::Done,
        detail: "weth is ReduceOnly".into(),
        included: Some((tx, block, 400_000, 12_345)),
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
