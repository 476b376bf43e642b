//! What belongs to a block rather than to a transaction.

use std::collections::VecDeque;

use alloy_primitives::B256;

/// Data of the block that transactions run in.
#[derive(Clone, Debug, Default)]
pub struct BlockContext {
    /// Height of the L2 block.
    pub l2_number: u64,
    /// Programs that were called in this block before.
    pub recent: RecentPrograms,
    /// Whether a transaction has run in it, so that an upgrade of ArbOS that was due has been made.
    pub(super) begun: bool,
}

impl BlockContext {
    /// A block in which no program has run yet.
    pub fn new(l2_number: u64) -> Self {
        Self {
            l2_number,
            recent: RecentPrograms::default(),
            begun: false,
        }
    }
}

/// The code hashes that ran last in a block, most recent first; a program found here is entered at its cached cost.
#[derive(Clone, Debug, Default)]
pub struct RecentPrograms {
    hashes: VecDeque<B256>,
}

impl RecentPrograms {
    /// Notes a call of `code_hash` and tells whether it was among the last `capacity` different ones.
    pub fn insert(&mut self, code_hash: B256, capacity: u16) -> bool {
        let known = self.hashes.iter().position(|known| *known == code_hash);
        if let Some(position) = known {
            self.hashes.remove(position);
        }
        self.hashes.push_front(code_hash);
        self.hashes.truncate(usize::from(capacity));
        known.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut recent = RecentPrograms::default();
        let hashes = [1, 2, 3].map(B256::with_last_byte);
        for hash in hashes {
            assert!(!recent.insert(hash, 2));
        }
        let [first, second, third] = hashes;
        assert!(recent.insert(second, 2));
        assert!(recent.insert(third, 2));
        assert!(!recent.insert(first, 2));
        let mut nothing = RecentPrograms::default();
        assert!(!nothing.insert(first, 0));
        assert!(!nothing.insert(first, 0), "a capacity of 0 forgets at once");
    }
}
