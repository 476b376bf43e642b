//! What Arbitrum's genesis puts into state, for a fresh chain or for the fork of a chain that has none of it.

use alloy_primitives::{Address, B256, Bytes, U256, address, hex};

use crate::arbos::{self, Space};
use crate::precompile;

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
        Self { address, code: code.into(), storage: Vec::new(), balance: U256::ZERO, nonce: 1 }
    }
}

/// The accounts that `arbos_version` (60 is the current one) needs.
#[must_use]
pub fn alloc(arbos_version: u64) -> Vec<GenesisAccount> {
    let mut accounts = vec![GenesisAccount {
        address: arbos::STATE_ADDRESS,
        code: Bytes::new(),
        storage: state(arbos_version),
        balance: U256::ZERO,
        nonce: 1,
    }];
    accounts.extend(precompile::ADDRESSES.iter().map(|address| GenesisAccount::contract(*address, vec![0xfe])));
    accounts.push(GenesisAccount::contract(CREATE2_FACTORY, CREATE2_FACTORY_CODE.to_vec()));
    accounts.push(GenesisAccount::contract(STYLUS_DEPLOYER, deployer_code()));
    accounts
}

/// Whether a chain is an Arbitrum chain, by the value of the slot [`version_slot`] of [`arbos::STATE_ADDRESS`].
#[must_use]
pub fn is_arbitrum(storage_of_version_slot: U256) -> bool {
    !storage_of_version_slot.is_zero()
}

/// The slot of [`arbos::STATE_ADDRESS`] that holds the ArbOS version.
#[must_use]
pub fn version_slot() -> U256 {
    Space::Root.word(arbos::ROOT_VERSION)
}

fn deployer_code() -> Bytes {
    // The file is part of this crate and checked by a test; without it the deployer would be an empty account.
    hex::decode(STYLUS_DEPLOYER_CODE.trim()).map(Bytes::from).unwrap_or_default()
}

fn state(arbos_version: u64) -> Vec<(U256, U256)> {
    let _ = B256::ZERO;
    vec![(version_slot(), U256::from(arbos_version))]
}
