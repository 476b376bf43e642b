//! One block read at its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy::primitives::Address;
use alloy::rpc::types::Log;

use super::here::{Begun, Here};
use super::logs::Outcomes;
use super::patience::Patience;
use super::reading::unread;
use super::rulebook::Rulebook;
use super::settled::Settled;
use super::states::States;
use super::{
    BlockReading, GuardEvent, Hooks, OTHER_RULEBOOK, READ_FAILED, ReadError, Request, StoppedCall, Unwatched, Watched,
    Watches, scopes,
};
use crate::chain::{BlockRef, CallError, Receipts, Rpc, RpcError};
use crate::decide::{RuleVerdict, ScopeReading};
use crate::record::Witnessed;

/// How often a call that the node refuses is tried before its rules are `Unknown`.
pub(super) const ATTEMPTS: u32 = 3;
/// What is not looked at when nobody tells which transactions were reverted. No watch has a name like it.
pub const STOPPED_CALLS: &str = "calls that hooks stopped";
/// Witnesses taken from the events of one block, per rule. A block that names more is an attack on the keeper's time; the
/// rest is counted in the log, and the rule is `Unknown` for the block.
const NEW_WITNESSES: usize = 512;

/// Reads blocks through one guard, or without one when its address is zero: then there are watches, and rules that the keeper evaluates.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) rpc: Rpc,
    pub(super) guard: Address,
    watched: Watched,
    pub(super) hooks: Hooks,
    watches: Watches,
    /// Programs by rule; the guard has the first of them.
    pub(super) programs: Arc<Vec<Vec<u8>>>,
    pub(super) held: usize,
    /// Evaluates what it can without asking anybody for verdicts.
    pub(super) here: Option<Here>,
    /// Rules that are evaluated on older blocks than the newest.
    pub(super) settled: Settled,
    pub(super) rulebook: Rulebook,
    pub(super) states: States,
    /// With receipts.
    pub(super) patience: Patience,
}

/// What is fetched of a block before its rules are evaluated, so that blocks can be fetched ahead of each other.
#[derive(Debug)]
pub(crate) struct Fetched {
    outcomes: Outcomes,
    levels: Option<Vec<ScopeReading>>,
    begun: Begun,
    settled: Vec<RuleVerdict>,
}

impl Reader {
    /// A reader of `guard` that takes witnesses from the events of `watched`.
    #[must_use]
    pub fn new(rpc: Rpc, guard: Address, watched: Watched) -> Self {
        Self {
            rpc,
            guard,
            watched,
            hooks: Hooks::default(),
            watches: Watches::default(),
            programs: Arc::default(),
            held: usize::MAX,
            here: None,
            settled: Settled::default(),
            rulebook: Rulebook::default(),
            states: States::default(),
            patience: Patience::default(),
        }
    }

    /// The same, looking for calls that the guard's hooks stopped.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// The same, looking for what these watches look for.
    #[must_use]
    pub fn with_watches(mut self, watches: Watches) -> Self {
        self.watches = watches;
        self
    }

    /// The same, with the programs by rule, of which the guard has the first `held`: the others are evaluated by the keeper on the
    /// node's answers.
    #[must_use]
    pub fn with_programs(mut self, programs: Arc<Vec<Vec<u8>>>, held: usize) -> Self {
        self.programs = programs;
        self.held = held;
        self
    }

    /// The same, reading through other endpoints.
    #[must_use]
    pub(crate) fn through(mut self, rpc: Rpc) -> Self {
        self.rpc = rpc;
        // What others have says nothing of what these have.
        self.states = States::default();
        self
    }

    /// What is looked for besides the rules.
    #[must_use]
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// What is evaluated at every block.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Reads the block: `known` evaluations and the logs at the same time, then the witnesses that the logs add.
    /// `scopes` are read even when they are `Normal`.
    ///
    /// # Errors
    /// [`ReadError`]; a call that fails on a block that the node has is an `Unknown` verdict instead.
    pub async fn read(&self, block: &BlockRef, known: &[Request], scopes: &[u8]) -> Result<BlockReading, ReadError> {
        let fetched = self.fetch(block, known, scopes).await?;
        self.complete(block, known, fetched).await
    }

    /// The part of [`Reader::read`] that does not depend on the blocks before.
    pub(crate) async fn fetch(&self, block: &BlockRef, known: &[Request], scopes: &[u8]) -> Result<Fetched, ReadError> {
        self.states.note(block.number);
        let (newest, settled) = self.settled.part(known);
        let state = async {
            self.foresee_state(block).await?;
            let (begun, levels) = futures::future::join(self.begin(block, &newest), self.scopes(block, scopes)).await;
            Ok::<_, ReadError>((begun?, levels?))
        };
        let (outcomes, state, settled) =
            futures::future::join3(self.outcomes(block), state, self.evaluate_settled(block, &settled)).await;
        let (outcomes, (begun, levels)) = (outcomes?, state?);
        Ok(Fetched {
            outcomes,
            levels,
            begun,
            settled: settled?,
        })
    }

    /// The rest of [`Reader::read`]. Of several blocks that were fetched ahead, in their order.
    pub(crate) async fn complete(
        &self,
        block: &BlockRef,
        known: &[Request],
        fetched: Fetched,
    ) -> Result<BlockReading, ReadError> {
        let Fetched {
            outcomes,
            levels,
            begun,
            settled,
        } = fetched;
        let Outcomes {
            logs,
            sightings,
            stopped,
        } = outcomes;
        let mut verdicts = self.finish(block, &self.settled.part(known).0, begun).await?;
        verdicts.extend(settled);
        let mut reading = BlockReading {
            scopes: levels,
            stopped,
            sightings,
            logs_doubted: logs.doubt,
            ..BlockReading::default()
        };
        reading.witnessed = known
            .iter()
            .filter(|request| !request.witness.is_empty())
            .map(|request| Witnessed {
                rule: request.rule,
                words: request.witness.clone(),
                named: false,
            })
            .collect();
        match logs.wanted {
            Some(logs) => {
                reading.logs_read = true;
                reading.events = (0..)
                    .zip(&logs)
                    .filter_map(|(at, log)| self.guard_event(log, at))
                    .collect();
                let (named, overflowing) = self.named(&logs);
                let new: Vec<Request> = named
                    .iter()
                    .filter(|request| !known.contains(request))
                    .cloned()
                    .collect();
                verdicts.extend(self.verdicts(block, &new).await?);
                verdicts.extend(overflowing.into_iter().map(unread));
                reading.witnessed.retain(|witnessed| {
                    !named
                        .iter()
                        .any(|n| n.rule == witnessed.rule && n.witness == witnessed.words)
                });
                reading.witnessed.extend(named.into_iter().map(|n| Witnessed {
                    rule: n.rule,
                    words: n.witness,
                    named: true,
                }));
            }
            // Accounts that the block names may have been missed: that is not "nothing found".
            None => verdicts.extend(self.event_rules().map(unread)),
        }
        let events = reading.logs_read.then_some(reading.events.as_slice());
        let reason = match self.has_own_rulebook(block, events).await? {
            Some(true) => None,
            Some(false) => Some(OTHER_RULEBOOK),
            None => Some(READ_FAILED),
        };
        if let Some(reason) = reason {
            for verdict in verdicts.iter_mut().filter(|v| usize::from(v.rule) < self.held) {
                verdict.reading = unread(verdict.rule).reading;
                verdict.reading.reason = reason;
            }
        }
        reading.verdicts = verdicts;
        Ok(reading)
    }

    /// The hook has held whatever comes of this: a node that does not tell must not keep the block waiting. That nobody has looked is told
    /// all the same.
    pub(super) async fn stopped(
        &self,
        block: &BlockRef,
        receipts: Result<&Receipts, &RpcError>,
    ) -> Result<Vec<StoppedCall>, Unwatched> {
        let looked = match receipts {
            Ok(receipts) => self.hooks.stopped(&self.rpc, self.guard, block, receipts).await,
            Err(error) => Err(error.clone()),
        };
        looked.map_err(|error| {
            tracing::warn!(block = block.number, %error, "calls that the hooks stopped could not be looked for");
            Unwatched {
                watch: STOPPED_CALLS.to_owned(),
                reason: error.to_string(),
            }
        })
    }

    fn event_rules(&self) -> impl Iterator<Item = u16> {
        self.watched
            .witnessed
            .iter()
            .filter(|rule| rule.witness.is_some())
            .map(|rule| rule.index)
    }

    fn guard_event(&self, log: &Log, position: u64) -> Option<GuardEvent> {
        if log.address() != self.guard {
            return None;
        }
        GuardEvent::decode(log, position)
    }

    /// Witnesses that the logs name, without repetition, and the rules for which there were too many.
    fn named(&self, logs: &[Log]) -> (Vec<Request>, Vec<u16>) {
        let mut named: BTreeSet<Request> = BTreeSet::new();
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for log in logs {
            for rule in &self.watched.witnessed {
                let Some(words) = rule.witness.as_ref().and_then(|witness| witness.words(&log.inner)) else {
                    continue;
                };
                let count = counts.entry(rule.index).or_default();
                if *count < NEW_WITNESSES {
                    *count += usize::from(named.insert(Request {
                        rule: rule.index,
                        witness: words,
                    }));
                } else if !named.contains(&Request {
                    rule: rule.index,
                    witness: words,
                }) {
                    *count = count.saturating_add(1);
                }
            }
        }
        let overflowing: Vec<u16> = counts
            .into_iter()
            .filter(|(_, count)| *count > NEW_WITNESSES)
            .map(|(rule, _)| rule)
            .collect();
        if !overflowing.is_empty() {
            tracing::error!(rules = ?overflowing, "a block names more than {NEW_WITNESSES} accounts for a rule; the rest was not evaluated");
        }
        (named.into_iter().collect(), overflowing)
    }

    /// Whether there is a guard, or only what is told.
    pub(crate) fn has_guard(&self) -> bool {
        !self.guard.is_zero()
    }

    async fn scopes(&self, block: &BlockRef, also: &[u8]) -> Result<Option<Vec<ScopeReading>>, ReadError> {
        if !self.has_guard() {
            return Ok(Some(Vec::new()));
        }
        for attempt in 1..=ATTEMPTS {
            if self.states.is_gone(block) {
                break;
            }
            match scopes::read(&self.rpc, self.guard, block.hash, also).await {
                Ok(readings) => return Ok(Some(readings)),
                Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                Err(error) => {
                    tracing::warn!(block = block.number, attempt, %error, "the guard's levels could not be read");
                    self.has_state(block).await?;
                }
            }
        }
        Ok(None)
    }
}
