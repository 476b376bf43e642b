//! Between the owned form and the bytes.

use crate::rulebook::check::check;
use crate::rulebook::error::{Item, Problem, RulebookError};
use crate::rulebook::set::SET_RECORD;
use crate::rulebook::stream::{STREAM_RECORD, check_streams};
use crate::rulebook::view::{MAGIC, RECORD, WITH_SETS, WITH_STATISTICS, WITH_STREAMS};
use crate::rulebook::{Containment, ContainmentSet, MAX_CODE, Rule, Rulebook, Stream, Undo};
use crate::stream::Spec;
use alloc::vec::Vec;
use alloy_primitives::keccak256;

impl Rulebook {
    /// The code of the account that holds this rulebook: one STOP byte, then the encoding.
    ///
    /// # Errors
    /// [`RulebookError`] when a guard would not adopt it.
    pub fn encode(&self) -> Result<Vec<u8>, RulebookError> {
        let code = self.encode_unchecked().map_err(|problem| RulebookError {
            item: Item::Book,
            problem,
        })?;
        check_streams(&check(&code)?, |definition| keccak256(definition))?;
        Ok(code)
    }

    /// The rulebook in the code of an account.
    ///
    /// # Errors
    /// [`RulebookError`] when a guard would not adopt it.
    pub fn decode(code: &[u8]) -> Result<Self, RulebookError> {
        let view = check(code)?;
        check_streams(&view, |definition| keccak256(definition))?;
        let header = view.header();
        let mut book = Rulebook {
            scopes: (0..header.scopes).filter_map(|index| view.scope(index)).collect(),
            callers: view.callers().collect(),
            ..Rulebook::default()
        };
        for index in 0..header.rules {
            let at = |problem| RulebookError {
                item: Item::Rule(index),
                problem,
            };
            let record = view.rule(index).map_err(at)?;
            let body = view.rule_body(&record).map_err(at)?;
            book.rules.push(Rule {
                scope: record.scope,
                class: record.class,
                robust: record.robust,
                shadow: record.shadow,
                level: record.level,
                duration: record.duration,
                check: record.check,
                params: record.params,
                program: body.program().bytes().to_vec(),
                entries: (0..record.entries)
                    .map(|entry| body.entry(entry).bytes().to_vec())
                    .collect(),
            });
        }
        for index in 0..header.containments {
            let at = |problem| RulebookError {
                item: Item::Containment(index),
                problem,
            };
            let record = view.containment(index).map_err(at)?;
            let body = view.containment_body(&record).map_err(at)?;
            let undo = body.undo().map(|undo| Undo {
                target: undo.target,
                calldata: undo.calldata.to_vec(),
                undone: undo.undone.bytes().to_vec(),
            });
            book.containments.push(Containment {
                scope: record.scope,
                level: record.level,
                target: body.target,
                calldata: body.calldata.to_vec(),
                gas: record.gas,
                closes: record.closes,
                max_duration: record.max_duration,
                done: body.done.bytes().to_vec(),
                undo: undo.collect(),
            });
        }
        for index in 0..header.streams {
            let (record, program) = view.stream(index).map_err(|problem| RulebookError {
                item: Item::Stream(index),
                problem,
            })?;
            book.streams.push(Stream {
                scope: record.scope,
                spec: record.spec,
                program: program.bytes().to_vec(),
            });
        }
        for index in 0..header.sets {
            let set = view.set(index).map_err(|problem| RulebookError {
                item: Item::Set(index),
                problem,
            })?;
            book.sets.push(ContainmentSet {
                name: set.name,
                reviewed: set.reviewed,
                orders: set.orders().collect(),
            });
        }
        Ok(book)
    }

    fn encode_unchecked(&self) -> Result<Vec<u8>, Problem> {
        let [stop, c, r, plain] = MAGIC;
        let (streams, sets) = (count8(self.streams.len())?, count8(self.sets.len())?);
        let is_learnt = |stream: &Stream| matches!(stream.spec, Spec::Baseline(_));
        let has = (u8::from(streams > 0) * WITH_STREAMS)
            | (u8::from(sets > 0) * WITH_SETS)
            | (u8::from(self.streams.iter().any(is_learnt)) * WITH_STATISTICS);
        let mut tables = Vec::from([stop, c, r, plain + has]);
        tables.push(count8(self.scopes.len())?);
        tables.push(count8(self.callers.len())?);
        tables.extend(count16(self.rules.len())?);
        tables.extend(count16(self.containments.len())?);
        tables.extend([streams, sets].into_iter().filter(|count| *count > 0));
        for scope in &self.scopes {
            tables.push(scope.kind as u8);
            tables.extend(scope.tag);
        }
        tables.extend(self.callers.iter().flatten());
        let start = tables.len()
            + RECORD * (self.rules.len() + self.containments.len())
            + STREAM_RECORD * self.streams.len()
            + SET_RECORD * self.sets.len();
        let mut bodies = Vec::new();
        for rule in &self.rules {
            let body = rule.body()?;
            tables.extend([
                rule.scope,
                rule.class as u8,
                u8::from(rule.robust) | u8::from(rule.shadow) << 1,
            ]);
            tables.push(rule.level as u8);
            tables.extend(rule.duration.to_be_bytes());
            tables.extend(rule.check.bits().to_be_bytes());
            tables.extend([rule.params, count8(rule.entries.len())?]);
            place(&mut tables, start, &mut bodies, &body)?;
        }
        for call in &self.containments {
            let body = call.body()?;
            tables.extend([call.scope, call.level as u8]);
            tables.extend(call.closes.bits().to_be_bytes());
            tables.extend(call.gas.to_be_bytes());
            tables.extend(call.max_duration.to_be_bytes());
            place(&mut tables, start, &mut bodies, &body)?;
        }
        for stream in &self.streams {
            tables.extend(stream.id());
            tables.push(stream.scope);
            let (period, step) = match stream.spec {
                Spec::Anchor(anchor) => (anchor.period, anchor.step),
                Spec::Baseline(_) => (0, 0),
            };
            tables.extend(step.to_be_bytes());
            tables.extend(period.to_be_bytes());
            place(&mut tables, start, &mut bodies, &stream.body())?;
        }
        for set in &self.sets {
            tables.extend(set.name);
            place(&mut tables, start, &mut bodies, &set.body())?;
        }
        tables.extend(bodies);
        if tables.len() > MAX_CODE {
            Err(Problem::TooLong)
        } else {
            Ok(tables)
        }
    }
}

impl Rule {
    fn body(&self) -> Result<Vec<u8>, Problem> {
        let mut body = Vec::new();
        sized(&mut body, &self.program)?;
        for entry in &self.entries {
            sized(&mut body, entry)?;
        }
        Ok(body)
    }
}

impl Containment {
    fn body(&self) -> Result<Vec<u8>, Problem> {
        let mut body = self.target.to_vec();
        sized(&mut body, &self.calldata)?;
        sized(&mut body, &self.done)?;
        body.push(count8(self.undo.len())?);
        for undo in &self.undo {
            body.extend(undo.target);
            sized(&mut body, &undo.calldata)?;
            sized(&mut body, &undo.undone)?;
        }
        Ok(body)
    }
}

/// Appends a body, and its place and length to the tables.
fn place(tables: &mut Vec<u8>, start: usize, bodies: &mut Vec<u8>, body: &[u8]) -> Result<(), Problem> {
    let offset = u16::try_from(start + bodies.len()).map_err(|_| Problem::TooLong)?;
    tables.extend(offset.to_be_bytes());
    tables.extend(u16::try_from(body.len()).map_err(|_| Problem::TooLong)?.to_be_bytes());
    bodies.extend_from_slice(body);
    Ok(())
}

fn sized(out: &mut Vec<u8>, part: &[u8]) -> Result<(), Problem> {
    out.extend(u16::try_from(part.len()).map_err(|_| Problem::TooLong)?.to_be_bytes());
    out.extend_from_slice(part);
    Ok(())
}

fn count8(count: usize) -> Result<u8, Problem> {
    u8::try_from(count).map_err(|_| Problem::TooMany)
}

fn count16(count: usize) -> Result<[u8; 2], Problem> {
    u16::try_from(count).map(u16::to_be_bytes).map_err(|_| Problem::TooMany)
}

/// Init code that creates an account whose code is `code` (at most 65,535 bytes; longer code is cut by the chain's own
/// limit long before): `PUSH2 length, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN`, then the code.
#[must_use]
pub fn init_code(code: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(code.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = Vec::from([0x61, high, low, 0x80, 0x60, 0x0a, 0x5f, 0x39, 0x5f, 0xf3]);
    out.extend_from_slice(code);
    out
}
