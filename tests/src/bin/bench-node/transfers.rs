//! Signed transfers of many senders, sent as fast as a node takes them.

use std::path::Path;
use std::time::{Duration, Instant};

use eyre::{bail, ensure, eyre};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Client, number, request};
use crate::token::Token;
use crate::workload::{all, rate};

/// A node that mines nothing for so long while transactions wait has lost them.
const STANDSTILL: Duration = Duration::from_secs(20);

/// Each of 16 connections sends `each` signed transfers of its own account, one after the other; the rate at which all are mined.
pub(crate) async fn transfers(client: &Client, root: &Path, each: u64) -> eyre::Result<f64> {
    let token = Token::deploy(client, root).await?;
    let mut signed = Vec::new();
    for sender in 0..token.senders.len() {
        signed.push(token.signed(client, sender, each).await?);
    }
    let before = nonces(client, &token).await?;
    let count = u64::try_from(signed.len())?.saturating_mul(each);
    let begun = Instant::now();
    let mut sending = JoinSet::new();
    for requests in signed {
        let client = client.another()?;
        sending.spawn(async move {
            for request in requests {
                let answer = client.post(request).await?;
                ensure!(answer.contains("\"result\""), "a transfer was refused: {answer}");
            }
            Ok(())
        });
    }
    all(sending).await?;
    let (mut progress, mut most) = (Instant::now(), 0);
    loop {
        let mined = nonces(client, &token).await?.saturating_sub(before);
        if mined >= count {
            break;
        }
        if mined > most {
            (progress, most) = (Instant::now(), mined);
        }
        if progress.elapsed() > STANDSTILL {
            let why = standstill(client, &token).await?;
            bail!("{mined} of {count} transfers are mined, and none for {STANDSTILL:?}: {why}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(rate(count, begun.elapsed()))
}

/// What a node that mines nothing more says of itself: its head, its pool, and for the first sender that waits what is missing.
async fn standstill(client: &Client, token: &Token) -> eyre::Result<String> {
    let block = client.call("eth_getBlockByNumber", json!(["latest", false])).await?;
    let field = |name: &str| block.get(name).cloned().unwrap_or_default();
    let pool = client.call("txpool_status", json!([])).await?;
    let content = client.call("txpool_content", json!([])).await?;
    let mut waiting = String::new();
    for sender in &token.senders {
        let next = client
            .number("eth_getTransactionCount", json!([sender.address(), "latest"]))
            .await?;
        for list in ["pending", "queued"] {
            // The keys' spelling differs between nodes.
            let of_sender = content.get(list).and_then(Value::as_object).into_iter().flatten();
            let address = sender.address().to_string();
            let of_sender = of_sender.filter(|(key, _)| key.eq_ignore_ascii_case(&address));
            let nonces = of_sender
                .filter_map(|(_, all)| all.as_object())
                .flat_map(|all| all.keys());
            let mut nonces: Vec<u64> = nonces.filter_map(|nonce| nonce.parse().ok()).collect();
            nonces.sort_unstable();
            if let (Some(first), Some(last)) = (nonces.first(), nonces.last()) {
                waiting.push_str(&format!(
                    "; {address} is at nonce {next} with {} {list}, {first} to {last}",
                    nonces.len()
                ));
            }
        }
    }
    Ok(format!(
        "head {}, gas used {}, base fee {}, pool {pool}{waiting}",
        field("number"),
        field("gasUsed"),
        field("baseFeePerGas")
    ))
}

/// Transactions that all senders have mined.
async fn nonces(client: &Client, token: &Token) -> eyre::Result<u64> {
    let requests: Vec<String> = token
        .senders
        .iter()
        .map(|sender| request("eth_getTransactionCount", &json!([sender.address(), "latest"])))
        .collect();
    let answers: Vec<Value> = serde_json::from_str(&client.post(format!("[{}]", requests.join(","))).await?)?;
    let mut sum = 0u64;
    for answer in &answers {
        let nonce = answer.get("result").ok_or_else(|| eyre!("no nonce: {answer}"))?;
        sum = sum.saturating_add(number(nonce)?);
    }
    Ok(sum)
}
