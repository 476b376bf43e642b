//! Values of the rule language.

use crate::math::wide;
use alloy_primitives::{B256, U256};
use core::cmp::Ordering;
use core::fmt;

/// An integer with a sign and 256 bits of magnitude. Zero is never negative; build one with [`Int::new`] to be sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Int {
    /// Whether the value is below zero.
    pub negative: bool,
    /// The absolute value.
    pub magnitude: U256,
}

/// What sort of value an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// True or false.
    Bool = 0,
    /// An integer.
    Int = 1,
    /// 32 bytes that are not a number: an address (left-padded) or a `bytesN`.
    Word = 2,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Kind::Bool,
            1 => Kind::Int,
            2 => Kind::Word,
            _ => return None,
        })
    }
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Int(Int),
    /// True or false.
    Bool(bool),
    /// An address (left-padded) or a `bytesN` (right-padded).
    Word(B256),
}

impl Value {
    /// What sort of value this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Value::Int(_) => Kind::Int,
            Value::Bool(_) => Kind::Bool,
            Value::Word(_) => Kind::Word,
        }
    }

    /// The value as a tag and a word, for storage between `enter` and `exit`. Tags: 0 integer from zero up, 1 negative
    /// integer, 2 boolean, 3 word.
    #[must_use]
    pub fn to_parts(&self) -> (u8, B256) {
        match self {
            Value::Int(int) => (u8::from(int.negative), B256::from(int.magnitude)),
            Value::Bool(bit) => (2, bit_word(*bit)),
            Value::Word(word) => (3, *word),
        }
    }

    /// The value that [`Value::to_parts`] took apart; `None` for a tag above 3.
    #[must_use]
    pub fn from_parts(tag: u8, word: B256) -> Option<Self> {
        Some(match tag {
            0 | 1 => Value::Int(Int::new(tag == 1, word.into())),
            2 => Value::Bool(!word.is_zero()),
            3 => Value::Word(word),
            _ => return None,
        })
    }

    /// The value as the integer that a report shows: a boolean as 0 or 1, a word as an unsigned number.
    #[must_use]
    pub fn shown(&self) -> Int {
        match self {
            Value::Int(int) => *int,
            Value::Bool(bit) => Int::from(u64::from(*bit)),
            Value::Word(word) => Int::new(false, (*word).into()),
        }
    }
}

fn bit_word(bit: bool) -> B256 {
    B256::with_last_byte(u8::from(bit))
}

impl From<u64> for Int {
    fn from(value: u64) -> Self {
        Int {
            negative: false,
            magnitude: U256::from_limbs([value, 0, 0, 0]),
        }
    }
}

impl From<U256> for Int {
    fn from(magnitude: U256) -> Self {
        Int {
            negative: false,
            magnitude,
        }
    }
}

impl Int {
    /// One.
    pub(crate) const ONE: Int = Int {
        negative: false,
        magnitude: ONE,
    };

    /// Zero.
    pub const ZERO: Int = Int {
        negative: false,
        magnitude: U256::ZERO,
    };

    /// The integer with this sign and magnitude; a zero loses its sign.
    #[must_use]
    pub fn new(negative: bool, magnitude: U256) -> Self {
        Int {
            negative: negative && !magnitude.is_zero(),
            magnitude,
        }
    }

    /// The value with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::new(!self.negative, self.magnitude)
    }

    /// The absolute value.
    #[must_use]
    pub const fn absolute(self) -> Self {
        Int {
            negative: false,
            magnitude: self.magnitude,
        }
    }

    /// The sum, or `None` when its magnitude needs more than 256 bits.
    #[must_use]
    pub fn checked_add(mut self, other: Self) -> Option<Self> {
        self.add(&other, false).then_some(self)
    }

    /// The difference, or `None` when its magnitude needs more than 256 bits.
    #[must_use]
    pub fn checked_sub(mut self, other: Self) -> Option<Self> {
        self.add(&other, true).then_some(self)
    }

    /// The product, or `None` when its magnitude needs more than 256 bits.
    #[must_use]
    pub fn checked_mul(mut self, other: Self) -> Option<Self> {
        self.scale(&other, &Int::ONE).then_some(self)
    }

    /// `self * factor / divisor` with a 512-bit product, rounded toward zero; `None` when the divisor is zero or the
    /// quotient's magnitude needs more than 256 bits.
    #[must_use]
    pub fn mul_div(mut self, factor: Self, divisor: Self) -> Option<Self> {
        self.scale(&factor, &divisor).then_some(self)
    }

    /// Adds (or subtracts) in place; false when the result does not fit. In place, because moving values about is what makes
    /// a guard's program large.
    pub(crate) fn add(&mut self, other: &Self, subtract: bool) -> bool {
        if self.negative == (other.negative != subtract) {
            let (sum, carry) = self.magnitude.overflowing_add(other.magnitude);
            self.magnitude = sum;
            return !carry;
        }
        let (difference, borrow) = self.magnitude.overflowing_sub(other.magnitude);
        self.magnitude = difference;
        if borrow {
            self.magnitude = U256::ZERO.wrapping_sub(difference);
        }
        self.negative = self.negative != borrow && !self.magnitude.is_zero();
        true
    }

    /// Multiplies by `factor` and divides by `divisor` in place; false when the divisor is zero or the result does not fit.
    pub(crate) fn scale(&mut self, factor: &Self, divisor: &Self) -> bool {
        let product = wide::mul(&self.magnitude, &factor.magnitude);
        let quotient = if *divisor == Int::ONE {
            wide::narrow(product)
        } else {
            wide::div(&product, &divisor.magnitude)
        };
        let Some(quotient) = quotient else { return false };
        self.magnitude = quotient;
        self.negative = (self.negative != factor.negative) != divisor.negative && !quotient.is_zero();
        true
    }

    /// Whether two values differ by at most `tolerance` basis points of the larger magnitude:
    /// `|a - b| * 10000 <= max(|a|, |b|) * tolerance`, exactly, without rounding. Tolerances are at most 10000.
    #[must_use]
    pub fn near(self, other: Self, tolerance: u16) -> bool {
        let mut difference = self;
        // A difference of more than 256 bits exceeds the larger magnitude, hence any tolerance.
        if !difference.add(&other, true) {
            return false;
        }
        let larger = if self.magnitude >= other.magnitude {
            &self.magnitude
        } else {
            &other.magnitude
        };
        let scaled = |value: &U256, factor: u16| wide::mul(value, &U256::from_limbs([u64::from(factor), 0, 0, 0]));
        wide::at_most(&scaled(&difference.magnitude, 10_000), &scaled(larger, tolerance))
    }
}

impl fmt::Display for Int {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(out, "{sign}{}", self.magnitude)
    }
}

impl PartialOrd for Int {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Int {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude.cmp(&other.magnitude),
            (true, true) => other.magnitude.cmp(&self.magnitude),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

/// How a 32-byte ABI word is to be read or written. One byte: 0 `bool`, 1 `address`, 64 + n `uint(8n)`, 128 + n `int(8n)`,
/// 192 + n `bytesn`, n from 1 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordType(u8);

impl WordType {
    /// `bool`.
    pub const BOOL: WordType = WordType(0);
    /// `address`.
    pub const ADDRESS: WordType = WordType(1);
    /// `uint256`.
    pub const UINT256: WordType = WordType(UINT | 32);
    /// `int256`.
    pub const INT256: WordType = WordType(SINT | 32);
    /// `bytes32`.
    pub const BYTES32: WordType = WordType(BYTES | 32);

    /// The type with this code, or `None` when the code means nothing.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        let size = code & SIZE;
        match code & !SIZE {
            0 if size <= 1 => Some(WordType(code)),
            UINT | SINT | BYTES if size >= 1 && size <= 32 => Some(WordType(code)),
            _ => None,
        }
    }

    /// `uint` or `int` of so many bytes (1 to 32).
    #[must_use]
    pub const fn integer(signed: bool, bytes: u8) -> Option<Self> {
        if bytes > 32 {
            return None;
        }
        Self::from_u8(bytes | if signed { SINT } else { UINT })
    }

    /// `bytesN` (1 to 32).
    #[must_use]
    pub const fn bytes(bytes: u8) -> Option<Self> {
        if bytes > 32 {
            return None;
        }
        Self::from_u8(bytes | BYTES)
    }

    /// The code of the type.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// What sort of value a word of this type holds.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self.0 {
            0 => Kind::Bool,
            code if code & !SIZE == UINT || code & !SIZE == SINT => Kind::Int,
            _ => Kind::Word,
        }
    }

    /// Reads a word; `None` when its padding is not that of the type.
    #[must_use]
    pub fn read(self, word: B256) -> Option<Value> {
        let value = match self.0 & !SIZE {
            UINT => Value::Int(Int::new(false, word.into())),
            SINT => Value::Int(signed(word.into())),
            0 if self.0 == 0 => Value::Bool(!word.is_zero()),
            _ => Value::Word(word),
        };
        let fits = match &value {
            // Both readings of a word that is neither 0 nor 1 would be true.
            Value::Bool(bit) => bit_word(*bit) == word,
            other => self.fits(other),
        };
        fits.then_some(value)
    }

    /// Writes a value as a word; `None` when it is of another kind or does not fit.
    #[must_use]
    pub fn write(self, value: &Value) -> Option<B256> {
        if !self.fits(value) {
            return None;
        }
        Some(match value {
            Value::Bool(bit) => bit_word(*bit),
            Value::Int(Int {
                negative: false,
                magnitude,
            }) => B256::from(*magnitude),
            Value::Int(Int {
                negative: true,
                magnitude,
            }) => B256::from(U256::ZERO.wrapping_sub(*magnitude)),
            Value::Word(word) => *word,
        })
    }

    /// Whether the value is of the type's kind and within its range.
    fn fits(self, value: &Value) -> bool {
        let bits = 8 * usize::from(self.0 & SIZE);
        match (value, self.0 & !SIZE) {
            (Value::Bool(_), _) => self.0 == 0,
            (Value::Int(int), UINT) => !int.negative && int.magnitude.bit_len() <= bits,
            // -2^(n-1) is the one negative value whose magnitude needs n bits.
            (Value::Int(int), SINT) => {
                let magnitude = if int.negative {
                    int.magnitude.wrapping_sub(ONE)
                } else {
                    int.magnitude
                };
                magnitude.bit_len() < bits
            }
            (Value::Word(word), BYTES) => word.iter().skip(bits / 8).all(|byte| *byte == 0),
            (Value::Word(word), 0) => self.0 == 1 && word.iter().take(12).all(|byte| *byte == 0),
            _ => false,
        }
    }
}

const SIZE: u8 = 0x3f;
const UINT: u8 = 0x40;
const SINT: u8 = 0x80;
const BYTES: u8 = 0xc0;
const ONE: U256 = U256::from_limbs([1, 0, 0, 0]);

/// The two's complement reading of a word.
fn signed(word: U256) -> Int {
    let [_, _, _, top] = word.into_limbs();
    if top >> 63 == 0 {
        Int::new(false, word)
    } else {
        Int::new(true, U256::ZERO.wrapping_sub(word))
    }
}
