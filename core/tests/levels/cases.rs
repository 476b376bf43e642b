//! Single cases that show a bound each.

use crate::START;
use cordon_core::Level;
use cordon_core::bounds::{Actor, BoundError, Bucket, HEARTBEAT_MAX_AGE, Request, contain};
use cordon_core::rule::Verdict;
use cordon_core::scope::{CEILING, Change, RELEASE_DELAY, RaiseError, ReleaseError, STEP, ScopeState, lets_release};

const HOUR: u64 = 3600;

fn raised(level: Level, duration: u32, actor: Actor) -> ScopeState {
    let request = Request {
        actor,
        level,
        duration,
        last_heartbeat: START,
        next_incident: 1,
        elsewhere: 0,
    };
    contain(ScopeState::default(), Bucket::default(), START, &request)
        .unwrap()
        .state
}

#[test]
fn expiry_steps_down_one_level_at_a_time() {
    let state = raised(Level::Halted, 900, Actor::Keeper);
    let steps = [
        (0, Level::Halted, 900),
        (899, Level::Halted, 900),
        (900, Level::ReduceOnly, 2 * 900),
        (2 * 900, Level::Throttled, 3 * 900),
        (3 * 900, Level::Grace, 4 * 900),
    ];
    for (after, level, until) in steps {
        let held = state.effective(START + after);
        assert_eq!((held.level, held.expires_at), (level, START + until), "{after}");
    }
    let end = state.effective(START + 4 * 900);
    assert_eq!((end.level, end.expires_at), (Level::Normal, 0));
    assert_eq!(state.held_until(Level::Throttled), START + 3 * 900);
    assert_eq!(state.held_until(Level::Normal), 0);
}

#[test]
fn a_brief_halt_does_not_shorten_what_was_closed_before() {
    let state = raised(Level::ReduceOnly, 24 * 3600, Actor::Guardian);
    let request = Request {
        actor: Actor::Keeper,
        level: Level::Halted,
        duration: 60,
        last_heartbeat: START,
        next_incident: 2,
        elsewhere: 0,
    };
    let halted = contain(state, Bucket::default(), START, &request).unwrap().state;
    assert_eq!(halted.effective(START).level, Level::Halted);
    assert_eq!(halted.effective(START + 60).level, Level::ReduceOnly);
    assert_eq!(halted.effective(START + 24 * 3600 - 1).level, Level::ReduceOnly);
    assert_eq!(halted.effective(START + 24 * 3600).level, Level::Throttled);
}

#[test]
fn a_minute_of_budget_buys_minutes_and_not_hours() {
    let state = raised(Level::Halted, 60, Actor::Keeper);
    assert_eq!(state.effective(START + 4 * 60).level, Level::Normal);
}

#[test]
fn each_role_stops_at_its_row_of_the_table() {
    let ask = |actor, level, duration, last_heartbeat| {
        let request = Request {
            actor,
            level,
            duration,
            last_heartbeat,
            next_incident: 1,
            elsewhere: 0,
        };
        contain(ScopeState::default(), Bucket::default(), START, &request).map(|outcome| outcome.change)
    };
    let stale = START - HEARTBEAT_MAX_AGE - 1;
    assert_eq!(
        ask(Actor::Keeper, Level::Halted, 901, START),
        Err(BoundError::DurationBeyondRole { wanted: 901, most: 900 })
    );
    assert_eq!(
        ask(Actor::Keeper, Level::ReduceOnly, 3600, stale),
        Err(BoundError::HeartbeatStale { last: stale })
    );
    assert_eq!(
        ask(Actor::Guardian, Level::Halted, 86_401, 0),
        Err(BoundError::DurationBeyondRole {
            wanted: 86_401,
            most: 86_400
        })
    );
    assert_eq!(
        ask(Actor::Trip, Level::Halted, 0, 0),
        Err(BoundError::DurationTooShort { wanted: 0, least: 1 })
    );
    assert_eq!(
        ask(Actor::Governor, Level::Grace, 60, 0),
        Err(BoundError::Scope(RaiseError::BadLevel { wanted: Level::Grace }))
    );
    assert!(matches!(
        ask(Actor::Guardian, Level::Halted, 86_400, 0),
        Ok(Change::Raised {
            from: Level::Normal,
            opened: true
        })
    ));
}

#[test]
fn a_record_costs_keeper_and_guardian_a_minute() {
    for actor in [Actor::Keeper, Actor::Guardian, Actor::Seal] {
        let request = Request {
            actor,
            level: Level::Throttled,
            duration: 59,
            last_heartbeat: START,
            next_incident: 1,
            elsewhere: 0,
        };
        assert_eq!(
            contain(ScopeState::default(), Bucket::default(), START, &request),
            Err(BoundError::DurationTooShort { wanted: 59, least: 60 })
        );
    }
}

#[test]
fn the_keeper_runs_out_of_budget_and_gets_it_back() {
    let mut bucket = Bucket::default();
    let request = |level, duration, now| Request {
        actor: Actor::Keeper,
        level,
        duration,
        last_heartbeat: now,
        next_incident: 1,
        elsewhere: 0,
    };
    for scope in 0..2 {
        let outcome = contain(
            ScopeState::default(),
            bucket,
            START,
            &request(Level::ReduceOnly, 3600, START),
        );
        bucket = outcome.unwrap_or_else(|error| panic!("scope {scope}: {error}")).bucket;
    }
    let third = contain(
        ScopeState::default(),
        bucket,
        START,
        &request(Level::Throttled, 60, START),
    );
    assert_eq!(
        third,
        Err(BoundError::BudgetSpent {
            available: 0,
            wanted: 60
        })
    );
    let later = START + 12 * HOUR;
    assert!(
        contain(
            ScopeState::default(),
            bucket,
            later,
            &request(Level::ReduceOnly, 3600, later)
        )
        .is_ok()
    );
    assert!(
        contain(
            ScopeState::default(),
            bucket,
            later - 12,
            &request(Level::ReduceOnly, 3600, later)
        )
        .is_err()
    );
}

#[test]
fn a_release_waits_and_a_trip_overtakes_it() {
    let state = raised(Level::ReduceOnly, 86_400, Actor::Guardian)
        .queue_release(START)
        .unwrap();
    let at = START + u64::from(RELEASE_DELAY);
    assert_eq!(state.release_at, at);
    assert_eq!(
        state.queue_release(START + 5).unwrap().release_at,
        at,
        "queueing again does not move it"
    );
    assert_eq!(
        state.release(at - 1),
        Err(ReleaseError::ReleaseTooEarly { release_at: at })
    );
    let trip = Request {
        actor: Actor::Trip,
        level: Level::ReduceOnly,
        duration: 3600,
        last_heartbeat: 0,
        next_incident: 2,
        elsewhere: 0,
    };
    let overtaken = contain(state, Bucket::default(), START + 1, &trip).unwrap();
    assert_eq!((overtaken.change, overtaken.state.release_at), (Change::Nothing, 0));
    assert_eq!(overtaken.state.release(at), Err(ReleaseError::ReleaseNotQueued));
    let released = state.release(at).unwrap();
    assert_eq!(
        (released.level, released.expires_at),
        (Level::Grace, at + u64::from(STEP))
    );
    assert_eq!(
        ScopeState::default().queue_release(START),
        Err(ReleaseError::NothingToRelease)
    );
}

#[test]
fn the_ceiling_ends_what_guardians_and_trips_renew_and_the_governor_moves_it() {
    let mut state = ScopeState::default();
    let mut now = START;
    let trip = |now| Request {
        actor: Actor::Trip,
        level: Level::ReduceOnly,
        duration: 3600,
        last_heartbeat: now,
        next_incident: 1,
        elsewhere: 0,
    };
    let ceiling = START + u64::from(CEILING);
    loop {
        match contain(state, Bucket::default(), now, &trip(now)) {
            Ok(outcome) => state = outcome.state,
            Err(error) => {
                assert_eq!(
                    error,
                    BoundError::Scope(RaiseError::CeilingReached { ceiling_at: ceiling })
                );
                break;
            }
        }
        now += 1800;
    }
    assert_eq!(state.ceiling_at, ceiling);
    assert_eq!(state.effective(ceiling - 1).level, Level::Grace);
    assert_eq!(state.effective(ceiling).level, Level::Normal);
    let governor = Request {
        actor: Actor::Governor,
        level: Level::ReduceOnly,
        duration: 14 * 86_400,
        last_heartbeat: 0,
        next_incident: 1,
        elsewhere: 0,
    };
    let held = contain(state, Bucket::default(), now, &governor).unwrap().state;
    assert_eq!(held.effective(now + 13 * 86_400).level, Level::ReduceOnly);
    // Right after a full week nothing is left; a day at Normal gives a day back.
    let refused = contain(state, Bucket::default(), ceiling, &trip(ceiling));
    assert!(matches!(
        refused,
        Err(BoundError::Scope(RaiseError::CeilingReached { .. }))
    ));
    let later = ceiling + 86_400;
    let again = contain(state, Bucket::default(), later, &trip(later)).unwrap().state;
    assert_eq!(again.ceiling_at, later + 86_400);
}

#[test]
fn a_level_governs_for_a_rule_that_was_tripped_in_its_incident_or_cannot_raise_it_again() {
    let state = raised(Level::ReduceOnly, 3600, Actor::Trip);
    let governs = |tripped, level| state.governs(START + 1, tripped, level, 3600, || 0);
    assert!(governs(1, Level::ReduceOnly) && governs(1, Level::Throttled));
    assert!(
        !governs(1, Level::Halted),
        "the level is less than what the rule asks for"
    );
    assert!(!governs(7, Level::ReduceOnly), "it was tripped in another incident");
    assert!(!governs(0, Level::ReduceOnly), "nobody has tripped it");
    let asked = || -> u32 { panic!("nothing depends on the other scopes") };
    assert!(state.governs(START + 1, 1, Level::ReduceOnly, 3600, asked));

    // At the ceiling, through whichever scope it was used up, it can raise nothing, and must not shut the exits by reverting.
    let open = ScopeState::default();
    let at = |tripped, elsewhere| open.governs(START, tripped, Level::ReduceOnly, 3600, || elsewhere);
    assert!(at(1, CEILING) && !at(1, 0));
    assert!(!at(0, CEILING), "one that was never tripped reverts at the ceiling too");
}

#[test]
fn what_is_not_known_to_hold_lets_nothing_be_released_unless_the_governor_knows_better() {
    let asks_nothing = || -> bool { panic!("nothing depends on the incident") };
    for governor in [false, true] {
        assert!(lets_release(Verdict::Holds, governor, asks_nothing));
        assert!(!lets_release(Verdict::Breached, governor, asks_nothing));
    }
    for has_part in [false, true] {
        assert!(!lets_release(Verdict::Unknown, false, || has_part), "a guardian waits");
        assert_eq!(lets_release(Verdict::Unknown, true, || has_part), !has_part);
    }
}

#[test]
fn what_the_governor_takes_on_itself_is_not_counted_against_the_ceiling() {
    let week = 7 * 24 * HOUR;
    let tripped = raised(Level::ReduceOnly, 3600, Actor::Trip);
    assert_eq!(tripped.used(START + 600), 600);
    let governed = raised(Level::ReduceOnly, 7 * 86_400, Actor::Governor);
    assert_eq!(governed.used(START + week - 1), 0, "while it lasts");
    let ended = governed.settled(START + week + 3 * HOUR);
    assert_eq!((ended.level, ended.spent), (Level::Normal, 0), "and when it is over");
}

#[test]
fn a_seal_buys_steps_as_short_as_what_it_adds() {
    let again = |actor| {
        let state = raised(Level::Halted, 60, actor);
        let request = Request {
            actor,
            level: Level::Halted,
            duration: 60,
            last_heartbeat: START,
            next_incident: 2,
            elsewhere: 0,
        };
        let later = contain(state, Bucket::default(), START + 30, &request).unwrap().state;
        later.effective(START + 4 * 60).level
    };
    // Thirty seconds more, on top of a minute that steps down by minutes already.
    assert_eq!(again(Actor::Seal), Level::Normal);
    assert_eq!(
        again(Actor::Trip),
        Level::Grace,
        "what is proved again steps down as long as it holds from now on"
    );
}
