//! The wasmi backend: a portable interpreter whose calls can be suspended by host functions.

use std::fmt;
use std::sync::Arc;

use wasmi::{
    Caller, Config, Engine, Error as WasmiError, FuncType, Global, Linker, Memory, Store, TrapCode, TypedResumableCall,
    TypedResumableCallHostTrap, Val, ValType,
};

use super::{Counters, EngineError, Finished, OUT_OF_ORDER, Outcome, ProgramRun, Step};
use crate::hooks::{self, Env, Flow, Guest, Hook, Kind, Pending, Request, Response, Stop};
use crate::module::{ENTRYPOINT, INK_LEFT, INK_STATUS, MEMORY, STACK_LEFT};

/// Bounds of the interpreter's own stack. They are far above what stack metering allows (a frame of at least 4 words
/// each, 262,144 words at most), so that metering always decides first.
const MAX_RECURSION: usize = 1 << 17;
const MAX_STACK_BYTES: usize = 64 << 20;

/// The interpreter and the host functions, shared by all programs.
pub struct WasmiEngine {
    engine: Engine,
    linker: Linker<HostState>,
}

impl fmt::Debug for WasmiEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiEngine").finish_non_exhaustive()
    }
}

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Module {
    module: wasmi::Module,
}

impl Default for WasmiEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl WasmiEngine {
    /// An engine with all host functions linked.
    pub fn new() -> Self {
        let mut config = Config::default();
        config
            .set_max_recursion_depth(MAX_RECURSION)
            .set_max_stack_height(MAX_STACK_BYTES);
        let engine = Engine::new(&config);
        let mut linker = Linker::new(&engine);
        linker.allow_shadowing(true);
        for hook in Hook::ALL {
            let signature = hook.signature();
            let params: Vec<_> = signature.params.iter().map(|kind| val_type(*kind)).collect();
            let results: Vec<_> = signature.result.map(val_type).into_iter().collect();
            let serve =
                move |caller: Caller<'_, HostState>, args: &[Val], out: &mut [Val]| serve(*hook, caller, args, out);
            // Defining can only fail for a name that is taken, and shadowing is allowed.
            let _ = linker.func_new(signature.module, signature.name, FuncType::new(params, results), serve);
        }
        Self { engine, linker }
    }

    /// Compiles an instrumented module.
    ///
    /// # Errors
    /// [`EngineError::Compile`].
    pub fn compile(&self, wasm: &[u8]) -> Result<Module, EngineError> {
        wasmi::Module::new(&self.engine, wasm)
            .map(|module| Module { module })
            .map_err(|error| EngineError::Compile(error.to_string()))
    }

    /// Prepares a call of `module`; nothing runs before the first [`ProgramRun::resume`].
    ///
    /// # Errors
    /// [`EngineError::Instantiate`] or [`EngineError::MissingExport`].
    pub fn start(self: &Arc<Self>, module: &Module, env: Env) -> Result<WasmiRun, EngineError> {
        let (calldata_len, stack_depth) = (env.call.input.len(), env.stack_depth());
        let ink = env.meter.ink();
        let state = HostState {
            env,
            memory: None,
            ink: None,
            stop: None,
            asked: None,
        };
        let mut store = Store::new(&self.engine, state);
        let instance = self
            .linker
            .instantiate_and_start(&mut store, &module.module)
            .map_err(|error| EngineError::Instantiate(error.to_string()))?;
        let global =
            |store: &Store<HostState>, name| instance.get_global(store, name).ok_or(EngineError::MissingExport(name));
        let globals = Globals {
            ink: global(&store, INK_LEFT)?,
            status: global(&store, INK_STATUS)?,
            stack: global(&store, STACK_LEFT)?,
        };
        let memory = instance
            .get_memory(&store, MEMORY)
            .ok_or(EngineError::MissingExport(MEMORY))?;
        let set = |store: &mut Store<HostState>, global: Global, value, name| {
            global.set(store, value).map_err(|_| EngineError::MissingExport(name))
        };
        set(&mut store, globals.ink, Val::I64(ink.cast_signed()), INK_LEFT)?;
        set(&mut store, globals.status, Val::I32(0), INK_STATUS)?;
        set(
            &mut store,
            globals.stack,
            Val::I32(stack_depth.cast_signed()),
            STACK_LEFT,
        )?;
        let state = store.data_mut();
        (state.memory, state.ink) = (Some(memory), Some(globals.ink));
        let entry = instance
            .get_typed_func::<i32, i32>(&store, ENTRYPOINT)
            .map_err(|_| EngineError::MissingExport(ENTRYPOINT))?;
        let argument = u32::try_from(calldata_len).unwrap_or(u32::MAX).cast_signed();
        Ok(WasmiRun {
            store,
            globals,
            memory,
            position: Position::Start(entry, argument),
        })
    }
}

fn val_type(kind: Kind) -> ValType {
    match kind {
        Kind::I32 => ValType::I32,
        Kind::I64 => ValType::I64,
        Kind::F32 => ValType::F32,
        Kind::F64 => ValType::F64,
    }
}

/// The bits of a number; programs pass nothing else.
fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(number) => number.cast_unsigned().into(),
        Val::I64(number) => number.cast_unsigned(),
        Val::F32(number) => number.to_bits().into(),
        Val::F64(number) => number.to_bits(),
        _ => 0,
    }
}

fn number(kind: Kind, bits: u64) -> Val {
    let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    match kind {
        Kind::I32 => Val::I32(low.cast_signed()),
        Kind::I64 => Val::I64(bits.cast_signed()),
        Kind::F32 => Val::F32(wasmi::F32::from_bits(low)),
        Kind::F64 => Val::F64(wasmi::F64::from_bits(bits)),
    }
}

/// What host functions find in the store.
struct HostState {
    env: Env,
    memory: Option<Memory>,
    ink: Option<Global>,
    stop: Option<Stop>,
    asked: Option<(Hook, Request, Pending)>,
}

/// Leaves the interpreter from a host function; why is in the store.
#[derive(Debug)]
struct Left;

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program left the interpreter in a host function")
    }
}

impl wasmi::errors::HostError for Left {}

fn serve(hook: Hook, mut caller: Caller<'_, HostState>, args: &[Val], out: &mut [Val]) -> Result<(), WasmiError> {
    let (Some(memory), Some(ink)) = (caller.data().memory, caller.data().ink) else {
        // Only a start function could come here, and those are not accepted.
        return Err(WasmiError::host(Left));
    };
    let left = bits(&ink.get(&caller));
    let mut words = [0; 6];
    words.iter_mut().zip(args).for_each(|(word, arg)| *word = bits(arg));
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    state.env.meter.set_ink(left);
    let flow = hooks::begin(
        hook,
        &mut state.env,
        &mut Guest {
            memory: bytes,
            args: &words,
        },
    );
    let left = state.env.meter.ink();
    let result = match flow {
        Ok(Flow::Done(result)) => Ok(result),
        Ok(Flow::Ask(request, pending)) => {
            state.asked = Some((hook, request, pending));
            Err(WasmiError::host(Left))
        }
        Err(stop) => {
            state.stop = Some(stop);
            Err(WasmiError::host(Left))
        }
    };
    ink.set(&mut caller, Val::I64(left.cast_signed()))
        .map_err(|_| WasmiError::host(Left))?;
    let result = result?;
    if let (Some(slot), Some(kind)) = (out.first_mut(), hook.signature().result) {
        *slot = number(kind, result);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Globals {
    ink: Global,
    status: Global,
    stack: Global,
}

enum Position {
    Start(wasmi::TypedFunc<i32, i32>, i32),
    Suspended(TypedResumableCallHostTrap<i32>, Hook, Pending),
    Over,
}

/// A program call in wasmi.
pub struct WasmiRun {
    store: Store<HostState>,
    globals: Globals,
    memory: Memory,
    position: Position,
}

impl fmt::Debug for WasmiRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiRun")
            .field("env", &self.store.data().env)
            .finish_non_exhaustive()
    }
}

impl ProgramRun for WasmiRun {
    fn resume(&mut self, response: Option<Response>) -> Step {
        match (std::mem::replace(&mut self.position, Position::Over), response) {
            (Position::Start(entry, argument), None) => {
                let call = entry.call_resumable(&mut self.store, argument);
                self.settle(call)
            }
            (Position::Suspended(call, hook, pending), Some(response)) => self.answer(call, hook, pending, response),
            _ => self.stopped(OUT_OF_ORDER),
        }
    }

    fn env(&self) -> &Env {
        &self.store.data().env
    }
}

impl WasmiRun {
    fn answer(
        &mut self,
        call: TypedResumableCallHostTrap<i32>,
        hook: Hook,
        pending: Pending,
        response: Response,
    ) -> Step {
        let left = bits(&self.globals.ink.get(&self.store));
        let (bytes, state) = self.memory.data_and_store_mut(&mut self.store);
        state.env.meter.set_ink(left);
        let result = match hooks::finish(pending, response, &mut state.env, bytes) {
            Ok(result) => result,
            Err(stop) => return self.stopped(stop),
        };
        let left = Val::I64(state.env.meter.ink().cast_signed());
        if self.globals.ink.set(&mut self.store, left).is_err() {
            return self.stopped(Stop::Failure("the ink counter is gone"));
        }
        let inputs = hook.signature().result.map(|kind| number(kind, result));
        let call = call.resume(&mut self.store, inputs.as_slice());
        self.settle(call)
    }

    fn settle(&mut self, call: Result<TypedResumableCall<i32>, WasmiError>) -> Step {
        match call {
            Ok(TypedResumableCall::Finished(status)) => {
                let ink = bits(&self.globals.ink.get(&self.store));
                self.exited(status.cast_unsigned(), ink)
            }
            Ok(TypedResumableCall::HostTrap(call)) => {
                let state = self.store.data_mut();
                match (state.asked.take(), state.stop.take()) {
                    (Some((hook, request, pending)), _) => {
                        self.position = Position::Suspended(call, hook, pending);
                        Step::Request(request)
                    }
                    (None, Some(stop)) => self.stopped(stop),
                    (None, None) => self.stopped(Stop::Failure("a host function failed")),
                }
            }
            Ok(TypedResumableCall::OutOfFuel(_)) => self.stopped(Stop::OutOfInk),
            Err(trap) => self.trapped(&trap),
        }
    }

    fn stopped(&mut self, stop: Stop) -> Step {
        Step::Finished(Finished::stopped(stop, &mut self.store.data_mut().env))
    }

    fn exited(&mut self, status: u32, ink: u64) -> Step {
        let output = std::mem::take(&mut self.store.data_mut().env.result);
        Step::Finished(Finished::exited(status, output, ink))
    }

    fn trapped(&mut self, trap: &WasmiError) -> Step {
        let counters = Counters {
            ink: bits(&self.globals.ink.get(&self.store)),
            stack: bits(&self.globals.stack.get(&self.store)),
            status: bits(&self.globals.status.get(&self.store)),
        };
        Step::Finished(if trap.as_trap_code() == Some(TrapCode::StackOverflow) {
            Finished::exhausted(Outcome::OutOfStack)
        } else {
            counters.trapped(|| trap.to_string())
        })
    }
}
