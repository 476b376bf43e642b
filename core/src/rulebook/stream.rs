//! Streams of a rulebook: what the guard observes and stores, for rules to compare with ([`crate::anchor`]).

use crate::anchor::{self, BOUNDS_BYTES, StreamId, id_of};
use crate::baseline::{self, SPEC_BYTES};
use crate::bytes::Cursor;
use crate::incident::Reading;
use crate::rule::program::Program;
use crate::rule::value::Kind;
use crate::rulebook::check::{decode, is_plain};
use crate::rulebook::error::{Item, Problem, RulebookError};
use crate::rulebook::view::{View, body_range};
use crate::stream::Spec;
use alloc::vec::Vec;
use alloy_primitives::{B256, keccak256};
use core::ops::Range;

/// Bytes of a stream's record.
pub const STREAM_RECORD: usize = 27;

/// A value that the guard observes and stores, for rules to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Nothing is observed while this scope is raised; for scope 0, while any is.
    pub scope: u8,
    /// How it is observed, and what is kept of it.
    pub spec: Spec,
    /// The program; its value is an integer.
    pub program: Vec<u8>,
}

impl Stream {
    /// Its body in an encoded rulebook.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match &self.spec {
            Spec::Anchor(spec) => body.extend(spec.bounds()),
            Spec::Baseline(spec) => body.extend(spec.to_bytes()),
        }
        body.extend(&self.program);
        body
    }

    /// Its name in programs and in the guard's storage.
    #[must_use]
    pub fn id(&self) -> StreamId {
        id_of(&keccak256(self.spec.definition(&self.program)))
    }
}

/// A stream: what the guard observes and stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its name: [`crate::anchor::id_of`] the hash of its definition.
    pub id: StreamId,
    /// Nothing is observed while this scope is raised; for scope 0, while any is.
    pub scope: u8,
    /// How it is observed, and what is kept of it.
    pub spec: Spec,
    /// Where its body lies in the code: the program of its value, after the bounds of an anchor or the specification of statistics.
    pub body: Range<usize>,
}

impl StreamRecord {
    /// Reads a record of [`STREAM_RECORD`] bytes whose body lies in `code`. Period and step are 0 where the body has the specification.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    fn parse(bytes: &[u8], code: &View<'_>) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(bytes);
        let (Some(id), Some(scope), Some(step), Some(period), Some(body)) = (
            cursor.array(),
            cursor.u8(),
            cursor.u16(),
            cursor.array(),
            cursor.array(),
        ) else {
            return Err(Problem::Truncated);
        };
        let (period, body) = (u32::from_be_bytes(period), body_range(body));
        let rest = code.at(Some(body.clone()))?;
        let spec = if (period, step) == (0, 0) {
            Spec::Baseline(baseline::Spec::assume_valid(rest).ok_or(Problem::Truncated)?)
        } else {
            let mut bounds = Cursor::new(rest);
            let (Some(low), Some(high)) = (bounds.array(), bounds.array()) else {
                return Err(Problem::Truncated);
            };
            Spec::Anchor(anchor::Spec {
                period,
                step,
                low: Reading::from_bytes(low),
                high: Reading::from_bytes(high),
            })
        };
        Ok(StreamRecord {
            id: StreamId::new(id),
            scope,
            spec,
            body,
        })
    }

    /// Where the program of its value lies in the code.
    fn program(&self) -> Range<usize> {
        let Range { start, end } = self.body;
        match self.spec {
            Spec::Anchor(_) => start + BOUNDS_BYTES..end,
            Spec::Baseline(_) => start + SPEC_BYTES..end,
        }
    }
}

impl<'a> View<'a> {
    /// A stream: its record and the program of its value.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when there is no such stream, or its program lies outside of the code.
    pub fn stream(&self, index: u8) -> Result<(StreamRecord, Program<'a>), Problem> {
        if index >= self.header().streams {
            return Err(Problem::Truncated);
        }
        let start = self.header().streams_range().start + STREAM_RECORD * usize::from(index);
        let record = StreamRecord::parse(self.at(Some(start..start + STREAM_RECORD))?, self)?;
        let program = self.at(Some(record.program()))?;
        Ok((record, Program::assume_valid(program)))
    }

    /// Whether there is a stream of this name: an anchor, or one of statistics whose specification has these bytes.
    #[must_use]
    pub fn has_stream(&self, id: &StreamId, spec: Option<&[u8]>) -> bool {
        let is = |record: &StreamRecord| match &record.spec {
            Spec::Anchor(_) => spec.is_none(),
            Spec::Baseline(own) => spec.is_some_and(|bytes| own.to_bytes() == bytes),
        };
        (0..self.header().streams).any(|index| {
            self.stream(index)
                .is_ok_and(|(record, _)| record.id == *id && is(&record))
        })
    }
}

/// Checks a stream whose program must begin at `start`; returns where that ends.
pub(super) fn check_stream(view: &View<'_>, index: u8, start: usize) -> Result<usize, Problem> {
    let (record, program) = view.stream(index)?;
    if record.body.start != start {
        return Err(Problem::BadLayout);
    }
    if record.scope >= view.header().scopes {
        return Err(Problem::BadScope);
    }
    if matches!(record.spec, Spec::Baseline(_)) && !view.header().statistics {
        return Err(Problem::BadStream);
    }
    let twice = (0..index).any(|other| view.stream(other).is_ok_and(|(other, _)| other.id == record.id));
    if twice || !record.spec.is_valid() {
        return Err(Problem::BadStream);
    }
    let program = decode(Some(program.bytes()))?;
    if program.result() != Some(Kind::Int) || !is_plain(&program) {
        return Err(Problem::WrongInputs);
    }
    Ok(record.body.end)
}

/// Checks that every stream has the name of its definition: a stream that bore another's name would go on from its values. Apart from
/// [`check`](crate::rulebook::check()), because a guard has the VM hash.
///
/// # Errors
/// [`Problem::BadStream`].
pub fn check_streams(view: &View<'_>, hash: impl Fn(&[u8]) -> B256) -> Result<(), RulebookError> {
    for index in 0..view.header().streams {
        let named = view
            .stream(index)
            .is_ok_and(|(record, program)| record.id == id_of(&hash(&record.spec.definition(program.bytes()))));
        if !named {
            return Err(RulebookError {
                item: Item::Stream(index),
                problem: Problem::BadStream,
            });
        }
    }
    Ok(())
}
