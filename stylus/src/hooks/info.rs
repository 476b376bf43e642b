//! Calldata and result, getters, and memory growth.

use super::{Env, Flow, Guest, Hook, Stop, value};
use crate::pricing::{self, hooks as price};

pub(super) fn read_args(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::GETTER)?;
    env.meter.charge(price::write_ink(value::len(&env.call.input)))?;
    guest.write(guest.u32(0), &env.call.input)?;
    Ok(Flow::Done(0))
}

pub(super) fn write_result(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let (data, len) = (guest.u32(0), guest.u32(1));
    env.meter.charge(price::GETTER)?;
    env.meter.charge(price::read_ink(len.into()))?;
    env.meter.charge(price::read_ink(len.into()))?;
    env.result = guest.bytes(data, len)?;
    Ok(Flow::Done(0))
}

/// Functions that only answer something the environment holds.
pub(super) fn getter(hook: Hook, env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(if hook.signature().params.is_empty() {
        price::GETTER
    } else {
        price::POINTER_GETTER
    })?;
    let dest = guest.u32(0);
    match hook {
        Hook::BaseFee => guest.write_word(dest, env.block.basefee)?,
        Hook::Coinbase => guest.write(dest, env.block.coinbase.as_slice())?,
        Hook::ContractAddress => guest.write(dest, env.call.address.as_slice())?,
        Hook::MsgSender => guest.write(dest, env.call.caller.as_slice())?,
        Hook::MsgValue => guest.write_word(dest, env.call.value)?,
        Hook::GasPrice => guest.write_word(dest, env.block.gas_price)?,
        Hook::Origin => guest.write(dest, env.block.origin.as_slice())?,
        _ => return number(hook, env).map(Flow::Done),
    }
    Ok(Flow::Done(0))
}

fn number(hook: Hook, env: &Env) -> Result<u64, Stop> {
    Ok(match hook {
        Hook::GasLeft => env.meter.gas(),
        Hook::InkLeft => env.meter.ink(),
        Hook::GasLimit => env.block.gas_limit,
        Hook::BlockNumber => env.block.number,
        Hook::Timestamp => env.block.timestamp,
        Hook::ChainId => env.block.chain_id,
        Hook::MsgReentrant => env.call.reentrant.into(),
        Hook::InkPrice => env.meter.price(),
        _ => return Err(Stop::Failure("not a getter")),
    })
}

/// Pays for `pages` that the program is about to grow; called by instrumentation before each `memory.grow`.
pub(super) fn pay_for_memory_grow(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let pages = guest.u32(0);
    if pages == 0 {
        env.meter.charge(price::NO_GROWTH)?;
        return Ok(Flow::Done(0));
    }
    let pages = match u16::try_from(pages) {
        Ok(pages) => pages,
        Err(_) if env.params.arbos_version >= pricing::ARBOS_STYLUS_V3 => return Err(env.meter.exhaust()),
        // Before Stylus 3 only the low 16 bits counted.
        Err(_) => u16::try_from(pages & 0xffff).unwrap_or_default(),
    };
    let gas = env.page_gas(pages);
    env.pages.add(pages);
    env.meter.charge_gas(gas)?;
    Ok(Flow::Done(0))
}
