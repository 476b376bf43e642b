//! Blocks and decisions for tests that need something in the record.

use alloy::primitives::{B256, keccak256};
use cordon_client::config::Severity;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;

use super::BlockRecord;
use crate::chain::BlockRef;
use crate::decide::{Act, Decision, Reading};
use crate::rules::Sightings;

/// The rulebook that decisions are made by.
pub(crate) const VERSION: B256 = B256::repeat_byte(5);

pub(crate) fn block(number: u64) -> BlockRef {
    let hash = |number: u64| keccak256(number.to_be_bytes());
    BlockRef {
        number,
        hash: hash(number),
        parent: hash(number.saturating_sub(1)),
        timestamp: number.saturating_add(1_000_000),
        base_fee: 0,
    }
}

/// The next block, in which nothing is.
pub(crate) fn empty<'a>(block: &'a BlockRef, sightings: &'a Sightings) -> BlockRecord<'a> {
    BlockRecord {
        block,
        version: VERSION,
        verdicts: &[],
        scopes: None,
        decisions: &[],
        waiting: &[],
        events: &[],
        stopped: &[],
        sightings,
        witnessed: &[],
        witness_limit: 3,
        head_to_decision: None,
        is_next: true,
    }
}

/// A breach of the first rule is to raise the first scope below the protocol's.
pub(crate) fn trip() -> Decision {
    Decision {
        rule: 0,
        witness: vec![],
        act: Act::Trip,
        scope: 1,
        level: Level::ReduceOnly,
        duration: 3_600,
        severity: Severity::P1,
        reading: Reading {
            verdict: Verdict::Breached,
            reason: 0,
            observed: Int::from(90),
            bound: Int::from(100),
        },
    }
}
