//! An intent carried out, from the keeper's accounts.

use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256};
use cordon_client::guard::ICordonGuard as Guard;
use tokio::sync::{Notify, broadcast};

use super::account::Account;
use super::deliver::DeliverSettings;
use super::queue::{Job, Queue};
use super::rehearsal::{Deed, Rehearsed};
use crate::alarm::Alarms;
use crate::chain::{CallError, Rpc};
use crate::clock::utc;
use crate::decide::{RulePolicy, ScopeReading};
use crate::event::KeeperEvent;
use crate::record::{Confirmation, Intent, IntentKind, Names, Outcome, SentTransaction, Store, StoreError, set_text};
use crate::report::Reports;
use crate::rules::{Reader, Rulebook, scope_at};

/// Gas limits of the keeper's transactions.
#[derive(Debug, Clone, Default)]
pub struct GasPlan {
    /// Scope of each containment call, and the most gas that it takes with its read-backs, made or undone.
    pub containments: Vec<(u8, u64)>,
}

impl GasPlan {
    /// What the guard's own work may cost, its rule's reads included.
    const BASE: u64 = 6_000_000;
    /// What the guard writes down around a containment call.
    const AROUND: u64 = 100_000;
    /// Arbitrum takes no transaction above 32 million. With so much the guard leaves over what does not suffice, instead of failing.
    const MOST: u64 = 28_000_000;

    /// Gas for raising `scope`. Raising the protocol's scope may run every call.
    #[must_use]
    pub fn limit(&self, scope: u8) -> u64 {
        let calls = self
            .containments
            .iter()
            .filter(|(of, _)| scope == 0 || *of == scope)
            .fold(0_u64, |sum, (_, gas)| {
                sum.saturating_add(*gas).saturating_add(Self::AROUND)
            });
        Self::BASE.saturating_add(calls).min(Self::MOST)
    }
}

/// How an attempt ended.
pub(super) enum Step {
    Finished(Box<Confirmation>),
    /// It has ended meanwhile.
    Needless,
    Later {
        after: Duration,
        why: String,
    },
    /// What it rests on is not judged yet. That it takes long is told by whoever judges.
    Unjudged {
        why: String,
    },
}

/// Carries out intents.
#[derive(Debug, Clone)]
pub struct Responder {
    pub(crate) rpc: Rpc,
    pub(crate) guard: Address,
    /// The first sends at once, the others when it has not got through.
    pub(crate) accounts: Vec<Account>,
    pub(crate) settings: DeliverSettings,
    pub(crate) gas: GasPlan,
    pub(crate) names: Names,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    /// Told when an intent has ended.
    pub(crate) ended: Arc<Notify>,
    pub(crate) alarms: Alarms,
    pub(crate) events: broadcast::Sender<KeeperEvent>,
    pub(crate) reports: Reports,
    /// Code hash of the rulebook that rules have their numbers in.
    pub(crate) version: B256,
    pub(crate) rulebook: Rulebook,
    /// Evaluates the rule of what is sent late.
    pub(crate) reader: Reader,
    pub(crate) policies: Arc<Vec<RulePolicy>>,
}

pub(super) const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Wait before what loosens is tried again while the endpoints differ.
const SPLIT: Duration = Duration::from_secs(1);

impl Responder {
    pub(super) fn title(&self, intent: &Intent) -> String {
        let scope = self.names.scope(intent.scope);
        match (intent.kind, intent.rule) {
            (IntentKind::Trip, Some(rule)) => format!("trip of {} on {scope}", self.names.rule(rule)),
            (IntentKind::ContainSet, _) => {
                let set = intent.witness.first().map(set_text).unwrap_or_default();
                format!("containment of the set {set}")
            }
            (kind, _) => format!("{} of {scope}", kind.name()),
        }
    }

    pub(super) async fn attempt(&self, job: &mut Job) -> Result<Step, super::DeliverError> {
        let rehearsal = job.rehearsal.take();
        let job = &*job;
        let intent = &job.intent;
        if !job.is_fresh() && !self.store.is_open(intent.id).await? {
            return Ok(Step::Needless);
        }
        if let (IntentKind::Settle, Some(split)) = (intent.kind, self.rpc.split()) {
            return Ok(Step::Later {
                after: SPLIT,
                why: format!("nothing is taken back while the endpoints differ: {split}"),
            });
        }
        let Some(call) = self.call(&Deed::from(intent)) else {
            return Ok(Step::Finished(Box::new(end(Outcome::Recorded, "nothing to send"))));
        };
        // What an earlier attempt or run, or another keeper, has sent may be in a block already: the chain is asked before
        // anything is decided.
        let sent: Vec<SentTransaction> = if job.is_fresh() {
            Vec::new()
        } else {
            self.pending(intent).await?
        };
        if let Some(delivered) = self.included(&sent).await? {
            return self.confirm(job, &delivered).await;
        }
        if let Some(why) = self.misplaced(job).await? {
            return Ok(Step::Finished(Box::new(end(Outcome::HoldsAgain, &why))));
        }
        let is_late = !job.is_fresh();
        if is_late && let Some(step) = self.unfounded(intent).await? {
            return Ok(step);
        }
        let is_ours = |tx: &SentTransaction| self.accounts.iter().any(|account| account.address() == tx.sender);
        let (sent, others): (Vec<_>, Vec<_>) = sent.into_iter().partition(is_ours);
        if job.failures == 0
            && let Some(delivered) = self.carry_on(&others).await?
        {
            return self.confirm(job, &delivered).await;
        }
        match self.rehearse(intent, &call, rehearsal).await? {
            Rehearsed::Over(step) => return Ok(step),
            Rehearsed::Works(newest) if !is_late => {
                if let Some(step) = self.is_of_the_past(intent, &newest).await? {
                    return Ok(step);
                }
            }
            Rehearsed::Works(_) => {}
        }
        let delivered = self.race(job, &call, &sent).await?;
        let delivered = self.effective(intent, delivered).await?;
        self.confirm(job, &delivered).await
    }

    /// Why the number of the intent's rule is not that rule's in the guard's rulebook; `None` when it is. The breach of a rule that is still
    /// there is found again.
    async fn misplaced(&self, job: &Job) -> Result<Option<String>, StoreError> {
        let intent = &job.intent;
        if intent.kind != IntentKind::Trip {
            return Ok(None);
        }
        if let Some(adopted) = self.rulebook.foreign() {
            return Ok(Some(format!(
                "not sent: the guard has adopted the rulebook {adopted}, in which the rule may have another number"
            )));
        }
        if job.is_fresh() || self.store.version_of(intent.id).await? == Some(self.version) {
            return Ok(None);
        }
        Ok(Some(
            "not sent: it was decided by another rulebook, in which the rule may have another number".to_owned(),
        ))
    }

    /// The account that reads and simulations are made for.
    pub(super) fn first(&self) -> Option<&Account> {
        self.accounts.first()
    }

    /// The scope and the protocol's scope at a block.
    pub(super) async fn readings(&self, scope: u8, block: BlockId) -> Result<Vec<ScopeReading>, CallError> {
        let (own, protocol) = futures::future::join(
            scope_at(&self.rpc, self.guard, block, scope),
            scope_at(&self.rpc, self.guard, block, 0),
        )
        .await;
        Ok(vec![own?, protocol?])
    }

    pub(super) fn state(&self, scopes: &[ScopeReading], scope: u8) -> String {
        let strictest = scopes
            .iter()
            .filter(|reading| reading.scope == scope || reading.scope == 0)
            .max_by_key(|reading| reading.level.rank());
        strictest.map_or_else(
            || "unknown".to_owned(),
            |reading| {
                format!(
                    "{} is {} until {}",
                    self.names.scope(reading.scope),
                    reading.level.name(),
                    utc(reading.expires_at)
                )
            },
        )
    }
}

/// Subject of the alarm that an action is delayed.
pub(crate) fn delayed_subject(intent: &Intent) -> String {
    format!("intent {}", intent.id)
}

pub(super) fn end(outcome: Outcome, detail: &str) -> Confirmation {
    Confirmation {
        outcome,
        detail: detail.to_owned(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    }
}

/// A level of ours as the ABI's.
pub(super) fn abi_level(level: cordon_core::level::Level) -> Guard::Level {
    use cordon_core::level::Level;
    match level {
        Level::Normal => Guard::Level::Normal,
        Level::Throttled => Guard::Level::Throttled,
        Level::ReduceOnly => Guard::Level::ReduceOnly,
        Level::Halted => Guard::Level::Halted,
        Level::Grace => Guard::Level::Grace,
    }
}
