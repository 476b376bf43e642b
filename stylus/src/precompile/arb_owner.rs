//! ArbOwner: what the chain's owners can change. A call of an owner is free; anybody else's takes all gas.

use alloy_primitives::{Address, B256, U256, b256};
use revm::Database;

use super::abi;
use super::call::{Answer, Call, Fault, Method, Purity, method as entry};
use crate::arbos::{
    NEWEST, ROOT_INFRA_FEE_ACCOUNT, ROOT_NETWORK_FEE_ACCOUNT, ROOT_UPGRADE_TIME, ROOT_UPGRADE_VERSION, Space,
};
use crate::pricing::{ARBOS_FRAGMENTS, ARBOS_STYLUS_V3, ARBOS_WASM_SIZE_PARAM, Params};

const STYLUS: u64 = 30;
/// `OwnerActs(bytes4 indexed method, address indexed owner, bytes data)`, which tells of every change.
const OWNER_ACTS: B256 = b256!("3c9e6a772755407311e3b35b3ee56799df8f87395941b3a658eee9e08a67ebda");
/// Most members of a set that are listed.
const MAX_MEMBERS: u64 = 256;

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0x481f_8dbf => entry(Purity::Write, 0, |call| add(call, Space::ChainOwners)),
        0x8792_701a => entry(Purity::Write, 0, |call| {
            remove(call, Space::ChainOwners, "tried to remove a non-owner")
        }),
        0x26ef_7f68 => entry(Purity::View, 0, |call| {
            let account = call.address(0)?;
            call.is_member(Space::ChainOwners, account)
                .map(|is| abi::word(U256::from(is)))
        }),
        0x516b_4e0f => entry(Purity::View, 0, |call| {
            let owners = call.members(Space::ChainOwners, MAX_MEMBERS)?;
            Ok(abi::array(&owners.into_iter().map(abi::address).collect::<Vec<_>>()))
        }),
        0x2d91_25e9 => entry(Purity::View, 0, |call| {
            call.read(Space::Root.word(ROOT_NETWORK_FEE_ACCOUNT)).map(abi::word)
        }),
        0xfcdd_e2b4 => entry(Purity::Write, 0, |call| set_account(call, ROOT_NETWORK_FEE_ACCOUNT)),
        0xee95_a824 => entry(Purity::View, 5, |call| {
            call.read(Space::Root.word(ROOT_INFRA_FEE_ACCOUNT)).map(abi::word)
        }),
        0x57f5_85db => entry(Purity::Write, 5, |call| set_account(call, ROOT_INFRA_FEE_ACCOUNT)),
        // Data is not posted to an L1 here: its price is zero, whatever is asked for.
        0x2b35_2fae => entry(Purity::Write, 0, |call| call.arg(0).map(|_| Vec::new())),
        0xe388_b381 => entry(Purity::Write, 0, schedule_upgrade),
        0xffdc_a515 => entry(Purity::Write, STYLUS, |call| add(call, Space::CacheManagers)),
        0xbf19_7322 => entry(Purity::Write, STYLUS, |call| {
            remove(call, Space::CacheManagers, "tried to remove a non-manager")
        }),
        0xa0a3_2497 => entry(Purity::Write, ARBOS_STYLUS_V3, |call| {
            let gas: u64 = number(call, 0)?;
            call.write(Space::ActivationGas.word(0), U256::from(gas))?;
            Ok(Vec::new())
        }),
        _ => parameter(selector),
    }
}

/// The methods that set one parameter of Stylus.
fn parameter<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0x8c1d_4fda => entry(Purity::Write, STYLUS, |call| {
            let price: u32 = number(call, 0)?;
            if price == 0 || price > 0x00ff_ffff {
                return Err(Fault::Halt("ink price must be a positive uint24".to_owned()));
            }
            change(call, |params| params.ink_price = price)
        }),
        0x4567_cc8e => entry(Purity::Write, STYLUS, |call| {
            let depth = number(call, 0)?;
            change(call, |params| params.max_stack_depth = depth)
        }),
        0x3f37_a846 => entry(Purity::Write, STYLUS, |call| {
            let pages = number(call, 0)?;
            change(call, |params| params.free_pages = pages)
        }),
        0xaaa6_19e0 => entry(Purity::Write, STYLUS, |call| {
            let gas = number(call, 0)?;
            change(call, |params| params.page_gas = gas)
        }),
        0x6595_381a => entry(Purity::Write, STYLUS, |call| {
            let limit = number(call, 0)?;
            change(call, |params| params.page_limit = limit)
        }),
        0x8293_405e => entry(Purity::Write, STYLUS, |call| {
            let (init, cached): (u8, u16) = (number(call, 0)?, number(call, 1)?);
            change(call, |params| {
                params.min_init_gas = init.div_ceil(128);
                params.min_cached_init_gas = u8::try_from(cached.div_ceil(32)).unwrap_or(u8::MAX);
            })
        }),
        0x67e0_718f => entry(Purity::Write, STYLUS, |call| {
            let percent: u64 = number(call, 0)?;
            change(call, |params| {
                params.init_cost_scalar = u8::try_from(percent.div_ceil(2)).unwrap_or(u8::MAX);
            })
        }),
        0xaac6_8018 => entry(Purity::Write, STYLUS, |call| {
            let days = number(call, 0)?;
            change(call, |params| params.expiry_days = days)
        }),
        0x2a9c_be3e => entry(Purity::Write, STYLUS, |call| {
            let days = number(call, 0)?;
            change(call, |params| params.keepalive_days = days)
        }),
        0x380f_1457 => entry(Purity::Write, STYLUS, |call| {
            let size = number(call, 0)?;
            change(call, |params| params.block_cache_size = size)
        }),
        0x455e_c2eb => entry(Purity::Write, ARBOS_WASM_SIZE_PARAM, |call| {
            let size = number(call, 0)?;
            change(call, |params| params.max_wasm_size = size)
        }),
        0xf1fe_1a70 => entry(Purity::Write, ARBOS_FRAGMENTS, |call| {
            let count = number(call, 0)?;
            change(call, |params| params.max_fragments = count)
        }),
        _ => None,
    }
}

/// Refuses everybody but an owner.
pub(super) fn authorize<DB: Database>(call: &mut Call<'_, DB>) -> Result<(), Fault<DB>> {
    let caller = call.inputs.caller;
    let is_owner = call.state().is_member(Space::ChainOwners, caller);
    if is_owner.map_err(Fault::Database)? {
        return Ok(());
    }
    Err(Fault::Halt(
        "unauthorized caller to access-controlled method".to_owned(),
    ))
}

/// Tells of what an owner did.
pub(super) fn acted<DB: Database>(call: &mut Call<'_, DB>, input: &[u8]) -> Result<(), Fault<DB>> {
    let mut method = B256::ZERO;
    method
        .0
        .iter_mut()
        .zip(input.iter().take(4))
        .for_each(|(to, from)| *to = *from);
    let owner = call.inputs.caller.into_word();
    call.emit(vec![OWNER_ACTS, method, owner], abi::bytes(input))
}

/// The argument at `index`, which must fit its type.
fn number<DB: Database, T: TryFrom<U256>>(call: &Call<'_, DB>, index: usize) -> Result<T, Fault<DB>> {
    T::try_from(call.arg(index)?).map_err(|_| Fault::Rejected)
}

fn change<DB: Database>(call: &mut Call<'_, DB>, change: impl FnOnce(&mut Params)) -> Answer<DB> {
    let mut params = call.params()?;
    change(&mut params);
    call.write(Space::Params.word(0), params.pack())?;
    Ok(Vec::new())
}

fn set_account<DB: Database>(call: &mut Call<'_, DB>, key: u64) -> Answer<DB> {
    let account = call.address(0)?;
    call.write(Space::Root.word(key), abi::address(account))?;
    Ok(Vec::new())
}

fn add<DB: Database>(call: &mut Call<'_, DB>, set: Space) -> Answer<DB> {
    let account = call.address(0)?;
    call.state().add_member(set, account).map_err(Fault::Database)?;
    Ok(Vec::new())
}

fn remove<DB: Database>(call: &mut Call<'_, DB>, set: Space, otherwise: &str) -> Answer<DB> {
    let account: Address = call.address(0)?;
    if call.state().remove_member(set, account).map_err(Fault::Database)? {
        Ok(Vec::new())
    } else {
        Err(Fault::Halt(otherwise.to_owned()))
    }
}

/// Notes an upgrade. It is made when the first block begins whose time is not before the given one.
fn schedule_upgrade<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let (version, time): (u64, u64) = (number(call, 0)?, number(call, 1)?);
    if version > NEWEST {
        return Err(Fault::Halt(format!(
            "ArbOS {version} is not known here: the newest is {NEWEST}"
        )));
    }
    call.write(Space::Root.word(ROOT_UPGRADE_VERSION), U256::from(version))?;
    call.write(Space::Root.word(ROOT_UPGRADE_TIME), U256::from(time))?;
    Ok(Vec::new())
}
