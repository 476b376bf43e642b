//! The tree of calls as text, for people.

use std::sync::Arc;

use alloy::{primitives::B256, rpc::types::TransactionRequest};
use jsonrpsee::core::RegisterMethodError;
use serde_json::Value;

use super::{Answer, Args, Module, RpcError, calls::Simulation, method, owner, owner::Owner};
use crate::{
    evm::Session,
    node::{Node, Place},
    trace,
};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["cordon_printTransaction"], transaction)?;
    method(module, &["cordon_printCall"], call)
}

fn not_here() -> RpcError {
    RpcError::Unsupported(
        "only transactions and blocks of this node can be printed, not those before the fork".to_owned(),
    )
}

async fn transaction(node: Arc<Node>, args: Args) -> Answer {
    let hash: B256 = args.required(0, "hash")?;
    let (block, index) = match owner::mined(&node, hash).await? {
        Owner::Node(found) => found,
        Owner::Fork(_) => return Err(not_here()),
    };
    node.reading(move |node| {
        let texts = trace::replay(node, &block, Some(index), |replayed| {
            let traced = trace::run(replayed.session, replayed.overlay, replayed.tx)?;
            Ok(trace::text(&traced, &node.names))
        })?;
        Ok(Value::String(texts.concat()))
    })
    .await
}

async fn call(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "call")?;
    let overrides = args.optional(2, "state overrides")?;
    match node.place(args.optional_block(1)?).await? {
        Place::Upstream(_) => Err(not_here()),
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let mut simulation = Simulation::new(node, (tip, state), request, overrides, None)?;
                let mut session = Session::new(&simulation.env);
                let traced = trace::run(&mut session, &mut simulation.overlay, simulation.tx)?;
                Ok(Value::String(trace::text(&traced, &node.names)))
            })
            .await
        }
    }
}
