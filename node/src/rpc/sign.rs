//! Methods that sign with the keys of the development accounts.

use std::sync::Arc;

use alloy::{
    eips::eip2718::Encodable2718,
    primitives::{Address, Bytes},
    rpc::types::TransactionRequest,
    signers::{SignerSync, local::PrivateKeySigner},
};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, args::data, method, transactions};
use crate::{node::Node, typed_data::TypedData};

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_signTransaction"], sign_transaction)?;
    method(module, &["personal_sign"], |node, args| sign(node, args, 1, 0))?;
    method(module, &["eth_sign"], |node, args| sign(node, args, 0, 1))?;
    method(
        module,
        &["eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4"],
        sign_typed_data,
    )
}

/// The key of an account, which the node must have.
fn key<'a>(node: &'a Node, account: &Address) -> Result<&'a PrivateKeySigner, RpcError> {
    let key = node.accounts.keys.get(account);
    key.ok_or_else(|| RpcError::Rejected(format!("the node has no key of {account}")))
}

fn signature(signed: alloy::signers::Result<alloy::primitives::Signature>) -> Answer {
    let signature = signed.map_err(|error| RpcError::Internal(error.to_string()))?;
    Ok(json!(Bytes::from(signature.as_bytes().to_vec())))
}

async fn sign_transaction(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "transaction")?;
    let transaction = transactions::complete(&node, request).await?;
    key(&node, &transaction.sender)?;
    Ok(data(&transaction.envelope.encoded_2718()))
}

async fn sign(node: Arc<Node>, args: Args, address_index: usize, data_index: usize) -> Answer {
    let address: Address = args.required(address_index, "address")?;
    let message: Bytes = args.required(data_index, "data")?;
    signature(key(&node, &address)?.sign_message_sync(&message))
}

async fn sign_typed_data(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let typed: Value = args.required(1, "typed data")?;
    let key = key(&node, &address)?;
    let wrong = |error: crate::typed_data::TypedDataError| RpcError::Params(format!("parameter 2: {error}"));
    let hash = TypedData::parse(typed)
        .and_then(|data| data.signing_hash())
        .map_err(wrong)?;
    signature(key.sign_hash_sync(&hash))
}
