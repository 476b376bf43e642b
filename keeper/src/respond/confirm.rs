//! What came of a transaction: receipt, events and read-back compared, and the end of its intent.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::Address;

use super::answer::{Effects, effects};
use super::deliver::{DeliverError, Delivered};
use super::queue::Job;
use super::responder::{FIRST_RETRY, Responder, Step};
use crate::chain::{BlockRef, BlockSource};
use crate::decide::ScopeReading;
use crate::event::KeeperEvent;
use crate::record::{AlarmKind, Confirmation, Intent, IntentKind, Outcome, StoreError, set_orders};

/// How long to wait after so many reverts of an action with one key. The chain moves between a rehearsal and the block, so that one or two mean
/// little; more mean that an endpoint says what is not so, which is not paid for all the time. What closes something is still tried.
fn after_reverts(kind: IntentKind, reverts: usize) -> Duration {
    match reverts {
        0..3 => Duration::ZERO,
        6.. if kind == IntentKind::Settle => Duration::from_secs(60),
        _ => Duration::from_secs(5),
    }
}

impl Responder {
    /// Compares receipt, events and read-back.
    pub(super) async fn confirm(&self, job: &Job, delivered: &Delivered) -> Result<Step, DeliverError> {
        let (intent, receipt) = (&job.intent, &delivered.receipt);
        let hash = receipt.block_hash.unwrap_or_default();
        let Some(block) = self.rpc.by_hash(hash).await? else {
            return Ok(Step::Later {
                after: FIRST_RETRY,
                why: format!("block {hash} with the transaction was reorganised away"),
            });
        };
        let fee = u128::from(receipt.gas_used).saturating_mul(receipt.effective_gas_price);
        if !receipt.status() {
            self.store
                .record_reverted(intent, delivered.sent.hash, &block, receipt.gas_used, fee)
                .await?;
            let sent = self.store.transactions_of(intent.id).await?;
            let mut by_key: BTreeMap<Address, usize> = BTreeMap::new();
            for tx in sent.iter().filter(|tx| tx.status == "reverted") {
                let reverts = by_key.entry(tx.sender).or_default();
                *reverts = reverts.saturating_add(1);
            }
            // What another key has sent in the same round is only found now: nothing was tried since.
            let reverts = match delivered.accepted_at {
                Some(_) => by_key.into_values().max().unwrap_or_default(),
                None => 0,
            };
            return Ok(Step::Later {
                after: after_reverts(intent.kind, reverts),
                why: "the transaction was included and reverted".to_owned(),
            });
        }
        let effects = effects(receipt, self.guard, intent.scope);
        let mut scopes = Vec::new();
        for scope in concerned(intent) {
            match self.readings(scope, block.hash.into()).await {
                Ok(read) => scopes.extend(read),
                Err(error) => {
                    return Ok(Step::Later {
                        after: FIRST_RETRY,
                        why: format!("the level could not be read back: {error}"),
                    });
                }
            }
        }
        let (outcome, detail) = match self.judge(intent, effects, &scopes, &block) {
            Ok(judged) => judged,
            Err(why) => {
                return Ok(Step::Later {
                    after: FIRST_RETRY,
                    why,
                });
            }
        };
        if let Some(why) = self.denied(intent, delivered, (outcome, &block)).await {
            let mut accounts = self.accounts.iter();
            // What was said to be in a block may not be. Where the nonces agree that it is, what else was said of it is in doubt.
            if let Some(account) = accounts.find(|held| held.address() == delivered.sent.sender)
                && account.told_by(&delivered.sent, receipt).await == 0
            {
                account.note_reverted().await;
            }
            return Ok(Step::Later {
                after: FIRST_RETRY,
                why,
            });
        }
        let included = Some((delivered.sent.hash, block, receipt.gas_used, fee));
        let accepted = delivered.accepted_at;
        Ok(Step::Finished(Box::new(Confirmation {
            outcome,
            detail,
            included,
            judged_at: None,
            decision_to_broadcast: accepted
                .zip(job.decided_at)
                .map(|(at, decided)| at.saturating_duration_since(decided)),
            broadcast_to_contained: accepted.map(|at| at.elapsed()),
        })))
    }

    /// What an included transaction means; the error says what does not fit together.
    pub(super) fn judge(
        &self,
        intent: &Intent,
        effects: Effects,
        scopes: &[ScopeReading],
        block: &BlockRef,
    ) -> Result<(Outcome, String), String> {
        let state = self.state(scopes, intent.scope);
        let number = block.number;
        let done = |detail: String| Ok((Outcome::Done, detail));
        match intent.kind {
            IntentKind::Trip | IntentKind::Contain => {
                let reached = scopes.iter().any(|reading| reading.level.rank() >= intent.level.rank());
                match (effects.raised, reached, effects.observed) {
                    (true, true, _) => done(format!("{state}: receipt, event and read-back of block {number} agree")),
                    (true, false, _) => Err(format!("block {number} has the event of a raised level, but {state}")),
                    (false, true, _) => Ok((
                        Outcome::AlreadyHeld,
                        format!("our transaction in block {number} changed nothing: {state}"),
                    )),
                    (false, false, true) => Ok((
                        Outcome::Observed,
                        format!("the guard recorded the first observation in block {number}"),
                    )),
                    (false, false, false) => Err(format!(
                        "the transaction in block {number} succeeded and had no effect; {state}"
                    )),
                }
            }
            IntentKind::ContainSet if !effects.set => Err(format!(
                "the transaction in block {number} succeeded and contained no set; {state}"
            )),
            IntentKind::ContainSet => done(format!(
                "the set was contained in block {number}, as receipt, event and read-back say: {}",
                self.states(intent, scopes)
            )),
            IntentKind::Retry if effects.failed => done(format!(
                "containment was run again in block {number}, and a call failed again"
            )),
            IntentKind::Retry => done(format!("containment was run again in block {number}; {state}")),
            IntentKind::Settle if effects.settled => {
                done(format!("what the guard did was taken back in block {number}; {state}"))
            }
            IntentKind::Settle => done(format!("settled in block {number}; {state}")),
            IntentKind::Shadow => Ok((Outcome::Recorded, state)),
        }
    }

    /// How the scopes of a set stand; one below its level was at its ceiling, and was passed over.
    fn states(&self, intent: &Intent, scopes: &[ScopeReading]) -> String {
        let states: Vec<String> = set_orders(&intent.witness)
            .map(|order| {
                let of = |reading: &&ScopeReading| [0, order.scope].contains(&reading.scope);
                let held = scopes
                    .iter()
                    .filter(of)
                    .any(|reading| reading.level.rank() >= order.level.rank());
                let note = if held { "" } else { ", its ceiling is reached" };
                format!("{}{note}", self.state(scopes, order.scope))
            })
            .collect();
        states.join("; ")
    }

    /// Stores the end of an intent and tells of it. `false` when the block that it was seen in was reorganised away meanwhile.
    pub(super) async fn finish(&self, job: &Job, end: &Confirmation) -> Result<bool, StoreError> {
        let intent = &job.intent;
        let subject = intent.subject(&self.names);
        if end.outcome == Outcome::Refused {
            // Before it is stored: what a crash interrupts is tried again, and told again to nobody while the alarm is open.
            self.alarms
                .raise(
                    AlarmKind::ActionRefused,
                    &subject,
                    &end.detail,
                    Some(intent.block_number),
                )
                .await;
        }
        if !self.store.finish(intent, end).await? {
            return Ok(false);
        }
        if matches!(end.outcome, Outcome::Done | Outcome::AlreadyHeld | Outcome::HoldsAgain) {
            self.alarms.clear(AlarmKind::ActionRefused, &subject).await;
        }
        tracing::info!(
            intent = intent.id,
            kind = intent.kind.name(),
            outcome = end.outcome.name(),
            "{}",
            end.detail
        );
        let raises = matches!(intent.kind, IntentKind::Trip | IntentKind::Contain);
        if let (true, Outcome::Done, Some((tx, block, _, _))) = (raises, end.outcome, &end.included) {
            let event = KeeperEvent::Contained {
                intent: intent.id,
                incident: intent.incident,
                scope: intent.scope,
                level: intent.level,
                tx: *tx,
                block: block.number,
                broadcast_to_contained: end.broadcast_to_contained,
            };
            let _ = self.events.send(event);
        }
        let event = KeeperEvent::Finished {
            intent: intent.id,
            kind: intent.kind,
            outcome: end.outcome,
            detail: end.detail.clone(),
        };
        let _ = self.events.send(event);
        if let Some(incident) = intent.incident {
            self.reports.write(&self.store, incident).await;
        }
        Ok(true)
    }
}

/// The scopes that an intent concerns.
pub(super) fn concerned(intent: &Intent) -> Vec<u8> {
    match intent.kind {
        IntentKind::ContainSet => set_orders(&intent.witness).map(|order| order.scope).collect(),
        _ => vec![intent.scope],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reverts_again_and_again_is_tried_less_often_and_what_closes_something_still() {
        let waits = |kind| [0, 2, 3, 5, 6, 100].map(|reverts| after_reverts(kind, reverts).as_secs());
        assert_eq!(waits(IntentKind::Contain), [0, 0, 5, 5, 5, 5]);
        assert_eq!(waits(IntentKind::Settle), [0, 0, 5, 5, 60, 60]);
    }
}
