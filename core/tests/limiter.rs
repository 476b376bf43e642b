//! Outflow limits: additive to the unit, bounded over any time, and what an attacker gets out of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alloy_primitives::U256;
use cordon_core::limiter::{Credit, Hold, Limit, LimitError, MAX_CREDIT, MAX_PERIOD, MAX_UNITS, WHOLE, use_credit};
use cordon_core::{Action, Level, Permission, level::permission};
use proptest::prelude::*;

const DAY: u32 = 86_400;
const START: u64 = 1_700_000_000;

fn hold() -> impl Strategy<Value = Hold> {
    prop::sample::select(vec![Hold::None, Hold::None, Hold::None, Hold::Quarter, Hold::Full])
}

fn amount() -> impl Strategy<Value = u128> {
    (any::<u128>(), 16u32..128).prop_map(|(bits, shift)| bits >> shift)
}

fn limits() -> impl Strategy<Value = Limit> {
    let share = prop_oneof![Just(0u16), 1u16..=WHOLE];
    (1u128..MAX_UNITS, 0u32..104, 1u32..=MAX_PERIOD, share)
        .prop_map(|(units, shift, period, share)| Limit::new((units >> shift).max(1), period, share).unwrap())
}

/// A limit in use: some outflows behind it.
fn used() -> impl Strategy<Value = (Limit, u64)> {
    (limits(), prop::collection::vec((amount(), 0u64..100_000, hold()), 0..6)).prop_map(|(mut limit, flows)| {
        let mut now = START;
        for (amount, wait, hold) in flows {
            now += wait;
            limit = limit.take(amount, now, Some(MAX_UNITS), hold).limit;
        }
        (limit, now)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn splitting_an_amount_changes_nothing(
        (limit, now) in used(), wait in 0u64..1_000_000, parts in prop::collection::vec(amount(), 1..12),
        pool in prop::option::of(amount()), hold in hold(),
    ) {
        let now = now + wait;
        let total: u128 = parts.iter().sum();
        // What is not in the pool cannot leave it.
        let pool = pool.map(|pool| pool.saturating_add(total));
        let whole = limit.take(total, now, pool, hold);
        let (mut step, mut passed) = (limit, 0);
        for part in &parts {
            let taken = step.take(*part, now, pool.map(|pool| pool - passed), hold);
            prop_assert_eq!(taken.passed + taken.excess, *part);
            passed += taken.passed;
            step = taken.limit;
        }
        prop_assert_eq!(passed, whole.passed);
        prop_assert_eq!(step, whole.limit);
        prop_assert_eq!(limit.available(now, pool, hold).min(total), passed);
    }

    #[test]
    fn nothing_leaves_beyond_the_limit_in_any_stretch_of_time(
        limit in limits(), flows in prop::collection::vec((0u64..200_000, amount(), hold()), 1..40),
    ) {
        let mut flows_out = Vec::new();
        let (mut limit_now, mut now) = (limit, START);
        for (wait, amount, hold) in flows {
            now += wait;
            let taken = limit_now.take(amount, now, None, hold);
            limit_now = taken.limit;
            flows_out.push((now, taken.passed));
        }
        for (first, (from, _)) in flows_out.iter().enumerate() {
            let mut out = 0u128;
            for (until, passed) in &flows_out[first..] {
                out += passed;
                // In units times seconds, so that this check rounds nothing either.
                let most = U256::from(limit.units()) * U256::from(u64::from(limit.period()) + until - from);
                prop_assert!(U256::from(out) * U256::from(limit.period()) <= most);
            }
        }
    }

    #[test]
    fn time_that_stands_still_or_goes_back_gives_nothing((limit, now) in used(), amount in amount(), back in 0u64..1_000_000) {
        let taken = limit.take(amount.max(1), now, None, Hold::None);
        let again = taken.limit.take(u128::MAX, now - back.min(now), None, Hold::None);
        prop_assert_eq!(again.passed, taken.limit.available(now, None, Hold::None));
        prop_assert_eq!(again.passed, limit.available(now, None, Hold::None) - taken.passed);
        // The clock that went back and came again has not been paid for twice.
        let later = again.limit.take(u128::MAX, now, None, Hold::None);
        prop_assert_eq!(later.passed, 0);
        let end_of_time = limit.take(amount, u64::MAX, None, Hold::None);
        prop_assert!(end_of_time.passed <= limit.units());
    }

    #[test]
    fn more_use_and_tighter_holds_never_give_more((limit, now) in used(), amount in amount(), wait in 0u64..100_000, pool in amount()) {
        let later = now + wait;
        let after = limit.take(amount, now, None, Hold::None).limit;
        prop_assert!(after.available(later, None, Hold::None) <= limit.available(later, None, Hold::None));
        let available = |hold| limit.available(later, Some(pool), hold);
        prop_assert!(available(Hold::Quarter) <= available(Hold::None) && available(Hold::Full) == 0);
        let held = |hold| limit.held(hold).available(later, Some(pool), Hold::None);
        prop_assert_eq!(held(Hold::Quarter), available(Hold::Quarter));
        prop_assert_eq!(held(Hold::Full), 0);
        prop_assert!(limit.available(later, Some(pool), Hold::None) <= limit.available(later, None, Hold::None));
    }

    #[test]
    fn a_limit_is_one_word((limit, _) in used(), hold in hold(), rebasing: bool, tag: u8) {
        let limit = limit.held(hold).rebasing(rebasing).tagged(tag);
        prop_assert_eq!(Limit::unpack(limit.pack()), limit);
    }

    #[test]
    fn any_word_is_a_limit_that_limits(limbs: [u64; 4], amount: u128, now: u64, pool in prop::option::of(any::<u128>()), hold in hold()) {
        let limit = Limit::unpack(U256::from_limbs(limbs));
        let taken = limit.take(amount, now, pool, hold);
        prop_assert!(taken.passed <= limit.units() && taken.passed <= limit.available(now, pool, hold));
        prop_assert_eq!(taken.passed + taken.excess, amount);
        let credit = Credit::unpack(U256::from_limbs(limbs));
        prop_assert_eq!(Credit::unpack(credit.pack()), credit);
        let _ = credit.inflow(amount, now, limit.period()).outflow(amount, now);
    }

    #[test]
    fn units_are_kept_to_32_bits(units in 1u128..=MAX_UNITS, shift in 0u32..103) {
        let units = (units >> shift).max(1);
        let kept = Limit::new(units, DAY, 0).unwrap().units();
        prop_assert!(kept <= units && units - kept <= units >> 31);
    }

    #[test]
    fn what_has_left_counts_under_new_numbers((limit, now) in used(), other in limits(), back in 0u64..1_000_000) {
        let reshaped = limit.reshaped(&other, now);
        let used = limit.units().saturating_sub(limit.available(now, None, Hold::None));
        let left = other.units().saturating_sub(used);
        let now_left = reshaped.available(now, None, Hold::None);
        prop_assert!(now_left <= left && left - now_left <= 1);
        // A hold outlasts the change of numbers.
        let held = |hold| limit.held(hold).reshaped(&other.held(Hold::None), now).hold();
        prop_assert_eq!((held(Hold::Full), held(Hold::Quarter), held(Hold::None)), (Hold::Full, Hold::Quarter, Hold::None));
        // A clock that goes back for the change pays for no time twice.
        let taken = limit.take(1, now, None, Hold::None).limit;
        let early = taken.reshaped(&other, now - back.min(now));
        prop_assert_eq!(early.available(now, None, Hold::None), taken.reshaped(&other, now).available(now, None, Hold::None));
    }

    /// Whatever becomes of the period: no inflow counts beyond two of the periods that were in force when it came.
    #[test]
    fn credit_ends_by_the_period_of_its_inflow(
        flows in prop::collection::vec((0u64..200_000, 1u32..200_000, 0u128..5_000, 0u128..5_000), 1..40), wait in 0u64..500_000,
    ) {
        let (mut credit, mut now, mut ins) = (Credit::default(), START, Vec::new());
        for (wait, period, amount, out) in flows {
            now += wait;
            let before = credit.settled(now).units();
            credit = credit.inflow(amount, now, period);
            prop_assert_eq!(credit.units(), before + amount, "an inflow is credited to the unit");
            ins.push((now + 2 * u64::from(period), amount));
            let (left, rest) = credit.outflow(out, now);
            prop_assert_eq!(left.units() + (out - rest), credit.units(), "and used to the unit");
            credit = left;
            prop_assert_eq!(Credit::unpack(credit.pack()), credit);
            let most: u128 = ins.iter().filter(|(end, _)| *end > now).map(|(_, amount)| amount).sum();
            prop_assert!(credit.settled(now).units() <= most);
        }
        let later = credit.settled(now + wait);
        let most: u128 = ins.iter().filter(|(end, _)| *end > now + wait).map(|(_, amount)| amount).sum();
        prop_assert!(later.units() <= most && later.units() <= credit.units());
    }

    /// Under one period an inflow counts for one at least, and splitting it or its use changes nothing.
    #[test]
    fn credit_lasts_for_its_period_and_is_additive(
        flows in prop::collection::vec((0u64..90_000, 0u128..5_000), 1..20), wait in 0u64..u64::from(DAY), split in 0u128..5_000,
    ) {
        let (mut credit, mut parts, mut now) = (Credit::default(), Credit::default(), START);
        let mut ins = Vec::new();
        for (wait, amount) in flows {
            now += wait;
            credit = credit.inflow(amount, now, DAY);
            parts = parts.inflow(amount - split.min(amount), now, DAY).inflow(split.min(amount), now, DAY);
            prop_assert_eq!(parts, credit);
            ins.push((now, amount));
        }
        now += wait;
        let least: u128 = ins.iter().filter(|(at, _)| at + u64::from(DAY) > now).map(|(_, amount)| amount).sum();
        let total = credit.settled(now).units();
        prop_assert!(total >= least);
        let (whole, rest) = credit.outflow(2 * split, now);
        let (half, first) = credit.outflow(split, now);
        let (halves, second) = half.outflow(split, now);
        prop_assert_eq!((halves, first + second), (whole, rest));
    }

    /// Any accounts, any order, any times: what leaves, less what came in within the last two periods and since, stays within the
    /// limit and what it empties.
    #[test]
    fn the_net_outflow_is_bounded_whatever_the_accounts_do(
        flows in prop::collection::vec((0u64..40_000, 0usize..4, any::<bool>(), 0u128..5_000), 1..60),
    ) {
        let period = DAY;
        let mut limit = Limit::new(1_000, period, 0).unwrap();
        let mut credits = [Credit::default(); 4];
        let (mut ins, mut outs, mut now) = (Vec::new(), Vec::new(), START);
        for (wait, account, inward, amount) in flows {
            now += wait;
            if inward {
                credits[account] = credits[account].inflow(amount, now, period);
                ins.push((now, amount));
            } else {
                let (credit, rest) = credits[account].outflow(amount, now);
                let taken = limit.take(rest, now, None, Hold::None);
                credits[account] = credit;
                limit = taken.limit;
                outs.push((now, amount - taken.excess));
            }
        }
        for (first, (from, _)) in outs.iter().enumerate() {
            let mut out = 0;
            for (until, passed) in &outs[first..] {
                out += passed;
                let since = from.saturating_sub(2 * u64::from(period));
                let inflow: u128 = ins.iter().filter(|(at, _)| *at >= since && at <= until).map(|(_, amount)| amount).sum();
                let most = (limit.units() + inflow) * u128::from(period) + limit.units() * u128::from(until - from);
                prop_assert!(out * u128::from(period) <= most);
            }
        }
    }
}

/// 1,000 units a day, in use by nobody.
fn thousand() -> Limit {
    Limit::new(1_000, DAY, 0).unwrap()
}

/// A protocol's transaction: credit in transient storage, the bucket in storage.
struct Tx {
    credit: [u128; 2],
}

impl Tx {
    fn inflow(&mut self, account: usize, amount: u128) {
        self.credit[account] += amount;
    }

    fn outflow(&mut self, limit: &mut Limit, account: usize, amount: u128) -> u128 {
        let (credit, rest) = use_credit(self.credit[account], amount);
        self.credit[account] = credit;
        let taken = limit.take(rest, START, None, Hold::None);
        *limit = taken.limit;
        amount - taken.excess
    }
}

#[test]
fn a_flash_loan_does_not_fill_the_limit_for_others() {
    let mut limit = thousand();
    let mut tx = Tx { credit: [0; 2] };
    for _ in 0..50 {
        tx.inflow(0, 1_000_000);
        assert_eq!(
            tx.outflow(&mut limit, 0, 1_000_000),
            1_000_000,
            "it goes out as it came in"
        );
    }
    assert_eq!(limit, thousand(), "and leaves no trace");
}

#[test]
fn a_flash_loan_buys_no_room_for_what_is_stolen() {
    let mut limit = thousand();
    let mut tx = Tx { credit: [0; 2] };
    tx.inflow(0, 1_000_000);
    let out = tx.outflow(&mut limit, 0, 1_000_000 + 5_000);
    assert_eq!(out, 1_000_000 + 1_000, "the loan and the limit, and not a unit more");
    assert_eq!(tx.outflow(&mut limit, 0, 1), 0);
}

#[test]
fn an_honest_inflow_cannot_be_taken_out_by_another() {
    let mut limit = thousand();
    let mut tx = Tx { credit: [0; 2] };
    tx.inflow(1, 100_000);
    assert_eq!(tx.outflow(&mut limit, 0, 100_000), 1_000);
    let mut honest = Credit::default().inflow(100_000, START, DAY);
    let thief = Credit::default();
    let (_, rest) = thief.outflow(100_000, START + 60);
    assert_eq!(limit.take(rest, START + 60, None, Hold::None).passed, 0);
    let rest;
    (honest, rest) = honest.outflow(100_000, START + 60);
    assert_eq!(
        (rest, honest.units()),
        (0, 0),
        "its owner gets it back at once, full bucket or not"
    );
}

#[test]
fn capital_sent_round_for_months_hoards_no_credit() {
    let (mut a, mut limit, mut now) = (Credit::default(), thousand(), START);
    for _ in 0..100 {
        // In as A; the shares go to B, who leaves within the limit.
        a = a.inflow(1_000, now, DAY);
        now += u64::from(DAY);
        let taken = limit.take(1_000, now, None, Hold::None);
        assert_eq!(taken.passed, 1_000);
        limit = taken.limit;
    }
    assert!(a.settled(now).units() <= 2_000, "two periods' worth at most");
    assert_eq!(a.settled(now + 2 * u64::from(DAY)).units(), 0);
}

#[test]
fn capital_sent_round_does_not_close_the_exit_for_others() {
    let (mut cycler, limit) = (Credit::default(), thousand());
    for round in 0..1_000 {
        let now = START + round * 12;
        cycler = cycler.inflow(1_000, now, DAY);
        let rest;
        (cycler, rest) = cycler.outflow(1_000, now + 6);
        assert_eq!(rest, 0, "the limit is never asked");
    }
    assert_eq!(limit.available(START, None, Hold::None), 1_000);
}

#[test]
fn a_pool_blown_up_by_a_donation_is_capped_by_the_units() {
    let limit = Limit::new(1_000, DAY, 100).unwrap();
    assert_eq!(limit.available(START, Some(50_000), Hold::None), 500, "1 % of the pool");
    assert_eq!(limit.available(START, Some(u128::MAX), Hold::None), 1_000);
    assert_eq!(limit.available(START, Some(0), Hold::None), 0);
}

#[test]
fn levels_hold_as_the_matrix_says() {
    let of = |level, action| Hold::of(permission(level, action));
    assert_eq!(of(Level::Normal, Action::Withdraw), Hold::None);
    for level in [Level::Throttled, Level::ReduceOnly, Level::Grace] {
        assert_eq!(of(level, Action::Withdraw), Hold::Quarter);
    }
    assert_eq!(of(Level::Throttled, Action::Trade), Hold::Quarter);
    assert_eq!(of(Level::Halted, Action::Withdraw), Hold::Full);
    assert_eq!(Hold::of(Permission::Deferred), Hold::Full);
    assert_eq!(Hold::Quarter.or(Hold::None), Hold::Quarter);
}

#[test]
fn a_limit_refills_steadily() {
    let limit = thousand().take(5_000, START, None, Hold::None);
    assert_eq!((limit.passed, limit.excess), (1_000, 4_000));
    let limit = limit.limit;
    for (hours, room) in [(0u64, 0), (6, 250), (12, 500), (24, 1_000), (240, 1_000)] {
        assert_eq!(limit.available(START + hours * 3600, None, Hold::None), room);
        let quarter = limit.available(START + hours * 3600, None, Hold::Quarter);
        assert_eq!(
            quarter,
            if hours < 240 { 0 } else { 250 },
            "emptied at a quarter of the speed"
        );
    }
    assert_eq!(
        limit.available(START + 86, None, Hold::None),
        0,
        "rounded against the outflow"
    );
    assert_eq!(limit.available(START + 87, None, Hold::None), 1);
}

#[test]
fn numbers_out_of_range_are_named() {
    assert_eq!(Limit::new(0, DAY, 0), Err(LimitError::BadUnits { units: 0 }));
    assert_eq!(
        Limit::new(MAX_UNITS + 1, DAY, 0),
        Err(LimitError::BadUnits { units: MAX_UNITS + 1 })
    );
    assert_eq!(Limit::new(1, 0, 0), Err(LimitError::BadPeriod { period: 0 }));
    assert_eq!(
        Limit::new(1, DAY, WHOLE + 1),
        Err(LimitError::BadShare { share: WHOLE + 1 })
    );
    let full = Credit::default()
        .inflow(u128::MAX, START, DAY)
        .inflow(u128::MAX, START, DAY);
    assert_eq!(full.units(), MAX_CREDIT);
}
