//! Another endpoint for the forked chain.

use std::sync::Arc;

use jsonrpsee::core::RegisterMethodError;
use serde_json::Value;
use url::Url;

use super::{Answer, Args, Module, RpcError, method};
use crate::node::Node;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["anvil_setRpcUrl"], set_rpc_url)
}

/// From now on the forked chain is asked at another URL, which must serve the same chain.
async fn set_rpc_url(node: Arc<Node>, args: Args) -> Answer {
    let url: Url = args.required(0, "url")?;
    let Some(fork) = node.fork.clone() else {
        return Err(RpcError::Rejected(
            "this node forks no chain: anvil_reset with `forking.jsonRpcUrl` starts a fork".to_owned(),
        ));
    };
    fork.move_to(url, &node.config.fork_requests)
        .await
        .map_err(|error| RpcError::Rejected(error.to_string()))?;
    Ok(Value::Null)
}
