//! The wasmtime backend: native code on a stack of its own, which host functions suspend.

mod call;

use std::fmt;
use std::sync::{Arc, Mutex};

use wasmparser::{Parser, Payload};
use wasmtime::{Config, Engine, FuncType, InstancePre, Linker, OptLevel, ValType, WasmBacktraceDetails};

pub(super) use self::call::{Coroutine, Pause};
use self::call::{HostState, Mailbox};
use super::EngineError;
use crate::cache::Authentic;
use crate::hooks::{Env, Hook, Kind};

/// Host stack of a call's native code. A frame may need more of it than its words suggest, because the compiler hoists
/// and spills as it sees fit; the interpreter takes over where this does not suffice.
const WASM_STACK: usize = 1 << 20;
/// Host stack of a call with its host functions.
const CALL_STACK: usize = 2 << 20;
/// Address space of a memory: the 128 pages that a transaction can pay for. A thousand calls may be open at once, so that
/// the engine's usual 4 GiB each would be too many.
const MEMORY_RESERVATION: u64 = 8 << 20;
const MEMORY_GUARD: u64 = 64 << 10;

/// Bound of the compiler's work. Its time grows faster than a function: one of the largest that a program may have, 100,000
/// instrumented bytes of branches, takes seconds. What counts is the square of each function's bytes; a large honest program,
/// with hundreds of functions, stays far below. Beyond it programs are interpreted.
const MAX_WORK: u64 = 20_000_000_000;

/// The compiler and the host functions, shared by all programs.
pub struct NativeEngine {
    engine: Engine,
    linker: Linker<HostState>,
}

impl fmt::Debug for NativeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeEngine").finish_non_exhaustive()
    }
}

/// A program as native code.
#[derive(Clone)]
pub struct NativeModule {
    pre: InstancePre<HostState>,
}

impl fmt::Debug for NativeModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeModule").finish_non_exhaustive()
    }
}

impl NativeEngine {
    /// An engine with all host functions linked.
    ///
    /// # Errors
    /// [`EngineError::Setup`] on a machine that wasmtime does not know.
    pub fn new() -> Result<Self, EngineError> {
        let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
        let engine = Engine::new(&config()).map_err(setup)?;
        let mut linker = Linker::new(&engine);
        for hook in Hook::ALL.iter().copied() {
            let signature = hook.signature();
            let params = signature.params.iter().map(|kind| val_type(*kind));
            let ty = FuncType::new(&engine, params, signature.result.map(val_type));
            let (module, name) = (signature.module, signature.name);
            if hook.may_ask() {
                linker
                    .func_new_async(module, name, ty, move |caller, args, out| {
                        Box::new(call::serve_or_wait(hook, caller, args, out))
                    })
                    .map_err(setup)?;
            } else {
                linker
                    .func_new(module, name, ty, move |caller, args, out| {
                        call::serve(hook, caller, args, out)
                    })
                    .map_err(setup)?;
            }
        }
        Ok(Self { engine, linker })
    }

    /// Compiles an instrumented module. Takes milliseconds to seconds.
    ///
    /// # Errors
    /// [`EngineError::Compile`], also when it would take longer than that.
    pub fn compile(&self, wasm: &[u8]) -> Result<NativeModule, EngineError> {
        let work = work(wasm);
        if work > MAX_WORK {
            return Err(EngineError::Compile(format!(
                "its functions are so large that compiling them would take too long ({work} > {MAX_WORK} bytes squared)"
            )));
        }
        let module = wasmtime::Module::new(&self.engine, wasm).map_err(refused)?;
        self.link(&module)
    }

    /// Loads what [`NativeModule::serialize`] gave.
    ///
    /// # Errors
    /// [`EngineError::Compile`] when it was made by another version of the engine, or for another machine.
    pub fn load(&self, code: &Authentic) -> Result<NativeModule, EngineError> {
        #[allow(
            unsafe_code,
            reason = "loading native code is as safe as its source is trusted; there is no safe way to load any"
        )]
        // SAFETY: the bytes must be what `Module::serialize` gave. `Authentic` is made only by this process's own
        // compiler, or by the disk cache from a file that this user wrote and whose keyed hash, over name and
        // content, matches; the engine itself refuses code of other versions and settings.
        let module = unsafe { wasmtime::Module::deserialize(&self.engine, code.bytes()) }.map_err(refused)?;
        self.link(&module)
    }

    fn link(&self, module: &wasmtime::Module) -> Result<NativeModule, EngineError> {
        let pre = self.linker.instantiate_pre(module).map_err(refused)?;
        Ok(NativeModule { pre })
    }
}

/// The squares of the sizes of all functions, added up. What cannot be parsed is left to the engine to refuse.
fn work(wasm: &[u8]) -> u64 {
    let bodies = Parser::new(0)
        .parse_all(wasm)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::CodeSectionEntry(body) => u64::try_from(body.range().len()).ok(),
            _ => None,
        });
    bodies.fold(0, |work: u64, len| work.saturating_add(len.saturating_mul(len)))
}

fn refused(error: wasmtime::Error) -> EngineError {
    EngineError::Compile(format!("{error:#}"))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(CALL_STACK)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        // Images of memories would hold a file descriptor per program, for the little data that programs have.
        .memory_init_cow(false)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    if cfg!(not(windows)) {
        // Only other tools' backtraces would need it.
        config.native_unwind_info(false);
    }
    config
}

impl NativeModule {
    /// The native code, to be loaded again by an engine of the same version on a machine of the same kind.
    ///
    /// # Errors
    /// [`EngineError::Compile`].
    pub fn serialize(&self) -> Result<Vec<u8>, EngineError> {
        self.pre.module().serialize().map_err(refused)
    }

    /// Starts a call; nothing runs before the first [`Coroutine::resume`].
    pub(super) fn start(&self, env: Box<Env>) -> Coroutine {
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        Coroutine::new(self.pre.clone(), HostState::new(env, mailbox.clone()), mailbox)
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
