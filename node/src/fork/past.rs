//! What may be asked of the forked chain: nothing that lies after the fork.

use std::sync::Arc;

use alloy::{eips::BlockId, primitives::B256};
use serde_json::{Value, json};

use super::{Fork, find::quantity};
use crate::{node::Node, rpc::RpcError};

/// A block of the forked chain that is the fork's base or before it. Questions reach the forked chain through this alone, so that
/// none is answered with what happened there after the fork.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    fork: Arc<Fork>,
    number: u64,
}

impl Past {
    /// The block `number`; `None` if it is after the fork.
    pub(crate) fn block_number(fork: &Arc<Fork>, number: u64) -> Option<Self> {
        (number <= fork.tip.number).then(|| Self {
            fork: fork.clone(),
            number,
        })
    }

    /// The newest block up to `number` that is not after the fork.
    pub(crate) fn up_to(fork: &Arc<Fork>, number: u64) -> Self {
        Self {
            fork: fork.clone(),
            number: number.min(fork.tip.number),
        }
    }

    /// The block `hash`; `None` if the forked chain has none, or one that is after the fork.
    pub(crate) async fn block_hash(fork: &Arc<Fork>, hash: B256) -> Result<Option<Self>, RpcError> {
        if hash == fork.tip.hash {
            return Ok(Self::block_number(fork, fork.tip.number));
        }
        Self::containing(fork, "eth_getBlockByHash", json!([hash, false]), "number").await
    }

    /// The block with the transaction `hash`; `None` if the forked chain has none that was mined, or not before the fork.
    pub(crate) async fn of_transaction(fork: &Arc<Fork>, hash: B256) -> Result<Option<Self>, RpcError> {
        Self::containing(fork, "eth_getTransactionByHash", json!([hash]), "blockNumber").await
    }

    /// The block whose number is in `field` of an answer.
    async fn containing(fork: &Arc<Fork>, method: &str, params: Value, field: &str) -> Result<Option<Self>, RpcError> {
        let answer = fork.request(method, params).await?;
        Self::in_field(fork, method, &answer, field)
    }

    fn in_field(fork: &Arc<Fork>, method: &str, answer: &Value, field: &str) -> Result<Option<Self>, RpcError> {
        let number = quantity(answer, field).map_err(|reason| {
            RpcError::Internal(format!(
                "the forked RPC {} gave an answer to {method} that is not understood: {reason}",
                fork.endpoint.name()
            ))
        })?;
        Ok(number.and_then(|number| Self::block_number(fork, number)))
    }

    /// Asks for a transaction, or its receipt: the answer itself tells its block. Null if the forked chain has none such before the
    /// fork.
    pub(crate) async fn mined(fork: &Arc<Fork>, method: &str, params: Vec<Value>) -> Result<Value, RpcError> {
        let answer = fork.request(method, Value::Array(params)).await?;
        let block = Self::in_field(fork, method, &answer, "blockNumber")?;
        Ok(block.map_or(Value::Null, |_| answer))
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Passes on a question that names this block, or a transaction of it, by hash or number; the answer, or the error, is the
    /// endpoint's.
    pub(crate) async fn request(&self, method: &str, params: Vec<Value>) -> Result<Value, RpcError> {
        self.fork.request(method, Value::Array(params)).await
    }

    /// Passes on a question whose parameter `index` is this block: a tag becomes its number, because it means another block there.
    pub(crate) async fn request_at(
        &self,
        method: &str,
        mut params: Vec<Value>,
        index: usize,
    ) -> Result<Value, RpcError> {
        if let Some(block) = params.get_mut(index) {
            name_by_number(block, self.number);
        }
        self.request(method, params).await
    }
}

/// Puts `number` in the place of a number or tag, also in an object that has it as `blockNumber`. A hash stays.
fn name_by_number(block: &mut Value, number: u64) {
    match block {
        Value::Object(fields) => {
            if let Some(inner) = fields.get_mut("blockNumber") {
                name_by_number(inner, number);
            }
        }
        Value::String(text) if text.parse::<B256>().is_ok() => {}
        named => *named = Value::String(format!("{number:#x}")),
    }
}

impl Node {
    /// A block of the forked chain; `None` if it has none such before the fork.
    pub(crate) async fn past_block(&self, id: BlockId) -> Result<Option<Past>, RpcError> {
        let Some(fork) = &self.fork else { return Ok(None) };
        match id {
            BlockId::Number(tag) => Ok(Past::block_number(fork, self.number_of(tag))),
            BlockId::Hash(hash) => Past::block_hash(fork, hash.block_hash).await,
        }
    }

    /// The block of a transaction of the forked chain; `None` if it has none such before the fork.
    pub(crate) async fn past_transaction(&self, hash: B256) -> Result<Option<Past>, RpcError> {
        match &self.fork {
            Some(fork) => Past::of_transaction(fork, hash).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_numbers_and_hashes_stay() {
        let hash = json!(B256::repeat_byte(7));
        for (given, expected) in [
            (json!("finalized"), json!("0x11")),
            (json!("0x5"), json!("0x11")),
            (json!(5), json!("0x11")),
            (
                json!({ "blockNumber": "safe", "transactionIndex": -1 }),
                json!({ "blockNumber": "0x11", "transactionIndex": -1 }),
            ),
            (hash.clone(), hash.clone()),
            (json!({ "blockHash": hash }), json!({ "blockHash": hash })),
        ] {
            let mut named = given.clone();
            name_by_number(&mut named, 17);
            assert_eq!(named, expected, "{given}");
        }
    }
}
