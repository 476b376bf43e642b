//! The logs of a block that matter, and whether they are all of them.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};

use super::read::ATTEMPTS;
use super::{GuardEvent, ReadError, Reader, Sightings, StoppedCall};
use crate::chain::{BlockRef, Receipts, Wanted, may_lack};

/// What was had of a block's logs.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// Those that are wanted; `None` when the node refuses them.
    pub(super) wanted: Option<Vec<Log>>,
    /// Why they are not, or may not be, what the endpoint answered.
    pub(super) doubt: Option<String>,
}

/// How long receipts are waited for before the logs are asked for beside them.
const RECEIPTS: Duration = Duration::from_millis(100);

/// What came of a block's transactions.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) logs: Logs,
    pub(super) sightings: Sightings,
    pub(super) stopped: Vec<StoppedCall>,
}

impl Reader {
    /// The logs of the block that matter.
    pub(super) async fn logs(&self, block: &BlockRef) -> Result<Logs, ReadError> {
        let wanted = self.wanted_logs();
        if wanted.is_empty() {
            return Ok(Logs {
                wanted: Some(Vec::new()),
                doubt: None,
            });
        }
        let filter = filter(block, &wanted);
        for attempt in 1..=ATTEMPTS {
            match self.rpc.logs(&filter).await {
                Ok(logs) => return Ok(self.all_of(block, &wanted, logs).await),
                Err(error) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                Err(error) => {
                    // What one endpoint refuses, another may give.
                    if let Ok(logs) = self.rpc.logs_elsewhere(&filter).await {
                        return Ok(self.all_of(block, &wanted, logs).await);
                    }
                    tracing::warn!(block = block.number, attempt, %error, "the logs of a block could not be read");
                    self.pause_or_gone(block, attempt).await?;
                }
            }
        }
        tracing::error!(
            block = block.number,
            "the logs of a block could not be read; rules on accounts are Unknown there"
        );
        Ok(Logs::default())
    }

    /// The logs that matter, from receipts which have all that the block's header speaks of; `None` when these have not, or the header has
    /// not come by.
    fn received(&self, block: &BlockRef, receipts: &Receipts) -> Option<Logs> {
        let mut logs = receipts.logs(&self.rpc.bloom(block.hash)?)?;
        let wanted = self.wanted_logs();
        logs.retain(|log| is_wanted(&wanted, log));
        Some(Logs {
            wanted: Some(logs),
            doubt: None,
        })
    }

    /// What the block logged, what watches make of it, and the calls that hooks stopped. Where its receipts are asked for anyway, for the sake
    /// of those calls, they are asked for the logs too.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) async fn outcomes(&self, block: &BlockRef) -> Result<Outcomes, ReadError> {
        let mut asked = Box::pin(self.rpc.receipts(block.hash));
        let early = match self.hooks.are_any() {
            true => tokio::time::timeout(RECEIPTS, &mut asked).await.ok(),
            false => None,
        };
        let given = early.as_ref().and_then(|receipts| receipts.as_ref().ok());
        let received = given.and_then(|receipts| self.received(block, receipts));
        let looked = async {
            let logs = match received {
                Some(logs) => logs,
                None => self.logs(block).await?,
            };
            let sightings = self.watches().look(&self.rpc, block, logs.wanted.as_deref()).await?;
            Ok::<_, ReadError>((logs, sightings))
        };
        let stopped = async {
            match early {
                _ if !self.hooks.are_any() => Ok(Vec::new()),
                Some(receipts) => self.stopped(block, receipts).await,
                None => self.stopped(block, asked.await).await,
            }
        };
        let (looked, stopped) = futures::future::join(looked, stopped).await;
        let (logs, mut sightings) = looked?;
        let stopped = stopped.unwrap_or_else(|unwatched| {
            sightings.unwatched.push(unwatched);
            Vec::new()
        });
        Ok(Outcomes {
            logs,
            sightings,
            stopped,
        })
    }

    /// Emitters and first topics of all that is looked for.
    fn wanted_logs(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        if self.has_guard() {
            wanted.extend(GuardEvent::TOPICS.map(|topic| (Some(self.guard), topic)));
        }
        let witnesses = self.watched().witnessed.iter().filter_map(|rule| rule.witness.as_ref());
        wanted.extend(witnesses.map(|witness| (Some(witness.address), witness.topic())));
        wanted.extend(self.watches().logs_wanted());
        wanted
    }

    /// The answer, or what receipts say where the header's filter does not go with the answer: an endpoint may leave logs out
    /// and say nothing of it.
    async fn all_of(&self, block: &BlockRef, wanted: &[Wanted], logs: Vec<Log>) -> Logs {
        let plain = |logs, doubt| Logs {
            wanted: Some(logs),
            doubt,
        };
        let Some(bloom) = self
            .rpc
            .bloom(block.hash)
            .filter(|bloom| may_lack(bloom, wanted, &logs))
        else {
            return plain(logs, None);
        };
        // A filter may say yes where there is nothing: the receipts tell.
        match self.rpc.proven_logs(block.hash, &bloom).await {
            Ok(Some(all)) => {
                let proven: Vec<Log> = all.into_iter().filter(|log| is_wanted(wanted, log)).collect();
                if proven.len() <= logs.len() {
                    return plain(logs, None);
                }
                let doubt = format!(
                    "an endpoint answered {} of the {} logs of block {} that were asked for; the others were taken from its receipts",
                    logs.len(),
                    proven.len(),
                    block.number
                );
                plain(proven, Some(doubt))
            }
            Ok(None) => {
                let doubt = format!(
                    "the header of block {} speaks of logs that are neither in the endpoint's answer nor in any endpoint's receipts",
                    block.number
                );
                plain(logs, Some(doubt))
            }
            // Without receipts it cannot be told: on a busy chain many filters say yes.
            Err(error) => {
                tracing::debug!(block = block.number, %error, "the logs of a block could not be compared with its receipts");
                plain(logs, None)
            }
        }
    }
}

fn is_wanted(wanted: &[Wanted], log: &Log) -> bool {
    let topic = log.topics().first();
    wanted
        .iter()
        .any(|(emitter, of)| topic == Some(of) && emitter.is_none_or(|at| at == log.address()))
}

/// Everything that is wanted, and more: emitters and topics are asked for apart.
fn filter(block: &BlockRef, wanted: &[Wanted]) -> Filter {
    let topics: Vec<B256> = wanted.iter().map(|(_, topic)| *topic).collect();
    let filter = Filter::new().at_block_hash(block.hash).event_signature(topics);
    let emitters: Option<Vec<Address>> = wanted.iter().map(|(emitter, _)| *emitter).collect();
    match emitters {
        Some(emitters) => filter.address(emitters),
        // Somebody wants those of anybody.
        None => filter,
    }
}
