//! Transactions of an action that may still be included, and what happens to them when it has ended.

use std::collections::BTreeMap;

use alloy::primitives::Address;

use super::responder::Responder;
use crate::record::{Confirmation, Intent, IntentKind, SentTransaction, StoreError, TransactionRecord};

impl Responder {
    /// What was sent for an intent and may still be included, or has been and nobody has noted it. Of several with one nonce none may when one
    /// has reverted.
    pub(super) async fn pending(&self, intent: &Intent) -> Result<Vec<SentTransaction>, StoreError> {
        let all = self.store.transactions_of(intent.id).await?;
        let used: Vec<_> = all.iter().filter(|tx| tx.status == "reverted").map(place).collect();
        let pending = all.into_iter().filter(|tx| !used.contains(&place(tx)));
        Ok(pending.map(SentTransaction::from).collect())
    }

    /// Keeps what was sent for a containment that has ended in another way from being included later, when the scope may be open again: the
    /// guard would raise it without a reason. Trips and settlements the guard judges itself.
    pub(super) async fn withdraw(&self, intent: &Intent, end: &Confirmation) -> Result<(), StoreError> {
        if !matches!(intent.kind, IntentKind::Contain | IntentKind::ContainSet) {
            return Ok(());
        }
        let included = end.included.as_ref().map(|(hash, ..)| *hash);
        let all = self.store.transactions_of(intent.id).await?;
        let ended = |tx: &&TransactionRecord| tx.status != "sent" || Some(tx.hash) == included;
        let used: Vec<_> = all.iter().filter(ended).map(place).collect();
        let open = all.iter().filter(|tx| !used.contains(&place(tx)));
        let mut dearest: BTreeMap<(Address, u64), u128> = BTreeMap::new();
        for tx in open {
            let fee = dearest.entry(place(tx)).or_default();
            *fee = (*fee).max(tx.max_fee);
        }
        for ((sender, nonce), fee) in dearest {
            if let Some(account) = self.accounts.iter().find(|account| account.address() == sender) {
                account.withdraw(nonce, fee, self.settings.fee_cap).await;
            }
        }
        Ok(())
    }
}

/// Of transactions with the same sender and nonce one can be included.
fn place(tx: &TransactionRecord) -> (Address, u64) {
    (tx.sender, tx.nonce)
}
