//! Transactions of an action that may still be included, and what happens to them when it has ended.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

use super::responder::Responder;
use crate::record::{Confirmation, Intent, IntentKind, SentTransaction, StoreError, TransactionRecord};

/// Sender and nonce: of transactions with the same, one can be included.
type Place = (Address, u64);

impl Responder {
    /// What was sent for an intent and may still be included, or has been and nobody has noted it.
    pub(super) async fn pending(&self, intent: &Intent) -> Result<Vec<SentTransaction>, StoreError> {
        Ok(pending(self.store.transactions_of(intent.id).await?))
    }

    /// Keeps what was sent for a containment that has ended in another way from being included later, when the scope may be open again: the
    /// guard would raise it without a reason. Trips and settlements the guard judges itself.
    pub(super) async fn withdraw(&self, intent: &Intent, end: &Confirmation) -> Result<(), StoreError> {
        if !matches!(intent.kind, IntentKind::Contain | IntentKind::ContainSet) {
            return Ok(());
        }
        let included = end.included.as_ref().map(|(hash, ..)| *hash);
        let open = dearest(&self.store.transactions_of(intent.id).await?, included);
        for ((sender, nonce), fee) in open {
            if let Some(account) = self.accounts.iter().find(|account| account.address() == sender) {
                account.withdraw(nonce, fee, self.settings.fee_cap).await;
            }
        }
        Ok(())
    }
}

/// Those whose nonce no reverted one has used.
fn pending(all: Vec<TransactionRecord>) -> Vec<SentTransaction> {
    let is_reverted = |tx: &&TransactionRecord| tx.status == "reverted";
    let used: BTreeSet<Place> = all.iter().filter(is_reverted).map(place).collect();
    let pending = all.into_iter().filter(|tx| !used.contains(&place(tx)));
    pending.map(SentTransaction::from).collect()
}

/// Where something of an action that ended with `included` is still open, and the most that was offered there, in wei per gas.
fn dearest(all: &[TransactionRecord], included: Option<B256>) -> BTreeMap<Place, u128> {
    let is_in =
        |tx: &&TransactionRecord| matches!(tx.status.as_str(), "succeeded" | "reverted") || Some(tx.hash) == included;
    let used: BTreeSet<Place> = all.iter().filter(is_in).map(place).collect();
    let mut dearest = BTreeMap::new();
    for tx in all.iter().filter(|tx| !used.contains(&place(tx))) {
        let fee: &mut u128 = dearest.entry(place(tx)).or_default();
        *fee = (*fee).max(tx.max_fee);
    }
    dearest
}

fn place(tx: &TransactionRecord) -> Place {
    (tx.sender, tx.nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Bytes;

    fn tx(hash: u8, sender: u8, nonce: u64, max_fee: u128, status: &str) -> TransactionRecord {
        TransactionRecord {
            hash: B256::repeat_byte(hash),
            intent: 1,
            kind: IntentKind::Contain,
            sender: Address::repeat_byte(sender),
            nonce,
            raw: Bytes::new(),
            max_fee,
            priority_fee: 0,
            sent_ms: 0,
            status: status.to_owned(),
            block_number: None,
            block_hash: None,
            gas_used: None,
            fee: None,
        }
    }

    fn sent() -> Vec<TransactionRecord> {
        vec![
            tx(1, 7, 4, 10, "sent"),
            tx(2, 7, 4, 13, "reverted"),
            tx(3, 7, 5, 10, "sent"),
            tx(4, 7, 5, 13, "sent"),
            tx(5, 8, 4, 10, "orphaned"),
        ]
    }

    #[test]
    fn what_shares_its_nonce_with_a_reverted_one_is_out() {
        let hashes: Vec<B256> = pending(sent()).iter().map(|sent| sent.hash).collect();
        assert_eq!(hashes, [3, 4, 5].map(B256::repeat_byte));
    }

    #[test]
    fn what_may_still_be_included_when_an_action_has_ended_is_outbid() {
        let open = |included| dearest(&sent(), included).into_iter().collect::<Vec<_>>();
        let (own, other) = (Address::repeat_byte(7), Address::repeat_byte(8));
        assert_eq!(
            open(None),
            [((own, 5), 13), ((other, 4), 10)],
            "a reorg gives it back to the pool"
        );
        assert_eq!(open(Some(B256::repeat_byte(3))), [((other, 4), 10)]);
    }
}
