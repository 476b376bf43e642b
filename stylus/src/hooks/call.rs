//! Calls, creations and what they return.

use alloy_primitives::{Address, Bytes, U256};

use super::{CallKind, Env, Flow, Guest, Pending, Request, Stop, value};
use crate::pricing::hooks as price;

/// Status of a call that failed, for whatever reason.
const FAILED: u64 = 2;

/// Charges for data that goes to the EVM: it is copied out of the program and again into the EVM.
fn pay_for_data(env: &mut Env, len: u32) -> Result<(), Stop> {
    env.meter.charge(price::read_ink(len.into()))?;
    env.meter.charge(price::read_ink(len.into()))
}

pub(super) fn call(env: &mut Env, guest: &mut Guest<'_>, kind: CallKind) -> Result<Flow, Stop> {
    let (target, data, data_len) = (guest.u32(0), guest.u32(1), guest.u32(2));
    // Only CALL has a value, before the gas.
    let shift = usize::from(kind == CallKind::Call);
    let (gas_wanted, len) = (guest.u64(3 + shift), guest.u32(4 + shift));
    env.meter.charge(price::CONTRACT_CALL)?;
    pay_for_data(env, data_len)?;
    let gas_left = env.meter.gas();
    let target = guest.address(target)?;
    let input = guest.bytes(data, data_len)?;
    let value = if kind == CallKind::Call {
        guest.word(guest.u32(3))?
    } else {
        U256::ZERO
    };
    if env.call.is_static && !value.is_zero() {
        env.return_data = Bytes::new();
        guest.write_len(len, &[])?;
        return Ok(Flow::Done(FAILED));
    }
    let request = Request::Call {
        kind,
        target,
        value,
        input,
        gas_left,
        gas_wanted: gas_wanted.min(gas_left),
    };
    Ok(Flow::Ask(request, Pending::Call { len }))
}

pub(super) fn called(
    env: &mut Env,
    guest: &mut Guest<'_>,
    len: u32,
    success: bool,
    output: Bytes,
    cost: u64,
) -> Result<u64, Stop> {
    env.meter.charge_gas(cost)?;
    guest.write_len(len, &output)?;
    env.return_data = output;
    Ok(if success { 0 } else { FAILED })
}

pub(super) fn create(env: &mut Env, guest: &mut Guest<'_>, salted: bool) -> Result<Flow, Stop> {
    let (code, code_len, endowment) = (guest.u32(0), guest.u32(1), guest.u32(2));
    let shift = usize::from(salted);
    let (address, len) = (guest.u32(3 + shift), guest.u32(4 + shift));
    env.meter
        .charge(if salted { price::CREATE2 } else { price::CONTRACT_CALL })?;
    pay_for_data(env, code_len)?;
    let code = guest.bytes(code, code_len)?;
    let value = guest.word(endowment)?;
    let salt = if salted { Some(guest.word(guest.u32(3))?) } else { None };
    if env.call.is_static {
        return Err(Stop::Failure("a contract is created in a static call"));
    }
    let request = Request::Create {
        code,
        value,
        salt,
        gas_left: env.meter.gas(),
    };
    Ok(Flow::Ask(request, Pending::Create { address, len }))
}

pub(super) fn created(
    env: &mut Env,
    guest: &mut Guest<'_>,
    (address, len): (u32, u32),
    created: Address,
    output: Bytes,
    cost: u64,
) -> Result<u64, Stop> {
    env.meter.charge_gas(cost)?;
    guest.write_len(len, &output)?;
    guest.write(address, created.as_slice())?;
    env.return_data = output;
    Ok(0)
}

pub(super) fn read_return_data(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let (dest, offset, size) = (guest.u32(0), guest.u32(1), guest.u32(2));
    env.meter.charge(price::EVM_CALL)?;
    let available = value::len(&env.return_data).saturating_sub(offset.into());
    let copied = available.min(size.into());
    env.meter.charge(price::write_ink(copied))?;
    copy_range(guest, &env.return_data, offset, size, dest)
}

/// Copies the part of `offset..offset + size` that `data` has, and answers its length. No padding.
pub(super) fn copy_range(guest: &mut Guest<'_>, data: &[u8], offset: u32, size: u32, dest: u32) -> Result<Flow, Stop> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
    let end = start
        .saturating_add(usize::try_from(size).unwrap_or(usize::MAX))
        .min(data.len());
    let part = data.get(start..end).unwrap_or_default();
    if !part.is_empty() {
        guest.write(dest, part)?;
    }
    Ok(Flow::Done(value::len(part)))
}

pub(super) fn return_data_size(env: &mut Env) -> Result<Flow, Stop> {
    env.meter.charge(price::GETTER)?;
    Ok(Flow::Done(value::len(&env.return_data)))
}
