//! One call in native code.
//!
//! A call is a future that owns its store. A host function that needs the EVM leaves its question in a mailbox and stays
//! pending; polling the future again, with the answer in the mailbox, resumes it. Nobody has to wake it, since whoever
//! holds the answer also polls.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wasmtime::{AsContext, AsContextMut, Caller, Global, InstancePre, Memory, Store, Trap, TypedFunc, Val};

use crate::hooks::{self, Env, Flow, Guest, Hook, Kind, Pending, Request, Response, Stop};
use crate::module::{ENTRYPOINT, INK_LEFT, INK_STATUS, MEMORY, STACK_LEFT};
use crate::run::{Counters, EngineError, Finished};

/// The bits of a number; programs pass nothing else.
fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(number) => number.cast_unsigned().into(),
        Val::I64(number) => number.cast_unsigned(),
        Val::F32(bits) => (*bits).into(),
        Val::F64(bits) => *bits,
        _ => 0,
    }
}

fn number(kind: Kind, bits: u64) -> Val {
    let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    match kind {
        Kind::I32 => Val::I32(low.cast_signed()),
        Kind::I64 => Val::I64(bits.cast_signed()),
        Kind::F32 => Val::F32(low),
        Kind::F64 => Val::F64(bits),
    }
}

/// What host functions find in the store.
pub(super) struct HostState {
    /// Away while the call is suspended.
    env: Option<Box<Env>>,
    memory: Option<Memory>,
    ink: Option<Global>,
    stop: Option<Stop>,
    mailbox: Arc<Mutex<Mailbox>>,
}

impl HostState {
    pub(super) fn new(env: Box<Env>, mailbox: Arc<Mutex<Mailbox>>) -> Self {
        Self {
            env: Some(env),
            memory: None,
            ink: None,
            stop: None,
            mailbox,
        }
    }
}

/// What a suspended call and its owner have for each other.
#[derive(Default)]
pub(super) struct Mailbox {
    asked: Option<(Request, Box<Env>)>,
    answer: Option<(Response, Box<Env>)>,
}

/// Leaves native code from a host function; why is in the store.
#[derive(Debug, thiserror::Error)]
#[error("the program left its native code in a host function")]
struct Left;

/// Runs `act` on the state of a call, with the ink counter brought in and out.
fn with_env<T>(
    caller: &mut Caller<'_, HostState>,
    act: impl FnOnce(&mut Env, &mut [u8]) -> Result<T, Stop>,
) -> wasmtime::Result<T> {
    let (Some(memory), Some(ink)) = (caller.data().memory, caller.data().ink) else {
        // Only a start function could come here, and those are not accepted.
        return Err(Left.into());
    };
    let left = bits(&ink.get(&mut *caller));
    let (bytes, state) = memory.data_and_store_mut(&mut *caller);
    let Some(env) = state.env.as_mut() else {
        return Err(Left.into());
    };
    env.meter.set_ink(left);
    let done = act(env, bytes);
    let left = env.meter.ink();
    let done = done.map_err(|stop| {
        state.stop = Some(stop);
        Left.into()
    });
    ink.set(&mut *caller, Val::I64(left.cast_signed()))?;
    done
}

fn begin(hook: Hook, caller: &mut Caller<'_, HostState>, args: &[Val]) -> wasmtime::Result<Flow> {
    let mut words = [0; 6];
    words.iter_mut().zip(args).for_each(|(word, arg)| *word = bits(arg));
    with_env(caller, |env, memory| {
        hooks::begin(hook, env, &mut Guest { memory, args: &words })
    })
}

fn give_back(hook: Hook, out: &mut [Val], result: u64) {
    if let (Some(slot), Some(kind)) = (out.first_mut(), hook.signature().result) {
        *slot = number(kind, result);
    }
}

/// Serves a host function that never needs the EVM.
pub(super) fn serve(
    hook: Hook,
    mut caller: Caller<'_, HostState>,
    args: &[Val],
    out: &mut [Val],
) -> wasmtime::Result<()> {
    match begin(hook, &mut caller, args)? {
        Flow::Done(result) => give_back(hook, out, result),
        Flow::Ask(..) => return Err(Left.into()),
    }
    Ok(())
}

/// Serves a host function, suspended until the EVM has answered if it needs that.
pub(super) async fn serve_or_wait(
    hook: Hook,
    mut caller: Caller<'_, HostState>,
    args: &[Val],
    out: &mut [Val],
) -> wasmtime::Result<()> {
    let result = match begin(hook, &mut caller, args)? {
        Flow::Done(result) => result,
        Flow::Ask(request, pending) => wait(&mut caller, request, pending).await?,
    };
    give_back(hook, out, result);
    Ok(())
}

async fn wait(caller: &mut Caller<'_, HostState>, request: Request, pending: Pending) -> wasmtime::Result<u64> {
    let state = caller.data_mut();
    let mailbox = state.mailbox.clone();
    let env = state.env.take().ok_or(Left)?;
    post(&mailbox).asked = Some((request, env));
    let (response, env) = poll_fn(|_| match post(&mailbox).answer.take() {
        Some(answer) => Poll::Ready(answer),
        None => Poll::Pending,
    })
    .await;
    caller.data_mut().env = Some(env);
    with_env(caller, |env, memory| hooks::finish(pending, response, env, memory))
}

fn post(mailbox: &Mutex<Mailbox>) -> MutexGuard<'_, Mailbox> {
    // A panic elsewhere cannot leave the mailbox half filled.
    mailbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a call ended.
enum Ended {
    Finished(Finished),
    /// Native code cannot decide it: out of host stack or another resource.
    Unable(String),
}

/// How a call ended, and its state.
type End = (Ended, Option<Box<Env>>);

async fn execute(pre: InstancePre<HostState>, state: HostState) -> End {
    let mut store = Store::new(pre.module().engine(), state);
    let ended = match start(&mut store, &pre).await {
        Ok((entry, argument, globals)) => {
            let returned = entry.call_async(&mut store, argument).await;
            settle(&mut store, returned, globals)
        }
        Err(error) => Ended::Unable(error.to_string()),
    };
    (ended, store.into_data().env)
}

#[derive(Clone, Copy)]
struct Globals {
    ink: Global,
    status: Global,
    stack: Global,
}

impl Globals {
    fn read(self, mut store: impl AsContextMut) -> Counters {
        let mut get = |global: Global| bits(&global.get(&mut store));
        Counters {
            ink: get(self.ink),
            stack: get(self.stack),
            status: get(self.status),
        }
    }
}

type Start = (TypedFunc<i32, i32>, i32, Globals);

async fn start(store: &mut Store<HostState>, pre: &InstancePre<HostState>) -> Result<Start, EngineError> {
    let Some(env) = store.as_context().data().env.as_ref() else {
        return Err(EngineError::Instantiate("it has no state".to_owned()));
    };
    let (ink, depth) = (env.meter.ink(), env.stack_depth());
    let argument = u32::try_from(env.call.input.len()).unwrap_or(u32::MAX);
    let instance = pre
        .instantiate_async(&mut *store)
        .await
        .map_err(|error| EngineError::Instantiate(format!("{error:#}")))?;
    let mut global = |name, value: Val| {
        let global = instance.get_global(&mut *store, name);
        let global = global.ok_or(EngineError::MissingExport(name))?;
        let set = global.set(&mut *store, value);
        set.map_err(|_| EngineError::MissingExport(name))?;
        Ok::<_, EngineError>(global)
    };
    let globals = Globals {
        ink: global(INK_LEFT, Val::I64(ink.cast_signed()))?,
        status: global(INK_STATUS, Val::I32(0))?,
        stack: global(STACK_LEFT, Val::I32(depth.cast_signed()))?,
    };
    let memory = instance
        .get_memory(&mut *store, MEMORY)
        .ok_or(EngineError::MissingExport(MEMORY))?;
    let entry = instance
        .get_typed_func::<i32, i32>(&mut *store, ENTRYPOINT)
        .map_err(|_| EngineError::MissingExport(ENTRYPOINT))?;
    let state = store.data_mut();
    (state.memory, state.ink) = (Some(memory), Some(globals.ink));
    Ok((entry, argument.cast_signed(), globals))
}

fn settle(store: &mut Store<HostState>, returned: wasmtime::Result<i32>, globals: Globals) -> Ended {
    let counters = globals.read(&mut *store);
    let state = store.data_mut();
    let (stop, Some(env)) = (state.stop.take(), state.env.as_mut()) else {
        return Ended::Unable("its state is away".to_owned());
    };
    let error = match (returned, stop) {
        (Ok(status), _) => {
            let output = std::mem::take(&mut env.result);
            return Ended::Finished(Finished::exited(status.cast_unsigned(), output, counters.ink));
        }
        (Err(_), Some(stop)) => return Ended::Finished(Finished::stopped(stop, env)),
        (Err(error), None) => error,
    };
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) | None => Ended::Unable(error.to_string()),
        Some(trap) => Ended::Finished(counters.trapped(|| trap.to_string())),
    }
}

/// Where a call stands.
pub(in crate::run) enum Pause {
    /// The EVM has to answer.
    Asked(Request, Box<Env>),
    /// It is over.
    Finished(Finished, Option<Box<Env>>),
    /// Native code cannot decide it; the interpreter has to.
    Unable(String, Option<Box<Env>>),
}

/// A call in native code.
pub(in crate::run) struct Coroutine {
    future: Pin<Box<dyn Future<Output = End> + Send>>,
    mailbox: Arc<Mutex<Mailbox>>,
}

impl Coroutine {
    pub(super) fn new(pre: InstancePre<HostState>, state: HostState, mailbox: Arc<Mutex<Mailbox>>) -> Self {
        Self {
            future: Box::pin(execute(pre, state)),
            mailbox,
        }
    }

    /// Goes on, with the answer to the last question and the state that came with it. Not to be called after the end.
    pub(in crate::run) fn resume(&mut self, answer: Option<(Response, Box<Env>)>) -> Pause {
        post(&self.mailbox).answer = answer;
        let mut context = Context::from_waker(Waker::noop());
        match self.future.as_mut().poll(&mut context) {
            Poll::Ready((Ended::Finished(finished), env)) => Pause::Finished(finished, env),
            Poll::Ready((Ended::Unable(reason), env)) => Pause::Unable(reason, env),
            Poll::Pending => match post(&self.mailbox).asked.take() {
                Some((request, env)) => Pause::Asked(request, env),
                None => Pause::Unable("it waits for nothing".to_owned(), None),
            },
        }
    }
}
