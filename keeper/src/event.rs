//! What the keeper tells those who listen. The record, not this stream, is the truth: a listener that is slow loses events.

use std::time::Duration;

use alloy::primitives::B256;
use cordon_core::level::Level;

use crate::record::{AlarmKind, IntentKind, Outcome};

/// Something that the keeper saw, decided or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperEvent {
    /// All of a block is stored.
    BlockDone {
        /// Height.
        number: u64,
        /// Hash.
        hash: B256,
        /// From the arrival of the head to what was decided, be it nothing; `None` while catching up.
        head_to_decision: Option<Duration>,
    },
    /// An action was decided on and stored.
    Decided {
        /// Number of the intent in the record.
        intent: i64,
        /// Number of the incident in the record.
        incident: Option<i64>,
        /// Name of the rule.
        rule: String,
        /// Scope that is to be raised.
        scope: u8,
        /// Level to be reached.
        level: Level,
        /// Block at which the rule was found breached.
        block: u64,
        /// From the arrival of the head to the decision.
        head_to_decision: Duration,
    },
    /// A watch found what it looks for.
    Sighted {
        /// Name of the watch.
        watch: String,
        /// Block in which it was found.
        block: u64,
        /// The sentence for people.
        text: String,
        /// From the arrival of the head until it was stored.
        head_to_stored: Duration,
    },
    /// A node has accepted the transaction of an intent.
    Broadcast {
        /// Number of the intent.
        intent: i64,
        /// What it carries out.
        kind: IntentKind,
        /// Transaction.
        tx: B256,
        /// From the decision; `None` for an intent of an earlier run.
        decision_to_broadcast: Option<Duration>,
    },
    /// Receipt, event and read-back agree that the scope is contained.
    Contained {
        /// Number of the intent.
        intent: i64,
        /// Number of the incident.
        incident: Option<i64>,
        /// Scope.
        scope: u8,
        /// Level that holds.
        level: Level,
        /// Transaction.
        tx: B256,
        /// Block that includes it.
        block: u64,
        /// From the acceptance by a node; `None` for a transaction of an earlier run.
        broadcast_to_contained: Option<Duration>,
    },
    /// An intent ended.
    Finished {
        /// Number of the intent.
        intent: i64,
        /// What it was.
        kind: IntentKind,
        /// How it ended.
        outcome: Outcome,
        /// What is to be known about it.
        detail: String,
    },
    /// Something that people have to look at.
    Alarm {
        /// What it is about.
        kind: AlarmKind,
        /// Rule, scope or intent.
        subject: String,
        /// The sentence for people.
        text: String,
    },
    /// The cause of an alarm is gone.
    AlarmCleared {
        /// What it was about.
        kind: AlarmKind,
        /// Rule, scope or intent.
        subject: String,
    },
}
