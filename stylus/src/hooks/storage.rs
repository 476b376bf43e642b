//! Storage through a cache, and transient storage.

use alloy_primitives::{B256, U256};

use super::env::CachedSlot;
use super::{Env, Flow, Guest, Pending, Request, Stop};
use crate::pricing::hooks as price;

/// Part of a load that misses the cache: the surcharge of going through the EVM, in whole gas.
fn api_gas(env: &Env) -> u64 {
    price::EVM_API.checked_div(env.meter.price()).unwrap_or_default()
}

pub(super) fn load(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::STORAGE_CACHE)?;
    env.meter.require_gas(price::STORAGE_LOAD_REQUIRED_GAS)?;
    let key = guest.word(guest.u32(0))?;
    let dest = guest.u32(1);
    env.loads = env.loads.saturating_add(1);
    let charged = price::storage_load_cache_gas(env.loads);
    match env.slots.get(&key) {
        Some(slot) => {
            let value = slot.value;
            env.meter.charge_gas(charged)?;
            guest.write_word(dest, value)?;
            Ok(Flow::Done(0))
        }
        None => {
            let charged = charged.saturating_add(api_gas(env));
            Ok(Flow::Ask(
                Request::StorageLoad(key),
                Pending::StorageLoad { key, dest, charged },
            ))
        }
    }
}

pub(super) fn loaded(
    env: &mut Env,
    guest: &mut Guest<'_>,
    key: U256,
    dest: u32,
    cost: u64,
    word: B256,
) -> Result<u64, Stop> {
    let value = U256::from_be_bytes(word.0);
    env.slots.insert(
        key,
        CachedSlot {
            value,
            known: Some(value),
        },
    );
    env.meter.charge_gas(cost)?;
    guest.write_word(dest, value)?;
    Ok(0)
}

pub(super) fn cache(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::STORAGE_CACHE)?;
    env.meter.require_gas(price::STORAGE_CACHE_REQUIRED_GAS)?;
    let key = guest.word(guest.u32(0))?;
    let value = guest.word(guest.u32(1))?;
    env.stores = env.stores.saturating_add(1);
    let cost = price::storage_store_cache_gas(env.stores);
    env.slots
        .entry(key)
        .and_modify(|slot| slot.value = value)
        .or_insert(CachedSlot { value, known: None });
    env.meter.charge_gas(cost)?;
    Ok(Flow::Done(0))
}

pub(super) fn flush(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL)?;
    env.meter.require_gas(price::STORAGE_FLUSH_REQUIRED_GAS)?;
    let clear = guest.u32(0) != 0;
    let dirty = env.slots.iter().filter(|(_, slot)| slot.known != Some(slot.value));
    let writes: Vec<_> = dirty.map(|(key, slot)| (*key, slot.value)).collect();
    if writes.is_empty() {
        if clear {
            env.slots.clear();
        }
        return Ok(Flow::Done(0));
    }
    if env.call.is_static {
        return Err(Stop::Failure("storage is written in a static call"));
    }
    Ok(Flow::Ask(
        Request::StorageFlush {
            writes,
            gas: env.meter.gas(),
        },
        Pending::StorageFlush { clear },
    ))
}

pub(super) fn flushed(env: &mut Env, clear: bool, cost: u64) -> Result<u64, Stop> {
    if clear {
        env.slots.clear();
    } else {
        env.slots.values_mut().for_each(|slot| slot.known = Some(slot.value));
    }
    env.meter.charge_gas(cost)?;
    Ok(0)
}

pub(super) fn transient_load(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL_TWO_POINTERS)?;
    let key = guest.word(guest.u32(0))?;
    Ok(Flow::Ask(
        Request::TransientLoad(key),
        Pending::WriteWord { dest: guest.u32(1) },
    ))
}

pub(super) fn transient_store(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL_TWO_POINTERS)?;
    let key = guest.word(guest.u32(0))?;
    let value = guest.word(guest.u32(1))?;
    if env.call.is_static {
        return Err(Stop::Failure("transient storage is written in a static call"));
    }
    Ok(Flow::Ask(Request::TransientStore(key, value), Pending::Charge))
}
