//! Giving ERC-20 tokens and allowances to accounts, by finding the slot in which the token keeps them.

use std::sync::Arc;

use alloy::{
    primitives::{Address, U256},
    rpc::types::TransactionRequest,
    sol,
    sol_types::SolCall,
};
use jsonrpsee::core::RegisterMethodError;
use revm::context::TxEnv;
use serde_json::Value;

use super::{Answer, Module, RpcError, calls, method};
use crate::{
    evm::{Env, Session},
    node::Node,
    state::Overlay,
};

sol! {
    function balanceOf(address account) external view returns (uint256);
    function allowance(address owner, address spender) external view returns (uint256);
}

/// The most slots that are tried.
const MAX_CANDIDATES: usize = 256;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(
        module,
        &["anvil_dealERC20", "hardhat_dealERC20", "anvil_setERC20Balance"],
        |node, args| async move {
            let account: Address = args.required(0, "account")?;
            let call = balanceOfCall { account }.abi_encode();
            let (token, value) = (args.required(1, "token")?, args.number(2, "balance")?);
            make_answer(node, token, call, value).await
        },
    )?;
    method(module, &["anvil_setERC20Allowance"], |node, args| async move {
        let (owner, spender) = (args.required(0, "owner")?, args.required(1, "spender")?);
        let call = allowanceCall { owner, spender }.abi_encode();
        let (token, value) = (args.required(2, "token")?, args.number(3, "allowance")?);
        make_answer(node, token, call, value).await
    })
}

/// Changes the slot that decides what `token` answers to `call`, so that it answers `value`.
async fn make_answer(node: Arc<Node>, token: Address, call: Vec<u8>, value: U256) -> Answer {
    node.exclusively(move |node| {
        let tip = node.next_tip();
        let env = node.env(&tip).for_call();
        let overlay = Overlay::new(node.head_view());
        let request = TransactionRequest {
            to: Some(token.into()),
            input: alloy::primitives::Bytes::from(call).into(),
            ..TransactionRequest::default()
        };
        let tx = calls::call_transaction(&overlay, node.chain_id, request)?;
        let (owner, slot) = find(&env, &overlay, &tx, value)?.ok_or_else(|| {
            RpcError::Rejected(format!(
                "no slot of {token} or of what it calls holds that number as it is; set its storage with anvil_setStorageAt"
            ))
        })?;
        node.edit_slot(owner, slot, value);
        Ok(Value::Null)
    })
    .await
}

/// The slot which, set to `value`, makes the call answer it: one of those that the call reads.
fn find(env: &Env, overlay: &Overlay, tx: &TxEnv, value: U256) -> Result<Option<(Address, U256)>, RpcError> {
    let outcome = Session::new(env).execute(&mut overlay.clone(), tx.clone())?;
    let read = outcome.state.iter();
    let candidates = read.flat_map(|(address, account)| account.storage.keys().map(move |slot| (*address, *slot)));
    for (address, slot) in candidates.take(MAX_CANDIDATES) {
        let mut changed = overlay.clone();
        changed.set_slot(address, slot, value);
        let outcome = Session::new(env).execute(&mut changed, tx.clone())?;
        let answer = outcome.result.output().filter(|_| outcome.result.is_success());
        if answer.is_some_and(|answer| **answer == value.to_be_bytes::<32>()[..]) {
            return Ok(Some((address, slot)));
        }
    }
    Ok(None)
}
