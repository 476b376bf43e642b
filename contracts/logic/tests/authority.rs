//! Containing by authority, and lowering again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::B256;
use common::{calls, rules, Abi, Mood, World, ANYONE, BEATER, GOVERNOR, GUARDIAN, HOUR, KEEPER, START};
use cordon_core::{scope::CEILING, Level};

const THROTTLED: u8 = 1;
const REDUCE_ONLY: u8 = 2;
const HALTED: u8 = 3;
const MINUTE: u32 = 60;

#[test]
fn keeper_and_guardian_have_their_bounds() {
    let mut world = World::new();
    let evidence = B256::repeat_byte(7);
    let too_long: Abi::DurationBeyondRole =
        world.as_refused(KEEPER, |guard| guard.contain(1, HALTED, 16 * MINUTE, evidence));
    assert_eq!((too_long.wanted, too_long.most), (16 * MINUTE, 15 * MINUTE));
    world.as_refused::<Abi::DurationBeyondRole, _>(GUARDIAN, |guard| {
        guard.contain(1, HALTED, 25 * 60 * MINUTE, evidence)
    });
    world.as_refused::<Abi::MissingRole, _>(ANYONE, |guard| guard.contain(1, HALTED, 60, evidence));
    world.as_refused::<Abi::MissingRole, _>(BEATER, |guard| guard.contain(1, HALTED, 60, evidence));
    world.as_refused::<Abi::BadLevel, _>(KEEPER, |guard| guard.contain(1, 0, 60, evidence));
    world.as_refused::<Abi::BadLevel, _>(KEEPER, |guard| guard.contain(1, 4, 60, evidence));
    world.as_refused::<Abi::BadScope, _>(KEEPER, |guard| guard.contain(3, HALTED, 60, evidence));
    assert_eq!(world.as_(KEEPER).contain(1, HALTED, 15 * MINUTE, evidence).unwrap(), 1);
    assert_eq!(world.events::<Abi::IncidentOpened>()[0].evidence, evidence);
    world.done();
    assert_eq!(world.level(1), Level::Halted);
    assert!(world.market.closed.get());
}

#[test]
fn the_keepers_budget_is_two_hours_a_day_over_all_scopes() {
    let mut world = World::new();
    for scope in [1, 2] {
        world
            .as_(KEEPER)
            .contain(scope, REDUCE_ONLY, 60 * MINUTE, B256::ZERO)
            .unwrap();
    }
    let spent: Abi::BudgetSpent = world.as_refused(KEEPER, |guard| guard.contain(0, HALTED, 60, B256::ZERO));
    assert_eq!((spent.available, spent.wanted), (0, 60));
    // The guardian has its own.
    world.as_(GUARDIAN).contain(0, HALTED, 60, B256::ZERO).unwrap();
}

#[test]
fn a_seal_is_broken_by_what_it_closes() {
    let mut world = World::unsealed();
    world.as_(GOVERNOR).set_role(4, ANYONE, true).unwrap();
    world.as_(GOVERNOR).seal().unwrap();
    world.done();
    // Refused, or without effect: it is still whole.
    world.as_refused::<Abi::DurationBeyondRole, _>(ANYONE, |guard| {
        guard.contain(1, HALTED, 3 * 24 * 60 * MINUTE + 1, B256::ZERO)
    });
    world.as_(GUARDIAN).contain(1, HALTED, 60 * MINUTE, B256::ZERO).unwrap();
    world.as_(ANYONE).contain(1, HALTED, MINUTE, B256::ZERO).unwrap();
    world.done();
    assert!(world.guard.has_role(4, &ANYONE));
    // A batch is one use.
    world
        .as_(ANYONE)
        .contain_many(&[1, 2], HALTED, 3 * 24 * 60 * MINUTE, B256::ZERO)
        .unwrap();
    let told = &world.events::<Abi::RoleSet>()[0];
    assert!(told.role as u8 == 4 && told.account == ANYONE && !told.granted);
    world.done();
    assert_eq!((world.level(1), world.level(2)), (Level::Halted, Level::Halted));
    world.as_refused::<Abi::MissingRole, _>(ANYONE, |guard| guard.contain(0, HALTED, MINUTE, B256::ZERO));
    world.as_refused::<Abi::NotAnnounced, _>(GOVERNOR, |guard| guard.set_role(4, ANYONE, true));
}

/// A stolen seal asks for what holds already, again and again: that uses nothing up, and so it must not hold anything up either.
#[test]
fn a_seal_cancels_no_release() {
    let mut world = World::unsealed();
    world.as_(GOVERNOR).set_role(4, ANYONE, true).unwrap();
    world.as_(GUARDIAN).contain(1, HALTED, 60 * MINUTE, B256::ZERO).unwrap();
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.done();
    world.as_(ANYONE).contain(1, HALTED, MINUTE, B256::ZERO).unwrap();
    assert!(world.events::<Abi::ReleaseCancelled>().is_empty());
    world.pass(901);
    world.as_(GUARDIAN).release(1).unwrap();
    assert_eq!(world.level(1), Level::Grace);
}

#[test]
fn without_a_fresh_heartbeat_the_keeper_has_no_power() {
    let mut world = World::new();
    world.pass(15 * 60 + 1);
    let stale: Abi::HeartbeatStale = world.as_refused(KEEPER, |guard| guard.contain(1, REDUCE_ONLY, 60, B256::ZERO));
    assert_eq!(stale.last, START);
    world.as_refused::<Abi::MissingRole, _>(KEEPER, |guard| guard.heartbeat());
    world.as_(BEATER).heartbeat().unwrap();
    world.as_(KEEPER).contain(1, REDUCE_ONLY, 60, B256::ZERO).unwrap();
}

#[test]
fn a_looser_level_does_not_shorten_a_stricter_one() {
    let mut world = World::new();
    world.as_(GUARDIAN).contain(1, HALTED, 60 * MINUTE, B256::ZERO).unwrap();
    let refused: Abi::NotTighter = world.as_refused(GUARDIAN, |guard| {
        guard.contain(1, THROTTLED, 24 * 60 * MINUTE, B256::ZERO)
    });
    assert_eq!(refused.scope, 1);
}

#[test]
fn only_the_governor_passes_the_ceiling() {
    let mut world = World::new();
    // What leaks back in four days gives a fourth day, and no fifth.
    for _ in 0..4 {
        world
            .as_(GUARDIAN)
            .contain(1, HALTED, 24 * 60 * MINUTE, B256::ZERO)
            .unwrap();
        world.pass(24 * HOUR - 1);
    }
    world.as_refused::<Abi::BudgetSpent, _>(GUARDIAN, |guard| guard.contain(1, HALTED, 24 * 60 * MINUTE, B256::ZERO));
    world
        .as_(GOVERNOR)
        .contain(1, HALTED, 28 * 24 * 60 * MINUTE, B256::ZERO)
        .unwrap();
    world.done();
    let status = world.guard.scope_status(1).unwrap();
    assert!(status.ceiling_at > START + u64::from(CEILING));
}

#[test]
fn a_release_waits_a_quarter_of_an_hour_and_undoes_what_the_guard_did() {
    let mut world = World::new();
    world.as_refused::<Abi::NothingToRelease, _>(GUARDIAN, |guard| guard.queue_release(1));
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 60 * MINUTE, B256::ZERO)
        .unwrap();
    world.as_refused::<Abi::MissingRole, _>(KEEPER, |guard| guard.queue_release(1));
    world.as_refused::<Abi::ReleaseNotQueued, _>(GUARDIAN, |guard| guard.release(1));
    world.as_(GUARDIAN).queue_release(1).unwrap();
    assert_eq!(world.events::<Abi::ReleaseQueued>()[0].releaseAt, START + 900);
    world.pass(899);
    world.as_refused::<Abi::ReleaseTooEarly, _>(GUARDIAN, |guard| guard.release(1));
    world.pass(1);
    assert!(world.market.closed.get());
    world.as_(GUARDIAN).release(1).unwrap();
    assert_eq!(world.events::<Abi::ContainmentUndone>()[0].call, calls::CLOSE);
    world.done();
    assert!(!world.market.closed.get());
    assert_eq!(world.level(1), Level::Grace);
    assert_eq!(world.guard.scope_status(1).unwrap().applied.count_ones(), 0);
    // After Grace anyone closes the incident.
    world.pass(HOUR);
    world.as_(ANYONE).settle(1).unwrap();
    assert_eq!(world.events::<Abi::IncidentClosed>()[0].incident, 1);
    assert_eq!(world.events::<Abi::LevelLowered>().len(), 1);
    world.as_refused::<Abi::NothingToSettle, _>(ANYONE, |guard| guard.settle(1));
}

#[test]
fn a_release_is_cancelled_by_a_guardian_or_a_trip_and_refused_while_a_rule_is_breached() {
    let mut world = World::new();
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.as_(GUARDIAN).cancel_release(1).unwrap();
    assert_eq!(world.events::<Abi::ReleaseCancelled>()[0].by, GUARDIAN);
    world.as_refused::<Abi::ReleaseNotQueued, _>(GUARDIAN, |guard| guard.cancel_release(1));
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.pass(60);
    // A level that holds for long enough is renewed all the same, because the rule is breached still.
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    assert_eq!(world.events::<Abi::ReleaseCancelled>()[0].by, ANYONE);
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.pass(900);
    let breached: Abi::RuleBreached = world.as_refused(GUARDIAN, |guard| guard.release(1));
    assert_eq!(breached.rule, rules::PRICE);
    world.price.set(None);
    let unknown: Abi::RuleUnknown = world.as_refused(GUARDIAN, |guard| guard.release(1));
    assert_eq!(unknown.rule, rules::PRICE, "what cannot be seen to hold does not open");
    world.price.set(Some(100));
    world.as_(GUARDIAN).release(1).unwrap();
}

#[test]
fn expiry_steps_down_and_settling_undoes_as_reasons_fall_away() {
    let mut world = World::new();
    world.as_(GUARDIAN).contain(0, HALTED, 10 * MINUTE, B256::ZERO).unwrap();
    assert!(world.market.paused.get() && world.market.closed.get());
    let early: Abi::NotExpired = world.as_refused(ANYONE, |guard| guard.settle(0));
    assert_eq!(early.expiresAt, START + 600);
    world.pass(600);
    assert_eq!(world.level(0), Level::ReduceOnly);
    world.as_(ANYONE).settle(0).unwrap();
    assert!(!world.market.paused.get(), "nothing halts the market any more");
    assert!(world.market.closed.get(), "but it is ReduceOnly still");
    world.pass(600);
    assert_eq!(world.level(0), Level::Throttled);
    world.as_(ANYONE).settle(0).unwrap();
    assert!(!world.market.closed.get());
    world.pass(600);
    assert_eq!(world.level(0), Level::Grace);
    world.pass(600);
    assert_eq!(world.level(0), Level::Normal);
    world.as_(ANYONE).settle(0).unwrap();
    assert_eq!(world.events::<Abi::IncidentClosed>().len(), 1);
}

#[test]
fn a_call_that_closes_repayment_is_undone_after_its_longest_time_and_not_run_again() {
    let mut world = World::new();
    world.as_(GUARDIAN).contain(0, HALTED, 60 * MINUTE, B256::ZERO).unwrap();
    world.pass(900);
    world.as_(ANYONE).settle(0).unwrap();
    assert!(!world.market.paused.get());
    world.done();
    assert_eq!(world.level(0), Level::Halted, "hooks hold on");
    world.as_(ANYONE).retry_containment(0).unwrap();
    assert!(!world.market.paused.get());
}

#[test]
fn what_another_scope_needs_is_handed_over_and_not_undone() {
    let mut world = World::new();
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 10 * MINUTE, B256::ZERO)
        .unwrap();
    world
        .as_(GUARDIAN)
        .contain(0, REDUCE_ONLY, 120 * MINUTE, B256::ZERO)
        .unwrap();
    world.pass(610);
    world.as_(ANYONE).settle(1).unwrap();
    assert!(world.market.closed.get());
    world.done();
    assert_eq!(world.guard.scope_status(1).unwrap().applied.count_ones(), 0);
    assert_eq!(world.guard.scope_status(0).unwrap().applied.count_ones(), 1);
    world.pass(2 * HOUR);
    world.as_(ANYONE).settle(0).unwrap();
    assert!(!world.market.closed.get());
}

#[test]
fn an_undo_that_fails_stays_due() {
    let mut world = World::new();
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 10 * MINUTE, B256::ZERO)
        .unwrap();
    world.pass(5 * HOUR);
    world.market.mood.set(Mood::Reverts);
    world.as_(ANYONE).settle(1).unwrap();
    assert_eq!(world.events::<Abi::UndoFailed>()[0].reason.as_ref(), b"no");
    assert!(world.events::<Abi::IncidentClosed>().is_empty());
    world.market.mood.set(Mood::Obeys);
    world.pass(1);
    world.as_(ANYONE).settle(1).unwrap();
    assert_eq!(world.events::<Abi::ContainmentUndone>().len(), 1);
    assert_eq!(world.events::<Abi::IncidentClosed>()[0].incident, 1);
    assert!(!world.market.closed.get());
}

#[test]
fn an_old_rulebooks_doing_is_undone_after_a_new_one_was_adopted() {
    let mut world = World::new();
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 24 * 60 * MINUTE, B256::ZERO)
        .unwrap();
    let mut book = common::book();
    book.containments.clear();
    world.adopt(&book);
    world.as_(ANYONE).settle(1).unwrap();
    assert!(!world.market.closed.get());
    assert_eq!(world.events::<Abi::ContainmentUndone>().len(), 1);
}

#[test]
fn deadlines_move_by_the_time_that_a_scope_stood_still() {
    let mut world = World::new();
    let halted = |world: &mut World, scope, since| world.as_(ANYONE).halted_seconds(scope, since).unwrap();
    assert_eq!(halted(&mut world, 1, START), 0);
    world.as_(GUARDIAN).contain(1, 3, 600, B256::ZERO).unwrap();
    world.pass(300);
    assert_eq!(halted(&mut world, 1, START), 300);
    assert_eq!(halted(&mut world, 2, START), 0, "another scope went on");
    // The whole protocol halts meanwhile: an overlap counts once.
    world.as_(GUARDIAN).contain(0, 3, 600, B256::ZERO).unwrap();
    world.pass(600);
    assert_eq!(halted(&mut world, 1, START), 900);
    assert_eq!(halted(&mut world, 2, START), 600);
    assert_eq!(halted(&mut world, 1, START + 700), 200);
    // Long after expiry nothing is added, though nobody has settled.
    world.pass(24 * HOUR);
    assert_eq!(halted(&mut world, 1, START), 900);
    // A release ends a halt early; extending one makes no second.
    let again = world.guard.host.now;
    world.as_(GUARDIAN).contain(2, 3, 6000, B256::ZERO).unwrap();
    world.as_(GUARDIAN).contain(2, 3, 7000, B256::ZERO).unwrap();
    world.as_(GUARDIAN).queue_release(2).unwrap();
    world.pass(1000);
    world.as_(GUARDIAN).release(2).unwrap();
    world.pass(9000);
    assert_eq!(halted(&mut world, 2, again), 1000);
    world.as_refused::<Abi::BadScope, _>(ANYONE, |guard| guard.halted_seconds(128, 0));
}

/// A thief with the keeper's key makes halt after halt, so that a long one is forgotten on which deadlines rely.
#[test]
fn short_halts_do_not_make_a_long_one_forgotten() {
    let mut world = World::new();
    let halted = |world: &mut World, scope, since| world.as_(ANYONE).halted_seconds(scope, since).unwrap();
    world.as_(GUARDIAN).contain(1, 3, 86_400, B256::ZERO).unwrap();
    world.pass(30 * HOUR);
    for _ in 0..200 {
        world.as_(GOVERNOR).contain(1, 3, 10, B256::ZERO).unwrap();
        world.pass(100);
    }
    assert_eq!(halted(&mut world, 1, START), 86_400 + 200 * 10);
    assert_eq!(halted(&mut world, 1, START + 86_000), 400 + 200 * 10);
    for first in [0, 1, 7, 135, 136, 199] {
        let since = START + 30 * HOUR + first * 100;
        assert_eq!(halted(&mut world, 1, since), (200 - first) * 10);
        assert_eq!(halted(&mut world, 1, since + 4), (200 - first) * 10 - 4);
        assert_eq!(halted(&mut world, 1, since + 10), (199 - first) * 10);
    }
    // Of another scope's view nothing of it, and of the whole protocol's halts as much.
    assert_eq!(halted(&mut world, 2, START), 0);
    for _ in 0..100 {
        world.as_(GOVERNOR).contain(0, 3, 10, B256::ZERO).unwrap();
        world.pass(100);
    }
    assert_eq!(halted(&mut world, 2, START), 100 * 10);
    assert_eq!(halted(&mut world, 1, START), 86_400 + 200 * 10 + 100 * 10);
}

/// A raise of a second leaves a record as one of an hour does.
#[test]
fn keeper_and_guardian_raise_for_a_minute_at_least() {
    let mut world = World::new();
    for caller in [KEEPER, GUARDIAN] {
        let short: Abi::DurationTooShort = world.as_refused(caller, |guard| guard.contain(1, 2, 59, B256::ZERO));
        assert_eq!((short.wanted, short.least), (59, 60));
    }
    world.as_(KEEPER).contain(1, 2, 60, B256::ZERO).unwrap();
}

/// A market and the whole protocol are contained in turn: each has its ceiling, and the market is shut for ever.
#[test]
fn scope_and_protocol_in_turn_meet_one_ceiling() {
    let mut world = World::new();
    let day = 24 * HOUR;
    let ask = |world: &mut World, scope| world.as_(GUARDIAN).contain(scope, 1, 86_400, B256::ZERO).is_ok();
    let (mut shut, mut open) = (0, 0);
    for round in 0..60u8 {
        // Refused when the budget or the ceiling says so.
        let _ = ask(&mut world, round / 2 % 2);
        world.done();
        for _ in 0..24 {
            let levels = [world.level(0), world.level(1)];
            if levels == [cordon_core::Level::Normal; 2] {
                open += HOUR
            } else {
                shut += HOUR
            }
            world.pass(HOUR);
        }
    }
    assert!(shut <= 7 * day + open, "{} days shut, {} open", shut / day, open / day);
    assert!(shut > 7 * day);
}

/// The governor mends a rulebook while the market is under attack; somebody settles before anybody retries.
#[test]
fn a_rulebook_adopted_in_an_incident_opens_nothing() {
    let mut world = World::new();
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 5 * 60 * MINUTE, B256::ZERO)
        .unwrap();
    assert!(world.market.closed.get());
    // The same call at another place: another call before it.
    let mut book = common::book();
    book.containments.reverse();
    world.adopt(&book);
    world.as_refused::<Abi::NotExpired, _>(ANYONE, |guard| guard.settle(1));
    assert!(world.market.closed.get(), "the same call goes over to the new rulebook");
    world.as_(ANYONE).retry_containment(1).unwrap();
    assert!(world.market.closed.get());
    // And is still undone when its time has come.
    world.pass(10 * HOUR);
    world.as_(ANYONE).settle(1).unwrap();
    assert!(!world.market.closed.get());
    assert_eq!(world.events::<Abi::IncidentClosed>().len(), 1);
}

/// The new rulebook closes the market by a call that differs: what the old one did is undone, but never leaves a gap.
#[test]
fn a_rulebook_with_another_call_closes_what_the_old_one_opens() {
    let mut world = World::new();
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 5 * 60 * MINUTE, B256::ZERO)
        .unwrap();
    let mut book = common::book();
    book.containments[0].undo.clear();
    world.adopt(&book);
    world.as_(ANYONE).settle(1).unwrap();
    assert!(world.market.closed.get(), "opened and closed again in one transaction");
    assert_eq!(world.events::<Abi::ContainmentUndone>().len(), 1);
    assert_eq!(world.events::<Abi::ContainmentApplied>().len(), 1);
}

/// The same when it is another scope that still wants it closed: the one for which it was closed has long expired.
#[test]
fn what_an_old_rulebook_opens_is_closed_for_every_scope_that_still_wants_it() {
    let mut world = World::new();
    world
        .as_(GUARDIAN)
        .contain(1, REDUCE_ONLY, 60 * MINUTE, B256::ZERO)
        .unwrap();
    world.done();
    world
        .as_(GUARDIAN)
        .contain(0, HALTED, 10 * 60 * MINUTE, B256::ZERO)
        .unwrap();
    world.done();
    let mut book = common::book();
    book.containments[0].undo.clear();
    world.adopt(&book);
    world.pass(5 * HOUR);
    assert_eq!((world.level(1), world.level(0)), (Level::Normal, Level::Halted));
    world.as_(ANYONE).settle(1).unwrap();
    assert!(world.market.closed.get(), "the whole protocol is halted");
    world.done();
    world.as_(ANYONE).settle(0).unwrap();
    assert!(world.market.closed.get());
}

/// Scopes 0 and 1 are raised in turn, each with an incident of its own, so that the clock of a call that closes repayment would
/// start again and again.
#[test]
fn raising_scopes_in_turn_keeps_repayment_closed_for_no_longer() {
    let mut world = World::new();
    let mut book = common::book();
    book.containments[1].scope = 1;
    world.adopt(&book);
    let begun = world.guard.host.now;
    let mut closed = 0;
    for round in 0..96u32 {
        // Whoever has the governor's key and patience; every quarter of an hour the other scope.
        let scope = u8::from(round % 2 == 1);
        world
            .as_(GOVERNOR)
            .contain(scope, HALTED, 20 * MINUTE, B256::repeat_byte(1))
            .ok();
        world.done();
        for scope in [0, 1] {
            world.as_(ANYONE).retry_containment(scope).ok();
            world.done();
        }
        closed += if world.market.paused.get() { 900 } else { 0 };
        world.pass(900);
        for scope in [0, 1] {
            world.as_(ANYONE).settle(scope).ok();
            world.done();
        }
        assert!(
            !world.market.paused.get(),
            "round {round}: open again after its longest time"
        );
    }
    let total = world.guard.host.now - begun;
    assert!(
        closed > 0 && closed * 4 <= total + 3600,
        "closed for {closed} s of {total} s"
    );
}
