//! What headers say of what their block's transactions left: a bloom filter over emitters and topics of the logs, by which it is certain that
//! some are not there, and the root of the receipts, by which it is certain what there is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use alloy::primitives::{Address, B256, Bloom, BloomInput};
use alloy::rpc::types::{Header, Log};

use super::rpc::Rpc;

/// Headers that are remembered: more than blocks that are caught up on together; 288 bytes each.
const MOST: usize = 4_096;

/// What a header says of its block's receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The filter over emitters and topics.
    pub bloom: Bloom,
    /// The root of the receipts; zero when the header has none.
    pub receipts: B256,
}

impl Seal {
    /// What a header says, when it is the one that its hash names. Who else has written something under that hash says nothing by it, and a
    /// chain whose hashes are computed in another way has no seals.
    pub(super) fn of(header: &Header) -> Option<Self> {
        (header.inner.hash_slow() == header.hash).then(|| Self {
            bloom: header.logs_bloom,
            receipts: header.receipts_root,
        })
    }

    /// Whether the block can hold this log. `false` is certain.
    #[must_use]
    pub fn may_hold(&self, log: &Log) -> bool {
        self.bloom.contains_raw_log(log.address(), log.topics())
    }
}

/// The seals of headers that came by, by hash of the block.
#[derive(Debug, Default)]
pub(super) struct Seals(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<B256, Seal>,
    order: VecDeque<B256>,
}

impl Seals {
    pub(super) fn note(&self, block: B256, seal: Seal) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_hash.insert(block, seal).is_none() {
            known.order.push_back(block);
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.by_hash.remove(&oldest);
            }
        }
    }

    fn get(&self, block: B256) -> Option<Seal> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_hash.get(&block).copied()
    }
}

/// An emitter (anybody when `None`) with a first topic.
pub type Wanted = (Option<Address>, B256);

/// Whether the filter says that the block may hold a log that is wanted and is not among `logs`. `false` is certain.
#[must_use]
pub fn may_lack(bloom: &Bloom, wanted: &[Wanted], logs: &[Log]) -> bool {
    wanted.iter().any(|(emitter, topic)| {
        let may = match emitter {
            Some(emitter) => bloom.contains_raw_log(*emitter, &[*topic]),
            None => bloom.contains_input(BloomInput::Raw(topic.as_slice())),
        };
        may && !logs
            .iter()
            .any(|log| emitter.is_none_or(|at| log.address() == at) && log.topics().first() == Some(topic))
    })
}

/// The filter that a block with these logs has.
pub(super) fn bloom_of(logs: &[Log]) -> Bloom {
    let mut bloom = Bloom::default();
    for log in logs {
        bloom.accrue_raw_log(log.address(), log.topics());
    }
    bloom
}

impl Rpc {
    /// What the header of a block says of its receipts; `None` when that header has not come by lately, or does not hash to its name.
    #[must_use]
    pub fn seal(&self, block: B256) -> Option<Seal> {
        self.seals().get(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::LogData;

    fn log(emitter: u8, topic: u8) -> Log {
        let data = LogData::new_unchecked(vec![B256::repeat_byte(topic)], alloy::primitives::Bytes::new());
        Log {
            inner: alloy::primitives::Log {
                address: Address::repeat_byte(emitter),
                data,
            },
            ..Log::default()
        }
    }

    #[test]
    fn what_is_left_out_is_told_from_what_is_not_there() {
        let wanted = |emitter: u8, topic: u8| (Some(Address::repeat_byte(emitter)), B256::repeat_byte(topic));
        let all = [log(1, 2), log(3, 4)];
        let bloom = bloom_of(&all);
        assert!(may_lack(&bloom, &[wanted(1, 2)], &[]));
        assert!(
            may_lack(&bloom, &[wanted(1, 2), wanted(3, 4)], &all[..1]),
            "half of them"
        );
        assert!(!may_lack(&bloom, &[wanted(1, 2), wanted(3, 4)], &all));
        assert!(
            !may_lack(&bloom, &[wanted(5, 6), wanted(1, 6)], &[]),
            "nobody logged that"
        );
        assert!(may_lack(&bloom, &[(None, B256::repeat_byte(4))], &[]));
        assert!(!may_lack(&bloom, &[(None, B256::repeat_byte(4))], &all[1..]));
        assert!(!may_lack(&Bloom::default(), &[wanted(1, 2)], &[]), "an empty block");
    }

    #[test]
    fn headers_are_forgotten_in_turn() {
        let seals = Seals::default();
        let seal = Seal {
            bloom: Bloom::default(),
            receipts: B256::ZERO,
        };
        let hash = |number: usize| B256::left_padding_from(&number.to_be_bytes());
        for number in 0..=MOST {
            seals.note(hash(number), seal);
        }
        assert!(seals.get(hash(0)).is_none() && seals.get(hash(1)).is_some() && seals.get(hash(MOST)).is_some());
    }
}
