//! What Arbitrum's genesis puts into state, for a fresh chain or for the fork of a chain that has none of it.

use alloy_primitives::{Address, Bytes, U256, address, hex};

use crate::arbos::{self, Space};
use crate::precompile;
use crate::pricing::Params;

/// The factory that deploys with CREATE2 from a plain transaction.
pub const CREATE2_FACTORY: Address = address!("4e59b44847b379578588920ca78fbf26c0b4956c");

/// The contract that deploys, activates and initialises a Stylus program in one call.
pub const STYLUS_DEPLOYER: Address = address!("cEcba2F1DC234f70Dd89F2041029807F8D03A990");

/// CALLDATA: 32 bytes salt, then init code. Answers the 20 bytes of the address; reverts when the creation fails.
const CREATE2_FACTORY_CODE: [u8; 69] = hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// Runtime code of `contracts/solidity/src/StylusDeployer.sol`; see `genesis/README.md` for the compiler and its settings.
const STYLUS_DEPLOYER_CODE: &str = include_str!("genesis/StylusDeployer.hex");

/// An account to be written before the first block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Where.
    pub address: Address,
    /// Runtime code; may be empty.
    pub code: Bytes,
    /// Storage slots and their values.
    pub storage: Vec<(U256, U256)>,
    /// Balance in wei.
    pub balance: U256,
    /// Nonce; 1 for contracts and for the ArbOS account, so that no account counts as empty.
    pub nonce: u64,
}

impl GenesisAccount {
    fn contract(address: Address, code: impl Into<Bytes>) -> Self {
        Self {
            address,
            code: code.into(),
            storage: Vec::new(),
            balance: U256::ZERO,
            nonce: 1,
        }
    }
}

/// The slots of [`arbos::STATE_ADDRESS`] by which `owner` alone is a chain owner, who may call ArbOwner.
pub fn owned_by(owner: Address) -> [(U256, U256); 3] {
    let owners = Space::ChainOwners;
    [
        (owners.word(0), U256::ONE),
        (owners.word(1), owner.into_word().into()),
        (owners.member(owner), U256::ONE),
    ]
}

/// The accounts that `arbos_version` (60 is the current one) needs.
pub fn alloc(arbos_version: u64) -> Vec<GenesisAccount> {
    let mut accounts = vec![GenesisAccount {
        address: arbos::STATE_ADDRESS,
        code: Bytes::new(),
        storage: arbos::initial_slots(&Params::for_arbos(arbos_version)),
        balance: U256::ZERO,
        nonce: 1,
    }];
    accounts.extend(
        precompile::ADDRESSES
            .iter()
            .map(|address| GenesisAccount::contract(*address, vec![0xfe])),
    );
    accounts.push(GenesisAccount::contract(CREATE2_FACTORY, CREATE2_FACTORY_CODE.to_vec()));
    accounts.push(GenesisAccount::contract(STYLUS_DEPLOYER, deployer_code()));
    accounts
}

/// Whether a chain is an Arbitrum chain, by the value of the slot [`version_slot`] of [`arbos::STATE_ADDRESS`].
pub fn is_arbitrum(storage_of_version_slot: U256) -> bool {
    !storage_of_version_slot.is_zero()
}

/// The slot of [`arbos::STATE_ADDRESS`] that holds the ArbOS version.
pub fn version_slot() -> U256 {
    Space::Root.word(arbos::ROOT_VERSION)
}

fn deployer_code() -> Bytes {
    // The file is part of this crate and checked by a test; without it the deployer would be an empty account.
    hex::decode(STYLUS_DEPLOYER_CODE.trim())
        .map(Bytes::from)
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn the_deployer_answers_its_published_selectors() {
        let code = deployer_code();
        assert!(code.len() > 1000, "the committed bytecode decodes");
        for selector in [hex!("a9a8e4e9"), hex!("835d1d4c"), hex!("9f40b385")] {
            assert!(
                code.windows(4).any(|window| window == selector),
                "{}",
                hex::encode(selector)
            );
        }
    }

    #[test]
    fn the_factory_is_the_one_that_chains_have() {
        // Code hash of 0x4e59b44847b379578588920ca78fbf26c0b4956c on public chains.
        assert_eq!(
            keccak256(CREATE2_FACTORY_CODE),
            hex!("2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989")
        );
    }

    #[test]
    fn no_account_counts_as_empty() {
        let accounts = alloc(60);
        assert!(
            accounts
                .iter()
                .all(|account| account.nonce > 0 || !account.code.is_empty())
        );
        let state = accounts.first().unwrap();
        assert_eq!(state.address, arbos::STATE_ADDRESS);
        let version = state
            .storage
            .iter()
            .find(|(slot, _)| *slot == version_slot())
            .unwrap()
            .1;
        assert!(is_arbitrum(version));
        assert!(!is_arbitrum(U256::ZERO));
    }
}
