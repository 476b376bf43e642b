//! Words about earlier values: `entry(x)`, when the guarded call began, and `anchor(x, period, low, high)`, what the guard has stored.

use super::usual::Options;
use super::words::{arguments, contains};
use super::{Resolved, Resolver};
use crate::anchor::{self, DEFAULT_STEP, MAX_PERIOD, MAX_STEP, MIN_PERIOD, Spec, StreamId};
use crate::incident::Reading;
use crate::rule::compile::{CompileError, CompiledStream};
use crate::rule::emit;
use crate::rule::parse::Expr;
use crate::rule::program::{MAX_ENTRIES, op};
use crate::rule::term::{Term, TermNode, build};
use crate::rule::value::Kind;
use crate::stream;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloy_primitives::keccak256;

impl Resolver<'_> {
    pub(super) fn entry(&mut self, column: usize, args: &[Expr]) -> Resolved {
        let [inner] = arguments(column, "entry", args)?;
        let inner_term = self.value(inner)?;
        if !inner_term.reads {
            return Err(CompileError::at(
                inner.column,
                "`entry` of something that reads nothing: it is the same before and after",
            ));
        }
        if contains(&inner_term, &|node| matches!(node, TermNode::Entry(_))) {
            return Err(CompileError::at(inner.column, "`entry` within `entry`: one is enough"));
        }
        if contains(&inner_term, &|node| {
            matches!(node, TermNode::Op(op::ENTERED..=op::ROUND_TRIP, _))
        }) {
            return Err(CompileError::at(
                inner.column,
                "`entry` cannot use the transaction's context, which tells of the whole transaction anyway: take it out of `entry`",
            ));
        }
        if contains(&inner_term, &|node| {
            matches!(node, TermNode::Anchor(_) | TermNode::Statistic(..))
        }) {
            return Err(CompileError::at(
                inner.column,
                "`entry` of what the guard has stored: it does not change within a call; leave `entry` out",
            ));
        }
        if contains(&inner_term, &|node| matches!(node, TermNode::Param(..))) {
            return Err(CompileError::at(
                inner.column,
                "`entry` cannot use a parameter: nobody supplies a witness when a guarded call begins",
            ));
        }
        let index = match self.entries.iter().position(|other| *other == inner_term) {
            Some(index) => index,
            None => {
                self.entries.push(inner_term.clone());
                self.entries.len() - 1
            }
        };
        self.is_hook("entry", column);
        match u8::try_from(index) {
            Ok(index) if index < MAX_ENTRIES => Ok(build(TermNode::Entry(index), inner_term.kind)),
            _ => Err(CompileError::at(
                column,
                format!("more than {MAX_ENTRIES} different `entry` values"),
            )),
        }
    }

    pub(super) fn anchor(&mut self, column: usize, args: &[Expr]) -> Resolved {
        let (placed, options) = Options::split("anchor", &["step"], args)?;
        let [value, period, low, high] = placed.as_slice() else {
            let message = format!(
                "`anchor` takes a value, a time, the least and the greatest value that it may ever come to, as in \
                 `anchor(x, 10 min, 500e8, 9000e8)`, then `step:` by name, as in `step: 5 %`; {} given. Without the two whoever makes the \
                 first observations chooses where it begins",
                placed.len()
            );
            return Err(CompileError::at(column, message));
        };
        let observed = self.of_kind(value, Kind::Int, "`anchor`")?;
        storable(&observed, "anchor").map_err(|message| CompileError::at(value.column, message))?;
        let spec = Spec {
            period: self.period(period)?,
            step: options.get("step").map_or(Ok(DEFAULT_STEP), |step| self.step(step))?,
            low: self.bound(low)?,
            high: self.bound(high)?,
        };
        if spec.low.number() >= spec.high.number() {
            let message = "the greatest value that an anchor may come to is more than the least";
            return Err(CompileError::at(high.column, message));
        }
        let id = self.stream(stream::Spec::Anchor(spec), &observed)?;
        Ok(build(TermNode::Anchor(id), Kind::Int))
    }

    /// The stream of an observed value: the one there is, or another.
    pub(super) fn stream(&mut self, spec: stream::Spec, observed: &Term) -> Result<StreamId, CompileError> {
        let program = emit::program(observed, 0, 0, &[])?;
        let id = anchor::id_of(&keccak256(spec.definition(&program)));
        if !self.streams.iter().any(|stream| stream.id == id) {
            self.streams.push(CompiledStream {
                id,
                spec,
                program,
                reads: names(observed),
            });
        }
        Ok(id)
    }

    /// The least or the greatest value of an anchor.
    fn bound(&mut self, bound: &Expr) -> Result<Reading, CompileError> {
        let constant = self.of_kind(bound, Kind::Int, "`anchor`")?.constant_int();
        constant.map(|number| Reading::new(&number)).ok_or_else(|| {
            let message =
                "the least and the greatest value of an anchor are constants, as in `anchor(x, 10 min, 500e8, 9000e8)`";
            CompileError::at(bound.column, message)
        })
    }

    fn period(&mut self, period: &Expr) -> Result<u32, CompileError> {
        let given = self.value(period)?;
        let seconds = given
            .constant_int()
            .filter(|seconds| !seconds.negative)
            .and_then(|seconds| u32::try_from(seconds.magnitude).ok());
        seconds
            .filter(|seconds| (MIN_PERIOD..=MAX_PERIOD).contains(seconds))
            .ok_or_else(|| {
                CompileError::at(
                    period.column,
                    "the least age of an anchor is a constant from 1 minute to 4 weeks, as in `anchor(x, 10 min, 500e8, 9000e8)`",
                )
            })
    }

    fn step(&mut self, step: &Expr) -> Result<u16, CompileError> {
        let share = match self.any(step)?.node {
            TermNode::Ratio(share) => u16::try_from(share).ok(),
            _ => None,
        };
        share.filter(|share| (1..=MAX_STEP).contains(share)).ok_or_else(|| {
            CompileError::at(
                step.column,
                "the most that an anchor moves per period is a share from 1 bps to 100 %, as in `step: 5 %`",
            )
        })
    }
}

/// Whether a guard can observe the value by itself, at any time, for `word`.
pub(super) fn storable(observed: &Term, word: &str) -> Result<(), String> {
    let has = |wanted: &dyn Fn(&TermNode) -> bool| contains(observed, wanted);
    let why = if has(&|node| matches!(node, TermNode::Anchor(_) | TermNode::Statistic(..))) {
        "cannot observe what the guard has stored: it observes what contracts answer"
    } else if has(&|node| matches!(node, TermNode::Entry(_))) {
        "cannot store a value at entry: it is observed outside of guarded calls"
    } else if has(&|node| matches!(node, TermNode::Op(op::ENTERED..=op::ROUND_TRIP, _))) {
        "cannot store the transaction's context: it is observed outside of guarded calls"
    } else if has(&|node| matches!(node, TermNode::Param(..))) {
        "cannot use a parameter: the guard observes one value, not one for each witness"
    } else if !observed.reads {
        "of something that reads nothing: it never changes"
    } else {
        return Ok(());
    };
    Err(format!("`{word}` {why}"))
}

/// What a term reads, each once, for people.
fn names(term: &Term) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = Vec::from([term]);
    while let Some(next) = open.pop() {
        let name = match &next.node {
            TermNode::Call(read, ..) => read.name.clone(),
            TermNode::Balance(_) => "eth".to_string(),
            TermNode::CodeHash(_) => "codehash".to_string(),
            _ => String::new(),
        };
        if !name.is_empty() && !found.contains(&name) {
            found.push(name);
        }
        open.extend(next.children().into_iter().rev());
    }
    found
}
