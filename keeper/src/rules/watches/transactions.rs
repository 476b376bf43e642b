//! Transactions and calls that watches look for.

use alloy::dyn_abi::JsonAbiExt;
use alloy::json_abi::Function;
use alloy::primitives::{Address, B256, U256};
use cordon_client::config::{Condition, Status};
use serde_json::json;

use super::condition::{Question, judge};
use super::{Sighting, Sightings, Subject, listed, object, settle, shown};
use crate::chain::{BlockRef, BlockTransaction, Receipts, Rpc, RpcError, Transaction};
use crate::rules::ReadError;
use crate::rules::patience::Patience;
use crate::rules::states::{PAUSE, known_or_gone};

/// Transactions that are looked for.
#[derive(Debug, Clone)]
pub(crate) struct TransactionWatch {
    pub(super) subject: Subject,
    pub(super) from: Vec<Address>,
    pub(super) to: Vec<Address>,
    pub(super) function: Option<Function>,
    pub(super) status: Status,
    pub(super) when: Option<Condition>,
}

/// Values that a transaction has once it is in a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) succeeded: bool,
    pub(super) gas_used: U256,
}

impl TransactionWatch {
    pub(super) fn question(&self, tx: &Transaction, ended: Option<Ended>) -> Option<(Question<'_>, Sighting)> {
        let is_meant = (self.from.is_empty() || self.from.contains(&tx.from))
            && (self.to.is_empty() || tx.to.is_some_and(|to| self.to.contains(&to)))
            && ended.is_none_or(|ended| self.status.includes(ended.succeeded));
        if !is_meant {
            return None;
        }
        let (names, values) = match &self.function {
            Some(function) => {
                let args = tx.input.strip_prefix(function.selector().as_slice())?;
                let names: Vec<String> = function.inputs.iter().map(|input| input.name.clone()).collect();
                // Whoever calls with what is no argument list calls nothing that a contract understands.
                (names, function.abi_decode_input(args).ok()?)
            }
            None => (Vec::new(), Vec::new()),
        };
        let question = Question::new(self.when.as_ref(), |name| {
            match names.iter().position(|held| held == name) {
                Some(at) => values.get(at)?.as_word(),
                None => field(tx, ended, name),
            }
        });
        let values: Vec<String> = values.iter().map(shown).collect();
        let target = tx.to.map_or_else(|| "a new contract".to_owned(), |to| to.to_string());
        let what = match &self.function {
            Some(function) => format!("called {}({}) of {target}", function.name, listed(&names, &values)),
            None => format!("sent {} wei to {target}", tx.value),
        };
        let end = match ended {
            None => ", which waits to be included",
            Some(ended) if ended.succeeded => "",
            Some(_) => ", which was reverted",
        };
        let facts = json!({
            "on": if self.function.is_some() { "call" } else { "transaction" },
            "from": tx.from,
            "to": tx.to,
            "value": tx.value.to_string(),
            "function": self.function.as_ref().map(Function::signature),
            "args": object(&names, &values),
            "succeeded": ended.map(|ended| ended.succeeded),
        });
        let text = format!("{} {what}{end}", tx.from);
        let sighting = self
            .subject
            .sighting(format!("tx:{}", tx.hash), Some(tx.hash), text, facts);
        Some((question, sighting))
    }
}

/// A value of a transaction by the name that conditions have for it.
fn field(tx: &Transaction, ended: Option<Ended>, name: &str) -> Option<B256> {
    Some(match name {
        "from" | "tx_from" => tx.from.into_word(),
        // A creation has no receiver: the zero address stands for it.
        "to" | "tx_to" => tx.to.unwrap_or_default().into_word(),
        "value" | "tx_value" => tx.value.into(),
        "gas_price" => tx.gas_price.into(),
        "gas_limit" => tx.gas_limit.into(),
        "gas_used" => ended?.gas_used.into(),
        "nonce" => tx.nonce.into(),
        _ => return None,
    })
}

pub(super) async fn look(
    watches: &[TransactionWatch],
    (rpc, receipts): (&Rpc, Option<&Receipts>),
    block: &BlockRef,
    patience: &Patience,
) -> Result<Sightings, ReadError> {
    if watches.is_empty() {
        return Ok(Sightings::default());
    }
    let attempts = patience.attempts();
    let contents = contents(rpc, receipts, block, attempts).await?;
    patience.note(contents.is_ok(), attempts);
    let transactions = match contents {
        Ok(transactions) => transactions,
        Err(error) => return Ok(refused(watches, &error)),
    };
    let mut questions = Vec::new();
    let mut candidates = Vec::new();
    for held in &transactions {
        let ended = Ended {
            succeeded: held.succeeded,
            gas_used: held.gas_used,
        };
        for (question, sighting) in watches.iter().filter_map(|watch| watch.question(&held.tx, Some(ended))) {
            questions.push(question);
            candidates.push(sighting);
        }
    }
    let judged = judge(rpc, block, &questions).await.map_err(ReadError::Unreachable)?;
    Ok(settle(candidates.into_iter().zip(judged).collect()))
}

/// The transactions of a block, or why nobody gives them after a few attempts.
async fn contents(
    rpc: &Rpc,
    receipts: Option<&Receipts>,
    block: &BlockRef,
    attempts: u32,
) -> Result<Result<Vec<BlockTransaction>, RpcError>, ReadError> {
    let mut attempt = 1;
    loop {
        match rpc.transactions(block.hash, receipts).await {
            Ok(transactions) => return Ok(Ok(transactions)),
            Err(error) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
            Err(error) => {
                if error.is_unsupported() {
                    return Ok(Err(error));
                }
                known_or_gone(rpc, block).await?;
                if attempt >= attempts {
                    return Ok(Err(error));
                }
                tracing::warn!(block = block.number, attempt, %error, "the transactions of a block could not be read");
                tokio::time::sleep(PAUSE.saturating_mul(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
}

fn refused(watches: &[TransactionWatch], error: &RpcError) -> Sightings {
    Sightings {
        unwatched: watches
            .iter()
            .map(|watch| watch.subject.unwatched(error.to_string()))
            .collect(),
        ..Sightings::default()
    }
}
