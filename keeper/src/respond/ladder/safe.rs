//! Transactions of a Safe: what its owners sign, and whether what they have signed would be executed now.

use std::collections::BTreeMap;
use std::path::Path;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy::sol_types::{SolCall, SolStruct, eip712_domain};
use serde_json::Value;

use crate::chain::{CallError, Rpc};

mod abi {
    // What `sol!` makes of the interface needs no words of ours.
    #![allow(missing_docs, unreachable_pub, clippy::too_many_arguments)]

    alloy::sol! {
        interface ISafe {
            function nonce() external view returns (uint256);
            function getThreshold() external view returns (uint256);
            function getOwners() external view returns (address[] memory);
            function execTransaction(address to, uint256 value, bytes calldata data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes calldata signatures) external payable returns (bool success);
        }

        #[derive(Debug, PartialEq, Eq)]
        struct SafeTx {
            address to;
            uint256 value;
            bytes data;
            uint8 operation;
            uint256 safeTxGas;
            uint256 baseGas;
            uint256 gasPrice;
            address gasToken;
            address refundReceiver;
            uint256 nonce;
        }
    }
}

pub(crate) use abi::{ISafe, SafeTx};

/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;
/// Length of a signature.
const SIGNATURE: usize = 65;

/// Why a file holds no signed transaction.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignedError {
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{key}` is missing, or is not {wanted}")]
    Field { key: &'static str, wanted: &'static str },
    #[error("it is for the Safe {found}, not for {wanted}")]
    OtherSafe { found: Address, wanted: Address },
    #[error(
        "what is signed has the hash {signed}, the file says {said}: it was changed after it was signed, or is of another chain"
    )]
    Changed { signed: B256, said: B256 },
}

/// A transaction that owners have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedSafeTx {
    pub(crate) safe: Address,
    pub(crate) tx: SafeTx,
    /// The owners' signatures, in the order that the Safe wants.
    pub(crate) signatures: Bytes,
    /// Who has signed, as far as that can be told without the chain.
    pub(crate) signers: Vec<Address>,
}

/// What a Safe says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SafeState {
    pub(crate) nonce: U256,
    pub(crate) threshold: U256,
    pub(crate) owners: Vec<Address>,
}

/// The hash that owners of a Safe (1.3 and later) sign.
pub(crate) fn hash(tx: &SafeTx, chain_id: u64, safe: Address) -> B256 {
    tx.eip712_signing_hash(&eip712_domain! { chain_id: chain_id, verifying_contract: safe, })
}

/// A plain call of a Safe, without refunds.
pub(crate) fn plain(to: Address, data: Bytes, nonce: U256) -> SafeTx {
    SafeTx {
        to,
        value: U256::ZERO,
        data,
        operation: 0,
        safeTxGas: U256::ZERO,
        baseGas: U256::ZERO,
        gasPrice: U256::ZERO,
        gasToken: Address::ZERO,
        refundReceiver: Address::ZERO,
        nonce,
    }
}

impl SignedSafeTx {
    /// Reads a file: what the Safe Transaction Service answers for a transaction, or the same with `signatures` instead of
    /// `confirmations`.
    pub(crate) fn read(file: &Path, chain_id: u64, safe: Address) -> Result<Self, SignedError> {
        if std::fs::metadata(file)?.len() > LONGEST {
            return Err(SignedError::Long);
        }
        Self::parse(&std::fs::read_to_string(file)?, chain_id, safe)
    }

    pub(crate) fn parse(text: &str, chain_id: u64, safe: Address) -> Result<Self, SignedError> {
        let value: Value = serde_json::from_str(text)?;
        let found = address(&value, "safe")?;
        if found != safe {
            return Err(SignedError::OtherSafe { found, wanted: safe });
        }
        let tx = SafeTx {
            to: address(&value, "to")?,
            value: number(&value, "value")?,
            data: data(&value)?,
            operation: u8::try_from(number(&value, "operation")?)
                .ok()
                .filter(|operation| *operation <= 1)
                .ok_or(SignedError::Field {
                    key: "operation",
                    wanted: "0 or 1",
                })?,
            safeTxGas: number(&value, "safeTxGas")?,
            baseGas: number(&value, "baseGas")?,
            gasPrice: number(&value, "gasPrice")?,
            gasToken: optional_address(&value, "gasToken")?,
            refundReceiver: optional_address(&value, "refundReceiver")?,
            nonce: number(&value, "nonce")?,
        };
        let digest = hash(&tx, chain_id, safe);
        if let Some(said) = value.get("safeTxHash").and_then(Value::as_str) {
            let said: B256 = said.parse().map_err(|_| SignedError::Field {
                key: "safeTxHash",
                wanted: "a hash",
            })?;
            if said != digest {
                return Err(SignedError::Changed { signed: digest, said });
            }
        }
        let (signatures, signers) = signatures(&value, digest)?;
        Ok(Self {
            safe,
            tx,
            signatures,
            signers,
        })
    }

    /// The call that anybody may send.
    pub(crate) fn call(&self) -> Bytes {
        let tx = self.tx.clone();
        ISafe::execTransactionCall {
            to: tx.to,
            value: tx.value,
            data: tx.data,
            operation: tx.operation,
            safeTxGas: tx.safeTxGas,
            baseGas: tx.baseGas,
            gasPrice: tx.gasPrice,
            gasToken: tx.gasToken,
            refundReceiver: tx.refundReceiver,
            signatures: self.signatures.clone(),
        }
        .abi_encode()
        .into()
    }

    /// Why the Safe would not execute it as it is now; `None` when nothing is known against it.
    pub(crate) fn trouble(&self, state: &SafeState) -> Option<String> {
        if self.tx.nonce < state.nonce {
            return Some(format!(
                "it is signed for nonce {}, and the Safe is at {}: let the owners sign anew",
                self.tx.nonce, state.nonce
            ));
        }
        if self.tx.nonce > state.nonce {
            return Some(format!(
                "it is signed for nonce {}, and the Safe is at {}: others have to be executed first",
                self.tx.nonce, state.nonce
            ));
        }
        let count = self.signatures.len() / SIGNATURE;
        if U256::from(count) < state.threshold {
            return Some(format!(
                "{count} owners have signed, the Safe wants {}",
                state.threshold
            ));
        }
        let stranger = self.signers.iter().find(|signer| !state.owners.contains(signer));
        stranger.map(|signer| format!("{signer} has signed, who is not (or no more) an owner of the Safe"))
    }
}

fn field<'a>(value: &'a Value, key: &'static str, wanted: &'static str) -> Result<&'a Value, SignedError> {
    value.get(key).ok_or(SignedError::Field { key, wanted })
}

fn address(value: &Value, key: &'static str) -> Result<Address, SignedError> {
    const WANTED: &str = "an address";
    let text = field(value, key, WANTED)?.as_str().unwrap_or_default();
    text.parse().map_err(|_| SignedError::Field { key, wanted: WANTED })
}

fn optional_address(value: &Value, key: &'static str) -> Result<Address, SignedError> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(Address::ZERO),
        Some(_) => address(value, key),
    }
}

/// A number, or a text of digits: the service answers either.
fn number(value: &Value, key: &'static str) -> Result<U256, SignedError> {
    const WANTED: &str = "a whole number";
    let error = || SignedError::Field { key, wanted: WANTED };
    match field(value, key, WANTED)? {
        Value::Number(number) => number.to_string().parse().map_err(|_| error()),
        Value::String(text) => text.parse().map_err(|_| error()),
        _ => Err(error()),
    }
}

fn data(value: &Value) -> Result<Bytes, SignedError> {
    match value.get("data") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(data) => bytes(data).ok_or(SignedError::Field {
            key: "data",
            wanted: "bytes in hex",
        }),
    }
}

fn bytes(value: &Value) -> Option<Bytes> {
    value.as_str()?.parse().ok()
}

/// The signatures in order, and who made those that can be recovered.
fn signatures(value: &Value, digest: B256) -> Result<(Bytes, Vec<Address>), SignedError> {
    let wanted = SignedError::Field {
        key: "confirmations",
        wanted: "a list of { owner, signature } with 65 bytes each (or `signatures` in hex)",
    };
    if let Some(together) = value.get("signatures").filter(|value| !value.is_null()) {
        let together = bytes(together).filter(|bytes| bytes.len() >= SIGNATURE).ok_or(wanted)?;
        // Dynamic parts of contracts' signatures follow the fixed ones; they are the Safe's to read.
        let signers = together
            .chunks_exact(SIGNATURE)
            .filter_map(|part| recover(part, digest))
            .collect();
        return Ok((together, signers));
    }
    let Some(list) = value.get("confirmations").and_then(Value::as_array) else {
        return Err(wanted);
    };
    let mut by_owner = BTreeMap::new();
    let mut signers = Vec::new();
    for confirmation in list {
        let owner = address(confirmation, "owner")?;
        let signature = confirmation.get("signature").and_then(bytes);
        let Some(signature) = signature.filter(|bytes| bytes.len() == SIGNATURE) else {
            return Err(wanted);
        };
        signers.extend(recover(&signature, digest));
        by_owner.insert(owner, signature);
    }
    if by_owner.is_empty() {
        return Err(wanted);
    }
    Ok((by_owner.into_values().flatten().collect::<Vec<u8>>().into(), signers))
}

/// Who made a signature: of the hash (v 27, 28) or of a message with it (v 31, 32). Others are for the Safe to judge.
fn recover(part: &[u8], digest: B256) -> Option<Address> {
    let (rs, v) = part.split_at_checked(SIGNATURE - 1)?;
    let v = *v.first()?;
    let (parity, signed) = match v {
        27 | 28 => (v == 28, digest),
        31 | 32 => {
            let message = [b"\x19Ethereum Signed Message:\n32".as_slice(), digest.as_slice()].concat();
            (v == 32, keccak256(message))
        }
        _ => return None,
    };
    Signature::from_bytes_and_parity(rs, parity)
        .recover_address_from_prehash(&signed)
        .ok()
}

/// What the Safe says of itself at the newest block.
pub(crate) async fn state(rpc: &Rpc, safe: Address) -> Result<SafeState, CallError> {
    let ask = |data: Vec<u8>| rpc.call(None, safe, data.into(), None, BlockId::latest());
    let (nonce, threshold, owners) = futures::future::try_join3(
        ask(ISafe::nonceCall {}.abi_encode()),
        ask(ISafe::getThresholdCall {}.abi_encode()),
        ask(ISafe::getOwnersCall {}.abi_encode()),
    )
    .await?;
    let no_safe = |_| CallError::Reverted(Bytes::new());
    Ok(SafeState {
        nonce: ISafe::nonceCall::abi_decode_returns(&nonce).map_err(no_safe)?,
        threshold: ISafe::getThresholdCall::abi_decode_returns(&threshold).map_err(no_safe)?,
        owners: ISafe::getOwnersCall::abi_decode_returns(&owners).map_err(no_safe)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use alloy::signers::SignerSync;
    use alloy::signers::local::PrivateKeySigner;
    use serde_json::json;

    const SAFE: Address = Address::repeat_byte(0x5a);

    fn signed(keys: &[PrivateKeySigner], nonce: u64) -> Value {
        let tx = plain(Address::repeat_byte(9), Bytes::from_static(b"halt"), U256::from(nonce));
        let digest = hash(&tx, 42_161, SAFE);
        let confirmations: Vec<Value> = keys
            .iter()
            .map(|key| {
                let signature = key.sign_hash_sync(&digest).unwrap();
                json!({ "owner": key.address(), "signature": Bytes::from(signature.as_bytes().to_vec()) })
            })
            .collect();
        json!({
            "safe": SAFE, "to": tx.to, "value": "0", "data": tx.data, "operation": 0, "safeTxGas": 0, "baseGas": 0,
            "gasPrice": "0", "gasToken": null, "refundReceiver": null, "nonce": nonce, "safeTxHash": digest,
            "confirmations": confirmations,
        })
    }

    fn parse(value: &Value) -> Result<SignedSafeTx, String> {
        SignedSafeTx::parse(&value.to_string(), 42_161, SAFE).map_err(|error| error.to_string())
    }

    #[test]
    fn signatures_are_put_in_the_safe_s_order_and_their_makers_known() {
        let keys: Vec<PrivateKeySigner> = (0..4).map(|_| PrivateKeySigner::random()).collect();
        let read = parse(&signed(&keys, 3)).unwrap();
        let mut owners: Vec<Address> = keys.iter().map(PrivateKeySigner::address).collect();
        owners.sort();
        let in_order: Vec<Address> = read
            .signatures
            .chunks_exact(65)
            .filter_map(|part| recover(part, hash(&read.tx, 42_161, SAFE)))
            .collect();
        assert_eq!(in_order, owners);
        let state = |nonce: u64, threshold: u64| SafeState {
            nonce: U256::from(nonce),
            threshold: U256::from(threshold),
            owners: owners.clone(),
        };
        assert_eq!(read.trouble(&state(3, 4)), None);
        assert!(read.trouble(&state(4, 4)).unwrap().contains("sign anew"));
        assert!(read.trouble(&state(2, 4)).unwrap().contains("executed first"));
        assert!(read.trouble(&state(3, 5)).unwrap().contains("4 owners have signed"));
        let fewer = SafeState {
            owners: owners[1..].to_vec(),
            ..state(3, 3)
        };
        assert!(read.trouble(&fewer).unwrap().contains("no more"));
    }

    #[test]
    fn a_file_that_was_changed_or_is_another_safe_s_is_refused() {
        let good = signed(&[PrivateKeySigner::random()], 0);
        let with = |key: &str, value: Value| {
            let mut changed = good.clone();
            changed[key] = value;
            parse(&changed).unwrap_err()
        };
        assert!(with("data", json!("0x00")).contains("it was changed after it was signed"));
        assert!(with("safe", json!(Address::ZERO)).contains("not for"));
        assert!(with("nonce", json!("x")).contains("`nonce` is missing"));
        assert!(with("operation", json!(2)).contains("0 or 1"));
        assert!(with("confirmations", json!([])).contains("confirmations"));
        assert!(parse(&json!([])).is_err());
    }

    #[test]
    fn a_signature_of_a_message_is_known_too() {
        let key = PrivateKeySigner::random();
        let digest = B256::repeat_byte(7);
        let mut part = key.sign_message_sync(digest.as_slice()).unwrap().as_bytes().to_vec();
        part[64] += 4;
        assert_eq!(recover(&part, digest), Some(key.address()));
        part[64] = 1;
        assert_eq!(recover(&part, digest), None);
    }
}
