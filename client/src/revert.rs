//! Revert data in words.

use alloy::dyn_abi::{DynSolValue, ErrorExt};
use alloy::json_abi::Error as AbiError;
use alloy::primitives::{U256, hex};
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
            ContractError::Panic(panic) => panic_words(panic.code),
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

/// A panic of Solidity in words: its code, and what the compiler means by it.
fn panic_words(code: U256) -> String {
    let meaning = match u64::try_from(code).unwrap_or(u64::MAX) {
        0x00 => "a panic that the compiler has inserted",
        0x01 => "an assert failed",
        0x11 => "a number became too large or too small (overflow or underflow)",
        0x12 => "a division, or a remainder, by zero",
        0x21 => "a number that is no value of the enum",
        0x22 => "bytes in storage that are encoded wrongly",
        0x31 => "pop of an empty array",
        0x32 => "an index beyond the end of an array",
        0x41 => "too much memory, or an array that is too large",
        0x51 => "a call of an internal function that was never set",
        _ => "a code that the compiler does not document",
    };
    format!("Panic {code:#04x}: {meaning}")
}

/// Revert data in words, with the errors that a contract declares itself: `Name(value, value)`. What is longer than `LONGEST` characters
/// is cut.
pub fn revert_words(data: &[u8], declared: &[AbiError]) -> String {
    const LONGEST: usize = 400;
    let own = declared
        .iter()
        .find(|error| data.starts_with(error.selector().as_slice()));
    let words = own.and_then(|error| {
        let decoded = error.decode_error(data).ok()?;
        let values: Vec<String> = decoded.body.iter().map(value_words).collect();
        Some(format!("{}({})", error.name, values.join(", ")))
    });
    let words = words.unwrap_or_else(|| revert_reason(data));
    if words.chars().count() <= LONGEST {
        return words;
    }
    words.chars().take(LONGEST).chain(['…']).collect()
}

fn value_words(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::Int(number, _) => number.to_string(),
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::Bool(flag) => flag.to_string(),
        DynSolValue::String(text) => format!("\"{text}\""),
        DynSolValue::FixedBytes(word, size) => hex::encode_prefixed(word.get(..*size).unwrap_or(word.as_slice())),
        DynSolValue::Bytes(bytes) => hex::encode_prefixed(bytes),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            let values: Vec<String> = values.iter().map(value_words).collect();
            format!("[{}]", values.join(", "))
        }
        DynSolValue::Function(_) => "a function".to_owned(),
    }
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
    use alloy::sol_types::{Panic, PanicKind, Revert, SolError};

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
        let panic = |kind| revert_reason(&Panic::from(kind).abi_encode());
        assert_eq!(panic(PanicKind::Assert), "Panic 0x01: an assert failed");
        assert!(panic(PanicKind::UnderOverflow).starts_with("Panic 0x11: a number became"));
        let unknown = Panic { code: U256::from(0x77) };
        assert!(revert_reason(&unknown.abi_encode()).starts_with("Panic 0x77: a code that"));
        let nested = StylusDeployer::ContractInitializationError {
            newContract: address!("0x00000000000000000000000000000000000000bb"),
            data: ICordonGuard::AlreadyInitialized {}.abi_encode().into(),
        };
        assert_eq!(
            revert_reason(&nested.abi_encode()),
            "initialization of 0x00000000000000000000000000000000000000bb failed: AlreadyInitialized"
        );
    }

    #[test]
    fn a_contracts_own_errors_are_named_and_bounded() {
        let declared: Vec<AbiError> = ["error Short(address who, uint256 by)", "error Said(string what)"]
            .into_iter()
            .filter_map(|text| AbiError::parse(text).ok())
            .collect();
        assert_eq!(declared.len(), 2);
        let short = [
            declared
                .first()
                .map(|error| error.selector().to_vec())
                .unwrap_or_default(),
            vec![0; 31],
            vec![0xaa],
            vec![0; 31],
            vec![7],
        ];
        // The address ends with 0xaa.
        assert_eq!(
            revert_words(&short.concat(), &declared),
            "Short(0x00000000000000000000000000000000000000AA, 7)"
        );
        assert_eq!(revert_words(&Revert::from("no").abi_encode(), &declared), "\"no\"");
        assert_eq!(revert_words(&[0xde, 0xad, 0xbe, 0xef], &declared), "0xdeadbeef");
        let long = revert_words(&Revert::from("x".repeat(5_000)).abi_encode(), &declared);
        assert_eq!(long.chars().count(), 401);
    }
}
