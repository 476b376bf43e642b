//! Set-up, roles, announcements, rulebook and logic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{keccak256, Address, B256, U256};
use alloy_sol_types::{SolCall, SolError};
use common::{
    rules, Abi, World, ADMIN, ANYONE, BOOK, CONTAIN, GOVERNOR, GUARDIAN, HOOKS, INSPECT, KEEPER, LOGIC, PROGRAMS,
    RECOVER, VAULT,
};
use cordon_core::{
    rule::Verdict,
    rulebook::{Rulebook, Scope, ScopeKind},
    Action, Level, Matrix,
};
use cordon_host::{
    layout::{self, Caller},
    mock::MockHost,
    Host,
};
use cordon_logic::{respond_or_hand_on, Guard};

const NEW: Address = Address::repeat_byte(0x77);

#[test]
fn set_up_happens_once_and_wants_a_program_and_a_governor() {
    let mut world = World::new();
    world.as_refused::<Abi::AlreadyInitialized, _>(GOVERNOR, |guard| guard.initialize(&PROGRAMS, GOVERNOR, 3600));
    let fresh = || {
        let mut host = MockHost::at(common::START);
        host.data_account(LOGIC, &[0xef, 0xf0, 0, 0, 1]);
        host.data_account(ADMIN, &[0xef, 0xf0, 0, 0, 2]);
        host.data_account(RECOVER, &[0xef, 0xf0, 0, 0, 3]);
        host.data_account(HOOKS, &[0xef, 0xf0, 0, 0, 4]);
        host.data_account(CONTAIN, &[0xef, 0xf0, 0, 0, 5]);
        host.data_account(INSPECT, &[0xef, 0xf0, 0, 0, 6]);
        host.data_account(BOOK, &[0x60, 0x00]);
        Guard::new(host)
    };
    world.refused::<Abi::NotAProgram, _>(fresh().initialize(
        &[ANYONE, HOOKS, RECOVER, ADMIN, CONTAIN, INSPECT],
        GOVERNOR,
        3600,
    ));
    world.refused::<Abi::NotAProgram, _>(fresh().initialize(
        &[BOOK, HOOKS, RECOVER, ADMIN, CONTAIN, INSPECT],
        GOVERNOR,
        3600,
    ));
    world.refused::<Abi::NoGovernor, _>(fresh().initialize(&PROGRAMS, Address::ZERO, 0));
    let short: Abi::DurationTooShort = world.refused(fresh().initialize(&PROGRAMS, GOVERNOR, 3599));
    assert_eq!((short.wanted, short.least), (3599, 3600));
    world.refused::<Abi::DurationBeyondRole, _>(fresh().initialize(&PROGRAMS, GOVERNOR, 31 * 24 * 3600));
    world.refused::<Abi::NotAProgram, _>(fresh().initialize(
        &[LOGIC, HOOKS, RECOVER, ANYONE, CONTAIN, INSPECT],
        GOVERNOR,
        3600,
    ));
    world.refused::<Abi::NotAProgram, _>(fresh().initialize(
        &[LOGIC, HOOKS, RECOVER, ADMIN, ANYONE, INSPECT],
        GOVERNOR,
        3600,
    ));
    fresh().initialize(&PROGRAMS, GOVERNOR, 3600).unwrap();
}

#[test]
fn once_sealed_what_loosens_waits_for_its_announcement() {
    let mut world = World::new();
    let call = Abi::setRoleCall {
        role: Abi::Role::Guardian,
        account: NEW,
        granted: true,
    };
    let missing: Abi::NotAnnounced = world.as_refused(GOVERNOR, |guard| guard.set_role(0, NEW, true));
    assert_eq!(missing.actionHash, keccak256(call.abi_encode()));
    world.as_(GOVERNOR).announce(missing.actionHash).unwrap();
    world.pass(3599);
    world.as_refused::<Abi::AnnouncementPending, _>(GOVERNOR, |guard| guard.set_role(0, NEW, true));
    world.pass(1);
    world.as_(GOVERNOR).set_role(0, NEW, true).unwrap();
    world.done();
    assert!(world.guard.has_role(0, &NEW));
    // Revoking tightens: at once. Granting again needs a new announcement.
    world.as_(GOVERNOR).set_role(0, NEW, false).unwrap();
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_role(0, NEW, true));
    for outcome in [
        world.as_(GOVERNOR).propose_governor(NEW),
        world.as_(GOVERNOR).adopt_rulebook(BOOK, B256::ZERO),
        world.as_(GOVERNOR).set_logic(&PROGRAMS, B256::ZERO),
    ] {
        world.refused::<Abi::NotAnnounced, _>(outcome);
    }
}

#[test]
fn an_announcement_can_be_taken_back_and_grows_stale() {
    let mut world = World::new();
    let hash = B256::repeat_byte(5);
    world.as_refused::<Abi::NotGovernor, _>(GUARDIAN, |guard| guard.announce(hash));
    world.as_(GOVERNOR).announce(hash).unwrap();
    let missing: Abi::MissingRole = world.as_refused(KEEPER, |guard| guard.cancel_announcement(hash));
    assert_eq!((missing.role as u8, missing.caller), (3, KEEPER));
    world.as_(GUARDIAN).cancel_announcement(hash).unwrap();
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.cancel_announcement(hash));
    let codes = world.codes(&PROGRAMS);
    let call = Abi::setLogicCall {
        programs: PROGRAMS,
        codes,
    };
    world.as_(GOVERNOR).announce(keccak256(call.abi_encode())).unwrap();
    world.pass(3600 + 14 * 24 * 3600 + 1);
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_logic(&PROGRAMS, codes));
}

/// A thief with the governor's key revokes the guardian who would stop him, and waits.
#[test]
fn a_revoked_guardian_still_vetoes_and_does_nothing_else() {
    let mut world = World::new();
    let grant = keccak256(
        Abi::setRoleCall {
            role: Abi::Role::Keeper,
            account: ANYONE,
            granted: true,
        }
        .abi_encode(),
    );
    world.as_(GOVERNOR).announce(grant).unwrap();
    world.as_(GOVERNOR).set_role(0, GUARDIAN, false).unwrap();
    world.done();
    assert!(!world.guard.has_role(0, &GUARDIAN) && world.guard.has_role(3, &GUARDIAN));
    world.as_refused::<Abi::MissingRole, _>(GUARDIAN, |guard| guard.contain(1, 1, 60, B256::ZERO));
    world.as_refused::<Abi::MissingRole, _>(GUARDIAN, |guard| guard.queue_release(1));
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_role(3, GUARDIAN, false));
    world.as_(GUARDIAN).cancel_announcement(grant).unwrap();
    world.pass(3600);
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_role(1, ANYONE, true));
}

/// A thief with a guardian's key cancels whatever the governor announces, the end of his own veto above all.
#[test]
fn nobody_keeps_his_own_veto_and_another_guardian_keeps_it_for_him() {
    let mut world = World::new();
    let grant = Abi::setRoleCall {
        role: Abi::Role::Guardian,
        account: NEW,
        granted: true,
    };
    world.announce(&grant);
    world.as_(GOVERNOR).set_role(0, NEW, true).unwrap();
    world.done();
    assert!(world.guard.has_role(3, &NEW));
    let end = Abi::setRoleCall {
        role: Abi::Role::Veto,
        account: GUARDIAN,
        granted: false,
    };
    let hash = keccak256(end.abi_encode());
    world.as_(GOVERNOR).announce(hash).unwrap();
    let own: Abi::OwnVeto = world.as_refused(GUARDIAN, |guard| guard.cancel_announcement(hash));
    assert_eq!(own.account, GUARDIAN);
    world.as_(NEW).cancel_announcement(hash).unwrap();
    world.announce(&end);
    world.as_refused::<Abi::OwnVeto, _>(GUARDIAN, |guard| guard.cancel_announcement(hash));
    world.as_(GOVERNOR).set_role(3, GUARDIAN, false).unwrap();
    world.done();
    let any = B256::repeat_byte(5);
    world.as_(GOVERNOR).announce(any).unwrap();
    world.as_refused::<Abi::MissingRole, _>(GUARDIAN, |guard| guard.cancel_announcement(any));
}

#[test]
fn a_guardian_named_by_mistake_in_the_set_up_leaves_no_veto() {
    let mut world = World::unsealed();
    world.as_(GOVERNOR).set_role(0, NEW, true).unwrap();
    world.as_(GOVERNOR).set_role(0, NEW, false).unwrap();
    world.done();
    assert!(!world.guard.has_role(0, &NEW) && !world.guard.has_role(3, &NEW));
}

/// The rulebook is put at the announced address after people have looked at it.
#[test]
fn an_announced_rulebook_is_adopted_with_its_code_only() {
    let mut world = World::new();
    let code = common::book().encode().unwrap();
    let code_hash = keccak256(&code);
    world.announce(&Abi::adoptRulebookCall {
        book: NEW,
        codeHash: code_hash,
    });
    let wrong: Abi::WrongCode = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(NEW, code_hash));
    assert_eq!(wrong.account, NEW);
    let mut other = common::book();
    other.callers = vec![ANYONE];
    world.guard.host.data_account(NEW, &other.encode().unwrap());
    world.as_refused::<Abi::WrongCode, _>(GOVERNOR, |guard| guard.adopt_rulebook(NEW, code_hash));
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.adopt_rulebook(NEW, B256::ZERO));
    world.guard.host.data_account(NEW, &code);
    world.as_(GOVERNOR).adopt_rulebook(NEW, code_hash).unwrap();
}

/// Whoever steals the keeper's key must not be able to say that the keeper lives.
#[test]
fn no_account_is_keeper_and_heartbeat() {
    let mut world = World::unsealed();
    for (role, account) in [(2, KEEPER), (1, common::BEATER)] {
        let refused: Abi::KeysNotApart = world.as_refused(GOVERNOR, |guard| guard.set_role(role, account, true));
        assert_eq!(refused.account, account);
        assert!(!world.guard.has_role(role, &account));
        // Having one of them is no hindrance to being asked for it again, or to another role.
        world.as_(GOVERNOR).set_role(3 - role, account, true).unwrap();
        world.as_(GOVERNOR).set_role(0, account, true).unwrap();
        world.done();
    }
    // Who may contain anyhow would never come to use a seal.
    for (role, account) in [(4, KEEPER), (4, GUARDIAN)] {
        world.as_refused::<Abi::KeysNotApart, _>(GOVERNOR, |guard| guard.set_role(role, account, true));
    }
    world.as_(GOVERNOR).set_role(4, ANYONE, true).unwrap();
    world.done();
    for role in [0, 1] {
        world.as_refused::<Abi::KeysNotApart, _>(GOVERNOR, |guard| guard.set_role(role, ANYONE, true));
    }
    // One after the other is fine.
    world.as_(GOVERNOR).set_role(1, KEEPER, false).unwrap();
    world.as_(GOVERNOR).set_role(2, KEEPER, true).unwrap();
    world.done();
    assert!(world.guard.has_role(2, &KEEPER));
}

/// Scopes are numbers: by another order of them in an incident, what is contained would open, and what is not would close.
#[test]
fn no_scope_changes_its_number_in_an_incident() {
    let mut world = World::unsealed();
    world.adopt(&common::book());
    let as_they_are = common::book().scopes;
    let swapped = vec![as_they_are[0], as_they_are[2], as_they_are[1]];
    let shorter = vec![as_they_are[0], as_they_are[1]];
    let mut renamed = as_they_are.clone();
    renamed[2] = Scope::new(ScopeKind::Market, "renamed");
    let mut longer = as_they_are.clone();
    longer.push(Scope::new(ScopeKind::Asset, "more"));
    let mut kind = as_they_are.clone();
    kind[2] = Scope::new(ScopeKind::Asset, "other");
    let with = |scopes: &Vec<Scope>| {
        let scopes = scopes.clone();
        let mut book = common::book();
        book.rules.retain(|rule| usize::from(rule.scope) < scopes.len());
        Rulebook { scopes, ..book }
    };
    let moved = |world: &mut World, scopes: &Vec<Scope>| {
        let code = with(scopes).encode().unwrap();
        world.guard.host.data_account(NEW, &code);
        let refused: Abi::ScopeMoved = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(NEW, keccak256(&code)));
        refused.scope
    };
    // A scope without a containment call, by the governor, who would gain nothing by it.
    world
        .as_(GOVERNOR)
        .contain(2, Level::Halted as u8, 86_400, B256::ZERO)
        .unwrap();
    world.done();
    assert_eq!(moved(&mut world, &swapped), 2);
    assert_eq!(moved(&mut world, &shorter), 2);
    assert_eq!(moved(&mut world, &renamed), 2);
    for scopes in [&longer, &kind, &as_they_are] {
        world.adopt(&with(scopes));
        assert_eq!(world.level(2), Level::Halted);
    }
    // Until it is settled: expiry alone is not the end of what the guard did.
    world.pass(5 * 24 * common::HOUR);
    assert_eq!(world.level(2), Level::Normal);
    assert_eq!(moved(&mut world, &renamed), 2);
    world.as_(ANYONE).settle(2).unwrap();
    world.done();
    world.adopt(&with(&renamed));

    // With a containment call in force no scope changes its number, for calls know theirs by it.
    world.adopt(&common::book());
    world
        .as_(GOVERNOR)
        .contain(1, Level::ReduceOnly as u8, 3_600, B256::ZERO)
        .unwrap();
    world.done();
    assert!(world.market.closed.get());
    assert_eq!(moved(&mut world, &renamed), 2);
    assert_eq!(moved(&mut world, &swapped), 1);
    world.pass(24 * common::HOUR);
    world.as_(ANYONE).settle(1).unwrap();
    world.done();
    world.adopt(&with(&swapped));
}

#[test]
fn a_governor_is_proposed_and_accepts() {
    let mut world = World::new();
    world.as_refused::<Abi::NotGovernor, _>(NEW, |guard| guard.accept_governor());
    world.announce(&Abi::proposeGovernorCall { governor: NEW });
    world.as_(GOVERNOR).propose_governor(NEW).unwrap();
    world.done();
    assert_eq!(world.guard.governor(), (GOVERNOR, NEW, 3600, true));
    world.as_refused::<Abi::NotGovernor, _>(ANYONE, |guard| guard.accept_governor());
    world.as_(NEW).accept_governor().unwrap();
    world.done();
    assert_eq!(world.guard.governor(), (NEW, Address::ZERO, 3600, true));
    world.as_refused::<Abi::NotGovernor, _>(GOVERNOR, |guard| guard.seal());
}

/// Thirty days by mistake are undone by their governor; a day is not made an hour by whoever has stolen his key.
#[test]
fn the_delay_is_twice_as_long_at_once_at_most_and_shorter_after_the_old_delay() {
    const DAY: u32 = 24 * 3600;
    let mut world = World::new();
    for caller in [GUARDIAN, KEEPER, ANYONE] {
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.set_delay(DAY));
    }
    let short: Abi::DurationTooShort = world.as_refused(GOVERNOR, |guard| guard.set_delay(3599));
    assert_eq!((short.wanted, short.least), (3599, 3600));
    let long: Abi::DurationBeyondRole = world.as_refused(GOVERNOR, |guard| guard.set_delay(30 * DAY + 1));
    assert_eq!((long.wanted, long.most), (30 * DAY + 1, 30 * DAY));
    let before = B256::repeat_byte(7);
    world.as_(GOVERNOR).announce(before).unwrap();
    // At once twice what everybody could object to, whatever the number of calls.
    for delay in [5400, 7200, 7200] {
        world.as_(GOVERNOR).set_delay(delay).unwrap();
        assert_eq!(world.events::<Abi::DelaySet>()[0].governorDelay, delay);
        world.done();
        assert_eq!(world.guard.governor(), (GOVERNOR, Address::ZERO, delay, true));
        for longer in [7201, 2 * delay + 1, 30 * DAY] {
            let call = Abi::setDelayCall { governorDelay: longer };
            let missing: Abi::NotAnnounced = world.as_refused(GOVERNOR, |guard| guard.set_delay(longer));
            assert_eq!(missing.actionHash, keccak256(call.abi_encode()));
        }
    }
    let call = Abi::setDelayCall {
        governorDelay: 20 * DAY,
    };
    world.as_(GOVERNOR).announce(keccak256(call.abi_encode())).unwrap();
    world.pass(7200);
    world.as_(GOVERNOR).set_delay(20 * DAY).unwrap();
    // What was announced is what counts from then on.
    world.as_(GOVERNOR).set_delay(30 * DAY).unwrap();
    world.done();
    let shorter = |guard: &mut Guard<MockHost>| guard.set_delay(DAY);
    let missing: Abi::NotAnnounced = world.as_refused(GOVERNOR, shorter);
    let call = Abi::setDelayCall { governorDelay: DAY };
    assert_eq!(missing.actionHash, keccak256(call.abi_encode()));
    world.as_(GOVERNOR).announce(missing.actionHash).unwrap();
    world.pass(u64::from(30 * DAY) - 1);
    world.as_refused::<Abi::AnnouncementPending, _>(GOVERNOR, shorter);
    world.pass(1);
    // Another value was not announced.
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_delay(3600));
    shorter(world.as_(GOVERNOR)).unwrap();
    world.done();
    assert_eq!(world.guard.governor().2, DAY);
    assert_eq!(world.guard.closes(), Matrix::DEFAULT.bits());
    // From now on the new delay counts.
    let hash = B256::repeat_byte(9);
    world.as_(GOVERNOR).announce(hash).unwrap();
    assert_eq!(
        world.events::<Abi::Announced>()[0].executableAt,
        world.guard.host.now() + u64::from(DAY)
    );
    // Before the seal a mistake is undone at once.
    let mut world = World::unsealed();
    for delay in [30 * DAY, 3600, DAY] {
        world.as_(GOVERNOR).set_delay(delay).unwrap();
        world.done();
    }
    world.as_(GOVERNOR).seal().unwrap();
    world.as_(GOVERNOR).set_delay(2 * DAY).unwrap();
}

/// Stricter at once; looser, and be it in one cell, only when it was announced.
#[test]
fn the_matrix_is_stricter_at_once_and_looser_after_the_delay() {
    let mut world = World::new();
    assert_eq!(world.guard.closes(), Matrix::DEFAULT.bits());
    let one = Matrix::DEFAULT.closing(Level::Throttled, Action::Increase).unwrap();
    let two = one.closing(Level::Grace, Action::Deposit).unwrap();
    let other = Matrix::DEFAULT.closing(Level::Grace, Action::Deposit).unwrap();
    for caller in [GUARDIAN, KEEPER, ANYONE] {
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.set_matrix(two.bits()));
    }
    for matrix in [one, two, two] {
        world.as_(GOVERNOR).set_matrix(matrix.bits()).unwrap();
        assert_eq!(world.events::<Abi::MatrixChanged>()[0].closes, matrix.bits());
        world.done();
        assert_eq!(world.guard.closes(), matrix.bits());
    }
    for looser in [one.bits(), other.bits(), 0] {
        let missing: Abi::NotAnnounced = world.as_refused(GOVERNOR, |guard| guard.set_matrix(looser));
        let call = Abi::setMatrixCall { closes: looser };
        assert_eq!(missing.actionHash, keccak256(call.abi_encode()));
    }
    world.announce(&Abi::setMatrixCall { closes: 0 });
    world.as_(GOVERNOR).set_matrix(0).unwrap();
    world.done();
    assert_eq!(world.guard.closes(), Matrix::DEFAULT.bits());
    // The delay and the seal, which the same word holds, are as they were.
    assert_eq!(world.guard.governor(), (GOVERNOR, Address::ZERO, 3600, true));
    // What must stay open: repayment, exits below Halted, a raise that opens nothing.
    for closes in [1u64 << 5, 1 << 1, 1 << (16 + 4), 1 << (48 + 9), 1 << 7, 1 << 11] {
        let bad: Abi::BadMatrix = world.as_refused(GOVERNOR, |guard| guard.set_matrix(closes));
        assert_eq!(bad.closes, closes);
    }
    // In the set-up nothing is announced.
    let mut world = World::unsealed();
    for matrix in [two, one] {
        world.as_(GOVERNOR).set_matrix(matrix.bits()).unwrap();
        world.done();
    }
}

#[test]
fn programs_that_do_not_work_together_are_refused() {
    let mut world = World::new();
    let code = [0xef, 0xf0, 0, 0, 2];
    let programs = [NEW, HOOKS, RECOVER, ADMIN, CONTAIN, INSPECT];
    world.guard.host.data_account(NEW, &code);
    let codes = world.codes(&programs);
    let replace = |guard: &mut Guard<MockHost>| guard.set_logic(&programs, codes);
    world.announce(&Abi::setLogicCall { programs, codes });
    // In turn: has another code than was announced, does not run, answers nothing, does not get to the new inspect program.
    world.guard.host.data_account(NEW, &code[..4]);
    let other: Abi::WrongCode = world.as_refused(GOVERNOR, replace);
    assert_eq!((other.account, other.codeHash), (NEW, world.codes(&programs)));
    world.guard.host.contract(NEW, &code, |_, _, _| Err(Vec::new()));
    world.as_refused::<Abi::NotAProgram, _>(GOVERNOR, replace);
    world.guard.host.data_account(NEW, &code);
    world.as_refused::<Abi::NotAProgram, _>(GOVERNOR, replace);
    world.guard.host.contract(NEW, &code, |_, _, _| Ok(vec![0; 32]));
    world.as_refused::<Abi::NotAProgram, _>(GOVERNOR, replace);
    world
        .guard
        .host
        .contract(NEW, &code, |_, input, _| common::probed(input, PROGRAMS));
    world.as_refused::<Abi::NotAProgram, _>(GOVERNOR, replace);
    // Nor one without an admin, or a recover program behind it, nor one that cannot read the rulebook in force: by itself, or by the hooks
    // or the inspect program behind it.
    let unread = Abi::BadRulebook {
        reason: 0,
        part: 0,
        number: 0,
    }
    .abi_encode();
    for (silent, told, shown) in [
        (Abi::setRoleCall::SELECTOR, Vec::new(), ADMIN),
        (Abi::settleCall::SELECTOR, Vec::new(), RECOVER),
        (Abi::tripCall::SELECTOR, unread.clone(), NEW),
        (Abi::observeCall::SELECTOR, unread.clone(), HOOKS),
        (Abi::evaluateCall::SELECTOR, unread.clone(), INSPECT),
    ] {
        world.guard.host.contract(NEW, &code, move |_, input, _| {
            if input.starts_with(&silent) {
                return Err(told.clone());
            }
            common::probed(input, programs)
        });
        let refused: Abi::NotAProgram = world.as_refused(GOVERNOR, replace);
        assert_eq!(refused.account, shown);
    }
    world
        .guard
        .host
        .contract(NEW, &code, move |_, input, _| common::probed(input, programs));
    let readable = [0xef, 0xf0, 0, 0, 5];
    world.guard.host.contract(CONTAIN, &readable, move |_, input, _| {
        if input.starts_with(&Abi::containSetCall::SELECTOR) {
            return Err(unread.clone());
        }
        common::probed_contain(input)
    });
    let refused: Abi::NotAProgram = world.as_refused(GOVERNOR, replace);
    assert_eq!(refused.account, CONTAIN);
    world
        .guard
        .host
        .contract(CONTAIN, &readable, |_, input, _| common::probed_contain(input));
    world
        .guard
        .host
        .contract(NEW, &code, move |_, input, _| common::probed(input, programs));
    world.as_(GOVERNOR).set_logic(&programs, codes).unwrap();
    world.done();
    assert_eq!(world.guard.programs(), programs);
}

#[test]
fn what_the_respond_program_does_not_know_the_inspect_program_answers() {
    let mut world = World::new();
    world.guard.host.contract(INSPECT, &[0xef, 0xf0, 0, 0], |_, input, _| {
        if input.starts_with(&Abi::levelsCall::SELECTOR) {
            Ok(vec![7; 64])
        } else {
            Err(vec![8; 4])
        }
    });
    let answered = respond_or_hand_on(world.as_(ANYONE), &Abi::levelsCall {}.abi_encode());
    assert_eq!(answered.unwrap(), [7; 64]);
    let refused = respond_or_hand_on(world.as_(ANYONE), &[1, 2, 3, 4]);
    assert_eq!(refused.unwrap_err().data(), [8; 4]);
    let mut fresh = Guard::new(MockHost::at(common::START));
    world.refused::<Abi::NotInitialized, _>(respond_or_hand_on(&mut fresh, &Abi::levelsCall {}.abi_encode()));
}

#[test]
fn a_rulebook_is_checked_and_its_callers_replace_the_old_ones() {
    let mut world = World::unsealed();
    let empty = keccak256([]);
    let bad: Abi::BadRulebook = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(ANYONE, empty));
    assert_eq!(bad.reason, 2);
    let mut code = common::book().encode().unwrap();
    code.truncate(code.len() - 1);
    world.guard.host.data_account(NEW, &code);
    world.as_refused::<Abi::BadRulebook, _>(GOVERNOR, |guard| guard.adopt_rulebook(NEW, keccak256(&code)));
    let mut book = common::book();
    book.callers = vec![ANYONE];
    let code = book.encode().unwrap();
    world.guard.host.data_account(NEW, &code);
    let wrong: Abi::WrongCode = world.as_refused(GOVERNOR, |guard| guard.adopt_rulebook(NEW, B256::ZERO));
    assert_eq!((wrong.account, wrong.codeHash), (NEW, keccak256(&code)));
    world.as_(GOVERNOR).adopt_rulebook(NEW, keccak256(&code)).unwrap();
    assert_eq!(world.events::<Abi::RulebookAdopted>()[0].codeHash, keccak256(&code));
    world.as_refused::<Abi::NotRegistered, _>(VAULT, |guard| guard.enter([0, 0, 0], 0, &Address::ZERO, B256::ZERO));
    world
        .as_(ANYONE)
        .enter([0, 0, 0], 0, &Address::ZERO, B256::ZERO)
        .unwrap();
    assert_eq!(world.guard.rulebook(), (NEW, keccak256(&code)));
}

#[test]
fn nobody_but_the_governor_administers() {
    let mut world = World::unsealed();
    for caller in [GUARDIAN, KEEPER, ANYONE, Address::ZERO] {
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.seal());
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.set_role(0, NEW, true));
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.propose_governor(NEW));
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.accept_governor());
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.adopt_rulebook(BOOK, B256::ZERO));
        world.as_refused::<Abi::NotGovernor, _>(caller, |guard| guard.set_logic(&PROGRAMS, B256::ZERO));
    }
    for (role, granted) in [(5, true), (9, true), (255, false)] {
        let bad: Abi::BadRole = world.as_refused(GOVERNOR, |guard| guard.set_role(role, NEW, granted));
        assert_eq!(bad.role, role);
    }
}

#[test]
fn views_tell_verdicts_and_levels() {
    let mut world = World::new();
    let account = ANYONE.into_word();
    for (rule, witness, verdict) in [
        (rules::PRICE, &[][..], Verdict::Holds),
        (rules::ACCOUNT, &[account][..], Verdict::Holds),
        (rules::STEADY, &[][..], Verdict::Unknown),
    ] {
        assert_eq!(world.as_(ANYONE).evaluate(rule, witness).unwrap().verdict, verdict);
    }
    world.as_refused::<Abi::WrongWitness, _>(ANYONE, |guard| guard.evaluate(rules::ACCOUNT, &[]));
    world.guard.host.gas = 1000;
    let starved = world.as_(ANYONE).evaluate(rules::PRICE, &[]).unwrap();
    assert_eq!((starved.verdict, starved.reason), (Verdict::Unknown, 6));
    world.guard.host.gas = 30_000_000;
    world.as_(GUARDIAN).contain(2, 3, 60, B256::ZERO).unwrap();
    world.done();
    assert_eq!(world.guard.levels(), (U256::from(3) << 6, U256::ZERO));
}

/// One-word rules of every form, and rules that look like them: the gate must pass only what the evaluator finds to hold.
#[test]
fn the_gate_passes_only_what_the_evaluator_finds_to_hold() {
    use cordon_core::rule::{compile, evaluate, Inputs, Program, ReadError, Reader};
    struct Fixed(B256);
    impl Reader for Fixed {
        fn call(&mut self, _: Address, input: &[u8], _: u64, word: u16) -> Result<B256, ReadError> {
            assert_eq!((input.len(), word), (4, 0));
            Ok(self.0)
        }
        fn balance(&mut self, _: Address) -> Result<U256, ReadError> {
            Err(ReadError::Unavailable)
        }
        fn code_hash(&mut self, _: Address) -> Result<B256, ReadError> {
            Err(ReadError::Unavailable)
        }
        fn now(&self) -> u64 {
            0
        }
    }
    let bounds = ["0", "1", "100", "5e18", "1e27", "123456e12", "8388607"];
    let mut passed = 0;
    for operator in ["<=", ">=", "<", ">", "==", "!="] {
        for bound in bounds {
            let source = format!("feed.value() {operator} {bound}");
            let compiled = compile(&source, &[], &[], &common::Names).unwrap().program;
            let program = Program::decode(&compiled).unwrap();
            let quick = cordon_logic::quick::quick(&program).unwrap_or_else(|| panic!("{source} is a one-word rule"));
            let at = U256::from_be_bytes(quick.bound().0);
            let around = [
                U256::ZERO,
                U256::from(1),
                at,
                at + U256::from(1),
                at.saturating_sub(U256::from(1)),
                U256::MAX,
            ];
            for answer in around {
                let answer = B256::from(answer);
                let holds = evaluate(&program, &Inputs::default(), &mut Fixed(answer)).verdict == Verdict::Holds;
                assert!(holds || !quick.holds(&answer), "{source} of {answer}");
                // And passes all of it, below the sign.
                assert!(
                    !holds || answer.0[0] >= 0x80 || quick.holds(&answer),
                    "{source} of {answer}"
                );
                passed += usize::from(quick.holds(&answer));
            }
        }
    }
    assert!(passed > 60);
    for source in [
        "feed.value() <= 8388609",
        "feed.value() + 1 <= 100",
        "100 >= feed.value()",
        "feed.of(feed) <= 100",
        "market.closed()",
        "feed.value() <= 100 && feed.value() >= 1",
        "feed.value() >= entry(feed.value())",
        "feed.value() >= 0 - 5",
    ] {
        let compiled = compile(source, &[], &[], &common::Names).unwrap().program;
        let program = Program::decode(&compiled).unwrap();
        assert_eq!(cordon_logic::quick::quick(&program), None, "{source}");
    }
}

#[test]
fn the_rule_that_is_alone_with_an_action_is_the_gates() {
    use cordon_core::{rulebook::View, Action};
    use cordon_host::layout::Hooked;
    let mut book = common::book();
    let code = book.encode().unwrap();
    let caller = cordon_logic::quick::hooked(&View::open(&code).unwrap());
    let wanted = |caller: cordon_host::layout::Caller| Action::ALL.map(|action| caller.hooked(action as u8));
    use Hooked::{Checked, Nothing, Quick, Recorded};
    // Deposit and Repay have the hook rule, Withdraw and Increase the price rule alone, Trade the shadow rule alone.
    let mut actions = [
        Recorded, Quick, Checked, Quick, Nothing, Recorded, Nothing, Nothing, Nothing, Nothing, Nothing,
    ];
    assert_eq!(wanted(caller), actions);
    assert!(caller.quick.is_some());
    // A second rule with the same action is for the logic.
    book.rules[usize::from(rules::PLAIN)].check = cordon_core::ActionSet::EMPTY.with(Action::Increase);
    let code = book.encode().unwrap();
    actions[3] = Checked;
    assert_eq!(
        wanted(cordon_logic::quick::hooked(&View::open(&code).unwrap())),
        actions
    );
}

/// The last of as many callers as there can be, behind as many scopes, learns that a scope is raised, and that it is not any more.
#[test]
fn the_largest_rulebooks_last_caller_is_told_of_levels() {
    let mut book = common::book();
    let more = book.scopes.len()..128;
    book.scopes
        .extend(more.map(|at| Scope::new(ScopeKind::Market, &format!("scope {at}"))));
    book.callers = (1..=64).map(Address::repeat_byte).collect();
    let last = layout::caller(&book.callers[63]);
    let mut world = World::unsealed();
    world.adopt(&book);
    let is_quiet = |world: &World| Caller::unpack(&world.guard.host.load(&last)).is_quiet();
    assert!(is_quiet(&world));
    world
        .as_(GOVERNOR)
        .contain(2, Level::Throttled as u8, 3_600, B256::ZERO)
        .unwrap();
    world.done();
    assert!(!is_quiet(&world));
    world.pass(24 * common::HOUR);
    world.as_(ANYONE).settle(2).unwrap();
    world.done();
    assert!(is_quiet(&world));
}
