//! Transactions of an action that may still be included.

use std::collections::BTreeSet;

use alloy::primitives::Address;

use super::responder::Responder;
use crate::record::{Intent, SentTransaction, StoreError, TransactionRecord};

/// Sender and nonce: of transactions with the same, one can be included.
pub(super) type Place = (Address, u64);

impl Responder {
    /// What was sent for an intent and may still be included, or has been and nobody has noted it.
    pub(super) async fn pending(&self, intent: &Intent) -> Result<Vec<SentTransaction>, StoreError> {
        Ok(pending(self.store.transactions_of(intent.id).await?))
    }
}

/// Those whose nonce no reverted one has used.
fn pending(all: Vec<TransactionRecord>) -> Vec<SentTransaction> {
    let is_reverted = |tx: &&TransactionRecord| tx.status == "reverted";
    let used: BTreeSet<Place> = all.iter().filter(is_reverted).map(place).collect();
    let pending = all.into_iter().filter(|tx| !used.contains(&place(tx)));
    pending.map(SentTransaction::from).collect()
}

pub(super) fn place(tx: &TransactionRecord) -> Place {
    (tx.sender, tx.nonce)
}

#[cfg(test)]
pub(super) mod tests {
    use alloy::primitives::{B256, Bytes};

    use super::*;
    use crate::record::IntentKind;

    pub(in crate::respond) fn tx(hash: u8, sender: u8, nonce: u64, max_fee: u128, status: &str) -> TransactionRecord {
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

    pub(in crate::respond) fn sent() -> Vec<TransactionRecord> {
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
}
