//! What headers say of their block's logs: a bloom filter over emitters and topics. An endpoint that leaves logs out is told by it
//! from one that has none.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use alloy::primitives::{Address, B256, Bloom, BloomInput, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Log;
use serde_json::{Value, json};

use super::RpcError;
use super::inspect::{RECEIPTS, Receipts};
use super::rpc::Rpc;

/// Filters that are remembered: more than blocks that are caught up on together; 256 bytes each.
const MOST: usize = 4_096;

/// The filters of headers that came by, by hash of the block.
#[derive(Debug, Default)]
pub(super) struct Blooms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<B256, Bloom>,
    order: VecDeque<B256>,
}

impl Blooms {
    pub(super) fn note(&self, block: B256, bloom: Bloom) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_hash.insert(block, bloom).is_none() {
            known.order.push_back(block);
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.by_hash.remove(&oldest);
            }
        }
    }

    fn get(&self, block: B256) -> Option<Bloom> {
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
fn bloom_of(logs: &[Log]) -> Bloom {
    let mut bloom = Bloom::default();
    for log in logs {
        bloom.accrue_raw_log(log.address(), log.topics());
    }
    bloom
}

impl Rpc {
    /// What the header of a block says of its logs; `None` when that header has not come by lately.
    #[must_use]
    pub fn bloom(&self, block: B256) -> Option<Bloom> {
        self.blooms().get(block)
    }

    /// All logs of a block, from the receipts of the first endpoint whose receipts have the logs that the header speaks of.
    /// `None` when no endpoint's have.
    ///
    /// # Errors
    /// The last endpoint's, when none answers.
    pub async fn proven_logs(&self, block: B256, bloom: &Bloom) -> Result<Option<Vec<Log>>, RpcError> {
        let (mut last, mut answered) = (RpcError::NoEndpoint, false);
        for endpoint in self.endpoints() {
            let asked = async {
                self.verify_endpoint(endpoint).await?;
                let provider = endpoint.provider();
                let by_hash = json!([{ "blockHash": block }]);
                let request = async move {
                    provider
                        .raw_request::<_, Option<Vec<Value>>>(RECEIPTS.into(), by_hash)
                        .await
                };
                self.bounded(RECEIPTS, endpoint, request).await
            };
            match asked.await {
                Ok(receipts) => {
                    answered = true;
                    if let Some(logs) = receipts.and_then(|receipts| Receipts(receipts).logs(bloom)) {
                        return Ok(Some(logs));
                    }
                }
                Err(error) => last = error,
            }
        }
        if answered { Ok(None) } else { Err(last) }
    }
}

impl Receipts {
    /// All logs, when they are those that the block's header speaks of, without a gap in their numbers or in the transactions'. `None`
    /// when they are not, or one of them is none. Only a last log that equals another in emitter and topics could be left out unseen.
    #[must_use]
    pub fn logs(&self, bloom: &Bloom) -> Option<Vec<Log>> {
        let number = |value: &Value, field: &str| value.get(field)?.as_str()?.parse::<U256>().ok();
        let is_in_turn = |(at, receipt): (u64, &Value)| number(receipt, "transactionIndex") == Some(U256::from(at));
        let logs = logs_of(&self.0).filter(|logs| bloom_of(logs) == *bloom)?;
        let mut numbered = (0..).zip(&logs);
        let is_whole =
            (0..).zip(&self.0).all(is_in_turn) && numbered.all(|(at, log): (u64, &Log)| log.log_index == Some(at));
        is_whole.then_some(logs)
    }
}

/// The logs of receipts; `None` when one of them is none.
fn logs_of(receipts: &[Value]) -> Option<Vec<Log>> {
    let mut logs = Vec::new();
    for receipt in receipts {
        for log in receipt.get("logs")?.as_array()? {
            logs.push(serde_json::from_value(log.clone()).ok()?);
        }
    }
    Some(logs)
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
    fn receipts_with_a_gap_are_not_all_of_them() {
        let log = |at: u64| {
            json!({ "address": Address::repeat_byte(1), "topics": [B256::repeat_byte(2)], "data": "0x", "logIndex": format!("{at:#x}"),
                "blockHash": B256::ZERO, "blockNumber": "0x1", "transactionHash": B256::ZERO, "transactionIndex": "0x0", "removed": false })
        };
        let receipt = |at: u64, logs: &[u64]| {
            let logs: Vec<Value> = logs.iter().copied().map(log).collect();
            json!({ "transactionIndex": format!("{at:#x}"), "logs": logs })
        };
        let all = Receipts(vec![receipt(0, &[0]), receipt(1, &[]), receipt(2, &[1, 2])]);
        // The same filter, whichever of them is left out.
        let bloom = bloom_of(&logs_of(&all.0).unwrap_or_default());
        assert_eq!(all.logs(&bloom).map(|logs| logs.len()), Some(3));
        assert_eq!(all.logs(&Bloom::default()), None);
        for cut in [
            vec![receipt(0, &[0]), receipt(2, &[1, 2])],
            vec![receipt(0, &[0]), receipt(1, &[]), receipt(2, &[2])],
            vec![receipt(0, &[]), receipt(1, &[]), receipt(2, &[1, 2])],
        ] {
            assert_eq!(Receipts(cut).logs(&bloom), None);
        }
    }

    #[test]
    fn filters_are_forgotten_in_turn() {
        let blooms = Blooms::default();
        let hash = |number: usize| B256::left_padding_from(&number.to_be_bytes());
        for number in 0..=MOST {
            blooms.note(hash(number), Bloom::default());
        }
        assert!(blooms.get(hash(0)).is_none() && blooms.get(hash(1)).is_some() && blooms.get(hash(MOST)).is_some());
    }
}
