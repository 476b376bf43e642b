//! Transactions that wait for a block.
//!
//! Per sender they are ordered by nonce; one whose predecessor is missing waits. What a block takes is found by a heap over the
//! senders' next transactions, so that a large backlog costs `n log n`, and the pool is bounded.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
};

use alloy::primitives::{Address, B256};

use crate::{config::TransactionOrder, transaction::SignedTransaction};

/// Gas of the cheapest transaction.
const LEAST_GAS: u64 = 21_000;

/// A transaction was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("already known: transaction {0} is in the pool")]
    Known(B256),
    #[error("replacement transaction underpriced: at least {needed} wei per gas are needed to replace nonce {nonce}")]
    Underpriced { nonce: u64, needed: u128 },
    #[error("transaction pool is full: {0} transactions wait; mine a block or raise the limit")]
    Full(usize),
}

#[derive(Clone, Debug)]
struct Entry {
    transaction: Arc<SignedTransaction>,
    arrival: u64,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct Pool {
    senders: HashMap<Address, BTreeMap<u64, Entry>>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
    /// Grows with every change.
    generation: u64,
    capacity: usize,
    order: TransactionOrder,
}

/// A sender's next transaction in the heap: the greatest enters the block first.
struct Candidate {
    fee: u128,
    arrival: Reverse<u64>,
    transaction: Arc<SignedTransaction>,
}

impl Candidate {
    fn key(&self) -> (u128, Reverse<u64>) {
        (self.fee, self.arrival)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Pool {
    pub(crate) fn new(capacity: usize, order: TransactionOrder) -> Self {
        Self {
            senders: HashMap::new(),
            by_hash: HashMap::new(),
            arrivals: 0,
            generation: 0,
            capacity,
            order,
        }
    }

    /// Takes a transaction in. One with the nonce of another replaces it if it pays a tenth more.
    pub(crate) fn add(&mut self, transaction: Arc<SignedTransaction>) -> Result<(), PoolError> {
        let (hash, nonce, sender) = (transaction.hash(), transaction.nonce(), transaction.sender);
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::Known(hash));
        }
        let replaced = self.senders.get(&sender).and_then(|queue| queue.get(&nonce));
        match replaced {
            Some(old) => {
                let needed = old
                    .transaction
                    .max_fee()
                    .saturating_add(old.transaction.max_fee().div_ceil(10));
                if transaction.max_fee() < needed {
                    return Err(PoolError::Underpriced { nonce, needed });
                }
                self.by_hash.remove(&old.transaction.hash());
            }
            None if self.by_hash.len() >= self.capacity => return Err(PoolError::Full(self.by_hash.len())),
            None => {}
        }
        self.arrivals = self.arrivals.saturating_add(1);
        self.touch();
        self.by_hash.insert(hash, (sender, nonce));
        let entry = Entry {
            transaction,
            arrival: self.arrivals,
        };
        self.senders.entry(sender).or_default().insert(nonce, entry);
        Ok(())
    }

    pub(crate) fn get(&self, hash: &B256) -> Option<Arc<SignedTransaction>> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        Some(self.senders.get(sender)?.get(nonce)?.transaction.clone())
    }

    pub(crate) fn remove(&mut self, hash: &B256) -> Option<Arc<SignedTransaction>> {
        let (sender, nonce) = self.by_hash.remove(hash)?;
        self.touch();
        let queue = self.senders.get_mut(&sender)?;
        let entry = queue.remove(&nonce)?;
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        Some(entry.transaction)
    }

    /// Removes all transactions of a sender.
    pub(crate) fn remove_sender(&mut self, sender: &Address) {
        self.touch();
        for entry in self.senders.remove(sender).unwrap_or_default().into_values() {
            self.by_hash.remove(&entry.transaction.hash());
        }
    }

    pub(crate) fn clear(&mut self) {
        self.touch();
        self.senders.clear();
        self.by_hash.clear();
    }

    /// Drops what can never be mined because the sender's nonce has passed it.
    pub(crate) fn prune(&mut self, sender: &Address, nonce: u64) {
        let Some(queue) = self.senders.get_mut(sender) else {
            return;
        };
        self.generation = self.generation.saturating_add(1);
        let waiting = queue.split_off(&nonce);
        for entry in std::mem::replace(queue, waiting).into_values() {
            self.by_hash.remove(&entry.transaction.hash());
        }
        if queue.is_empty() {
            self.senders.remove(sender);
        }
    }

    /// First nonce from `nonce` on that the sender has not used in the pool.
    pub(crate) fn next_nonce(&self, sender: &Address, nonce: u64) -> u64 {
        let Some(queue) = self.senders.get(sender) else {
            return nonce;
        };
        let mut next = nonce;
        for used in queue.range(nonce..).map(|(used, _)| *used) {
            if used != next {
                break;
            }
            next = next.saturating_add(1);
        }
        next
    }

    /// Transactions that can be mined now at `base_fee`, best first, as many as could fit into `gas_limit` if each used no more
    /// than the cheapest one does: what they use is known only when they run. `nonce_of` tells the nonce of an account.
    pub(crate) fn ready(
        &self,
        mut nonce_of: impl FnMut(Address) -> u64,
        base_fee: u64,
        gas_limit: u64,
    ) -> Vec<Arc<SignedTransaction>> {
        let mut heap: BinaryHeap<Candidate> = self
            .senders
            .iter()
            .filter_map(|(sender, queue)| queue.get(&nonce_of(*sender)))
            .filter_map(|entry| self.candidate(entry, base_fee))
            .collect();
        let most = usize::try_from(gas_limit / LEAST_GAS).unwrap_or(usize::MAX).max(1);
        let mut ready = Vec::new();
        while let Some(Candidate { transaction, .. }) = heap.pop() {
            let queue = self.senders.get(&transaction.sender);
            let next = transaction.nonce().checked_add(1).and_then(|nonce| queue?.get(&nonce));
            heap.extend(next.and_then(|entry| self.candidate(entry, base_fee)));
            ready.push(transaction);
            if ready.len() >= most {
                break;
            }
        }
        ready
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Differs whenever the pool holds something else than before.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    fn touch(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    /// Whether a transaction waits.
    pub(crate) fn contains(&self, hash: &B256) -> bool {
        self.by_hash.contains_key(hash)
    }

    fn candidate(&self, entry: &Entry, base_fee: u64) -> Option<Candidate> {
        let fee = entry.transaction.max_fee();
        (fee >= u128::from(base_fee)).then(|| Candidate {
            fee: if self.order == TransactionOrder::Fees { fee } else { 0 },
            arrival: Reverse(entry.arrival),
            transaction: entry.transaction.clone(),
        })
    }

    /// All transactions, by sender and nonce, each with whether it could be mined next to its predecessors.
    pub(crate) fn content(&self, mut nonce_of: impl FnMut(Address) -> u64) -> Vec<(Arc<SignedTransaction>, bool)> {
        let mut all = Vec::with_capacity(self.by_hash.len());
        for (sender, queue) in &self.senders {
            let mut expected = nonce_of(*sender);
            for (nonce, entry) in queue {
                let pending = *nonce == expected;
                if pending {
                    expected = expected.saturating_add(1);
                }
                all.push((entry.transaction.clone(), pending));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy::{primitives::U256, rpc::types::TransactionRequest};

    use super::*;

    fn transaction(sender: u8, nonce: u64, fee: u128) -> Arc<SignedTransaction> {
        let sender = Address::repeat_byte(sender);
        let request = TransactionRequest {
            to: Some(Address::ZERO.into()),
            nonce: Some(nonce),
            gas: Some(21_000),
            gas_price: Some(fee),
            value: Some(U256::ZERO),
            chain_id: Some(1),
            ..TransactionRequest::default()
        };
        Arc::new(SignedTransaction::from_request(request, sender, None).unwrap())
    }

    fn ready(pool: &Pool) -> Vec<(u8, u64)> {
        let ready = pool.ready(|_| 0, 1, 1_000_000);
        ready
            .iter()
            .map(|transaction| (*transaction.sender.first().unwrap(), transaction.nonce()))
            .collect()
    }

    #[test]
    fn higher_fee_first_then_arrival_and_nonces_in_order() {
        let mut pool = Pool::new(10, TransactionOrder::Fees);
        for entry in [(1, 0, 5), (2, 0, 7), (3, 0, 5), (2, 1, 9)] {
            pool.add(transaction(entry.0, entry.1, entry.2)).unwrap();
        }
        assert_eq!(ready(&pool), [(2, 0), (2, 1), (1, 0), (3, 0)]);
    }

    #[test]
    fn arrival_order_ignores_fees() {
        let mut pool = Pool::new(10, TransactionOrder::Arrival);
        for entry in [(1, 0, 5), (2, 0, 7), (3, 0, 9)] {
            pool.add(transaction(entry.0, entry.1, entry.2)).unwrap();
        }
        assert_eq!(ready(&pool), [(1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn a_nonce_gap_waits_until_it_is_filled() {
        let mut pool = Pool::new(10, TransactionOrder::Fees);
        pool.add(transaction(1, 1, 5)).unwrap();
        assert_eq!(ready(&pool), []);
        assert_eq!(pool.next_nonce(&Address::repeat_byte(1), 0), 0);
        pool.add(transaction(1, 0, 5)).unwrap();
        assert_eq!(ready(&pool), [(1, 0), (1, 1)]);
        assert_eq!(pool.next_nonce(&Address::repeat_byte(1), 0), 2);
    }

    #[test]
    fn a_replacement_pays_a_tenth_more() {
        let mut pool = Pool::new(10, TransactionOrder::Fees);
        pool.add(transaction(1, 0, 100)).unwrap();
        assert_eq!(
            pool.add(transaction(1, 0, 109)),
            Err(PoolError::Underpriced { nonce: 0, needed: 110 })
        );
        let better = transaction(1, 0, 110);
        pool.add(better.clone()).unwrap();
        assert_eq!(pool.by_hash.len(), 1);
        assert_eq!(pool.add(better.clone()), Err(PoolError::Known(better.hash())));
    }

    #[test]
    fn a_full_pool_refuses_but_still_replaces() {
        let mut pool = Pool::new(1, TransactionOrder::Fees);
        pool.add(transaction(1, 0, 10)).unwrap();
        assert_eq!(pool.add(transaction(2, 0, 10)), Err(PoolError::Full(1)));
        pool.add(transaction(1, 0, 20)).unwrap();
    }

    #[test]
    fn a_block_takes_what_fits_and_what_pays() {
        let mut pool = Pool::new(10, TransactionOrder::Fees);
        for sender in 1..=3 {
            pool.add(transaction(sender, 0, u128::from(sender))).unwrap();
        }
        let two = pool.ready(|_| 0, 1, 42_000);
        assert_eq!(two.len(), 2);
        let paying = pool.ready(|_| 0, 3, 1_000_000);
        assert_eq!(paying.len(), 1);
    }

    #[test]
    fn pruning_drops_used_nonces_only() {
        let mut pool = Pool::new(10, TransactionOrder::Fees);
        for nonce in 0..3 {
            pool.add(transaction(1, nonce, 5)).unwrap();
        }
        pool.prune(&Address::repeat_byte(1), 2);
        assert_eq!(pool.content(|_| 2).len(), 1);
        pool.prune(&Address::repeat_byte(1), 3);
        assert!(pool.senders.is_empty() && pool.by_hash.is_empty());
    }
}
