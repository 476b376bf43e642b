//! Alarms whose cause nobody looks at any more: of what was configured, or under way, when an earlier run raised them. While one is open,
//! the next of its kind and subject would be told to nobody.

use std::collections::BTreeSet;

use super::Keeper;
use crate::error::KeeperError;
use crate::record::{AlarmKind, MEMPOOL, is_of_playbook};
use crate::respond::{KEYS, delayed_subject};
use crate::watchdog::{CHAIN, ENDPOINTS};

/// What there is for an alarm to be about.
struct Present {
    rules: BTreeSet<String>,
    ready: BTreeSet<String>,
    containments: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    channels: BTreeSet<String>,
    /// Accounts whose transactions a person confirms.
    by_hand: BTreeSet<String>,
    signed: BTreeSet<String>,
    /// Subjects of actions that are not carried out yet.
    open: BTreeSet<String>,
}

impl Keeper {
    /// Clears what was left open and has no cause any more. What still has one is looked at by whoever raised it, and cleared at the first
    /// good look.
    pub(super) async fn sweep(&self) -> Result<(), KeeperError> {
        let open = self.store.open_alarms().await?;
        if open.is_empty() {
            return Ok(());
        }
        let present = self.present().await?;
        for (kind, subject) in open {
            if !self.may_last(kind, &subject, &present) {
                self.alarms.clear(kind, &subject).await;
            }
        }
        Ok(())
    }

    async fn present(&self) -> Result<Present, KeeperError> {
        let keys = KEYS.map(str::to_owned);
        Ok(Present {
            rules: self.policies.iter().map(|policy| policy.id.clone()).collect(),
            ready: self.armed().into_iter().chain(keys).collect(),
            containments: self.names.containments.iter().map(|call| call.id.clone()).collect(),
            endpoints: self.rpc.endpoint_names().into_iter().collect(),
            channels: self.channels.iter().map(|channel| channel.id().to_owned()).collect(),
            by_hand: self
                .responder
                .iter()
                .flat_map(|responder| &responder.accounts)
                .filter(|account| account.needs_hand())
                .map(|account| account.address().to_string())
                .collect(),
            signed: self
                .options
                .fallbacks
                .iter()
                .filter(|fallback| fallback.is_signed())
                .map(|fallback| fallback.id().to_owned())
                .collect(),
            open: self.store.open_intents().await?.iter().map(delayed_subject).collect(),
        })
    }

    /// Whether somebody looks, in this run, at what the alarm is about.
    fn may_last(&self, kind: AlarmKind, subject: &str, present: &Present) -> bool {
        match kind {
            // Who carries the playbook on clears it.
            AlarmKind::QuorumShort if is_of_playbook(subject) => true,
            AlarmKind::RuleUnknown | AlarmKind::QuorumShort | AlarmKind::SecondOpinion => {
                present.rules.contains(subject)
            }
            AlarmKind::NotReady => present.ready.contains(subject),
            AlarmKind::ActionDelayed => present.open.contains(subject),
            AlarmKind::ContainmentFailed => present.containments.contains(subject),
            // Nobody compares one endpoint with itself.
            AlarmKind::Endpoint | AlarmKind::WrongAnswer => {
                present.endpoints.len() > 1 && present.endpoints.contains(subject)
            }
            // One endpoint alone may still be found to be of another chain.
            AlarmKind::Disagreement => {
                present.endpoints.contains(subject)
                    || (present.endpoints.len() > 1 && [ENDPOINTS, CHAIN].contains(&subject))
            }
            AlarmKind::NotifyFailed => present.channels.contains(subject),
            AlarmKind::NonceMissing => present.by_hand.contains(subject),
            AlarmKind::FallbackNotReady => present.signed.contains(subject),
            AlarmKind::WatchUnknown => subject != MEMPOOL || !self.options.watches.pending_watches().is_empty(),
            AlarmKind::Streams => self.streams > 0,
            AlarmKind::Heartbeat => self.heartbeat.is_some(),
            AlarmKind::HeartbeatUrl => self.dead_man.is_some(),
            AlarmKind::Polling => self.options.ws.is_some(),
            AlarmKind::Evaluation => self.reader.here().is_some(),
            AlarmKind::NotContained | AlarmKind::ActionRefused => self.responder.is_some(),
            // The keeper was set up for the rulebook that the guard had then: one that has waited for its turn may find another.
            AlarmKind::RulebookChanged => self.responder.is_some() && self.reader.rulebook().is_own() != Some(true),
            // These are looked at again and again whatever is configured, or wait for people.
            AlarmKind::Blind
            | AlarmKind::Stale
            | AlarmKind::Behind
            | AlarmKind::Record
            | AlarmKind::EventsUnread
            | AlarmKind::LogsIncomplete
            | AlarmKind::ConfigChanged => true,
        }
    }
}
