//! What is checked on the chain before a keeper is set up.

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;

use crate::chain::Rpc;
use crate::error::KeeperError;

/// Checks that `guard` is a guard with the rulebook that the configuration compiles to.
pub(super) async fn check_guard(rpc: &Rpc, guard: Address, version: B256) -> Result<(), KeeperError> {
    if !rpc.has_code(guard).await? {
        return Err(KeeperError::NoCode {
            guard,
            chain_id: rpc.chain_id(),
        });
    }
    let answer = rpc
        .call(
            None,
            guard,
            Guard::rulebookCall {}.abi_encode().into(),
            None,
            BlockId::latest(),
        )
        .await
        .map_err(|error| KeeperError::view(guard, "rulebook()", error))?;
    let held = Guard::rulebookCall::abi_decode_returns(&answer).map_err(|error| KeeperError::NotAGuard {
        guard,
        what: "rulebook()",
        reason: error.to_string(),
    })?;
    if held.codeHash != version {
        return Err(KeeperError::OtherRulebook {
            adopted: held.codeHash,
            compiled: version,
        });
    }
    Ok(())
}

/// Checks that an account can pay, and has the role that it needs.
pub(super) async fn check_account(
    rpc: &Rpc,
    guard: Address,
    account: Address,
    role: Option<Guard::Role>,
) -> Result<(), KeeperError> {
    if let Some(role) = role {
        let data = Guard::hasRoleCall { role, account }.abi_encode().into();
        let answer = rpc
            .call(None, guard, data, None, BlockId::latest())
            .await
            .map_err(|error| KeeperError::view(guard, "hasRole", error))?;
        let has = Guard::hasRoleCall::abi_decode_returns(&answer).map_err(|error| KeeperError::NotAGuard {
            guard,
            what: "hasRole",
            reason: error.to_string(),
        })?;
        if !has {
            let role = if matches!(role, Guard::Role::Heartbeat) {
                "Heartbeat"
            } else {
                "Keeper"
            };
            return Err(KeeperError::MissingRole { account, role, guard });
        }
    }
    if rpc.balance(account).await? == U256::ZERO {
        return Err(KeeperError::NoFunds {
            account,
            chain_id: rpc.chain_id(),
        });
    }
    Ok(())
}
