//! What each level closes, as data: the matrix of a protocol, which may be stricter than the default and never looser.

use crate::action::{Action, ActionSet};
use crate::level::{Level, Permission};

/// What each raised level closes: 16 bits per level, of which bit `i` stands for the action numbered `i`. From the low end `Throttled`,
/// `ReduceOnly`, `Halted`, `Grace`. `Normal` closes nothing.
///
/// There is no value of this type that closes less than [`Matrix::DEFAULT`], nor one that closes `Repay`, `Sync`, `Tighten` or `Loosen`, an exit
/// (`Withdraw`, `Decrease`, `Settle`) at another level than `Halted`, or at a stricter level less than at a looser one, `Grace` aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrix(u64);

/// Actions that no level closes: repayment, the books that repayment and exits need, what only lowers risk, and what the governor announced
/// in time, so that a fix can pass.
const NEVER: ActionSet = ActionSet::EMPTY
    .with(Action::Repay)
    .with(Action::Sync)
    .with(Action::Tighten)
    .with(Action::Loosen);

/// Actions that `Halted` closes and no other level does.
const EXITS: ActionSet = ActionSet::EMPTY
    .with(Action::Withdraw)
    .with(Action::Decrease)
    .with(Action::Settle);

/// The levels that have a row, in the order of their bits.
const ROWS: [Level; 4] = [Level::Throttled, Level::ReduceOnly, Level::Halted, Level::Grace];

/// What may be closed at all.
const CLOSABLE: u64 = {
    let halted = ActionSet::ALL.bits() & !NEVER.bits();
    let other = halted & !EXITS.bits();
    rows(other, other, halted, other)
};

/// The bits of `Throttled` and `ReduceOnly`, each of which the 16 bits above them must have too.
const NESTED: u64 = 0xffff_ffff;

const fn rows(throttled: u16, reduce_only: u16, halted: u16, grace: u16) -> u64 {
    throttled as u64 | (reduce_only as u64) << 16 | (halted as u64) << 32 | (grace as u64) << 48
}

impl Default for Matrix {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Matrix {
    /// The matrix of the design, which every protocol has unless its governor has made it stricter.
    pub const DEFAULT: Matrix = Matrix(rows(
        Level::Throttled.closes().bits(),
        Level::ReduceOnly.closes().bits(),
        Level::Halted.closes().bits(),
        Level::Grace.closes().bits(),
    ));

    /// The matrix that closes these (see [`Matrix`]) and what the default closes. `None` when that would close what never closes, or more
    /// at a looser level than at a stricter one, so that a raise would open something.
    #[must_use]
    pub const fn new(closes: u64) -> Option<Self> {
        let full = closes | Self::DEFAULT.0;
        if full & !CLOSABLE == 0 && full & !(full >> 16) & NESTED == 0 {
            Some(Matrix(full))
        } else {
            None
        }
    }

    /// The bits of everything that it closes, the default's included.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The same with `action` closed at `level` and, unless that is `Grace`, at every stricter one. `None` when the action
    /// never closes at that level.
    #[must_use]
    pub const fn closing(self, level: Level, action: Action) -> Option<Self> {
        let bit = 1u16 << action as u16;
        let more = match level {
            Level::Normal => return None,
            Level::Throttled => rows(bit, bit, bit, 0),
            Level::ReduceOnly => rows(0, bit, bit, 0),
            Level::Halted => rows(0, 0, bit, 0),
            Level::Grace => rows(0, 0, 0, bit),
        };
        Self::new(self.0 | more)
    }

    /// Whether it closes all that `other` closes.
    #[must_use]
    pub const fn is_as_strict_as(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Actions that a level refuses outright (deferred ones included). `Loosen` is not among them: it is announced.
    #[must_use]
    pub fn closes(self, level: Level) -> ActionSet {
        Action::ALL
            .into_iter()
            .filter(|action| self.is_closed(level, *action))
            .collect()
    }

    /// Whether the action is refused outright at this level.
    #[must_use]
    pub const fn is_closed(self, level: Level, action: Action) -> bool {
        match (level as u32).checked_sub(1) {
            Some(row) => self.0 >> (16 * row + action as u32) & 1 == 1,
            None => false,
        }
    }

    /// What `level` grants to `action`. The default's table is in `docs/rules.md`.
    #[must_use]
    pub const fn permission(self, level: Level, action: Action) -> Permission {
        if self.is_closed(level, action) {
            return if matches!(action, Action::Settle) {
                Permission::Deferred
            } else {
                Permission::Closed
            };
        }
        match (level, action) {
            (Level::Normal, Action::Withdraw) => Permission::Limited,
            (_, Action::Withdraw) | (Level::Throttled | Level::Grace, Action::Trade) => Permission::Quartered,
            (Level::Normal, Action::Loosen) => Permission::Open,
            (_, Action::Loosen) => Permission::Announced,
            _ => Permission::Open,
        }
    }

    /// What it closes beyond the default: each level with the actions, levels without any left out.
    pub fn beyond_default(self) -> impl Iterator<Item = (Level, ActionSet)> {
        ROWS.into_iter().filter_map(move |level| {
            let more: ActionSet = self
                .closes(level)
                .iter()
                .filter(|action| !Self::DEFAULT.is_closed(level, *action))
                .collect();
            (!more.is_empty()).then_some((level, more))
        })
    }
}
