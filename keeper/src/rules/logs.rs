//! The logs of a block that matter, and whether they are all of them.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};

use super::read::ATTEMPTS;
use super::states::PAUSE;
use super::{GuardEvent, ReadError, Reader, Sightings, StoppedCall};
use crate::chain::{BlockRef, Receipts, RpcError, Seal, Wanted, may_lack};

/// What was had of a block's logs.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// Those that are wanted; `None` when the node refuses them.
    pub(super) wanted: Option<Vec<Log>>,
    /// Why they are not, or may not be, what the endpoint answered.
    pub(super) doubt: Option<String>,
}

/// How long receipts are waited for before the logs are asked for beside them, where the header says that nothing is missed meanwhile; and
/// anywhere, for a while after they did not come in [`LONGEST`].
const RECEIPTS: Duration = Duration::from_millis(100);
/// How long they are waited for where the logs have to come from them: then the endpoints' word is taken.
const LONGEST: Duration = Duration::from_secs(2);
/// How long another endpoint's logs are waited for when one has answered, and the header does not say that some of them are missing.
const OTHERS: Duration = Duration::from_millis(300);

/// What came of a block's transactions.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) logs: Logs,
    pub(super) sightings: Sightings,
    pub(super) stopped: Vec<StoppedCall>,
}

impl Reader {
    /// What the block logged, what watches make of it, and the calls that hooks stopped. Where the header says that something that is wanted
    /// may be there, or says nothing that could be believed, the logs are those of the receipts; so they are where the receipts are asked
    /// for anyway, for the sake of those calls.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) async fn outcomes(&self, block: &BlockRef) -> Result<Outcomes, ReadError> {
        let wanted = self.wanted_logs();
        let seal = match wanted.is_empty() {
            true => None,
            // Nobody having the header is found out by what is asked next.
            false => self.rpc.seal_of(block.hash).await.ok().flatten(),
        };
        let may_be = !wanted.is_empty() && seal.is_none_or(|seal| may_lack(&seal.bloom, &wanted, &[]));
        let mut asked = Box::pin(self.receipts(block, if may_be { ATTEMPTS } else { 1 }));
        let early = match self.hooks.are_any() {
            _ if may_be => Some(asked.as_mut().await),
            true => tokio::time::timeout(RECEIPTS, &mut asked).await.ok(),
            false => None,
        };
        let looked = async {
            let logs = match &early {
                Some(Ok(receipts)) => received(block, &wanted, receipts),
                Some(Err(why)) if may_be => self.unproven(block, &wanted, seal.as_ref(), why).await?,
                _ => self.logs(block, &wanted, seal.as_ref()).await?,
            };
            let receipts = early.as_ref().and_then(|receipts| receipts.as_ref().ok());
            let sightings = self.watches().look(&self.rpc, block, logs.wanted.as_deref(), receipts);
            let sightings = sightings.await?;
            Ok::<_, ReadError>((logs, sightings))
        };
        let stopped = async {
            let late;
            let receipts = match &early {
                _ if !self.hooks.are_any() => return Ok(Vec::new()),
                Some(receipts) => receipts,
                None => {
                    late = asked.await;
                    &late
                }
            };
            self.stopped(block, receipts.as_ref()).await
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

    /// The receipts of a block, asked for so many times at most. Nobody waits long for what was not to be had a moment ago.
    async fn receipts(&self, block: &BlockRef, most: u32) -> Result<Receipts, RpcError> {
        let attempts = self.patience.attempts().min(most);
        let until = Instant::now() + if attempts < most { RECEIPTS } else { LONGEST };
        let mut attempt = 1;
        let told = loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.rpc.receipts_within(block.hash, left).await {
                Err(error) if attempt < attempts && !error.is_unsupported() && Instant::now() < until => {
                    tracing::warn!(block = block.number, attempt, %error, "the receipts of a block could not be read");
                    if !self.states.is_far(block) {
                        tokio::time::sleep(PAUSE.saturating_mul(attempt)).await;
                    }
                    attempt = attempt.saturating_add(1);
                }
                told => break told,
            }
        };
        self.patience.note(told.is_ok(), attempts);
        told
    }

    /// The logs that matter of a block whose header says that there are none, or has not come by.
    async fn logs(&self, block: &BlockRef, wanted: &[Wanted], seal: Option<&Seal>) -> Result<Logs, ReadError> {
        if wanted.is_empty() {
            return Ok(Logs {
                wanted: Some(Vec::new()),
                doubt: None,
            });
        }
        let Some(answer) = self.answered(block, &filter(block, wanted)).await? else {
            return Ok(Logs::default());
        };
        let own = Own::of(block, wanted, None, answer);
        if seal.is_none() || (own.logs.is_empty() && own.others == 0) {
            return Ok(own.told(block));
        }
        // The header or the answer is not true: the receipts tell.
        let said = own.logs.len().saturating_add(own.others);
        Ok(match self.receipts(block, ATTEMPTS).await {
            Ok(receipts) => {
                let logs = received(block, wanted, &receipts);
                let is_same = logs.wanted.as_ref().is_some_and(|all| all.len() == said) && own.others == 0;
                let doubt = if is_same {
                    logs.doubt
                } else {
                    Some(made_up(block, said))
                };
                Logs { doubt, ..logs }
            }
            Err(_) => Logs {
                wanted: Some(Vec::new()),
                doubt: Some(made_up(block, said)),
            },
        })
    }

    /// The logs that matter, by the word of the endpoints: those that two of several answer alike, else the most.
    async fn unproven(
        &self,
        block: &BlockRef,
        wanted: &[Wanted],
        seal: Option<&Seal>,
        why: &RpcError,
    ) -> Result<Logs, ReadError> {
        let filter = filter(block, wanted);
        let own = |logs: &Vec<Log>| Own::of(block, wanted, seal, logs.clone());
        let mut told: Vec<Vec<Log>> = Vec::new();
        if self.rpc.endpoint_count() > 1 {
            let patience = |told: &[Vec<Log>]| {
                let told: Vec<Own> = told.iter().map(own).collect();
                let is_lacking = |own: &Own| seal.is_some_and(|seal| may_lack(&seal.bloom, wanted, &own.logs));
                let longest = if told.iter().all(is_lacking) { LONGEST } else { OTHERS };
                agreed(&told).is_none().then_some(longest)
            };
            told.extend(self.rpc.logs_of_each(&filter, patience).await);
        }
        if told.is_empty() {
            let Some(answer) = self.answered(block, &filter).await? else {
                return Ok(Logs::default());
            };
            told.push(answer);
        }
        let told: Vec<Own> = told.iter().map(own).collect();
        let differ = told
            .windows(2)
            .any(|two| matches!(two, [one, other] if !one.is_same(other)));
        let agreed = agreed(&told);
        let chosen = agreed.or_else(|| {
            (0..told.len())
                .rev()
                .max_by_key(|at| told.get(*at).map(|own| own.logs.len()))
        });
        let mut counts: Vec<usize> = told.iter().map(|own| own.logs.len()).collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let Some(chosen) = chosen.and_then(|at| told.into_iter().nth(at)) else {
            return Ok(Logs::default());
        };
        let lacks = seal.is_none_or(|seal| may_lack(&seal.bloom, wanted, &chosen.logs));
        let mut logs = chosen.told(block);
        if differ {
            let which = if agreed.is_some() {
                "those that two answered"
            } else {
                "the most"
            };
            logs.doubt = Some(format!(
                "the endpoints answer {counts:?} logs of block {} that were asked for, not the same ones, and no receipts tell who is right ({why}): {which} were taken",
                block.number
            ));
        } else if matches!(why, RpcError::Untrue { .. }) || (lacks && why.is_unreachable()) {
            logs.doubt = Some(format!(
                "nobody can tell whether these are all logs of block {} that were asked for: {why}",
                block.number
            ));
        }
        Ok(logs)
    }

    /// What an endpoint answers; `None` when all refuse.
    async fn answered(&self, block: &BlockRef, filter: &Filter) -> Result<Option<Vec<Log>>, ReadError> {
        for attempt in 1..=ATTEMPTS {
            match self.rpc.logs(filter).await {
                Ok(logs) => return Ok(Some(logs)),
                Err(error) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                Err(error) => {
                    // What one endpoint refuses, another may give.
                    if let Ok(logs) = self.rpc.logs_elsewhere(filter).await {
                        return Ok(Some(logs));
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
        Ok(None)
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
}

/// The logs that matter of all that the block has.
fn received(block: &BlockRef, wanted: &[Wanted], receipts: &Receipts) -> Logs {
    let all = receipts.logs().iter().filter(|log| is_wanted(wanted, log));
    let doubt = receipts.are_contested().then(|| {
        let number = block.number;
        format!("an endpoint answered receipts of block {number} that are not those that its header speaks of; another one's were taken")
    });
    Logs {
        wanted: Some(all.cloned().collect()),
        doubt,
    }
}

/// What of an answer is wanted.
struct Own {
    /// Logs that the block may hold.
    logs: Vec<Log>,
    /// How many it cannot hold: another block is named, or the header says that there is none like it.
    others: usize,
}

impl Own {
    fn of(block: &BlockRef, wanted: &[Wanted], seal: Option<&Seal>, mut answer: Vec<Log>) -> Self {
        answer.retain(|log| is_wanted(wanted, log));
        let count = answer.len();
        answer.retain(|log| {
            log.block_hash.is_none_or(|named| named == block.hash) && seal.is_none_or(|seal| seal.may_hold(log))
        });
        Self {
            others: count.saturating_sub(answer.len()),
            logs: answer,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let parts = |log: &Log| (log.inner.clone(), log.log_index);
        self.logs.iter().map(parts).eq(other.logs.iter().map(parts))
    }

    fn told(self, block: &BlockRef) -> Logs {
        Logs {
            doubt: (self.others > 0).then(|| made_up(block, self.others)),
            wanted: Some(self.logs),
        }
    }
}

/// The first answer that another endpoint gives too.
fn agreed(told: &[Own]) -> Option<usize> {
    (0..)
        .zip(told)
        .position(|(at, one): (usize, &Own)| told.iter().skip(at.saturating_add(1)).any(|other| one.is_same(other)))
}

fn made_up(block: &BlockRef, count: usize) -> String {
    format!(
        "an endpoint answered {count} logs of block {} that its header does not speak of; only those were taken that receipts have",
        block.number
    )
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
