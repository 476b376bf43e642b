//! ArbOS state: where Arbitrum keeps its own data in the storage of one account.
//!
//! Storage is a tree of subspaces. `subkey(parent, id) = keccak256(parent ‖ id)` names a subspace, the root being the
//! empty string; a 32-byte key of a subspace lives in the slot `keccak256(subkey ‖ key[..31])[..31] ‖ key[31]`, so that 256
//! neighbouring keys share a prefix. Programs activated here and programs of a forked Arbitrum chain are therefore
//! the same thing, and snapshots, reverts and state dumps need nothing special.

use alloy_primitives::{Address, B256, U256, address, b256, keccak256};

/// The account whose storage is ArbOS state.
pub const STATE_ADDRESS: Address = address!("A4B05FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF");

/// Unix time from which activation times are counted, in hours (2015-01-16 00:00 UTC).
pub const ARBITRUM_EPOCH: u64 = 1_421_388_000;

/// The subspaces that Stylus needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Root: ArbOS version, fee accounts.
    Root,
    /// Stylus parameters, packed.
    Params,
    /// Program record by code hash.
    Programs,
    /// Module hash by code hash.
    Modules,
    /// State of the data fee's pricing.
    DataPricer,
    /// Set of cache managers.
    CacheManagers,
    /// Extra gas of an activation, set by the chain's owner.
    ActivationGas,
    /// Set of chain owners.
    ChainOwners,
}

const PARAMS: B256 = b256!("775fa6b44b1ccbcb652ffedeb311d199288bb735fb219026a5eea161e32bd480");
const PROGRAMS: B256 = b256!("cab2bcfacd31ed72211059c5457e8ca6b761d9e9aaeae6e0e6be3fa914161560");
const MODULES: B256 = b256!("8caf8ffab9b73cda0ea6d4dc4dff731ca3c449b409a3479e4ba3641f7a42b08f");
const DATA_PRICER: B256 = b256!("de827a84aaf8d357d300be2bbd6042d499e9c46fee2177c886b958ed8487e9f5");
const CACHE_MANAGERS: B256 = b256!("afea9c6afea43702f842fc64246e605c221e0c8f9305aca6c29dc1ae68260f4b");

impl Space {
    /// The slot of a 32-byte key of this subspace.
    #[must_use]
    pub fn slot(self, key: B256) -> U256 {
        match self {
            Self::Root => slot(&[], key),
            Self::Params => slot(PARAMS.as_slice(), key),
            Self::Programs => slot(PROGRAMS.as_slice(), key),
            Self::Modules => slot(MODULES.as_slice(), key),
            Self::DataPricer => slot(DATA_PRICER.as_slice(), key),
            Self::CacheManagers => slot(CACHE_MANAGERS.as_slice(), key),
            Self::ActivationGas => slot(subkey(subkey(&[], 8).as_slice(), 5).as_slice(), key),
            Self::ChainOwners => slot(subkey(&[], 4).as_slice(), key),
        }
    }

    /// The slot of a small integer key of this subspace.
    #[must_use]
    pub fn word(self, key: u64) -> U256 {
        self.slot(B256::from(U256::from(key)))
    }

    /// The slot that says which position a member has in a set of addresses (0: not a member). Sets keep their size at
    /// key 0, their members at keys 1.., and this reverse map in a subspace of their own.
    #[must_use]
    pub fn member(self, account: Address) -> U256 {
        let set = match self {
            Self::CacheManagers => CACHE_MANAGERS,
            _ => subkey(&[], 4),
        };
        slot(subkey(set.as_slice(), 0).as_slice(), account.into_word())
    }
}

/// Key of the ArbOS version in [`Space::Root`].
pub const ROOT_VERSION: u64 = 0;
/// Key of the network fee account in [`Space::Root`].
pub const ROOT_NETWORK_FEE_ACCOUNT: u64 = 3;
/// Key of the infrastructure fee account in [`Space::Root`].
pub const ROOT_INFRA_FEE_ACCOUNT: u64 = 6;

/// Name of a child subspace.
#[must_use]
pub fn subkey(parent: &[u8], id: u8) -> B256 {
    let mut name = parent.to_vec();
    name.push(id);
    keccak256(&name)
}

/// The slot of `key` in the subspace called `sub` (empty for the root).
#[must_use]
pub fn slot(sub: &[u8], key: B256) -> U256 {
    let (page, last) = key.0.split_at(31);
    let mut preimage = sub.to_vec();
    preimage.extend_from_slice(page);
    let mut word = keccak256(&preimage);
    if let (Some(target), Some(byte)) = (word.0.last_mut(), last.first()) {
        *target = *byte;
    }
    U256::from_be_bytes(word.0)
}

/// The Stylus version that an ArbOS version runs; 0 before Stylus existed.
#[must_use]
pub const fn stylus_version(arbos: u64) -> u16 {
    match arbos {
        0..30 => 0,
        30 => 1,
        31..59 => 2,
        _ => 3,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hex(word: &str) -> U256 {
        U256::from_str_radix(word, 16).unwrap()
    }

    #[test]
    fn slots_match_the_published_ones() {
        assert_eq!(Space::Root.word(ROOT_VERSION), hex("15fed0451499512d95f3ec5a41c878b9de55f21878b5b4e190d4667ec709b400"));
        assert_eq!(
            Space::Root.word(ROOT_NETWORK_FEE_ACCOUNT),
            hex("15fed0451499512d95f3ec5a41c878b9de55f21878b5b4e190d4667ec709b403")
        );
        assert_eq!(Space::Params.word(0), hex("fb3a65ee2a3cc0d9ce98ddab7e30ebb719b46a87b8706ff1bf3aef1dcfb0e300"));
    }

    #[test]
    fn the_constants_are_the_derived_subkeys() {
        let programs = subkey(&[], 8);
        for (id, constant) in [(0, PARAMS), (1, PROGRAMS), (2, MODULES), (3, DATA_PRICER), (4, CACHE_MANAGERS)] {
            assert_eq!(subkey(programs.as_slice(), id), constant, "subspace {id}");
        }
    }
}
