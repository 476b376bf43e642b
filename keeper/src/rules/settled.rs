//! Rules that are evaluated on the newest block that the chain calls safe or final, instead of the newest that there is.
//!
//! At every block such a rule has the verdict of the block that the tag stands at then: what is decided, recorded and alarmed is as of
//! any rule, and no reorg above the tag concerns it. A block that the tag has passed already is evaluated itself, so that none is left
//! out while the keeper catches up.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::eips::BlockNumberOrTag;
use cordon_client::config::Finality;
use cordon_core::rule::eval::Verdict;

use super::evaluate::unanswered;
use super::{ReadError, Reader, Request};
use crate::chain::BlockRef;
use crate::decide::RuleVerdict;

/// Verdicts that are remembered of one block. More are asked for again.
const REMEMBERED: usize = 10_000;

/// What is known of the block that a tag stands at.
#[derive(Debug)]
struct Memory {
    at: BlockRef,
    verdicts: BTreeMap<Request, RuleVerdict>,
}

/// Which rules wait for which finality, and what they were found to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    rules: Arc<BTreeMap<u16, Finality>>,
    memory: Arc<Mutex<BTreeMap<Finality, Memory>>>,
}

impl Settled {
    fn waits(&self, rule: u16) -> bool {
        self.rules.contains_key(&rule)
    }

    /// The requests about the newest block, and those that wait.
    pub(super) fn part<'r>(&self, requests: &'r [Request]) -> (Cow<'r, [Request]>, Vec<Request>) {
        if !requests.iter().any(|request| self.waits(request.rule)) {
            return (Cow::Borrowed(requests), Vec::new());
        }
        let (waiting, newest) = requests.iter().cloned().partition(|request| self.waits(request.rule));
        (Cow::Owned(newest), waiting)
    }

    /// What is remembered of these requests on this block, and what has to be asked.
    fn recall(&self, finality: Finality, at: &BlockRef, requests: Vec<Request>) -> (Vec<RuleVerdict>, Vec<Request>) {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = memory.get(&finality).filter(|held| held.at.hash == at.hash) else {
            return (Vec::new(), requests);
        };
        let (mut known, mut asked) = (Vec::new(), Vec::new());
        for request in requests {
            match held.verdicts.get(&request) {
                Some(verdict) => known.push(verdict.clone()),
                None => asked.push(request),
            }
        }
        (known, asked)
    }

    /// Remembers verdicts on the block that the tag stands at. Those that could not be had are asked for again.
    fn remember(&self, finality: Finality, at: &BlockRef, verdicts: &[RuleVerdict]) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let held = memory.entry(finality).or_insert_with(|| Memory {
            at: *at,
            verdicts: BTreeMap::new(),
        });
        if held.at.hash != at.hash {
            *held = Memory {
                at: *at,
                verdicts: BTreeMap::new(),
            };
        }
        for verdict in verdicts {
            if verdict.reading.verdict != Verdict::Unknown && held.verdicts.len() < REMEMBERED {
                let request = Request {
                    rule: verdict.rule,
                    witness: verdict.witness.clone(),
                };
                held.verdicts.insert(request, verdict.clone());
            }
        }
    }

    fn forget(&self, finality: Finality) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.remove(&finality);
    }

    /// The block that the newest verdict of this rule is about; `None` for a rule that does not wait.
    fn last(&self, rule: u16) -> Option<BlockRef> {
        let finality = self.rules.get(&rule)?;
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(finality).map(|held| held.at)
    }
}

impl Reader {
    /// The same, with rules that are evaluated on the newest block that is so settled. `Latest` is the newest of all.
    #[must_use]
    pub fn with_finality(mut self, rules: BTreeMap<u16, Finality>) -> Self {
        let waiting = rules.into_iter().filter(|(_, finality)| *finality != Finality::Latest);
        self.settled = Settled {
            rules: Arc::new(waiting.collect()),
            memory: Arc::default(),
        };
        self
    }

    /// Whether the rule is evaluated on the newest block itself.
    pub(crate) fn is_newest(&self, rule: u16) -> bool {
        !self.settled.waits(rule)
    }

    /// The block that the verdict of a rule at `block` is about.
    pub(crate) fn block_of(&self, rule: u16, block: &BlockRef) -> BlockRef {
        let settled = self.settled.last(rule);
        settled.filter(|at| at.number < block.number).unwrap_or(*block)
    }

    /// Verdicts at `block`: each rule on the block that it is to be evaluated on.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn verdicts(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
        let (newest, settled) = self.settled.part(requests);
        let both = futures::future::try_join(self.evaluate(block, &newest), self.evaluate_settled(block, &settled));
        let (mut verdicts, settled) = both.await?;
        verdicts.extend(settled);
        Ok(verdicts)
    }

    /// Verdicts of rules that wait for finality.
    pub(super) async fn evaluate_settled(
        &self,
        block: &BlockRef,
        requests: &[Request],
    ) -> Result<Vec<RuleVerdict>, ReadError> {
        let mut verdicts = Vec::with_capacity(requests.len());
        for finality in Finality::ALL {
            let is_its = |request: &&Request| self.settled.rules.get(&request.rule) == Some(&finality);
            let wanted: Vec<Request> = requests.iter().filter(is_its).cloned().collect();
            if wanted.is_empty() {
                continue;
            }
            let Some(at) = self.tag(finality).await? else {
                verdicts.extend(wanted.iter().map(unanswered));
                continue;
            };
            if at.number >= block.number {
                self.settled.forget(finality);
                verdicts.extend(self.evaluate(block, &wanted).await?);
                continue;
            }
            let (known, asked) = self.settled.recall(finality, &at, wanted);
            let told = self.evaluate(&at, &asked).await?;
            self.settled.remember(finality, &at, &told);
            verdicts.extend(known);
            verdicts.extend(told);
        }
        Ok(verdicts)
    }

    /// The block that the tag stands at; `None` when the chain has none, or the node does not say.
    async fn tag(&self, finality: Finality) -> Result<Option<BlockRef>, ReadError> {
        let tag = match finality {
            Finality::Latest => BlockNumberOrTag::Latest,
            Finality::Safe => BlockNumberOrTag::Safe,
            Finality::Finalized => BlockNumberOrTag::Finalized,
        };
        match self.rpc.tagged(tag).await {
            Ok(block) => Ok(block),
            Err(error) if error.is_unreachable() => Err(ReadError::Unreachable(error)),
            Err(error) => {
                tracing::warn!(finality = finality.name(), %error, "the node does not say which block that is");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reading;
    use alloy::primitives::B256;
    use cordon_core::rule::value::Int;

    fn block(number: u64, hash: u8) -> BlockRef {
        BlockRef {
            number,
            hash: B256::repeat_byte(hash),
            parent: B256::ZERO,
            timestamp: 0,
            base_fee: 0,
        }
    }

    fn verdict(rule: u16, verdict: Verdict) -> RuleVerdict {
        let reading = Reading {
            verdict,
            reason: 0,
            observed: Int::ZERO,
            bound: Int::ZERO,
        };
        RuleVerdict {
            rule,
            witness: Vec::new(),
            reading,
        }
    }

    #[test]
    fn what_is_known_is_known_of_one_block_only() {
        let settled = Settled {
            rules: Arc::new(BTreeMap::from([(1, Finality::Safe), (2, Finality::Safe)])),
            memory: Arc::default(),
        };
        let requests = [Request::plain(0), Request::plain(1), Request::plain(2)];
        let (newest, waiting) = settled.part(&requests);
        assert_eq!((newest.as_ref(), waiting.as_slice()), (&requests[..1], &requests[1..]));
        let at = block(5, 5);
        settled.remember(
            Finality::Safe,
            &at,
            &[verdict(1, Verdict::Breached), verdict(2, Verdict::Unknown)],
        );
        let (known, asked) = settled.recall(Finality::Safe, &at, waiting.clone());
        assert_eq!(known, [verdict(1, Verdict::Breached)]);
        assert_eq!(asked, [Request::plain(2)], "what could not be had is asked for again");
        // Another block of the same height: a reorg below the tag.
        assert_eq!(settled.recall(Finality::Safe, &block(5, 6), waiting).0, []);
        assert_eq!(settled.last(1), Some(at));
        assert_eq!(settled.last(0), None);
    }
}
