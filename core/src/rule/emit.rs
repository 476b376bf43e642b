//! From terms to programs. A number or word that is needed more than once is computed once and kept in a local.

use crate::rule::check;
use crate::rule::compile::CompileError;
use crate::rule::error::{DecodeError, DecodeReason};
use crate::rule::program::{self, MAX_LOCALS, MAX_READS, op};
use crate::rule::term::{Read, Term, TermData, TermNode};
use crate::rule::value::Kind;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use std::collections::HashMap;

/// A piece of code whose locals have no numbers yet.
enum Piece {
    Bytes(Vec<u8>),
    Get(usize),
    Tee(usize),
    Block(u8, Vec<Piece>),
}

/// The program of a term.
pub(crate) fn program(term: &Term, params: u8, entries: u8, entry_kinds: &[Kind]) -> Result<Vec<u8>, CompileError> {
    let mut uses = HashMap::new();
    count(term, &mut uses);
    let mut emitter = Emitter {
        uses,
        numbers: HashMap::new(),
        available: BTreeSet::new(),
        entry_kinds,
    };
    let mut pieces = Vec::new();
    emitter.emit(term, &mut pieces);
    let mut wanted = BTreeMap::new();
    find_gets(&pieces, &mut wanted);
    for (number, slot) in (0u8..).zip(wanted.values_mut()) {
        *slot = number;
    }
    let mut code = Vec::new();
    write(&pieces, &wanted, &mut code)
        .and_then(|()| check::assemble(term.kind, params, entries, &code))
        .map_err(|error| too_big(&error))
}

/// How often each shareable term is needed, where one that is shared is computed once.
fn count<'t>(term: &'t Term, uses: &mut HashMap<&'t TermData, usize>) {
    if shareable(term) {
        let seen = uses.entry(term.as_ref()).or_insert(0);
        *seen += 1;
        if *seen > 1 {
            return;
        }
    }
    for child in term.children() {
        count(child, uses);
    }
}

/// Whether a local is cheaper than computing the term again. Conditions are not shared: the comparison that decided must be
/// the one that was made last.
fn shareable(term: &Term) -> bool {
    term.kind != Kind::Bool && (term.size > 2 || term.reads) && !matches!(term.node, TermNode::Entry(_))
}

struct Emitter<'t> {
    uses: HashMap<&'t TermData, usize>,
    numbers: HashMap<&'t TermData, usize>,
    /// Locals that are set wherever the code being emitted runs.
    available: BTreeSet<usize>,
    entry_kinds: &'t [Kind],
}

impl<'t> Emitter<'t> {
    fn emit(&mut self, term: &'t Term, out: &mut Vec<Piece>) {
        let shared = self.uses.get(term.as_ref()).is_some_and(|uses| *uses > 1);
        if !shared {
            return self.compute(term, out);
        }
        let next = self.numbers.len();
        let number = *self.numbers.entry(term.as_ref()).or_insert(next);
        if self.available.contains(&number) {
            return out.push(Piece::Get(number));
        }
        self.compute(term, out);
        if number < usize::from(MAX_LOCALS) {
            out.push(Piece::Tee(number));
            self.available.insert(number);
        }
    }

    fn compute(&mut self, term: &'t Term, out: &mut Vec<Piece>) {
        for child in term.children() {
            if let TermNode::Junction(and, left, right) = &term.node {
                self.emit(left, out);
                let outside = self.available.clone();
                let mut body = Vec::new();
                self.emit(right, &mut body);
                self.available = outside;
                return out.push(Piece::Block(if *and { op::AND_THEN } else { op::OR_ELSE }, body));
            }
            self.emit(child, out);
        }
        out.push(Piece::Bytes(self.operator(&term.node)));
    }

    /// The operator that leaves the term's value when the values below it are on the stack.
    fn operator(&self, node: &TermNode) -> Vec<u8> {
        match node {
            TermNode::Int(negative, magnitude) => {
                let bytes = magnitude.to_be_bytes_trimmed_vec();
                let bytes = if bytes.is_empty() { Vec::from([0]) } else { bytes };
                let mut out = Vec::from([u8::try_from(bytes.len()).unwrap_or(op::PUSH32)]);
                out.extend(bytes);
                out.extend(negative.then_some(op::NEG));
                out
            }
            TermNode::Bool(bit) => Vec::from([if *bit { op::TRUE } else { op::FALSE }]),
            TermNode::Word(word) => {
                let (zeros, tail) = word.split_at(12);
                let short = zeros.iter().all(|byte| *byte == 0);
                let mut out = Vec::from([if short { op::ADDRESS } else { op::WORD }]);
                out.extend_from_slice(if short { tail } else { word.as_slice() });
                out
            }
            TermNode::Param(index, code) => Vec::from([op::PARAM, *index, *code]),
            TermNode::Entry(index) => {
                let kind = self.entry_kinds.get(usize::from(*index)).copied().unwrap_or(Kind::Int);
                Vec::from([op::ENTRY, *index, kind as u8])
            }
            TermNode::Now => Vec::from([op::NOW]),
            TermNode::Anchor(stream) => {
                let mut out = Vec::from([op::STORED]);
                out.extend_from_slice(stream.as_slice());
                out.push(program::ANCHOR);
                out
            }
            TermNode::Statistic(what, stream, spec, _) => {
                let mut out = Vec::from([op::STORED]);
                out.extend_from_slice(stream.as_slice());
                out.push(*what as u8);
                out.extend(spec.to_bytes());
                out
            }
            TermNode::Call(read, _, args) => call(read, args.iter().map(|(code, _)| *code)),
            TermNode::Balance(_) => Vec::from([op::BALANCE]),
            TermNode::CodeHash(_) => Vec::from([op::CODE_HASH]),
            TermNode::Op(code, _) => Vec::from([*code]),
            TermNode::Near(tolerance, ..) => {
                let [high, low] = tolerance.to_be_bytes();
                Vec::from([op::NEAR, high, low])
            }
            // Shares are folded away and junctions are blocks.
            TermNode::Ratio(_) | TermNode::Junction(..) => Vec::new(),
        }
    }
}

fn call(read: &Read, args: impl Iterator<Item = u8>) -> Vec<u8> {
    let args: Vec<u8> = args.collect();
    let mut out = Vec::from([op::CALL]);
    out.extend(read.selector);
    out.extend(read.gas.to_be_bytes());
    out.extend([read.word, read.result, u8::try_from(args.len()).unwrap_or(u8::MAX)]);
    out.extend(args);
    out
}

fn find_gets(pieces: &[Piece], wanted: &mut BTreeMap<usize, u8>) {
    for piece in pieces {
        match piece {
            Piece::Get(number) => {
                wanted.insert(*number, 0);
            }
            Piece::Block(_, body) => find_gets(body, wanted),
            Piece::Bytes(_) | Piece::Tee(_) => {}
        }
    }
}

/// Writes the code; a local that nothing gets is not kept.
fn write(pieces: &[Piece], locals: &BTreeMap<usize, u8>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => out.extend(bytes),
            Piece::Get(number) => out.extend(locals.get(number).into_iter().flat_map(|local| [op::GET, *local])),
            Piece::Tee(number) => out.extend(locals.get(number).into_iter().flat_map(|local| [op::TEE, *local])),
            Piece::Block(code, body) => {
                let mut inner = Vec::new();
                write(body, locals, &mut inner)?;
                let size = u16::try_from(inner.len()).map_err(|_| DecodeError {
                    reason: DecodeReason::TooLong,
                    at: 0,
                })?;
                out.push(*code);
                out.extend(size.to_be_bytes());
                out.extend(inner);
            }
        }
    }
    Ok(())
}

fn too_big(error: &DecodeError) -> CompileError {
    let message = match error.reason {
        DecodeReason::TooLong => format!(
            "the rule compiles to more than {} bytes: split it in two rules",
            program::MAX_LEN
        ),
        DecodeReason::TooManyReads => format!("more than {MAX_READS} reads: split the rule in two"),
        DecodeReason::TooMuchGas => format!(
            "the rule may use more than {} gas: lower the gas of its reads, or split it in two",
            program::MAX_GAS
        ),
        DecodeReason::StackOverflow => format!(
            "more than {} values at once: use brackets to compute parts first",
            program::MAX_STACK
        ),
        DecodeReason::BadBlock => format!(
            "`&&` and `||` nest more than {} deep: name parts, or split the rule",
            program::MAX_BLOCKS
        ),
        _ => error.to_string(),
    };
    CompileError::at(1, message)
}
