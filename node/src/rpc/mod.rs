//! The JSON-RPC interface: what each method takes and answers.

mod args;
mod blocks;
mod calls;
mod cheats;
mod debug;
mod error;
mod fees;
pub(crate) mod filters;
mod info;
mod lookups;
mod node_interface;
mod parity;
mod proof;
mod raw;
mod render;
mod simulate;
mod state;
mod subscribe;
mod tokens;
mod transactions;
mod tree;
mod txpool;

use std::{future::Future, sync::Arc};

use jsonrpsee::{RpcModule, core::RegisterMethodError, types::Params};
use serde_json::Value;

use self::args::Args;
pub(crate) use self::args::number;
pub(crate) use self::{error::RpcError, subscribe::HexIds};
use crate::node::Node;

/// What a method answers.
type Answer = Result<Value, RpcError>;

/// Adds a method under all its names.
fn method<F, Fut>(module: &mut RpcModule<Node>, names: &[&'static str], handler: F) -> Result<(), RegisterMethodError>
where
    F: Fn(Arc<Node>, Args) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    for name in names {
        let handler = handler.clone();
        module.register_async_method(name, move |params: Params<'static>, node, _| {
            let handler = handler.clone();
            let args = Args::parse(&params);
            async move {
                let answer = async { handler(node.clone(), args?).await };
                answer.await.map_err(|error| error.into_object(&node.names))
            }
        })?;
    }
    Ok(())
}

/// All methods of the node.
pub(crate) fn module(node: Arc<Node>) -> Result<RpcModule<Node>, RegisterMethodError> {
    let mut module = RpcModule::from_arc(node);
    info::register(&mut module)?;
    blocks::register(&mut module)?;
    state::register(&mut module)?;
    calls::register(&mut module)?;
    fees::register(&mut module)?;
    transactions::register(&mut module)?;
    filters::register(&mut module)?;
    subscribe::register(&mut module)?;
    txpool::register(&mut module)?;
    cheats::register(&mut module)?;
    debug::register(&mut module)?;
    parity::register(&mut module)?;
    raw::register(&mut module)?;
    simulate::register(&mut module)?;
    proof::register(&mut module)?;
    tree::register(&mut module)?;
    lookups::register(&mut module)?;
    tokens::register(&mut module)?;
    Ok(module)
}
