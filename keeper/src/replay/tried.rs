//! One configuration over the blocks of a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cordon_client::CompiledConfig;
use cordon_core::rule::eval::Verdict;

use super::What;
use super::told::Told;
use crate::chain::{BlockRef, Rpc};
use crate::decide::{Act, BlockFacts, Decision, Past, Quorum, RulePolicy, Support, decide, protocol_breaches};
use crate::error::KeeperError;
use crate::options::Options;
use crate::policy;
use crate::record::Names;
use crate::rules::{BlockReading, CHECK_EVERY, Fetched, GuardEventKind, Reader, Request};

/// A configuration as it is tried.
pub(super) struct Tried {
    policies: Vec<RulePolicy>,
    names: Names,
    pub(super) reader: Reader,
    pub(super) plain: Vec<Request>,
    past: Past,
    quorum: Quorum,
    /// Rules whose breach waits for others to agree.
    waiting: BTreeSet<u16>,
    unknown: BTreeMap<u16, bool>,
    told: Told,
}

impl Tried {
    pub(super) fn new(rpc: &Rpc, options: &Options, compiled: &CompiledConfig) -> Self {
        let watched = policy::watched(compiled, options);
        let plain = watched.plain.iter().map(|rule| Request::plain(*rule)).collect();
        let programs = policy::programs(compiled);
        Self {
            policies: policy::policies(compiled, options),
            names: policy::names(compiled, options),
            reader: Reader::new(rpc.clone(), options.guard, watched)
                .with_programs(Arc::clone(&programs), 0)
                .evaluating_here(programs)
                .with_watches(options.watches.clone()),
            plain,
            past: Past::default(),
            quorum: options.quorum,
            waiting: BTreeSet::new(),
            unknown: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// Reads what is left of a block, and compares samples of what was evaluated here with what the node says.
    pub(super) async fn complete(&self, block: &BlockRef, fetched: Fetched) -> Result<BlockReading, KeeperError> {
        let reading = self.reader.complete(block, &self.plain, fetched).await?;
        if block.number.is_multiple_of(CHECK_EVERY)
            && let Some(text) = self.reader.check(block, &reading.verdicts).await?
        {
            return Err(KeeperError::Differs { text });
        }
        Ok(reading)
    }

    /// What this configuration makes of a block, in the order of names.
    pub(super) fn look(&mut self, block: &BlockRef, reading: BlockReading) -> Vec<(String, What)> {
        let mut found = Vec::new();
        let unknown: BTreeSet<u16> = reading
            .verdicts
            .iter()
            .filter(|verdict| verdict.reading.verdict == Verdict::Unknown)
            .map(|verdict| verdict.rule)
            .collect();
        for rule in reading
            .verdicts
            .iter()
            .map(|verdict| verdict.rule)
            .collect::<BTreeSet<_>>()
        {
            let is_unknown = unknown.contains(&rule);
            if self.unknown.insert(rule, is_unknown) != Some(true) && is_unknown {
                found.push((self.names.rule(rule), What::Unknown));
            }
        }
        self.follow(block, &reading);
        let facts = BlockFacts {
            block,
            verdicts: &reading.verdicts,
            scopes: reading.scopes.as_deref().unwrap_or_default(),
        };
        let mut waiting = BTreeSet::new();
        let rules = protocol_breaches(&self.policies, &facts, &self.past);
        for decision in decide(&self.policies, &facts, &self.past) {
            let rule = decision.rule;
            match self.quorum.judge(decision, &granted(rules)) {
                Ok(decision) => {
                    self.remember(&decision, block.timestamp);
                    found.push((self.names.rule(rule), What::Decided(decision)));
                }
                Err(held) => {
                    waiting.insert(rule);
                    if !self.waiting.contains(&rule) {
                        found.push((self.names.rule(rule), What::Waiting(*held)));
                    }
                }
            }
        }
        self.waiting = waiting;
        for sighting in self.told.of(reading.sightings, block.timestamp) {
            found.push((sighting.watch.clone(), What::Sighted(sighting)));
        }
        found
    }

    /// Breaches that stand, and what people had released by then.
    fn follow(&mut self, block: &BlockRef, reading: &BlockReading) {
        for verdict in &reading.verdicts {
            let key = (verdict.rule, verdict.witness.clone());
            match verdict.reading.verdict {
                Verdict::Breached => {
                    self.past.standing.entry(key).or_insert(block.number);
                }
                Verdict::Holds => {
                    if let Some(held) = self.past.rules.get_mut(&key.0) {
                        held.recorded.remove(&key.1);
                    }
                    self.past.standing.remove(&key);
                }
                Verdict::Unknown => {}
            }
        }
        for event in &reading.events {
            match event.kind {
                GuardEventKind::ReleaseQueued { scope, .. } => {
                    self.past.released.insert(scope, block.number);
                }
                GuardEventKind::ReleaseCancelled { scope, .. } => {
                    self.past.released.remove(&scope);
                }
                _ => {}
            }
        }
    }

    /// What the record would say of the decision once it was carried out: the first of a spot rule is an observation.
    fn remember(&mut self, decision: &Decision, now: u64) {
        let robust = self
            .policies
            .iter()
            .any(|policy| policy.index == decision.rule && policy.robust);
        let held = self.past.rules.entry(decision.rule).or_default();
        let first = decision.act == Act::Trip && !robust && held.observed_at.is_none();
        held.decided_at = Some(now);
        held.observed_at = first.then_some(now);
        held.observed_witness.clone_from(&decision.witness);
        if !decision.act.is_sent() {
            held.recorded.insert(decision.witness.clone());
        }
    }
}

/// What is known of who agreed: the rules of the block. What other endpoints and keepers said then is nowhere to be read: they are
/// taken to have agreed.
fn granted(rules: u32) -> Support {
    Support {
        rules,
        endpoints: u32::MAX,
        against: 0,
        keepers: u32::MAX,
    }
}
