//! Compiled programs, shared by all executions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use thiserror::Error;

use crate::module::{self, ModuleError};
use crate::pricing::Params;
use crate::run::{EngineError, Module, WasmiEngine};

/// Programs that are kept compiled; when there are more, all are dropped and compiled again on demand.
const CAPACITY: usize = 4096;

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

/// Instrumented and compiled programs by code hash and Stylus version. Shared between threads in an `Arc`.
#[derive(Debug)]
pub struct ProgramCache {
    engine: Arc<WasmiEngine>,
    modules: Mutex<HashMap<(B256, u16), Module>>,
    debug: bool,
}

impl Default for ProgramCache {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgramCache {
    /// An empty cache for a chain that activates what Arbitrum One would.
    pub fn new() -> Self {
        Self {
            engine: Arc::new(WasmiEngine::new()),
            modules: Mutex::default(),
            debug: false,
        }
    }

    /// An empty cache for a debug chain, where programs may also import `console`.
    pub fn for_debug_chain() -> Self {
        Self {
            debug: true,
            ..Self::new()
        }
    }

    /// Whether programs may import `console`.
    pub fn is_debug_chain(&self) -> bool {
        self.debug
    }

    pub(crate) fn engine(&self) -> &Arc<WasmiEngine> {
        &self.engine
    }

    pub(crate) fn get(&self, code_hash: B256, version: u16) -> Option<Module> {
        self.modules().get(&(code_hash, version)).cloned()
    }

    /// Compiles an instrumented module and keeps it.
    pub(crate) fn compile(&self, code_hash: B256, version: u16, wasm: &[u8]) -> Result<Module, EngineError> {
        let module = self.engine.compile(wasm)?;
        let mut modules = self.modules();
        if modules.len() >= CAPACITY {
            modules.clear();
        }
        modules.insert((code_hash, version), module.clone());
        Ok(module)
    }

    /// Instruments and compiles a stored program. It was validated when it was activated, perhaps under other limits.
    pub(crate) fn prepare(&self, code_hash: B256, params: &Params, wasm: &[u8]) -> Result<Module, ProgramError> {
        let params = Params {
            page_limit: u16::MAX,
            max_wasm_size: u32::MAX,
            ..*params
        };
        let prepared = module::prepare(wasm, &params, 0)?;
        Ok(self.compile(code_hash, params.version, &prepared.wasm)?)
    }

    fn modules(&self) -> MutexGuard<'_, HashMap<(B256, u16), Module>> {
        // A panic elsewhere cannot leave the map half written.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
