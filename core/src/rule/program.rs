//! Compiled rules: the encoding, and the decoder that trusts nothing.
//!
//! A program is a header of [`HEADER`] bytes and code for a stack machine. Jumps go forward only, so that it ends after at
//! most as many steps as it has bytes. `docs/rules.md` describes the encoding byte by byte.

use crate::anchor::StreamId;
use crate::baseline::{SPEC_BYTES, Statistic};
use crate::bytes::Cursor;
use crate::rule::check;
use crate::rule::error::{DecodeError, DecodeReason};
use crate::rule::value::Kind;
use alloy_primitives::B256;

/// Version of the encoding, the first byte of each program that uses nothing newer.
pub const VERSION: u8 = 1;
/// Added to the version of programs that use the context of a transaction ([`op::ENTERED`] to [`op::ROUND_TRIP`]), and only of those, so
/// that one rule has one encoding.
pub const USES_CONTEXT: u8 = 1;
/// Added to the version of programs that read an anchor that the guard has stored ([`op::STORED`] of [`ANCHOR`]), and only of those.
pub const USES_ANCHORS: u8 = 2;
/// Added to the version of programs that read a statistic ([`op::STORED`] of a [`Statistic`]), and only of those.
pub const USES_STATISTICS: u8 = 4;
/// Version of programs that use all of it.
pub const LAST_VERSION: u8 = VERSION + USES_CONTEXT + USES_ANCHORS + USES_STATISTICS;
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
/// Largest tolerance of `NEAR`, in basis points.
pub const MAX_TOLERANCE: u16 = 10_000;
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
    pub const ENTERED: u8 = 0x53;
    pub const LEFT: u8 = 0x54;
    pub const DEPTH: u8 = 0x55;
    pub const ROUND_TRIP: u8 = 0x56;
    pub const STORED: u8 = 0x57;
}

/// What a rule needs, and hence where it can be evaluated. The numbers are those of the rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// One block's state: hooks, `trip` and keeper alike.
    State = 0,
    /// The value when the guarded call began, or the context of the transaction: hooks only. It reverts or shadows, and never raises a level.
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

/// One operator with its operands, as they stand in the code.
#[derive(Clone, Copy)]
pub(crate) struct Instruction<'a> {
    pub(crate) code: u8,
    pub(crate) operands: &'a [u8],
}

impl<'a> Instruction<'a> {
    /// Reads the operator at the cursor.
    pub(crate) fn next(cursor: &mut Cursor<'a>) -> Result<Self, DecodeReason> {
        let code = cursor.u8().ok_or(DecodeReason::Truncated)?;
        let length = match code {
            op::PUSH1..=op::PUSH32 => usize::from(code),
            op::ADDRESS => 20,
            op::WORD => 32,
            op::PARAM | op::ENTRY | op::NEAR | op::AND_THEN | op::OR_ELSE => 2,
            op::GET | op::TEE => 1,
            op::TRUE | op::FALSE | op::NOW | op::ADD..=op::ABS | op::LT..=op::NE => 0,
            op::NOT | op::BALANCE..=op::ROUND_TRIP => 0,
            op::STORED => {
                let fixed = Cursor::take(&mut { *cursor }, STORED_FIXED).ok_or(DecodeReason::Truncated)?;
                match fixed.last() {
                    Some(&ANCHOR) => STORED_FIXED,
                    Some(what) if Statistic::from_u8(*what).is_some() => STORED_FIXED + SPEC_BYTES,
                    _ => return Err(DecodeReason::BadOperand),
                }
            }
            op::CALL => {
                let fixed = Cursor::take(&mut { *cursor }, CALL_FIXED).ok_or(DecodeReason::Truncated)?;
                CALL_FIXED + fixed.last().map_or(0, |count| usize::from(*count))
            }
            _ => return Err(DecodeReason::BadOperator),
        };
        let operands = cursor.take(length).ok_or(DecodeReason::Truncated)?;
        Ok(Instruction { code, operands })
    }

    /// An operand of one byte; 0 where there is none.
    pub(crate) fn byte(&self, index: usize) -> u8 {
        self.operands.get(index).copied().unwrap_or(0)
    }

    /// An operand of two bytes.
    pub(crate) fn short(&self, index: usize) -> u16 {
        u16::from(self.byte(index)) << 8 | u16::from(self.byte(index + 1))
    }

    /// The constant of `PUSH1` to `PUSH32`, `ADDRESS` and `WORD`, right-aligned.
    pub(crate) fn word(&self) -> B256 {
        let mut word = B256::ZERO;
        for (to, from) in word.iter_mut().rev().zip(self.operands.iter().rev()) {
            *to = *from;
        }
        word
    }

    /// The selector of a read.
    pub(crate) fn selector(&self) -> &'a [u8] {
        self.operands.get(..4).unwrap_or_default()
    }

    /// Most gas of a read.
    pub(crate) fn gas(&self) -> u32 {
        u32::from(self.short(4)) * GAS_UNIT
    }

    /// The stream of `STORED`.
    pub(crate) fn stream(&self) -> StreamId {
        self.operands
            .first_chunk::<16>()
            .map_or(StreamId::ZERO, |id| StreamId::new(*id))
    }

    /// Which statistic `STORED` reads; `None` for the anchor, and for what does not exist.
    pub(crate) fn statistic(&self) -> Option<Statistic> {
        Statistic::from_u8(self.byte(STORED_WHAT))
    }

    /// How the statistic's stream is judged, as bytes.
    pub(crate) fn spec(&self) -> &'a [u8] {
        self.operands.get(STORED_FIXED..).unwrap_or_default()
    }

    /// Types of the arguments of a read.
    pub(crate) fn args(&self) -> &'a [u8] {
        self.operands.get(CALL_FIXED..).unwrap_or_default()
    }
}

/// Operands of `CALL` before the types of its arguments: selector (4), gas (2), word (1), type of the answer (1), number of
/// arguments (1).
const CALL_FIXED: usize = 9;
/// Operands of `STORED` for an anchor: the stream (16), which of its values (1). For a [`Statistic`] its specification follows.
const STORED_FIXED: usize = 17;
/// The value of a stream that [`op::STORED`] reads: its anchor. The others are those of [`Statistic`].
pub const ANCHOR: u8 = 0;
/// Where in them the value is told.
pub(crate) const STORED_WHAT: usize = 16;
/// Where in them the word and its type are.
pub(crate) const CALL_WORD: usize = 6;
pub(crate) const CALL_RESULT: usize = 7;

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
        check::check(bytes).map(|header| Program { bytes, header })
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

    /// Whether the program uses the context of a transaction, which only a hook knows.
    #[must_use]
    pub const fn uses_context(&self) -> bool {
        self.uses(USES_CONTEXT)
    }

    /// Whether the program reads what the guard has stored.
    #[must_use]
    pub const fn uses_stored(&self) -> bool {
        self.uses(USES_ANCHORS) || self.uses(USES_STATISTICS)
    }

    /// Whether the program reads what the guard has learnt.
    #[must_use]
    pub const fn uses_statistics(&self) -> bool {
        self.uses(USES_STATISTICS)
    }

    const fn uses(&self, what: u8) -> bool {
        self.header[0].wrapping_sub(VERSION) & what != 0
    }

    /// The streams that the program reads, in the order of its code, each as often as it is read, and with a statistic the bytes of the
    /// specification by which the program judges it.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, Option<&'a [u8]>)> + use<'a> {
        let mut cursor = Cursor::new(self.code());
        core::iter::from_fn(move || Instruction::next(&mut cursor).ok())
            .filter(|instruction| instruction.code == op::STORED)
            .map(|instruction| {
                let spec = instruction.statistic().map(|_| instruction.spec());
                (instruction.stream(), spec)
            })
    }

    /// Whether the program says by its very code the opposite of another: who knows what one of them evaluates to knows the other too.
    #[must_use]
    pub fn negates(&self, other: &Program<'_>) -> bool {
        let (own, others) = (self.code(), other.code());
        own.split_last() == Some((&op::NOT, others)) || others.split_last() == Some((&op::NOT, own))
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
