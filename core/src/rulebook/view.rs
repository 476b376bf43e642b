//! Reading an encoded rulebook in place.
//!
//! Offsets count from the beginning of the account's code, STOP byte included, so that a guard can copy just the part it
//! needs: first the [`Header`], then one record of 16 bytes, then that record's body.

use crate::action::ActionSet;
use crate::bytes::Cursor;
use crate::level::Level;
use crate::rule::program::{Class, Program};
use crate::rulebook::error::Problem;
use crate::rulebook::set::SET_RECORD;
use crate::rulebook::stream::STREAM_RECORD;
use crate::rulebook::{MAX_CODE, Scope, ScopeKind};
use alloy_primitives::Address;
use core::ops::Range;

/// First bytes of a rulebook: STOP, two letters, version. Versions 1 to 8 had scopes of one byte, and are refused.
pub const MAGIC: [u8; 4] = [0x00, b'C', b'R', 9];
/// What the version adds to the plain one for a rulebook that has streams, and only for those.
pub const WITH_STREAMS: u8 = 1;
/// What the version adds to the plain one for a rulebook that has containment sets, and only for those.
pub const WITH_SETS: u8 = 2;
/// What the version adds to the plain one for a rulebook that has statistics among its streams, and only for those.
pub const WITH_STATISTICS: u8 = 4;
/// Bytes of the header of a rulebook without streams and sets.
pub const HEADER: usize = 10;
/// Bytes of the header of a rulebook with both.
pub const LONGEST_HEADER: usize = 12;
/// Bytes of a scope: its kind (1), its tag (4).
pub const SCOPE: usize = 5;
/// Bytes of a rule's or containment call's record.
pub const RECORD: usize = 16;

/// The header: how many there are of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of scopes.
    pub scopes: u8,
    /// Number of registered callers.
    pub callers: u8,
    /// Number of rules.
    pub rules: u16,
    /// Number of containment calls.
    pub containments: u16,
    /// Number of streams.
    pub streams: u8,
    /// Whether there are statistics among them.
    pub statistics: bool,
    /// Number of containment sets.
    pub sets: u8,
}

impl Header {
    /// Reads the header from (at least) the first [`LONGEST_HEADER`] bytes of the code, or all of it.
    ///
    /// # Errors
    /// [`Problem::NotARulebook`], [`Problem::Truncated`].
    pub fn parse(code: &[u8]) -> Result<Self, Problem> {
        let [a, b, c, version] = *code.first_chunk().ok_or(Problem::NotARulebook)?;
        let [x, y, z, plain] = MAGIC;
        let has = version.wrapping_sub(plain);
        let statistics = has & WITH_STATISTICS != 0;
        if [a, b, c] != [x, y, z]
            || has > (WITH_STREAMS | WITH_SETS | WITH_STATISTICS)
            || (statistics && has & WITH_STREAMS == 0)
        {
            return Err(Problem::NotARulebook);
        }
        let [_, _, _, _, scopes, callers, r0, r1, c0, c1] = *code.first_chunk::<HEADER>().ok_or(Problem::Truncated)?;
        let (rules, containments) = (u16::from_be_bytes([r0, r1]), u16::from_be_bytes([c0, c1]));
        // The counts of what only some rulebooks have follow in this order, and none is 0: there is one encoding of each rulebook.
        let mut at = HEADER;
        let mut count = |flag| {
            if has & flag == 0 {
                return Ok(0);
            }
            let count = *code.get(at).ok_or(Problem::Truncated)?;
            at += 1;
            if count == 0 {
                Err(Problem::NotARulebook)
            } else {
                Ok(count)
            }
        };
        let (streams, sets) = (count(WITH_STREAMS)?, count(WITH_SETS)?);
        Ok(Header {
            scopes,
            callers,
            rules,
            containments,
            streams,
            statistics,
            sets,
        })
    }

    /// Bytes of the header itself.
    const fn length(&self) -> usize {
        HEADER + (self.streams > 0) as usize + (self.sets > 0) as usize
    }

    /// Where the scopes lie, five bytes each: kind (1), tag (4).
    #[must_use]
    pub fn scopes_range(&self) -> Range<usize> {
        let start = self.length();
        start..start + SCOPE * usize::from(self.scopes)
    }

    /// Where the callers lie, 20 bytes each.
    #[must_use]
    pub fn callers_range(&self) -> Range<usize> {
        let start = self.scopes_range().end;
        start..start + 20 * usize::from(self.callers)
    }

    /// Where the records of all rules lie.
    #[must_use]
    pub fn rules_range(&self) -> Range<usize> {
        let start = self.callers_range().end;
        start..start + RECORD * usize::from(self.rules)
    }

    /// Where the record of one rule lies; `None` when there is no such rule.
    #[must_use]
    pub fn rule_range(&self, index: u16) -> Option<Range<usize>> {
        record(self.rules_range(), index, self.rules)
    }

    /// Where the records of all containment calls lie.
    #[must_use]
    pub fn containments_range(&self) -> Range<usize> {
        let start = self.rules_range().end;
        start..start + RECORD * usize::from(self.containments)
    }

    /// Where the record of one containment call lies; `None` when there is no such call.
    #[must_use]
    pub fn containment_range(&self, index: u16) -> Option<Range<usize>> {
        record(self.containments_range(), index, self.containments)
    }

    /// Where the records of all streams lie.
    #[must_use]
    pub fn streams_range(&self) -> Range<usize> {
        let start = self.containments_range().end;
        start..start + STREAM_RECORD * usize::from(self.streams)
    }

    /// Where the records of all containment sets lie: behind all other records.
    #[must_use]
    pub fn sets_range(&self) -> Range<usize> {
        let start = self.streams_range().end;
        start..start + SET_RECORD * usize::from(self.sets)
    }
}

fn record(table: Range<usize>, index: u16, count: u16) -> Option<Range<usize>> {
    let start = table.start + RECORD * usize::from(index);
    (index < count).then_some(start..start + RECORD)
}

/// The fixed part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRecord {
    /// The scope that a trip raises.
    pub scope: u8,
    /// The rule's class.
    pub class: Class,
    /// Whether its author asserts that no single transaction can move its inputs.
    pub robust: bool,
    /// Whether hooks only count a breach.
    pub shadow: bool,
    /// The level that a trip raises; `Normal` for a rule that cannot be tripped.
    pub level: Level,
    /// How long a trip holds the level, in seconds.
    pub duration: u32,
    /// The hooks that check it.
    pub check: ActionSet,
    /// How many witness words it takes.
    pub params: u8,
    /// How many entry programs it has.
    pub entries: u8,
    /// Where its body lies in the code.
    pub body: Range<usize>,
}

impl RuleRecord {
    /// Reads a record of [`RECORD`] bytes.
    ///
    /// # Errors
    /// [`Problem`] when a byte means nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let [
            scope,
            class,
            flags,
            level,
            d0,
            d1,
            d2,
            d3,
            a0,
            a1,
            params,
            entries,
            body @ ..,
        ] = *bytes.first_chunk::<RECORD>().ok_or(Problem::Truncated)?;
        if flags > 3 {
            return Err(Problem::BadFlags);
        }
        Ok(RuleRecord {
            scope,
            class: Class::from_u8(class).ok_or(Problem::BadClass)?,
            robust: flags & 1 == 1,
            shadow: flags & 2 == 2,
            level: Level::from_u8(level).ok_or(Problem::BadLevel)?,
            duration: u32::from_be_bytes([d0, d1, d2, d3]),
            check: ActionSet::from_bits(u16::from_be_bytes([a0, a1])).ok_or(Problem::BadFlags)?,
            params,
            entries,
            body: body_range(body),
        })
    }
}

/// Offset and length, two bytes each.
pub(super) fn body_range([o0, o1, l0, l1]: [u8; 4]) -> Range<usize> {
    let start = usize::from(u16::from_be_bytes([o0, o1]));
    start..start + usize::from(u16::from_be_bytes([l0, l1]))
}

/// The programs of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleBody<'a>(pub &'a [u8]);

impl<'a> RuleBody<'a> {
    /// The rule's program.
    #[must_use]
    pub fn program(&self) -> Program<'a> {
        self.part(0)
    }

    /// One of its entry programs, counted from 0.
    #[must_use]
    pub fn entry(&self, index: u8) -> Program<'a> {
        self.part(1 + usize::from(index))
    }

    fn part(&self, index: usize) -> Program<'a> {
        let mut cursor = Cursor::new(self.0);
        let mut part = None;
        for _ in 0..=index {
            part = cursor.sized();
        }
        Program::assume_valid(part.unwrap_or_default())
    }
}

/// The fixed part of a containment call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainmentRecord {
    /// The scope whose level runs it.
    pub scope: u8,
    /// It runs when the scope reaches this level or a stricter one.
    pub level: Level,
    /// The actions that it closes for honest users.
    pub closes: ActionSet,
    /// Most gas that the call, and each undo call, may use.
    pub gas: u32,
    /// Longest time in seconds that it may stay in force; 0 for as long as the level holds.
    pub max_duration: u32,
    /// Where its body lies in the code.
    pub body: Range<usize>,
}

impl ContainmentRecord {
    /// Reads a record of [`RECORD`] bytes.
    ///
    /// # Errors
    /// [`Problem`] when a byte means nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let [scope, level, a0, a1, g0, g1, g2, g3, m0, m1, m2, m3, body @ ..] =
            *bytes.first_chunk::<RECORD>().ok_or(Problem::Truncated)?;
        Ok(ContainmentRecord {
            scope,
            level: Level::from_u8(level).ok_or(Problem::BadLevel)?,
            closes: ActionSet::from_bits(u16::from_be_bytes([a0, a1])).ok_or(Problem::BadFlags)?,
            gas: u32::from_be_bytes([g0, g1, g2, g3]),
            max_duration: u32::from_be_bytes([m0, m1, m2, m3]),
            body: body_range(body),
        })
    }

    /// Whether `level` on `scope` runs this call: its own scope or scope 0, at its level or a stricter one.
    #[must_use]
    pub const fn serves(&self, scope: u8, level: Level) -> bool {
        (scope == 0 || scope == self.scope) && self.level.rank() <= level.rank()
    }
}

/// The variable part of a containment call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainmentBody<'a> {
    /// The contract that is called.
    pub target: Address,
    /// What it is called with.
    pub calldata: &'a [u8],
    /// A program that is true when the call has had its effect.
    pub done: Program<'a>,
    /// How many undo calls there are.
    pub undo_count: u8,
    undo: &'a [u8],
}

impl<'a> ContainmentBody<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(bytes);
        let (Some(target), Some(calldata), Some(done), Some(undo_count)) =
            (cursor.address(), cursor.sized(), cursor.sized(), cursor.u8())
        else {
            return Err(Problem::Truncated);
        };
        let undo = bytes.get(cursor.position()..).unwrap_or_default();
        Ok(ContainmentBody {
            target,
            calldata,
            done: Program::assume_valid(done),
            undo_count,
            undo,
        })
    }

    /// The undo calls, in order; it ends early when the body does.
    pub fn undo(&self) -> impl Iterator<Item = UndoView<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.undo);
        (0..self.undo_count).map_while(move |_| UndoView::read(&mut cursor))
    }

    /// Most gas that it takes to make the call: its own `gas`, and what says before and after it whether it has its effect. An undo item
    /// that says no more than the opposite is not asked.
    #[must_use]
    pub fn run_gas(&self, gas: u32) -> u64 {
        let asked = self.undo().filter(|undo| !undo.undone.negates(&self.done));
        let undos: u64 = asked.map(|undo| u64::from(undo.undone.gas())).sum();
        u64::from(gas) + 2 * (u64::from(self.done.gas()) + undos)
    }

    /// Most gas that it takes to make all undo calls, each with what says before and after it whether it is undone.
    #[must_use]
    pub fn undo_gas(&self, gas: u32) -> u64 {
        self.undo()
            .map(|undo| u64::from(gas) + 2 * u64::from(undo.undone.gas()))
            .sum()
    }

    /// Bytes that the undo calls take, or `None` when the body ends too early.
    pub(crate) fn undo_length(&self) -> Option<usize> {
        let mut cursor = Cursor::new(self.undo);
        for _ in 0..self.undo_count {
            UndoView::read(&mut cursor)?;
        }
        Some(cursor.position())
    }

    /// Bytes that are left for undo calls.
    pub(crate) const fn undo_bytes(&self) -> usize {
        self.undo.len()
    }
}

/// One undo call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndoView<'a> {
    /// The contract that is called.
    pub target: Address,
    /// What it is called with.
    pub calldata: &'a [u8],
    /// A program that is true when this part is not in force.
    pub undone: Program<'a>,
}

impl<'a> UndoView<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let (target, calldata, undone) = (cursor.address()?, cursor.sized()?, cursor.sized()?);
        Some(UndoView {
            target,
            calldata,
            undone: Program::assume_valid(undone),
        })
    }
}

/// A whole encoded rulebook. [`View::open`] looks at the tables' extent only; a guard adopts after
/// [`check`](crate::rulebook::check()) and opens from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    code: &'a [u8],
    header: Header,
}

impl<'a> View<'a> {
    /// Opens the code of an account.
    ///
    /// # Errors
    /// [`Problem::TooLong`], [`Problem::NotARulebook`], [`Problem::Truncated`].
    pub fn open(code: &'a [u8]) -> Result<Self, Problem> {
        if code.len() > MAX_CODE {
            return Err(Problem::TooLong);
        }
        let header = Header::parse(code)?;
        if header.sets_range().end > code.len() {
            return Err(Problem::Truncated);
        }
        Ok(View { code, header })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> Header {
        self.header
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> &'a [u8] {
        self.code
    }

    /// A scope; `None` when there is no such scope.
    #[must_use]
    pub fn scope(&self, index: u8) -> Option<Scope> {
        let scopes = self.code.get(self.header.scopes_range())?;
        let [kind, tag @ ..] = *scopes.get(SCOPE * usize::from(index)..)?.first_chunk::<SCOPE>()?;
        let kind = ScopeKind::from_u8(kind)?;
        Some(Scope { kind, tag })
    }

    /// The registered callers.
    pub fn callers(&self) -> impl Iterator<Item = Address> + use<'a> {
        let mut cursor = Cursor::at(self.code, self.header.callers_range().start);
        (0..self.header.callers).map_while(move |_| cursor.address())
    }

    /// The fixed part of a rule.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when there is no such rule, other [`Problem`]s for bytes that mean nothing.
    pub fn rule(&self, index: u16) -> Result<RuleRecord, Problem> {
        RuleRecord::parse(self.at(self.header.rule_range(index))?)
    }

    /// The programs of a rule.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when the body lies outside of the code.
    pub fn rule_body(&self, record: &RuleRecord) -> Result<RuleBody<'a>, Problem> {
        self.at(Some(record.body.clone())).map(RuleBody)
    }

    /// The fixed part of a containment call.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when there is no such call, other [`Problem`]s for bytes that mean nothing.
    pub fn containment(&self, index: u16) -> Result<ContainmentRecord, Problem> {
        ContainmentRecord::parse(self.at(self.header.containment_range(index))?)
    }

    /// The variable part of a containment call.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when the body lies outside of the code or ends too early.
    pub fn containment_body(&self, record: &ContainmentRecord) -> Result<ContainmentBody<'a>, Problem> {
        ContainmentBody::parse(self.at(Some(record.body.clone()))?)
    }

    /// Whether `level` on `scope` would change anything: a registered caller asks, or a containment call serves it.
    #[must_use]
    pub fn level_has_effect(&self, scope: u8, level: Level) -> bool {
        self.header.callers > 0
            || (0..self.header.containments)
                .any(|index| self.containment(index).is_ok_and(|call| call.serves(scope, level)))
    }

    pub(super) fn at(&self, range: Option<Range<usize>>) -> Result<&'a [u8], Problem> {
        range.and_then(|range| self.code.get(range)).ok_or(Problem::Truncated)
    }
}
