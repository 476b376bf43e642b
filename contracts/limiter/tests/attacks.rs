//! Attacks that once succeeded, on the program natively: each shows what the attacker gets now.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{address, keccak256, Address, B256, U256};
use alloy_sol_types::SolCall;
use common::{limit, Vm, ALICE, BOB, DAY, DEPLOYER, GOVERNOR, GUARD, GUARDIAN, LIMITER, NATIVE, START, TOKEN, VAULT};
use cordon_limiter::abi::{IAssetCircuitBreaker, ICordonLimiter};

/// Another contract under limits, that a thief has the use of.
const HOSTILE: Address = address!("00000000000000000000000000000000000000b2");

#[test]
fn an_incident_of_the_whole_protocol_counts() {
    let mut vm = Vm::new();
    let (_, item) = vm.pay(TOKEN, ALICE, 5_000_000);
    vm.mood.borrow_mut().everything = true;
    vm.pass(1_000);
    vm.refused::<ICordonLimiter::ScopeContained>(GUARDIAN, ICordonLimiter::releaseEarlyCall { item });
    vm.ok(GUARDIAN, ICordonLimiter::holdCall { item });
    vm.ok(GOVERNOR, ICordonLimiter::giveBackCall { item });
}

#[test]
fn whoever_is_first_does_not_set_it_up() {
    let mut vm = Vm::new();
    vm.mock.storage.clear();
    let call = || ICordonLimiter::initializeCall { guard: GUARD, delay: 5 };
    for first in [BOB, GOVERNOR, GUARD] {
        let refused: ICordonLimiter::NotDeployer = vm.refused(first, call());
        assert_eq!(refused.caller, first);
    }
    vm.ok(DEPLOYER, call());
    vm.refused::<ICordonLimiter::AlreadyInitialized>(DEPLOYER, call());
}

fn announced(vm: &mut Vm) -> (ICordonLimiter::setLimitCall, B256) {
    vm.mood.borrow_mut().is_sealed = true;
    let wider = limit(TOKEN, 5_000_000);
    let hash = keccak256(wider.abi_encode());
    vm.ok(GOVERNOR, ICordonLimiter::announceCall { actionHash: hash });
    (wider, hash)
}

#[test]
fn an_announcement_does_not_wait_for_300_days() {
    for (waits, passes) in [(15 * DAY, false), (300 * DAY, false), (14 * DAY, true)] {
        let mut vm = Vm::new();
        let (wider, hash) = announced(&mut vm);
        // The delay of the guard is an hour.
        vm.pass(3600 + waits);
        if passes {
            vm.ok(GOVERNOR, wider);
        } else {
            let refused: ICordonLimiter::NotAnnounced = vm.refused(GOVERNOR, wider);
            assert_eq!(refused.actionHash, hash);
        }
    }
}

#[test]
fn a_guardian_cancels_what_a_thief_announces() {
    for by in [GUARDIAN, GOVERNOR] {
        let mut vm = Vm::new();
        let (wider, hash) = announced(&mut vm);
        let cancel = || ICordonLimiter::cancelAnnouncementCall { actionHash: hash };
        vm.refused::<ICordonLimiter::NotGovernor>(ALICE, cancel());
        vm.ok(by, cancel());
        vm.refused::<ICordonLimiter::NotAnnounced>(by, cancel());
        vm.pass(3600);
        vm.refused::<ICordonLimiter::NotAnnounced>(GOVERNOR, wider);
    }
}

fn elastic(vm: &mut Vm, class: u8, period: u32) {
    let mut call = limit(TOKEN, 1_000);
    (call.class, call.limit.period, call.limit.elastic) = (class, period, true);
    vm.ok(GOVERNOR, call);
}

fn bring(vm: &mut Vm, amount: u64) {
    let call = ICordonLimiter::inflowCall {
        asset: TOKEN,
        class: 0,
        account: ALICE,
        amount: U256::from(amount),
    };
    vm.ok(VAULT, call);
    vm.pass(0);
}

fn take(vm: &mut Vm, class: u8, amount: u64) -> U256 {
    let call = ICordonLimiter::outflowCall {
        asset: TOKEN,
        class,
        account: ALICE,
        amount: U256::from(amount),
    };
    let passed = vm.ok(VAULT, call);
    vm.pass(0);
    passed
}

#[test]
fn a_longer_period_does_not_make_credit_immortal() {
    let mut vm = Vm::new();
    elastic(&mut vm, 0, 3_600);
    bring(&mut vm, 1_000);
    elastic(&mut vm, 0, 86_400);
    for _ in 0..5 {
        bring(&mut vm, 1_000);
        vm.pass(3 * DAY);
    }
    vm.pass(30 * DAY);
    assert_eq!(take(&mut vm, 0, 9_000), U256::from(1_000), "the limit alone");
}

#[test]
fn credit_of_one_class_pays_nothing_of_another() {
    let mut vm = Vm::new();
    elastic(&mut vm, 0, 3_600);
    elastic(&mut vm, 1, 86_400);
    bring(&mut vm, 6_000);
    assert_eq!(take(&mut vm, 1, 9_000), U256::from(1_000), "the limit alone");
    let credit_of = |class| ICordonLimiter::creditOfCall {
        protocol: VAULT,
        asset: TOKEN,
        class,
        account: ALICE,
    };
    assert_eq!(vm.ok(ALICE, credit_of(0)), U256::from(6_000));
    assert_eq!(vm.ok(ALICE, credit_of(1)), U256::ZERO);
    // Within the transaction no more than beyond it.
    let mut vm = Vm::new();
    let mut other = limit(TOKEN, 1_000);
    other.class = 1;
    vm.ok(GOVERNOR, other);
    let inflow = ICordonLimiter::inflowCall {
        asset: TOKEN,
        class: 0,
        account: ALICE,
        amount: U256::from(6_000),
    };
    vm.ok(VAULT, inflow);
    assert_eq!(take(&mut vm, 1, 9_000), U256::from(1_000), "the limit alone");
}

/// Alice's item of 49,000 units; the vault and another contract have limits of 1,000 each.
fn two_protocols(vm: &mut Vm, rebasing: bool) -> U256 {
    for protocol in [VAULT, HOSTILE] {
        let mut call = limit(TOKEN, 1_000);
        (call.protocol, call.limit.rebasing) = (protocol, rebasing);
        vm.ok(GOVERNOR, call);
    }
    vm.pay(TOKEN, ALICE, 50_000).1
}

fn owed(vm: &mut Vm, item: U256) -> U256 {
    vm.ok(ALICE, ICordonLimiter::itemOfCall { item }).amount
}

const fn claim() -> ICordonLimiter::quarantineCall {
    ICordonLimiter::quarantineCall {
        asset: TOKEN,
        class: 0,
        amount: U256::from_limbs([49_000, 0, 0, 0]),
        recipient: BOB,
    }
}

#[test]
fn who_brings_nothing_takes_nothing() {
    for rebasing in [false, true] {
        let mut vm = Vm::new();
        let item = two_protocols(&mut vm, rebasing);
        // In the transaction in which somebody else has brought it, after it, and with the balance read first.
        vm.refused::<ICordonLimiter::ShortArrival>(HOSTILE, claim());
        vm.pass(0);
        if rebasing {
            vm.refused::<ICordonLimiter::NotMeasured>(HOSTILE, claim());
        } else {
            let short: ICordonLimiter::ShortArrival = vm.refused(HOSTILE, claim());
            assert_eq!((short.amount, short.arrived), (U256::from(49_000), U256::ZERO));
        }
        vm.ok(HOSTILE, ICordonLimiter::expectCall { token: TOKEN });
        vm.refused::<ICordonLimiter::ShortArrival>(HOSTILE, claim());
        // What a rebasing token has gained meanwhile is not theirs either.
        vm.pass(0);
        vm.ledger.borrow_mut().scale(TOKEN, LIMITER, 150);
        if rebasing {
            vm.refused::<ICordonLimiter::NotMeasured>(HOSTILE, claim());
            vm.ok(HOSTILE, ICordonLimiter::expectCall { token: TOKEN });
            vm.refused::<ICordonLimiter::ShortArrival>(HOSTILE, claim());
        }
        // One unit's worth of gains is nobody's.
        assert_eq!(owed(&mut vm, item), U256::from(73_499));
    }
}

#[test]
fn a_loss_of_the_token_is_not_made_good_with_the_next_withdrawal() {
    let mut vm = Vm::new();
    let item = two_protocols(&mut vm, false);
    vm.pass(0);
    vm.ledger.borrow_mut().scale(TOKEN, LIMITER, 80);
    let (passed, his) = vm.pay(TOKEN, BOB, 8_000);
    assert_eq!(passed, 0);
    let close = |amount: U256, wanted: u64| assert!(amount.abs_diff(U256::from(wanted)) <= U256::from(1), "{amount}");
    close(owed(&mut vm, his), 8_000);
    close(owed(&mut vm, item), 49_000 * 8 / 10);

    // By ERC-7265's functions, where nobody has read the balance before the transfer: refused rather than lost.
    let mut vm = Vm::new();
    two_protocols(&mut vm, false);
    vm.pass(0);
    vm.ledger.borrow_mut().scale(TOKEN, LIMITER, 90);
    let pay = || IAssetCircuitBreaker::onTokenOutflowCall {
        token: TOKEN,
        amount: U256::from(8_000),
        recipient: BOB,
    };
    let bring = |vm: &mut Vm| {
        let brought = vm
            .ledger
            .borrow_mut()
            .transfer(TOKEN, VAULT, LIMITER, U256::from(8_000));
        assert!(brought);
    };
    bring(&mut vm);
    let short: ICordonLimiter::ShortArrival = vm.refused(VAULT, pay());
    assert_eq!((short.amount, short.arrived), (U256::from(8_000), U256::from(3_100)));
    // The transfer was part of the transaction that failed.
    vm.ledger
        .borrow_mut()
        .transfer(TOKEN, LIMITER, VAULT, U256::from(8_000));
    vm.ok(BOB, ICordonLimiter::expectCall { token: TOKEN });
    bring(&mut vm);
    vm.ok(VAULT, pay());
    close(owed(&mut vm, U256::from(2)), 8_000);
}

#[test]
fn a_claim_worth_no_share_is_refused_and_a_gift_stops_nobody() {
    let mut vm = Vm::new();
    vm.ok(GOVERNOR, limit(TOKEN, 1));
    let gift = U256::from(1u64 << 50);
    vm.ledger.borrow_mut().give(TOKEN, LIMITER, gift);
    let (_, first) = vm.pay(TOKEN, ALICE, 2);
    assert!(owed(&mut vm, first) >= U256::from(1), "nobody had a share of the gift");
    vm.pass(0);
    vm.ledger.borrow_mut().give(TOKEN, LIMITER, gift);
    let outflow = ICordonLimiter::outflowCall {
        asset: TOKEN,
        class: 0,
        account: BOB,
        amount: U256::from(1),
    };
    assert_eq!(vm.ok(VAULT, outflow), U256::ZERO);
    vm.ledger.borrow_mut().transfer(TOKEN, VAULT, LIMITER, U256::from(1));
    let one = ICordonLimiter::quarantineCall {
        amount: U256::from(1),
        ..claim()
    };
    let diluted: ICordonLimiter::Diluted = vm.refused(VAULT, one);
    assert_eq!(diluted.amount, U256::from(1));
}

const fn set_hold(hold: ICordonLimiter::Hold) -> ICordonLimiter::setHoldCall {
    ICordonLimiter::setHoldCall {
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
        hold,
    }
}

fn hold_of(vm: &mut Vm) -> u8 {
    let call = ICordonLimiter::holdOfCall {
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
    };
    vm.ok(ALICE, call)
}

const fn hold_for(scope: u8, hold: ICordonLimiter::Hold) -> ICordonLimiter::holdForCall {
    ICordonLimiter::holdForCall {
        scope,
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
        hold,
    }
}

const fn let_go(scope: u8, hold: ICordonLimiter::Hold) -> ICordonLimiter::letGoCall {
    ICordonLimiter::letGoCall {
        scope,
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
        hold,
    }
}

fn held_for(vm: &mut Vm, scope: u8) -> u8 {
    let call = ICordonLimiter::heldForCall {
        scope,
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
    };
    vm.ok(ALICE, call)
}

#[test]
fn the_guard_loosens_only_its_own_hold() {
    use ICordonLimiter::Hold::{Full, None, Quarter};
    let mut vm = Vm::new();
    vm.ok(GUARDIAN, set_hold(Full));
    // A keeper's containment, whatever it asks for, and its end.
    vm.ok(GUARD, hold_for(3, Quarter));
    assert_eq!((hold_of(&mut vm), held_for(&mut vm, 3)), (2, 1));
    vm.ok(GUARD, let_go(3, None));
    assert_eq!((hold_of(&mut vm), held_for(&mut vm, 3)), (2, 0));
    // One scope's does not loosen another's either, and a containment never its own.
    let mut vm = Vm::new();
    vm.ok(GUARD, hold_for(0, Full));
    vm.ok(GUARD, hold_for(0, Quarter));
    vm.ok(GUARD, hold_for(3, Quarter));
    vm.ok(GUARD, let_go(3, None));
    assert_eq!((hold_of(&mut vm), held_for(&mut vm, 0)), (2, 2));
    // Stepping down, and no further than it was.
    vm.ok(GUARD, let_go(0, Quarter));
    assert_eq!(hold_of(&mut vm), 1);
    vm.ok(GUARD, let_go(0, Full));
    assert_eq!(hold_of(&mut vm), 1);
    vm.ok(GOVERNOR, set_hold(Full));
    vm.ok(GUARD, let_go(0, None));
    assert_eq!(hold_of(&mut vm), 2, "the governor's stays");
    vm.ok(GOVERNOR, set_hold(None));
    assert_eq!(hold_of(&mut vm), 0);
    for by in [GUARDIAN, GOVERNOR, ALICE] {
        let refused: ICordonLimiter::NotGuard = vm.refused(by, hold_for(0, Quarter));
        assert_eq!(refused.caller, by);
        vm.refused::<ICordonLimiter::NotGuard>(by, let_go(0, Quarter));
    }
    vm.refused::<ICordonLimiter::BadScope>(GUARD, hold_for(128, Quarter));
}

#[test]
fn a_guardians_hold_ends_and_is_taken_back() {
    use ICordonLimiter::Hold::{Full, None, Quarter};
    let mut vm = Vm::new();
    vm.ok(GUARDIAN, set_hold(Full));
    vm.pass(DAY - 1);
    assert_eq!(vm.pay(TOKEN, ALICE, 10).0, 0);
    vm.pass(1);
    assert_eq!(hold_of(&mut vm), 0);
    assert_eq!(vm.pay(TOKEN, ALICE, 10).0, 10, "nobody has to do anything");
    // A mistake lasts for a quarter of an hour.
    vm.ok(GUARDIAN, set_hold(Quarter));
    vm.refused::<ICordonLimiter::NotTighter>(GUARDIAN, set_hold(Quarter));
    vm.ok(GUARDIAN, set_hold(None));
    vm.refused::<ICordonLimiter::NotTighter>(GUARDIAN, set_hold(None));
    vm.pass(899);
    assert_eq!(hold_of(&mut vm), 1);
    vm.pass(1);
    assert_eq!(hold_of(&mut vm), 0);
    // A stolen key that holds whenever it can: 72 hours of the first week, and what comes back meanwhile.
    let mut vm = Vm::new();
    let holders = || ICordonLimiter::holdersOfCall {
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
    };
    let mut held = 0;
    for hour in 0..7 * 24 {
        let _ = vm.call(GUARDIAN, 0, set_hold(Full));
        let holders = vm.ok(ALICE, holders());
        let now = START + hour * 3600;
        held += holders.guardianUntil.clamp(now, now + 3600) - now;
        vm.pass(3600);
    }
    assert!((143 * 3600..=144 * 3600).contains(&held), "{held} s");
}

#[test]
fn what_neither_recipient_nor_protocol_takes_gets_out() {
    let mut vm = Vm::new();
    let (_, wei) = vm.pay(NATIVE, ALICE, 5_000_000);
    let (_, tokens) = vm.pay(TOKEN, ALICE, 5_000_000);
    vm.ledger.borrow_mut().blocked = vec![ALICE, VAULT];
    let instead = |item, to| ICordonLimiter::payInsteadCall { item, to };
    let release = |item| ICordonLimiter::releaseCall { item };
    vm.pass(DAY);
    vm.refused::<ICordonLimiter::PaymentFailed>(BOB, release(wei));
    vm.refused::<ICordonLimiter::TooEarly>(GOVERNOR, instead(tokens, BOB));
    vm.pass(30 * DAY - 1);
    vm.refused::<ICordonLimiter::TooEarly>(VAULT, instead(tokens, BOB));
    vm.pass(1);
    // Value is given to the vault whether it takes it or not: by anyone, and the guard may be dead.
    vm.mood.borrow_mut().silent = true;
    let before = vm.ledger.borrow().of(NATIVE, VAULT);
    vm.ok(BOB, release(wei));
    assert_eq!(vm.ledger.borrow().of(NATIVE, VAULT) - before, U256::from(4_000_000));
    // Tokens that refuse both want a name.
    vm.refused::<ICordonLimiter::PaymentFailed>(BOB, release(tokens));
    vm.refused::<ICordonLimiter::GuardSilent>(GOVERNOR, instead(tokens, BOB));
    vm.mood.borrow_mut().silent = false;
    for stranger in [BOB, GUARDIAN, ALICE] {
        vm.refused::<ICordonLimiter::NotGovernor>(stranger, instead(tokens, BOB));
    }
    vm.refused::<ICordonLimiter::BadRecipient>(GOVERNOR, instead(tokens, LIMITER));
    vm.ok(GOVERNOR, instead(tokens, BOB));
    assert_eq!(vm.ledger.borrow().of(TOKEN, BOB), U256::from(4_000_000));
    assert_eq!((vm.held(TOKEN), vm.held(NATIVE)), (U256::ZERO, U256::ZERO));
}

#[test]
fn a_stolen_governor_key_does_not_name_itself_where_somebody_can_be_paid() {
    let mut vm = Vm::new();
    let (_, hers) = vm.pay(TOKEN, ALICE, 5_000_000);
    let (_, lost) = vm.pay(TOKEN, BOB, 1_000_000);
    vm.pass(300 * DAY);
    vm.ledger.borrow_mut().blocked = vec![BOB];
    let instead = |item| ICordonLimiter::payInsteadCall { item, to: GOVERNOR };
    vm.mock.gas = 400_000;
    vm.refused::<ICordonLimiter::GasBelowFloor>(GOVERNOR, instead(hers));
    vm.mock.gas = u64::MAX;
    for item in [hers, lost] {
        vm.ok(GOVERNOR, instead(item));
    }
    assert_eq!(vm.ledger.borrow().of(TOKEN, GOVERNOR), U256::ZERO);
    assert_eq!(vm.ledger.borrow().of(TOKEN, ALICE), U256::from(5_000_000));
}

#[test]
fn loot_goes_back_to_a_protocol_that_takes_no_value() {
    let mut vm = Vm::new();
    let (_, loot) = vm.pay(NATIVE, ALICE, 5_000_000);
    vm.ledger.borrow_mut().blocked = vec![VAULT];
    vm.mood.borrow_mut().contained = true;
    vm.ok(GOVERNOR, ICordonLimiter::giveBackCall { item: loot });
    assert_eq!(vm.held(NATIVE), U256::ZERO);
}
