//! Impersonation, and edits of accounts.

use std::sync::Arc;

use alloy::primitives::{Address, Bytes};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{Answer, Args, Module, RpcError, method};
use crate::{node::Node, programs::WASM_MAGIC, state::Overlay};

/// The most signatures that can be impersonated.
const MAX_SIGNATURES: usize = 10_000;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(
        module,
        &["anvil_impersonateAccount", "hardhat_impersonateAccount"],
        |node, args| impersonate(node, args, true),
    )?;
    method(
        module,
        &["anvil_stopImpersonatingAccount", "hardhat_stopImpersonatingAccount"],
        |node, args| impersonate(node, args, false),
    )?;
    method(
        module,
        &["anvil_autoImpersonateAccount", "hardhat_autoImpersonateAccount"],
        |node, args| async move {
            node.cheats.write().auto_impersonate = args.required(0, "enabled")?;
            Ok(Value::Null)
        },
    )?;
    method(module, &["anvil_impersonateSignature"], impersonate_signature)?;
    method(
        module,
        &["anvil_setBalance", "hardhat_setBalance", "tenderly_setBalance"],
        set_balance,
    )?;
    method(
        module,
        &["anvil_addBalance", "hardhat_addBalance", "tenderly_addBalance"],
        add_balance,
    )?;
    method(module, &["anvil_setCode", "hardhat_setCode"], set_code)?;
    method(module, &["cordon_deployStylus"], deploy_stylus)?;
    method(
        module,
        &["anvil_setNonce", "hardhat_setNonce", "evm_setAccountNonce"],
        set_nonce,
    )?;
    method(module, &["anvil_setStorageAt", "hardhat_setStorageAt"], set_storage)?;
    method(
        module,
        &["anvil_setCoinbase", "hardhat_setCoinbase"],
        |node, args| async move {
            node.cheats.write().coinbase = args.required(0, "address")?;
            Ok(Value::Null)
        },
    )
}

async fn impersonate(node: Arc<Node>, args: Args, on: bool) -> Answer {
    let address: Address = args.required(0, "address")?;
    let mut cheats = node.cheats.write();
    if on {
        cheats.impersonated.insert(address);
    } else {
        cheats.impersonated.remove(&address);
    }
    Ok(Value::Null)
}

/// Lets the precompile that recovers signers answer an account for a signature of 65 bytes, whatever was signed.
async fn impersonate_signature(node: Arc<Node>, args: Args) -> Answer {
    // As anvil takes it, a pair in one parameter, or as two.
    let (signature, address): (Bytes, Address) = match args.raw(0) {
        Some(Value::Array(_)) => args.required(0, "[signature, address]")?,
        _ => (args.required(0, "signature")?, args.required(1, "address")?),
    };
    let signature = <[u8; 65]>::try_from(signature.as_ref()).map_err(|_| {
        RpcError::Params(format!(
            "a signature has 65 bytes (r, s and v), not {}",
            signature.len()
        ))
    })?;
    let mut cheats = node.cheats.write();
    if cheats.signatures.len() >= MAX_SIGNATURES && !cheats.signatures.contains_key(&signature) {
        return Err(RpcError::Rejected(format!(
            "{MAX_SIGNATURES} signatures are impersonated already; anvil_reset forgets them"
        )));
    }
    // Blocks and calls that run have the set as it was when they began.
    Arc::make_mut(&mut cheats.signatures).insert(signature, address);
    Ok(Value::Null)
}

async fn set_balance(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let balance = args.number(1, "wei")?;
    node.exclusively(move |node| node.edit_account(address, |info| info.balance = balance))
        .await?;
    Ok(Value::Null)
}

async fn add_balance(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let wei = args.number(1, "wei")?;
    node.exclusively(move |node| node.edit_account(address, |info| info.balance = info.balance.saturating_add(wei)))
        .await?;
    Ok(Value::Null)
}

async fn set_code(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let code: Bytes = args.required(1, "code")?;
    node.exclusively(move |node| {
        let mut overlay = Overlay::new(node.head_view());
        // A module as the compiler writes it becomes a program that can be called.
        if code.starts_with(WASM_MAGIC) {
            node.install_program(&mut overlay, address, &code, node.next_tip().timestamp)?;
        } else {
            overlay.set_code(address, code)?;
        }
        node.commit_edit(overlay);
        Ok(())
    })
    .await?;
    Ok(Value::Null)
}

/// Puts a program where the next creation of an account would: its module in, its address and code hash out.
async fn deploy_stylus(node: Arc<Node>, args: Args) -> Answer {
    let wasm: Bytes = args.required(0, "module")?;
    let given: Option<Address> = args.optional(1, "creator")?;
    let creator = given.or_else(|| node.accounts.order.first().copied());
    let creator = creator.ok_or_else(|| {
        RpcError::Params("parameter 2 (`creator`) is missing and the node has no accounts".to_owned())
    })?;
    node.exclusively(move |node| {
        let mut overlay = Overlay::new(node.head_view());
        let mut info = overlay.account(creator)?;
        let address = creator.create(info.nonce);
        info.nonce = info.nonce.saturating_add(1);
        let nonce = info.nonce;
        overlay.set_account(creator, info);
        let mut program = overlay.account(address)?;
        program.nonce = 1;
        overlay.set_account(address, program);
        let code_hash = node.install_program(&mut overlay, address, &wasm, node.next_tip().timestamp)?;
        node.commit_edit(overlay);
        node.pool.lock().prune(&creator, nonce);
        Ok(json!({ "address": address, "codeHash": code_hash }))
    })
    .await
}

async fn set_nonce(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let nonce = args.u64(1, "nonce")?;
    node.exclusively(move |node| {
        node.edit_account(address, |info| info.nonce = nonce)?;
        node.pool.lock().prune(&address, nonce);
        Ok(())
    })
    .await?;
    Ok(Value::Null)
}

async fn set_storage(node: Arc<Node>, args: Args) -> Answer {
    let address: Address = args.required(0, "address")?;
    let slot = args.number(1, "slot")?;
    let value = args.number(2, "value")?;
    node.exclusively(move |node| {
        node.edit_slot(address, slot, value);
        Ok(())
    })
    .await?;
    Ok(json!(true))
}
