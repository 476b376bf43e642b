//! The checker of programs: runs them on kinds instead of values.

use crate::baseline::Spec;
use crate::bytes::Cursor;
use crate::rule::error::{DecodeError, DecodeReason};
use crate::rule::program::{
    ANCHOR, CALL_RESULT, HEADER, Instruction, LAST_VERSION, MAX_ARGS, MAX_BLOCKS, MAX_ENTRIES, MAX_GAS, MAX_LEN,
    MAX_LOCALS, MAX_PARAMS, MAX_READS, MAX_STACK, MAX_TOLERANCE, OPERATOR_GAS, READ_GAS, STORED_WHAT, USES_ANCHORS,
    USES_CONTEXT, USES_STATISTICS, VERSION, op,
};
use crate::rule::value::{Kind, WordType};
use alloc::vec::Vec;

/// Puts the header before code that the compiler made, and checks the whole.
#[cfg(feature = "std")]
pub(crate) fn assemble(result: Kind, params: u8, entries: u8, code: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::from([VERSION, result as u8, params, entries, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(code);
    let header = bytes.first_chunk().copied().unwrap_or_default();
    let measured = Checker::run(header, &bytes)?.measured(Some(result));
    for (byte, value) in bytes.iter_mut().zip(measured) {
        *byte = value;
    }
    crate::rule::program::Program::decode(&bytes)?;
    Ok(bytes)
}

/// Checks header and code of a program; the result is the header.
pub(crate) fn check(bytes: &[u8]) -> Result<[u8; HEADER], DecodeError> {
    let start = |reason| DecodeError { reason, at: 0 };
    if bytes.len() > MAX_LEN {
        return Err(start(DecodeReason::TooLong));
    }
    let header: [u8; HEADER] = Cursor::new(bytes).array().ok_or(start(DecodeReason::Truncated))?;
    let [version, result, params, entries, ..] = header;
    if !(VERSION..=LAST_VERSION).contains(&version) {
        return Err(start(DecodeReason::BadVersion));
    }
    let result = Kind::from_u8(result);
    if params > MAX_PARAMS || entries > MAX_ENTRIES || result.is_none() {
        return Err(start(DecodeReason::BadHeader));
    }
    let measured = Checker::run(header, bytes)?.measured(result);
    if measured == header {
        Ok(header)
    } else {
        Err(start(DecodeReason::BadHeader))
    }
}

/// A block that is open while its code is checked.
struct Block {
    /// Offset in the code at which it ends.
    end: usize,
    /// Stack below it, which it must not touch.
    base: usize,
    /// Locals set before it: what it sets may not have been set when it was skipped.
    locals: [Option<Kind>; MAX_LOCALS as usize],
}

/// Runs a program on kinds instead of values.
struct Checker {
    header: [u8; HEADER],
    stack: Vec<Kind>,
    deepest: usize,
    locals: [Option<Kind>; MAX_LOCALS as usize],
    used_locals: u8,
    blocks: Vec<Block>,
    reads: u8,
    gas: u32,
    /// What it uses, as the version tells it.
    uses: u8,
}

impl Checker {
    /// Runs the code after the header, which must leave one value.
    fn run(header: [u8; HEADER], bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut checker = Checker {
            header,
            stack: Vec::with_capacity(MAX_STACK),
            deepest: 0,
            locals: [None; MAX_LOCALS as usize],
            used_locals: 0,
            blocks: Vec::new(),
            reads: 0,
            gas: 0,
            uses: 0,
        };
        let mut cursor = Cursor::at(bytes, HEADER);
        while cursor.position() < bytes.len() {
            let at = u16::try_from(cursor.position()).unwrap_or(u16::MAX);
            checker
                .step(&mut cursor, bytes.len())
                .map_err(|reason| DecodeError { reason, at })?;
        }
        let end = |reason| DecodeError {
            reason,
            at: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
        };
        match (checker.blocks.is_empty(), checker.stack.as_slice()) {
            (true, [_]) => Ok(checker),
            (true, []) => Err(end(DecodeReason::StackUnderflow)),
            (true, _) => Err(end(DecodeReason::StackOverflow)),
            (false, _) => Err(end(DecodeReason::BadBlock)),
        }
    }

    /// The header that the code should have.
    fn measured(&self, result: Option<Kind>) -> [u8; HEADER] {
        let [_, _, params, entries, ..] = self.header;
        let kind = match self.stack.first() {
            Some(kind) if Some(*kind) == result => *kind as u8,
            // No kind has this number, so that the headers differ.
            _ => u8::MAX,
        };
        let [a, b, c, d] = self.gas.to_be_bytes();
        let stack = u8::try_from(self.deepest).unwrap_or(u8::MAX);
        [
            VERSION + self.uses,
            kind,
            params,
            entries,
            self.used_locals,
            stack,
            self.reads,
            a,
            b,
            c,
            d,
        ]
    }

    fn step(&mut self, cursor: &mut Cursor<'_>, length: usize) -> Result<(), DecodeReason> {
        let instruction = Instruction::next(cursor)?;
        self.charge(OPERATOR_GAS)?;
        self.apply(&instruction, cursor.position(), length)?;
        while let Some(block) = self.blocks.pop_if(|block| block.end <= cursor.position()) {
            if block.end < cursor.position() || self.stack.len() != block.base + 1 {
                return Err(DecodeReason::BadBlock);
            }
            self.locals = block.locals;
            if self.stack.last() != Some(&Kind::Bool) {
                return Err(DecodeReason::WrongKind);
            }
        }
        Ok(())
    }

    fn apply(&mut self, instruction: &Instruction<'_>, at: usize, length: usize) -> Result<(), DecodeReason> {
        let index = instruction.byte(0);
        let (takes, kind, leaves) = match instruction.code {
            op::PUSH1..=op::WORD => return self.constant(instruction),
            op::TRUE | op::FALSE => (0, Kind::Bool, Kind::Bool),
            op::NOW => (0, Kind::Int, Kind::Int),
            op::PARAM | op::ENTRY => return self.input(instruction),
            op::GET => {
                let kind = self
                    .locals
                    .get(usize::from(index))
                    .copied()
                    .flatten()
                    .ok_or(DecodeReason::BadIndex)?;
                (0, kind, kind)
            }
            op::TEE => return self.tee(index),
            op::ADD..=op::MAX => (2, Kind::Int, Kind::Int),
            op::MUL_DIV => (3, Kind::Int, Kind::Int),
            op::NEG | op::ABS => (1, Kind::Int, Kind::Int),
            op::LT..=op::GE => (2, Kind::Int, Kind::Bool),
            op::EQ | op::NE => (
                2,
                self.stack.last().copied().ok_or(DecodeReason::StackUnderflow)?,
                Kind::Bool,
            ),
            op::NEAR if instruction.short(0) > MAX_TOLERANCE => return Err(DecodeReason::BadOperand),
            op::NEAR => (2, Kind::Int, Kind::Bool),
            op::NOT => (1, Kind::Bool, Kind::Bool),
            op::AND_THEN | op::OR_ELSE => return self.open(at, usize::from(instruction.short(0)), length),
            op::CALL => return self.call(instruction),
            op::ENTERED | op::LEFT | op::DEPTH | op::ROUND_TRIP => {
                self.uses |= USES_CONTEXT;
                match instruction.code {
                    op::DEPTH => (0, Kind::Int, Kind::Int),
                    op::ROUND_TRIP => (0, Kind::Bool, Kind::Bool),
                    _ => (1, Kind::Word, Kind::Int),
                }
            }
            op::STORED => {
                let takes = self.stored(instruction)?;
                self.read(0)?;
                (takes, Kind::Int, Kind::Int)
            }
            op::BALANCE | op::CODE_HASH => {
                self.read(0)?;
                (
                    1,
                    Kind::Word,
                    if instruction.code == op::BALANCE {
                        Kind::Int
                    } else {
                        Kind::Word
                    },
                )
            }
            _ => return Err(DecodeReason::BadOperator),
        };
        for _ in 0..takes {
            self.expect(kind)?;
        }
        self.push(leaves)
    }

    /// There is one way to write a constant, so that one rule has one encoding.
    fn constant(&mut self, instruction: &Instruction<'_>) -> Result<(), DecodeReason> {
        // Bytes of which one must not be zero, or a shorter operator would do.
        let (head, kind) = match instruction.code {
            op::PUSH1 => (0, Kind::Int),
            op::ADDRESS => (0, Kind::Word),
            op::WORD => (12, Kind::Word),
            _ => (1, Kind::Int),
        };
        let shortest = head == 0 || instruction.operands.iter().take(head).any(|byte| *byte != 0);
        if shortest {
            self.push(kind)
        } else {
            Err(DecodeReason::BadOperand)
        }
    }

    fn input(&mut self, instruction: &Instruction<'_>) -> Result<(), DecodeReason> {
        let [_, _, params, entries, ..] = self.header;
        let code = instruction.byte(1);
        let (count, kind) = match instruction.code {
            op::PARAM => (params, WordType::from_u8(code).map(WordType::kind)),
            _ => (entries, Kind::from_u8(code)),
        };
        if instruction.byte(0) >= count {
            return Err(DecodeReason::BadIndex);
        }
        self.push(kind.ok_or(DecodeReason::BadType)?)
    }

    fn tee(&mut self, index: u8) -> Result<(), DecodeReason> {
        let kind = self.pop()?;
        let slot = self.locals.get_mut(usize::from(index)).ok_or(DecodeReason::BadIndex)?;
        *slot = Some(kind);
        self.used_locals = self.used_locals.max(index + 1);
        self.push(kind)
    }

    fn open(&mut self, at: usize, size: usize, length: usize) -> Result<(), DecodeReason> {
        if self.pop()? != Kind::Bool {
            return Err(DecodeReason::WrongKind);
        }
        let end = at + size;
        let outer = self.blocks.last().map_or(length, |block| block.end);
        if size == 0 || end > outer || self.blocks.len() >= MAX_BLOCKS {
            return Err(DecodeReason::BadBlock);
        }
        self.blocks.push(Block {
            end,
            base: self.stack.len(),
            locals: self.locals,
        });
        Ok(())
    }

    fn call(&mut self, instruction: &Instruction<'_>) -> Result<(), DecodeReason> {
        let args = instruction.args();
        if instruction.gas() == 0 || args.len() > MAX_ARGS {
            return Err(DecodeReason::BadOperand);
        }
        for code in args.iter().rev() {
            let word = WordType::from_u8(*code).ok_or(DecodeReason::BadType)?;
            self.expect(word.kind())?;
        }
        self.expect(Kind::Word)?;
        self.read(instruction.gas())?;
        let result = WordType::from_u8(instruction.byte(CALL_RESULT)).ok_or(DecodeReason::BadType)?;
        self.push(result.kind())
    }

    /// How many values a read of a stream takes.
    fn stored(&mut self, instruction: &Instruction<'_>) -> Result<u8, DecodeReason> {
        if instruction.byte(STORED_WHAT) == ANCHOR {
            self.uses |= USES_ANCHORS;
            return Ok(0);
        }
        let what = instruction.statistic().ok_or(DecodeReason::BadOperand)?;
        Spec::from_bytes(instruction.spec()).ok_or(DecodeReason::BadOperand)?;
        self.uses |= USES_STATISTICS;
        Ok(u8::from(what.judges()))
    }

    fn read(&mut self, gas: u32) -> Result<(), DecodeReason> {
        self.reads += 1;
        if self.reads > MAX_READS {
            return Err(DecodeReason::TooManyReads);
        }
        self.charge(READ_GAS + gas)
    }

    fn charge(&mut self, gas: u32) -> Result<(), DecodeReason> {
        self.gas = self.gas.saturating_add(gas);
        if self.gas > MAX_GAS {
            Err(DecodeReason::TooMuchGas)
        } else {
            Ok(())
        }
    }

    fn expect(&mut self, kind: Kind) -> Result<(), DecodeReason> {
        if self.pop()? == kind {
            Ok(())
        } else {
            Err(DecodeReason::WrongKind)
        }
    }

    fn pop(&mut self) -> Result<Kind, DecodeReason> {
        let base = self.blocks.last().map_or(0, |block| block.base);
        if self.stack.len() <= base {
            return Err(DecodeReason::StackUnderflow);
        }
        self.stack.pop().ok_or(DecodeReason::StackUnderflow)
    }

    fn push(&mut self, kind: Kind) -> Result<(), DecodeReason> {
        if self.stack.len() >= MAX_STACK {
            return Err(DecodeReason::StackOverflow);
        }
        self.stack.push(kind);
        self.deepest = self.deepest.max(self.stack.len());
        Ok(())
    }
}
