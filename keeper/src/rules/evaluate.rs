//! Verdicts of a block: from the guard in one call, or from the native evaluator for rules that the guard does not have.

use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::rule::error::Unknown;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;

use super::read::ATTEMPTS;
use super::reading::unread;
use super::{Evaluated, NativeState, ReadError, Reader, Request, scopes};
use crate::chain::{BlockRef, CallError, RpcError};
use crate::decide::{Reading, RuleVerdict};

/// Evaluations per `evaluateMany`: far below the 50 million gas that nodes give an `eth_call`.
const BATCH: usize = 64;
/// Parts of one that are asked at the same time.
const AT_ONCE: usize = 8;

impl Reader {
    /// Evaluates on the block's state, one verdict per request, in batches that are asked at the same time.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn evaluate(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
        if self.states.is_gone(block) {
            return Ok(requests.iter().map(unanswered).collect());
        }
        if requests.iter().any(|request| usize::from(request.rule) >= self.held) {
            let is_held = |request: &Request| usize::from(request.rule) < self.held;
            let (held, others): (Vec<Request>, Vec<Request>) = requests.iter().cloned().partition(is_held);
            let both = futures::future::try_join(self.ask_guard(block, &held), self.evaluate_natively(block, &others));
            let (mut verdicts, others) = both.await?;
            verdicts.extend(others);
            return Ok(verdicts);
        }
        self.ask_guard(block, requests).await
    }

    async fn ask_guard(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
        let batches = futures::future::join_all(requests.chunks(BATCH).map(|batch| self.batch(block, batch))).await;
        let mut verdicts = Vec::with_capacity(requests.len());
        for batch in batches {
            verdicts.extend(batch?);
        }
        Ok(verdicts)
    }

    async fn evaluate_natively(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
        let evaluated: Vec<Evaluated<'_>> = requests
            .iter()
            .map(|request| Evaluated {
                program: self
                    .programs
                    .get(usize::from(request.rule))
                    .map_or(&[][..], Vec::as_slice),
                words: &request.witness,
            })
            .collect();
        let evaluations = NativeState::new(*block, self.guard)
            .evaluate(&self.rpc, &evaluated)
            .await
            .map_err(ReadError::Unreachable)?;
        Ok(requests
            .iter()
            .zip(evaluations)
            .map(|(request, evaluation)| RuleVerdict {
                rule: request.rule,
                witness: request.witness.clone(),
                reading: Reading {
                    verdict: evaluation.verdict,
                    reason: evaluation.reason,
                    observed: evaluation.observed,
                    bound: evaluation.bound,
                },
            })
            .collect())
    }

    /// One batch. When the guard refuses it, it is halved until the rule that spoils it stands alone: one bad rule must not
    /// blind the others. Where nothing can be evaluated at all, nothing is halved.
    async fn batch(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
        let mut verdicts = Vec::with_capacity(requests.len());
        let (mut open, mut attempts) = (vec![requests], ATTEMPTS);
        while !open.is_empty() {
            let parts = std::mem::take(&mut open);
            let mut told = Vec::with_capacity(parts.len());
            for some in parts.chunks(AT_ONCE) {
                let asked = some.iter().map(|part| self.evaluate_many(block, part, attempts));
                told.extend(futures::future::join_all(asked).await);
            }
            for (part, told) in parts.into_iter().zip(told) {
                match told? {
                    Told::Readings(readings) => verdicts.extend(taken(part, readings, &mut open)),
                    Told::NoState => verdicts.extend(part.iter().map(unanswered)),
                    // Nor would any part of it be answered.
                    Told::Gibberish(error) if part.len() == requests.len() => {
                        tracing::error!(block = block.number, %error, "no rule could be evaluated");
                        verdicts.extend(part.iter().map(unanswered));
                    }
                    Told::Nothing(error) | Told::Gibberish(error) => match part {
                        [one] => {
                            tracing::error!(rule = one.rule, block = block.number, %error, "a rule could not be evaluated");
                            verdicts.push(unanswered(one));
                        }
                        _ => {
                            let (left, right) = part.split_at(part.len() / 2);
                            open.extend([left, right]);
                        }
                    },
                }
            }
            // What spoils the whole stays: its parts are asked once.
            attempts = 1;
        }
        Ok(verdicts)
    }

    /// `evaluateMany` at the block's hash.
    async fn evaluate_many(&self, block: &BlockRef, requests: &[Request], attempts: u32) -> Result<Told, ReadError> {
        let call = Guard::evaluateManyCall {
            rules: requests.iter().map(|request| request.rule).collect(),
            witnesses: requests.iter().map(|request| request.witness.clone()).collect(),
        };
        let data: alloy::primitives::Bytes = call.abi_encode().into();
        let mut attempt = 1;
        loop {
            if self.states.is_gone(block) {
                return Ok(Told::NoState);
            }
            let answer = self.rpc.call(None, self.guard, data.clone(), None, block.hash.into());
            let told = match answer.await {
                Ok(answer) => match Guard::evaluateManyCall::abi_decode_returns(&answer) {
                    Ok(evaluations) if evaluations.len() == requests.len() => {
                        return Ok(Told::Readings(evaluations.iter().map(reading).collect()));
                    }
                    Ok(evaluations) => Told::Gibberish(CallError::Rpc(RpcError::Refused {
                        method: "eth_call",
                        code: 0,
                        message: format!("{} evaluations for {} rules", evaluations.len(), requests.len()),
                    })),
                    Err(error) => Told::Gibberish(scopes::malformed("evaluateMany", &error)),
                },
                Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                // A revert is the guard's own answer on this state: asking again gives the same.
                Err(error @ CallError::Reverted(_)) => return Ok(Told::Nothing(error)),
                Err(error) => Told::Nothing(error),
            };
            if !self.has_state(block).await? {
                continue;
            }
            if attempt >= attempts {
                return Ok(told);
            }
            attempt = attempt.saturating_add(1);
        }
    }
}

/// The verdicts of a part; those that are to be asked for again alone are added to `open`: the rules before them may have used up the call's gas.
fn taken<'r>(part: &'r [Request], readings: Vec<Reading>, open: &mut Vec<&'r [Request]>) -> Vec<RuleVerdict> {
    let mut verdicts = Vec::with_capacity(part.len());
    for (request, reading) in part.iter().zip(readings) {
        if part.len() > 1 && reading.reason == Unknown::OutOfGas.code() {
            open.push(std::slice::from_ref(request));
            continue;
        }
        verdicts.push(RuleVerdict {
            rule: request.rule,
            witness: request.witness.clone(),
            reading,
        });
    }
    verdicts
}

/// What a guard was heard to say of some rules.
enum Told {
    /// One per rule.
    Readings(Vec<Reading>),
    /// Nobody has the state that they are about.
    NoState,
    /// What no guard says, whatever the rules: it is none, or it was not there yet.
    Gibberish(CallError),
    /// A refusal that stayed after all attempts.
    Nothing(CallError),
}

/// The verdict where nobody answers.
pub(super) fn unanswered(request: &Request) -> RuleVerdict {
    RuleVerdict {
        witness: request.witness.clone(),
        ..unread(request.rule)
    }
}

/// An evaluation of the ABI as ours. A verdict that is none counts as `Unknown`.
fn reading(evaluation: &Guard::Evaluation) -> Reading {
    let verdict = match evaluation.verdict {
        Guard::Verdict::Holds => Verdict::Holds,
        Guard::Verdict::Breached => Verdict::Breached,
        Guard::Verdict::Unknown | Guard::Verdict::__Invalid => Verdict::Unknown,
    };
    Reading {
        verdict,
        reason: evaluation.reason,
        observed: Int::new(evaluation.observedNegative, evaluation.observed),
        bound: Int::new(evaluation.boundNegative, evaluation.bound),
    }
}
