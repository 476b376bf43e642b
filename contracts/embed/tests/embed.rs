//! The embedded hooks on the mock VM.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolError;
use cordon_core::{
    level::{permission, Permission},
    scope::CEILING,
    Action, Level, Matrix,
};
use cordon_embed::{
    bind, enter, enter_under, exit, guard, level_of, set_level, ActionClosed, AlreadyBound, BadLevel, BadScope,
    CeilingReached, NotTheGuard, Outcome, Refusal, RuleFailed, RuleUndecided, SCOPES,
};
use cordon_host::{mock::MockHost, Host};

const GUARD: Address = Address::repeat_byte(0x9a);
const ANYONE: Address = Address::repeat_byte(0x11);
const START: u64 = 1_700_000_000;

fn bound() -> MockHost {
    let mut host = MockHost::at(START);
    bind(&mut host, GUARD).unwrap();
    host.sender = GUARD;
    host
}

fn refused<E: SolError, T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> E {
    E::abi_decode(&outcome.unwrap_err().into_data()).unwrap()
}

#[test]
fn a_protocol_may_close_more_by_a_matrix_of_its_own() {
    let matrix = Matrix::DEFAULT.closing(Level::Throttled, Action::Increase).unwrap();
    let mut host = bound();
    let _ = enter_under(&host, matrix, [1, 0, 0], Action::Increase).unwrap();
    set_level(&mut host, 1, Level::Throttled as u8).unwrap();
    let _ = enter(&host, [1, 0, 0], Action::Increase).unwrap();
    let closed: ActionClosed = refused(enter_under(&host, matrix, [1, 0, 0], Action::Increase));
    assert_eq!((closed.scope, closed.level, closed.action), (1, 1, 3));
    let _ = enter_under(&host, matrix, [1, 0, 0], Action::Repay).unwrap();
    let _ = enter_under(&host, matrix, [2, 0, 0], Action::Increase).unwrap();
}

#[test]
fn every_level_and_action_is_answered_by_the_matrix() {
    for level in [Level::Normal, Level::Throttled, Level::ReduceOnly, Level::Halted] {
        for action in Action::ALL {
            for scope in 0..SCOPES {
                let mut host = bound();
                set_level(&mut host, scope, level as u8).unwrap();
                assert_eq!(level_of(&host, scope), level as u8);
                let named = [scope, 0, 0];
                let wanted = permission(level, action);
                match enter(&host, named, action) {
                    Ok(call) => {
                        assert!(wanted.passes());
                        assert_eq!(call.granted(), wanted);
                    }
                    Err(refusal) => {
                        assert!(!wanted.passes(), "{level:?} {action:?}");
                        let closed = ActionClosed::abi_decode(&refusal.into_data()).unwrap();
                        assert_eq!(
                            (closed.scope, closed.level, closed.action),
                            (scope, level as u8, action as u8)
                        );
                    }
                }
                // Another scope is not touched, unless it is the whole protocol.
                let other = [(scope + 1) % SCOPES, 0, 0];
                assert!(scope == 0 || enter(&host, other, Action::Deposit).is_ok());
            }
        }
    }
}

#[test]
fn scopes_do_not_disturb_each_other() {
    let mut host = bound();
    for (scope, level) in [(0, 1), (1, 2), (2, 3), (3, 1), (4, 2)] {
        set_level(&mut host, scope, level).unwrap();
    }
    assert_eq!(
        (0..SCOPES).map(|scope| level_of(&host, scope)).collect::<Vec<_>>(),
        [1, 2, 3, 1, 2]
    );
    host.now += 10;
    set_level(&mut host, 2, 0).unwrap();
    assert_eq!(
        (0..SCOPES).map(|scope| level_of(&host, scope)).collect::<Vec<_>>(),
        [1, 2, 4, 1, 2]
    );
    host.now += 10;
    assert_eq!(level_of(&host, 2), 0, "grace lasts as long as the level did");
}

/// The guard is replaced by a thief, or nobody ever undoes: the protocol opens by itself, and was never closed for repayment.
#[test]
fn whatever_the_guard_does_a_level_ends_and_repayment_stays_open() {
    let mut host = bound();
    for day in 0..7 {
        for level in [2, 3, 1, 3] {
            set_level(&mut host, 0, level).unwrap();
            assert!(enter(&host, [0; 3], Action::Repay).is_ok());
        }
        host.now = START + (day + 1) * 24 * 3600 - 1;
    }
    assert_eq!(level_of(&host, 0), Level::Halted as u8);
    host.now = START + u64::from(CEILING);
    assert_eq!(level_of(&host, 0), Level::Normal as u8);
    assert!(enter(&host, [0; 3], Action::Withdraw).is_ok());
}

/// A thief undoes and raises again in one transaction, as often as he likes: that wins him nothing, and only time at Normal does.
#[test]
fn undoing_and_raising_again_does_not_prolong_what_ends() {
    for every in [600, 3600, 24 * 3600, 6 * 24 * 3600] {
        let mut host = bound();
        set_level(&mut host, 0, 3).unwrap();
        while host.now + every < START + u64::from(CEILING) {
            host.now += every;
            set_level(&mut host, 0, 0).unwrap();
            if set_level(&mut host, 0, 3).is_err() {
                break;
            }
        }
        // Hours are counted whole: it may end up to one hour early for each undoing, never late.
        host.now = START + u64::from(CEILING);
        assert!(matches!(level_of(&host, 0), 0 | 4), "{every}");
        assert!(enter(&host, [0; 3], Action::Withdraw).is_ok());
        host.now += 3600;
        assert_eq!(level_of(&host, 0), Level::Normal as u8);
    }
}

#[test]
fn time_at_normal_gives_back_what_was_used_up() {
    let mut host = bound();
    let ceiling = u64::from(CEILING);
    set_level(&mut host, 1, 3).unwrap();
    host.now += ceiling;
    assert_eq!(level_of(&host, 1), Level::Normal as u8);
    let told: CeilingReached = refused(set_level(&mut host, 1, 2));
    assert_eq!((told.scope, told.notBefore), (1, host.now + 3600));
    // It is the first moment at which it passes, and then for an hour.
    let ended = host.now;
    host.now = told.notBefore - 1;
    let again: CeilingReached = refused(set_level(&mut host, 1, 2));
    assert_eq!(again.notBefore, told.notBefore);
    let mut early = bound();
    early.storage = host.storage.clone();
    early.cache = host.cache.clone();
    early.now = told.notBefore;
    set_level(&mut early, 1, 2).unwrap();
    host.now = ended + 2 * 3600;
    set_level(&mut host, 1, 2).unwrap();
    host.now += 2 * 3600 - 1;
    assert_eq!(level_of(&host, 1), Level::ReduceOnly as u8);
    host.now += 1;
    assert_eq!(level_of(&host, 1), Level::Normal as u8);
    host.now += ceiling;
    set_level(&mut host, 1, 2).unwrap();
    host.now += ceiling - 1;
    assert_eq!(level_of(&host, 1), Level::ReduceOnly as u8);
}

#[test]
fn strangers_set_nothing_and_the_guard_is_named_once() {
    let mut host = bound();
    assert_eq!(guard(&host), GUARD);
    refused::<AlreadyBound, _>(bind(&mut host, ANYONE));
    for sender in [ANYONE, Address::ZERO] {
        host.sender = sender;
        assert_eq!(refused::<NotTheGuard, _>(set_level(&mut host, 1, 3)).caller, sender);
    }
    host.sender = GUARD;
    assert_eq!(refused::<BadScope, _>(set_level(&mut host, SCOPES, 3)).scope, SCOPES);
    for level in [4, 5, 255] {
        assert_eq!(refused::<BadLevel, _>(set_level(&mut host, 1, level)).level, level);
    }
    refused::<BadScope, _>(enter(&host, [1, 9, 0], Action::Repay));
    let mut fresh = MockHost::at(START);
    refused::<NotTheGuard, _>(bind(&mut fresh, Address::ZERO));
    // Before a guard is named nobody is one, and nothing is closed.
    refused::<NotTheGuard, _>(set_level(&mut fresh, 1, 3));
    assert_eq!(
        enter(&fresh, [1, 0, 0], Action::Deposit).unwrap().granted(),
        Permission::Open
    );
}

#[test]
fn rules_refuse_when_breached_and_when_undecided_if_risk_is_added() {
    let host = bound();
    let run = |action, outcomes: &[Outcome]| exit(enter(&host, [1, 0, 0], action).unwrap(), outcomes.iter().copied());
    let (six, seven) = (U256::from(6), U256::from(7));
    let holds = [
        Outcome::at_most(1, 1, seven, seven),
        Outcome::at_least(0, 2, seven, seven),
    ];
    run(Action::Withdraw, &holds).unwrap();
    for breached in [Outcome::at_most(1, 2, seven, six), Outcome::at_least(1, 2, six, seven)] {
        let failed: RuleFailed = refused(run(Action::Withdraw, &[holds[0], breached]));
        assert_eq!((failed.scope, failed.rule), (1, 2));
        assert_eq!((failed.observed, failed.bound), (breached.observed, breached.bound));
        run(Action::Repay, &[breached]).unwrap();
    }
    run(Action::Repay, &[Outcome::undecided(1, 7)]).unwrap();
    let unknown: RuleUndecided = refused(run(Action::Withdraw, &[Outcome::undecided(1, 7)]));
    assert_eq!((unknown.scope, unknown.rule), (1, 7));
}

#[test]
fn a_quiet_day_costs_one_read_and_no_write() {
    let host = bound();
    host.loads.set(0);
    let before = host.cache.clone();
    exit(enter(&host, [1, 2, 3], Action::Withdraw).unwrap(), []).unwrap();
    assert_eq!(host.loads.get(), 1);
    assert!(host.cache == before && host.calls.is_empty() && host.transient.is_empty());
    assert_eq!(host.load(&B256::ZERO), B256::ZERO, "no slot of the protocol is used");
}
