//! The limiter's program, natively: whatever is called in whatever order, it stays solvent and lets everything out in the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod common;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use common::{limit, Mood, Vm, ALICE, BOB, DAY, GOVERNOR, GUARD, GUARDIAN, NATIVE, OTHER, START, TOKEN, VAULT};
use cordon_core::quarantine::{MAX_HOLD, STALE};
use cordon_limiter::abi::{IAssetCircuitBreaker, ICordonLimiter};
use cordon_limiter::dispatch;

const ASSETS: [Address; 3] = [TOKEN, OTHER, NATIVE];

const fn release(item: U256) -> ICordonLimiter::releaseCall {
    ICordonLimiter::releaseCall { item }
}

/// A deterministic stream of numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Anything that anybody may try.
fn step(vm: &mut Vm, dice: &mut Dice, items: &mut Vec<U256>) {
    let asset = ASSETS[dice.next(3) as usize];
    let who = [ALICE, BOB][dice.next(2) as usize];
    let sender = [ALICE, GUARDIAN, GOVERNOR, VAULT, GUARD][dice.next(5) as usize];
    let item = U256::from(dice.next(items.len() as u64 + 2));
    match dice.next(11) {
        0..=2 => {
            let (_, item) = vm.pay(asset, who, u128::from(dice.next(3_000_000)));
            items.extend((!item.is_zero()).then_some(item));
        }
        3 => {
            let _ = vm.call(sender, 0, release(item));
        }
        4 => {
            let _ = vm.call(sender, 0, ICordonLimiter::releaseEarlyCall { item });
        }
        5 => {
            let _ = vm.call(sender, 0, ICordonLimiter::holdCall { item });
        }
        6 => {
            let _ = vm.call(sender, 0, ICordonLimiter::giveBackCall { item });
        }
        7 => {
            let hold = ICordonLimiter::Hold::try_from(dice.next(3) as u8).unwrap();
            let call = ICordonLimiter::setHoldCall {
                protocol: VAULT,
                asset,
                class: 0,
                hold,
            };
            let _ = vm.call(sender, 0, call);
        }
        8 => {
            let hold = ICordonLimiter::Hold::try_from(dice.next(3) as u8).unwrap();
            let (scope, protocol, class) = (dice.next(130) as u8, VAULT, 0);
            let _ = if dice.next(2) == 0 {
                let call = ICordonLimiter::holdForCall {
                    scope,
                    protocol,
                    asset,
                    class,
                    hold,
                };
                vm.call(sender, 0, call).is_ok()
            } else {
                let call = ICordonLimiter::letGoCall {
                    scope,
                    protocol,
                    asset,
                    class,
                    hold,
                };
                vm.call(sender, 0, call).is_ok()
            };
        }
        9 => {
            let blocked = if dice.next(4) == 0 { vec![who] } else { vec![] };
            vm.ledger.borrow_mut().blocked = blocked;
            *vm.mood.borrow_mut() = Mood {
                contained: dice.next(2) == 0,
                everything: dice.next(4) == 0,
                is_sealed: dice.next(2) == 0,
                silent: dice.next(5) == 0,
            };
        }
        _ => vm.pass(dice.next(DAY)),
    }
}

/// What all items of an asset are owed.
fn owed(vm: &mut Vm, asset: Address, items: &[U256]) -> U256 {
    let mut sum = U256::ZERO;
    for item in items {
        let of = vm.ok(ALICE, ICordonLimiter::itemOfCall { item: *item });
        if of.asset == asset {
            sum += of.amount;
        }
    }
    sum
}

#[test]
fn from_any_state_everything_gets_out() {
    for seed in 1..=25 {
        let (mut vm, mut dice, mut items) = (Vm::new(), Dice(seed), Vec::new());
        for _ in 0..120 {
            step(&mut vm, &mut dice, &mut items);
            vm.pass(1);
            for asset in ASSETS {
                assert_eq!(
                    owed(&mut vm, asset, &items),
                    vm.held(asset),
                    "seed {seed}: what is held is owed, to the unit"
                );
            }
        }
        // Neither Alice nor the vault can be paid: the governor names who takes it, whenever it may.
        if seed % 2 == 0 {
            *vm.mood.borrow_mut() = Mood::default();
            vm.ledger.borrow_mut().blocked = vec![ALICE, VAULT];
            vm.pass(DAY + u64::from(MAX_HOLD) + u64::from(STALE));
            for item in &items {
                let (item, to) = (*item, BOB);
                let _ = vm.call(GOVERNOR, 0, ICordonLimiter::payInsteadCall { item, to });
            }
            for asset in ASSETS {
                assert_eq!(vm.held(asset), U256::ZERO, "seed {seed}: nothing is left behind");
            }
            continue;
        }
        // The guard is dead, Alice cannot be paid, and nobody helps.
        *vm.mood.borrow_mut() = Mood {
            silent: true,
            ..Mood::default()
        };
        vm.ledger.borrow_mut().blocked = vec![ALICE];
        vm.pass(DAY + u64::from(MAX_HOLD) + u64::from(STALE));
        for item in &items {
            let _ = vm.call(BOB, 0, release(*item));
        }
        for asset in ASSETS {
            assert_eq!(vm.held(asset), U256::ZERO, "seed {seed}: nothing is left behind");
        }
    }
}

#[test]
fn the_limit_is_additive_over_transactions() {
    let amounts = [1u128, 400_000, 0, 599_998, 1, 1, 250_000];
    let (mut parts, mut whole) = (Vm::new(), Vm::new());
    let passed: u128 = amounts.iter().map(|amount| parts.pay(TOKEN, ALICE, *amount).0).sum();
    assert_eq!(passed, whole.pay(TOKEN, ALICE, amounts.iter().sum()).0);
    assert_eq!(passed, 1_000_000);
    assert_eq!(
        parts.pay(OTHER, ALICE, 1_000_000).0,
        1_000_000,
        "another asset's limit is untouched"
    );
}

#[test]
fn an_outflow_is_one_read_and_one_write() {
    let mut vm = Vm::new();
    vm.pay(TOKEN, ALICE, 5);
    vm.mock.begin(VAULT);
    let call = ICordonLimiter::outflowCall {
        asset: TOKEN,
        class: 0,
        account: ALICE,
        amount: U256::from(5),
    };
    dispatch(&mut vm, &call.abi_encode()).unwrap();
    assert_eq!((vm.mock.loads.get(), vm.mock.cache.len()), (1, 1));
    assert!(vm.mock.calls.is_empty());
}

#[test]
fn a_silent_guard_stops_nobody_from_being_paid_when_due() {
    let mut vm = Vm::new();
    let (_, item) = vm.pay(TOKEN, ALICE, 1_500_000);
    vm.mood.borrow_mut().silent = true;
    vm.refused::<ICordonLimiter::GuardSilent>(GUARDIAN, ICordonLimiter::releaseEarlyCall { item });
    vm.refused::<ICordonLimiter::GuardSilent>(GOVERNOR, limit(TOKEN, 1));
    let early: ICordonLimiter::TooEarly = vm.refused(ALICE, release(item));
    assert_eq!(early.until, START + DAY);
    vm.pass(DAY);
    vm.ok(BOB, release(item));
    assert_eq!(vm.ledger.borrow().of(TOKEN, ALICE), U256::from(1_500_000));
}

#[test]
fn calldata_that_is_not_of_the_abi_is_refused_without_data() {
    let mut vm = Vm::new();
    let outflow = ICordonLimiter::outflowCall {
        asset: TOKEN,
        class: 0,
        account: ALICE,
        amount: U256::from(5),
    };
    let whole = outflow.abi_encode();
    let mut dirty = whole.clone();
    dirty[4] = 1;
    let mut wide = whole.clone();
    wide[4 + 32 + 30] = 1;
    for input in [
        vec![],
        vec![1, 2, 3],
        vec![0; 4],
        whole[..whole.len() - 1].to_vec(),
        dirty,
        wide,
    ] {
        vm.mock.begin(VAULT);
        let refusal = dispatch(&mut vm, &input).expect_err("refused");
        assert_eq!(refusal.data(), &[] as &[u8], "{input:x?}");
    }
    // Value where none is taken, and the native asset where a token is named.
    vm.ledger.borrow_mut().give(NATIVE, ALICE, U256::from(10));
    assert_eq!(vm.call(ALICE, 5, outflow).err(), Some(vec![]));
    let native = IAssetCircuitBreaker::onTokenInflowCall {
        token: NATIVE,
        amount: U256::from(1),
    };
    assert_eq!(vm.call(VAULT, 0, native).err(), Some(vec![]));
}

#[test]
fn an_announcement_is_for_one_call_and_once() {
    let mut vm = Vm::new();
    vm.mood.borrow_mut().is_sealed = true;
    let wider = || limit(TOKEN, 5_000_000);
    let hash: B256 = vm.refused::<ICordonLimiter::NotAnnounced>(GOVERNOR, wider()).actionHash;
    vm.ok(GOVERNOR, ICordonLimiter::announceCall { actionHash: hash });
    vm.refused::<ICordonLimiter::AnnouncementPending>(GOVERNOR, wider());
    vm.pass(3600);
    vm.refused::<ICordonLimiter::NotAnnounced>(GOVERNOR, limit(TOKEN, 5_000_001));
    vm.ok(GOVERNOR, wider());
    vm.ok(GOVERNOR, limit(TOKEN, 4_000_000));
    vm.refused::<ICordonLimiter::NotAnnounced>(GOVERNOR, wider());
}

#[test]
fn a_limit_is_taken_away_after_its_announcement() {
    let mut vm = Vm::new();
    let remove = |asset| ICordonLimiter::removeLimitCall {
        protocol: VAULT,
        asset,
        class: 0,
    };
    let (_, item) = vm.pay(TOKEN, ALICE, 5_000_000);
    vm.refused::<ICordonLimiter::NotGovernor>(GUARDIAN, remove(TOKEN));
    vm.refused::<ICordonLimiter::NotLimited>(GOVERNOR, remove(ALICE));
    vm.mood.borrow_mut().is_sealed = true;
    let hash: B256 = vm
        .refused::<ICordonLimiter::NotAnnounced>(GOVERNOR, remove(TOKEN))
        .actionHash;
    vm.ok(GOVERNOR, ICordonLimiter::announceCall { actionHash: hash });
    vm.pass(3600);
    vm.ok(GUARD, hold_for());
    assert_eq!(vm.pay(TOKEN, ALICE, 1).0, 0);
    vm.ok(GOVERNOR, remove(TOKEN));
    assert_eq!(vm.pay(TOKEN, ALICE, 50_000_000).0, 50_000_000, "whatever held it");
    assert_eq!(vm.pay(OTHER, ALICE, 5_000_000).0, 1_000_000, "other limits stay");
    let shown = vm.ok(
        ALICE,
        ICordonLimiter::limitOfCall {
            protocol: VAULT,
            asset: TOKEN,
            class: 0,
        },
    );
    assert_eq!((shown.limit.units, shown.available), (0, U256::from(u128::MAX)));
    vm.pass(DAY);
    vm.ok(BOB, release(item));
    // Setting it again tightens, and what held it still does.
    vm.ok(GOVERNOR, limit(TOKEN, 7));
    assert_eq!(vm.pay(TOKEN, ALICE, 5).0, 0);
    vm.ok(
        GUARD,
        ICordonLimiter::letGoCall {
            scope: 1,
            protocol: VAULT,
            asset: TOKEN,
            class: 0,
            hold: ICordonLimiter::Hold::None,
        },
    );
    assert_eq!(vm.pay(TOKEN, ALICE, 5).0, 5);
}

const fn hold_for() -> ICordonLimiter::holdForCall {
    ICordonLimiter::holdForCall {
        scope: 1,
        protocol: VAULT,
        asset: TOKEN,
        class: 0,
        hold: ICordonLimiter::Hold::Full,
    }
}
