//! What is kept, as Rust values.

use alloy::primitives::{Address, B256, Bytes};
use cordon_client::config::Severity;
use cordon_core::Matrix;
use cordon_core::action::ActionSet;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;
use std::time::Duration;

use crate::turns::Urgency;

/// What an intent is carried out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntentKind {
    /// `trip(rule, witness)`.
    Trip,
    /// `contain(scope, level, duration, evidence)`.
    Contain,
    /// `containSet(set, evidence)`. The witness is the set's name, then a word for each scope that it raises, see
    /// [`super::set_words`].
    ContainSet,
    /// `retryContainment(scope)`.
    Retry,
    /// `settle(scope)`.
    Settle,
    /// Nothing; recorded only.
    Shadow,
}

impl IntentKind {
    /// Name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trip => "trip",
            Self::Contain => "contain",
            Self::ContainSet => "contain-set",
            Self::Retry => "retry",
            Self::Settle => "settle",
            Self::Shadow => "shadow",
        }
    }

    /// How much hurry it is in, from its plan to its end. What is taken back is in none, but whatever is sent after it waits for it.
    pub(crate) const fn urgency(self) -> Urgency {
        match self {
            Self::Trip | Self::Contain | Self::ContainSet | Self::Retry => Urgency::Breach,
            Self::Settle | Self::Shadow => Urgency::Sending,
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Trip,
            Self::Contain,
            Self::ContainSet,
            Self::Retry,
            Self::Settle,
            Self::Shadow,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// How an intent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Our transaction did it: receipt, event and read-back agree.
    Done,
    /// Our transaction recorded the first observation of a spot rule.
    Observed,
    /// It was so already: somebody else was first.
    AlreadyHeld,
    /// The reason is gone: the rule holds, or there is nothing to do.
    HoldsAgain,
    /// The guard refuses it for good; see the detail and the alarm.
    Refused,
    /// Recorded only.
    Recorded,
}

impl Outcome {
    /// Name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Observed => "observed",
            Self::AlreadyHeld => "already held",
            Self::HoldsAgain => "holds again",
            Self::Refused => "refused",
            Self::Recorded => "recorded",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Done,
            Self::Observed,
            Self::AlreadyHeld,
            Self::HoldsAgain,
            Self::Refused,
            Self::Recorded,
        ]
        .into_iter()
        .find(|outcome| outcome.name() == name)
    }
}

/// An action that was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Number in the record.
    pub id: i64,
    /// Incident that it belongs to.
    pub incident: Option<i64>,
    /// What is to be done.
    pub kind: IntentKind,
    /// Rule that it answers; `None` for upkeep.
    pub rule: Option<u16>,
    /// Scope that it concerns.
    pub scope: u8,
    /// Level to be reached; `Normal` for upkeep.
    pub level: Level,
    /// Seconds for which the level is to be raised.
    pub duration: u32,
    /// Witness of the rule.
    pub witness: Vec<B256>,
    /// Left operand of the deciding comparison.
    pub observed: Int,
    /// Right operand of the deciding comparison.
    pub bound: Int,
    /// Height of the block that it was decided on.
    pub block_number: u64,
    /// Hash of that block.
    pub block_hash: B256,
    /// Timestamp of that block.
    pub block_time: u64,
    /// Wall clock of the decision, Unix milliseconds.
    pub decided_ms: i64,
    /// How it ended, `None` while it is to be carried out.
    pub outcome: Option<Outcome>,
    /// What is to be known about the outcome.
    pub detail: Option<String>,
}

impl Intent {
    /// Whether the keeper alone has judged the breach that it answers: a guard that contains asks for none.
    #[must_use]
    pub fn rests_on_a_breach(&self) -> bool {
        self.kind == IntentKind::Contain && self.rule.is_some()
    }
}

impl Intent {
    /// What an alarm about what came of it is about: the rule, the containment set, or else the scope. The next attempt has the same.
    #[must_use]
    pub fn subject(&self, names: &Names) -> String {
        match (self.rule, self.kind, self.witness.first()) {
            (Some(rule), ..) => names.rule(rule),
            (None, IntentKind::ContainSet, Some(set)) => format!("set:{}", super::set_text(set)),
            _ => names.scope(self.scope),
        }
    }
}

/// A transaction that was sent for an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    /// Its hash.
    pub hash: B256,
    /// The intent.
    pub intent: i64,
    /// What it carries out.
    pub kind: IntentKind,
    /// Sender.
    pub sender: Address,
    /// Nonce of the sender.
    pub nonce: u64,
    /// The signed bytes.
    pub raw: Bytes,
    /// Most wei per gas that it pays.
    pub max_fee: u128,
    /// Most wei per gas of it that goes to the block's producer.
    pub priority_fee: u128,
    /// Wall clock of its first broadcast, Unix milliseconds.
    pub sent_ms: i64,
    /// `sent`, `succeeded`, `reverted` or `orphaned`.
    pub status: String,
    /// Block that includes it.
    pub block_number: Option<u64>,
    /// Hash of that block.
    pub block_hash: Option<B256>,
    /// Gas that it used.
    pub gas_used: Option<u64>,
    /// Wei that it cost.
    pub fee: Option<u128>,
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentState {
    /// Detected; no level is raised yet.
    Open,
    /// The guard holds a raised level.
    Contained,
    /// The level was lowered by a guardian or the governor before it expired.
    Released,
    /// The level expired, and what the guard did was taken back.
    Settled,
    /// Over.
    Closed,
}

impl IncidentState {
    /// Name in the record and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Contained => "contained",
            Self::Released => "released",
            Self::Settled => "settled",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Contained, Self::Released, Self::Settled, Self::Closed]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// One line of an incident's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Wall clock when the keeper wrote it, Unix milliseconds.
    pub at_ms: i64,
    /// Height of the block that it is about.
    pub block_number: Option<u64>,
    /// Timestamp of that block, Unix seconds.
    pub block_time: Option<u64>,
    /// Short machine-readable kind, such as `decided`, `broadcast`, `level raised`.
    pub kind: String,
    /// The sentence for people.
    pub text: String,
    /// Transaction that it is about.
    pub tx: Option<B256>,
}

/// A time during which something was closed for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// `level` for the guard's own hooks, otherwise the name of the containment call.
    pub cause: String,
    /// What was closed.
    pub actions: ActionSet,
    /// First block of it.
    pub from_block: u64,
    /// Timestamp of that block.
    pub from_time: u64,
    /// Block that ended it; `None` while it lasts.
    pub to_block: Option<u64>,
    /// Timestamp of that block.
    pub to_time: Option<u64>,
}

/// An incident with all that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Number in the record.
    pub id: i64,
    /// Chain id.
    pub chain_id: u64,
    /// The guard.
    pub guard: Address,
    /// Scope.
    pub scope: u8,
    /// Name of the scope.
    pub scope_name: String,
    /// Severity.
    pub severity: Severity,
    /// Where it stands.
    pub state: IncidentState,
    /// The guard's number for it, once there is one.
    pub chain_incident: Option<u64>,
    /// Rule whose breach opened it; `None` when the guard was raised by somebody else.
    pub rule: Option<u16>,
    /// Name of the rule.
    pub rule_name: Option<String>,
    /// Witness of the rule.
    pub witness: Vec<B256>,
    /// Observed value.
    pub observed: Option<Int>,
    /// The bound that it broke.
    pub bound: Option<Int>,
    /// Wall clock of the detection, Unix milliseconds.
    pub opened_ms: i64,
    /// Block at which it was detected.
    pub opened_block: u64,
    /// Timestamp of that block.
    pub opened_time: u64,
    /// Earliest evaluated block at which the rule was breached.
    pub first_bad_block: u64,
    /// Timestamp of that block.
    pub first_bad_time: u64,
    /// Level that the guard holds, or held last.
    pub level: Level,
    /// Block that contained it.
    pub contained_block: Option<u64>,
    /// Timestamp of that block.
    pub contained_time: Option<u64>,
    /// Block that ended it.
    pub ended_block: Option<u64>,
    /// Timestamp of that block.
    pub ended_time: Option<u64>,
    /// From the arrival of the head to the decision.
    pub head_to_decision: Option<Duration>,
    /// From the decision to the acceptance of the transaction by a node.
    pub decision_to_broadcast: Option<Duration>,
    /// From there to receipt, event and read-back.
    pub broadcast_to_contained: Option<Duration>,
    /// Number of the configuration that was in force when it was opened; `None` before there were numbers.
    pub configuration: Option<u64>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// Transactions of the keeper, oldest first.
    pub transactions: Vec<TransactionRecord>,
    /// What was closed for users.
    pub closures: Vec<Closure>,
}

/// A containment call as the record names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContainment {
    /// Name in `cordon.toml`.
    pub id: String,
    /// What it closes for users.
    pub closes: ActionSet,
}

/// Names for the numbers that the chain speaks in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Scopes by id.
    pub scopes: Vec<String>,
    /// Rules by index.
    pub rules: Vec<String>,
    /// Containment calls by index.
    pub containments: Vec<NamedContainment>,
    /// Whether a contract calls the guard's hooks, so that a level itself closes something.
    pub hooked: bool,
    /// What it closes then.
    pub matrix: Matrix,
    /// Channels that are told of a rule's incidents, by the rule's index; those that want the severity when there are none.
    pub channels: Vec<Vec<String>>,
}

impl Names {
    /// Name of a scope, or its number.
    #[must_use]
    pub fn scope(&self, id: u8) -> String {
        self.scopes
            .get(usize::from(id))
            .cloned()
            .unwrap_or_else(|| format!("scope {id}"))
    }

    /// Name of a rule, or its number.
    #[must_use]
    pub fn rule(&self, index: u16) -> String {
        self.rules
            .get(usize::from(index))
            .cloned()
            .unwrap_or_else(|| format!("rule {index}"))
    }

    /// Channels that are told of a rule's incidents; none when those that want the severity are.
    #[must_use]
    pub fn route(&self, index: u16) -> &[String] {
        self.channels.get(usize::from(index)).map_or(&[], Vec::as_slice)
    }

    /// Name of a containment call, or its number.
    #[must_use]
    pub fn containment(&self, index: u16) -> String {
        self.containments.get(usize::from(index)).map_or_else(
            || format!("containment call {index}"),
            |containment| containment.id.clone(),
        )
    }

    /// What a containment call closes.
    #[must_use]
    pub fn closes(&self, index: u16) -> ActionSet {
        self.containments
            .get(usize::from(index))
            .map_or(ActionSet::EMPTY, |containment| containment.closes)
    }
}
