//! What the compiler knows about contracts: types, signatures, and where names come from.

use crate::rule::value::{Kind, WordType};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use alloy_primitives::Address;
use core::fmt;

/// An ABI type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `int<bits>` or `uint<bits>`.
    Int {
        /// Whether it has a sign.
        signed: bool,
        /// 8 to 256, a multiple of 8.
        bits: u16,
    },
    /// `bool`.
    Bool,
    /// `address`.
    Address,
    /// `bytes<bytes>`.
    Word {
        /// 1 to 32.
        bytes: u8,
    },
    /// A dynamic array of static elements. Only as an argument of a containment call.
    Array(Box<Type>),
    /// Any other type. It can be passed over in an answer, but not be read or given.
    Other {
        /// How it is written.
        name: String,
        /// How many words it takes in the head of an answer (1 when dynamic).
        words: u16,
    },
}

impl Type {
    /// How a word of this type is read and written; `None` for arrays and other types.
    #[must_use]
    pub fn word_type(&self) -> Option<WordType> {
        match self {
            Type::Int { signed, bits } => WordType::integer(*signed, u8::try_from(bits / 8).ok()?),
            Type::Bool => Some(WordType::BOOL),
            Type::Address => Some(WordType::ADDRESS),
            Type::Word { bytes } => WordType::bytes(*bytes),
            Type::Array(_) | Type::Other { .. } => None,
        }
    }

    /// How many words the type takes in the head of an answer.
    #[must_use]
    pub const fn head_words(&self) -> u16 {
        match self {
            Type::Other { words, .. } => *words,
            _ => 1,
        }
    }

    /// What sort of value it holds; `None` for arrays and other types.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.word_type().map(WordType::kind)
    }

    /// The type that is written like this (`uint256`, `address`, `bytes32`, `int24`, `bool`, `address[]`, …); other names
    /// give [`Type::Other`] of one word.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let name = name.trim();
        let other = || Type::Other {
            name: name.into(),
            words: 1,
        };
        if let Some(element) = name.strip_suffix("[]") {
            return match Type::parse(element) {
                Type::Other { .. } => other(),
                element => Type::Array(Box::new(element)),
            };
        }
        let integer = |signed, bits: &str| match bits {
            "" => Type::Int { signed, bits: 256 },
            bits => match bits.parse() {
                Ok(bits) if (8..=256).contains(&bits) && bits % 8 == 0 => Type::Int { signed, bits },
                _ => other(),
            },
        };
        match name {
            "bool" => Type::Bool,
            "address" => Type::Address,
            _ if name.starts_with("uint") => integer(false, name.trim_start_matches("uint")),
            _ if name.starts_with("int") => integer(true, name.trim_start_matches("int")),
            _ => match name.strip_prefix("bytes").map(str::parse) {
                Some(Ok(bytes)) if (1..=32).contains(&bytes) => Type::Word { bytes },
                _ => other(),
            },
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Int { signed: true, bits } => write!(f, "int{bits}"),
            Type::Int { signed: false, bits } => write!(f, "uint{bits}"),
            Type::Bool => f.write_str("bool"),
            Type::Address => f.write_str("address"),
            Type::Word { bytes } => write!(f, "bytes{bytes}"),
            Type::Array(element) => write!(f, "{element}[]"),
            Type::Other { name, .. } => f.write_str(name),
        }
    }
}

/// A function of a contract, as the compiler needs it. Static structs and tuples in the answer are given field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSig {
    /// First four bytes of the calldata.
    pub selector: [u8; 4],
    /// Types of the arguments.
    pub inputs: Vec<Type>,
    /// Names (where given) and types of the answer's fields.
    pub outputs: Vec<(Option<String>, Type)>,
    /// Whether it changes no state (`view`, `pure`). Rules read only such functions.
    pub view: bool,
}

/// Why a contract has no such function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// No function of this name.
    #[error("no such function")]
    Unknown,
    /// A function of this name, but with other numbers of arguments.
    #[error("the function takes another number of arguments")]
    WrongArgumentCount {
        /// The numbers of arguments that it takes.
        takes: Vec<usize>,
    },
    /// Several functions of this name and number of arguments.
    #[error("several functions have this name and number of arguments")]
    Ambiguous {
        /// Their signatures.
        signatures: Vec<String>,
    },
}

/// The names that a rule may use: contracts with their addresses and functions.
pub trait Symbols {
    /// The address of a contract.
    fn contract(&self, name: &str) -> Option<Address>;

    /// The function of a contract that takes `argc` arguments.
    ///
    /// # Errors
    /// [`SymbolError`] when there is none, or more than one.
    fn function(&self, contract: &str, function: &str, argc: usize) -> Result<FunctionSig, SymbolError>;

    /// The names of all contracts.
    fn names(&self) -> Vec<String>;

    /// The names of a contract's functions.
    fn functions(&self, contract: &str) -> Vec<String>;

    /// Most gas that a read of this function may use; `None` for [`crate::rule::compile::DEFAULT_READ_GAS`].
    fn read_gas(&self, _contract: &str, _function: &str) -> Option<u32> {
        None
    }
}
