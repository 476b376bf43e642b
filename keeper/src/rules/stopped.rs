//! Calls that a hook of the guard stopped: somebody tried what a rule forbids, and it did not work. The chain keeps no event of
//! a transaction that was reverted, so that they are looked for among those that failed.

use alloy::primitives::{Address, B256};
use alloy::sol_types::SolError;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::rule::value::Int;

use crate::chain::{BlockRef, FailedTransaction, Receipts, Rpc, RpcError};

/// Failed transactions that are looked at per block; those that called a protocol's contract directly come first. Whoever
/// floods the chain with failures costs the keeper no more than this.
const LOOKED_AT: usize = 8;

/// A call that was stopped because a rule would have been breached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedCall {
    /// The transaction.
    pub tx: B256,
    /// Who sent it.
    pub from: Address,
    /// What it called first.
    pub to: Option<Address>,
    /// The rule.
    pub rule: u16,
    /// Scope of the rule.
    pub scope: u8,
    /// What the rule observed inside the call.
    pub observed: Int,
    /// What it demands.
    pub bound: Int,
}

/// Where stopped calls are looked for.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// The contracts that call the guard's hooks. Without any, nothing is looked for.
    pub callers: Vec<Address>,
    /// Scope of every rule, by index.
    pub scopes: Vec<u8>,
}

impl Hooks {
    /// Whether there are hooks that may stop a call.
    pub(super) fn are_any(&self) -> bool {
        !self.callers.is_empty()
    }

    /// The calls of a block with these receipts that the guard's hooks stopped.
    ///
    /// # Errors
    /// See [`RpcError`]: nothing is known of the block's failures then.
    pub(super) async fn stopped(
        &self,
        rpc: &Rpc,
        guard: Address,
        block: &BlockRef,
        receipts: &Receipts,
    ) -> Result<Vec<StoppedCall>, RpcError> {
        let mut failed = receipts.failed();
        failed.sort_by_key(|tx| !tx.to.is_some_and(|to| self.callers.contains(&to)));
        failed.truncate(LOOKED_AT);
        let looks = failed.iter().map(|tx| async move {
            let reverts = rpc.reverts_of(tx, guard, block.parent).await?;
            Ok(reverts.iter().find_map(|data| self.call(tx, data)))
        });
        let found: Result<Vec<Option<StoppedCall>>, RpcError> =
            futures::future::join_all(looks).await.into_iter().collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// A revert as a stopped call; `None` when it was for another reason than a breach.
    fn call(&self, tx: &FailedTransaction, data: &[u8]) -> Option<StoppedCall> {
        let breach = Guard::RuleBreached::abi_decode(data).ok()?;
        Some(StoppedCall {
            tx: tx.hash,
            from: tx.from,
            to: tx.to,
            rule: breach.rule,
            scope: self.scopes.get(usize::from(breach.rule)).copied().unwrap_or_default(),
            observed: Int::new(breach.observedNegative, breach.observed),
            bound: Int::new(breach.boundNegative, breach.bound),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use alloy::primitives::U256;

    #[test]
    fn only_a_breach_is_an_attempt() {
        let hooks = Hooks {
            callers: vec![Address::repeat_byte(1)],
            scopes: vec![0, 3],
        };
        let tx = FailedTransaction {
            hash: B256::repeat_byte(7),
            from: Address::repeat_byte(2),
            to: None,
        };
        let breached = Guard::RuleBreached {
            rule: 1,
            observedNegative: true,
            observed: U256::from(5),
            boundNegative: false,
            bound: U256::from(9),
        };
        let call = hooks.call(&tx, &breached.abi_encode()).unwrap();
        assert_eq!((call.rule, call.scope), (1, 3));
        assert_eq!(
            (call.observed, call.bound),
            (Int::new(true, U256::from(5)), Int::from(9))
        );
        // A user who meets a closed market is no attacker.
        let closed = Guard::ActionClosed {
            scope: 1,
            level: Guard::Level::Halted,
            action: 1,
        };
        assert_eq!(hooks.call(&tx, &closed.abi_encode()), None);
        assert_eq!(hooks.call(&tx, &[]), None);
    }
}
