//! What the chain keeps of an incident: two words. The full dossier is off chain, pinned by its hash.

use crate::bounds::Actor;
use crate::level::Level;
use crate::rule::Int;
use crate::scope::MAX_TIME;
use alloy_primitives::{B256, U256};

/// How many incidents a guard remembers: all that are not over, and the latest of the others. Their words are written beforehand, so that recording is cheap when it
/// matters.
pub const RING: u32 = 64;

/// How far an incident has come. The numbers are those of `ICordonGuard.IncidentState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// A level is raised, and a containment call has not had its effect.
    Open = 1,
    /// A level is raised, and every containment call that serves it has had its effect.
    Contained = 2,
    /// Released by authority: in `Grace`, or on its way out of it.
    Released = 3,
    /// The scope is at `Normal` and nothing is left in force.
    Closed = 4,
    /// As closed, and people have found that there was nothing to contain.
    FalsePositive = 5,
}

impl State {
    /// The state with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => State::Open,
            2 => State::Contained,
            3 => State::Released,
            4 => State::Closed,
            5 => State::FalsePositive,
            _ => return None,
        })
    }

    /// Whether the incident is over.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, State::Closed | State::FalsePositive)
    }
}

/// Why an incident was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A rule was breached: the operands of the comparison that decided, to [`Reading::PRECISION`] significant bits.
    Breach {
        /// The rule, as the rulebook numbered it that was in force then, see [`Incident::epoch`].
        rule: u16,
        /// Left operand.
        observed: Reading,
        /// Right operand.
        bound: Reading,
    },
    /// An authority asked for it.
    Authority {
        /// Who.
        actor: Actor,
        /// Hash of its evidence, or zero.
        evidence: B256,
    },
}

/// What a finding leaves in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    cause: u64,
    epoch: u64,
    /// The second word of the record.
    pub word: B256,
    /// The evidence that the event of an opened incident carries.
    pub evidence: B256,
}

impl Finding {
    /// What the finding leaves in a record, under the rulebook of this number. Inlined, so that a program that knows one kind of finding has
    /// no code for the other.
    #[inline(always)]
    #[must_use]
    pub fn opening(&self, epoch: u32) -> Opening {
        let epoch = u64::from(epoch);
        match self {
            Finding::Breach { rule, observed, bound } => {
                let mut word = B256::ZERO;
                let (left, right) = word.split_at_mut(16);
                left.copy_from_slice(&observed.0.to_be_bytes());
                right.copy_from_slice(&bound.0.to_be_bytes());
                Opening {
                    cause: RULE | u64::from(*rule),
                    epoch,
                    word,
                    evidence: B256::ZERO,
                }
            }
            Finding::Authority { actor, evidence } => Opening {
                cause: *actor as u64,
                epoch,
                word: *evidence,
                evidence: *evidence,
            },
        }
    }
}

/// A number in half a word: sign, exponent, and the highest bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading(u128);

impl Reading {
    /// Significant bits that are kept; what is beyond them is cut off, toward zero.
    pub const PRECISION: usize = 119;

    /// The number, cut to [`Self::PRECISION`] significant bits.
    #[must_use]
    pub fn new(number: &Int) -> Self {
        let shift = number.magnitude.bit_len().saturating_sub(Self::PRECISION);
        let [low, high, _, _] = (number.magnitude >> shift).into_limbs();
        let mantissa = u128::from(low) | u128::from(high) << 64;
        Reading(mantissa | (shift as u128) << 119 | u128::from(number.negative) << 127)
    }

    /// As stored, the lower half first.
    #[must_use]
    pub(crate) fn to_limbs(self) -> [u64; 2] {
        let [low, high, _, _] = U256::from(self.0).into_limbs();
        [low, high]
    }

    /// From what [`Self::to_limbs`] made.
    #[must_use]
    pub(crate) const fn from_limbs([low, high]: [u64; 2]) -> Self {
        Reading(low as u128 | (high as u128) << 64)
    }

    /// Whether it is what [`Self::new`] makes of its number: an exponent only where the mantissa is full, and no zero below zero.
    pub(crate) const fn is_canonical(self) -> bool {
        (self.0 >> 119 & 0xff == 0 || self.0 >> 118 & 1 == 1) && self.0 != 1 << 127
    }

    /// A number that is the greater the greater the reading is, for those that are canonical: exponent and mantissa are in this order.
    pub(crate) const fn order(self) -> i128 {
        let magnitude = (self.0 << 1 >> 1).cast_signed();
        if self.0 >> 127 == 1 { -magnitude } else { magnitude }
    }

    /// As encoded, the highest byte first.
    #[must_use]
    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From what [`Self::to_bytes`] made.
    #[must_use]
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Reading(u128::from_be_bytes(bytes))
    }

    /// The number that is kept.
    #[must_use]
    pub fn number(&self) -> Int {
        let shift = (self.0 >> 119 & 0xff) as usize;
        let mantissa = self.0 & ((1 << 119) - 1);
        let low = u64::try_from(mantissa & u128::from(u64::MAX)).unwrap_or(0);
        let limbs = [low, (mantissa >> 64) as u64, 0, 0];
        Int::new(self.0 >> 127 == 1, U256::from_limbs(limbs) << shift)
    }
}

/// An incident as the guard stores it. Times are Unix seconds (40 bits each).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its number, counted from 1.
    pub number: u32,
    /// The scope.
    pub scope: u8,
    /// How far it has come.
    pub state: State,
    /// The strictest level it reached.
    pub peak: Level,
    /// How many times its level was raised or extended after it was opened, saturating.
    pub raises: u8,
    /// Whether notes were attached.
    pub noted: bool,
    /// When the first level was raised.
    pub opened_at: u64,
    /// When it was released by authority; 0 when it was not.
    pub released_at: u64,
    /// When the scope was back at `Normal` and everything was undone; 0 while the incident is open.
    pub closed_at: u64,
    /// Block in which it was opened, as the VM numbers blocks: on Arbitrum the estimate of the parent chain's block. 32 bits.
    pub block: u32,
    /// Which of the guard's rulebooks, counted from 1, was in force when it was opened: rules and calls are numbered as it numbers them.
    /// Less than 2^24.
    pub epoch: u32,
    /// Why it was opened.
    pub finding: Finding,
}

const RULE: u64 = 1 << 17;

impl Incident {
    /// Where the incident with this number is kept: its place in the ring.
    #[must_use]
    pub const fn slot(number: u32) -> u8 {
        (number.saturating_sub(1) % RING) as u8
    }

    /// The record as two words. The first from the low end: opened (40 bits), state (4), scope (8), noted (1), peak (3), raises (8);
    /// closed (40), cause (24: 2^17 plus the rule, or the actor); released (40), number of the rulebook (24); number (32), block (32). The
    /// second is the evidence, or observed value and bound, half a word each.
    #[must_use]
    pub fn pack(&self) -> (U256, B256) {
        let time = |value: u64| value & MAX_TIME;
        let Opening {
            cause, word: second, ..
        } = self.finding.opening(self.epoch);
        let first = U256::from_limbs([
            time(self.opened_at)
                | (self.state as u64) << STATE
                | u64::from(self.scope) << SCOPE
                | (u64::from(self.noted) * NOTED)
                | (self.peak as u64) << PEAK
                | u64::from(self.raises) << RAISES,
            time(self.closed_at) | cause << CAUSE,
            time(self.released_at) | u64::from(self.epoch) << EPOCH,
            u64::from(self.number) | u64::from(self.block) << 32,
        ]);
        (first, second)
    }

    /// The record in two words; `None` when no incident is stored there.
    #[must_use]
    pub fn unpack(word: U256, second: B256) -> Option<Self> {
        let [first, closed, released, number] = word.into_limbs();
        let cause = closed >> CAUSE;
        let finding = if cause & RULE == 0 {
            Finding::Authority {
                actor: match cause & 7 {
                    0 => Actor::Trip,
                    1 => Actor::Keeper,
                    2 => Actor::Guardian,
                    3 => Actor::Governor,
                    _ => Actor::Seal,
                },
                evidence: second,
            }
        } else {
            let half = |at: usize| {
                let bytes = second.get(at..).and_then(|rest| rest.first_chunk::<16>());
                Reading(bytes.map_or(0, |bytes| u128::from_be_bytes(*bytes)))
            };
            Finding::Breach {
                rule: (cause & 0xffff) as u16,
                observed: half(0),
                bound: half(16),
            }
        };
        Some(Incident {
            number: (number & 0xffff_ffff) as u32,
            scope: (first >> SCOPE & 0xff) as u8,
            state: State::from_u8((first >> STATE & 0xf) as u8)?,
            peak: Level::from_u8((first >> PEAK & 7) as u8)?,
            raises: (first >> RAISES) as u8,
            noted: first & NOTED != 0,
            opened_at: first & MAX_TIME,
            released_at: released & MAX_TIME,
            closed_at: closed & MAX_TIME,
            block: (number >> 32) as u32,
            epoch: (released >> EPOCH) as u32,
            finding,
        })
    }
}

/// The first word of a record: all that a response changes of one, in place, so that a program that responds has no need to take records
/// apart and put them together again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head([u64; 4]);

const CAUSE: u32 = 40;
const EPOCH: u32 = 40;
const NOTED: u64 = 1 << 52;
const STATE: u32 = 40;
const SCOPE: u32 = 44;
const PEAK: u32 = 53;
const RAISES: u32 = 56;

impl Head {
    /// The word of an incident that is opened at `now` (Unix seconds), in this block, under the rulebook of this number.
    #[must_use]
    pub const fn opened(number: u32, scope: u8, level: Level, opening: &Opening, now: u64, block: u32) -> Self {
        Head([
            now & MAX_TIME | (State::Open as u64) << STATE | (scope as u64) << SCOPE | (level as u64) << PEAK,
            opening.cause << CAUSE,
            opening.epoch << EPOCH,
            number as u64 | (block as u64) << 32,
        ])
    }

    /// The word, when it is that of the incident with this number.
    #[must_use]
    pub const fn of(word: U256, number: u32) -> Option<Self> {
        let limbs = word.into_limbs();
        let [first, _, _, known] = limbs;
        let is_known = known & 0xffff_ffff == number as u64 && State::from_u8((first >> STATE & 0xf) as u8).is_some();
        if is_known { Some(Head(limbs)) } else { None }
    }

    /// Whether this is the word of an incident that is not over.
    #[must_use]
    pub const fn is_under_way(word: U256) -> bool {
        let [first, ..] = word.into_limbs();
        matches!(State::from_u8((first >> STATE & 0xf) as u8), Some(state) if !state.is_over())
    }

    /// The word.
    #[must_use]
    pub const fn word(&self) -> U256 {
        U256::from_limbs(self.0)
    }

    /// Whether notes were attached.
    #[must_use]
    pub const fn is_noted(&self) -> bool {
        let [first, ..] = self.0;
        first & NOTED != 0
    }

    /// The record after a note was attached.
    #[must_use]
    pub const fn noted(self) -> Self {
        let [first, closed, released, number] = self.0;
        Head([first | NOTED, closed, released, number])
    }

    /// Whether the incident has come so far.
    #[must_use]
    pub const fn is(&self, state: State) -> bool {
        let [first, ..] = self.0;
        first >> STATE & 0xf == state as u64
    }

    /// The record when its incident has come so far, at `now` in Unix seconds.
    #[must_use]
    pub const fn moved(self, state: State, now: u64) -> Self {
        let [mut first, mut closed, mut released, number] = self.0;
        first = first & !(0xf << STATE) | (state as u64) << STATE;
        match state {
            State::Released => released = released & !MAX_TIME | now & MAX_TIME,
            State::Closed => closed = closed & !MAX_TIME | now & MAX_TIME,
            State::Open | State::Contained | State::FalsePositive => {}
        }
        Head([first, closed, released, number])
    }

    /// The record after its scope was raised to, or extended at, `level`. The number of raises saturates.
    #[must_use]
    pub const fn raised(self, level: Level) -> Self {
        let [mut first, closed, released, number] = self.0;
        let is_peak = match Level::from_u8((first >> PEAK & 7) as u8) {
            Some(peak) => level.rank() > peak.rank(),
            None => true,
        };
        if is_peak {
            first = first & !(7 << PEAK) | (level as u64) << PEAK;
        }
        if first >> RAISES < 0xff {
            first += 1 << RAISES;
        }
        Head([first, closed, released, number])
    }
}
