//! Attacks that once succeeded, on the program natively: each shows what the attacker gets now.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{Vm, ALICE, BOB, DEPLOYER, GOVERNOR, GUARD, GUARDIAN, TOKEN};
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
