//! Levels of containment and what each permits.

use crate::action::{Action, ActionSet};
use crate::matrix::Matrix;

/// How much is closed in a scope. The numbers are those of `ICordonGuard.Level`; strictness is [`Level::rank`], because
/// `Grace` follows containment and is looser than `Throttled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Level {
    /// Nothing is closed.
    #[default]
    Normal = 0,
    /// Outflow and trade at a quarter of the limit.
    Throttled = 1,
    /// No new value, no trade, no new risk.
    ReduceOnly = 2,
    /// Only repayment, book-keeping and tightening.
    Halted = 3,
    /// Time to repay after containment: no liquidation, no new risk.
    Grace = 4,
}

impl Level {
    /// All levels in the order of their numbers.
    pub const ALL: [Level; 5] = [
        Level::Normal,
        Level::Throttled,
        Level::ReduceOnly,
        Level::Halted,
        Level::Grace,
    ];

    /// The level with this number, or `None` when there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Level::Normal,
            1 => Level::Throttled,
            2 => Level::ReduceOnly,
            3 => Level::Halted,
            4 => Level::Grace,
            _ => return None,
        })
    }

    /// The name used in `cordon.toml` and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Normal => "Normal",
            Level::Throttled => "Throttled",
            Level::ReduceOnly => "ReduceOnly",
            Level::Halted => "Halted",
            Level::Grace => "Grace",
        }
    }

    /// The level of this exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Place on the ladder that expiry climbs down: Normal 0, Grace 1, Throttled 2, ReduceOnly 3, Halted 4.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Level::Normal => 0,
            Level::Grace => 1,
            Level::Throttled => 2,
            Level::ReduceOnly => 3,
            Level::Halted => 4,
        }
    }

    /// Whether this level is one that an actor may raise a scope to.
    #[must_use]
    pub const fn is_raised(self) -> bool {
        self.rank() >= Level::Throttled.rank()
    }

    /// The next looser level on the ladder; `Normal` stays.
    #[must_use]
    pub const fn step_down(self) -> Self {
        match self {
            Level::Halted => Level::ReduceOnly,
            Level::ReduceOnly => Level::Throttled,
            Level::Throttled => Level::Grace,
            Level::Grace | Level::Normal => Level::Normal,
        }
    }

    /// Actions that this level refuses outright (deferred ones included) by the default matrix, which a protocol's own ([`Matrix`]) may
    /// exceed. `Loosen` is not among them: it is announced.
    #[must_use]
    pub const fn closes(self) -> ActionSet {
        match self {
            Level::Normal | Level::Throttled => ActionSet::EMPTY,
            Level::ReduceOnly => ActionSet::EMPTY
                .with(Action::Deposit)
                .with(Action::Trade)
                .with(Action::Increase),
            Level::Halted => ActionSet::EMPTY
                .with(Action::Deposit)
                .with(Action::Withdraw)
                .with(Action::Trade)
                .with(Action::Increase)
                .with(Action::Decrease)
                .with(Action::Settle)
                .with(Action::Liquidate),
            Level::Grace => ActionSet::EMPTY.with(Action::Increase).with(Action::Liquidate),
        }
    }
}

/// What a level grants to an action, loosest first, so that the strictest of several is their maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Permission {
    /// Without restriction.
    Open = 0,
    /// Within the scope's limit.
    Limited = 1,
    /// Within a quarter of the scope's limit.
    Quartered = 2,
    /// Only what the governor announced in time.
    Announced = 3,
    /// Not now; the deadline moves by the time the scope stands still.
    Deferred = 4,
    /// Refused.
    Closed = 5,
}

impl Permission {
    /// Whether a call may go ahead without an announcement (limits apply where there are limits).
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Permission::Open | Permission::Limited | Permission::Quartered)
    }
}

/// What `level` grants to `action` by the default matrix: that of the design, which is also in `docs/rules.md`.
#[must_use]
pub const fn permission(level: Level, action: Action) -> Permission {
    Matrix::DEFAULT.permission(level, action)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The table of the design, row by row: y open, l limit, q limit/4, n closed, d deferred, a announced.
    const MATRIX: [(Level, &str); 5] = [
        (Level::Normal, "ylyyyyyyyyy"),
        (Level::Throttled, "yqqyyyyyyya"),
        (Level::ReduceOnly, "nqnnyyyyyya"),
        (Level::Halted, "nnnnnydnyya"),
        (Level::Grace, "yqqnyyynyya"),
    ];

    #[test]
    fn the_matrix_is_the_one_of_the_design() {
        for (level, row) in MATRIX {
            for (action, cell) in Action::ALL.into_iter().zip(row.chars()) {
                let wanted = match cell {
                    'y' => Permission::Open,
                    'l' => Permission::Limited,
                    'q' => Permission::Quartered,
                    'n' => Permission::Closed,
                    'd' => Permission::Deferred,
                    _ => Permission::Announced,
                };
                assert_eq!(permission(level, action), wanted, "{level:?} {action:?}");
            }
        }
    }

    #[test]
    fn repay_never_closes_and_liquidation_never_runs_without_it() {
        for level in Level::ALL {
            assert_eq!(permission(level, Action::Repay), Permission::Open);
            if permission(level, Action::Liquidate).passes() {
                assert!(permission(level, Action::Repay).passes());
                assert!(permission(level, Action::Decrease).passes());
            }
            if level != Level::Halted {
                assert!(
                    permission(level, Action::Withdraw).passes(),
                    "exits stay open at {level:?}"
                );
            }
        }
    }

    #[test]
    fn the_ladder_has_five_rungs() {
        let mut level = Level::Halted;
        for rank in (0..=4).rev() {
            assert_eq!(level.rank(), rank);
            assert_eq!(Level::from_u8(level as u8), Some(level));
            assert_eq!(Level::from_name(level.name()), Some(level));
            level = level.step_down();
        }
        assert_eq!(level, Level::Normal);
        assert_eq!(Level::from_u8(5), None);
    }
}
