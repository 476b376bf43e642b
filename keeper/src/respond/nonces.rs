//! Which nonces of an account are whose. A nonce belongs to the delivery that is on its way with it, and then, until the chain has used it,
//! to the intent whose bytes were sent with it: those bytes may still land. Another intent takes another nonce, and the same intent no
//! other, so that nothing has two chances to take effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chain::Counts;
use crate::record::SentTransaction;

/// A nonce that is so far ahead of the chain's is none of a delivery's: more than are ever on their way at once. No more are filled.
pub(super) const FAR: u64 = 32;

/// Bytes that were sent, and may land.
#[derive(Debug, Clone)]
pub(super) struct Reserved {
    intent: i64,
    /// What was sent last.
    pub(super) sent: SentTransaction,
    /// Whether the intent has gone on to another nonce.
    pub(super) is_given_up: bool,
}

/// The nonces of one account that have an owner.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    /// Deliveries under way with each.
    flying: BTreeMap<u64, usize>,
    /// What was sent with each, and may land.
    reserved: BTreeMap<u64, Reserved>,
    /// The first that is not known to be used: by what was seen in a block, or as at least two endpoints have said.
    seen: Option<u64>,
    /// Whether of two endpoints that differ the higher one is believed now.
    is_upper: bool,
}

impl Nonces {
    /// The nonce that the chain wants next. One endpoint alone of several is not believed beyond what is known: what is too low, the chain
    /// refuses at once.
    pub(super) fn next(&mut self, counts: &Counts) -> u64 {
        let seen = self.seen.unwrap_or_default();
        if counts.is_alone && self.seen.is_some() {
            return seen;
        }
        if counts.is_shared {
            self.seen = Some(seen.max(counts.lower));
        }
        let said = if self.is_upper { counts.upper } else { counts.lower };
        said.max(seen)
    }

    /// The chain has used this nonce for a transaction of ours.
    pub(super) fn used(&mut self, nonce: u64) {
        self.seen = self.seen.max(Some(nonce.saturating_add(1)));
        self.is_upper = false;
    }

    /// What was known of the chain may be wrong: of endpoints that differ the other one is believed.
    pub(super) fn doubt(&mut self, is_upper: bool) {
        (self.seen, self.is_upper) = (None, is_upper);
    }

    /// Blocks were taken back.
    pub(super) fn set_back(&mut self) {
        self.seen = None;
    }

    /// A nonce for a delivery: `held`, which it has sent bytes with, or else the first from `next` on that nobody has.
    fn take(&mut self, next: u64, held: Option<u64>) -> u64 {
        let is_free = |nonce: &u64| !self.flying.contains_key(nonce) && !self.reserved.contains_key(nonce);
        let nonce = held.or_else(|| (next..=u64::MAX).find(is_free)).unwrap_or(next);
        let deliveries = self.flying.entry(nonce).or_default();
        *deliveries = deliveries.saturating_add(1);
        nonce
    }

    fn leave(&mut self, nonce: u64) {
        let left = self.flying.remove(&nonce).unwrap_or_default().saturating_sub(1);
        if left > 0 {
            self.flying.insert(nonce, left);
        }
    }

    /// Whether a delivery is under way with it.
    pub(super) fn is_flying(&self, nonce: u64) -> bool {
        self.flying.contains_key(&nonce)
    }

    /// Bytes of the intent were sent, or are about to be.
    pub(super) fn reserve(&mut self, intent: i64, sent: &SentTransaction) {
        let held = self.reserved.get(&sent.nonce);
        let is_given_up = held.is_some_and(|held| held.intent == intent && held.is_given_up);
        let reserved = Reserved {
            intent,
            sent: sent.clone(),
            is_given_up,
        };
        self.reserved.insert(sent.nonce, reserved);
    }

    /// Nobody has taken what was sent with it.
    pub(super) fn refused(&mut self, nonce: u64) {
        self.reserved.remove(&nonce);
    }

    /// The intent goes on with another nonce. Nobody else takes this one: its bytes may land, so it is used up when it is waited for.
    pub(super) fn give_up(&mut self, nonce: u64) {
        if let Some(reserved) = self.reserved.get_mut(&nonce) {
            reserved.is_given_up = true;
        }
    }

    /// The nonce of an intent that has sent bytes with these: the highest that was not given up.
    pub(super) fn held(&self, sent: impl Iterator<Item = u64>) -> Option<u64> {
        sent.filter(|nonce| !self.reserved.get(nonce).is_some_and(|held| held.is_given_up))
            .max()
    }

    /// What was sent with a nonce and may land.
    pub(super) fn reserved(&self, nonce: u64) -> Option<Reserved> {
        self.reserved.get(&nonce).cloned()
    }

    /// What was sent for the intent and may land.
    pub(super) fn reserved_for(&self, intent: i64) -> Vec<SentTransaction> {
        let own = self.reserved.values().filter(|held| held.intent == intent);
        own.map(|held| held.sent.clone()).collect()
    }

    /// The intent has ended: whoever comes next may take its place.
    pub(super) fn release(&mut self, intent: i64) {
        self.reserved.retain(|_, held| held.intent != intent);
    }

    /// Nobody has sent anything that may still land, and nothing is known of the chain.
    pub(crate) fn forget(&mut self) {
        self.reserved.clear();
        self.doubt(false);
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.flying.is_empty()
    }

    /// Nonces between the chain's next one and `own` with which nothing is on its way: what is sent with `own` waits for them. Empty when
    /// another delivery is nearer to them, or they are too many to be believed.
    pub(super) fn gap(&self, next: u64, own: u64) -> Vec<u64> {
        if next >= own || own.saturating_sub(next) >= FAR || self.flying.range(next..own).next().is_some() {
            return Vec::new();
        }
        (next..own).collect()
    }
}

/// The nonces of an account, shared by all who send from it.
pub(super) type Shared = Arc<Mutex<Nonces>>;

/// A nonce that belongs to one delivery until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) nonce: u64,
    nonces: Shared,
}

impl Slot {
    pub(super) fn take(nonces: &Shared, next: u64, held: Option<u64>) -> Self {
        let nonce = nonces.lock().unwrap_or_else(PoisonError::into_inner).take(next, held);
        Self {
            nonce,
            nonces: Arc::clone(nonces),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.leave(self.nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(nonce: u64) -> SentTransaction {
        SentTransaction {
            hash: alloy::primitives::B256::ZERO,
            sender: alloy::primitives::Address::ZERO,
            nonce,
            raw: alloy::primitives::Bytes::new(),
            max_fee: 1,
            priority_fee: 1,
        }
    }

    fn said(lower: u64, upper: u64) -> Counts {
        Counts {
            lower,
            upper,
            is_alone: false,
            is_shared: true,
        }
    }

    #[test]
    fn no_endpoint_alone_is_believed_beyond_what_is_known() {
        let mut nonces = Nonces::default();
        let alone = |count| Counts {
            is_alone: true,
            is_shared: false,
            ..said(count, count)
        };
        assert_eq!(nonces.next(&alone(900)), 900, "nothing is known yet");
        assert_eq!(nonces.next(&said(7, 900)), 7);
        assert_eq!([nonces.next(&alone(900)), nonces.next(&alone(2))], [7, 7]);
        nonces.used(7);
        assert_eq!(nonces.next(&said(2, 8)), 8, "what was seen in a block is used");
        nonces.set_back();
        assert_eq!(nonces.next(&said(5, 8)), 5, "unless it was taken back");
        nonces.doubt(true);
        assert_eq!(nonces.next(&said(5, 8)), 8, "the other one has its turn");
        nonces.used(8);
        assert_eq!(nonces.next(&said(9, 900)), 9);
    }

    #[test]
    fn what_was_given_up_is_held_by_nobody_and_taken_by_nobody() {
        let mut nonces = Nonces::default();
        nonces.reserve(100, &sent(5));
        assert_eq!(nonces.held([5].into_iter()), Some(5));
        nonces.give_up(5);
        assert_eq!(nonces.held([5].into_iter()), None);
        assert_eq!(nonces.take(5, None), 6);
        nonces.reserve(100, &sent(6));
        assert_eq!(nonces.held([5, 6].into_iter()), Some(6));
        // Its bytes are sent once more, by whoever waits for them.
        nonces.reserve(100, &sent(5));
        assert_eq!(nonces.held([5].into_iter()), None);
        assert_eq!(nonces.reserved_for(100).len(), 2);
        nonces.release(100);
        assert_eq!(nonces.take(5, None), 5);
    }

    #[test]
    fn bytes_that_may_land_keep_their_nonce() {
        let mut nonces = Nonces::default();
        assert_eq!([nonces.take(5, None), nonces.take(5, None)], [5, 6]);
        nonces.reserve(100, &sent(5));
        // Its delivery was given up, the intent was not.
        nonces.leave(5);
        assert_eq!(nonces.take(5, None), 7, "another intent does not take it");
        assert_eq!(nonces.take(5, Some(5)), 5, "its own does");
        nonces.leave(5);
        nonces.release(100);
        assert_eq!(nonces.take(5, None), 5, "nor is it left open for ever");
    }

    #[test]
    fn only_the_delivery_nearest_to_a_gap_fills_it() {
        let mut nonces = Nonces::default();
        for _ in 0..4 {
            nonces.take(5, None);
        }
        assert_eq!(nonces.gap(5, 5), Vec::<u64>::new());
        nonces.leave(5);
        nonces.leave(6);
        assert_eq!(nonces.gap(5, 7), [5, 6]);
        assert_eq!(nonces.gap(5, 8), Vec::<u64>::new(), "7 is on its way");
        assert_eq!(nonces.gap(7, 7), Vec::<u64>::new());
        assert_eq!(nonces.gap(0, 7).len(), 7);
        assert_eq!(nonces.gap(7, 1_000_000), Vec::<u64>::new(), "nobody fills a million");
    }

    #[test]
    fn two_deliveries_with_one_nonce_leave_it_one_by_one() {
        let mut nonces = Nonces::default();
        nonces.take(5, Some(5));
        nonces.take(5, Some(5));
        nonces.leave(5);
        assert!(!nonces.is_idle());
        nonces.leave(5);
        assert!(nonces.is_idle());
    }

    proptest! {
        #[test]
        fn nobody_is_given_what_another_has(
            next in 0_u64..4, flying in prop::collection::vec(0_u64..8, 0..6), reserved in prop::collection::btree_map(0_u64..8, 0_i64..3, 0..6),
        ) {
            let mut nonces = Nonces::default();
            for nonce in &flying {
                nonces.take(0, Some(*nonce));
            }
            for (nonce, intent) in &reserved {
                nonces.reserve(*intent, &sent(*nonce));
            }
            let given = nonces.take(next, None);
            prop_assert!(given >= next && !flying.contains(&given) && !reserved.contains_key(&given));
        }
    }
}
