//! What a block that is done brings with it, for people, for upkeep, and for whoever listens.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::alarm::Alarms;
use crate::chain::BlockRef;
use crate::decide::{Act, Decision, RuleVerdict};
use crate::event::KeeperEvent;
use crate::pipeline::{Pipeline, REMIND_EVERY};
use crate::record::{AlarmKind, BlockCommit, OpenIncident};
use crate::rules::{BlockReading, CHECK_EVERY, GuardEventKind, Reader};

/// What the record's alarm is about when its disk refuses to keep what is written.
const DISK: &str = "disk";

impl Pipeline {
    /// What follows from a block that is done: alarms, upkeep, reports. Nothing here is needed for safety.
    pub(crate) async fn after(
        &self,
        (block, (seen_at, head_to_decision)): (&BlockRef, (Instant, Option<Duration>)),
        reading: &BlockReading,
        decisions: &[Decision],
        commit: &BlockCommit,
        open: &[OpenIncident],
    ) {
        for decision in decisions.iter().filter(|decision| !decision.act.is_sent()) {
            tracing::warn!(
                rule = self.names.rule(decision.rule),
                block = block.number,
                "{}",
                match decision.act {
                    Act::Shadow => "a rule in shadow is breached",
                    _ => "a rule that raises no level is breached: people have to act",
                }
            );
        }
        for rule in &commit.newly_unknown {
            let name = self.names.rule(*rule);
            self.alarms.announce(
                AlarmKind::RuleUnknown,
                &name,
                &format!("rule {name} could not be evaluated at block {}", block.number),
            );
        }
        for rule in &commit.known_again {
            self.alarms
                .announce_cleared(AlarmKind::RuleUnknown, &self.names.rule(*rule));
        }
        if block.number.is_multiple_of(CHECK_EVERY) {
            let (reader, block) = (self.reader.clone(), *block);
            tokio::spawn(async move { reader.check_rulebook(&block).await });
            tokio::spawn(compare(
                self.reader.clone(),
                self.alarms.clone(),
                block,
                reading.verdicts.clone(),
            ));
        }
        if let (Some(scopes), Some(upkeep)) = (&reading.scopes, &self.upkeep) {
            upkeep.note_block(block, scopes);
        }
        match &reading.logs_doubted {
            Some(text) => {
                self.alarms
                    .raise(AlarmKind::LogsIncomplete, "logs", text, Some(block.number))
                    .await;
            }
            None if block.number.is_multiple_of(REMIND_EVERY) => {
                self.alarms.clear(AlarmKind::LogsIncomplete, "logs").await;
            }
            None => {}
        }
        match self.store.fault() {
            Some(why) => {
                let text = format!(
                    "the disk does not keep what the record has written: {why}; it would be lost with the power"
                );
                self.alarms
                    .raise(AlarmKind::Record, DISK, &text, Some(block.number))
                    .await;
            }
            None if block.number.is_multiple_of(REMIND_EVERY) => self.alarms.clear(AlarmKind::Record, DISK).await,
            None => {}
        }
        self.note_rulebook(block).await;
        if reading.logs_read {
            self.alarms.clear(AlarmKind::EventsUnread, "logs").await;
        } else {
            let text = format!(
                "the node refuses the logs of block {}: what the guard logged there, and whom events named, is not in the record",
                block.number
            );
            self.alarms
                .raise(AlarmKind::EventsUnread, "logs", &text, Some(block.number))
                .await;
        }
        for event in &reading.events {
            match &event.kind {
                GuardEventKind::Failed { incident, .. } => {
                    // The guard runs the calls of the scope whose incident it is.
                    let scope = open
                        .iter()
                        .find(|held| held.chain_incident == Some(*incident))
                        .map(|held| held.scope);
                    let raised = reading.events.iter().find_map(|other| match other.kind {
                        GuardEventKind::Raised {
                            scope, incident: of, ..
                        } if of == *incident => Some(scope),
                        _ => None,
                    });
                    if let (Some(scope), Some(upkeep)) = (raised.or(scope), &self.upkeep) {
                        upkeep.note_failed(scope);
                    }
                }
                GuardEventKind::ShadowBreach { rule, caller } => {
                    tracing::warn!(rule = self.names.rule(*rule), %caller, block = block.number, "a hook counted a breach");
                }
                _ => {}
            }
        }
        for sighting in reading.sightings.found.iter().filter(|sighting| !sighting.silent) {
            let _ = self.events.send(KeeperEvent::Sighted {
                watch: sighting.watch.clone(),
                block: block.number,
                text: sighting.text.clone(),
                head_to_stored: seen_at.elapsed(),
            });
        }
        for incident in &commit.changed {
            self.reports.write(&self.store, *incident).await;
        }
        let _ = self.events.send(KeeperEvent::BlockDone {
            number: block.number,
            hash: block.hash,
            head_to_decision,
        });
    }

    /// Says when the guard has another rulebook than the keeper, and when it has the same again.
    async fn note_rulebook(&self, block: &BlockRef) {
        const SUBJECT: &str = "rulebook";
        let rulebook = self.reader.rulebook();
        let Some(is_own) = rulebook.is_own() else { return };
        let before = self
            .is_foreign
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(!is_own);
        if before == Some(!is_own) {
            return;
        }
        match rulebook.foreign() {
            Some(adopted) => {
                let text = format!(
                    "the guard has adopted the rulebook {adopted}, the keeper was set up for {}: its rules are not evaluated and nothing is tripped, until the cordon.toml is here that compiles to it, which the keeper then takes up by itself",
                    self.version
                );
                self.alarms
                    .raise(AlarmKind::RulebookChanged, SUBJECT, &text, Some(block.number))
                    .await;
            }
            None => self.alarms.clear(AlarmKind::RulebookChanged, SUBJECT).await,
        }
    }
}

/// Compares verdicts of a block with the guard's while the next block is waited for.
async fn compare(reader: Reader, alarms: Alarms, block: BlockRef, verdicts: Vec<RuleVerdict>) {
    match reader.check(&block, &verdicts).await {
        Ok(None) => {
            if reader.here().is_some_and(|status| status.off.is_none()) {
                alarms.clear(AlarmKind::Evaluation, "rules").await;
            }
        }
        Ok(Some(text)) => {
            alarms
                .raise(AlarmKind::Evaluation, "rules", &text, Some(block.number))
                .await;
        }
        Err(error) => tracing::debug!(block = block.number, %error, "verdicts could not be compared"),
    }
}
