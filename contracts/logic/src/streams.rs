//! Streams: values that the guard reads by itself and stores over time, so that rules have a past to compare with.

use crate::abi::{answer, emit, refusal, Answer, Refusal};
use crate::guard::{open, starved, Guard};
use crate::reader::ChainReader;
use alloc::vec::Vec;
use alloy_primitives::{B256, U256};
use cordon_core::{
    anchor::{self, NotTaken},
    rule::{evaluate_value, Inputs, Int, Program, Unknown, Value},
    rulebook::{StreamRecord, View},
    stream::{Spec, Stored},
};
use cordon_host::{layout, Host};

/// Why a stream was not observed although there is one: what another observation, or an incident, may have changed since.
enum Obstacle {
    NotDue(u64),
    Frozen(u8),
    Unreadable(u8),
}

impl Obstacle {
    fn refusal(&self, stream: u8) -> Refusal {
        match self {
            Obstacle::NotDue(due) => refusal!(StreamNotDue, stream, due),
            Obstacle::Frozen(scope) => refusal!(StreamFrozen, stream, scope),
            Obstacle::Unreadable(reason) => refusal!(StreamUnreadable, stream, reason),
        }
    }
}

impl<H: Host> Guard<H> {
    /// Reads the values of streams and stores them. One that is not due, frozen by an incident or cannot be read is passed over, unless
    /// that is so of all: whoever observes one in front of the transaction does not stop the others.
    pub fn observe(&mut self, streams: &[u8]) -> Answer<()> {
        self.require_unlocked()?;
        let (_, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        // First, so that the answer to a stream that is none does not depend on what goes on around the call: new programs are asked it.
        for index in streams {
            stream_in(&view, *index)?;
        }
        self.require_no_guarded_call(&view)?;
        let (mut any, mut first) = (false, None);
        for index in streams {
            match self.observe_one(&view, *index)? {
                Ok(()) => any = true,
                Err(obstacle) => {
                    first.get_or_insert((*index, obstacle));
                }
            }
        }
        match first {
            Some((index, obstacle)) if !any => Err(obstacle.refusal(index)),
            None if !any => Err(refusal!(NoStreams)),
            _ => Ok(()),
        }
    }

    fn observe_one(&mut self, view: &View<'_>, index: u8) -> Answer<Result<(), Obstacle>> {
        let (record, program) = stream_in(view, index)?;
        let (known, now) = (self.stored(&record), self.host.now());
        let (due, frozen) = (known.due(), self.raised_scope(view, record.scope));
        match frozen {
            Some(scope) if now < due || !known.waits() => return Ok(Err(Obstacle::Frozen(scope))),
            None if now < due => return Ok(Err(Obstacle::NotDue(due))),
            _ => {}
        }
        let read = self.read_stream(&program)?;
        if let Some(scope) = frozen {
            // Nothing is learnt in an incident, but it shields no lie: what waits for another observation that agrees is given up when
            // another value is read. Else the same lie would agree with it in the first block after. What cannot be read contradicts
            // nothing, as at Normal: a view that reverts for a moment must not let a stranger erase the truth.
            if !read.is_ok_and(|observed| known.is_refuted_by(&observed)) {
                return Ok(Err(Obstacle::Frozen(scope)));
            }
            self.store_stream(&record, (U256::ZERO, U256::ZERO));
            emit!(self.host, StreamBegunAnew, [index]);
            return Ok(Ok(()));
        }
        let observed = match read {
            Ok(observed) => observed,
            Err(reason) => return Ok(Err(Obstacle::Unreadable(reason.code()))),
        };
        let next = match known.observe(&observed, now) {
            Ok(next) => next,
            Err(NotTaken::TooSoon(soon)) => return Ok(Err(Obstacle::NotDue(soon.due))),
            Err(NotTaken::OutOfBounds) => return Ok(Err(Obstacle::Unreadable(Unknown::OutOfBounds.code()))),
        };
        self.store_stream(&record, next.pack());
        let fresh = next.fresh();
        emit!(
            self.host,
            StreamObserved,
            [index],
            observed.negative,
            observed.magnitude,
            fresh.negative,
            fresh.magnitude
        );
        Ok(Ok(()))
    }

    /// What is stored of a stream of the rulebook in force.
    pub fn stream(&self, index: u8) -> Answer<Vec<u8>> {
        let (_, code) = self.rulebook_in_force()?;
        let (record, _) = stream_in(&open(&code)?, index)?;
        let stored = self.stored(&record);
        let mut id = B256::ZERO;
        for (to, from) in id.0.iter_mut().zip(record.id.0) {
            *to = from;
        }
        let (step, since) = match (&record.spec, &stored) {
            (Spec::Anchor(spec), Stored::Anchor(_, anchor)) => (spec.step, anchor.since),
            _ => (0, 0),
        };
        let (known, at, due) = (stored.is_known(self.host.now()), stored.observed_at(), stored.due());
        let (value, fresh) = (stored.value(), stored.fresh());
        Ok(answer!(
            id,
            record.scope,
            record.spec.spacing(),
            step,
            known,
            since,
            at,
            due,
            value.negative,
            value.magnitude,
            fresh.negative,
            fresh.magnitude
        ))
    }

    fn stored(&self, record: &StreamRecord) -> Stored {
        let word = |part| layout::to_number(self.host.load(&anchor::key(&record.id, part)));
        Stored::unpack(&record.spec, word(0), word(1))
    }

    fn store_stream(&mut self, record: &StreamRecord, words: (U256, U256)) {
        for (part, word) in [(0, words.0), (1, words.1)] {
            self.host
                .store(&anchor::key(&record.id, part), &layout::from_number(&word));
        }
    }

    /// The value of a stream now; want of gas is an error.
    fn read_stream(&mut self, program: &Program<'_>) -> Answer<Result<Int, Unknown>> {
        let mut reader = ChainReader::new(&mut self.host);
        let value = evaluate_value(program, &Inputs::default(), &mut reader);
        if let Some((needed, left)) = reader.starved {
            return Err(starved(needed, left));
        }
        Ok(match value {
            Ok(Value::Int(value)) => Ok(value),
            Ok(_) => Err(Unknown::BadProgram),
            Err(reason) => Err(reason),
        })
    }

    /// The scope whose incident freezes a stream of this scope: itself, the protocol; of a stream of scope 0, any.
    fn raised_scope(&self, view: &View<'_>, scope: u8) -> Option<u8> {
        if self.ledger().raised == 0 {
            return None;
        }
        (0..view.header().scopes)
            .filter(|other| scope == 0 || *other == 0 || *other == scope)
            .find(|other| self.level(*other).is_raised())
    }

    /// Refuses within a guarded call that the guard knows of: a value that the call is about to put back must not be stored.
    fn require_no_guarded_call(&self, view: &View<'_>) -> Answer<()> {
        if self.guarded_depth(view) > 0 {
            return Err(refusal!(GuardedCallRuns));
        }
        Ok(())
    }
}

/// A stream of a rulebook that was checked when it was adopted.
fn stream_in<'a>(view: &View<'a>, index: u8) -> Answer<(StreamRecord, Program<'a>)> {
    view.stream(index).map_err(|_| refusal!(UnknownStream, index))
}
