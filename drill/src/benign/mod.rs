//! Honest traffic: what a guard must never stand in the way of.

pub(crate) mod aave;
pub(crate) mod vault;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};

use futures::future::try_join_all;

use crate::{error::DrillError, fork::Fork};

/// One honest transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Who sends it (index into the cast).
    pub(crate) actor: u32,
    /// Contract that is called.
    pub(crate) target: Address,
    /// Encoded call.
    pub(crate) calldata: Bytes,
    /// Ether that goes with it, in wei.
    pub(crate) value: U256,
    /// What it is, for reports.
    pub(crate) what: &'static str,
}

impl Step {
    pub(crate) fn new<C: SolCall>(actor: u32, target: Address, call: &C, what: &'static str) -> Self {
        Self::paying(actor, target, call, U256::ZERO, what)
    }

    /// A call with `value` wei.
    pub(crate) fn paying<C: SolCall>(actor: u32, target: Address, call: &C, value: U256, what: &'static str) -> Self {
        Self {
            actor,
            target,
            calldata: call.abi_encode().into(),
            value,
            what,
        }
    }
}

/// Transactions of one block, at most one per account wherever their order would matter.
pub(crate) type Wave = Vec<Step>;

/// What became of the honest traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Benign {
    /// Transactions that were sent.
    pub(crate) sent: u64,
    /// Those that failed, with what they were.
    pub(crate) blocked: Vec<(&'static str, B256)>,
}

/// Sends wave after wave, a block apart, and looks at every receipt. Any failure counts as blocked, whoever is to blame.
pub(crate) async fn run(fork: &Fork, waves: &[Wave]) -> Result<Benign, DrillError> {
    let mut sent = Vec::new();
    for wave in waves {
        for step in wave {
            let hash = fork
                .chain
                .send_paying(
                    fork.account(step.actor)?,
                    step.target,
                    step.calldata.clone(),
                    step.value,
                    step.what,
                )
                .await?;
            sent.push((step.what, hash));
        }
        fork.next_block().await?;
    }
    let mut benign = Benign {
        sent: sent.len().try_into().unwrap_or(u64::MAX),
        blocked: Vec::new(),
    };
    let receipts = sent.iter().map(|(what, hash)| fork.chain.receipt(*hash, what));
    for ((what, hash), receipt) in sent.iter().zip(try_join_all(receipts).await?) {
        if !receipt.status() {
            benign.blocked.push((*what, *hash));
        }
    }
    Ok(benign)
}
