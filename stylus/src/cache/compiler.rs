//! Making native code, in the background.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::program::CachedProgram;
use crate::run::NativeEngine;

/// Programs that may wait; more are asked for again when they are called again.
const MAX_WAITING: usize = 64;
/// Stack of the compiler's thread.
const STACK: usize = 8 << 20;

/// What the compiler's thread needs for one program.
#[derive(Debug)]
struct Job {
    program: Arc<CachedProgram>,
    engine: Arc<NativeEngine>,
    disk: Option<Arc<Disk>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Whether the thread is there. It ends when nothing waits.
    running: bool,
}

/// Compiles one program after the other on a thread of its own, which exists only while there is work.
#[derive(Debug, Default)]
pub(super) struct Compiler {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    idle: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic elsewhere cannot leave the queue half written.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        // Also when a job panics, those who wait are let go.
        let _leave = Leave(self);
        loop {
            let mut queue = self.queue();
            let Some(job) = queue.waiting.pop_front() else {
                queue.running = false;
                return;
            };
            drop(queue);
            compile(&job.program, &job.engine, job.disk.as_deref());
        }
    }
}

struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.queue().running = false;
        self.0.idle.notify_all();
    }
}

impl Compiler {
    /// Has a program compiled soon. Does nothing when it waits already, or when too many do.
    pub(super) fn request(&self, program: &Arc<CachedProgram>, engine: &Arc<NativeEngine>, disk: Option<&Arc<Disk>>) {
        let mut queue = self.shared.queue();
        if queue.waiting.len() >= MAX_WAITING || !program.queue() {
            return;
        }
        queue.waiting.push_back(Job {
            program: program.clone(),
            engine: engine.clone(),
            disk: disk.cloned(),
        });
        if queue.running {
            return;
        }
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name("stylus-compiler".to_owned())
            .stack_size(STACK);
        match thread.spawn(move || shared.work()) {
            Ok(_) => queue.running = true,
            Err(error) => {
                tracing::debug!(target: "stylus", %error, "no thread for the compiler");
                queue.waiting.drain(..).for_each(|job| job.program.unqueue());
            }
        }
    }

    /// Waits until nothing is left to compile.
    pub(super) fn wait(&self) {
        let mut queue = self.shared.queue();
        while queue.running {
            queue = self.shared.idle.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Compiles a program, unless that was done, and keeps the result in memory and on disk.
pub(super) fn compile(program: &CachedProgram, engine: &NativeEngine, disk: Option<&Disk>) {
    if program.is_compiled() {
        return;
    }
    let made = engine
        .compile(program.wasm())
        .and_then(|module| module.serialize().map(|code| (module, code)));
    match made {
        Ok((module, code)) => {
            program.set_native(Some(module), code.len());
            if let Some(disk) = disk {
                disk.store(program.key(), program.wasm(), &code);
            }
        }
        Err(error) => {
            let code_hash = program.key().code_hash;
            tracing::warn!(target: "stylus", %code_hash, %error, "a program is only interpreted");
            program.set_native(None, 0);
        }
    }
}
