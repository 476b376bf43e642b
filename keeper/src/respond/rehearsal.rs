//! An action tried out before it is sent: what the chain would make of it now. For a fresh decision the asking begins while the
//! record is being written, so that it costs no time of its own.

use std::pin::pin;
use std::time::{Duration, Instant};

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::level::Level;
use futures::future::{join, join_all, join3};
use tokio::task::JoinHandle;

use super::account::Account;
use super::answer::{Refusal, classify_revert, describe_revert};
use super::deliver::{Call, DeliverError};
use super::queue::FRESH;
use super::responder::{FIRST_RETRY, Responder, Step, abi_level, end};
use crate::chain::{BlockRef, CallError, Rpc, RpcError};
use crate::decide::{Act, Decision, ScopeReading, held};
use crate::record::{Confirmation, Intent, IntentKind, Outcome};

/// How soon a node answers that is on the same machine, or in the same network.
const NEAR: Duration = Duration::from_millis(2);

/// What is to be done about a scope: an intent without its place in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    pub(super) kind: IntentKind,
    pub(super) rule: Option<u16>,
    pub(super) scope: u8,
    pub(super) level: Level,
    pub(super) duration: u32,
    /// Witness of the rule; name of the containment set.
    pub(super) witness: Vec<B256>,
    /// Hash of the block that it was decided on.
    pub(super) evidence: B256,
}

impl From<&Intent> for Deed {
    fn from(intent: &Intent) -> Self {
        Self {
            kind: intent.kind,
            rule: intent.rule,
            scope: intent.scope,
            level: intent.level,
            duration: intent.duration,
            witness: intent.witness.clone(),
            evidence: intent.block_hash,
        }
    }
}

impl Deed {
    /// What a decision on a block asks for; `None` when nothing is sent for it.
    fn of(decision: &Decision, block: B256) -> Option<Self> {
        let kind = match decision.act {
            Act::Trip => IntentKind::Trip,
            Act::Contain => IntentKind::Contain,
            Act::Shadow | Act::Tell => return None,
        };
        Some(Self {
            kind,
            rule: Some(decision.rule),
            scope: decision.scope,
            level: decision.level,
            duration: decision.duration,
            witness: decision.witness.clone(),
            evidence: block,
        })
    }

    /// Calldata for the guard; `None` when there is nothing to send.
    fn data(&self) -> Option<Bytes> {
        let data = match (self.kind, self.rule) {
            (IntentKind::Trip, Some(rule)) => Guard::tripCall {
                rule,
                witness: self.witness.clone(),
            }
            .abi_encode(),
            (IntentKind::Contain, _) => Guard::containCall {
                scope: self.scope,
                level: abi_level(self.level),
                duration: self.duration,
                evidence: self.evidence,
            }
            .abi_encode(),
            (IntentKind::ContainSet, _) => Guard::containSetCall {
                set: *self.witness.first()?,
                evidence: self.evidence,
            }
            .abi_encode(),
            (IntentKind::Retry, _) => Guard::retryContainmentCall { scope: self.scope }.abi_encode(),
            (IntentKind::Settle, _) => Guard::settleCall { scope: self.scope }.abi_encode(),
            (IntentKind::Trip | IntentKind::Shadow, _) => return None,
        };
        Some(data.into())
    }
}

/// What has come of a rehearsal.
pub(super) enum Rehearsed {
    /// It would take effect on this block, the newest.
    Works(BlockRef),
    /// There is nothing to send, or not yet.
    Over(Step),
}

/// What the chain answered.
#[derive(Debug)]
struct Answered {
    scopes: Result<Vec<ScopeReading>, CallError>,
    simulated: Result<Bytes, CallError>,
    newest: BlockRef,
}

/// A rehearsal under way.
#[derive(Debug)]
pub struct Rehearsal {
    deed: Deed,
    begun: Instant,
    answers: JoinHandle<Result<Answered, RpcError>>,
}

impl Rehearsal {
    /// Whether it is the intent's.
    pub(crate) fn is_of(&self, intent: &Intent) -> bool {
        self.deed == Deed::from(intent)
    }

    /// What was answered; `None` when it failed or is too long ago to be relied on.
    async fn answers(self) -> Option<Answered> {
        if self.begun.elapsed() > FRESH {
            return None;
        }
        self.answers.await.ok()?.ok()
    }
}

impl Responder {
    /// Begins to rehearse what decisions on a block ask for, whose scopes were read there: those that are not `Normal`, or `None` when they
    /// could not be.
    pub(crate) fn foresee(
        &self,
        decisions: &[Decision],
        block: B256,
        scopes: Option<&[ScopeReading]>,
    ) -> Vec<Rehearsal> {
        let deeds = decisions.iter().filter_map(|decision| Deed::of(decision, block));
        let rehearsal = |deed: Deed| {
            let call = self.call(&deed)?;
            let (responder, scope) = (self.clone(), deed.scope);
            let known = scopes.map(|scopes| (block, scopes.to_vec()));
            Some(Rehearsal {
                deed,
                begun: Instant::now(),
                answers: tokio::spawn(async move {
                    match known {
                        Some(known) => responder.ask_since(scope, &call, known).await,
                        None => responder.ask(scope, &call).await,
                    }
                }),
            })
        };
        deeds.filter_map(rehearsal).collect()
    }

    /// The transaction's call.
    pub(super) fn call(&self, deed: &Deed) -> Option<Call> {
        Some(Call {
            to: self.guard,
            data: deed.data()?,
            // A set may run the calls of any scope.
            gas: self.gas.limit(match deed.kind {
                IntentKind::ContainSet => 0,
                _ => deed.scope,
            }),
        })
    }

    /// Simulates the call on the newest block, and reads the scope there unless it is the `known` one: four requests fewer, while the node and
    /// the machine are busy with what was decided. A node that is far away is asked without waiting for what the newest is.
    async fn ask_since(
        &self,
        scope: u8,
        call: &Call,
        (block, scopes): (B256, Vec<ScopeReading>),
    ) -> Result<Answered, RpcError> {
        let readings = || self.readings(scope, BlockId::latest());
        let read = async {
            let mut newest = pin!(self.rpc.latest());
            match tokio::time::timeout(NEAR, &mut newest).await {
                Ok(newest) => match newest? {
                    newest if newest.hash == block => Ok((newest, Ok(scopes))),
                    newest => Ok((newest, readings().await)),
                },
                Err(_) => {
                    let (newest, scopes) = join(newest, readings()).await;
                    Ok((newest?, scopes))
                }
            }
        };
        let (simulated, read) = join(self.simulate(call), read).await;
        let (newest, scopes) = read?;
        Ok(Answered {
            scopes,
            simulated,
            newest,
        })
    }

    async fn simulate(&self, call: &Call) -> Result<Bytes, CallError> {
        let from = self.first().map(Account::address);
        let data = call.data.clone();
        self.rpc
            .call(from, call.to, data, Some(call.gas), BlockId::latest())
            .await
    }

    /// Reads the scope and simulates the call on the newest block.
    async fn ask(&self, scope: u8, call: &Call) -> Result<Answered, RpcError> {
        let latest = BlockId::latest();
        let (scopes, simulated, newest) =
            join3(self.readings(scope, latest), self.simulate(call), self.rpc.latest()).await;
        Ok(Answered {
            scopes,
            simulated,
            newest: newest?,
        })
    }

    /// Judges what a rehearsal answered, or asks now.
    pub(super) async fn rehearse(
        &self,
        intent: &Intent,
        call: &Call,
        begun: Option<Rehearsal>,
    ) -> Result<Rehearsed, DeliverError> {
        let answered = match begun {
            Some(rehearsal) => rehearsal.answers().await,
            None => None,
        };
        let Answered {
            scopes,
            simulated,
            newest,
        } = match answered {
            Some(answered) => answered,
            None => self.ask(intent.scope, call).await?,
        };
        let raises = matches!(intent.kind, IntentKind::Trip | IntentKind::Contain);
        if raises
            && let Ok(scopes) = &scopes
            && is_held(intent, scopes, &newest)
            && !self.is_contradicted(intent, &newest).await
        {
            let text = format!(
                "{} is held already: {}",
                self.names.scope(intent.scope),
                self.state(scopes, intent.scope)
            );
            let end = judged(Outcome::AlreadyHeld, &text, newest);
            return Ok(Rehearsed::Over(Step::Finished(end)));
        }
        match simulated {
            Ok(_) => Ok(Rehearsed::Works(newest)),
            Err(CallError::Rpc(error)) if error.is_unreachable() => Err(error.into()),
            Err(CallError::Rpc(error)) => Ok(Rehearsed::Over(Step::Later {
                after: FIRST_RETRY,
                why: error.to_string(),
            })),
            Err(CallError::Reverted(data)) => {
                let ends = match classify_revert(intent.kind, &data) {
                    Refusal::HoldsAgain | Refusal::AlreadyHeld | Refusal::Refused => true,
                    Refusal::Retry | Refusal::NotBefore(_) => false,
                };
                if ends && self.another_would(call).await {
                    return Ok(Rehearsed::Works(newest));
                }
                if ends && newest.number < intent.block_number {
                    // A gateway, one of whose nodes has the block that it was decided on, has asked another.
                    return Ok(Rehearsed::Over(Step::Later {
                        after: FIRST_RETRY,
                        why: format!(
                            "the node answers for block {}, and it was decided on block {}",
                            newest.number, intent.block_number
                        ),
                    }));
                }
                Ok(Rehearsed::Over(self.refused(intent, &data, newest)))
            }
        }
    }

    /// Whether another endpoint reads at the same block that the level is not held: one that lies about it must not keep the keeper from
    /// containing. Those that do not have the block yet say nothing.
    async fn is_contradicted(&self, intent: &Intent, newest: &BlockRef) -> bool {
        if self.rpc.endpoint_count() < 2 {
            return false;
        }
        let asks = self.rpc.each().into_iter().map(|(_, rpc)| async move {
            let asker = Self { rpc, ..self.clone() };
            let scopes = asker.readings(intent.scope, newest.hash.into()).await;
            scopes.is_ok_and(|scopes| !is_held(intent, &scopes, newest))
        });
        join_all(asks).await.contains(&true)
    }

    /// Whether the call would take effect as another endpoint sees the chain, or from another of the keeper's accounts: one endpoint that
    /// hides a breach or invents a refusal must not talk the keeper out of what it has found, nor must a key whose role was taken keep
    /// the others from sending. The guard finds out.
    async fn another_would(&self, call: &Call) -> bool {
        let first = self.first().map(Account::address);
        let mut asked: Vec<(Rpc, Option<Address>)> = Vec::new();
        if self.rpc.endpoint_count() > 1 {
            asked.extend(self.rpc.each().into_iter().map(|(_, rpc)| (rpc, first)));
        }
        let others = self.accounts.iter().skip(1);
        asked.extend(others.map(|account| (self.rpc.clone(), Some(account.address()))));
        let asks = asked.into_iter().map(|(rpc, from)| async move {
            let data = call.data.clone();
            rpc.call(from, call.to, data, Some(call.gas), BlockId::latest()).await
        });
        join_all(asks).await.iter().any(Result::is_ok)
    }

    fn refused(&self, intent: &Intent, data: &Bytes, newest: BlockRef) -> Step {
        let why = describe_revert(data);
        let finished = |outcome| Step::Finished(judged(outcome, &format!("{}: {why}", self.title(intent)), newest));
        match classify_revert(intent.kind, data) {
            Refusal::HoldsAgain => finished(Outcome::HoldsAgain),
            Refusal::AlreadyHeld => finished(Outcome::AlreadyHeld),
            Refusal::Refused => finished(Outcome::Refused),
            Refusal::Retry => Step::Later {
                after: FIRST_RETRY,
                why,
            },
            Refusal::NotBefore(until) => {
                let wait =
                    Duration::from_secs(until.saturating_sub(newest.timestamp).min(5)).max(Duration::from_millis(200));
                Step::Later { after: wait, why }
            }
        }
    }
}

/// Whether nothing is left to do for an intent that raises a level, as its scope was read at a block.
fn is_held(intent: &Intent, scopes: &[ScopeReading], block: &BlockRef) -> bool {
    held(scopes, intent.scope, intent.level, block.timestamp, intent.duration)
}

/// What was found on the state of `block`, and is worth nothing without it.
pub(super) fn judged(outcome: Outcome, detail: &str, block: BlockRef) -> Box<Confirmation> {
    Box::new(Confirmation {
        judged_at: Some(block),
        ..end(outcome, detail)
    })
}
