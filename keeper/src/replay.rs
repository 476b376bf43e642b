//! What the keeper would have decided: the same reading and the same decisions over blocks that have passed. Nothing is sent,
//! nothing is stored. The node must still have the blocks' states.

use std::collections::BTreeMap;

use cordon_client::CompiledConfig;
use cordon_core::rule::eval::Verdict;
use futures::stream::{self, StreamExt};

use crate::chain::{BlockRef, BlockSource, Rpc};
use crate::decide::{Act, BlockFacts, Decision, Past, RulePast, decide};
use crate::error::KeeperError;
use crate::options::Options;
use crate::policy;
use crate::rules::{BlockReading, Reader, Request};

/// Blocks that are read at the same time.
const AHEAD: usize = 16;

/// Something that a replay found at a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The block.
    pub block: BlockRef,
    /// Name of the rule.
    pub rule: String,
    /// What was decided; `None` for a rule that could not be evaluated.
    pub decision: Option<Decision>,
}

/// What a replay comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Blocks that were evaluated.
    pub blocks: u64,
    /// Verdicts in all.
    pub verdicts: u64,
    /// Actions that would have been decided on, those in shadow included.
    pub decisions: u64,
    /// Verdicts that were `Unknown`.
    pub unknown: u64,
}

/// Evaluates the blocks `from` to `to` (both included) in order and tells `on_found` of every decision, and of every rule that
/// begins to be `Unknown`.
///
/// Levels that the guard held then are taken from the chain: what was held is not decided again. Accounts are those that the
/// events of each block name.
///
/// # Errors
/// See [`KeeperError`]; a block that the node does not have is one. Rules at a block whose state it does not have are `Unknown`.
pub async fn replay(
    options: &Options,
    compiled: &CompiledConfig,
    (from, to): (u64, u64),
    mut on_found: impl FnMut(&Found),
) -> Result<Replayed, KeeperError> {
    let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?;
    rpc.verify().await?;
    let policies = policy::policies(compiled, options);
    let names = policy::names(compiled);
    let watched = policy::watched(compiled, options);
    let plain: Vec<Request> = watched
        .plain
        .iter()
        .map(|rule| Request {
            rule: *rule,
            witness: Vec::new(),
        })
        .collect();
    let reader = Reader::new(rpc.clone(), options.guard, watched);
    let reads = stream::iter(from..=to).map(|number| read(&rpc, &reader, &plain, number));
    let mut reads = std::pin::pin!(reads.buffered(AHEAD));
    let mut replayed = Replayed::default();
    let mut past = Past::default();
    let mut unknown: BTreeMap<u16, bool> = BTreeMap::new();
    while let Some(read) = reads.next().await {
        let (block, reading) = read?;
        replayed.blocks = replayed.blocks.saturating_add(1);
        for verdict in &reading.verdicts {
            replayed.verdicts = replayed.verdicts.saturating_add(1);
            let is_unknown = verdict.reading.verdict == Verdict::Unknown;
            replayed.unknown = replayed.unknown.saturating_add(u64::from(is_unknown));
            let was_unknown = unknown.insert(verdict.rule, is_unknown).unwrap_or_default();
            if is_unknown && !was_unknown {
                on_found(&Found {
                    block,
                    rule: names.rule(verdict.rule),
                    decision: None,
                });
            }
        }
        let facts = BlockFacts {
            block: &block,
            verdicts: &reading.verdicts,
            scopes: reading.scopes.as_deref().unwrap_or_default(),
        };
        for decision in decide(&policies, &facts, &past) {
            replayed.decisions = replayed.decisions.saturating_add(1);
            remember(&mut past, &decision, block.timestamp);
            on_found(&Found {
                block,
                rule: names.rule(decision.rule),
                decision: Some(decision),
            });
        }
    }
    Ok(replayed)
}

async fn read(
    rpc: &Rpc,
    reader: &Reader,
    plain: &[Request],
    number: u64,
) -> Result<(BlockRef, BlockReading), KeeperError> {
    let block = rpc.by_number(number).await?.ok_or(KeeperError::NoBlock { number })?;
    let reading = reader.read(&block, plain, &[]).await?;
    Ok((block, reading))
}

/// What the record would say of the decision once it was carried out: the first of a spot rule is an observation.
fn remember(past: &mut Past, decision: &Decision, now: u64) {
    let held = past.rules.entry(decision.rule).or_default();
    let first = decision.act == Act::Trip && held.observed_at.is_none();
    *held = RulePast {
        decided_at: Some(now),
        observed_at: first.then_some(now),
        observed_witness: decision.witness.clone(),
        open: false,
    };
}
