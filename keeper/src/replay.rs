//! What the keeper would have decided: the same reading and the same decisions over blocks that have passed. Nothing is sent,
//! nothing is stored. The node must still have the blocks' states.
//!
//! Rules are evaluated here, by the evaluator that the guard has too, so that rules can be tried which no guard has adopted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy::primitives::B256;
use cordon_client::CompiledConfig;
use cordon_core::rule::eval::Verdict;
use futures::stream::{FuturesOrdered, StreamExt};

use crate::chain::{BlockRef, BlockSource, Rpc};
use crate::decide::{Act, BlockFacts, Decision, Past, RulePast, RulePolicy, decide};
use crate::error::KeeperError;
use crate::options::Options;
use crate::policy;
use crate::record::Names;
use crate::rules::{BlockReading, CHECK_EVERY, Fetched, GuardEventKind, ReadError, Reader, Request, Sighting};

/// Blocks that are read at the same time: what bounds the memory.
const AHEAD: usize = 8;

/// Something that a replay found at a block.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The block.
    pub block: BlockRef,
    /// Name of the rule or watch.
    pub id: String,
    /// What it is.
    pub what: What,
    /// Whether the rules that are compared would have found it too.
    pub side: Side,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// An action would have been decided on.
    Decided(Decision),
    /// A rule begins to be `Unknown`.
    Unknown,
    /// A watch found what it looks for.
    Sighted(Sighting),
}

/// Whose rules find something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Those of the configuration; with others to compare, those as well.
    Both,
    /// Only those of the configuration: the other ones would remove the alert.
    Removed,
    /// Only the other ones: they would add the alert.
    Added,
}

/// What a replay comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Blocks that were evaluated.
    pub blocks: u64,
    /// Verdicts in all, of the configuration's rules.
    pub verdicts: u64,
    /// Verdicts of it that were `Unknown`.
    pub unknown: u64,
    /// Actions that would have been decided on, those in shadow included.
    pub decisions: u64,
    /// What watches found.
    pub sightings: u64,
    /// Alerts that the rules to compare add.
    pub added: u64,
    /// Alerts that the rules to compare remove.
    pub removed: u64,
}

/// A configuration as it is tried.
struct Tried {
    policies: Vec<RulePolicy>,
    names: Names,
    reader: Reader,
    plain: Vec<Request>,
    past: Past,
    unknown: BTreeMap<u16, bool>,
    speaks: BTreeMap<String, u64>,
}

impl Tried {
    fn new(rpc: &Rpc, options: &Options, compiled: &CompiledConfig) -> Self {
        let watched = policy::watched(compiled, options);
        let plain = watched.plain.iter().map(|rule| Request::plain(*rule)).collect();
        let programs = policy::programs(compiled);
        Self {
            policies: policy::policies(compiled, options),
            names: policy::names(compiled),
            reader: Reader::new(rpc.clone(), options.guard, watched)
                .with_programs(Arc::clone(&programs), 0)
                .evaluating_here(programs)
                .with_watches(options.watches.clone()),
            plain,
            past: Past::default(),
            unknown: BTreeMap::new(),
            speaks: BTreeMap::new(),
        }
    }

    /// Reads what is left of a block, and compares samples of what was evaluated here with what the node says.
    async fn complete(&self, block: &BlockRef, fetched: Fetched) -> Result<BlockReading, KeeperError> {
        let reading = self.reader.complete(block, &self.plain, fetched).await?;
        if block.number.is_multiple_of(CHECK_EVERY)
            && let Some(text) = self.reader.check(block, &reading.verdicts).await?
        {
            return Err(KeeperError::Differs { text });
        }
        Ok(reading)
    }

    /// What this configuration makes of a block, in the order of names.
    fn look(&mut self, block: &BlockRef, reading: BlockReading) -> Vec<(String, What)> {
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
        for decision in decide(&self.policies, &facts, &self.past) {
            self.remember(&decision, block.timestamp);
            found.push((self.names.rule(decision.rule), What::Decided(decision)));
        }
        for sighting in reading.sightings.found {
            if self.is_told(&sighting, block.timestamp) {
                found.push((sighting.watch.clone(), What::Sighted(sighting)));
            }
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
        *held = RulePast {
            decided_at: Some(now),
            observed_at: first.then_some(now),
            observed_witness: decision.witness.clone(),
            open: false,
        };
    }

    fn is_told(&mut self, sighting: &Sighting, now: u64) -> bool {
        let last = self.speaks.get(&sighting.watch);
        let cools = last.is_some_and(|last| now < last.saturating_add(u64::from(sighting.cooldown)));
        if sighting.silent || cools {
            return false;
        }
        self.speaks.insert(sighting.watch.clone(), now);
        true
    }
}

/// A block as it was fetched for each configuration.
type Read = (BlockRef, Fetched, Option<Fetched>);

/// Evaluates the blocks `from` to `to` (both included) in order and tells `on_found` of every decision, of what watches found,
/// and of every rule that begins to be `Unknown`. With `against`, its options and rules are tried on the same blocks, and what
/// is found says whose it is.
///
/// Levels that the guard held then are taken from the chain: what was held is not decided again. Accounts are those that the
/// events of each block name. Memory does not grow with the number of blocks.
///
/// # Errors
/// See [`KeeperError`]; a block that the node does not have is one. Rules at a block whose state it does not have are `Unknown`.
pub async fn replay(
    (options, compiled): (&Options, &CompiledConfig),
    against: Option<(&Options, &CompiledConfig)>,
    (from, to): (u64, u64),
    mut on_found: impl FnMut(&Found),
) -> Result<Replayed, KeeperError> {
    let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?;
    rpc.verify().await?;
    let mut own = Tried::new(&rpc, options, compiled);
    let mut other = against.map(|(options, compiled)| Tried::new(&rpc, options, compiled));
    let readers = (
        (own.reader.clone(), own.plain.clone()),
        other.as_ref().map(|other| (other.reader.clone(), other.plain.clone())),
    );
    let mut numbers = from..=to;
    let mut reads = FuturesOrdered::new();
    for number in numbers.by_ref().take(AHEAD) {
        reads.push_back(fetch(&rpc, &readers, number));
    }
    let mut replayed = Replayed::default();
    while let Some(held) = reads.next().await {
        if let Some(number) = numbers.next() {
            reads.push_back(fetch(&rpc, &readers, number));
        }
        let (block, fetched, others) = held?;
        let reading = own.complete(&block, fetched).await?;
        replayed.count(&reading);
        let mine = own.look(&block, reading);
        let theirs = match (&mut other, others) {
            (Some(other), Some(fetched)) => {
                let reading = other.complete(&block, fetched).await?;
                Some(other.look(&block, reading))
            }
            _ => None,
        };
        for found in sides(&block, mine, theirs) {
            replayed.note(&found);
            on_found(&found);
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn count(&mut self, reading: &BlockReading) {
        self.blocks = self.blocks.saturating_add(1);
        self.verdicts = self.verdicts.saturating_add(count(reading.verdicts.len()));
        let unknown = reading
            .verdicts
            .iter()
            .filter(|verdict| verdict.reading.verdict == Verdict::Unknown)
            .count();
        self.unknown = self.unknown.saturating_add(count(unknown));
    }

    fn note(&mut self, found: &Found) {
        let counted = match (found.side, &found.what) {
            (Side::Added, _) => &mut self.added,
            (Side::Removed, _) => {
                self.removed = self.removed.saturating_add(1);
                match &found.what {
                    What::Decided(_) => &mut self.decisions,
                    What::Sighted(_) => &mut self.sightings,
                    What::Unknown => return,
                }
            }
            (Side::Both, What::Decided(_)) => &mut self.decisions,
            (Side::Both, What::Sighted(_)) => &mut self.sightings,
            (Side::Both, What::Unknown) => return,
        };
        *counted = counted.saturating_add(1);
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What tells one alert from another of its block: its rule, what would be done, and which account or log it is about.
type Key = (String, u8, Vec<B256>, String);

fn key(id: &str, what: &What) -> Key {
    match what {
        What::Decided(decision) => {
            let act = format!("{:?} {} {}", decision.act, decision.scope, decision.level.name());
            (id.to_owned(), 0, decision.witness.clone(), act)
        }
        What::Unknown => (id.to_owned(), 1, Vec::new(), String::new()),
        What::Sighted(sighting) => (id.to_owned(), 2, Vec::new(), sighting.key.clone()),
    }
}

fn sides(block: &BlockRef, mine: Vec<(String, What)>, theirs: Option<Vec<(String, What)>>) -> Vec<Found> {
    let found = |(id, what): (String, What), side| Found {
        block: *block,
        id,
        what,
        side,
    };
    let Some(theirs) = theirs else {
        return mine.into_iter().map(|one| found(one, Side::Both)).collect();
    };
    let of_mine: BTreeSet<Key> = mine.iter().map(|(id, what)| key(id, what)).collect();
    let of_theirs: BTreeSet<Key> = theirs.iter().map(|(id, what)| key(id, what)).collect();
    let mine = mine.into_iter().map(|one| {
        let both = of_theirs.contains(&key(&one.0, &one.1));
        found(one, if both { Side::Both } else { Side::Removed })
    });
    let added = theirs
        .into_iter()
        .filter(|(id, what)| !of_mine.contains(&key(id, what)))
        .map(|one| found(one, Side::Added));
    mine.chain(added).collect()
}

type Readers = ((Reader, Vec<Request>), Option<(Reader, Vec<Request>)>);

async fn fetch(rpc: &Rpc, (own, other): &Readers, number: u64) -> Result<Read, KeeperError> {
    let block = rpc.by_number(number).await?.ok_or(KeeperError::NoBlock { number })?;
    let mine = own.0.fetch(&block, &own.1, &[]);
    let theirs = async {
        match other {
            Some((reader, plain)) => Ok::<_, ReadError>(Some(reader.fetch(&block, plain, &[]).await?)),
            None => Ok(None),
        }
    };
    let (mine, theirs) = futures::future::try_join(mine, theirs).await?;
    Ok((block, mine, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Sighting;
    use cordon_client::config::{Finality, Severity};

    fn sighting(watch: &str, key: &str) -> (String, What) {
        let sighting = Sighting {
            watch: watch.to_owned(),
            key: key.to_owned(),
            severity: Severity::P3,
            finality: Finality::Latest,
            cooldown: 0,
            silent: false,
            tx: None,
            text: String::new(),
            facts: serde_json::Value::Null,
            channels: Vec::new(),
        };
        (watch.to_owned(), What::Sighted(sighting))
    }

    #[test]
    fn a_change_of_rules_adds_and_removes() {
        let block = BlockRef {
            number: 1,
            hash: B256::repeat_byte(1),
            parent: B256::ZERO,
            timestamp: 1,
            base_fee: 0,
        };
        let mine = vec![
            sighting("a", "log:1"),
            sighting("a", "log:2"),
            ("r".to_owned(), What::Unknown),
        ];
        let theirs = vec![
            sighting("a", "log:2"),
            sighting("b", "log:1"),
            ("r".to_owned(), What::Unknown),
        ];
        let found: Vec<(String, Side)> = sides(&block, mine.clone(), Some(theirs))
            .into_iter()
            .map(|found| (found.id, found.side))
            .collect();
        let expected = [
            ("a", Side::Removed),
            ("a", Side::Both),
            ("r", Side::Both),
            ("b", Side::Added),
        ];
        assert_eq!(found, expected.map(|(id, side)| (id.to_owned(), side)));
        assert!(sides(&block, mine, None).iter().all(|found| found.side == Side::Both));
    }
}
