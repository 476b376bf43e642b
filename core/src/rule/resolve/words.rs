//! Words of the language, and the small change of error messages.

use crate::baseline::Statistic;
use crate::rule::compile::CompileError;
use crate::rule::parse::Expr;
use crate::rule::term::{FoldError, Term, TermNode};
use crate::rule::value::Kind;
use alloc::format;
use alloc::string::ToString;

/// Functions of the language.
pub(super) const FUNCTIONS: [&str; 16] = [
    "min",
    "max",
    "abs",
    "near",
    "entry",
    "anchor",
    "mean",
    "deviation",
    "score",
    "drift",
    "lowest",
    "highest",
    "eth",
    "codehash",
    "entered",
    "left",
];

/// Functions that tell what is usual.
pub(super) const STATISTICS: [(&str, Statistic); 6] = [
    ("mean", Statistic::Mean),
    ("deviation", Statistic::Deviation),
    ("score", Statistic::Score),
    ("drift", Statistic::Drift),
    ("lowest", Statistic::Lowest),
    ("highest", Statistic::Highest),
];

/// Values of the running transaction.
pub(super) const CONTEXT: [&str; 2] = ["depth", "round_trip"];

/// Words that only a keeper could evaluate.
const KEEPER_WORDS: [&str; 5] = ["slot", "events", "history", "median", "rate"];

/// Whether a name has a meaning of its own.
pub(super) fn is_reserved(name: &str) -> bool {
    FUNCTIONS.contains(&name)
        || CONTEXT.contains(&name)
        || KEEPER_WORDS.contains(&name)
        || matches!(name, "now" | "true" | "false")
}

/// An error when the name is one that only a keeper could evaluate.
pub(super) fn keeper_word(column: usize, name: &str) -> Result<(), CompileError> {
    if !KEEPER_WORDS.contains(&name) {
        return Ok(());
    }
    let message = format!(
        "`{name}` makes this a keeper rule, which a guard cannot evaluate (no program reads foreign storage, events or history): \
         write it as a state rule, over functions of contracts"
    );
    Err(CompileError::at(column, message))
}

/// Whether a node that is wanted is in the term.
pub(super) fn contains(term: &Term, wanted: &dyn Fn(&TermNode) -> bool) -> bool {
    wanted(&term.node) || term.children().into_iter().any(|child| contains(child, wanted))
}

/// Exactly `N` arguments.
pub(super) fn arguments<'e, const N: usize>(
    column: usize,
    name: &str,
    args: &'e [Expr],
) -> Result<&'e [Expr; N], CompileError> {
    args.try_into()
        .map_err(|_| wrong_count(column, name, &N.to_string(), args.len()))
}

/// The wrong number of arguments.
pub(super) fn wrong_count(column: usize, name: &str, takes: &str, given: usize) -> CompileError {
    let plural = if takes == "1" { "argument" } else { "arguments" };
    CompileError::at(column, format!("`{name}` takes {takes} {plural}, {given} given"))
}

/// What went wrong while folding constants.
pub(super) fn folded(column: usize, error: &FoldError) -> CompileError {
    CompileError::at(
        column,
        match error {
            FoldError::Overflow => "this constant needs more than 256 bits",
            FoldError::DivisionByZero => "division by zero",
        },
    )
}

/// "numbers", for a message.
pub(super) const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "conditions (true or false)",
        Kind::Int => "numbers",
        Kind::Word => "addresses or words",
    }
}

/// "a number", for a message.
pub(crate) const fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "a condition (true or false)",
        Kind::Int => "a number",
        Kind::Word => "an address or word",
    }
}
