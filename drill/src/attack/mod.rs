//! The attacks: what the thief does, block by block.

pub(crate) mod aave;
pub(crate) mod vault;

use alloy::{primitives::B256, rpc::types::TransactionReceipt};

use crate::error::DrillError;

/// Whom the drill lets arrive first where an attacker and the keeper race for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The attacker sends at once.
    Attacker,
    /// The attacker waits until the keeper's transaction is in the pool.
    Keeper,
}

impl Arrival {
    /// As in "keeper first".
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Attacker => "attacker",
            Self::Keeper => "keeper",
        }
    }
}

/// A transaction as it stands in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) hash: B256,
    pub(crate) block: u64,
    pub(crate) index: u64,
    pub(crate) succeeded: bool,
}

impl Landed {
    /// Whether it stands before `other` in the chain.
    pub(crate) fn before(&self, other: &Self) -> bool {
        (self.block, self.index) < (other.block, other.index)
    }
}

impl TryFrom<&TransactionReceipt> for Landed {
    type Error = DrillError;

    fn try_from(receipt: &TransactionReceipt) -> Result<Self, DrillError> {
        let place = receipt.block_number.zip(receipt.transaction_index);
        let (block, index) = place.ok_or_else(|| DrillError::Answer {
            what: "the receipt of an attack".to_owned(),
            target: receipt.to.unwrap_or_default(),
            reason: "it has no place in a block".to_owned(),
        })?;
        Ok(Self {
            hash: receipt.transaction_hash,
            block,
            index,
            succeeded: receipt.status(),
        })
    }
}

/// How an attack went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    /// The attacker's change, in the first bad block.
    pub(crate) change: Landed,
    /// The transaction that takes the value.
    pub(crate) taking: Landed,
}

impl Attack {
    /// Blocks between change and taking.
    pub(crate) const fn delay(&self) -> u64 {
        self.taking.block.saturating_sub(self.change.block)
    }
}
