//! Containment made ready beforehand, also that of the containment sets that playbooks use: the trip of every rule is signed with the next nonce and fees that will do, simulated
//! again and again, and what would keep it from working is known before it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy::primitives::B256;
use cordon_client::SetMeta;
use cordon_core::level::Level;
use futures::future::join_all;

use super::account::Account;
use super::answer::{Refusal, classify_revert, describe_revert};
use super::deliver::Call;
use super::rehearsal::Deed;
use super::responder::Responder;
use crate::chain::CallError;
use crate::decide::{Response, RulePolicy};
use crate::record::{AlarmKind, IntentKind};

/// How often some of the rules are looked at: a few blocks.
const PERIOD: Duration = Duration::from_secs(2);
/// Rules that are looked at in one period; more take turns.
const AT_ONCE: usize = 64;
/// Of these, so many are rehearsed at the same time: endpoints have limits.
const TOGETHER: usize = 16;
/// How often it is looked whether a nonce was used: what was signed with it is worth nothing.
const RESIGN: Duration = Duration::from_millis(100);
/// Looks in a row at which a rule's action must be refused before people hear of it.
const PATIENCE: u32 = 2;

/// Why each rule's action would not work now; `None` when it would. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<BTreeMap<String, Option<String>>>>);

impl Readiness {
    pub(super) fn set(&self, rule: &str, trouble: Option<String>) {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.insert(rule.to_owned(), trouble);
    }

    /// Rules that were looked at, and whether their action would work.
    pub(crate) fn rules(&self) -> Vec<(String, bool)> {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules
            .iter()
            .map(|(rule, trouble)| (rule.clone(), trouble.is_none()))
            .collect()
    }
}

/// An action that can be made ready: that of a rule that needs no witness that is not known yet, or the containment of a set.
#[derive(Debug, Clone)]
pub(crate) struct Armed {
    /// Name of the rule; `set:NAME` of a set.
    name: String,
    call: Call,
    kind: IntentKind,
}

/// What the looks at one action have found.
#[derive(Debug)]
struct Looks {
    /// In a row, up to now.
    refused: u32,
    /// Whether there may be an alarm: an earlier run may have left one.
    may_be_told: bool,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            refused: 0,
            may_be_told: true,
        }
    }
}

/// Keeps containment ready.
#[derive(Debug, Clone)]
pub(crate) struct Armory {
    responder: Responder,
    rules: Vec<Armed>,
    readiness: Readiness,
}

impl Armory {
    /// For the actions of these rules, of which `plain` have no parameters.
    pub(crate) fn new(responder: Responder, policies: &[RulePolicy], plain: &[u16], readiness: Readiness) -> Self {
        let rules = policies
            .iter()
            .filter(|policy| plain.contains(&policy.index) && !policy.is_silent())
            .filter_map(|policy| {
                let deed = Deed {
                    kind: match policy.response {
                        Response::Trip => IntentKind::Trip,
                        Response::Contain => IntentKind::Contain,
                    },
                    rule: Some(policy.index),
                    scope: policy.scope,
                    level: policy.level,
                    duration: policy.duration,
                    witness: Vec::new(),
                    evidence: B256::ZERO,
                };
                Some(Armed {
                    name: policy.id.clone(),
                    call: responder.call(&deed)?,
                    kind: deed.kind,
                })
            })
            .collect();
        Self {
            responder,
            rules,
            readiness,
        }
    }

    /// The same with the containment of these sets.
    pub(crate) fn with_sets<'a>(mut self, sets: impl Iterator<Item = &'a SetMeta>) -> Self {
        for set in sets {
            let deed = Deed {
                kind: IntentKind::ContainSet,
                rule: None,
                scope: 0,
                level: Level::Halted,
                duration: 0,
                witness: vec![set.name],
                evidence: B256::ZERO,
            };
            if let Some(call) = self.responder.call(&deed) {
                self.rules.push(Armed {
                    name: format!("set:{}", set.id),
                    call,
                    kind: deed.kind,
                });
            }
        }
        self
    }

    /// What is looked at.
    pub(crate) fn names(&self) -> Vec<String> {
        self.rules.iter().map(|armed| armed.name.clone()).collect()
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        futures::future::join(self.stay_signed(), self.stay_ready()).await;
    }

    /// Signs everything anew as soon as an account has another nonce. Keys that others hold sign in turn, with the looks.
    async fn stay_signed(&self) {
        let mut signed: Vec<(&Account, Option<u64>)> = self
            .responder
            .accounts
            .iter()
            .filter(|account| !account.is_elsewhere())
            .map(|account| (account, None))
            .collect();
        loop {
            tokio::time::sleep(RESIGN).await;
            for (account, with) in &mut signed {
                let nonce = account.next_nonce().await;
                if nonce.is_some() && nonce != *with && self.sign_all(account).await {
                    *with = nonce;
                }
            }
        }
    }

    /// Signs the trip of every rule; `false` when a transaction that is on its way comes between, or a signature fails.
    async fn sign_all(&self, account: &Account) -> bool {
        for armed in self.rules.iter().filter(|armed| armed.kind == IntentKind::Trip) {
            if !account.prepare(&armed.call).await.is_ok_and(|signed| signed) {
                return false;
            }
        }
        true
    }

    /// Looks whether each action would work, some of them at a time.
    async fn stay_ready(&self) {
        let mut refused: BTreeMap<String, Looks> = BTreeMap::new();
        let mut turn = 0_usize;
        loop {
            tokio::time::sleep(PERIOD).await;
            let most = self.rules.len().min(AT_ONCE);
            let next: Vec<&Armed> = self.rules.iter().cycle().skip(turn).take(most).collect();
            turn = turn
                .saturating_add(most)
                .checked_rem(self.rules.len())
                .unwrap_or_default();
            if !next.is_empty() && !self.look_at_funds().await {
                continue;
            }
            for part in next.chunks(TOGETHER) {
                let looked = join_all(part.iter().map(|armed| self.trouble(armed))).await;
                for (armed, trouble) in part.iter().zip(looked) {
                    if let Some(trouble) = trouble {
                        let looks = refused.entry(armed.name.clone()).or_default();
                        self.note(armed, looks, trouble).await;
                    }
                }
            }
        }
    }

    /// Asks what each account holds. `false` when nobody answers.
    async fn look_at_funds(&self) -> bool {
        let asked = join_all(self.responder.accounts.iter().map(Account::look_at_balance)).await;
        asked.iter().all(Result::is_ok)
    }

    /// Why no key could carry the action out now; `None` when nobody answers: what was known before still is.
    async fn trouble(&self, armed: &Armed) -> Option<Option<String>> {
        let mut trouble = None;
        let mut able = 0_usize;
        for account in &self.responder.accounts {
            match self.prepare(account, armed).await {
                Ok(Some(why)) => trouble = Some(why),
                Ok(None) => able = able.saturating_add(1),
                Err(error) => {
                    tracing::debug!(rule = armed.name, %error, "its action could not be rehearsed");
                    return None;
                }
            }
        }
        // One key that would get through is enough.
        Some(trouble.filter(|_| able == 0))
    }

    async fn note(&self, armed: &Armed, looks: &mut Looks, trouble: Option<String>) {
        let alarms = &self.responder.alarms;
        match &trouble {
            None => {
                looks.refused = 0;
                if std::mem::take(&mut looks.may_be_told) {
                    alarms.clear(AlarmKind::NotReady, &armed.name).await;
                }
            }
            Some(why) => {
                looks.refused = looks.refused.saturating_add(1);
                if looks.refused == PATIENCE {
                    looks.may_be_told = true;
                    let text = match armed.kind {
                        IntentKind::ContainSet => format!("{} could not be contained now: {why}", armed.name),
                        kind => format!(
                            "if {} were breached now, its {} would fail: {why}",
                            armed.name,
                            kind.name()
                        ),
                    };
                    alarms.raise(AlarmKind::NotReady, &armed.name, &text, None).await;
                }
            }
        }
        self.readiness.set(&armed.name, trouble);
    }

    /// Signs the action for an account and rehearses it; answers why it would not work.
    async fn prepare(&self, account: &Account, armed: &Armed) -> Result<Option<String>, CallError> {
        if armed.kind == IntentKind::Trip
            && let Err(error) = account.prepare(&armed.call).await
        {
            return Ok(Some(error.to_string()));
        }
        if let Some(shortfall) = account.lacks(&armed.call).await {
            return Ok(Some(shortfall));
        }
        match account.rehearse(&armed.call).await {
            Ok(_) => Ok(None),
            Err(CallError::Rpc(error)) => Err(error.into()),
            Err(CallError::Reverted(data)) => Ok(match classify_revert(armed.kind, &data) {
                Refusal::HoldsAgain | Refusal::AlreadyHeld | Refusal::NotBefore(_) => None,
                Refusal::Retry | Refusal::Refused => Some(describe_revert(&data)),
            }),
        }
    }
}
