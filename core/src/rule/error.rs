//! Why a program is refused, and why a verdict is `Unknown`.

/// Why a rule could not be evaluated. The numbers are the reason codes that the guard reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Unknown {
    /// The magnitude of a result needs more than 256 bits.
    #[error("a result needs more than 256 bits")]
    Overflow = 1,
    /// A divisor is zero.
    #[error("a divisor is zero")]
    DivisionByZero = 2,
    /// The contract that is read reverted.
    #[error("the contract that was read reverted")]
    Reverted = 3,
    /// The answer is shorter than the word that is read.
    #[error("the answer of the contract that was read is too short")]
    ShortAnswer = 4,
    /// The address that is read has no code.
    #[error("the address that was read has no code")]
    NoCode = 5,
    /// Not enough gas was left for the read.
    #[error("not enough gas was left for a read")]
    OutOfGas = 6,
    /// The reader cannot give an answer now (off chain: the endpoint failed).
    #[error("a read gave no answer")]
    Unavailable = 7,
    /// The word read is not one of the declared type.
    #[error("a word that was read is not of its declared type")]
    BadAnswer = 8,
    /// An argument does not fit the type of its parameter, or a call's target is no address.
    #[error("an argument does not fit the type of its parameter")]
    BadArgument = 9,
    /// A witness word is missing or not of the parameter's type.
    #[error("a witness word is missing or not of the parameter's type")]
    BadWitness = 10,
    /// The value that `entry` refers to is not known.
    #[error("the value at entry is not known")]
    NoEntry = 11,
    /// The program is not valid; a decoded program never gives this.
    #[error("the program is not valid")]
    BadProgram = 12,
    /// The guard has stored no value for long enough, or none lately.
    #[error("the guard has not stored the value for long enough, or not lately")]
    NotStored = 13,
    /// The value that a guard was to store lies outside of the bounds of its stream. The verdict of a rule never has this reason.
    #[error("the value lies outside of the bounds of its stream")]
    OutOfBounds = 14,
}

impl Unknown {
    /// The reason code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Unknown::Overflow,
            2 => Unknown::DivisionByZero,
            3 => Unknown::Reverted,
            4 => Unknown::ShortAnswer,
            5 => Unknown::NoCode,
            6 => Unknown::OutOfGas,
            7 => Unknown::Unavailable,
            8 => Unknown::BadAnswer,
            9 => Unknown::BadArgument,
            10 => Unknown::BadWitness,
            11 => Unknown::NoEntry,
            12 => Unknown::BadProgram,
            13 => Unknown::NotStored,
            14 => Unknown::OutOfBounds,
            _ => return None,
        })
    }
}

/// Why a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The contract reverted.
    #[error("the contract reverted")]
    Reverted,
    /// The answer has fewer words than needed.
    #[error("the answer is too short")]
    Short,
    /// The address has no code.
    #[error("the address has no code")]
    NoCode,
    /// Less gas is left than the read may need.
    #[error("not enough gas is left")]
    OutOfGas,
    /// No answer could be had.
    #[error("no answer")]
    Unavailable,
}

impl From<ReadError> for Unknown {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reverted => Unknown::Reverted,
            ReadError::Short => Unknown::ShortAnswer,
            ReadError::NoCode => Unknown::NoCode,
            ReadError::OutOfGas => Unknown::OutOfGas,
            ReadError::Unavailable => Unknown::Unavailable,
        }
    }
}

/// A program that is refused, with the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (byte {at} of the program)")]
pub struct DecodeError {
    /// What is wrong.
    pub reason: DecodeReason,
    /// Offset of the offending byte from the program's beginning.
    pub at: u16,
}

/// What is wrong with a program. The numbers are part of the guard's `BadRulebook` codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum DecodeReason {
    /// Longer than a program may be.
    #[error("the program is too long")]
    TooLong = 1,
    /// Ends too early.
    #[error("the program ends too early")]
    Truncated = 2,
    /// The first byte is not a known version.
    #[error("the version is not known")]
    BadVersion = 3,
    /// A byte is no operator.
    #[error("no such operator")]
    BadOperator = 4,
    /// A byte is no type.
    #[error("no such type")]
    BadType = 5,
    /// An operator finds values of another kind.
    #[error("the operator does not take values of this kind")]
    WrongKind = 6,
    /// An operator finds too few values.
    #[error("too few values for the operator")]
    StackUnderflow = 7,
    /// More values than the stack holds.
    #[error("too many values on the stack")]
    StackOverflow = 8,
    /// A parameter, entry or local that was not declared, or a local that was not set.
    #[error("no such parameter, entry or local")]
    BadIndex = 9,
    /// A block that reaches beyond its end, or nests too deep.
    #[error("a block does not fit its surroundings")]
    BadBlock = 10,
    /// More reads than a program may have.
    #[error("too many reads")]
    TooManyReads = 11,
    /// A number that could be written shorter, or an operand out of range.
    #[error("an operand is out of range or not in its shortest form")]
    BadOperand = 12,
    /// The header does not say what the code does.
    #[error("the header does not agree with the code")]
    BadHeader = 13,
    /// The gas of all operators and reads exceeds the limit.
    #[error("the program may use too much gas")]
    TooMuchGas = 14,
}
