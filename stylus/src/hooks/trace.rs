//! What tracers hear of a program: each host call with its operands, results and ink.
//!
//! A [`HostTrace`] is shared by all programs of a transaction and filled in the order in which calls end, so that an
//! inspector that takes the events at every frame's start and end can tell to which frame they belong.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::Bytes;

use super::{Env, Flow, Guest, Hook, Pending, Response, Stop, value};

/// The most events that are kept, and the most bytes of operands and results; what comes later is dropped and counted.
const MAX_EVENTS: usize = 1 << 20;
const MAX_BYTES: usize = 128 << 20;

/// One call of a host function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// Which function.
    pub hook: Hook,
    /// Operands, in the encoding of Nitro's tracer: concatenated, numbers big-endian.
    pub args: Bytes,
    /// Results, in the same encoding; empty when the call ended the program.
    pub outs: Bytes,
    /// Ink left when it was called.
    pub start_ink: u64,
    /// Ink left when it returned.
    pub end_ink: u64,
    /// Why it ended the program, if it did.
    pub stop: Option<Stop>,
}

/// Something that happened to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// It was entered, and that was paid for.
    Entered {
        /// Length of its calldata in bytes.
        calldata: usize,
        /// Ink that it has.
        ink: u64,
    },
    /// It called a host function.
    Called(HostCall),
    /// It ended.
    Left {
        /// Status of its entry point, 0 or 1; `None` when it did not come to its end.
        status: Option<u32>,
        /// Ink left.
        ink: u64,
        /// Why it failed, for people.
        reason: Option<String>,
    },
    /// It could not be entered, for this reason when it is not the gas.
    Refused(Option<String>),
}

impl HostEvent {
    fn size(&self) -> usize {
        match self {
            Self::Called(call) => call.args.len().saturating_add(call.outs.len()),
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    waiting: Vec<HostEvent>,
    events: usize,
    bytes: usize,
    dropped: u64,
}

/// The events of a transaction's programs that nobody has taken yet. Clones share them.
#[derive(Clone, Default)]
pub struct HostTrace(Arc<Mutex<Log>>);

impl fmt::Debug for HostTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTrace").finish_non_exhaustive()
    }
}

impl HostTrace {
    /// Takes what happened since the last time, oldest first.
    pub fn take(&self) -> Vec<HostEvent> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }

    /// Number of events that were left out because there were too many or too big ones.
    pub fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }

    pub(crate) fn push(&self, event: HostEvent) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = log.bytes.saturating_add(event.size());
        if log.events >= MAX_EVENTS || bytes > MAX_BYTES {
            log.dropped = log.dropped.saturating_add(1);
            return;
        }
        log.bytes = bytes;
        log.events = log.events.saturating_add(1);
        log.waiting.push(event);
    }
}

/// A host call that waits for the EVM.
#[derive(Debug)]
pub(super) struct Open {
    hook: Hook,
    args: Bytes,
    params: [u64; 6],
    start_ink: u64,
}

/// As [`super::start`], and records the call unless another run of the same program has.
pub(super) fn begin(trace: &HostTrace, hook: Hook, env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    if env.is_shown() {
        return super::start(hook, env, guest);
    }
    let mut params = [0; 6];
    params.iter_mut().zip(guest.args).for_each(|(param, arg)| *param = *arg);
    let open = Open {
        hook,
        // Read first: results may overwrite operands.
        args: operands(hook, guest).unwrap_or_default(),
        params,
        start_ink: env.meter.ink(),
    };
    let flow = super::start(hook, env, guest);
    match &flow {
        Ok(Flow::Done(result)) => done(trace, open, env, guest.memory, Ok(*result)),
        Ok(Flow::Ask(..)) => env.open = Some(open),
        Err(stop) => done(trace, open, env, guest.memory, Err(*stop)),
    }
    flow
}

/// As [`super::end`], and records the call that this ends.
pub(super) fn finish(
    trace: &HostTrace,
    pending: Pending,
    response: Response,
    env: &mut Env,
    memory: &mut [u8],
) -> Result<u64, Stop> {
    let result = super::end(pending, response, env, memory);
    if let Some(open) = env.open.take() {
        done(trace, open, env, memory, result);
    }
    result
}

fn done(trace: &HostTrace, open: Open, env: &Env, memory: &mut [u8], result: Result<u64, Stop>) {
    let Open {
        hook,
        args,
        params,
        start_ink,
    } = open;
    let guest = Guest { memory, args: &params };
    let outs = result.ok().and_then(|result| results(hook, env, &guest, result).ok());
    trace.push(HostEvent::Called(HostCall {
        hook,
        args,
        outs: outs.unwrap_or_default(),
        start_ink,
        end_ink: env.meter.ink(),
        stop: result.err(),
    }));
}

/// Joins fields without padding.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn memory(self, guest: &Guest<'_>, pointer: usize, size: u32) -> Result<Self, Stop> {
        Ok(self.bytes(guest.read(guest.u32(pointer), size)?))
    }

    fn end(self) -> Result<Bytes, Stop> {
        Ok(self.0.into())
    }
}

/// What a function is given. Fails where its arguments point out of the memory, as the function itself will.
fn operands(hook: Hook, guest: &Guest<'_>) -> Result<Bytes, Stop> {
    let fields = Fields::default();
    let number = |index: usize| guest.u32(index).to_be_bytes();
    match hook {
        Hook::WriteResult | Hook::Keccak | Hook::LogText => fields.memory(guest, 0, guest.u32(1))?,
        Hook::ExitEarly => fields.bytes(&number(0)),
        Hook::StorageLoad | Hook::TransientLoad => fields.memory(guest, 0, 32)?,
        Hook::StorageCache | Hook::TransientStore => fields.memory(guest, 0, 32)?.memory(guest, 1, 32)?,
        Hook::MathDiv | Hook::MathMod | Hook::MathPow => fields.memory(guest, 0, 32)?.memory(guest, 1, 32)?,
        Hook::MathAddMod | Hook::MathMulMod => fields
            .memory(guest, 0, 32)?
            .memory(guest, 1, 32)?
            .memory(guest, 2, 32)?,
        Hook::StorageFlush => fields.bytes(&[u8::from(guest.u32(0) != 0)]),
        Hook::Call => fields
            .memory(guest, 0, 20)?
            .bytes(&guest.u64(4).to_be_bytes())
            .memory(guest, 3, 32)?
            .memory(guest, 1, guest.u32(2))?,
        Hook::DelegateCall | Hook::StaticCall => fields
            .memory(guest, 0, 20)?
            .bytes(&guest.u64(3).to_be_bytes())
            .memory(guest, 1, guest.u32(2))?,
        Hook::Create1 => fields.memory(guest, 2, 32)?.memory(guest, 0, guest.u32(1))?,
        Hook::Create2 => fields
            .memory(guest, 2, 32)?
            .memory(guest, 3, 32)?
            .memory(guest, 0, guest.u32(1))?,
        Hook::ReadReturnData => fields.bytes(&number(1)).bytes(&number(2)),
        Hook::EmitLog => fields.bytes(&number(2)).memory(guest, 0, guest.u32(1))?,
        Hook::AccountBalance | Hook::AccountCodeSize | Hook::AccountCodeHash => fields.memory(guest, 0, 20)?,
        Hook::AccountCode => fields.memory(guest, 0, 20)?.bytes(&number(1)).bytes(&number(2)),
        Hook::PayForMemoryGrow => fields.bytes(&u16::try_from(guest.u32(0)).unwrap_or(u16::MAX).to_be_bytes()),
        Hook::LogI32 | Hook::LogI64 | Hook::LogF32 | Hook::LogF64 => fields.bytes(printed(hook, guest).as_bytes()),
        Hook::TeeI32 | Hook::TeeI64 | Hook::TeeF32 | Hook::TeeF64 => fields.bytes(printed(hook, guest).as_bytes()),
        _ => fields,
    }
    .end()
}

/// A number as the console shows it.
pub(super) fn printed(hook: Hook, guest: &Guest<'_>) -> String {
    let bits = guest.u64(0);
    match hook {
        Hook::LogI64 | Hook::TeeI64 => bits.cast_signed().to_string(),
        Hook::LogF32 | Hook::TeeF32 => f32::from_bits(guest.u32(0)).to_string(),
        Hook::LogF64 | Hook::TeeF64 => f64::from_bits(bits).to_string(),
        _ => guest.u32(0).cast_signed().to_string(),
    }
}

/// What a function gave, after it ended well with `result`.
fn results(hook: Hook, env: &Env, guest: &Guest<'_>, result: u64) -> Result<Bytes, Stop> {
    let fields = Fields::default();
    let small = || u32::try_from(result & u64::from(u32::MAX)).unwrap_or_default();
    let returned = || {
        u32::try_from(value::len(&env.return_data))
            .unwrap_or(u32::MAX)
            .to_be_bytes()
    };
    match hook {
        Hook::ReadArgs => fields.bytes(&env.call.input),
        Hook::StorageLoad | Hook::TransientLoad | Hook::AccountBalance | Hook::AccountCodeHash => {
            fields.memory(guest, 1, 32)?
        }
        Hook::MathDiv | Hook::MathMod | Hook::MathPow | Hook::MathAddMod | Hook::MathMulMod => {
            fields.memory(guest, 0, 32)?
        }
        Hook::Keccak => fields.memory(guest, 2, 32)?,
        Hook::Call | Hook::DelegateCall | Hook::StaticCall => fields
            .bytes(&returned())
            .bytes(&[u8::try_from(result).unwrap_or(u8::MAX)]),
        Hook::Create1 => fields.memory(guest, 3, 20)?.bytes(&returned()),
        Hook::Create2 => fields.memory(guest, 4, 20)?.bytes(&returned()),
        Hook::ReadReturnData => fields.memory(guest, 0, small())?,
        Hook::AccountCode => fields.memory(guest, 3, small())?,
        Hook::BaseFee | Hook::MsgValue | Hook::GasPrice => fields.memory(guest, 0, 32)?,
        Hook::Coinbase | Hook::ContractAddress | Hook::MsgSender | Hook::Origin => fields.memory(guest, 0, 20)?,
        Hook::ReturnDataSize | Hook::AccountCodeSize | Hook::MsgReentrant | Hook::InkPrice => {
            fields.bytes(&small().to_be_bytes())
        }
        Hook::GasLeft | Hook::InkLeft | Hook::GasLimit | Hook::BlockNumber | Hook::Timestamp | Hook::ChainId => {
            fields.bytes(&result.to_be_bytes())
        }
        _ => fields,
    }
    .end()
}
