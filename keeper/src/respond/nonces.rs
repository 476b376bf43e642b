//! Which nonces of an account are whose. A nonce belongs to the delivery that is on its way with it, and then, until the chain has used it,
//! to the intent whose bytes were sent with it: those bytes may still land. Another intent takes another nonce, and the same intent no
//! other, so that nothing has two chances to take effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Nonces that are filled at once: more can only be lost by a chain that was set back far.
const FILLED: usize = 64;

/// The nonces of one account that have an owner.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    /// Deliveries under way with each.
    flying: BTreeMap<u64, usize>,
    /// The intent whose bytes were sent with each, and may land.
    reserved: BTreeMap<u64, i64>,
}

impl Nonces {
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

    /// Bytes of the intent were sent with this nonce.
    pub(super) fn reserve(&mut self, nonce: u64, intent: i64) {
        self.reserved.insert(nonce, intent);
    }

    /// The intent has ended: whoever comes next may take its place.
    pub(super) fn release(&mut self, intent: i64) {
        self.reserved.retain(|_, held| *held != intent);
    }

    /// Nobody has sent anything that may still land.
    pub(crate) fn forget(&mut self) {
        self.reserved.clear();
    }

    /// The chain has used all nonces below `next`.
    pub(super) fn spent(&mut self, next: u64) {
        self.reserved = self.reserved.split_off(&next);
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.flying.is_empty()
    }

    /// Nonces between the chain's next one and `own` with which nothing is on its way: what is sent with `own` waits for them. Empty when
    /// another delivery is nearer to them.
    pub(super) fn gap(&self, next: u64, own: u64) -> Vec<u64> {
        if next >= own || self.flying.range(next..own).next().is_some() {
            return Vec::new();
        }
        (next..own).take(FILLED).collect()
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

    #[test]
    fn bytes_that_may_land_keep_their_nonce() {
        let mut nonces = Nonces::default();
        assert_eq!([nonces.take(5, None), nonces.take(5, None)], [5, 6]);
        nonces.reserve(5, 100);
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
                nonces.reserve(*nonce, *intent);
            }
            let given = nonces.take(next, None);
            prop_assert!(given >= next && !flying.contains(&given) && !reserved.contains_key(&given));
            nonces.spent(next);
            prop_assert!(nonces.reserved.keys().all(|nonce| *nonce >= next));
        }
    }
}
