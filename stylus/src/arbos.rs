//! ArbOS state: where Arbitrum keeps its own data in the storage of one account.
//!
//! Storage is a tree of subspaces. `subkey(parent, id) = keccak256(parent ‖ id)` names a subspace, the root being the
//! empty string; a 32-byte key of a subspace lives in the slot `keccak256(subkey ‖ key[..31])[..31] ‖ key[31]`, so that 256
//! neighbouring keys share a prefix. Programs activated here and programs of a forked Arbitrum chain are therefore
//! the same thing, and snapshots, reverts and state dumps need nothing special.

mod upgrade;

use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use revm::Database;
use revm::context_interface::JournalTr;

use crate::activation::{DataPricer, ProgramRecord};
use crate::pricing::Params;

pub use upgrade::{NEWEST, params_at};

/// The account whose storage is ArbOS state.
pub const STATE_ADDRESS: Address = address!("A4B05FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF");

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

/// What the slots of the root's first 256 keys have in common: asked for so often that it is not hashed each time.
const ROOT_PAGE: B256 = b256!("15fed0451499512d95f3ec5a41c878b9de55f21878b5b4e190d4667ec709b400");
const PARAMS: B256 = b256!("775fa6b44b1ccbcb652ffedeb311d199288bb735fb219026a5eea161e32bd480");
const PROGRAMS: B256 = b256!("cab2bcfacd31ed72211059c5457e8ca6b761d9e9aaeae6e0e6be3fa914161560");
const MODULES: B256 = b256!("8caf8ffab9b73cda0ea6d4dc4dff731ca3c449b409a3479e4ba3641f7a42b08f");
const DATA_PRICER: B256 = b256!("de827a84aaf8d357d300be2bbd6042d499e9c46fee2177c886b958ed8487e9f5");
const CACHE_MANAGERS: B256 = b256!("afea9c6afea43702f842fc64246e605c221e0c8f9305aca6c29dc1ae68260f4b");

impl Space {
    /// The slot of a 32-byte key of this subspace.
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
    pub fn word(self, key: u64) -> U256 {
        match self {
            Self::Root if key < 256 => U256::from_be_bytes(ROOT_PAGE.0) | U256::from(key),
            _ => self.slot(B256::from(U256::from(key))),
        }
    }

    /// The slot that says which position a member has in a set of addresses (0: not a member). Sets keep their size at
    /// key 0, their members at keys 1.., and this reverse map in a subspace of their own.
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
/// Key of the version of a scheduled upgrade in [`Space::Root`].
pub const ROOT_UPGRADE_VERSION: u64 = 1;
/// Key of the time of a scheduled upgrade (Unix seconds) in [`Space::Root`].
pub const ROOT_UPGRADE_TIME: u64 = 2;
/// Key of the network fee account in [`Space::Root`].
pub const ROOT_NETWORK_FEE_ACCOUNT: u64 = 3;
/// Key of the infrastructure fee account in [`Space::Root`].
pub const ROOT_INFRA_FEE_ACCOUNT: u64 = 6;

/// Name of a child subspace.
pub fn subkey(parent: &[u8], id: u8) -> B256 {
    let mut name = parent.to_vec();
    name.push(id);
    keccak256(&name)
}

/// The slot of `key` in the subspace called `sub` (empty for the root).
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

/// Keys of the data pricer's fields in [`Space::DataPricer`].
const PRICER_DEMAND: u64 = 0;
const PRICER_BYTES_PER_SECOND: u64 = 1;
const PRICER_LAST_UPDATE: u64 = 2;
const PRICER_MIN_PRICE: u64 = 3;
const PRICER_INERTIA: u64 = 4;

/// ArbOS state seen through a journal. Reading and writing is free of gas here; precompiles charge for it themselves.
#[derive(Debug)]
pub struct State<'a, J>(pub &'a mut J);

type Error<J> = <<J as JournalTr>::Database as Database>::Error;

impl<J: JournalTr> State<'_, J> {
    /// The word in `slot`.
    ///
    /// # Errors
    /// Here and below: the database's.
    pub fn get(&mut self, slot: U256) -> Result<U256, Error<J>> {
        // The journal only reads slots of accounts that it has loaded.
        self.0.load_account(STATE_ADDRESS)?;
        self.0.sload(STATE_ADDRESS, slot).map(|load| load.data)
    }

    /// Stores a word.
    ///
    /// # Errors
    /// The database's.
    pub fn set(&mut self, slot: U256, value: U256) -> Result<(), Error<J>> {
        self.0.load_account(STATE_ADDRESS)?;
        self.0.sstore(STATE_ADDRESS, slot, value).map(|_| ())
    }

    fn u64(&mut self, slot: U256) -> Result<u64, Error<J>> {
        self.get(slot).map(|word| word.saturating_to())
    }

    fn u32(&mut self, slot: U256) -> Result<u32, Error<J>> {
        self.get(slot).map(|word| word.saturating_to())
    }

    /// ArbOS version; 0 where there is no ArbOS.
    ///
    /// # Errors
    /// The database's.
    pub fn version(&mut self) -> Result<u64, Error<J>> {
        self.u64(Space::Root.word(ROOT_VERSION))
    }

    /// Stylus parameters. On a `debug` chain programs may import `console`.
    ///
    /// # Errors
    /// The database's.
    pub fn params(&mut self, debug: bool) -> Result<Params, Error<J>> {
        let version = self.version()?;
        let word = self.get(Space::Params.word(0))?;
        Ok(Params {
            debug,
            ..Params::unpack(word, version)
        })
    }

    /// The record of the programs with this code.
    ///
    /// # Errors
    /// The database's.
    pub fn program(&mut self, code_hash: B256) -> Result<ProgramRecord, Error<J>> {
        self.get(Space::Programs.slot(code_hash)).map(ProgramRecord::unpack)
    }

    /// Stores a program's record.
    ///
    /// # Errors
    /// The database's.
    pub fn set_program(&mut self, code_hash: B256, record: &ProgramRecord) -> Result<(), Error<J>> {
        self.set(Space::Programs.slot(code_hash), record.pack())
    }

    /// State of the data fee's pricing.
    ///
    /// # Errors
    /// The database's.
    pub fn data_pricer(&mut self) -> Result<DataPricer, Error<J>> {
        let slot = |key| Space::DataPricer.word(key);
        Ok(DataPricer {
            demand: self.u32(slot(PRICER_DEMAND))?,
            bytes_per_second: self.u32(slot(PRICER_BYTES_PER_SECOND))?,
            last_update: self.u64(slot(PRICER_LAST_UPDATE))?,
            min_price: self.u32(slot(PRICER_MIN_PRICE))?,
            inertia: self.u32(slot(PRICER_INERTIA))?,
        })
    }

    /// Stores what charging a data fee changes.
    ///
    /// # Errors
    /// The database's.
    pub fn set_data_pricer(&mut self, pricer: &DataPricer) -> Result<(), Error<J>> {
        self.set(Space::DataPricer.word(PRICER_DEMAND), U256::from(pricer.demand))?;
        self.set(
            Space::DataPricer.word(PRICER_LAST_UPDATE),
            U256::from(pricer.last_update),
        )
    }

    /// An address stored in the root.
    ///
    /// # Errors
    /// The database's.
    pub fn root_address(&mut self, key: u64) -> Result<Address, Error<J>> {
        self.get(Space::Root.word(key))
            .map(|word| Address::from_word(word.into()))
    }

    /// Whether `account` is in a set of addresses.
    ///
    /// # Errors
    /// The database's.
    pub fn is_member(&mut self, set: Space, account: Address) -> Result<bool, Error<J>> {
        self.get(set.member(account)).map(|position| !position.is_zero())
    }

    /// Puts `account` into a set of addresses, unless it is there.
    ///
    /// # Errors
    /// The database's.
    pub fn add_member(&mut self, set: Space, account: Address) -> Result<(), Error<J>> {
        if self.is_member(set, account)? {
            return Ok(());
        }
        let size = self.u64(set.word(0))?.saturating_add(1);
        self.set(set.word(size), account.into_word().into())?;
        self.set(set.member(account), U256::from(size))?;
        self.set(set.word(0), U256::from(size))
    }

    /// Takes `account` out of a set of addresses, whose last member gets its position; false if it is not in there.
    ///
    /// # Errors
    /// The database's.
    pub fn remove_member(&mut self, set: Space, account: Address) -> Result<bool, Error<J>> {
        let position = self.u64(set.member(account))?;
        if position == 0 {
            return Ok(false);
        }
        let size = self.u64(set.word(0))?;
        if position < size {
            let last = self.get(set.word(size))?;
            self.set(set.word(position), last)?;
            self.set(set.member(Address::from_word(last.into())), U256::from(position))?;
        }
        self.set(set.member(account), U256::ZERO)?;
        self.set(set.word(size), U256::ZERO)?;
        self.set(set.word(0), U256::from(size.saturating_sub(1)))?;
        Ok(true)
    }

    /// The members of a set of addresses, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub fn members(&mut self, set: Space, limit: u64) -> Result<Vec<Address>, Error<J>> {
        let size = self.u64(set.word(0))?.min(limit);
        (1..=size)
            .map(|key| self.get(set.word(key)).map(|word| Address::from_word(word.into())))
            .collect()
    }
}

/// The slots of a fresh chain with these parameters.
pub(crate) fn initial_slots(params: &Params) -> Vec<(U256, U256)> {
    let pricer = DataPricer::default();
    let price = |key, value: u64| (Space::DataPricer.word(key), U256::from(value));
    vec![
        (Space::Root.word(ROOT_VERSION), U256::from(params.arbos_version)),
        (Space::Params.word(0), params.pack()),
        price(PRICER_DEMAND, pricer.demand.into()),
        price(PRICER_BYTES_PER_SECOND, pricer.bytes_per_second.into()),
        price(PRICER_LAST_UPDATE, pricer.last_update),
        price(PRICER_MIN_PRICE, pricer.min_price.into()),
        price(PRICER_INERTIA, pricer.inertia.into()),
    ]
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
        assert_eq!(
            Space::Root.word(ROOT_VERSION),
            hex("15fed0451499512d95f3ec5a41c878b9de55f21878b5b4e190d4667ec709b400")
        );
        assert_eq!(
            Space::Root.word(ROOT_NETWORK_FEE_ACCOUNT),
            hex("15fed0451499512d95f3ec5a41c878b9de55f21878b5b4e190d4667ec709b403")
        );
        assert_eq!(
            Space::Params.word(0),
            hex("fb3a65ee2a3cc0d9ce98ddab7e30ebb719b46a87b8706ff1bf3aef1dcfb0e300")
        );
    }

    #[test]
    fn the_constants_are_the_derived_subkeys() {
        for key in [0, 1, 255, 256] {
            assert_eq!(Space::Root.word(key), Space::Root.slot(B256::from(U256::from(key))));
        }
        let programs = subkey(&[], 8);
        for (id, constant) in [
            (0, PARAMS),
            (1, PROGRAMS),
            (2, MODULES),
            (3, DATA_PRICER),
            (4, CACHE_MANAGERS),
        ] {
            assert_eq!(subkey(programs.as_slice(), id), constant, "subspace {id}");
        }
    }
}
