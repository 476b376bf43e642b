//! The compiler: from the text of a rule to its program.

pub use crate::rule::program::Class;
use crate::rule::types::{Symbols, Type};
use alloc::string::String;
use alloc::vec::Vec;
use alloy_primitives::Address;

/// Gas that a read may use unless [`Symbols::read_gas`] says otherwise.
pub const DEFAULT_READ_GAS: u32 = 300_000;

/// A parameter of a rule: whoever trips it supplies the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its type: a static one.
    pub ty: Type,
}

/// A compiled rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The program.
    pub program: Vec<u8>,
    /// The rule's class.
    pub class: Class,
    /// The word that made it so, with its column (1-based); `None` for a state rule.
    pub class_reason: Option<(String, usize)>,
    /// One program for each `entry(…)`, evaluated when the guarded call begins.
    pub entries: Vec<Vec<u8>>,
    /// How many reads the program contains.
    pub reads: u8,
    /// Most gas that the program needs.
    pub gas_bound: u32,
    /// Known traps that the rule walks into, one sentence each.
    pub warnings: Vec<String>,
    /// Whether a transaction can move its inputs (true for every rule that reads; its author may assert otherwise).
    pub spot: bool,
}

/// A compiled containment call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledCall {
    /// The contract that is called.
    pub target: Address,
    /// Selector and arguments.
    pub calldata: Vec<u8>,
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct CompileError {
    /// Where, in characters from 1. In a named sub-expression it counts from that expression's beginning.
    pub column: usize,
    /// The named sub-expression (`let`) in which it is; `None` for the rule itself.
    pub within: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// Compiles a rule or another boolean expression. `lets` are named sub-expressions; each may use those before it.
///
/// # Errors
/// [`CompileError`] with the column, and the nearest name for an unknown one.
pub fn compile(
    source: &str,
    params: &[Param],
    lets: &[(String, String)],
    symbols: &dyn Symbols,
) -> Result<Compiled, CompileError> {
    let _ = (source, params, lets, symbols);
    Err(CompileError {
        column: 1,
        within: None,
        message: String::from("the compiler is not there yet"),
    })
}

/// Compiles a containment call, `contract.function(arguments)`, whose arguments are constants.
///
/// # Errors
/// [`CompileError`] with the column, and the nearest name for an unknown one.
pub fn compile_call(source: &str, symbols: &dyn Symbols) -> Result<CompiledCall, CompileError> {
    let _ = (source, symbols);
    Err(CompileError {
        column: 1,
        within: None,
        message: String::from("the compiler is not there yet"),
    })
}
