//! What `[[watch]]` looks for in a block. Everything is found from the block itself and its parent, so that a block that is
//! looked at again, after a crash or in a replay, shows the same.

mod changes;
mod condition;
mod events;
mod invariants;
mod pending;
mod state;
mod transactions;

use std::sync::Arc;

use alloy::primitives::B256;
use alloy::rpc::types::Log;
use cordon_client::config::{Finality, Maintenance, Severity, Watch, WatchKind};
use serde_json::Value;

use crate::chain::{BlockRef, Receipts, Rpc};
use crate::rules::ReadError;
use crate::rules::patience::Patience;

use condition::Judged;
use events::EventWatch;
use invariants::InvariantWatch;
use state::StateWatch;
use transactions::TransactionWatch;

pub use pending::{Pending, look_pending};

/// Something that a watch found in a block.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Name of the watch.
    pub watch: String,
    /// What tells it from others of the watch in the same block: a log's index, a transaction, an account.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// When it is told.
    pub finality: Finality,
    /// Seconds of block time within which the watch is told once.
    pub cooldown: u32,
    /// It was so in the block before as well: it counts only when the record has not seen it.
    pub standing: bool,
    /// Recorded, not told: in shadow, or in a maintenance window.
    pub silent: bool,
    /// The transaction that did it.
    pub tx: Option<B256>,
    /// The sentence for people.
    pub text: String,
    /// The same for machines.
    pub facts: Value,
    /// Channels that are told; those that want the severity when there are none.
    pub channels: Vec<String>,
}

/// A watch that could not be looked at in a block, and why: not the same as nothing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwatched {
    /// Name of the watch.
    pub watch: String,
    /// Why.
    pub reason: String,
}

/// What the watches say of a block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sightings {
    /// What was found, in no particular order.
    pub found: Vec<Sighting>,
    /// What could not be looked at.
    pub unwatched: Vec<Unwatched>,
}

/// What the keys of broken invariants begin with.
const INVARIANT: &str = "invariant:";

impl Sighting {
    /// Whether it may last over several blocks, and is told once for as long as it does.
    pub(crate) fn lasts(&self) -> bool {
        self.key.starts_with(INVARIANT)
    }
}

impl Sightings {
    /// Whether what a watch found before is so no more: it looked, and did not find it.
    pub(crate) fn has_ended(&self, watch: &str, key: &str) -> bool {
        let lasts = self.found.iter().any(|one| one.watch == watch && one.key == key);
        !lasts && !self.unwatched.iter().any(|held| held.watch == watch)
    }

    fn extend(&mut self, other: Self) {
        self.found.extend(other.found);
        self.unwatched.extend(other.unwatched);
    }
}

/// Who watches, and how it is told: what all kinds have in common.
#[derive(Debug, Clone)]
struct Subject {
    id: String,
    severity: Severity,
    finality: Finality,
    cooldown: u32,
    shadow: bool,
    channels: Vec<String>,
}

impl Subject {
    fn of(watch: &Watch) -> Self {
        Self {
            id: watch.id.clone(),
            severity: watch.severity,
            finality: watch.finality,
            cooldown: watch.cooldown,
            shadow: watch.shadow,
            channels: watch.channels.clone(),
        }
    }

    fn sighting(&self, key: String, tx: Option<B256>, text: String, facts: Value) -> Sighting {
        Sighting {
            watch: self.id.clone(),
            key,
            severity: self.severity,
            finality: self.finality,
            cooldown: self.cooldown,
            standing: false,
            silent: self.shadow,
            tx,
            text,
            facts,
            channels: self.channels.clone(),
        }
    }

    fn unwatched(&self, reason: impl Into<String>) -> Unwatched {
        Unwatched {
            watch: self.id.clone(),
            reason: reason.into(),
        }
    }
}

#[derive(Debug, Default)]
struct Sorted {
    events: EventWatch,
    transactions: Vec<TransactionWatch>,
    states: Vec<StateWatch>,
    invariants: Vec<InvariantWatch>,
    pending: Vec<TransactionWatch>,
    maintenance: Vec<Maintenance>,
    ids: Vec<String>,
    finalities: Vec<Finality>,
    /// With what blocks contain.
    patience: Patience,
}

/// All watches of a configuration. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watches(Arc<Sorted>);

impl Watches {
    /// The watches of a configuration.
    #[must_use]
    pub fn new(watches: &[Watch], maintenance: &[Maintenance]) -> Self {
        let mut sorted = Sorted {
            maintenance: maintenance.to_vec(),
            ids: watches.iter().map(|watch| watch.id.clone()).collect(),
            ..Sorted::default()
        };
        for watch in watches {
            let subject = Subject::of(watch);
            if watch.finality != Finality::Latest && !sorted.finalities.contains(&watch.finality) {
                sorted.finalities.push(watch.finality);
            }
            match &watch.kind {
                WatchKind::Event { event, at } => {
                    sorted.events.add(subject, event.clone(), at, watch.when.clone());
                }
                WatchKind::Call { function, at, status } => sorted.transactions.push(TransactionWatch {
                    subject,
                    from: Vec::new(),
                    to: at.clone(),
                    function: Some(function.clone()),
                    status: *status,
                    when: watch.when.clone(),
                }),
                WatchKind::Transaction { from, to, status } => sorted.transactions.push(TransactionWatch {
                    subject,
                    from: from.clone(),
                    to: to.clone(),
                    function: None,
                    status: *status,
                    when: watch.when.clone(),
                }),
                WatchKind::Pending { from, to, function } => sorted.pending.push(TransactionWatch {
                    subject,
                    from: from.clone(),
                    to: to.clone(),
                    function: function.clone(),
                    status: cordon_client::config::Status::Any,
                    when: watch.when.clone(),
                }),
                WatchKind::Balance { at } => sorted.states.push(StateWatch::balance(subject, at, watch.when.clone())),
                WatchKind::Storage { at, slot } => {
                    sorted
                        .states
                        .push(StateWatch::storage(subject, at, *slot, watch.when.clone()));
                }
                WatchKind::Code { at } => sorted.states.push(StateWatch::code(subject, at)),
                WatchKind::Changes { at, standards } => {
                    for event in changes::events(standards) {
                        sorted.events.add(subject.clone(), event, at, None);
                    }
                    for (name, slot) in changes::slots(standards) {
                        sorted.states.push(StateWatch::named(subject.clone(), at, slot, name));
                    }
                }
                WatchKind::Invariants(contract) => {
                    sorted.invariants.push(InvariantWatch::new(subject, contract.clone()));
                }
            }
        }
        Self(Arc::new(sorted))
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ids.is_empty()
    }

    /// Names of all watches.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.0.ids
    }

    /// The finalities besides `latest` that some watch waits for.
    #[must_use]
    pub fn finalities(&self) -> &[Finality] {
        &self.0.finalities
    }

    /// Emitters and first topics of the events that are looked for; without an emitter, those of anybody.
    pub(super) fn logs_wanted(&self) -> Vec<crate::chain::Wanted> {
        self.0.events.wanted()
    }

    pub(crate) fn pending_watches(&self) -> &[TransactionWatch] {
        &self.0.pending
    }

    /// Looks at a block. `logs` are those of [`Watches::logs_wanted`], `None` when the node refuses them; `receipts` are the block's, when they
    /// are there already.
    ///
    /// # Errors
    /// [`ReadError`] when no endpoint answers; what a node refuses is [`Unwatched`].
    pub async fn look(
        &self,
        rpc: &Rpc,
        block: &BlockRef,
        logs: Option<&[Log]>,
        receipts: Option<&Receipts>,
    ) -> Result<Sightings, ReadError> {
        if self.is_empty() {
            return Ok(Sightings::default());
        }
        let (events, transactions, states, invariants) = futures::future::try_join4(
            self.0.events.look(rpc, block, logs),
            transactions::look(&self.0.transactions, (rpc, receipts), block, &self.0.patience),
            state::look(&self.0.states, rpc, block),
            invariants::look(&self.0.invariants, rpc, block),
        )
        .await?;
        let mut sightings = Sightings::default();
        for part in [events, transactions, states, invariants] {
            sightings.extend(part);
        }
        for sighting in &mut sightings.found {
            sighting.silent = sighting.silent || self.is_quiet(&sighting.watch, block.timestamp);
        }
        Ok(sightings)
    }

    fn is_quiet(&self, watch: &str, at: u64) -> bool {
        self.0.maintenance.iter().any(|window| window.covers(watch, at))
    }
}

/// A value as people read it: long ones are cut.
fn shown(value: &alloy::dyn_abi::DynSolValue) -> String {
    use alloy::dyn_abi::DynSolValue as V;
    const LONGEST: usize = 96;
    let text = match value {
        V::Bool(bit) => bit.to_string(),
        V::Int(number, _) => number.to_string(),
        V::Uint(number, _) => number.to_string(),
        V::FixedBytes(word, size) => alloy::hex::encode_prefixed(word.as_slice().get(..*size).unwrap_or_default()),
        V::Address(address) => address.to_string(),
        V::Bytes(bytes) => alloy::hex::encode_prefixed(bytes),
        V::String(text) => text.clone(),
        V::Array(items) | V::FixedArray(items) | V::Tuple(items) => {
            let items: Vec<String> = items.iter().take(16).map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        V::Function(function) => function.to_string(),
    };
    if text.chars().count() > LONGEST {
        let cut: String = text.chars().take(LONGEST).collect();
        return format!("{cut}…");
    }
    text
}

/// `name = value, …` for people.
fn listed(names: &[String], values: &[String]) -> String {
    let pairs: Vec<String> = names
        .iter()
        .zip(values)
        .map(|(name, value)| {
            if name.is_empty() {
                value.clone()
            } else {
                format!("{name} = {value}")
            }
        })
        .collect();
    pairs.join(", ")
}

/// `{ name: value, … }` for machines; what has no name is called by its position.
fn object(names: &[String], values: &[String]) -> Value {
    let mut object = serde_json::Map::new();
    for (at, (name, value)) in names.iter().zip(values).enumerate() {
        let name = if name.is_empty() { at.to_string() } else { name.clone() };
        object.insert(name, Value::String(value.clone()));
    }
    Value::Object(object)
}

/// What a condition says of each candidate: those that it is true of are found, those that it is `Unknown` of are told as such.
fn settle(candidates: Vec<(Sighting, Judged)>) -> Sightings {
    let mut sightings = Sightings::default();
    for (sighting, judged) in candidates {
        match judged {
            Judged::True => sightings.found.push(sighting),
            Judged::False => {}
            Judged::Unknown(reason) => sightings.unwatched.push(Unwatched {
                watch: sighting.watch,
                reason,
            }),
        }
    }
    sightings
}
