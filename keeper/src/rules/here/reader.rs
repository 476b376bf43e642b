//! What readers make of the engine: which verdicts are its own, which are asked for, and which are compared.

use std::sync::Arc;

use alloy::primitives::B256;
use cordon_core::rule::eval::{Evaluation, Verdict};

use super::engine::Trust;
use super::{Here, HereStatus, Words};
use crate::chain::BlockRef;
use crate::decide::{Reading, RuleVerdict};
use crate::rules::{READ_FAILED, ReadError, Reader, Request};

/// What is read of a block before its rules are evaluated.
#[derive(Debug)]
pub(in crate::rules) enum Begun {
    /// The words that rules depend on, and the verdicts of all other evaluations.
    Words(Words, Vec<RuleVerdict>),
    /// All verdicts.
    Verdicts(Vec<RuleVerdict>),
}

impl Reader {
    /// The same, evaluating rules without parameters here: programs by rule.
    #[must_use]
    pub fn evaluating_here(mut self, programs: Arc<Vec<Vec<u8>>>) -> Self {
        self.here = Some(Here::new(programs, self.rpc.chain_id(), self.guard));
        self
    }

    /// How rules are evaluated; `None` when the guard evaluates all of them.
    #[must_use]
    pub fn here(&self) -> Option<HereStatus> {
        self.here.as_ref().map(Here::status)
    }

    /// What can be asked of a block before the one before it is done.
    pub(in crate::rules) async fn begin(&self, block: &BlockRef, requests: &[Request]) -> Result<Begun, ReadError> {
        let here = self.here.as_ref().filter(|here| here.is_on());
        let Some(here) = here.filter(|_| !self.states.is_gone(block)) else {
            return self.evaluate(block, requests).await.map(Begun::Verdicts);
        };
        let others: Vec<Request> = requests
            .iter()
            .filter(|request| !request.witness.is_empty())
            .cloned()
            .collect();
        let (words, verdicts) =
            futures::future::join(here.fetch(&self.rpc, block), self.evaluate(block, &others)).await;
        match words? {
            Ok(words) => Ok(Begun::Words(words, verdicts?)),
            Err(reason) => {
                let verdicts = self.evaluate(block, requests).await?;
                here.note_refused(block, &reason, &verdicts);
                Ok(Begun::Verdicts(verdicts))
            }
        }
    }

    /// The verdicts of all requests.
    pub(in crate::rules) async fn finish(
        &self,
        block: &BlockRef,
        requests: &[Request],
        begun: Begun,
    ) -> Result<Vec<RuleVerdict>, ReadError> {
        let (words, mut verdicts, here) = match (begun, &self.here) {
            (Begun::Words(words, others), Some(here)) => (words, others, here),
            (Begun::Words(_, verdicts) | Begun::Verdicts(verdicts), _) => return Ok(verdicts),
        };
        let plain: Vec<u16> = requests
            .iter()
            .filter(|request| request.witness.is_empty())
            .map(|request| request.rule)
            .collect();
        let (known, refusal) = here.evaluate(&self.rpc, block, &words, &plain).await?;
        let mut asked = Vec::new();
        for rule in plain {
            match known.get(&rule) {
                // What cannot be evaluated is asked for again, always.
                Some(known) if known.trust == Trust::Proven && known.evaluation.verdict != Verdict::Unknown => {
                    verdicts.push(verdict(rule, &known.evaluation));
                }
                _ => asked.push(Request::plain(rule)),
            }
        }
        if !asked.is_empty() {
            let told = self.evaluate(block, &asked).await?;
            if let Some(reason) = refusal {
                here.note_refused(block, &reason, &told);
            }
            here.compare(block, &told).await;
            verdicts.extend(told);
        }
        Ok(verdicts)
    }

    /// Compares some of a block's verdicts with what the guard says, in turn. Where they differ twice, nothing is evaluated here
    /// any more; answers what differs.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn check(&self, block: &BlockRef, verdicts: &[RuleVerdict]) -> Result<Option<String>, ReadError> {
        let Some(here) = self.here.as_ref().filter(|here| here.is_on()) else {
            return Ok(None);
        };
        // Those that are evaluated on older blocks are the guard's own verdicts.
        let newest: Vec<RuleVerdict> = verdicts
            .iter()
            .filter(|verdict| self.is_newest(verdict.rule))
            .cloned()
            .collect();
        let sample = here.sample(&newest);
        for is_last in [false, true] {
            let requests: Vec<Request> = sample.iter().map(|verdict| Request::plain(verdict.rule)).collect();
            let told = self.evaluate(block, &requests).await?;
            let differing = sample.iter().find_map(|own| {
                let other = told.iter().find(|other| other.rule == own.rule)?;
                let differs = own.reading != other.reading && !is_unread(own) && !is_unread(other);
                differs.then_some((own, other))
            });
            match differing {
                None => return Ok(None),
                Some((own, other)) if is_last => {
                    let (whose, then) = match self.has_guard() {
                        true => ("the guard's", "the guard evaluates every rule at every block"),
                        false => (
                            "the node's answers",
                            "the node is asked about every rule at every block",
                        ),
                    };
                    let text = format!(
                        "rule {} at block {} ({}) is {:?} by the keeper's own evaluation, {:?} by {whose}: from now on {then}",
                        own.rule, block.number, block.hash, own.reading.verdict, other.reading.verdict
                    );
                    here.turn_off(&text);
                    return Ok(Some(text));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }
}

/// Whether nobody knows: that differs from nothing.
fn is_unread(verdict: &RuleVerdict) -> bool {
    verdict.reading.reason == READ_FAILED || verdict.reading.verdict == Verdict::Unknown
}

fn verdict(rule: u16, evaluation: &Evaluation) -> RuleVerdict {
    RuleVerdict {
        rule,
        witness: Vec::<B256>::new(),
        reading: Reading {
            verdict: evaluation.verdict,
            reason: evaluation.reason,
            observed: evaluation.observed,
            bound: evaluation.bound,
        },
    }
}
