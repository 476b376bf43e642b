//! The rule language: values, programs and their evaluation; with the feature `std` also parser and compiler.

mod check;
pub mod error;
pub mod eval;
pub mod program;
pub mod value;

#[cfg(feature = "std")]
pub mod compile;
#[cfg(feature = "std")]
mod emit;
#[cfg(feature = "std")]
mod lex;
#[cfg(feature = "std")]
mod lint;
#[cfg(feature = "std")]
pub mod names;
#[cfg(feature = "std")]
pub mod parse;
#[cfg(feature = "std")]
mod resolve;
#[cfg(feature = "std")]
mod term;
#[cfg(feature = "std")]
pub mod types;

#[cfg(feature = "std")]
pub use compile::{CompileError, Compiled, CompiledCall, CompiledStream, Param, compile, compile_call};
pub use error::{DecodeError, DecodeReason, ReadError, Unknown};
pub use eval::{Context, Evaluation, Inputs, Reader, Verdict, evaluate, evaluate_value};
pub use program::{Class, Program};
#[cfg(feature = "std")]
pub use types::{FunctionSig, SymbolError, Symbols, Type};
pub use value::{Int, Kind, Value, WordType};
