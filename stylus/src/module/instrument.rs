//! Rewriting of one function body so that it pays for what it does and cannot use more stack or memory than allowed.
//!
//! The passes run in a fixed order, each over the result of the one before: ink per basic block, ink per byte of bulk memory
//! operations, stack depth, payment for memory growth. The order decides costs and frame sizes, so it is part of the rules.

use wasmparser::{BlockType, FuncType, Operator};

use super::ModuleError;
use super::limits::{self, check_operators};
use crate::pricing::opcode::{self, BLOCK_HEADER_INK, BULK_BYTE_INK, Effect, INDIRECT_PARAM_INK};

/// Words of a frame that no value or local accounts for.
const FRAME_OVERHEAD: u32 = 4;

/// Types and functions of a module, as far as its code refers to them.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// By type index.
    pub(super) signatures: Vec<FuncType>,
    /// Type index by function index, imports first.
    pub(super) functions: Vec<u32>,
    /// The most values that a branch can carry.
    widest: u32,
}

/// First Stylus version without multi-value.
pub(super) const SINGLE_VALUE_VERSION: u16 = 3;

impl Types {
    pub(super) fn add(&mut self, ty: FuncType, stylus_version: u16) {
        let wide = if stylus_version < SINGLE_VALUE_VERSION {
            length(ty.params()).max(length(ty.results()))
        } else {
            1
        };
        self.widest = self.widest.max(wide);
        self.signatures.push(ty);
    }

    /// At most how many values an operator passes on, as a measure of the work it makes.
    pub(super) fn moved(&self, op: &Operator<'_>) -> u64 {
        use Operator as O;
        let all = |ty: Option<&FuncType>| ty.map_or(0, |ty| length(ty.params()).saturating_add(length(ty.results())));
        match op {
            O::Call { function_index } => u64::from(all(self.function(*function_index))),
            O::CallIndirect { type_index, .. } => u64::from(all(self.signature(*type_index))),
            O::Block {
                blockty: BlockType::FuncType(index),
            }
            | O::Loop {
                blockty: BlockType::FuncType(index),
            }
            | O::If {
                blockty: BlockType::FuncType(index),
            } => u64::from(all(self.signature(*index))),
            O::Br { .. } | O::BrIf { .. } | O::Return => u64::from(self.widest),
            O::BrTable { targets } => u64::from(self.widest).saturating_mul(u64::from(targets.len()) + 1),
            _ => 0,
        }
    }

    pub(super) fn signature(&self, type_index: u32) -> Option<&FuncType> {
        self.signatures.get(usize::try_from(type_index).ok()?)
    }

    pub(super) fn function(&self, function_index: u32) -> Option<&FuncType> {
        self.signature(*self.functions.get(usize::try_from(function_index).ok()?)?)
    }
}

/// Indices of the four globals that the instrumentation appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Globals {
    pub(super) ink: u32,
    pub(super) status: u32,
    pub(super) scratch: u32,
    pub(super) stack: u32,
}

impl Globals {
    /// `first` is the number of globals that the module has itself.
    pub(super) fn after(first: u32) -> Self {
        Self {
            ink: first,
            status: first + 1,
            scratch: first + 2,
            stack: first + 3,
        }
    }
}

/// What the instrumentation of a body needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instrument<'m> {
    pub(super) types: &'m Types,
    pub(super) globals: Globals,
    /// Function that pays for memory; absent when the memory cannot grow.
    pub(super) grow_hook: Option<u32>,
    /// Index of the function among the module's own, for messages.
    pub(super) function: u32,
    /// Declared locals without parameters.
    pub(super) locals: u32,
}

impl Instrument<'_> {
    /// Runs all passes over a valid body (its final `end` included).
    pub(super) fn run<'a>(&self, body: Vec<Operator<'a>>) -> Result<Vec<Operator<'a>>, ModuleError> {
        let body = self.meter(body)?;
        let body = self.meter_bulk(body)?;
        let body = self.limit_depth(body)?;
        self.pay_for_memory(body)
    }

    /// Charges every basic block before its first operator.
    fn meter<'a>(&self, body: Vec<Operator<'a>>) -> Result<Vec<Operator<'a>>, ModuleError> {
        let Globals { ink, status, .. } = self.globals;
        let mut out = Vec::with_capacity(body.len());
        let mut block = Vec::new();
        let mut cost = BLOCK_HEADER_INK;
        for op in body {
            cost = cost.saturating_add(self.ink(&op)?);
            let ends = opcode::ends_block(&op);
            block.push(op);
            if ends {
                let value = cost.cast_signed();
                out.extend([
                    Operator::GlobalGet { global_index: ink },
                    Operator::I64Const { value },
                    Operator::I64LtU,
                    Operator::If {
                        blockty: BlockType::Empty,
                    },
                    Operator::I32Const { value: 1 },
                    Operator::GlobalSet { global_index: status },
                    Operator::Unreachable,
                    Operator::End,
                    Operator::GlobalGet { global_index: ink },
                    Operator::I64Const { value },
                    Operator::I64Sub,
                    Operator::GlobalSet { global_index: ink },
                ]);
                out.append(&mut block);
                check_operators(out.len())?;
                cost = BLOCK_HEADER_INK;
            }
        }
        // a valid body ends with `end`, which ends a block: nothing is left over
        Ok(out)
    }

    /// Charges `memory.copy` and `memory.fill` for their length, which is on top of the stack.
    fn meter_bulk<'a>(&self, body: Vec<Operator<'a>>) -> Result<Vec<Operator<'a>>, ModuleError> {
        let Globals {
            ink, status, scratch, ..
        } = self.globals;
        let mut out = Vec::with_capacity(body.len());
        for op in body {
            if matches!(op, Operator::MemoryCopy { .. } | Operator::MemoryFill { .. }) {
                out.extend([
                    Operator::GlobalSet { global_index: scratch },
                    Operator::GlobalGet { global_index: ink },
                    Operator::GlobalGet { global_index: ink },
                    Operator::GlobalGet { global_index: scratch },
                    Operator::I64ExtendI32U,
                    Operator::I64Const {
                        value: BULK_BYTE_INK.cast_signed(),
                    },
                    Operator::I64Mul,
                    Operator::I64Sub,
                    Operator::GlobalSet { global_index: ink },
                    // more ink than before means that the subtraction wrapped around
                    Operator::GlobalGet { global_index: ink },
                    Operator::I64LtU,
                    Operator::If {
                        blockty: BlockType::Empty,
                    },
                    Operator::I32Const { value: 1 },
                    Operator::GlobalSet { global_index: status },
                    Operator::Unreachable,
                    Operator::End,
                    Operator::GlobalGet { global_index: scratch },
                ]);
                check_operators(out.len())?;
            }
            out.push(op);
        }
        Ok(out)
    }

    /// Takes the function's frame from the stack budget at its start and gives it back at every return.
    fn limit_depth<'a>(&self, mut body: Vec<Operator<'a>>) -> Result<Vec<Operator<'a>>, ModuleError> {
        let stack = self.globals.stack;
        let size = self.frame_size(&body)?;
        let value = size.cast_signed();
        let mut out = Vec::with_capacity(body.len().saturating_add(32));
        out.extend([
            Operator::GlobalGet { global_index: stack },
            Operator::I32Const { value },
            Operator::I32LeU,
            Operator::If {
                blockty: BlockType::Empty,
            },
            Operator::I32Const { value: 0 },
            Operator::GlobalSet { global_index: stack },
            Operator::Unreachable,
            Operator::End,
            Operator::GlobalGet { global_index: stack },
            Operator::I32Const { value },
            Operator::I32Sub,
            Operator::GlobalSet { global_index: stack },
        ]);
        // falling off the end is made an explicit return, so that it gives back like the others
        let end = body.pop();
        for op in body.into_iter().chain([Operator::Return]).chain(end) {
            if matches!(op, Operator::Return) {
                out.extend([
                    Operator::GlobalGet { global_index: stack },
                    Operator::I32Const { value },
                    Operator::I32Add,
                    Operator::GlobalSet { global_index: stack },
                ]);
            }
            out.push(op);
            check_operators(out.len())?;
        }
        Ok(out)
    }

    /// Calls the hook that pays for pages before every `memory.grow`.
    fn pay_for_memory<'a>(&self, body: Vec<Operator<'a>>) -> Result<Vec<Operator<'a>>, ModuleError> {
        let Some(function_index) = self.grow_hook else {
            return Ok(body);
        };
        let scratch = self.globals.scratch;
        let mut out = Vec::with_capacity(body.len());
        for op in body {
            if matches!(op, Operator::MemoryGrow { .. }) {
                out.extend([
                    Operator::GlobalSet { global_index: scratch },
                    Operator::GlobalGet { global_index: scratch },
                    Operator::GlobalGet { global_index: scratch },
                    Operator::Call { function_index },
                ]);
            }
            out.push(op);
            check_operators(out.len())?;
        }
        Ok(out)
    }

    /// Frame of a function in words: the most values it has on the stack, its locals, and a fixed part.
    fn frame_size(&self, body: &[Operator<'_>]) -> Result<u32, ModuleError> {
        let worst = self.worst_depth(body)?;
        limits::check(
            "values on a function's stack at once",
            u64::from(worst),
            limits::STACK_VALUES,
        )?;
        let size = worst.saturating_add(self.locals).saturating_add(FRAME_OVERHEAD);
        if size > limits::FRAME_WORDS {
            return Err(ModuleError::Frame {
                function: self.function,
                size,
                limit: limits::FRAME_WORDS,
            });
        }
        Ok(size)
    }

    /// The most values on the operand stack, by the chain's own accounting.
    ///
    /// It differs from the exact height on purpose: results of a scope are pushed when it opens, results of a call before its
    /// arguments are popped, and code after a branch is counted like any other.
    fn worst_depth(&self, body: &[Operator<'_>]) -> Result<u32, ModuleError> {
        let mut depth = Depth::default();
        let mut scopes = vec![0];
        for op in body {
            match self.row(op)?.effect {
                Effect::Net(values) if values >= 0 => depth.push(u32::from(values.unsigned_abs())),
                Effect::Net(values) => depth.pop(u32::from(values.unsigned_abs())),
                Effect::Enter { block, pops } => {
                    depth.pop(pops);
                    match block {
                        BlockType::Empty => {}
                        BlockType::Type(_) => depth.push(1),
                        BlockType::FuncType(index) => depth.call(self.types.signature(index)),
                    }
                    scopes.push(depth.now);
                }
                Effect::Else => depth.now = scopes.last().copied().unwrap_or_default(),
                Effect::End => depth.now = scopes.pop().unwrap_or_default(),
                Effect::Call(index) => depth.call(self.types.function(index)),
                Effect::CallIndirect(index) => {
                    depth.call(self.types.signature(index));
                    depth.pop(1);
                }
            }
        }
        Ok(depth.worst)
    }

    fn ink(&self, op: &Operator<'_>) -> Result<u64, ModuleError> {
        let row = self.row(op)?;
        let Effect::CallIndirect(index) = row.effect else {
            return Ok(row.ink);
        };
        let params = self
            .types
            .signature(index)
            .map_or(0, |signature| length(signature.params()));
        Ok(row.ink + INDIRECT_PARAM_INK * u64::from(params))
    }

    fn row(&self, op: &Operator<'_>) -> Result<opcode::Row, ModuleError> {
        opcode::describe(op).map_err(|reason| ModuleError::Operator {
            function: self.function,
            reason,
            operator: format!("{op:?}"),
        })
    }
}

/// Number of values, at most 1,000 in a valid type.
fn length(values: &[wasmparser::ValType]) -> u32 {
    u32::try_from(values.len()).unwrap_or(u32::MAX)
}

/// Height of the operand stack, never below zero, and its maximum.
#[derive(Default)]
struct Depth {
    now: u32,
    worst: u32,
}

impl Depth {
    fn push(&mut self, values: u32) {
        self.now = self.now.saturating_add(values);
        self.worst = self.worst.max(self.now);
    }

    fn pop(&mut self, values: u32) {
        self.now = self.now.saturating_sub(values);
    }

    fn call(&mut self, signature: Option<&FuncType>) {
        if let Some(signature) = signature {
            self.push(length(signature.results()));
            self.pop(length(signature.params()));
        }
    }
}
