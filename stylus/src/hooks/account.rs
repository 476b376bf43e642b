//! Other accounts, and logs.

use alloy_primitives::{B256, Bytes};

use super::{Env, Flow, Guest, Pending, Request, Stop, call, value};
use crate::pricing::hooks as price;

/// Most topics a log can have.
const MAX_TOPICS: u32 = 4;
/// Gas of a log, and of each topic (EVM).
const LOG_TOPIC_GAS: u64 = 375;
/// Gas per byte of log data (EVM).
const LOG_BYTE_GAS: u64 = 8;

pub(super) fn balance(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL_TWO_POINTERS)?;
    env.meter.require_gas(price::ACCOUNT_REQUIRED_GAS)?;
    let account = guest.address(guest.u32(0))?;
    Ok(Flow::Ask(
        Request::Balance(account),
        Pending::WriteWord { dest: guest.u32(1) },
    ))
}

pub(super) fn code_hash(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL_TWO_POINTERS)?;
    env.meter.require_gas(price::ACCOUNT_REQUIRED_GAS)?;
    let account = guest.address(guest.u32(0))?;
    Ok(Flow::Ask(
        Request::CodeHash(account),
        Pending::WriteWord { dest: guest.u32(1) },
    ))
}

pub(super) fn code(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let (offset, size, dest) = (guest.u32(1), guest.u32(2), guest.u32(3));
    env.meter.charge(price::EVM_CALL)?;
    env.meter.require_gas(price::ACCOUNT_REQUIRED_GAS)?;
    let account = guest.address(guest.u32(0))?;
    match env.last_code(account) {
        Some(code) => copy_code(env, guest, &code, offset, size, dest).map(Flow::Done),
        None => Ok(Flow::Ask(
            Request::Code(account),
            Pending::Code {
                account,
                offset,
                size,
                dest,
            },
        )),
    }
}

/// Charges for the whole code and copies the wanted part of it.
pub(super) fn copy_code(
    env: &mut Env,
    guest: &mut Guest<'_>,
    code: &Bytes,
    offset: u32,
    size: u32,
    dest: u32,
) -> Result<u64, Stop> {
    env.meter.charge(price::write_ink(value::len(code)))?;
    match call::copy_range(guest, code, offset, size, dest)? {
        Flow::Done(copied) => Ok(copied),
        Flow::Ask(..) => Err(Stop::Failure("copying asked the EVM")),
    }
}

pub(super) fn code_size(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.meter.charge(price::EVM_CALL)?;
    env.meter.require_gas(price::ACCOUNT_REQUIRED_GAS)?;
    let account = guest.address(guest.u32(0))?;
    match env.last_code(account) {
        Some(code) => Ok(Flow::Done(value::len(&code))),
        None => Ok(Flow::Ask(Request::Code(account), Pending::CodeSize { account })),
    }
}

pub(super) fn emit_log(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let (data, len, topics) = (guest.u32(0), guest.u32(1), guest.u32(2));
    env.meter.charge(price::EVM_CALL)?;
    let Some(data_len) = len
        .checked_sub(topics.saturating_mul(32))
        .filter(|_| topics <= MAX_TOPICS)
    else {
        return Err(Stop::Failure("a log has too many topics or too little data"));
    };
    env.meter.charge(price::read_ink(len.into()))?;
    let gas = LOG_TOPIC_GAS.saturating_mul(u64::from(topics).saturating_add(1));
    env.meter
        .charge_gas(gas.saturating_add(LOG_BYTE_GAS.saturating_mul(data_len.into())))?;
    let bytes = guest.read(data, len)?;
    let (topics, data) = bytes.split_at(usize::try_from(len.saturating_sub(data_len)).unwrap_or_default());
    let topics = topics.chunks_exact(32).map(B256::from_slice).collect();
    if env.call.is_static {
        return Err(Stop::Failure("a log is emitted in a static call"));
    }
    Ok(Flow::Ask(
        Request::Log {
            topics,
            data: Bytes::copy_from_slice(data),
        },
        Pending::Charge,
    ))
}
