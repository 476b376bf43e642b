//! Revert data in words.

use alloy::primitives::hex;
use alloy::sol_types::{ContractError, SolInterface};

use crate::guard::ICordonGuard::ICordonGuardErrors;
use crate::limiter::ICordonLimiter::ICordonLimiterErrors;
use crate::precompiles::{ArbWasm::ArbWasmErrors, StylusDeployer::StylusDeployerErrors};

/// Revert data in words: texts of `require`, panics, the errors of guard, limiter, ArbWasm and StylusDeployer by name; other data
/// in hex.
pub fn revert_reason(data: &[u8]) -> String {
    if data.is_empty() {
        return "no reason".to_owned();
    }
    if let Ok(error) = ContractError::<ICordonGuardErrors>::abi_decode(data) {
        return match error {
            ContractError::CustomError(error) => named(&format!("{error:?}")).to_owned(),
            ContractError::Revert(revert) => format!("\"{}\"", revert.reason),
            ContractError::Panic(panic) => panic.to_string(),
        };
    }
    if let Ok(error) = ICordonLimiterErrors::abi_decode(data) {
        return named(&format!("{error:?}")).to_owned();
    }
    if let Ok(error) = ArbWasmErrors::abi_decode(data) {
        return named(&format!("{error:?}")).to_owned();
    }
    if let Ok(error) = StylusDeployerErrors::abi_decode(data) {
        // Both carry the revert data of what they called.
        return match error {
            StylusDeployerErrors::ContractInitializationError(inner) => {
                format!(
                    "initialization of {} failed: {}",
                    inner.newContract,
                    revert_reason(&inner.data)
                )
            }
            StylusDeployerErrors::ContractDeploymentError(_) => {
                "the contract could not be created; an account of this address may exist already".to_owned()
            }
            other => named(&format!("{other:?}")).to_owned(),
        };
    }
    hex::encode_prefixed(data)
}

/// `Name { value: 1 }` out of `Name(Name { value: 1 })`, as a variant of the generated enums is written.
fn named(debug: &str) -> &str {
    debug
        .split_once('(')
        .and_then(|(name, rest)| rest.strip_suffix(')').filter(|inner| inner.starts_with(name)))
        .unwrap_or(debug)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::address;
    use alloy::sol_types::{Revert, SolError};

    use super::*;
    use crate::guard::ICordonGuard;
    use crate::precompiles::StylusDeployer;

    #[test]
    fn reverts_are_named() {
        let role = ICordonGuard::MissingRole {
            role: ICordonGuard::Role::Keeper,
            caller: address!("0x00000000000000000000000000000000000000aa"),
        };
        assert_eq!(
            revert_reason(&role.abi_encode()),
            "MissingRole { role: Keeper, caller: 0x00000000000000000000000000000000000000aa }"
        );
        assert_eq!(revert_reason(&Revert::from("33").abi_encode()), "\"33\"");
        assert_eq!(revert_reason(&[]), "no reason");
        assert_eq!(revert_reason(&[0xde, 0xad]), "0xdead");
        let nested = StylusDeployer::ContractInitializationError {
            newContract: address!("0x00000000000000000000000000000000000000bb"),
            data: ICordonGuard::AlreadyInitialized {}.abi_encode().into(),
        };
        assert_eq!(
            revert_reason(&nested.abi_encode()),
            "initialization of 0x00000000000000000000000000000000000000bb failed: AlreadyInitialized"
        );
    }
}
