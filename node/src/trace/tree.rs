//! The tree of a transaction's calls, with what programs asked of their host in between.

use alloy::primitives::{Address, Bytes, Log, U256};
use cordon_stylus::hooks::{Hook, HostCall, HostEvent, HostTrace};
use revm::{
    Inspector,
    context::ContextTr,
    interpreter::{CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, CreateScheme, InterpreterResult},
};

/// How a frame came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Call,
    CallCode,
    DelegateCall,
    StaticCall,
    Create,
    Create2,
}

impl FrameKind {
    /// Whether the frame runs init code.
    pub(crate) fn is_create(self) -> bool {
        matches!(self, Self::Create | Self::Create2)
    }

    /// The kind of call that a host function makes, if it makes one.
    fn of_hook(hook: Hook) -> Option<Self> {
        match hook {
            Hook::Call => Some(Self::Call),
            Hook::DelegateCall => Some(Self::DelegateCall),
            Hook::StaticCall => Some(Self::StaticCall),
            _ => None,
        }
    }
}

/// Something that happened in a frame.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Another frame was run.
    Frame(Box<Frame>),
    /// The frame's program began, with so many bytes of calldata and so much ink.
    Entered { calldata: usize, ink: u64 },
    /// The program called its host; a contract call has the frame that it led to, if it led to one.
    Host(HostCall, Option<Box<Frame>>),
    /// The frame's program ended with a status; it had begun with so much ink.
    Returned { status: u32, ink: u64 },
    /// A log was emitted.
    Log(Log),
    /// The account was destroyed in favour of another.
    SelfDestruct(Address),
}

/// A call or creation.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    /// Whose code runs; of a creation, the new account.
    pub(crate) to: Address,
    pub(crate) value: U256,
    /// Calldata or init code.
    pub(crate) input: Bytes,
    pub(crate) gas_used: u64,
    pub(crate) result: Option<InterpreterResult>,
    /// Ink at the start and at the end of its program, if it runs one.
    pub(crate) ink: Option<(u64, u64)>,
    /// Why its program failed or could not be entered, for people.
    pub(crate) reason: Option<String>,
    pub(crate) entries: Vec<Entry>,
}

impl Frame {
    /// Whether it ended well.
    pub(crate) fn succeeded(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.result.is_ok())
    }

    /// What it returned or reverted with.
    pub(crate) fn output(&self) -> Bytes {
        self.result
            .as_ref()
            .map(|result| result.output.clone())
            .unwrap_or_default()
    }

    fn add(&mut self, event: HostEvent) {
        match event {
            HostEvent::Entered { calldata, ink } => {
                self.ink = Some((ink, ink));
                self.entries.push(Entry::Entered { calldata, ink });
            }
            HostEvent::Called(call) => {
                let nested = self.take_frame_of(call.hook);
                self.entries.push(Entry::Host(call, nested));
            }
            HostEvent::Left { status, ink, reason } => {
                let start = self.ink.map(|(start, _)| start).unwrap_or_default();
                self.ink = Some((start, ink));
                self.reason = reason;
                self.entries
                    .extend(status.map(|status| Entry::Returned { status, ink: start }));
            }
            HostEvent::Refused(reason) => self.reason = reason,
        }
    }

    /// Takes the frame that a host call led to: it is the last thing that happened, or there is none.
    fn take_frame_of(&mut self, hook: Hook) -> Option<Box<Self>> {
        let kind = FrameKind::of_hook(hook)?;
        match self.entries.pop() {
            Some(Entry::Frame(frame)) if frame.kind == kind => Some(frame),
            Some(other) => {
                self.entries.push(other);
                None
            }
            None => None,
        }
    }
}

/// Builds the tree while a transaction runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallTree {
    programs: HostTrace,
    open: Vec<Frame>,
    root: Option<Frame>,
}

impl CallTree {
    /// A tree that hears of programs through `programs`.
    pub(crate) fn new(programs: HostTrace) -> Self {
        Self {
            programs,
            open: Vec::new(),
            root: None,
        }
    }

    /// The outermost frame, once the transaction has run; and the number of host calls that were too many to be kept.
    pub(crate) fn finish(self) -> (Option<Frame>, u64) {
        let dropped = self.programs.dropped();
        (self.root, dropped)
    }

    /// Gives what programs did so far to the innermost frame.
    fn collect(&mut self) {
        let events = self.programs.take();
        if let Some(frame) = self.open.last_mut() {
            events.into_iter().for_each(|event| frame.add(event));
        }
    }

    fn push(&mut self, frame: Frame) {
        self.collect();
        self.open.push(frame);
    }

    fn pop(&mut self, result: &InterpreterResult, created: Option<Address>) {
        self.collect();
        let Some(mut frame) = self.open.pop() else { return };
        frame.gas_used = result.gas.total_gas_spent();
        frame.result = Some(result.clone());
        if let Some(created) = created {
            frame.to = created;
        }
        match self.open.last_mut() {
            Some(parent) => parent.entries.push(Entry::Frame(Box::new(frame))),
            None => self.root = Some(frame),
        }
    }
}

impl<CTX: ContextTr> Inspector<CTX> for CallTree {
    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let kind = match inputs.scheme {
            CallScheme::Call => FrameKind::Call,
            CallScheme::CallCode => FrameKind::CallCode,
            CallScheme::DelegateCall => FrameKind::DelegateCall,
            CallScheme::StaticCall => FrameKind::StaticCall,
        };
        self.push(Frame {
            kind,
            to: inputs.bytecode_address,
            value: inputs.value.transfer().unwrap_or_default(),
            input: inputs.input.bytes(context),
            gas_used: 0,
            result: None,
            ink: None,
            reason: None,
            entries: Vec::new(),
        });
        None
    }

    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.pop(&outcome.result, None);
    }

    fn create(&mut self, _: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let kind = match inputs.scheme() {
            CreateScheme::Create2 { .. } => FrameKind::Create2,
            CreateScheme::Create | CreateScheme::Custom { .. } => FrameKind::Create,
        };
        self.push(Frame {
            kind,
            to: Address::ZERO,
            value: inputs.value(),
            input: inputs.init_code().clone(),
            gas_used: 0,
            result: None,
            ink: None,
            reason: None,
            entries: Vec::new(),
        });
        None
    }

    fn create_end(&mut self, _: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.pop(&outcome.result, outcome.address);
    }

    fn log(&mut self, _: &mut CTX, log: Log) {
        self.collect();
        if let Some(frame) = self.open.last_mut() {
            frame.entries.push(Entry::Log(log));
        }
    }

    fn selfdestruct(&mut self, _: Address, target: Address, _: U256) {
        if let Some(frame) = self.open.last_mut() {
            frame.entries.push(Entry::SelfDestruct(target));
        }
    }
}
