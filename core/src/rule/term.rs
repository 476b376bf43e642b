//! Checked expressions: every name resolved, every kind known, constants folded. Equal terms compute equal values, which
//! is what lets the emitter share them.

use crate::anchor::StreamId;
use crate::baseline::{Spec, Statistic};
use crate::rule::program::op;
use crate::rule::value::{Int, Kind, Value};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use alloy_primitives::{B256, U256};

/// A shared term.
pub(crate) type Term = Rc<TermData>;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TermData {
    pub(crate) node: TermNode,
    pub(crate) kind: Kind,
    /// Nodes in the tree, so that named parts cannot grow a rule beyond measure.
    pub(crate) size: usize,
    /// Whether a read is in it.
    pub(crate) reads: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum TermNode {
    /// A constant: sign and magnitude.
    Int(bool, U256),
    Bool(bool),
    Word(B256),
    /// A share in parts of 10,000; never left in a finished term.
    Ratio(u32),
    Param(u8, u8),
    Entry(u8),
    Now,
    /// The anchor of a stream.
    Anchor(StreamId),
    /// A statistic of a stream, and the value that it judges.
    Statistic(Statistic, StreamId, Spec, Option<Term>),
    Call(Read, Term, Vec<(u8, Term)>),
    Balance(Term),
    CodeHash(Term),
    /// An operator of [`op`] that has no operands of its own, with its values.
    Op(u8, Vec<Term>),
    Near(u16, Term, Term),
    /// `&&` (true) or `||` (false).
    Junction(bool, Term, Term),
}

/// What is read of a contract.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Read {
    /// `contract.function`, for messages.
    pub(crate) name: String,
    pub(crate) function: String,
    pub(crate) selector: [u8; 4],
    /// In units of 1,000 gas.
    pub(crate) gas: u16,
    pub(crate) word: u8,
    pub(crate) result: u8,
}

/// Why constants cannot be folded.
pub(crate) enum FoldError {
    Overflow,
    DivisionByZero,
}

impl TermData {
    /// The value of a constant term.
    pub(crate) fn constant(&self) -> Option<Value> {
        Some(match &self.node {
            TermNode::Int(negative, magnitude) => Value::Int(Int::new(*negative, *magnitude)),
            TermNode::Bool(bit) => Value::Bool(*bit),
            TermNode::Word(word) => Value::Word(*word),
            _ => return None,
        })
    }

    pub(crate) fn constant_int(&self) -> Option<Int> {
        match self.constant() {
            Some(Value::Int(int)) => Some(int),
            _ => None,
        }
    }

    /// The terms directly below.
    pub(crate) fn children(&self) -> Vec<&Term> {
        match &self.node {
            TermNode::Call(_, target, args) => core::iter::once(target)
                .chain(args.iter().map(|(_, term)| term))
                .collect(),
            TermNode::Balance(term) | TermNode::CodeHash(term) => Vec::from([term]),
            TermNode::Op(_, terms) => terms.iter().collect(),
            TermNode::Statistic(.., judged) => judged.iter().collect(),
            TermNode::Near(_, left, right) | TermNode::Junction(_, left, right) => Vec::from([left, right]),
            _ => Vec::new(),
        }
    }
}

/// A term with its size and reads worked out.
pub(crate) fn build(node: TermNode, kind: Kind) -> Term {
    let mut data = TermData {
        node,
        kind,
        size: 1,
        reads: false,
    };
    let size = data
        .children()
        .iter()
        .fold(1usize, |sum, term| sum.saturating_add(term.size));
    let below = data.children().iter().any(|term| term.reads);
    data.reads = below
        || matches!(
            data.node,
            TermNode::Call(..)
                | TermNode::Balance(_)
                | TermNode::CodeHash(_)
                | TermNode::Entry(_)
                | TermNode::Anchor(_)
                | TermNode::Statistic(..)
        );
    data.size = size;
    Rc::new(data)
}

pub(crate) fn int(value: Int) -> Term {
    build(TermNode::Int(value.negative, value.magnitude), Kind::Int)
}

pub(crate) fn bit(value: bool) -> Term {
    build(TermNode::Bool(value), Kind::Bool)
}

pub(crate) fn word(value: B256) -> Term {
    build(TermNode::Word(value), Kind::Word)
}

/// `a * b / c` in full width.
pub(crate) fn mul_div(a: Term, b: Term, c: Term) -> Result<Term, FoldError> {
    if c.constant_int() == Some(Int::ZERO) {
        return Err(FoldError::DivisionByZero);
    }
    if let (Some(x), Some(y), Some(z)) = (a.constant_int(), b.constant_int(), c.constant_int()) {
        return x.mul_div(y, z).map(int).ok_or(FoldError::Overflow);
    }
    Ok(build(TermNode::Op(op::MUL_DIV, Vec::from([a, b, c])), Kind::Int))
}

/// A binary operator on integers (`ADD` to `MAX`).
pub(crate) fn arithmetic(code: u8, left: Term, right: Term) -> Result<Term, FoldError> {
    if code == op::DIV {
        if let TermNode::Op(op::MUL, factors) = &left.node
            && let [a, b] = factors.as_slice()
        {
            return mul_div(a.clone(), b.clone(), right);
        }
        if right.constant_int() == Some(Int::ZERO) {
            return Err(FoldError::DivisionByZero);
        }
    }
    if let (Some(x), Some(y)) = (left.constant_int(), right.constant_int()) {
        let folded = match code {
            op::ADD => x.checked_add(y),
            op::SUB => x.checked_sub(y),
            op::MUL => x.checked_mul(y),
            op::DIV => x.mul_div(Int::from(1), y),
            op::MIN => Some(x.min(y)),
            _ => Some(x.max(y)),
        };
        return folded.map(int).ok_or(FoldError::Overflow);
    }
    Ok(build(TermNode::Op(code, Vec::from([left, right])), Kind::Int))
}

/// `NEG` and `ABS`.
pub(crate) fn unary(code: u8, term: Term) -> Term {
    match term.constant_int() {
        Some(value) if code == op::NEG => int(value.negated()),
        Some(value) => int(value.absolute()),
        None => build(TermNode::Op(code, Vec::from([term])), Kind::Int),
    }
}

/// A comparison (`LT` to `NE`) of two terms of one kind.
pub(crate) fn compare(code: u8, left: Term, right: Term) -> Term {
    if let (Some(x), Some(y)) = (left.constant(), right.constant()) {
        return bit(compared(code, &x, &y));
    }
    build(TermNode::Op(code, Vec::from([left, right])), Kind::Bool)
}

/// The outcome of a comparison of two values of one kind.
pub(crate) fn compared(code: u8, x: &Value, y: &Value) -> bool {
    let order = x.shown().cmp(&y.shown());
    match code {
        op::LT => order.is_lt(),
        op::LE => order.is_le(),
        op::GT => order.is_gt(),
        op::GE => order.is_ge(),
        op::EQ => order.is_eq(),
        _ => order.is_ne(),
    }
}

pub(crate) fn near(tolerance: u16, left: Term, right: Term) -> Term {
    if let (Some(x), Some(y)) = (left.constant_int(), right.constant_int()) {
        return bit(x.near(y, tolerance));
    }
    build(TermNode::Near(tolerance, left, right), Kind::Bool)
}

pub(crate) fn not(term: Term) -> Term {
    match term.constant() {
        Some(Value::Bool(value)) => bit(!value),
        _ => build(TermNode::Op(op::NOT, Vec::from([term])), Kind::Bool),
    }
}

/// `left && right` or `left || right`; a constant side is decided here.
pub(crate) fn junction(and: bool, left: Term, right: Term) -> Term {
    match (left.constant(), right.constant()) {
        (Some(Value::Bool(value)), _) => {
            if value == and {
                right
            } else {
                bit(!and)
            }
        }
        // The left side stays when it decides nothing; `x && false` is false whatever `x` is.
        (_, Some(Value::Bool(value))) => {
            if value == and {
                left
            } else {
                bit(!and)
            }
        }
        _ => build(TermNode::Junction(and, left, right), Kind::Bool),
    }
}
