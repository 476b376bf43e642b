//! What is asked of single transactions. Answers are taken apart as JSON: chains have transaction types that no library knows.

use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log, TransactionRequest};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::batch::refused;
use super::rpc::Rpc;
use super::{CallError, FailedTransaction, RpcError};

impl Rpc {
    /// Logs that match a filter, from the first endpoint that gives any answer but a refusal.
    ///
    /// # Errors
    /// The last endpoint's.
    pub async fn logs_elsewhere(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        let mut last = RpcError::NoEndpoint;
        for endpoint in self.endpoints() {
            let asked = async {
                self.verify_endpoint(endpoint).await?;
                let provider = endpoint.provider();
                self.bounded("eth_getLogs", endpoint, async move { provider.get_logs(filter).await })
                    .await
            };
            match asked.await {
                Ok(logs) => return Ok(logs),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Logs that match a filter, as the endpoints that are asked answer each by itself, until they are enough: `patience` says for how long
    /// another answer is waited for, `None` when it is not.
    pub(crate) async fn logs_of_each(
        &self,
        filter: &Filter,
        patience: impl Fn(&[Vec<Log>]) -> Option<Duration>,
    ) -> Vec<Vec<Log>> {
        let apart = self.apart();
        let mut asked: FuturesUnordered<_> = apart.iter().map(|rpc| rpc.logs(filter)).collect();
        let mut told: Vec<Vec<Log>> = Vec::new();
        while let Some(patience) = patience(&told) {
            let next = match told.is_empty() {
                true => asked.next().await,
                false => tokio::time::timeout(patience, asked.next()).await.ok().flatten(),
            };
            match next {
                Some(Ok(logs)) => told.push(logs),
                Some(Err(_)) => {}
                None => break,
            }
        }
        told
    }

    /// What a failed transaction's calls to `callee` reverted with, outermost first: from its trace where the node gives
    /// one, else by calling once more on the state of the block before (`parent`), which tells what came out at the top.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn reverts_of(
        &self,
        failed: &FailedTransaction,
        callee: Address,
        parent: B256,
    ) -> Result<Vec<Bytes>, RpcError> {
        const METHOD: &str = "debug_traceTransaction";
        let hash = failed.hash;
        let trace: Result<Value, RpcError> = self
            .ask_past_refusals(METHOD, |p| async move {
                p.raw_request(METHOD.into(), json!([hash, { "tracer": "callTracer" }]))
                    .await
            })
            .await;
        match trace {
            Ok(trace) => {
                let mut found = Vec::new();
                collect(&trace, callee, &mut found, 0);
                Ok(found)
            }
            Err(RpcError::Refused { .. }) => self.replayed(failed, parent).await,
            Err(error) => Err(error),
        }
    }

    async fn replayed(&self, failed: &FailedTransaction, parent: B256) -> Result<Vec<Bytes>, RpcError> {
        const METHOD: &str = "eth_getTransactionByHash";
        let hash = failed.hash;
        let asked = self.ask_past_refusals(METHOD, |p| async move {
            let tx: Option<Value> = p.raw_request(METHOD.into(), (hash,)).await?;
            tx.ok_or_else(|| refused(&format!("the node does not know transaction {hash}")))
        });
        let tx = asked.await?;
        let Some(request) = request_of(&tx, failed) else {
            return Ok(Vec::new());
        };
        match self.call_as(request, BlockId::from(parent)).await {
            Err(CallError::Reverted(data)) => Ok(vec![data]),
            // Nobody has looked: the state of the block before is gone, say.
            Err(CallError::Rpc(error)) => Err(error),
            Ok(_) => Ok(Vec::new()),
        }
    }
}

fn parsed<T: std::str::FromStr>(value: &Value, field: &str) -> Option<T> {
    value.get(field)?.as_str()?.parse().ok()
}

fn request_of(tx: &Value, failed: &FailedTransaction) -> Option<TransactionRequest> {
    let mut request = TransactionRequest::default().to(failed.to?).from(failed.from);
    request.input = parsed::<Bytes>(tx, "input")?.into();
    request.value = parsed::<U256>(tx, "value");
    request.gas = parsed::<U256>(tx, "gas").and_then(|gas| u64::try_from(gas).ok());
    Some(request)
}

/// Frames of a call tracer deeper than this are not looked at: the EVM has no more.
const DEEPEST: usize = 1_024;

/// Outputs of the frames that called `callee` and reverted.
fn collect(frame: &Value, callee: Address, found: &mut Vec<Bytes>, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    let is_callee = parsed::<Address>(frame, "to") == Some(callee);
    if is_callee && frame.get("error").is_some() {
        found.extend(parsed::<Bytes>(frame, "output"));
    }
    for inner in frame.get("calls").and_then(Value::as_array).into_iter().flatten() {
        collect(inner, callee, found, depth.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_revert_is_found_however_deep_the_call_was() {
        let guard = Address::repeat_byte(9);
        let trace = json!({ "to": Address::repeat_byte(1), "error": "execution reverted", "output": "0xaa", "calls": [
            { "to": Address::repeat_byte(2), "calls": [
                { "to": guard, "output": "0x01" },
                { "to": guard, "error": "execution reverted", "output": "0xbb" },
            ] },
        ] });
        let mut found = Vec::new();
        collect(&trace, guard, &mut found, 0);
        assert_eq!(found, [Bytes::from_static(&[0xbb])]);
    }
}
