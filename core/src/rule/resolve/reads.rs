//! Reads of contracts: whose function, with which arguments, which word of the answer.

use super::words::{FUNCTIONS, arguments, is_reserved, singular};
use super::{Resolved, Resolver};
use crate::rule::compile::{CompileError, DEFAULT_READ_GAS};
use crate::rule::names::suggestion;
use crate::rule::parse::{Expr, Node};
use crate::rule::program::{GAS_UNIT, MAX_ARGS};
use crate::rule::term::{self, Read, Term, TermNode, build};
use crate::rule::types::{FunctionSig, SymbolError, Symbols, Type};
use crate::rule::value::Kind;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

impl Resolver<'_> {
    pub(super) fn read(
        &mut self,
        column: usize,
        object: &Expr,
        function: &str,
        args: &[Expr],
        field: Option<(usize, &str)>,
    ) -> Resolved {
        let (contract, target) = self.target(object)?;
        let sig = signature(self.symbols, column, &contract, function, args.len())?;
        if !sig.view {
            return Err(CompileError::at(
                column,
                format!("`{contract}.{function}` changes state: rules read only view functions"),
            ));
        }
        if args.len() > MAX_ARGS {
            return Err(CompileError::at(
                column,
                format!("a read takes at most {MAX_ARGS} arguments"),
            ));
        }
        let mut given = Vec::new();
        for (ty, arg) in sig.inputs.iter().zip(args) {
            given.push(self.argument(ty, arg, &contract, function)?);
        }
        let (word, ty) = output(column, &contract, function, &sig, field)?;
        let name = format!("{contract}.{function}");
        let result = ty.word_type().ok_or_else(|| {
            CompileError::at(
                column,
                format!("the answer of `{name}` is of type {ty}: rules read integers, bool, address and bytesN"),
            )
        })?;
        let gas = self
            .symbols
            .read_gas(&contract, function)
            .unwrap_or(DEFAULT_READ_GAS)
            .max(1)
            .div_ceil(GAS_UNIT);
        let gas = u16::try_from(gas).map_err(|_| {
            CompileError::at(
                column,
                format!("`{name}` may use more than 65,535,000 gas: lower its limit"),
            )
        })?;
        let read = Read {
            name,
            function: function.to_string(),
            selector: sig.selector,
            gas,
            word,
            result: result.code(),
        };
        Ok(build(TermNode::Call(read, target, given), result.kind()))
    }

    /// The contract whose functions are meant, and the address that is called.
    fn target(&mut self, object: &Expr) -> Result<(String, Term), CompileError> {
        match &object.node {
            Node::Name(name) => match self.symbols.contract(name) {
                Some(address) => Ok((name.clone(), term::word(address.into_word()))),
                None if self.params.iter().any(|param| param.name == *name)
                    || self.lets.iter().any(|(other, _)| other == name) =>
                {
                    Err(CompileError::at(
                        object.column,
                        format!(
                            "`{name}` is a value: to call a function at that address write `contract({name}).f()`, where `contract` has the function"
                        ),
                    ))
                }
                None if is_reserved(name) => Err(CompileError::at(
                    object.column,
                    format!("`{name}` is no contract: functions are called on contracts"),
                )),
                None => Err(CompileError::at(
                    object.column,
                    format!("unknown contract `{name}`{}", suggestion(name, &self.symbols.names())),
                )),
            },
            Node::Apply(name, args) if self.symbols.contract(name).is_some() => {
                let [address] = arguments(object.column, name, args)?;
                Ok((
                    name.clone(),
                    self.of_kind(address, Kind::Word, &format!("`{name}(…)`"))?,
                ))
            }
            Node::Apply(name, _) if !FUNCTIONS.contains(&name.as_str()) => {
                Err(self.unknown_function(object.column, name))
            }
            _ => Err(CompileError::at(
                object.column,
                "functions are called on contracts: write `contract(x).f()`, where `contract` has the function",
            )),
        }
    }

    fn argument(&mut self, ty: &Type, arg: &Expr, contract: &str, function: &str) -> Result<(u8, Term), CompileError> {
        let word = ty.word_type().ok_or_else(|| {
            CompileError::at(
                arg.column,
                format!("`{contract}.{function}` takes {ty} here, which a rule cannot give"),
            )
        })?;
        let resolved = self.value(arg)?;
        if resolved.kind != word.kind() {
            let message = format!(
                "`{contract}.{function}` takes {ty} here, this is {}",
                singular(resolved.kind)
            );
            return Err(CompileError::at(arg.column, message));
        }
        if resolved.constant().is_some_and(|value| word.write(&value).is_none()) {
            return Err(CompileError::at(arg.column, format!("this does not fit {ty}")));
        }
        Ok((word.code(), resolved))
    }
}

/// The signature of a function, or an error that helps.
pub(crate) fn signature(
    symbols: &dyn Symbols,
    column: usize,
    contract: &str,
    function: &str,
    count: usize,
) -> Result<FunctionSig, CompileError> {
    let sig = symbols.function(contract, function, count).map_err(|error| {
        let message = match error {
            SymbolError::Unknown => {
                format!(
                    "`{contract}` has no function `{function}`{}",
                    suggestion(function, &symbols.functions(contract))
                )
            }
            SymbolError::WrongArgumentCount { takes } => {
                let takes: Vec<String> = takes.iter().map(usize::to_string).collect();
                takes_count(contract, function, &takes.join(" or "), count)
            }
            SymbolError::Ambiguous { signatures } => format!(
                "`{contract}.{function}` could be {}: keep only one of them in the contract's ABI",
                signatures.join(" or ")
            ),
        };
        CompileError::at(column, message)
    })?;
    if sig.inputs.len() == count {
        return Ok(sig);
    }
    Err(CompileError::at(
        column,
        takes_count(contract, function, &sig.inputs.len().to_string(), count),
    ))
}

fn takes_count(contract: &str, function: &str, takes: &str, given: usize) -> String {
    let plural = if takes == "1" { "argument" } else { "arguments" };
    format!("`{contract}.{function}` takes {takes} {plural}, {given} given")
}

/// Which word of the answer is meant, and its type.
fn output<'s>(
    column: usize,
    contract: &str,
    function: &str,
    sig: &'s FunctionSig,
    field: Option<(usize, &str)>,
) -> Result<(u8, &'s Type), CompileError> {
    let names: Vec<String> = (0..)
        .zip(&sig.outputs)
        .map(|(i, (name, _))| name.clone().unwrap_or_else(|| format!("{i}")))
        .collect();
    let index = match field {
        None if sig.outputs.len() == 1 => 0,
        None if sig.outputs.is_empty() => {
            return Err(CompileError::at(
                column,
                format!("`{contract}.{function}` answers nothing"),
            ));
        }
        None => {
            let message = format!(
                "`{contract}.{function}` answers {} values: pick one of .{}",
                names.len(),
                names.join(", .")
            );
            return Err(CompileError::at(column, message));
        }
        Some((column, field)) => names
            .iter()
            .position(|name| name == field)
            .or_else(|| field.parse().ok().filter(|index| *index < names.len()))
            .ok_or_else(|| {
                let message = format!(
                    "the answer of `{contract}.{function}` has no field `{field}`{}",
                    suggestion(field, &names)
                );
                CompileError::at(column, message)
            })?,
    };
    let word: u16 = sig
        .outputs
        .iter()
        .take(index)
        .map(|(_, ty)| ty.head_words())
        .fold(0, u16::saturating_add);
    match (u8::try_from(word), sig.outputs.get(index)) {
        (Ok(word), Some((_, ty))) => Ok((word, ty)),
        _ => Err(CompileError::at(
            column,
            "only the first 256 words of an answer can be read",
        )),
    }
}
