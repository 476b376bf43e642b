//! Subscriptions over WebSocket.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alloy::rpc::types::Filter;
use jsonrpsee::{
    PendingSubscriptionSink, SubscriptionSink,
    core::{RegisterMethodError, SubscriptionError, traits::IdProvider},
    types::{Params, SubscriptionId},
};
use serde_json::Value;
use tokio::sync::broadcast;

use super::{Args, Module, RpcError, logs, render};
use crate::node::{Event, Node};

/// What a client subscribed to.
enum Topic {
    Heads,
    Logs(Box<Filter>),
    /// Whole transactions, or only their hashes.
    Pending {
        full: bool,
    },
}

/// Ids that Ethereum clients understand: hexadecimal quantities.
#[derive(Debug, Default)]
pub(crate) struct HexIds(AtomicU64);

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let id = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        SubscriptionId::Str(format!("{id:#x}").into())
    }
}

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    module.register_subscription(
        "eth_subscribe",
        "eth_subscription",
        "eth_unsubscribe",
        |params, pending, slot, _| subscribe(params, pending, slot.current()),
    )?;
    Ok(())
}

async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    node: Arc<Node>,
) -> Result<(), SubscriptionError> {
    // Listening begins before the client has the id, so that nothing in between is lost.
    let events = node.events.subscribe();
    match topic(&params) {
        Ok(topic) => {
            let sink = pending.accept().await?;
            serve(sink, events, topic).await
        }
        Err(error) => {
            pending.reject(error).await;
            Ok(())
        }
    }
}

fn topic(params: &Params<'_>) -> Result<Topic, RpcError> {
    let args = Args::parse(params)?;
    let kind: String = args.required(0, "kind")?;
    match kind.as_str() {
        "newHeads" => Ok(Topic::Heads),
        "logs" => Ok(Topic::Logs(Box::new(args.optional(1, "filter")?.unwrap_or_default()))),
        "newPendingTransactions" => Ok(Topic::Pending {
            full: args.optional(1, "full")?.unwrap_or(false),
        }),
        other => Err(RpcError::Params(format!(
            "nothing is known of subscription `{other}`: use newHeads, logs or newPendingTransactions"
        ))),
    }
}

async fn serve(
    sink: SubscriptionSink,
    mut events: broadcast::Receiver<Event>,
    topic: Topic,
) -> Result<(), SubscriptionError> {
    loop {
        let event = tokio::select! {
            () = sink.closed() => return Ok(()),
            event = events.recv() => event,
        };
        match event {
            Ok(event) => {
                for value in notices(&topic, &event)? {
                    if sink.send(serde_json::value::to_raw_value(&value)?).await.is_err() {
                        return Ok(());
                    }
                }
            }
            // A client that missed events must learn of it: the subscription ends.
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                return Err(format!("the client was too slow and missed {missed} events").into());
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

/// What an event is to a subscriber of `topic`.
fn notices(topic: &Topic, event: &Event) -> Result<Vec<Value>, RpcError> {
    match (topic, event) {
        (Topic::Heads, Event::Head(block)) => Ok(vec![render::header(block)?]),
        (Topic::Logs(filter), Event::Head(block) | Event::Removed(block)) => logs::matching(block, filter)
            .map(|mut log| {
                log.removed = matches!(event, Event::Removed(_));
                Ok(serde_json::to_value(log)?)
            })
            .collect(),
        (Topic::Pending { full: false }, Event::Pending(transaction)) => Ok(vec![render::hash(transaction.hash())]),
        (Topic::Pending { full: true }, Event::Pending(transaction)) => {
            Ok(vec![serde_json::to_value(render::pending(transaction))?])
        }
        _ => Ok(Vec::new()),
    }
}
