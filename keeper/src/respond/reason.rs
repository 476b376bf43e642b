//! Whether there still is a reason for an action that was decided on a while ago. The guard judges the breach when it is tripped, and asks for
//! none when it contains: so the keeper judges it again before it contains late, whatever has delayed it.

use std::time::Duration;

use cordon_core::rule::eval::Verdict;
use futures::future::{join, join_all};

use super::account::Account;
use super::deliver::DeliverError;
use super::rehearsal::judged;
use super::responder::{Responder, Step, end};
use crate::chain::{BlockRef, RpcError, near};
use crate::decide::{RulePolicy, RuleVerdict};
use crate::record::{Confirmation, Ground, Intent, IntentKind, Outcome};
use crate::rules::{ReadError, Request};

/// How long a verdict is waited for: what is breached must not stay open because nobody gives one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long each endpoint is waited for that is to say what its newest block is.
const SHORT: Duration = Duration::from_millis(500);

/// What is left of the reason for an action.
#[derive(Debug)]
pub(super) enum Reason {
    /// It stands, as far as is known.
    Stands,
    /// Nobody can say yet: the sentence why.
    Unjudged(String),
    /// There is none any more: how the action ends.
    Gone(Box<Confirmation>),
}

impl Responder {
    /// What is to be done about an action that is late: `None` when it is to be carried out.
    pub(super) async fn unfounded(&self, intent: &Intent) -> Result<Option<Step>, DeliverError> {
        if !intent.rests_on_a_breach() {
            let silenced = self.silenced_trip(intent).await?;
            return Ok(silenced.map(|end| Step::Finished(Box::new(end))));
        }
        Ok(match self.reason(intent).await? {
            Reason::Stands => None,
            Reason::Unjudged(why) => Some(Step::Unjudged { why }),
            Reason::Gone(end) => Some(Step::Finished(end)),
        })
    }

    /// The same for one that was decided on just now: on a block that is not the newest by far, while the keeper catches up.
    pub(super) async fn is_of_the_past(
        &self,
        intent: &Intent,
        newest: &BlockRef,
    ) -> Result<Option<Step>, DeliverError> {
        match intent.rests_on_a_breach() && newest.number > intent.block_number.saturating_add(1) {
            true => self.unfounded(intent).await,
            false => Ok(None),
        }
    }

    /// What is left of the reason for an action that answers a breach: what the record says, and what the newest block does.
    pub(super) async fn reason(&self, intent: &Intent) -> Result<Reason, DeliverError> {
        let Some(rule) = intent.rule else {
            return Ok(Reason::Stands);
        };
        let ground = self.store.ground(intent).await?;
        let number = intent.block_number;
        match ground {
            Ground::Stands => self.reason_now(rule, intent, None).await,
            Ground::Held { tip } => self.reason_now(rule, intent, Some(tip)).await,
            Ground::Unjudged => self.reason_meanwhile(rule, intent).await,
            Ground::Gone => Ok(gone(&format!(
                "not sent: block {number}, in which the breach was found, was reorganised away, and the chain that has replaced it has none"
            ))),
            Ground::Replaced if self.rulebook.is_own() == Some(true) => Ok(gone(
                "not sent: another rulebook was adopted since it was decided: what that finds breached is decided anew",
            )),
            Ground::Replaced => Ok(Reason::Unjudged(
                "it was decided by another rulebook, and the guard does not have the present one".to_owned(),
            )),
        }
    }

    /// The same where the record says that the breach stands, or, at `tip`, that it does not.
    async fn reason_now(&self, rule: u16, intent: &Intent, tip: Option<BlockRef>) -> Result<Reason, DeliverError> {
        let newest = self.newest(intent, tip).await?;
        if let Some(end) = self.silenced(intent, &newest) {
            return Ok(Reason::Gone(Box::new(end)));
        }
        let found = self.verdict_now(rule, intent, (&newest, tip.is_some())).await;
        let is_over = found == Verdict::Holds || (found == Verdict::Unknown && tip.is_some());
        if !is_over || self.store.has_landed(intent).await? {
            return Ok(Reason::Stands);
        }
        Ok(match tip.filter(|_| found == Verdict::Unknown) {
            None => self.holds_again(rule, newest),
            // It may be long before anybody can say more, and a breach that returns is decided on anew.
            Some(tip) => {
                let text = format!(
                    "not sent: rule {} was found to hold since, up to block {}, and nobody sees it breached",
                    self.names.rule(rule),
                    tip.number
                );
                Reason::Gone(judged(Outcome::HoldsAgain, &text, tip))
            }
        })
    }

    /// The same where the record has not come to the decision's block yet, or to what has replaced it. That may take long when there is much to
    /// catch up with, and nothing else is decided on the rule meanwhile: so what the newest block shows counts, if it is known.
    async fn reason_meanwhile(&self, rule: u16, intent: &Intent) -> Result<Reason, DeliverError> {
        let unjudged = Reason::Unjudged(format!(
            "block {}, in which the breach was found, or what has replaced it in a reorganisation, or has come after it by another rulebook, is being judged",
            intent.block_number
        ));
        if self.store.version_of(intent.id).await? != Some(self.version) {
            return Ok(unjudged);
        }
        let Ok(newest) = self.newest(intent, None).await else {
            return Ok(unjudged);
        };
        if let Some(end) = self.silenced(intent, &newest) {
            return Ok(Reason::Gone(Box::new(end)));
        }
        match self.verdict_now(rule, intent, (&newest, false)).await {
            Verdict::Breached => Ok(Reason::Stands),
            Verdict::Holds if !self.store.has_landed(intent).await? => Ok(self.holds_again(rule, newest)),
            Verdict::Holds | Verdict::Unknown => Ok(unjudged),
        }
    }

    fn holds_again(&self, rule: u16, newest: BlockRef) -> Reason {
        let (rule, number) = (self.names.rule(rule), newest.number);
        let text = format!("not sent: rule {rule} holds again at block {number}");
        Reason::Gone(judged(Outcome::HoldsAgain, &text, newest))
    }

    /// How an action ends whose rule is in shadow, or in maintenance by now, so that nothing is sent for it; `None` when it is not. What was the
    /// case before the block that it was decided on says nothing of that; at that block itself the rule is in maintenance by another configuration.
    fn silenced(&self, intent: &Intent, newest: &BlockRef) -> Option<Confirmation> {
        let policy = self.policy(intent)?;
        let which = match policy.shadow {
            true => "shadow",
            false if policy.is_shadow_at(newest.timestamp.max(intent.block_time)) => "maintenance",
            false => return None,
        };
        let text = format!(
            "not sent: rule {} is in {which} by now, and is only recorded",
            policy.id
        );
        Some(end(Outcome::Recorded, &text))
    }

    /// The same for one whose breach the guard judges itself.
    async fn silenced_trip(&self, intent: &Intent) -> Result<Option<Confirmation>, DeliverError> {
        let may_be = |policy: &RulePolicy| policy.shadow || !policy.maintenance.is_empty();
        if intent.kind != IntentKind::Trip || !self.policy(intent).is_some_and(may_be) {
            return Ok(None);
        }
        Ok(self.silenced(intent, &self.newest(intent, None).await?))
    }

    fn policy(&self, intent: &Intent) -> Option<&RulePolicy> {
        let rule = intent.rule?;
        self.policies.iter().find(|policy| policy.index == rule)
    }

    /// The newest block, as most endpoints say; of two, the lower: one that speaks of blocks that are not there must not keep the keeper from
    /// containing. Nor must one that is behind what is known, or stands still, say what is the case now. `tip` when that is not newer than
    /// this block of the record, where the action's rule was found to hold.
    async fn newest(&self, intent: &Intent, tip: Option<BlockRef>) -> Result<BlockRef, RpcError> {
        let newest = self.told_newest(intent, tip).await?;
        Ok(tip.filter(|tip| tip.number >= newest.number).unwrap_or(newest))
    }

    async fn told_newest(&self, intent: &Intent, tip: Option<BlockRef>) -> Result<BlockRef, RpcError> {
        if self.rpc.endpoint_count() < 2 {
            return self.rpc.latest().await;
        }
        let asks = self.rpc.each().into_iter().map(|(_, rpc)| async move {
            let told = tokio::time::timeout(SHORT, rpc.latest()).await;
            told.ok().and_then(Result::ok).map(|block| (block.number, block))
        });
        let told = join_all(asks).await.into_iter().flatten().collect();
        // A height that an endpoint alone speaks of is none of these.
        let seen = self.first().map(Account::newest).into_iter();
        let seen = seen.chain([intent.block_number]).chain(tip.map(|tip| tip.number)).max();
        let mut told: Vec<BlockRef> = near(seen.unwrap_or_default(), told);
        told.sort_unstable_by_key(|block| block.number);
        match told.get(told.len().saturating_sub(1) / 2) {
            Some(block) => Ok(*block),
            None => self.rpc.latest().await,
        }
    }

    /// What the action's rule is found to be at the newest block. That it holds counts only when no endpoint sees it otherwise, the block is a
    /// later one than that of the decision, and the number is still the rule's. `Unknown` whenever nobody can say. What the record takes for
    /// over, as it `is_held`, is looked at while the endpoints differ too: one of them may see the breach.
    async fn verdict_now(&self, rule: u16, intent: &Intent, (newest, is_held): (&BlockRef, bool)) -> Verdict {
        let is_split = self.rpc.split().is_some();
        if newest.number <= intent.block_number || (is_split && !is_held) || self.rulebook.foreign().is_some() {
            return Verdict::Unknown;
        }
        let request = Request {
            rule,
            witness: intent.witness.clone(),
        };
        let asked = self.reader.verdicts(newest, std::slice::from_ref(&request));
        let (told, seen) = join(tokio::time::timeout(PATIENCE, asked), self.seen(&request, newest)).await;
        let told = told.ok().and_then(Result::ok);
        let told = told.as_deref().and_then(<[RuleVerdict]>::first);
        let told = told.map(|told| told.reading.verdict);
        // Who is asked first may be the one that has not come so far.
        let is_found = told == Some(Verdict::Holds) || (told.is_none() && seen.contains(&Verdict::Holds));
        match told {
            Some(Verdict::Breached) => Verdict::Breached,
            _ if !is_found && !seen.contains(&Verdict::Breached) => Verdict::Unknown,
            _ if !self.reader.is_own_at(newest).await => Verdict::Unknown,
            _ if seen.contains(&Verdict::Breached) => Verdict::Breached,
            _ if is_split => Verdict::Unknown,
            _ => Verdict::Holds,
        }
    }

    /// What each of several endpoints finds the rule to be: at the same block, or, where it has another one, at its own newest. One that has
    /// not come so far says nothing.
    async fn seen(&self, request: &Request, newest: &BlockRef) -> Vec<Verdict> {
        if self.rpc.endpoint_count() < 2 {
            return Vec::new();
        }
        // A rule that waits for finality is about an older block.
        let at = self.reader.block_of(request.rule, newest);
        let asks = self.rpc.each().into_iter().map(|(_, rpc)| {
            let reader = self.reader.clone().through(rpc.clone());
            let look = async move {
                let request = std::slice::from_ref(request);
                let told = match reader.evaluate(&at, request).await {
                    Err(ReadError::Gone { .. }) => {
                        let own = rpc.latest().await.ok().filter(|own| own.number >= newest.number)?;
                        reader.evaluate(&own, request).await
                    }
                    told => told,
                };
                Some(told.ok()?.first()?.reading.verdict)
            };
            async move { tokio::time::timeout(PATIENCE, look).await.ok().flatten() }
        });
        join_all(asks).await.into_iter().flatten().collect()
    }
}

fn gone(why: &str) -> Reason {
    Reason::Gone(Box::new(end(Outcome::HoldsAgain, why)))
}
