//! The host functions of Stylus programs, independent of the engine that runs them.
//!
//! [`begin`] serves a function at once or answers with a [`Request`] that only the EVM can serve; the engine suspends the
//! program, and [`finish`] applies the EVM's [`Response`]. Charges are taken in the order in which Nitro takes them, so
//! that a program that runs out of ink has had the same effects.

mod account;
mod call;
mod console;
mod env;
mod info;
mod math;
mod meter;
mod storage;
mod table;
mod trace;
mod value;

use alloy_primitives::{Address, B256, Bytes, U256};

pub(crate) use env::PageMarks;
pub use env::{BlockInfo, CallInfo, Env, PageCounters};
pub use meter::Meter;
pub use table::{Hook, Kind, Signature};
pub use trace::{HostCall, HostEvent, HostTrace};

/// Guest memory and arguments of one host call.
pub(crate) struct Guest<'a> {
    /// The program's linear memory.
    pub(crate) memory: &'a mut [u8],
    /// Arguments, zero-extended to 64 bits.
    pub(crate) args: &'a [u64],
}

/// Why a program ends inside a host function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It called `exit_early` with this status.
    Exit(u32),
    /// It could not pay.
    OutOfInk,
    /// The call was wrong or forbidden: the program reverts without data and keeps its gas.
    Failure(&'static str),
}

/// Kind of a contract call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// CALL.
    Call,
    /// DELEGATECALL.
    Delegate,
    /// STATICCALL.
    Static,
}

/// Something that only the EVM can do. Gas is in gas, not ink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read a slot of the acting address. Answer: [`Response::Word`].
    StorageLoad(U256),
    /// Write slots of the acting address, spending at most `gas`. Answer: [`Response::Charged`] or [`Response::OutOfGas`].
    StorageFlush {
        /// Slots and their new values, in ascending order of slots.
        writes: Vec<(U256, U256)>,
        /// Gas at hand.
        gas: u64,
    },
    /// Read a transient slot. Answer: [`Response::Word`].
    TransientLoad(U256),
    /// Write a transient slot. Answer: [`Response::Charged`].
    TransientStore(U256, U256),
    /// Call a contract. Answer: [`Response::Called`].
    Call {
        /// How.
        kind: CallKind,
        /// Whom.
        target: Address,
        /// Value in wei; zero unless `kind` is [`CallKind::Call`].
        value: U256,
        /// Calldata.
        input: Bytes,
        /// Gas at hand.
        gas_left: u64,
        /// Gas that the program wants to pass on at most.
        gas_wanted: u64,
    },
    /// Create a contract. Answer: [`Response::Created`] or [`Response::Refused`].
    Create {
        /// Init code.
        code: Bytes,
        /// Value in wei.
        value: U256,
        /// Salt of CREATE2; `None` for CREATE.
        salt: Option<U256>,
        /// Gas at hand.
        gas_left: u64,
    },
    /// Emit a log. Answer: [`Response::Charged`].
    Log {
        /// Up to four topics.
        topics: Vec<B256>,
        /// Data after the topics.
        data: Bytes,
    },
    /// Read a balance. Answer: [`Response::Word`].
    Balance(Address),
    /// Read code. Answer: [`Response::Code`].
    Code(Address),
    /// Read a code hash. Answer: [`Response::Word`].
    CodeHash(Address),
}

/// The EVM's answer to a [`Request`]. Costs are in gas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A word was read.
    Word {
        /// The word.
        word: B256,
        /// What reading costs.
        cost: u64,
    },
    /// Code was read.
    Code {
        /// The code.
        code: Bytes,
        /// What reading costs.
        cost: u64,
    },
    /// Something was done that costs this much.
    Charged(u64),
    /// The gas at hand did not suffice.
    OutOfGas,
    /// A call ended.
    Called {
        /// Whether it succeeded.
        success: bool,
        /// What it returned or reverted with.
        output: Bytes,
        /// What it cost.
        cost: u64,
    },
    /// A creation ended.
    Created {
        /// The new contract, or zero.
        address: Address,
        /// Revert data of the init code, or nothing.
        output: Bytes,
        /// What it cost.
        cost: u64,
    },
    /// It is not allowed or not affordable at all; the program fails.
    Refused(&'static str),
}

/// What remains to be done with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    StorageLoad {
        key: U256,
        dest: u32,
        charged: u64,
    },
    StorageFlush {
        clear: bool,
    },
    WriteWord {
        dest: u32,
    },
    Charge,
    Code {
        account: Address,
        offset: u32,
        size: u32,
        dest: u32,
    },
    CodeSize {
        account: Address,
    },
    Call {
        len: u32,
    },
    Create {
        address: u32,
        len: u32,
    },
}

/// Where a host call stands.
#[derive(Debug)]
pub(crate) enum Flow {
    /// Done, with this result (ignored when the function has none).
    Done(u64),
    /// The EVM has to answer first.
    Ask(Request, Pending),
}

/// Starts a host function.
pub(crate) fn begin(hook: Hook, env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    env.served = env.served.saturating_add(1);
    match env.trace.clone() {
        Some(trace) => trace::begin(&trace, hook, env, guest),
        None => start(hook, env, guest),
    }
}

fn start(hook: Hook, env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    match hook {
        Hook::ReadArgs => info::read_args(env, guest),
        Hook::WriteResult => info::write_result(env, guest),
        Hook::ExitEarly => Err(Stop::Exit(guest.u32(0))),
        Hook::StorageLoad => storage::load(env, guest),
        Hook::StorageCache => storage::cache(env, guest),
        Hook::StorageFlush => storage::flush(env, guest),
        Hook::TransientLoad => storage::transient_load(env, guest),
        Hook::TransientStore => storage::transient_store(env, guest),
        Hook::Call => call::call(env, guest, CallKind::Call),
        Hook::DelegateCall => call::call(env, guest, CallKind::Delegate),
        Hook::StaticCall => call::call(env, guest, CallKind::Static),
        Hook::Create1 => call::create(env, guest, false),
        Hook::Create2 => call::create(env, guest, true),
        Hook::ReadReturnData => call::read_return_data(env, guest),
        Hook::ReturnDataSize => call::return_data_size(env),
        Hook::EmitLog => account::emit_log(env, guest),
        Hook::AccountBalance => account::balance(env, guest),
        Hook::AccountCode => account::code(env, guest),
        Hook::AccountCodeSize => account::code_size(env, guest),
        Hook::AccountCodeHash => account::code_hash(env, guest),
        Hook::MathDiv | Hook::MathMod | Hook::MathPow | Hook::MathAddMod | Hook::MathMulMod => {
            math::serve(hook, env, guest)
        }
        Hook::Keccak => math::keccak(env, guest),
        Hook::PayForMemoryGrow => info::pay_for_memory_grow(env, guest),
        Hook::LogText
        | Hook::LogI32
        | Hook::LogI64
        | Hook::LogF32
        | Hook::LogF64
        | Hook::TeeI32
        | Hook::TeeI64
        | Hook::TeeF32
        | Hook::TeeF64 => console::serve(hook, env, guest),
        _ => info::getter(hook, env, guest),
    }
}

/// Applies the answer to what [`begin`] asked and returns the function's result (ignored when it has none).
pub(crate) fn finish(pending: Pending, response: Response, env: &mut Env, memory: &mut [u8]) -> Result<u64, Stop> {
    match env.trace.clone() {
        Some(trace) => trace::finish(&trace, pending, response, env, memory),
        None => end(pending, response, env, memory),
    }
}

fn end(pending: Pending, response: Response, env: &mut Env, memory: &mut [u8]) -> Result<u64, Stop> {
    if let Response::Refused(reason) = response {
        return Err(Stop::Failure(reason));
    }
    let mut guest = Guest { memory, args: &[] };
    match (pending, response) {
        (Pending::StorageLoad { key, dest, charged }, Response::Word { word, cost }) => {
            storage::loaded(env, &mut guest, key, dest, charged.saturating_add(cost), word)
        }
        (Pending::StorageFlush { clear }, Response::Charged(cost)) => storage::flushed(env, clear, cost),
        (Pending::StorageFlush { .. }, Response::OutOfGas) => Err(env.meter.exhaust()),
        (Pending::WriteWord { dest }, Response::Word { word, cost }) => {
            env.meter.charge_gas(cost)?;
            guest.write(dest, word.as_slice())?;
            Ok(0)
        }
        (Pending::Charge, Response::Charged(cost)) => {
            env.meter.charge_gas(cost)?;
            Ok(0)
        }
        (
            Pending::Code {
                account,
                offset,
                size,
                dest,
            },
            Response::Code { code, cost },
        ) => {
            env.meter.charge_gas(cost)?;
            env.remember_code(account, &code);
            account::copy_code(env, &mut guest, &code, offset, size, dest)
        }
        (Pending::CodeSize { account }, Response::Code { code, cost }) => {
            env.meter.charge_gas(cost)?;
            env.remember_code(account, &code);
            Ok(value::len(&code))
        }
        (Pending::Call { len }, Response::Called { success, output, cost }) => {
            call::called(env, &mut guest, len, success, output, cost)
        }
        (
            Pending::Create { address, len },
            Response::Created {
                address: created,
                output,
                cost,
            },
        ) => call::created(env, &mut guest, (address, len), created, output, cost),
        _ => Err(Stop::Failure("the EVM answered another question")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::pricing::Params;

    fn env(gas: u64, is_static: bool) -> Env {
        let call = CallInfo {
            input: Bytes::from_static(b"calldata"),
            is_static,
            ..CallInfo::default()
        };
        Env::new(call, BlockInfo::default(), Params::default(), Arc::default(), gas)
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Hook::ALL
            .iter()
            .map(|hook| (hook.signature().module, hook.signature().name))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Hook::ALL.len());
    }

    fn argument() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..300, any::<u64>(), Just(u64::from(u32::MAX)), Just(u64::MAX)]
    }

    fn response() -> impl Strategy<Value = Response> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            any::<u64>().prop_map(|cost| Response::Word {
                word: B256::repeat_byte(7),
                cost
            }),
            (bytes.clone(), 0_u64..100).prop_map(|(code, cost)| Response::Code { code, cost }),
            (0_u64..100).prop_map(Response::Charged),
            Just(Response::OutOfGas),
            (bytes.clone(), any::<bool>(), 0_u64..100).prop_map(|(output, success, cost)| Response::Called {
                success,
                output,
                cost
            }),
            (bytes, 0_u64..100).prop_map(|(output, cost)| Response::Created {
                address: Address::ZERO,
                output,
                cost
            }),
            Just(Response::Refused("no")),
        ]
    }

    proptest! {
        /// Whatever a guest passes and whatever is answered: no panic, and ink only goes down.
        #[test]
        fn hostile_calls_end_in_a_result(
            calls in proptest::collection::vec((0..Hook::ALL.len(), [argument(), argument(), argument(), argument(), argument(), argument()], response()), 1..20),
            gas in prop_oneof![0_u64..10_000, Just(u64::MAX)],
            is_static: bool,
        ) {
            let mut env = env(gas, is_static);
            let mut memory = [0; 256];
            for (index, args, response) in calls {
                let before = env.meter.ink();
                let flow = begin(Hook::ALL[index], &mut env, &mut Guest { memory: &mut memory, args: &args });
                if let Ok(Flow::Ask(request, pending)) = flow {
                    let writes = matches!(
                        request,
                        Request::StorageFlush { .. }
                            | Request::Log { .. }
                            | Request::Create { .. }
                            | Request::TransientStore(..)
                    );
                    prop_assert!(!(is_static && writes));
                    let _ = finish(pending, response, &mut env, &mut memory);
                }
                prop_assert!(env.meter.ink() <= before);
            }
        }
    }
}
