//! The states of older blocks in a dump, in the form that anvil gives them: each whole, under the hash of its block.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    dump::{Accounts, DumpError, DumpedAccount},
    state::raw_bytecode,
};

/// How code begins that only points to another account (EIP-7702).
const DELEGATION: [u8; 3] = [0xef, 0x01, 0x00];

/// A state as anvil keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    accounts: BTreeMap<Address, SnapshotAccount>,
    #[serde(default)]
    storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    /// Hashes for the opcode, which follow from the blocks of the dump.
    #[serde(default)]
    block_hashes: BTreeMap<U256, B256>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct SnapshotAccount {
    balance: U256,
    nonce: u64,
    code_hash: B256,
    /// As the EVM keeps it: with the places that can be jumped to, which are not believed but found again.
    #[serde(default)]
    code: Value,
}

impl Snapshot {
    pub(crate) fn new(accounts: Accounts) -> Result<Self, DumpError> {
        let mut snapshot = Self::default();
        for (address, account) in accounts {
            let known = SnapshotAccount {
                balance: account.balance,
                nonce: account.nonce,
                code_hash: keccak256(&account.code),
                code: serde_json::to_value(raw_bytecode(account.code))
                    .map_err(|error| DumpError::Format(error.to_string()))?,
            };
            let slots = account.storage.into_iter();
            let slots = slots.map(|(slot, value)| (slot.into(), value.into())).collect();
            snapshot.accounts.insert(address, known);
            snapshot.storage.insert(address, slots);
        }
        Ok(snapshot)
    }

    /// The accounts of this state.
    pub(crate) fn accounts(&self) -> Result<Accounts, DumpError> {
        let mut accounts = Accounts::new();
        for (address, account) in &self.accounts {
            let code = code(&account.code)
                .filter(|code| keccak256(code) == account.code_hash || code.is_empty() && account.code_hash.is_zero())
                .ok_or_else(|| {
                    DumpError::Format(format!(
                        "the code of account {address} in a historical state is not understood, or not of its hash"
                    ))
                })?;
            let slots = self.storage.get(address).into_iter().flatten();
            let account = DumpedAccount {
                nonce: account.nonce,
                balance: account.balance,
                code,
                storage: slots.map(|(slot, value)| ((*slot).into(), (*value).into())).collect(),
            };
            accounts.insert(*address, account);
        }
        Ok(accounts)
    }
}

/// The bytes of code in the forms in which the EVM's library has written it.
fn code(code: &Value) -> Option<Bytes> {
    let bytes = |value: &Value| value.as_str()?.parse::<Bytes>().ok();
    if code.is_null() {
        return Some(Bytes::new());
    }
    if let Some(raw) = code.get("LegacyRaw") {
        return bytes(raw);
    }
    if let Some(analyzed) = code.get("LegacyAnalyzed") {
        let padded = bytes(analyzed.get("bytecode")?)?;
        let length = usize::try_from(analyzed.get("original_len")?.as_u64()?).ok()?;
        return (length <= padded.len()).then(|| padded.slice(..length));
    }
    let delegated = code.get("Eip7702")?.get("delegated_address")?.as_str()?;
    let delegated: Address = delegated.parse().ok()?;
    Some([DELEGATION.as_slice(), delegated.as_slice()].concat().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn account(code: &[u8]) -> DumpedAccount {
        DumpedAccount {
            nonce: 7,
            balance: U256::from(8),
            code: Bytes::copy_from_slice(code),
            storage: BTreeMap::from([(B256::with_last_byte(1), B256::with_last_byte(2))]),
        }
    }

    #[test]
    fn accounts_come_back_as_they_were_whatever_their_code() {
        let delegated = [DELEGATION.as_slice(), &[5; 20]].concat();
        let codes: [&[u8]; 4] = [&[], &[0x5b, 0x60], &delegated, &[0xef, 0xf0, 0x00, 0x01]];
        let accounts: Accounts = (1..)
            .zip(codes)
            .map(|(byte, code)| (Address::repeat_byte(byte), account(code)))
            .collect();
        let snapshot = Snapshot::new(accounts.clone()).unwrap();
        let text = serde_json::to_string(&snapshot).unwrap();
        let read: Snapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(read.accounts().unwrap(), accounts);
    }

    #[test]
    fn code_that_is_not_what_it_says_is_refused() {
        for code in [
            json!({ "LegacyAnalyzed": { "bytecode": "0x00", "original_len": 9 } }),
            json!({ "LegacyAnalyzed": { "bytecode": "0x6000", "original_len": 1 } }),
            json!({ "Eof": {} }),
            json!(5),
        ] {
            let state = json!({ "accounts": { Address::ZERO.to_string(): {
                "balance": "0x0", "nonce": 0, "code_hash": keccak256([0x00]), "code": code,
            } } });
            let snapshot: Snapshot = serde_json::from_value(state).unwrap();
            assert!(snapshot.accounts().is_err(), "{code}");
        }
    }
}
