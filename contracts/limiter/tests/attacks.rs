//! Attacks that once succeeded, on the program natively: each shows what the attacker gets now.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{keccak256, B256};
use alloy_sol_types::SolCall;
use common::{limit, Vm, ALICE, BOB, DAY, DEPLOYER, GOVERNOR, GUARD, GUARDIAN, TOKEN};
use cordon_limiter::abi::ICordonLimiter;

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
