//! Streams of a rulebook: what the guard observes and stores, for rules to compare with ([`crate::anchor`]).

use crate::anchor::{Spec, StreamId, id_of};
use crate::bytes::Cursor;
use crate::rule::program::Program;
use crate::rule::value::Kind;
use crate::rulebook::check::{decode, is_plain};
use crate::rulebook::error::{Item, Problem, RulebookError};
use crate::rulebook::view::{View, body_range};
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
    /// How it is observed.
    pub spec: Spec,
    /// The program; its value is an integer.
    pub program: Vec<u8>,
}

impl Stream {
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
    /// How it is observed.
    pub spec: Spec,
    /// Where the program of its value lies in the code.
    pub body: Range<usize>,
}

impl StreamRecord {
    /// Reads a record of [`STREAM_RECORD`] bytes.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
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
        Ok(StreamRecord {
            id: StreamId::new(id),
            scope,
            spec: Spec {
                period: u32::from_be_bytes(period),
                step,
            },
            body: body_range(body),
        })
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
        let record = StreamRecord::parse(self.at(Some(start..start + STREAM_RECORD))?)?;
        let program = self.at(Some(record.body.clone()))?;
        Ok((record, Program::assume_valid(program)))
    }

    /// Whether there is a stream of this name.
    #[must_use]
    pub fn has_stream(&self, id: &StreamId) -> bool {
        (0..self.header().streams).any(|index| self.stream(index).is_ok_and(|(record, _)| record.id == *id))
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
