//! Finding the block to fork, and reading of it what the node needs.

use std::{sync::Arc, time::Duration};

use alloy::{
    network::AnyNetwork,
    primitives::{Address, B256},
    providers::{DynProvider, Provider},
    rpc::types::{BlockId, BlockNumberOrTag},
    transports::TransportError,
};
use serde_json::{Value, json};

use super::Replay;
use crate::{
    chain::Tip,
    config::{ForkRequests, NodeConfig},
    endpoint::Endpoint,
    error::NodeError,
    rpc::number,
    transaction::SignedTransaction,
};

/// The longest wait between two attempts of the same question.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Finds the block to fork.
pub(super) struct Finder<'a> {
    pub(super) provider: &'a DynProvider<AnyNetwork>,
    pub(super) named: &'a Endpoint,
}

impl Finder<'_> {
    fn unreachable(&self, error: &TransportError) -> NodeError {
        NodeError::ForkUnreachable {
            endpoint: self.named.name(),
            reason: self.named.explain(error),
        }
    }

    fn not_understood(&self, method: &'static str, reason: String) -> NodeError {
        NodeError::ForkAnswer {
            endpoint: self.named.name(),
            method,
            reason,
        }
    }

    async fn ask(&self, method: &'static str, params: Value) -> Result<Value, NodeError> {
        let answer = self.provider.raw_request(method.into(), params).await;
        answer.map_err(|error| self.unreachable(&error))
    }

    pub(super) async fn chain_id(&self, expected: Option<u64>) -> Result<u64, NodeError> {
        let found = self.provider.get_chain_id().await;
        let found = found.map_err(|error| self.unreachable(&error))?;
        match expected.filter(|expected| *expected != found) {
            Some(expected) => Err(NodeError::WrongChain {
                endpoint: self.named.name(),
                expected,
                found,
            }),
            None => Ok(found),
        }
    }

    async fn newest(&self) -> Result<u64, NodeError> {
        let newest = self.provider.get_block_number().await;
        newest.map_err(|error| self.unreachable(&error))
    }

    /// The block that the settings name, or the newest.
    pub(super) async fn block(&self, config: &NodeConfig) -> Result<Tip, NodeError> {
        let tag = match (config.fork_block_number, config.fork_blocks_back) {
            (Some(number), _) => BlockNumberOrTag::Number(number),
            (None, Some(back)) => BlockNumberOrTag::Number(self.newest().await?.saturating_sub(back)),
            (None, None) => BlockNumberOrTag::Latest,
        };
        let block = self.ask("eth_getBlockByNumber", json!([tag, false])).await?;
        if block.is_null() {
            return Err(NodeError::ForkBlockMissing {
                endpoint: self.named.name(),
                number: tag.as_number().unwrap_or_default(),
                newest: self.newest().await?,
            });
        }
        tip_of(&block).map_err(|reason| self.not_understood("eth_getBlockByNumber", reason))
    }

    /// The block before that of a transaction, and what has to be run on top of it.
    pub(super) async fn inside(&self, hash: B256) -> Result<(Tip, Option<Replay>), NodeError> {
        let transaction = self.ask("eth_getTransactionByHash", json!([hash])).await?;
        let number = quantity(&transaction, "blockNumber")
            .map_err(|reason| self.not_understood("eth_getTransactionByHash", reason))?;
        let Some(number) = number else {
            return Err(NodeError::Config {
                field: "fork_transaction_hash",
                reason: format!("{} knows no mined transaction {hash}", self.named.name()),
            });
        };
        let block = self
            .ask("eth_getBlockByNumber", json!([BlockNumberOrTag::Number(number), true]))
            .await?;
        let not_understood = |reason| self.not_understood("eth_getBlockByNumber", reason);
        let whole = tip_of(&block).map_err(not_understood)?;
        let transactions = replayed(&block, hash).map_err(not_understood)?;
        let parent = BlockNumberOrTag::Number(number.saturating_sub(1));
        let parent = self.ask("eth_getBlockByNumber", json!([parent, false])).await?;
        let parent = tip_of(&parent).map_err(not_understood)?;
        Ok((
            parent,
            Some(Replay {
                tip: whole,
                transactions,
            }),
        ))
    }

    /// Whether this chain has the block `tip` too.
    pub(super) async fn has(&self, tip: &Tip) -> Result<(), NodeError> {
        let tag = BlockNumberOrTag::Number(tip.number);
        let block = self.ask("eth_getBlockByNumber", json!([tag, false])).await?;
        if block.is_null() {
            return Err(NodeError::ForkBlockMissing {
                endpoint: self.named.name(),
                number: tip.number,
                newest: self.newest().await?,
            });
        }
        let found = tip_of(&block).map_err(|reason| self.not_understood("eth_getBlockByNumber", reason))?;
        if found.hash != tip.hash {
            return Err(NodeError::WrongBlock {
                endpoint: self.named.name(),
                number: tip.number,
                expected: tip.hash,
                found: found.hash,
            });
        }
        Ok(())
    }

    /// How the state is asked for: by hash where that is understood, so that an endpoint that has gone over to another chain
    /// gives an error and not another state. Only an endpoint that says that it does not understand is asked by number: any other
    /// error may be gone the next time.
    pub(super) async fn pin(&self, tip: &Tip, requests: &ForkRequests) -> Result<BlockId, NodeError> {
        let by_hash = BlockId::hash(tip.hash);
        let mut wait = requests.backoff;
        let mut left = requests.retries;
        loop {
            match self.provider.get_balance(Address::ZERO).block_id(by_hash).await {
                Ok(_) => return Ok(by_hash),
                Err(error) if misses_form(&error) => return Ok(BlockId::number(tip.number)),
                Err(error) if left == 0 => {
                    return Err(match error.as_error_resp() {
                        Some(payload) => self.not_understood("eth_getBalance", payload.to_string()),
                        None => self.unreachable(&error),
                    });
                }
                Err(_) => tokio::time::sleep(wait.min(MAX_WAIT)).await,
            }
            left = left.saturating_sub(1);
            wait = wait.saturating_mul(2);
        }
    }
}

/// Whether an endpoint says that it does not take a block hash where others do.
fn misses_form(error: &TransportError) -> bool {
    let Some(payload) = error.as_error_resp() else {
        return false;
    };
    let message = payload.message.to_lowercase();
    let unknown_form = [
        "unmarshal",
        "invalid param",
        "invalid argument",
        "invalid type",
        "invalid block",
        "parse",
    ];
    matches!(payload.code, -32_700 | -32_602 | -32_600) || unknown_form.iter().any(|said| message.contains(said))
}

/// The transactions of a block up to `last`. Arbitrum's own, at the start of each block, are left out.
fn replayed(block: &Value, last: B256) -> Result<Vec<Arc<SignedTransaction>>, String> {
    let all = block.get("transactions").and_then(Value::as_array);
    let mut transactions = Vec::new();
    for transaction in all.ok_or("`transactions` is missing")? {
        let hash = transaction.get("hash").and_then(Value::as_str).unwrap_or_default();
        if transaction.get("type").and_then(Value::as_str) != Some("0x6a") {
            let signed = SignedTransaction::from_rpc(transaction);
            transactions.push(Arc::new(
                signed.map_err(|error| format!("transaction {hash} cannot be run again: {error}"))?,
            ));
        }
        if hash.parse() == Ok(last) {
            return Ok(transactions);
        }
    }
    Err(format!("the block has no transaction {last}"))
}

/// Reads what the node needs of a block; fields that only some chains have may be missing.
fn tip_of(block: &Value) -> Result<Tip, String> {
    let number = quantity(block, "number")?.ok_or("`number` is missing")?;
    let hash = block.get("hash").and_then(Value::as_str).ok_or("`hash` is missing")?;
    Ok(Tip {
        number,
        hash: hash.parse::<B256>().map_err(|error| format!("`hash`: {error}"))?,
        timestamp: quantity(block, "timestamp")?.ok_or("`timestamp` is missing")?,
        base_fee: quantity(block, "baseFeePerGas")?.unwrap_or_default(),
        gas_used: quantity(block, "gasUsed")?.unwrap_or_default(),
        gas_limit: quantity(block, "gasLimit")?.unwrap_or_default(),
        l1_number: quantity(block, "l1BlockNumber")?.unwrap_or(number),
        beneficiary: Address::ZERO,
    })
}

pub(super) fn quantity(block: &Value, field: &str) -> Result<Option<u64>, String> {
    let Some(value) = block.get(field).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = number(value).ok_or_else(|| format!("`{field}` is no number: {value}"))?;
    u64::try_from(number)
        .map(Some)
        .map_err(|_| format!("`{field}` ({value}) does not fit 64 bits"))
}

#[cfg(test)]
mod tests {
    use alloy::transports::TransportErrorKind;
    use alloy_json_rpc::ErrorPayload;

    use super::*;

    fn says(code: i64, message: &'static str) -> TransportError {
        TransportError::ErrorResp(ErrorPayload {
            code,
            message: message.into(),
            data: None,
        })
    }

    #[test]
    fn only_who_says_so_does_not_understand() {
        for (code, message) in [
            (-32_602, "bad params"),
            (-32_000, "json: cannot unmarshal object into Go value of type string"),
            (-32_603, "Invalid argument 1: hex string expected"),
        ] {
            assert!(misses_form(&says(code, message)), "{message}");
        }
        for (code, message) in [
            (-32_000, "internal error, try again"),
            (-32_000, "header not found"),
            (-32_005, "limit exceeded"),
            (-32_603, "internal error"),
        ] {
            assert!(!misses_form(&says(code, message)), "{message}");
        }
        assert!(!misses_form(&TransportErrorKind::custom_str("cannot connect")));
    }
}
