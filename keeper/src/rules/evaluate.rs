//! Verdicts of a block: from the guard in one call, or from the native evaluator for rules that the guard does not have.

use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::rule::error::Unknown;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;

use super::read::{ATTEMPTS, unread};
use super::{Evaluated, NativeState, ReadError, Reader, Request, scopes};
use crate::chain::{BlockRef, CallError, RpcError};
use crate::decide::{Reading, RuleVerdict};

/// Evaluations per `evaluateMany`: far below the 50 million gas that nodes give an `eth_call`.
const BATCH: usize = 64;

impl Reader {
    /// Evaluates on the block's state, one verdict per request, in batches that are asked at the same time.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn evaluate(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
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
    /// blind the others.
    async fn batch(&self, block: &BlockRef, requests: &[Request]) -> Result<Vec<RuleVerdict>, ReadError> {
        let mut verdicts = Vec::with_capacity(requests.len());
        let mut open = vec![requests];
        while let Some(part) = open.pop() {
            let Some(first) = part.first() else { continue };
            match self.evaluate_many(block, part).await? {
                Ok(readings) => {
                    for (request, reading) in part.iter().zip(readings) {
                        // The rules before it may have used up the call's gas: alone it has all of it.
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
                }
                Err(error) if part.len() == 1 => {
                    tracing::error!(rule = first.rule, block = block.number, %error, "a rule could not be evaluated");
                    verdicts.push(RuleVerdict {
                        witness: first.witness.clone(),
                        ..unread(first.rule)
                    });
                }
                Err(_) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    open.extend([left, right]);
                }
            }
        }
        Ok(verdicts)
    }

    /// `evaluateMany` at the block's hash; the inner error is a refusal that stayed after all attempts.
    async fn evaluate_many(
        &self,
        block: &BlockRef,
        requests: &[Request],
    ) -> Result<Result<Vec<Reading>, CallError>, ReadError> {
        let call = Guard::evaluateManyCall {
            rules: requests.iter().map(|request| request.rule).collect(),
            witnesses: requests.iter().map(|request| request.witness.clone()).collect(),
        };
        let data: alloy::primitives::Bytes = call.abi_encode().into();
        let mut attempt = 1;
        loop {
            let error = match self
                .rpc
                .call(None, self.guard, data.clone(), None, block.hash.into())
                .await
            {
                Ok(answer) => match Guard::evaluateManyCall::abi_decode_returns(&answer) {
                    Ok(evaluations) if evaluations.len() == requests.len() => {
                        return Ok(Ok(evaluations.iter().map(reading).collect()));
                    }
                    Ok(evaluations) => CallError::Rpc(RpcError::Refused {
                        method: "eth_call",
                        code: 0,
                        message: format!("{} evaluations for {} rules", evaluations.len(), requests.len()),
                    }),
                    Err(error) => scopes::malformed("evaluateMany", &error),
                },
                Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                // A revert is the guard's own answer on this state: asking again gives the same.
                Err(error @ CallError::Reverted(_)) => return Ok(Err(error)),
                Err(error) => error,
            };
            if attempt >= ATTEMPTS {
                return Ok(Err(error));
            }
            self.pause_or_gone(block, attempt).await?;
            attempt = attempt.saturating_add(1);
        }
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
