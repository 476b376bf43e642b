//! Compiled programs, shared by all executions.
//!
//! A program is translated for the interpreter when it is first called, in about a millisecond. Native code takes longer to
//! make and is made in the background for programs that are called often; until it is there, the interpreter runs them.
//! Native code can be kept on disk, where it saves the next process the work.

mod compiler;
mod disk;
mod program;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use alloy_primitives::B256;
use thiserror::Error;

use self::compiler::Compiler;
pub(crate) use self::disk::Authentic;
use self::disk::Disk;
pub use self::disk::{DiskError, default_directory};
pub(crate) use self::program::CachedProgram;
use crate::hooks::Env;
use crate::module::{self, ModuleError};
use crate::pricing::Params;
use crate::run::{EngineError, NativeEngine, NativeRun, ProgramRun, WasmiEngine};

/// Bounds of what is kept in memory; beyond them the programs that were not used for longest go.
const MAX_PROGRAMS: usize = 1024;
const MAX_BYTES: usize = 512 << 20;
/// The interpreter never forgets a module that it has translated, so that after this many bytes of modules it is replaced.
const MAX_INTERPRETED: usize = 128 << 20;
/// Calls after which a program is worth compiling.
const HOT: u32 = 16;

/// Which engine runs programs. Results are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The interpreter at first, native code once a program is called often or found on disk.
    #[default]
    Auto,
    /// Always the interpreter.
    Wasmi,
    /// Always native code; the first call waits for the compiler.
    Wasmtime,
}

impl std::str::FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "wasmi" => Ok(Self::Wasmi),
            "wasmtime" => Ok(Self::Wasmtime),
            _ => Err(UnknownEngine(name.to_owned())),
        }
    }
}

/// A name that is no engine's.
#[derive(Debug, Error)]
#[error("unknown WASM engine {0:?}: use auto, wasmi or wasmtime")]
pub struct UnknownEngine(String);

/// How programs are run and kept.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Which engine runs them.
    pub engine: EngineChoice,
    /// With [`EngineChoice::Auto`]: calls after which a program is compiled.
    pub hot_after: u32,
    /// Where native code is kept for the next process; `None` keeps none. Created if missing, for this user alone.
    pub directory: Option<PathBuf>,
    /// A debug chain, where programs may also import `console`.
    pub debug_chain: bool,
    /// Activates a program that never was when it is called, by whatever frame, free of charge. No chain does that: it spares
    /// the transaction where only the program matters.
    pub activate_on_call: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            engine: EngineChoice::Auto,
            hot_after: HOT,
            directory: None,
            debug_chain: false,
            activate_on_call: false,
        }
    }
}

/// An activated program cannot be made to run.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// Its module is refused.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The engine refuses it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What instrumented code depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) code_hash: B256,
    /// Stylus version.
    pub(crate) version: u16,
    pub(crate) debug: bool,
}

/// Instrumented and compiled programs by code hash and Stylus version. Shared between threads in an `Arc`.
#[derive(Debug)]
pub struct ProgramCache {
    options: CacheOptions,
    programs: Mutex<HashMap<Key, Arc<CachedProgram>>>,
    /// Counts uses, to tell what was not used for longest.
    clock: AtomicU64,
    interpreter: Mutex<Interpreter>,
    native: OnceLock<Result<Arc<NativeEngine>, String>>,
    disk: Option<Arc<Disk>>,
    compiler: Compiler,
}

/// The interpreter, and the bytes of the modules that it holds.
#[derive(Debug, Default)]
struct Interpreter {
    engine: Arc<WasmiEngine>,
    bytes: usize,
}

impl Default for ProgramCache {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgramCache {
    /// An empty cache for a chain that activates what Arbitrum One would. Nothing is kept on disk.
    pub fn new() -> Self {
        Self::with(CacheOptions::default(), None)
    }

    /// An empty cache for a debug chain, where programs may also import `console`.
    pub fn for_debug_chain() -> Self {
        let options = CacheOptions {
            debug_chain: true,
            ..CacheOptions::default()
        };
        Self::with(options, None)
    }

    /// A cache with these options.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn with_options(options: CacheOptions) -> Result<Self, DiskError> {
        let disk = match &options.directory {
            Some(directory) if options.engine != EngineChoice::Wasmi => Some(Arc::new(Disk::open(directory)?)),
            _ => None,
        };
        Ok(Self::with(options, disk))
    }

    fn with(options: CacheOptions, disk: Option<Arc<Disk>>) -> Self {
        Self {
            options,
            programs: Mutex::default(),
            clock: AtomicU64::new(0),
            interpreter: Mutex::default(),
            native: OnceLock::new(),
            disk,
            compiler: Compiler::default(),
        }
    }

    /// Whether programs may import `console`.
    pub fn is_debug_chain(&self) -> bool {
        self.options.debug_chain
    }

    /// Whether programs are activated when they are called.
    pub(crate) fn activates_on_call(&self) -> bool {
        self.options.activate_on_call
    }

    /// Waits until everything that was to be compiled in the background is compiled.
    pub fn wait_for_compiler(&self) {
        self.compiler.wait();
    }

    /// Whether native code of a program is in memory.
    pub fn is_native(&self, code_hash: B256, version: u16) -> bool {
        self.programs()
            .get(&self.key(code_hash, version))
            .is_some_and(|program| program.native().is_some())
    }

    const fn key(&self, code_hash: B256, version: u16) -> Key {
        Key {
            code_hash,
            version,
            debug: self.options.debug_chain,
        }
    }

    /// A program that is in memory or, as native code, on disk.
    pub(crate) fn get(&self, code_hash: B256, version: u16) -> Option<Arc<CachedProgram>> {
        let key = self.key(code_hash, version);
        let known = self.programs().get(&key).cloned();
        if let Some(program) = known {
            program.used(self.tick());
            return Some(program);
        }
        let kept = self.disk.as_ref()?.load(key)?;
        let module = match self.native_engine().ok()?.load(&kept.code) {
            Ok(module) => module,
            Err(error) => {
                tracing::debug!(target: "stylus", %error, "native code on disk is of another kind; it is made again");
                return None;
            }
        };
        let size = kept.code.bytes().len();
        let program = CachedProgram::new(key, kept.wasm);
        program.set_native(Some(module), size);
        Some(self.insert(program))
    }

    /// Keeps an instrumented module, unless it is known, and compiles it for the engine that will run it first.
    pub(crate) fn compile(
        &self,
        code_hash: B256,
        version: u16,
        wasm: &[u8],
    ) -> Result<Arc<CachedProgram>, EngineError> {
        if let Some(known) = self.get(code_hash, version) {
            return Ok(known);
        }
        let program = CachedProgram::new(self.key(code_hash, version), wasm.to_vec().into());
        if self.options.engine != EngineChoice::Wasmtime {
            self.interpreted(&program)?;
        }
        Ok(self.insert(program))
    }

    /// Instruments and compiles a stored program. It was validated when it was activated, perhaps under other limits.
    pub(crate) fn prepare(
        &self,
        code_hash: B256,
        params: &Params,
        wasm: &[u8],
    ) -> Result<Arc<CachedProgram>, ProgramError> {
        let params = Params {
            page_limit: u16::MAX,
            max_wasm_size: u32::MAX,
            ..*params
        };
        let prepared = module::prepare(wasm, &params, 0)?;
        Ok(self.compile(code_hash, params.version, &prepared.wasm)?)
    }

    /// Prepares a call on the engine that the options and the program's past choose.
    pub(crate) fn start(
        self: &Arc<Self>,
        program: &Arc<CachedProgram>,
        env: Env,
    ) -> Result<Box<dyn ProgramRun>, EngineError> {
        let native = match self.options.engine {
            EngineChoice::Wasmi => None,
            EngineChoice::Wasmtime => {
                let engine = self.native_engine()?;
                self::compiler::compile(program, &engine, self.disk.as_deref());
                program.native()
            }
            EngineChoice::Auto => {
                let native = program.native();
                if native.is_none() && program.called() >= self.options.hot_after && !program.is_refused() {
                    self.compile_in_background(program);
                }
                native
            }
        };
        let Some(module) = native else {
            let (engine, module) = self.interpreted(program)?;
            return Ok(Box::new(engine.start(&module, env)?));
        };
        let (cache, program) = (self.clone(), program.clone());
        let fallback = move |env| {
            let (engine, module) = cache.interpreted(&program)?;
            engine.start(&module, env)
        };
        Ok(Box::new(NativeRun::new(module, env, Box::new(fallback))))
    }

    fn compile_in_background(&self, program: &Arc<CachedProgram>) {
        match self.native_engine() {
            Ok(engine) => self.compiler.request(program, &engine, self.disk.as_ref()),
            Err(error) => {
                tracing::warn!(target: "stylus", %error, "programs are only interpreted");
                program.set_native(None, 0);
            }
        }
    }

    fn native_engine(&self) -> Result<Arc<NativeEngine>, EngineError> {
        self.native
            .get_or_init(|| NativeEngine::new().map(Arc::new).map_err(|error| error.to_string()))
            .clone()
            .map_err(EngineError::Setup)
    }

    /// The program as the interpreter has it.
    fn interpreted(&self, program: &CachedProgram) -> Result<(Arc<WasmiEngine>, crate::run::Module), EngineError> {
        if let Some(known) = program.interpreted() {
            return Ok(known);
        }
        let engine = self.interpreter_for(program.wasm().len());
        let module = engine.compile(program.wasm())?;
        Ok(program.set_interpreted(engine, module))
    }

    /// The interpreter for one more module. A full one is replaced, and lives on only in the runs that use it.
    fn interpreter_for(&self, bytes: usize) -> Arc<WasmiEngine> {
        let mut interpreter = self.interpreter.lock().unwrap_or_else(PoisonError::into_inner);
        interpreter.bytes = interpreter.bytes.saturating_add(bytes);
        if interpreter.bytes <= MAX_INTERPRETED {
            return interpreter.engine.clone();
        }
        *interpreter = Interpreter {
            engine: Arc::default(),
            bytes,
        };
        let engine = interpreter.engine.clone();
        drop(interpreter);
        self.programs()
            .values()
            .for_each(|program| program.forget_interpreted());
        engine
    }

    fn insert(&self, program: CachedProgram) -> Arc<CachedProgram> {
        let program = Arc::new(program);
        program.used(self.tick());
        let mut programs = self.programs();
        programs.insert(program.key(), program.clone());
        let mut bytes: usize = programs.values().map(|program| program.size()).sum();
        while programs.len() > MAX_PROGRAMS || (bytes > MAX_BYTES && programs.len() > 1) {
            let oldest = programs.values().min_by_key(|program| program.last_used()).cloned();
            let Some(oldest) = oldest else { break };
            programs.remove(&oldest.key());
            bytes = bytes.saturating_sub(oldest.size());
        }
        program
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn programs(&self) -> MutexGuard<'_, HashMap<Key, Arc<CachedProgram>>> {
        // A panic elsewhere cannot leave the map half written.
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
