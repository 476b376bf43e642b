//! Methods that look into the pool.

use std::{collections::BTreeMap, sync::Arc};

use alloy::{consensus::Transaction as _, primitives::Address};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, args::quantity, method, render};
use crate::{node::Node, transaction::SignedTransaction};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["txpool_status"], status)?;
    method(module, &["txpool_content"], content)?;
    method(module, &["txpool_contentFrom"], content_from)?;
    method(module, &["txpool_inspect"], inspect)
}

/// All transactions, each with whether it waits only for a block and not for an earlier nonce.
async fn all(node: &Arc<Node>) -> Result<Vec<(Arc<SignedTransaction>, bool)>, RpcError> {
    node.reading(|node| {
        let view = node.head_view();
        let nonce_of = |sender| view.account(sender).map(|info| info.nonce).unwrap_or_default();
        Ok(node.pool.lock().content(nonce_of))
    })
    .await
}

async fn status(node: Arc<Node>, _: Args) -> Answer {
    let all = all(&node).await?;
    let pending = all.iter().filter(|(_, pending)| *pending).count();
    Ok(json!({ "pending": quantity(pending), "queued": quantity(all.len().saturating_sub(pending)) }))
}

async fn content(node: Arc<Node>, _: Args) -> Answer {
    let mut sorted = [BTreeMap::new(), BTreeMap::new()];
    let [pending, queued] = &mut sorted;
    for (transaction, ready) in all(&node).await? {
        let side = if ready { &mut *pending } else { &mut *queued };
        let of_sender: &mut BTreeMap<String, Value> = side.entry(transaction.sender.to_string()).or_default();
        of_sender.insert(
            transaction.nonce().to_string(),
            serde_json::to_value(render::pending(&transaction))?,
        );
    }
    let [pending, queued] = sorted;
    Ok(json!({ "pending": pending, "queued": queued }))
}

async fn content_from(node: Arc<Node>, args: Args) -> Answer {
    let sender: Address = args.required(0, "address")?;
    let (mut pending, mut queued) = (BTreeMap::new(), BTreeMap::new());
    for (transaction, ready) in all(&node).await? {
        if transaction.sender == sender {
            let side = if ready { &mut pending } else { &mut queued };
            side.insert(
                transaction.nonce().to_string(),
                serde_json::to_value(render::pending(&transaction))?,
            );
        }
    }
    Ok(json!({ "pending": pending, "queued": queued }))
}

/// As [`content`], each transaction as one line for people.
async fn inspect(node: Arc<Node>, _: Args) -> Answer {
    let mut sorted = [BTreeMap::new(), BTreeMap::new()];
    let [pending, queued] = &mut sorted;
    for (transaction, ready) in all(&node).await? {
        let side = if ready { &mut *pending } else { &mut *queued };
        let of_sender: &mut BTreeMap<String, String> = side.entry(transaction.sender.to_string()).or_default();
        let envelope = &transaction.envelope;
        let to = envelope
            .to()
            .map_or_else(|| "contract creation".to_owned(), |to| to.to_string());
        let (value, gas, fee) = (envelope.value(), envelope.gas_limit(), transaction.max_fee());
        let line = format!("{to}: {value} wei + {gas} gas × {fee} wei");
        of_sender.insert(transaction.nonce().to_string(), line);
    }
    let [pending, queued] = sorted;
    Ok(json!({ "pending": pending, "queued": queued }))
}
