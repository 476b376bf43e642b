//! The JSON-RPC interface: what each method takes and answers.

mod access_list;
mod args;
mod blocks;
mod calls;
mod cheats;
mod debug;
pub(crate) mod detour;
mod error;
mod eth_config;
mod fees;
pub(crate) mod filters;
mod info;
mod lifecycle;
mod logs;
mod lookups;
mod node_interface;
mod otterscan;
mod owner;
mod parity;
mod proof;
mod raw;
mod render;
mod reorg;
mod sign;
mod simulate;
mod state;
mod subscribe;
mod tokens;
mod transactions;
mod tree;
mod txpool;

use std::{future::Future, sync::Arc};

use jsonrpsee::{RpcModule, core::RegisterMethodError, types::Params};
use serde_json::{Value, value::RawValue};

use self::args::Args;
pub(crate) use self::args::number;
pub(crate) use self::{
    error::{RpcError, unnamed_revert},
    subscribe::HexIds,
};
use crate::node::{Node, Slot};

/// What a method answers.
type Answer = Result<Value, RpcError>;

/// All methods. Each request is answered by the node that is in the slot when it comes.
pub(crate) type Module = RpcModule<Slot>;

/// What a method answers whose answers are long: text that is written once.
type RawAnswer = Result<Box<RawValue>, RpcError>;

/// Adds a method with long answers, which are written straight into the response.
fn long_method<F, Fut, T>(module: &mut Module, name: &'static str, handler: F) -> Result<(), RegisterMethodError>
where
    F: Fn(Arc<Node>, Args) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T, RpcError>> + Send + 'static,
    T: detour::Long,
{
    module.register_async_method(name, move |params: Params<'static>, slot, request| {
        let (handler, node) = (handler.clone(), slot.current());
        let args = Args::parse(&params);
        async move {
            let answer = async { handler(node.clone(), args?).await };
            let answer = answer.await.map_err(|error| error.into_object(&node.names))?;
            detour::send(answer, &request)
        }
    })?;
    Ok(())
}

/// Adds a method under all its names.
fn method<F, Fut>(module: &mut Module, names: &[&'static str], handler: F) -> Result<(), RegisterMethodError>
where
    F: Fn(Arc<Node>, Args) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    for name in names {
        let handler = handler.clone();
        module.register_async_method(name, move |params: Params<'static>, slot, _| {
            let (handler, node) = (handler.clone(), slot.current());
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
pub(crate) fn module(slot: Arc<Slot>) -> Result<Module, RegisterMethodError> {
    let mut module = RpcModule::from_arc(slot);
    info::register(&mut module)?;
    eth_config::register(&mut module)?;
    blocks::register(&mut module)?;
    state::register(&mut module)?;
    calls::register(&mut module)?;
    access_list::register(&mut module)?;
    fees::register(&mut module)?;
    transactions::register(&mut module)?;
    sign::register(&mut module)?;
    filters::register(&mut module)?;
    subscribe::register(&mut module)?;
    txpool::register(&mut module)?;
    cheats::register(&mut module)?;
    lifecycle::register(&mut module)?;
    debug::register(&mut module)?;
    parity::register(&mut module)?;
    raw::register(&mut module)?;
    simulate::register(&mut module)?;
    proof::register(&mut module)?;
    tree::register(&mut module)?;
    lookups::register(&mut module)?;
    tokens::register(&mut module)?;
    otterscan::register(&mut module)?;
    Ok(module)
}
