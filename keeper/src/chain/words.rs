//! Words of the state, as many as are wanted, in a request or a few: where a contract lies, a few instructions are put for the time of
//! an `eth_call` that hand back its storage. Nobody's code runs, nothing is interpreted: what comes back is the state itself.
//! Of a contract whose words are all what they were at the last answer, only their digest comes back.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::client::{BatchRequest, Waiter};
use alloy::transports::TransportResult;
use serde::Serialize;

use super::RpcError;
use super::batch::refused;
use super::inquiry::{Held, Inquiry};
use super::rpc::Rpc;

/// What is wrong with a node whose answer is none to what was asked; such as an empty one, which is what the called address answers without its code.
const NO_OVERRIDES: &str = "the node does not take state overrides as they are meant";

#[derive(Debug, Clone, Serialize)]
struct At {
    #[serde(rename = "blockHash")]
    block: B256,
}

impl Rpc {
    /// The words of an inquiry on the state of a block, in the order of its keys, all asked for at the same time; the inner error says why the
    /// node gives none.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers at all.
    pub async fn words(&self, block: B256, inquiry: &Inquiry) -> Result<Result<Vec<U256>, String>, RpcError> {
        if inquiry.parts.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let held = inquiry.held();
        let last_answer: &Held = &held;
        // Storage in several requests, on which a node works at a time; on those of a batch it works one after the other. Code hashes and
        // balances, which are few, go with the last.
        let slots = inquiry.parts.iter().filter(|part| part.is_storage());
        let (alone, last) = inquiry.parts.split_at(slots.count().saturating_sub(1));
        let requests = alone.chunks(1).chain([last]).scan(0_usize, |next, parts| {
            let first = *next;
            *next = next.saturating_add(parts.len());
            Some((first, parts))
        });
        let parts = requests.map(|(first, parts)| {
            self.ask_past_refusals("a batch", move |provider| async move {
                let client = provider.client();
                let mut batch = BatchRequest::new(client);
                let mut waiters = Vec::with_capacity(parts.len());
                for (number, part) in (first..).zip(parts) {
                    let params = (part.call(number, last_answer), At { block }, &part.overrides);
                    waiters.push(batch.add_call::<_, Bytes>("eth_call", &params)?);
                }
                batch.send().await?;
                let outputs = outputs(waiters).await?;
                match outputs.iter().any(|output| output.is_empty()) {
                    true => Err(refused(NO_OVERRIDES)),
                    false => Ok(outputs),
                }
            })
        });
        let answers = unless_refused(futures::future::try_join_all(parts).await)?;
        let answers = answers.map(|answers| answers.concat());
        Ok(answers.and_then(|outputs| inquiry.take(&held, &outputs).ok_or_else(|| NO_OVERRIDES.to_owned())))
    }
}

impl Rpc {
    /// The code of accounts on the state of a block, in their order; the inner error says why the node gives none.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers at all.
    pub async fn codes(&self, block: B256, accounts: &[Address]) -> Result<Result<Vec<Bytes>, String>, RpcError> {
        const PER_BATCH: usize = 100;
        let parts = accounts.chunks(PER_BATCH).map(|part| {
            self.ask_past_refusals("a batch", move |provider| async move {
                let client = provider.client();
                let mut batch = BatchRequest::new(client);
                let mut waiters = Vec::with_capacity(part.len());
                for account in part {
                    waiters.push(batch.add_call::<_, Bytes>("eth_getCode", &(account, At { block }))?);
                }
                batch.send().await?;
                outputs(waiters).await
            })
        });
        let all = unless_refused(futures::future::try_join_all(parts).await)?;
        Ok(all.map(|all| all.concat()))
    }
}

/// What the requests of a batch answer, when none is refused.
async fn outputs(waiters: Vec<Waiter<Bytes>>) -> TransportResult<Vec<Bytes>> {
    let mut outputs = Vec::with_capacity(waiters.len());
    for waiter in waiters {
        outputs.push(waiter.await?);
    }
    Ok(outputs)
}

/// An answer, or why no endpoint gives one.
fn unless_refused<T>(answer: Result<T, RpcError>) -> Result<Result<T, String>, RpcError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(RpcError::Refused { message, .. }) => Ok(Err(message)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::chain::Key;
    use crate::respond::common::Anvil;
    use alloy::providers::DynProvider;
    use serde_json::json;

    #[tokio::test]
    async fn an_unchanged_contract_answers_its_digest_alone() {
        let anvil = Anvil::start(&[]).await;
        let contract = Address::repeat_byte(0x77);
        let slot = B256::left_padding_from(&[2]);
        anvil
            .rpc("anvil_setStorageAt", json!([contract, slot, B256::repeat_byte(7)]))
            .await;
        anvil.rpc("evm_mine", json!([])).await;
        let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), std::time::Duration::from_secs(5)).unwrap();
        let block = rpc.latest().await.unwrap().hash;
        let keys = [1, 2, 3].map(|slot| Key::Slot(contract, U256::from(slot)));
        let inquiry = Inquiry::of(&keys).unwrap();
        let length = async |held: &Held| {
            let part = &inquiry.parts[0];
            let call = part.call(0, held);
            let overrides = &part.overrides;
            let ask = |p: DynProvider| {
                let params = (call.clone(), At { block }, overrides.clone());
                async move { p.raw_request::<_, Bytes>("eth_call".into(), params).await }
            };
            rpc.ask("eth_call", ask).await.unwrap().len()
        };
        let told = rpc.words(block, &inquiry).await.unwrap().unwrap();
        assert_eq!(told, [U256::ZERO, U256::from_be_bytes([7; 32]), U256::ZERO]);
        assert_eq!(length(&Held::default()).await, 4 + 32 + 3 * 32);
        assert_eq!(length(&inquiry.held()).await, 4 + 32);
        assert_eq!(rpc.words(block, &inquiry).await.unwrap().unwrap(), told);
        // What has changed is told again, in full.
        anvil
            .rpc("anvil_setStorageAt", json!([contract, slot, B256::repeat_byte(8)]))
            .await;
        anvil.rpc("evm_mine", json!([])).await;
        let next = rpc.latest().await.unwrap().hash;
        assert_eq!(
            rpc.words(next, &inquiry).await.unwrap().unwrap()[1],
            U256::from_be_bytes([8; 32])
        );
    }
}
