//! Reading back what was deployed, and trying what the guard will have to do.

use std::collections::BTreeMap;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;

use super::guard::{programs_of, roles};
use super::{CallFailure, DeployError};
use crate::build::Artifacts;
use crate::chain::{ChainError, code, explain, explain_call};
use crate::compile::CompiledConfig;
use crate::config::Config;
use crate::guard::ICordonGuard::{self, Role};

/// Makes sure that every contract which is read or called has code: named ones with an interface, callers, targets of calls.
pub async fn check_contracts<P: Provider>(
    provider: &P,
    config: &Config,
    compiled: &CompiledConfig,
) -> Result<(), DeployError> {
    let mut wanted: BTreeMap<Address, String> = BTreeMap::new();
    for (name, contract) in config.contracts.iter().filter(|(_, contract)| !contract.abi.is_empty()) {
        wanted.insert(contract.address, name.to_owned());
    }
    for caller in &config.guard.callers {
        wanted.insert(caller.address, caller.name.clone());
    }
    for call in &compiled.containments {
        wanted.entry(call.target).or_insert_with(|| call.id.clone());
    }
    let mut missing = Vec::new();
    for (address, name) in wanted {
        if code(provider, address).await?.is_empty() {
            missing.push((name, address));
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(DeployError::NoCode(missing))
    }
}

/// Compares the guard with the configuration by reading it: programs, governor, roles, rulebook.
pub async fn verify_guard<P: Provider>(
    provider: &P,
    guard: Address,
    config: &Config,
    compiled: &CompiledConfig,
    artifacts: Option<&Artifacts>,
) -> Result<(), DeployError> {
    let contract = ICordonGuard::new(guard, provider);
    let mut differences = Vec::new();
    let accounts = std::iter::once(guard).chain(programs_of(provider, guard).await?);
    for (account, program) in accounts.zip(artifacts.iter().flat_map(|built| built.all())) {
        let found = keccak256(code(provider, account).await?);
        if program.code_hash() != found {
            differences.push(format!(
                "the program {} {account} has code hash {found}, built is {}",
                program.name,
                program.code_hash()
            ));
        }
    }
    let state = contract
        .governor()
        .call()
        .await
        .map_err(|e| explain_call("reading the guard's governor", e))?;
    if let Some(governor) = config
        .guard
        .governor
        .filter(|g| *g != state.current && *g != state.proposed)
    {
        differences.push(format!("its governor is {}, configured is {governor}", state.current));
    }
    if state.delay != config.guard.governor_delay {
        differences.push(format!(
            "its governor's delay is {} s, configured is {} s",
            state.delay, config.guard.governor_delay
        ));
    }
    let closes = contract
        .closes()
        .call()
        .await
        .map_err(|e| explain_call("reading what the guard's levels close", e))?;
    if closes != config.guard.matrix.bits() {
        differences.push(format!(
            "its levels close {closes:#x}, configured is {:#x}",
            config.guard.matrix.bits()
        ));
    }
    for (role, account) in roles(&config.guard) {
        let granted = contract
            .hasRole(role, account)
            .call()
            .await
            .map_err(|e| explain_call("reading the guard's roles", e))?;
        // A seal that was used is none any more, as it should be.
        let used = role == Role::Seal && state.isSealed;
        if !granted && !used {
            differences.push(format!("{account} has not the role {role:?}"));
        }
    }
    let adopted = contract
        .rulebook()
        .call()
        .await
        .map_err(|e| explain_call("reading the guard's rulebook", e))?;
    let book = keccak256(code(provider, adopted.book).await?);
    if adopted.codeHash != compiled.code_hash() || book != adopted.codeHash {
        differences.push(format!(
            "its rulebook {} has code hash {}, configured is {}",
            adopted.book,
            adopted.codeHash,
            compiled.code_hash()
        ));
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(DeployError::Differs { guard, differences })
    }
}

/// Tries every containment call as the guard, without sending it: one that reverts now would revert in an incident. A call
/// whose effect is there already counts as well, so a protocol should be in its normal state.
pub async fn check_containment<P: Provider>(
    provider: &P,
    guard: Address,
    compiled: &CompiledConfig,
) -> Result<(), DeployError> {
    let mut failures = Vec::new();
    for (meta, call) in compiled.containments.iter().zip(&compiled.rulebook.containments) {
        let mut fail = |reason: String| {
            failures.push(CallFailure {
                id: meta.id.clone(),
                call: meta.call.clone(),
                reason,
            });
        };
        if code(provider, call.target).await?.is_empty() {
            fail(format!("{} has no code", call.target));
            continue;
        }
        let request = TransactionRequest::default()
            .with_from(guard)
            .with_to(call.target)
            .with_gas_limit(u64::from(call.gas).saturating_add(CALL_OVERHEAD))
            .with_input(call.calldata.clone());
        if let Err(error) = provider.call(request).await {
            match explain(&meta.call, &error) {
                ChainError::Reverted { reason, .. } => fail(format!("reverted with {reason}")),
                ChainError::Refused { reason, .. } => fail(reason),
                other => return Err(other.into()),
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(DeployError::CallsFail { guard, failures })
    }
}

/// What a transaction costs before its call begins: 21,000 gas and up to 64 words of calldata, all bytes not zero.
const CALL_OVERHEAD: u64 = 21_000 + 64 * 32 * 16;
