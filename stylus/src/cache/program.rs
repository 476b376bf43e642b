//! One program in the cache, in the forms in which engines have it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use alloy_primitives::Bytes;

use super::Key;
use crate::run::{Module, NativeModule, WasmiEngine};

type Interpreted = (Arc<WasmiEngine>, Module);

/// An instrumented module and what has been made of it.
#[derive(Debug)]
pub(crate) struct CachedProgram {
    key: Key,
    wasm: Bytes,
    interpreted: Mutex<Option<Interpreted>>,
    /// Once it was tried: native code, or nothing when the compiler refused.
    native: OnceLock<Option<NativeModule>>,
    native_size: AtomicUsize,
    /// Whether it waits for the compiler.
    queued: AtomicBool,
    calls: AtomicU32,
    last_used: AtomicU64,
}

impl CachedProgram {
    pub(super) fn new(key: Key, wasm: Bytes) -> Self {
        Self {
            key,
            wasm,
            interpreted: Mutex::default(),
            native: OnceLock::new(),
            native_size: AtomicUsize::new(0),
            queued: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    pub(super) const fn key(&self) -> Key {
        self.key
    }

    /// The instrumented module.
    pub(super) fn wasm(&self) -> &Bytes {
        &self.wasm
    }

    /// Bytes that it holds, roughly: the interpreter's form is about twice the module.
    pub(super) fn size(&self) -> usize {
        let wasm = self.wasm.len().saturating_mul(3);
        wasm.saturating_add(self.native_size.load(Ordering::Relaxed))
    }

    /// Counts a call and answers how many there were.
    pub(super) fn called(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    pub(super) fn used(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn native(&self) -> Option<NativeModule> {
        self.native.get().cloned().flatten()
    }

    /// Whether native code was tried and refused.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.native.get(), Some(None))
    }

    /// Whether the compiler has done with it.
    pub(super) fn is_compiled(&self) -> bool {
        self.native.get().is_some()
    }

    /// Notes the result of compiling, of `size` bytes. The first result stays.
    pub(super) fn set_native(&self, module: Option<NativeModule>, size: usize) {
        if self.native.set(module).is_ok() {
            self.native_size.store(size, Ordering::Relaxed);
        }
    }

    /// Marks it as waiting for the compiler; false if it is already.
    pub(super) fn queue(&self) -> bool {
        !self.queued.swap(true, Ordering::Relaxed)
    }

    pub(super) fn unqueue(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }

    pub(super) fn interpreted(&self) -> Option<Interpreted> {
        self.slot().clone()
    }

    /// Keeps the interpreter's form, unless another thread was faster, and answers the one that is kept.
    pub(super) fn set_interpreted(&self, engine: Arc<WasmiEngine>, module: Module) -> Interpreted {
        self.slot().get_or_insert((engine, module)).clone()
    }

    pub(super) fn forget_interpreted(&self) {
        *self.slot() = None;
    }

    fn slot(&self) -> MutexGuard<'_, Option<Interpreted>> {
        self.interpreted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
