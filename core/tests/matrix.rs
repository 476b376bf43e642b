//! The matrix as data: whatever is accepted is nowhere looser than the default and closes nothing that must stay open.
#![allow(clippy::unwrap_used, missing_docs)]

use cordon_core::level::permission;
use cordon_core::{Action, ActionSet, Level, Matrix, Permission};
use proptest::prelude::*;

const EXITS: [Action; 3] = [Action::Withdraw, Action::Decrease, Action::Settle];

/// Any bits, and bits near the accepted ones, which arbitrary ones never are.
fn bits() -> impl Strategy<Value = u64> {
    let closable = prop::sample::subsequence(vec![0u64, 2, 3, 7], 0..=4);
    let near =
        (prop::collection::vec(closable, 4), 0u32..64, prop::bool::weighted(0.3)).prop_map(|(rows, flip, flips)| {
            let mut bits = 0;
            for (row, actions) in (0u64..).zip(rows) {
                for action in actions {
                    bits |= 1u64 << (16 * row + action);
                }
            }
            // What a looser rung closes, the stricter ones close, mostly.
            bits |= (bits & 0xffff) << 16;
            bits |= (bits & 0xffff_0000) << 16;
            if flips { bits ^ 1 << flip } else { bits }
        });
    prop_oneof![1 => any::<u64>(), 4 => near]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn no_accepted_matrix_closes_what_must_stay_open(bits in bits()) {
        let Some(matrix) = Matrix::new(bits) else { return Ok(()) };
        for level in Level::ALL {
            for action in [Action::Repay, Action::Sync, Action::Tighten] {
                prop_assert_eq!(matrix.permission(level, action), Permission::Open);
            }
            prop_assert!(matrix.permission(level, Action::Loosen) <= Permission::Announced, "a fix can pass");
            for exit in EXITS {
                prop_assert!(level == Level::Halted || matrix.permission(level, exit).passes());
            }
            if matrix.permission(level, Action::Liquidate).passes() {
                prop_assert!(matrix.permission(level, Action::Decrease).passes(), "{:?}", level);
            }
            // Outflow limits need not ask for the matrix: what leaves is granted as by default.
            prop_assert_eq!(matrix.permission(level, Action::Withdraw), permission(level, Action::Withdraw));
        }
    }

    #[test]
    fn an_accepted_matrix_is_nowhere_looser_than_the_default_and_a_raise_opens_nothing(bits in bits()) {
        let Some(matrix) = Matrix::new(bits) else { return Ok(()) };
        prop_assert!(matrix.is_as_strict_as(Matrix::DEFAULT));
        prop_assert_eq!(Matrix::new(matrix.bits()), Some(matrix), "what is stored is accepted again");
        for action in Action::ALL {
            for level in Level::ALL {
                prop_assert!(matrix.permission(level, action) >= permission(level, action));
            }
            for (looser, stricter) in [(Level::Throttled, Level::ReduceOnly), (Level::ReduceOnly, Level::Halted)] {
                prop_assert!(!matrix.is_closed(looser, action) || matrix.is_closed(stricter, action));
            }
            prop_assert_eq!(matrix.permission(Level::Normal, action), permission(Level::Normal, action));
        }
    }

    #[test]
    fn as_strict_means_at_every_level_for_every_action(first in bits(), second in bits()) {
        let (Some(a), Some(b)) = (Matrix::new(first), Matrix::new(second)) else { return Ok(()) };
        let everywhere = Level::ALL
            .into_iter()
            .all(|level| Action::ALL.into_iter().all(|action| a.permission(level, action) >= b.permission(level, action)));
        prop_assert_eq!(a.is_as_strict_as(b), everywhere);
    }
}

/// The acceptance itself, over every level and action and not by its own formula.
#[test]
fn each_cell_is_closed_alone_or_refused() {
    for (row, level) in [Level::Throttled, Level::ReduceOnly, Level::Halted, Level::Grace]
        .into_iter()
        .enumerate()
    {
        for action in Action::ALL {
            let never = matches!(action, Action::Repay | Action::Sync | Action::Tighten | Action::Loosen);
            let allowed = !never && (level == Level::Halted || !EXITS.contains(&action));
            let made = Matrix::DEFAULT.closing(level, action);
            assert_eq!(made.is_some(), allowed, "{level:?} {action:?}");
            if let Some(made) = made {
                assert!(made.is_closed(level, action));
                assert!(made.is_closed(Level::Halted, action) || level == Level::Grace);
            }
            // A looser rung alone would be opened by a raise.
            let alone = Matrix::new(1 << (16 * row + action as usize));
            let by_default = |level| Matrix::DEFAULT.is_closed(level, action);
            let nested = match level {
                Level::Throttled => by_default(Level::ReduceOnly) && by_default(Level::Halted),
                Level::ReduceOnly => by_default(Level::Halted),
                _ => true,
            };
            assert_eq!(alone.is_some(), allowed && nested, "{level:?} {action:?} alone");
        }
        // Bits that stand for no action.
        for bit in 11..16 {
            assert_eq!(Matrix::new(1 << (16 * row + bit)), None);
        }
    }
    assert_eq!(Matrix::DEFAULT.closing(Level::Normal, Action::Deposit), None);
    assert_eq!(Matrix::new(0), Some(Matrix::DEFAULT));
}

#[test]
fn what_is_closed_beyond_the_default_is_told_by_level() {
    assert_eq!(Matrix::DEFAULT.beyond_default().count(), 0);
    let matrix = Matrix::DEFAULT.closing(Level::Throttled, Action::Increase).unwrap();
    let told: Vec<_> = matrix.beyond_default().collect();
    assert_eq!(told, [(Level::Throttled, ActionSet::EMPTY.with(Action::Increase))]);
    let matrix = matrix.closing(Level::Grace, Action::Trade).unwrap();
    assert_eq!(matrix.permission(Level::Grace, Action::Trade), Permission::Closed);
    assert_eq!(
        matrix.permission(Level::Throttled, Action::Trade),
        Permission::Quartered
    );
}
