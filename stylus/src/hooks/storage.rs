//! Storage through a cache, and transient storage.

use alloy_primitives::{B256, U256};

use super::env::CachedSlot;
use super::{Env, Flow, Guest, Pending, Request, Stop};
use crate::pricing::hooks as price;

/// The least that writing a slot costs (EIP-2200, warm and nothing changed).
const LEAST_WRITE_GAS: u64 = 100;

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
    let slot = env.slots.entry(key).or_insert(CachedSlot { value, known: None });
    slot.value = value;
    if slot.known == Some(value) {
        env.dirty.remove(&key);
    } else {
        env.dirty.insert(key);
    }
    env.meter.charge_gas(cost)?;
    Ok(Flow::Done(0))
}

pub(super) fn flush(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL)?;
    env.meter.require_gas(price::STORAGE_FLUSH_REQUIRED_GAS)?;
    let clear = guest.u32(0) != 0;
    if env.dirty.is_empty() {
        if clear {
            env.slots.clear();
        }
        return Ok(Flow::Done(0));
    }
    if env.call.is_static {
        return Err(Stop::Failure("storage is written in a static call"));
    }
    let gas = env.meter.gas();
    // One more than can be paid for is as good as all of them: the program has no gas left either way.
    let affordable = usize::try_from(gas / LEAST_WRITE_GAS).unwrap_or(usize::MAX);
    let keys = env.dirty.iter().take(affordable.saturating_add(1));
    let value = |key| env.slots.get(key).map(|slot| (*key, slot.value));
    let writes = keys.filter_map(value).collect();
    Ok(Flow::Ask(
        Request::StorageFlush { writes, gas },
        Pending::StorageFlush { clear },
    ))
}

pub(super) fn flushed(env: &mut Env, clear: bool, cost: u64) -> Result<u64, Stop> {
    let written = std::mem::take(&mut env.dirty);
    if clear {
        env.slots.clear();
    } else {
        for key in &written {
            if let Some(slot) = env.slots.get_mut(key) {
                slot.known = Some(slot.value);
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::hooks::{BlockInfo, CallInfo, Hook, Response, begin, finish};
    use crate::pricing::Params;

    /// What a program does to its storage: few slots and values, so that they meet.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Load(u8),
        Store(u8, u8),
        Flush(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8).prop_map(Step::Load),
            (0..4_u8, 0..3_u8).prop_map(|(key, value)| Step::Store(key, value)),
            any::<bool>().prop_map(Step::Flush),
        ]
    }

    proptest! {
        /// Against the rule as it is written: a map of values, and of the values that the state is known to have.
        #[test]
        fn what_is_flushed_is_what_differs_from_the_state(steps in proptest::collection::vec(step(), 1..40)) {
            let mut env = Env::new(CallInfo::default(), BlockInfo::default(), Params::default(), Arc::default(), u64::MAX);
            let mut state = BTreeMap::<u8, u8>::new();
            let mut cache = BTreeMap::<u8, (u8, Option<u8>)>::new();
            for step in steps {
                let mut memory = [0; 96];
                let (hook, args) = match step {
                    Step::Load(key) => {
                        memory[31] = key;
                        (Hook::StorageLoad, [0, 32, 0])
                    }
                    Step::Store(key, value) => {
                        (memory[31], memory[63]) = (key, value);
                        (Hook::StorageCache, [0, 32, 0])
                    }
                    Step::Flush(clear) => (Hook::StorageFlush, [clear.into(), 0, 0]),
                };
                let flow = begin(hook, &mut env, &mut Guest { memory: &mut memory, args: &args }).unwrap();
                match step {
                    Step::Load(key) => {
                        let stored = state.get(&key).copied().unwrap_or_default();
                        let misses = !cache.contains_key(&key);
                        let value = cache.entry(key).or_insert((stored, Some(stored))).0;
                        prop_assert_eq!(matches!(flow, Flow::Ask(..)), misses);
                        if let Flow::Ask(_, pending) = flow {
                            let word = U256::from(stored).into();
                            finish(pending, Response::Word { word, cost: 100 }, &mut env, &mut memory).unwrap();
                        }
                        prop_assert_eq!(memory[63], value);
                    }
                    Step::Store(key, value) => cache.entry(key).or_insert((value, None)).0 = value,
                    Step::Flush(clear) => {
                        let dirty = cache.iter().filter(|(_, (value, known))| *known != Some(*value));
                        let expected: Vec<_> = dirty.map(|(key, (value, _))| (U256::from(*key), U256::from(*value))).collect();
                        match flow {
                            Flow::Done(_) => prop_assert!(expected.is_empty()),
                            Flow::Ask(Request::StorageFlush { writes, .. }, pending) => {
                                prop_assert_eq!(writes, expected);
                                finish(pending, Response::Charged(100), &mut env, &mut memory).unwrap();
                            }
                            Flow::Ask(request, _) => panic!("{request:?}"),
                        }
                        for (key, (value, known)) in &mut cache {
                            *known = Some(*value);
                            state.insert(*key, *value);
                        }
                        if clear {
                            cache.clear();
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_more_is_listed_than_can_be_paid_for() {
        let mut env = Env::new(
            CallInfo::default(),
            BlockInfo::default(),
            Params::default(),
            Arc::default(),
            200_000,
        );
        let mut memory = [0; 64];
        for key in 0..5_000_u64 {
            memory[..32].copy_from_slice(&U256::from(key).to_be_bytes::<32>());
            let args = [0, 32, 0];
            begin(
                Hook::StorageCache,
                &mut env,
                &mut Guest {
                    memory: &mut memory,
                    args: &args,
                },
            )
            .unwrap();
        }
        let flow = begin(
            Hook::StorageFlush,
            &mut env,
            &mut Guest {
                memory: &mut memory,
                args: &[0],
            },
        )
        .unwrap();
        let Flow::Ask(Request::StorageFlush { writes, gas }, _) = flow else {
            panic!("{flow:?}")
        };
        assert_eq!(writes.len() as u64, gas / 100 + 1);
        assert!(writes.len() < 2_000, "5,000 are waiting");
    }
}
