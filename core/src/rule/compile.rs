//! The compiler: from the text of a rule to its program.

pub use crate::rule::program::Class;

use crate::anchor::StreamId;
use crate::rule::names::suggestion;
use crate::rule::parse::{Expr, Node, parse};
use crate::rule::program::{MAX_PARAMS, Program};
use crate::rule::resolve::{Resolver, constant, signature, singular};
use crate::rule::term::{Term, TermNode};
use crate::rule::types::{Symbols, Type};
use crate::rule::value::{Kind, Value};
use crate::rule::{emit, lint};
use crate::stream::Spec;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};

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
    /// What the guard has to store for each `anchor(…)`, `mean(…)` and so on, each once.
    pub streams: Vec<CompiledStream>,
    /// How many reads the program contains.
    pub reads: u8,
    /// Most gas that the program needs.
    pub gas_bound: u32,
    /// Known traps that the rule walks into, one sentence each.
    pub warnings: Vec<String>,
    /// Whether a transaction can move its inputs (true for every rule that reads; its author may assert otherwise).
    pub spot: bool,
}

/// A stream that a rule compares with: what the guard observes and stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledStream {
    /// Its name in programs and in the guard's storage.
    pub id: StreamId,
    /// How it is observed.
    pub spec: Spec,
    /// The program of the value that is observed: an integer, without inputs.
    pub program: Vec<u8>,
    /// What the program reads, as `contract.function`, for messages.
    pub reads: Vec<String>,
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
#[error("{}column {column}: {message}", within.as_ref().map(|name| format!("in `{name}`, ")).unwrap_or_default())]
pub struct CompileError {
    /// Where, in characters from 1. In a named sub-expression it counts from that expression's beginning.
    pub column: usize,
    /// The named sub-expression (`let`) in which it is; `None` for the rule itself.
    pub within: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl CompileError {
    pub(crate) fn at(column: usize, message: impl Into<String>) -> Self {
        CompileError {
            column,
            within: None,
            message: message.into(),
        }
    }
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
    if params.len() > usize::from(MAX_PARAMS) {
        return Err(CompileError::at(
            1,
            format!("a rule takes at most {MAX_PARAMS} parameters"),
        ));
    }
    let mut resolver = Resolver::new(params, symbols)?;
    for (name, part) in lets {
        resolver.add(name, part)?;
    }
    let rule = resolver.root(source)?;
    check(&rule, params)?;
    let entry_kinds: Vec<Kind> = resolver.entries.iter().map(|entry| entry.kind).collect();
    let count = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
    let program = emit::program(&rule, count(params.len()), count(entry_kinds.len()), &entry_kinds)?;
    let mut entries = Vec::new();
    for entry in &resolver.entries {
        entries.push(emit::program(entry, 0, 0, &[])?);
    }
    let mut warnings = lint::warnings(&rule);
    for warning in resolver.entries.iter().flat_map(lint::warnings) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings.extend(resolver.unused());
    let head = Program::assume_valid(&program);
    let (reads, gas_bound) = (head.reads(), head.gas());
    Ok(Compiled {
        class: if resolver.hook_word.is_some() {
            Class::Hook
        } else {
            Class::State
        },
        class_reason: resolver.hook_word,
        reads,
        gas_bound,
        spot: rule.reads,
        program,
        entries,
        streams: resolver.streams,
        warnings,
    })
}

/// What every rule must be: a condition that can come out either way and uses all its parameters.
fn check(rule: &Term, params: &[Param]) -> Result<(), CompileError> {
    if rule.kind != Kind::Bool {
        let what = if matches!(rule.node, TermNode::Ratio(_)) {
            "a share"
        } else {
            singular(rule.kind)
        };
        return Err(CompileError::at(
            1,
            format!("a rule is a condition, this is {what}: compare it with something"),
        ));
    }
    if let Some(value) = rule.constant() {
        let value = if value == Value::Bool(true) { "true" } else { "false" };
        return Err(CompileError::at(
            1,
            format!("this rule is always {value}: it reads nothing that could change it"),
        ));
    }
    for (index, param) in (0u8..).zip(params) {
        if !uses(rule, index) {
            return Err(CompileError::at(
                1,
                format!("parameter `{}` is not used: use it or leave it out", param.name),
            ));
        }
    }
    Ok(())
}

fn uses(term: &Term, param: u8) -> bool {
    matches!(term.node, TermNode::Param(index, _) if index == param)
        || term.children().into_iter().any(|child| uses(child, param))
}

/// Compiles a containment call, `contract.function(arguments)`, whose arguments are constants.
///
/// # Errors
/// [`CompileError`] with the column, and the nearest name for an unknown one.
pub fn compile_call(source: &str, symbols: &dyn Symbols) -> Result<CompiledCall, CompileError> {
    let expr = parse(source)?;
    let (Node::Method(object, function, args), column) = (&expr.node, expr.column) else {
        return Err(CompileError::at(
            expr.column,
            "a containment call is written `contract.function(arguments)`",
        ));
    };
    let Node::Name(contract) = &object.node else {
        return Err(CompileError::at(
            object.column,
            "a containment call goes to a contract by its name",
        ));
    };
    let target = symbols.contract(contract).ok_or_else(|| {
        CompileError::at(
            object.column,
            format!(
                "unknown contract `{contract}`{}",
                suggestion(contract, &symbols.names())
            ),
        )
    })?;
    let sig = signature(symbols, column, contract, function, args.len())?;
    if sig.view {
        return Err(CompileError::at(
            column,
            format!("`{contract}.{function}` changes no state: calling it contains nothing"),
        ));
    }
    let mut resolver = Resolver::new(&[], symbols)?;
    let mut head = Vec::new();
    let mut tail: Vec<u8> = Vec::new();
    for (ty, arg) in sig.inputs.iter().zip(args) {
        match ty {
            Type::Array(element) => {
                let Node::List(items) = &arg.node else {
                    return Err(CompileError::at(
                        arg.column,
                        format!("`{contract}.{function}` takes {ty} here: write a list, as in `[a, b]`"),
                    ));
                };
                head.extend(number(32 * args.len() + tail.len()));
                tail.extend(number(items.len()));
                for item in items {
                    tail.extend(argument(&mut resolver, element, item)?);
                }
            }
            ty => head.extend(argument(&mut resolver, ty, arg)?),
        }
    }
    let mut calldata = Vec::from(sig.selector);
    calldata.extend(head);
    calldata.extend(tail);
    Ok(CompiledCall { target, calldata })
}

fn number(value: usize) -> B256 {
    B256::from(U256::from(value))
}

fn argument(resolver: &mut Resolver<'_>, ty: &Type, arg: &Expr) -> Result<B256, CompileError> {
    let word = ty.word_type().ok_or_else(|| {
        CompileError::at(
            arg.column,
            format!("arguments of type {ty} cannot be given; a contract between can"),
        )
    })?;
    let value = constant(resolver, arg)?;
    word.write(&value).ok_or_else(|| {
        let what = singular(value.kind());
        CompileError::at(
            arg.column,
            if value.kind() == word.kind() {
                format!("this does not fit {ty}")
            } else {
                format!("{ty} is wanted here, this is {what}")
            },
        )
    })
}
