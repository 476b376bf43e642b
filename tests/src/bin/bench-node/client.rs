//! The client that both nodes are measured with: JSON-RPC over HTTP, one connection each, no work beyond what is asked.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes};
use eyre::{OptionExt, bail};
use serde_json::{Value, json};

/// Longest wait for one answer. A node that needs longer has failed the workload.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest wait for a receipt.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(30);

/// One connection to a node.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> eyre::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(1)
            .timeout(PATIENCE)
            .build()?;
        Ok(Self {
            http,
            url: url.to_owned(),
        })
    }

    /// Where the node listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Another connection to the same node.
    pub(crate) fn another(&self) -> eyre::Result<Self> {
        Self::new(&self.url)
    }

    async fn respond(&self, body: String) -> eyre::Result<reqwest::Response> {
        let request = self.http.post(&self.url).header("content-type", "application/json");
        Ok(request.body(body).send().await?)
    }

    /// Sends a request that is already text; the response as it came.
    pub(crate) async fn post(&self, body: String) -> eyre::Result<String> {
        Ok(String::from_utf8(self.respond(body).await?.bytes().await?.into())?)
    }

    /// Sends a request that is already text and counts the bytes of the response: to gather and decode long ones is not the
    /// node's work.
    pub(crate) async fn weigh(&self, body: String) -> eyre::Result<usize> {
        let mut response = self.respond(body).await?;
        let mut bytes = 0usize;
        while let Some(part) = response.chunk().await? {
            bytes = bytes.saturating_add(part.len());
        }
        Ok(bytes)
    }

    /// The result of a method; its error is an error.
    pub(crate) async fn call(&self, method: &str, params: Value) -> eyre::Result<Value> {
        let mut answer: Value = serde_json::from_str(&self.post(request(method, &params)).await?)?;
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => bail!("{method}: {answer}"),
        }
    }

    /// Sends a transaction from an account of the node.
    pub(crate) async fn send(&self, from: Address, to: Address, input: &Bytes) -> eyre::Result<B256> {
        let transaction = json!([{ "from": from, "to": to, "data": input, "gas": "0x186a0" }]);
        hash(&self.call("eth_sendTransaction", transaction).await?)
    }

    /// Polls until a transaction is mined; answers its receipt. A node that has lost the transaction has failed the workload.
    pub(crate) async fn receipt(&self, hash: B256) -> eyre::Result<Value> {
        let body = request("eth_getTransactionReceipt", &json!([hash]));
        let begun = Instant::now();
        loop {
            if begun.elapsed() > RECEIPT_PATIENCE {
                let pool = self.call("txpool_status", json!([])).await?;
                bail!("{hash} is not mined after {RECEIPT_PATIENCE:?}; pool {pool}");
            }
            let answer: Value = serde_json::from_str(&self.post(body.clone()).await?)?;
            match answer.get("result") {
                Some(Value::Null) => tokio::time::sleep(Duration::from_millis(1)).await,
                Some(receipt) => return Ok(receipt.clone()),
                None => bail!("eth_getTransactionReceipt: {answer}"),
            }
        }
    }

    /// A number that a method answers.
    pub(crate) async fn number(&self, method: &str, params: Value) -> eyre::Result<u64> {
        number(&self.call(method, params).await?)
    }
}

/// The text of a request.
pub(crate) fn request(method: &str, params: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

/// A hash as JSON-RPC writes it.
pub(crate) fn hash(value: &Value) -> eyre::Result<B256> {
    Ok(value.as_str().ok_or_eyre("a hash is no text")?.parse()?)
}

/// A quantity as JSON-RPC writes it.
pub(crate) fn number(value: &Value) -> eyre::Result<u64> {
    let text = value.as_str().ok_or_eyre("a quantity is no text")?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}
