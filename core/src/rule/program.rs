//! Compiled rules: the encoding, and the decoder that trusts nothing.
//!
//! A program is a header of [`HEADER`] bytes and code for a stack machine. Jumps go forward only, so that it ends after at
//! most as many steps as it has bytes. `docs/rules.md` describes the encoding byte by byte.

use crate::bytes::Cursor;
use crate::rule::error::{DecodeError, DecodeReason};
use crate::rule::value::{Kind, WordType};
use alloc::vec::Vec;
use alloy_primitives::{B256, U256};

/// Version of the encoding, the first byte of each program.
pub const VERSION: u8 = 1;
/// Bytes of the header.
pub const HEADER: usize = 11;
/// Most bytes of a program.
pub const MAX_LEN: usize = 2048;
/// Most values on the stack.
pub const MAX_STACK: usize = 32;
/// Most locals.
pub const MAX_LOCALS: u8 = 16;
/// Most reads that a program contains.
pub const MAX_READS: u8 = 32;
/// Most witness words.
pub const MAX_PARAMS: u8 = 4;
/// Most values taken at entry.
pub const MAX_ENTRIES: u8 = 8;
/// Deepest nesting of blocks.
pub const MAX_BLOCKS: usize = 16;
/// Most gas that all operators and reads of a program may need together.
pub const MAX_GAS: u32 = 16_000_000;
/// Most arguments of a read.
pub const MAX_ARGS: usize = 8;
/// Unit, in gas, in which the gas of a read is encoded.
pub const GAS_UNIT: u32 = 1_000;
/// Gas that is reckoned for an operator.
pub const OPERATOR_GAS: u32 = 300;
/// Gas that is reckoned for a read on top of what the callee may use.
pub const READ_GAS: u32 = 5_000;

/// Operators, by code. The names are those of `docs/rules.md`.
pub mod op {
    #![allow(missing_docs)] // one line each in docs/rules.md
    pub const PUSH1: u8 = 0x01;
    pub const PUSH32: u8 = 0x20;
    pub const ADDRESS: u8 = 0x21;
    pub const WORD: u8 = 0x22;
    pub const TRUE: u8 = 0x23;
    pub const FALSE: u8 = 0x24;
    pub const PARAM: u8 = 0x25;
    pub const ENTRY: u8 = 0x26;
    pub const NOW: u8 = 0x27;
    pub const GET: u8 = 0x28;
    pub const TEE: u8 = 0x29;
    pub const ADD: u8 = 0x30;
    pub const SUB: u8 = 0x31;
    pub const MUL: u8 = 0x32;
    pub const DIV: u8 = 0x33;
    pub const MIN: u8 = 0x34;
    pub const MAX: u8 = 0x35;
    pub const MUL_DIV: u8 = 0x36;
    pub const NEG: u8 = 0x37;
    pub const ABS: u8 = 0x38;
    pub const LT: u8 = 0x40;
    pub const LE: u8 = 0x41;
    pub const GT: u8 = 0x42;
    pub const GE: u8 = 0x43;
    pub const EQ: u8 = 0x44;
    pub const NE: u8 = 0x45;
    pub const NEAR: u8 = 0x46;
    pub const NOT: u8 = 0x47;
    pub const AND_THEN: u8 = 0x48;
    pub const OR_ELSE: u8 = 0x49;
    pub const CALL: u8 = 0x50;
    pub const BALANCE: u8 = 0x51;
    pub const CODE_HASH: u8 = 0x52;
}

/// What a rule needs, and hence where it can be evaluated. The numbers are those of the rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// One block's state: hooks, `trip` and keeper alike.
    State = 0,
    /// The value when the guarded call began: hooks only. It reverts or shadows, and never raises a level.
    Hook = 1,
    /// History, events, storage: the keeper only.
    Keeper = 2,
}

impl Class {
    /// The class with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Class::State,
            1 => Class::Hook,
            2 => Class::Keeper,
            _ => return None,
        })
    }
}

/// One operator with its operands.
pub(crate) enum Operator<'a> {
    Int(U256),
    Word(B256),
    Bool(bool),
    Param(u8, WordType),
    Entry(u8, Kind),
    Now,
    Get(u8),
    Tee(u8),
    /// `ADD` to `MAX`: two integers to one.
    Binary(u8),
    MulDiv,
    /// `NEG`, `ABS`.
    Unary(u8),
    /// `LT` to `GE`: two integers to a boolean.
    Order(u8),
    /// `EQ` (true) and `NE` (false): two values of one kind to a boolean.
    Equal(bool),
    Near(u16),
    Not,
    /// `AND_THEN` (true) and `OR_ELSE` (false) with the length of the block that follows.
    Block(bool, usize),
    Call(Call<'a>),
    Balance,
    CodeHash,
}

/// Operands of a read: selector, gas, which word of the answer, its type, the types of the arguments.
pub(crate) struct Call<'a> {
    pub(crate) selector: [u8; 4],
    pub(crate) gas: u32,
    pub(crate) word: u8,
    pub(crate) result: WordType,
    pub(crate) args: &'a [u8],
}

/// Reads the operator at the cursor.
pub(crate) fn operator<'a>(cursor: &mut Cursor<'a>) -> Result<Operator<'a>, DecodeReason> {
    let code = cursor.u8().ok_or(DecodeReason::Truncated)?;
    operands(code, cursor)?.ok_or(DecodeReason::Truncated)
}

fn operands<'a>(code: u8, cursor: &mut Cursor<'a>) -> Result<Option<Operator<'a>>, DecodeReason> {
    Ok(Some(match code {
        op::PUSH1..=op::PUSH32 => {
            return Ok(cursor
                .right_aligned(usize::from(code))
                .map(|word| Operator::Int(word.into())));
        }
        op::ADDRESS => return Ok(cursor.right_aligned(20).map(Operator::Word)),
        op::WORD => return Ok(cursor.right_aligned(32).map(Operator::Word)),
        op::TRUE | op::FALSE => Operator::Bool(code == op::TRUE),
        op::PARAM => {
            let (Some(index), Some(code)) = (cursor.u8(), cursor.u8()) else {
                return Ok(None);
            };
            Operator::Param(index, WordType::from_u8(code).ok_or(DecodeReason::BadType)?)
        }
        op::ENTRY => {
            let (Some(index), Some(code)) = (cursor.u8(), cursor.u8()) else {
                return Ok(None);
            };
            Operator::Entry(index, Kind::from_u8(code).ok_or(DecodeReason::BadType)?)
        }
        op::NOW => Operator::Now,
        op::GET => return Ok(cursor.u8().map(Operator::Get)),
        op::TEE => return Ok(cursor.u8().map(Operator::Tee)),
        op::ADD..=op::MAX => Operator::Binary(code),
        op::MUL_DIV => Operator::MulDiv,
        op::NEG | op::ABS => Operator::Unary(code),
        op::LT..=op::GE => Operator::Order(code),
        op::EQ | op::NE => Operator::Equal(code == op::EQ),
        op::NEAR => return Ok(cursor.u16().map(Operator::Near)),
        op::NOT => Operator::Not,
        op::AND_THEN | op::OR_ELSE => {
            return Ok(cursor
                .u16()
                .map(|length| Operator::Block(code == op::AND_THEN, usize::from(length))));
        }
        op::CALL => return call(cursor),
        op::BALANCE => Operator::Balance,
        op::CODE_HASH => Operator::CodeHash,
        _ => return Err(DecodeReason::BadOperator),
    }))
}

fn call<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Operator<'a>>, DecodeReason> {
    let (Some(selector), Some(gas), Some(word), Some(result), Some(count)) =
        (cursor.array(), cursor.u16(), cursor.u8(), cursor.u8(), cursor.u8())
    else {
        return Ok(None);
    };
    let result = WordType::from_u8(result).ok_or(DecodeReason::BadType)?;
    let gas = u32::from(gas) * GAS_UNIT;
    Ok(cursor.take(usize::from(count)).map(|args| {
        Operator::Call(Call {
            selector,
            gas,
            word,
            result,
            args,
        })
    }))
}

/// A compiled rule or expression, borrowed. One that [`Program::decode`] accepted evaluates within its declared cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    bytes: &'a [u8],
    header: [u8; HEADER],
}

impl<'a> Program<'a> {
    /// Checks every byte: header, operators, kinds, stack, locals, blocks, cost.
    ///
    /// # Errors
    /// [`DecodeError`] with the place.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Checker::check(bytes)
    }

    /// Takes bytes that [`Program::decode`] has accepted before (a rulebook is checked when it is adopted) without checking
    /// them again. Other bytes are safe too: they give `Unknown`, with [`crate::rule::Unknown::BadProgram`].
    #[must_use]
    pub fn assume_valid(bytes: &'a [u8]) -> Self {
        let header = bytes
            .get(..HEADER)
            .and_then(|header| header.try_into().ok())
            .unwrap_or([0; HEADER]);
        Program { bytes, header }
    }

    /// The encoded program.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The code after the header.
    #[must_use]
    pub fn code(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// What sort of value the program leaves; a rule leaves a boolean.
    #[must_use]
    pub const fn result(&self) -> Option<Kind> {
        Kind::from_u8(self.header[1])
    }

    /// How many witness words it takes.
    #[must_use]
    pub const fn params(&self) -> u8 {
        self.header[2]
    }

    /// How many values taken at entry it uses.
    #[must_use]
    pub const fn entries(&self) -> u8 {
        self.header[3]
    }

    /// How many locals it has.
    #[must_use]
    pub const fn locals(&self) -> u8 {
        self.header[4]
    }

    /// Most values on its stack.
    #[must_use]
    pub const fn stack(&self) -> u8 {
        self.header[5]
    }

    /// How many reads its code contains.
    #[must_use]
    pub const fn reads(&self) -> u8 {
        self.header[6]
    }

    /// Most gas that its operators and reads need: the floor below which it should not be started.
    #[must_use]
    pub const fn gas(&self) -> u32 {
        u32::from_be_bytes([self.header[7], self.header[8], self.header[9], self.header[10]])
    }
}

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
    Program::decode(&bytes)?;
    Ok(bytes)
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
}

impl Checker {
    fn check(bytes: &[u8]) -> Result<Program<'_>, DecodeError> {
        let start = |reason| DecodeError { reason, at: 0 };
        if bytes.len() > MAX_LEN {
            return Err(start(DecodeReason::TooLong));
        }
        let mut cursor = Cursor::new(bytes);
        let header: [u8; HEADER] = cursor.array().ok_or(start(DecodeReason::Truncated))?;
        let program = Program { bytes, header };
        if header[0] != VERSION {
            return Err(start(DecodeReason::BadVersion));
        }
        if program.params() > MAX_PARAMS || program.entries() > MAX_ENTRIES || program.result().is_none() {
            return Err(start(DecodeReason::BadHeader));
        }
        let checker = Checker::run(header, bytes)?;
        if checker.measured(program.result()) == header {
            Ok(program)
        } else {
            Err(start(DecodeReason::BadHeader))
        }
    }

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
            VERSION,
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
        let before = cursor.position();
        let operator = operator(cursor)?;
        shortest(&operator, cursor.position() - before)?;
        self.charge(OPERATOR_GAS)?;
        self.apply(&operator, cursor.position(), length)?;
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

    fn apply(&mut self, operator: &Operator<'_>, at: usize, length: usize) -> Result<(), DecodeReason> {
        match operator {
            Operator::Int(_) | Operator::Now => self.push(Kind::Int),
            Operator::Word(_) => self.push(Kind::Word),
            Operator::Bool(_) => self.push(Kind::Bool),
            Operator::Param(index, word) if *index < self.header[2] => self.push(word.kind()),
            Operator::Entry(index, kind) if *index < self.header[3] => self.push(*kind),
            Operator::Param(..) | Operator::Entry(..) => Err(DecodeReason::BadIndex),
            Operator::Get(index) => {
                let kind = self
                    .locals
                    .get(usize::from(*index))
                    .copied()
                    .flatten()
                    .ok_or(DecodeReason::BadIndex)?;
                self.push(kind)
            }
            Operator::Tee(index) => self.tee(*index),
            Operator::Binary(_) => self.replace(&[Kind::Int, Kind::Int], Kind::Int),
            Operator::MulDiv => self.replace(&[Kind::Int, Kind::Int, Kind::Int], Kind::Int),
            Operator::Unary(_) => self.replace(&[Kind::Int], Kind::Int),
            Operator::Order(_) | Operator::Near(_) => self.replace(&[Kind::Int, Kind::Int], Kind::Bool),
            Operator::Equal(_) => {
                let kind = self.stack.last().copied().ok_or(DecodeReason::StackUnderflow)?;
                self.replace(&[kind, kind], Kind::Bool)
            }
            Operator::Not => self.replace(&[Kind::Bool], Kind::Bool),
            Operator::Block(_, size) => self.open(at, *size, length),
            Operator::Call(call) => self.call(call),
            Operator::Balance => self.account_read(Kind::Int),
            Operator::CodeHash => self.account_read(Kind::Word),
        }
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

    fn call(&mut self, call: &Call<'_>) -> Result<(), DecodeReason> {
        if call.gas == 0 || call.args.len() > MAX_ARGS {
            return Err(DecodeReason::BadOperand);
        }
        for code in call.args.iter().rev() {
            let word = WordType::from_u8(*code).ok_or(DecodeReason::BadType)?;
            self.expect(word.kind())?;
        }
        self.expect(Kind::Word)?;
        self.read(call.gas)?;
        self.push(call.result.kind())
    }

    fn account_read(&mut self, result: Kind) -> Result<(), DecodeReason> {
        self.read(0)?;
        self.replace(&[Kind::Word], result)
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

    fn replace(&mut self, taken: &[Kind], left: Kind) -> Result<(), DecodeReason> {
        for kind in taken.iter().rev() {
            self.expect(*kind)?;
        }
        self.push(left)
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

/// There is one way to write a constant, so that one rule has one encoding.
fn shortest(operator: &Operator<'_>, size: usize) -> Result<(), DecodeReason> {
    let needed = match operator {
        Operator::Int(value) => 1 + value.byte_len().max(1),
        Operator::Near(tolerance) if *tolerance > 10_000 => return Err(DecodeReason::BadOperand),
        Operator::Word(word) if size == 33 && word.iter().take(12).all(|byte| *byte == 0) => {
            return Err(DecodeReason::BadOperand);
        }
        _ => return Ok(()),
    };
    if needed == size {
        Ok(())
    } else {
        Err(DecodeReason::BadOperand)
    }
}
