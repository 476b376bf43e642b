//! The fallback ladder, climbed: when the keeper's own way does not contain an incident in time, a transaction that a Safe's
//! owners have signed ahead is sent, then one is proposed to them, then people are called.
//!
//! Each rung is noted in the record before it is tried. What a crash interrupts is carried on: the Safe's own nonce lets a signed
//! transaction have one effect whoever sends it how often, and a proposal is known by its hash.

mod attempt;
mod ready;
mod safe;
mod service;

use std::time::Duration;

use alloy::primitives::Address;
use cordon_client::config::{Fallback, SecretError, SecretText};
use futures::future::join_all;

use super::account::Account;
use super::armory::Readiness;
use super::reason::Reason;
use super::responder::Responder;
use crate::decide::ladder::{Move, Rung, RungStatus, climb};
use crate::record::{AlarmKind, Intent, Ladder, LadderRule, StoreError};
use service::SafeClient;

/// How often it is looked whether a ladder is due.
const PERIOD: Duration = Duration::from_secs(1);
/// Gas around what the Safe's transaction does.
const SAFE_GAS: u64 = 500_000;
/// The ladder of scopes that no fallback serves: people are called. No fallback of a configuration can have this name.
const NO_FALLBACK: &str = "(none)";
/// How long the keeper has by itself where there is no fallback, in seconds.
const DEADLINE: u32 = 30;

/// Why a fallback cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum FallbackError {
    /// The key of the service could not be had.
    #[error("fallback `{id}`: {source}")]
    Key {
        /// Name of the fallback.
        id: String,
        /// Why.
        source: SecretError,
    },
    /// No HTTP client could be made.
    #[error("fallback `{id}`: no HTTP client can be made: {reason}")]
    Client {
        /// Name of the fallback.
        id: String,
        /// Why.
        reason: String,
    },
}

/// A fallback with what it is asked through.
#[derive(Debug, Clone)]
pub struct SafeFallback {
    config: Fallback,
    service: Option<SafeClient>,
}

impl SafeFallback {
    /// A configured fallback; the service's key is read. `directory` is where relative paths of credentials start.
    ///
    /// # Errors
    /// See [`FallbackError`].
    pub fn new(config: Fallback, directory: &std::path::Path) -> Result<Self, FallbackError> {
        let service = match &config.proposal {
            None => None,
            Some(service) => {
                let key: Option<SecretText> = service
                    .key
                    .as_ref()
                    .map(|key| key.read(directory))
                    .transpose()
                    .map_err(|source| FallbackError::Key {
                        id: config.id.clone(),
                        source,
                    })?;
                let client = SafeClient::new(service.url.clone(), key).map_err(|error| FallbackError::Client {
                    id: config.id.clone(),
                    reason: error.without_url().to_string(),
                })?;
                Some(client)
            }
        };
        Ok(Self { config, service })
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.config.id
    }

    /// Whether owners have signed something for it ahead.
    pub(crate) fn is_signed(&self) -> bool {
        !self.config.signed.is_empty()
    }

    fn rungs(&self) -> Vec<Rung> {
        let signed = (!self.config.signed.is_empty()).then_some(Rung::Signed);
        let proposal = self.service.as_ref().map(|_| Rung::Proposal);
        signed.into_iter().chain(proposal).chain([Rung::Page]).collect()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.patience))
    }
}

/// Whether a fallback is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Called {
    Yes,
    /// Nobody can say before a block is judged.
    NotYet,
    No,
}

/// Climbs ladders. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Climber {
    responder: Responder,
    fallbacks: Vec<SafeFallback>,
    /// Who may pay for a Safe's transaction: anybody can send it.
    payers: Vec<Account>,
}

impl Climber {
    pub(crate) fn new(responder: Responder, fallbacks: Vec<SafeFallback>, heartbeat: Option<Account>) -> Self {
        let payers = responder.accounts.iter().cloned().chain(heartbeat).collect();
        Self {
            responder,
            fallbacks,
            payers,
        }
    }

    /// Works for ever: climbs what is due, and keeps signed transactions ready.
    pub(crate) async fn run(self, readiness: Readiness) {
        futures::future::join(self.clone().climb(), self.stay_ready(readiness)).await;
    }

    async fn climb(self) {
        let rules = self.rules();
        loop {
            tokio::time::sleep(PERIOD).await;
            match self.ladders(&rules).await {
                Ok(ladders) => {
                    let steps = ladders.iter().map(|ladder| self.step(ladder, &rules));
                    for result in join_all(steps).await {
                        if let Err(error) = result {
                            tracing::error!(%error, "a fallback could not be carried on; it is tried again");
                        }
                    }
                }
                Err(StoreError::Fenced { .. }) => {}
                Err(error) => tracing::error!(%error, "fallbacks could not be looked at"),
            }
        }
    }

    /// Begins what is due and called for still, and answers what is climbed.
    async fn ladders(&self, rules: &[LadderRule]) -> Result<Vec<Ladder>, StoreError> {
        let store = &self.responder.store;
        let due = self.called_for(store.due_ladders(rules).await?).await;
        store.ladders(&due).await
    }

    /// Ends a ladder that is not called for any more. What else is wanted of its scope is not over with it.
    async fn end(&self, ladder: &Ladder, subject: &str, rules: &[LadderRule]) -> Result<(), StoreError> {
        let store = &self.responder.store;
        let besides = self.called_for(store.due_besides(rules, ladder).await?).await;
        store.end_ladder(ladder, subject, true, &besides).await
    }

    /// Those of them that are called for.
    async fn called_for(&self, due: Vec<(String, Intent)>) -> Vec<(String, Intent)> {
        let asks = due.iter().map(|(_, intent)| self.is_called_for(intent));
        let called = join_all(asks).await;
        let due = due.into_iter().zip(called).filter(|(_, called)| *called == Called::Yes);
        due.map(|(due, _)| due).collect()
    }

    /// Whether what is wanted still is. When nobody can be asked, it is: people have to know.
    async fn is_called_for(&self, intent: &Intent) -> Called {
        match self.responder.reason(intent).await {
            Ok(Reason::Stands) => Called::Yes,
            Ok(Reason::Unjudged(_)) => Called::NotYet,
            Ok(Reason::Gone(_)) => Called::No,
            Err(error) => {
                tracing::warn!(intent = intent.id, %error, "whether a fallback is called for could not be looked up");
                Called::Yes
            }
        }
    }

    /// Who is asked for which scopes: the fallbacks, and people for what is left.
    fn rules(&self) -> Vec<LadderRule> {
        let mut rules: Vec<LadderRule> = self
            .fallbacks
            .iter()
            .map(|fallback| LadderRule {
                fallback: fallback.config.id.clone(),
                scopes: fallback.config.scopes.clone(),
                deadline_ms: i64::from(fallback.config.deadline).saturating_mul(1_000),
            })
            .collect();
        let left = unserved(&rules, self.responder.names.scopes.len());
        if !left.is_empty() {
            rules.push(LadderRule {
                fallback: NO_FALLBACK.to_owned(),
                scopes: left,
                deadline_ms: i64::from(DEADLINE).saturating_mul(1_000),
            });
        }
        rules
    }

    async fn step(&self, ladder: &Ladder, rules: &[LadderRule]) -> Result<(), StoreError> {
        let store = &self.responder.store;
        let subject = self.responder.names.scope(ladder.intent.scope);
        let found = self
            .fallbacks
            .iter()
            .find(|fallback| fallback.config.id == ladder.fallback);
        let Some(fallback) = found else {
            // There is none, or it is configured no more: people are left.
            return match climb(&[Rung::Page], &ladder.rungs, ladder.held, 0, store.now_ms()) {
                Move::Begin(_) => self.call_people(ladder, &subject).await,
                Move::Held => self.end(ladder, &subject, rules).await,
                _ => store.end_ladder(ladder, &subject, false, &[]).await,
            };
        };
        let patience_ms = i64::from(fallback.config.patience).saturating_mul(1_000);
        let next = climb(
            &fallback.rungs(),
            &ladder.rungs,
            ladder.held,
            patience_ms,
            store.now_ms(),
        );
        if let Move::Begin(rung) | Move::CarryOn(rung) = next {
            // What the owners have signed contains whatever the guard would say of the breach.
            match self.is_called_for(&ladder.intent).await {
                Called::Yes => {}
                Called::NotYet if rung == Rung::Page => {}
                Called::NotYet => return Ok(()),
                Called::No => return self.end(ladder, &subject, rules).await,
            }
        }
        match next {
            Move::Wait => Ok(()),
            Move::Held => self.end(ladder, &subject, rules).await,
            Move::Exhausted => store.end_ladder(ladder, &subject, false, &[]).await,
            Move::Begin(Rung::Page) | Move::CarryOn(Rung::Page) | Move::GiveUp(Rung::Page) => {
                self.call_people(ladder, &subject).await
            }
            Move::GiveUp(rung) => {
                let text = format!("not within {} s", fallback.config.patience);
                store.end_rung(ladder, rung, RungStatus::Failed, &text).await
            }
            Move::Begin(rung) => {
                let text = format!("for the {} of {subject}", ladder.intent.kind.name());
                store.begin_rung(ladder, rung, &text).await?;
                self.attempt(ladder, fallback, rung).await
            }
            Move::CarryOn(rung) => self.attempt(ladder, fallback, rung).await,
        }
    }

    async fn call_people(&self, ladder: &Ladder, subject: &str) -> Result<(), StoreError> {
        let text = self.call_for(ladder);
        if self.responder.store.call_people(ladder, subject, &text).await? {
            self.responder.alarms.announce(AlarmKind::NotContained, subject, &text);
        }
        Ok(())
    }

    fn call_for(&self, ladder: &Ladder) -> String {
        let intent = &ladder.intent;
        let tried: Vec<String> = ladder
            .rungs
            .iter()
            .map(|rung| format!("{} {}", rung.rung.name(), rung.status.name()))
            .collect();
        let tried = if tried.is_empty() {
            String::new()
        } else {
            format!(" ({})", tried.join(", "))
        };
        let fallback = match ladder.fallback.as_str() {
            NO_FALLBACK => "there is no fallback for it".to_owned(),
            id => format!("neither did the fallback {id}{tried}"),
        };
        format!(
            "incident {} is not contained: {} should be {}, the keeper could not do it, and {fallback}: a guardian has to act now",
            ladder.incident,
            self.responder.names.scope(intent.scope),
            intent.level.name(),
        )
    }
}

/// Scopes, of the first `count`, that none of the rules is for. A rule without scopes is for all.
fn unserved(rules: &[LadderRule], count: usize) -> Vec<u8> {
    let is_served = |scope: &u8| {
        rules
            .iter()
            .any(|rule| rule.scopes.is_empty() || rule.scopes.contains(scope))
    };
    let all = (0..=u8::MAX).take(count);
    all.filter(|scope| !is_served(scope)).collect()
}

/// The accounts that could pay are whoever has the money; their addresses are for messages.
fn names(payers: &[Account]) -> String {
    let names: Vec<String> = payers
        .iter()
        .map(Account::address)
        .map(|a: Address| a.to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_that_no_fallback_serves_are_left_to_people() {
        let rule = |scopes: &[u8]| LadderRule {
            fallback: "council".to_owned(),
            scopes: scopes.to_vec(),
            deadline_ms: 0,
        };
        assert_eq!(unserved(&[], 3), [0, 1, 2]);
        assert_eq!(unserved(&[rule(&[1]), rule(&[2])], 3), [0]);
        assert!(
            unserved(&[rule(&[1]), rule(&[])], 3).is_empty(),
            "one of them is for all"
        );
        assert_eq!(unserved(&[], 1_000).len(), 256);
    }
}
