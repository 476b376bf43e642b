//! What is delivered to the chain, within which limits, and why it was not.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes};
use alloy::rpc::types::TransactionReceipt;

use super::account::AccountError;
use crate::chain::RpcError;
use crate::record::{SentTransaction, StoreError};

/// Timing and limits of delivery.
#[derive(Debug, Clone, Copy)]
pub struct DeliverSettings {
    /// How often receipts are looked for in the first two seconds; a tenth as often later.
    pub poll: Duration,
    /// How often the same bytes are sent again.
    pub rebroadcast: Duration,
    /// How long a transaction may wait before it is replaced by one with higher fees.
    pub bump_after: Duration,
    /// How long to try in all.
    pub deadline: Duration,
    /// With several keys, how long each waits until an endpoint has taken the transaction of the one before it, and twice that for it to get
    /// through: a block of Arbitrum.
    pub hedge: Duration,
    /// Most wei per gas ever offered.
    pub fee_cap: u128,
}

impl Default for DeliverSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(20),
            rebroadcast: Duration::from_secs(1),
            bump_after: Duration::from_secs(3),
            deadline: Duration::from_secs(60),
            hedge: Duration::from_millis(250),
            fee_cap: 1_000_000_000_000,
        }
    }
}

/// A contract call to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Contract.
    pub to: Address,
    /// Calldata.
    pub data: Bytes,
    /// Gas limit.
    pub gas: u64,
}

/// A transaction that is in a block.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The one of the sent transactions that made it.
    pub sent: SentTransaction,
    /// Its receipt; the transaction may have reverted.
    pub receipt: TransactionReceipt,
    /// When a node first accepted it; `None` when it was sent by an earlier run.
    pub accepted_at: Option<Instant>,
}

/// Why a transaction did not get into a block. Trying again from the start is safe.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The account cannot sign, or the chain cannot be asked.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another keeper of the fleet may have the turn.
    #[error("nothing is sent: another keeper of the fleet may have taken over")]
    NotOurTurn,
    /// A node refused it.
    #[error("the node does not take the transaction of {account}: {reason}")]
    Refused {
        /// Sender.
        account: Address,
        /// The node's words.
        reason: String,
    },
    /// Another transaction of the account took its nonce.
    #[error(
        "nonce {nonce} of {account} was used by a transaction that the keeper did not send: use a key that nothing else uses"
    )]
    NonceTaken {
        /// Sender.
        account: Address,
        /// The nonce.
        nonce: u64,
    },
    /// Something that is not in the record has used the nonce that an action of an earlier run was sent with.
    #[error(
        "nonce {nonce} of {account} was used by a transaction that is not in the record: it may have done what is wanted, which is looked at before anything else is sent"
    )]
    Overtaken {
        /// Sender.
        account: Address,
        /// The nonce.
        nonce: u64,
    },
    /// Another action of the keeper is sent with the nonce that this one was sent with, or the nonce is used and the endpoints do not say by what.
    #[error(
        "nonce {nonce} of {account}, with which it was sent before, is in use, and what has become of it was not found within {seconds} s"
    )]
    Contended {
        /// Sender.
        account: Address,
        /// The nonce.
        nonce: u64,
        /// How long was waited.
        seconds: u64,
    },
    /// A reorg has taken away what it was decided on, or the rule was found to hold since.
    #[error("it is not sent again before it is looked at: the breach that it answers is found no more")]
    Groundless,
    /// It was not included in time.
    #[error(
        "the transaction of {account} with nonce {nonce} was not included within {seconds} s at up to {max_fee} wei per gas"
    )]
    Late {
        /// Sender.
        account: Address,
        /// The nonce.
        nonce: u64,
        /// How long was waited.
        seconds: u64,
        /// What was offered in the end.
        max_fee: u128,
    },
}

impl From<RpcError> for DeliverError {
    fn from(error: RpcError) -> Self {
        Self::Account(error.into())
    }
}

/// A fee a quarter higher: more than the eighth that nodes demand of a replacement.
pub(super) fn bumped(fee: u128) -> u128 {
    fee.saturating_add(fee / 4).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_is_more_than_an_eighth() {
        for fee in [0, 1, 7, 100, 2_000_000_000] {
            assert!(bumped(fee) > fee && bumped(fee) * 8 >= fee * 9, "{fee}");
        }
    }
}
