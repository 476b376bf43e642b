//! What the keeper would have decided: the same reading and the same decisions over blocks that have passed. Nothing is sent,
//! nothing is stored. The node must still have the blocks' states.
//!
//! Rules are evaluated here, by the evaluator that the guard has too, so that rules can be tried which no guard has adopted.

mod sides;
mod told;
mod tried;

use cordon_client::CompiledConfig;
use cordon_core::rule::eval::Verdict;
use futures::stream::{FuturesOrdered, StreamExt};

use crate::chain::{BlockRef, BlockSource, Rpc};
use crate::decide::{Decision, Waiting};
use crate::error::KeeperError;
use crate::options::Options;
use crate::rules::{BlockReading, Fetched, ReadError, Reader, Request, Sighting};
use sides::sides;
use tried::Tried;

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
    /// A breach begins that would not be acted on before more rules are breached, as the quorum wants; people would be told.
    Waiting(Waiting),
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

/// A block as it was fetched for each configuration.
type Read = (BlockRef, Fetched, Option<Fetched>);

/// Evaluates the blocks `from` to `to` (both included) in order and tells `on_found` of every decision, of what watches found,
/// and of every rule that begins to be `Unknown`. With `against`, its options and rules are tried on the same blocks, and what
/// is found says whose it is.
///
/// The whole protocol waits for as many rules as `quorum` wants; other endpoints and keepers are taken to agree, because what they
/// said then is nowhere to be read. Rules with `finality` are evaluated at each block itself, which is final by now.
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
    let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?.with_rates(&options.rates);
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
                    What::Waiting(_) | What::Unknown => return,
                }
            }
            (Side::Both, What::Decided(_)) => &mut self.decisions,
            (Side::Both, What::Sighted(_)) => &mut self.sightings,
            (Side::Both, What::Waiting(_) | What::Unknown) => return,
        };
        *counted = counted.saturating_add(1);
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
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
