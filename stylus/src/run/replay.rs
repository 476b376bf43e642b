//! Native runs that the interpreter can take over.
//!
//! The host stack that native code needs is not what the module's own stack metering counts: an optimising compiler may
//! spill more than the program ever had on its stack. So that no result depends on the engine, a run that ends for want
//! of host stack is run again by the interpreter, from the start, with the answers that the EVM has given so far. Programs
//! are deterministic: it asks the same questions, and goes on where native code had to give up.

use std::fmt;

use super::native::{Coroutine, NativeModule, Pause};
use super::{Finished, OUT_OF_ORDER, Outcome, ProgramRun, Step, WasmiRun};
use crate::hooks::{Env, PageMarks, Response};
use crate::run::EngineError;

/// Bytes of answers that are kept for a possible repetition. A run that is given more of them (a gigabyte costs less gas than a
/// call may use) is handed over to the interpreter there and then, which needs to keep none.
const MAX_KEPT: usize = 32 << 20;

/// Makes the interpreter's run of the same program.
pub(crate) type Fallback = Box<dyn Fn(Env) -> Result<WasmiRun, EngineError> + Send + Sync>;

enum State {
    Start(NativeModule),
    Native(Coroutine),
    Interpreted(Box<WasmiRun>),
    Over,
}

/// An answer of the EVM, and the memory that was open when it was given.
struct Answer {
    response: Response,
    pages: PageMarks,
}

impl Answer {
    /// Bytes that keeping it takes. Code is shared with the state and counts little, but for a change of the code between two reads.
    fn size(&self) -> usize {
        let data = match &self.response {
            Response::Called { output, .. } | Response::Created { output, .. } => output.len(),
            Response::Code { code, .. } => code.len(),
            _ => 0,
        };
        data.saturating_add(size_of::<Self>())
    }
}

/// A program call in native code, or in the interpreter where native code could not decide it.
pub struct NativeRun {
    state: State,
    /// The call's state while it is suspended in native code, and after its end.
    env: Option<Box<Env>>,
    /// The call's state before it began.
    initial: Env,
    pages: PageMarks,
    answers: Vec<Answer>,
    /// Bytes of `answers`.
    kept: usize,
    fallback: Fallback,
}

impl fmt::Debug for NativeRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeRun")
            .field("env", self.env())
            .finish_non_exhaustive()
    }
}

impl NativeRun {
    /// Prepares a call; nothing runs before the first [`ProgramRun::resume`].
    pub(crate) fn new(module: NativeModule, env: Env, fallback: Fallback) -> Self {
        Self {
            state: State::Start(module),
            initial: env.again(),
            pages: env.pages.marks(),
            env: Some(Box::new(env)),
            answers: Vec::new(),
            kept: 0,
            fallback,
        }
    }

    fn go_on(&mut self, mut native: Coroutine, answer: Option<(Response, Box<Env>)>) -> Step {
        match native.resume(answer) {
            Pause::Asked(request, env) => {
                self.env = Some(env);
                self.state = State::Native(native);
                Step::Request(request)
            }
            Pause::Finished(finished, env) => {
                self.env = env;
                Step::Finished(finished)
            }
            Pause::Unable(reason, env) => {
                drop(native);
                self.take_over(&reason, env)
            }
        }
    }

    /// Lets the interpreter run the program again up to here, and go on.
    fn take_over(&mut self, reason: &str, given_up: Option<Box<Env>>) -> Step {
        tracing::debug!(target: "stylus", %reason, "the interpreter takes over");
        let mut env = self.initial.again();
        if let Some(given_up) = &given_up {
            // What was traced or printed before is not traced or printed again.
            env.continue_for(given_up);
        }
        let counters = env.pages.clone();
        counters.go_back(self.pages);
        let mut run = match (self.fallback)(env) {
            Ok(run) => run,
            Err(error) => {
                tracing::error!(target: "stylus", %error, "the interpreter cannot take over");
                return Step::Finished(Finished::exhausted(Outcome::OutOfStack));
            }
        };
        let mut step = run.resume(None);
        for Answer { response, pages } in self.answers.drain(..) {
            if matches!(step, Step::Finished(_)) {
                break;
            }
            counters.go_back(pages);
            step = run.resume(Some(response));
        }
        self.state = State::Interpreted(Box::new(run));
        step
    }
}

impl ProgramRun for NativeRun {
    fn resume(&mut self, response: Option<Response>) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), response) {
            (State::Interpreted(mut run), response) => {
                let step = run.resume(response);
                self.state = State::Interpreted(run);
                step
            }
            (State::Start(module), None) => match self.env.take() {
                Some(env) => self.go_on(module.start(env), None),
                None => Step::Finished(Finished::stopped(OUT_OF_ORDER, &mut self.initial)),
            },
            (State::Native(native), Some(response)) => match self.env.take() {
                Some(env) => {
                    let answer = Answer {
                        response: response.clone(),
                        pages: env.pages.marks(),
                    };
                    self.kept = self.kept.saturating_add(answer.size());
                    self.answers.push(answer);
                    if self.kept > MAX_KEPT {
                        drop(native);
                        return self.take_over("too much would have to be remembered", Some(env));
                    }
                    self.go_on(native, Some((response, env)))
                }
                None => Step::Finished(Finished::stopped(OUT_OF_ORDER, &mut self.initial)),
            },
            _ => {
                let env = self.env.as_deref_mut().unwrap_or(&mut self.initial);
                Step::Finished(Finished::stopped(OUT_OF_ORDER, env))
            }
        }
    }

    fn env(&self) -> &Env {
        match &self.state {
            State::Interpreted(run) => run.env(),
            _ => self.env.as_deref().unwrap_or(&self.initial),
        }
    }
}
