//! No sequence of transitions takes an actor beyond its bounds, and every level ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use cordon_core::bounds::{Actor, BoundError, Bucket, HEARTBEAT_MAX_AGE, Outcome, Request, contain};
use cordon_core::incident::Incident;
use cordon_core::scope::{CEILING, Change, LevelsWord, RELEASE_DELAY, STEP, ScopeError, ScopeState, tail_seconds};
use cordon_core::{Action, Level, Permission, level::permission};
use proptest::prelude::*;

const START: u64 = 1_700_000_000;
const HOUR: u64 = 3600;

#[derive(Clone, Debug)]
enum Op {
    Contain(Actor, Level, u32),
    Heartbeat,
    QueueRelease,
    CancelRelease,
    Release,
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![Just(Actor::Trip), Just(Actor::Keeper), Just(Actor::Guardian)]
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(Level::ALL.to_vec())
}

fn operations() -> impl Strategy<Value = Vec<(u64, Op)>> {
    let duration = prop_oneof![0u32..4000, 0u32..100_000, Just(900), Just(3600), Just(86_400)];
    let op = prop_oneof![
        6 => (actor(), level(), duration).prop_map(|(actor, level, duration)| Op::Contain(actor, level, duration)),
        3 => Just(Op::Heartbeat),
        1 => Just(Op::QueueRelease),
        1 => Just(Op::CancelRelease),
        1 => Just(Op::Release),
    ]
    .boxed();
    let wait = prop_oneof![Just(0u64), 0u64..1000, 0u64..10_000, 0u64..200_000];
    let mixed = prop::collection::vec((wait, op.clone()), 1..120);
    // Somebody who never lets go: renewals for weeks, with other calls and a pause now and then.
    let renewal = prop_oneof![
        12 => (200u64..3500, prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted]))
            .prop_map(|(wait, level)| (wait, Op::Contain(Actor::Trip, level, 3600))),
        2 => (0u64..100, op),
        1 => (0u64..100_000, Just(Op::Heartbeat)),
    ];
    prop_oneof![2 => mixed, 1 => prop::collection::vec(renewal, 150..500)]
}

/// A scope with the buckets of keeper and guardian, and what has been counted.
struct Sim {
    now: u64,
    state: ScopeState,
    buckets: [Bucket; 4],
    heartbeat: u64,
    /// Seconds charged to each actor.
    charged: [u64; 4],
    /// Seconds away from and at Normal.
    contained: u64,
    normal: u64,
}

impl Sim {
    fn new() -> Self {
        let state = ScopeState::default();
        Sim {
            now: START,
            state,
            buckets: [Bucket::default(); 4],
            heartbeat: 0,
            charged: [0; 4],
            contained: 0,
            normal: 0,
        }
    }

    /// Lets time pass; levels only ever loosen by it, one rung at a time.
    fn wait(&mut self, seconds: u64) {
        let mut left = seconds;
        while left > 0 {
            let before = self.state.effective(self.now);
            let until_step = if before.expires_at == 0 {
                left
            } else {
                before.expires_at - self.now
            };
            let part = left.min(until_step.max(1));
            if before.level == Level::Normal {
                self.normal += part
            } else {
                self.contained += part
            }
            self.now += part;
            left -= part;
            let after = self.state.effective(self.now);
            assert!(
                after.level == before.level || after.level == before.level.step_down(),
                "{before:?} {after:?}"
            );
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Contain(actor, level, duration) => self.contain(*actor, *level, *duration),
            Op::Heartbeat => self.heartbeat = self.now,
            Op::QueueRelease => self.state = self.state.queue_release(self.now).unwrap_or(self.state),
            Op::CancelRelease => self.state = self.state.cancel_release().unwrap_or(self.state),
            Op::Release => {
                if let Ok(state) = self.state.release(self.now) {
                    assert!(self.state.release_at != 0 && self.now >= self.state.release_at);
                    assert_eq!(state.effective(self.now).level, Level::Grace);
                    self.state = state;
                }
            }
        }
        assert_eq!(ScopeState::unpack(self.state.pack()), self.state);
    }

    fn contain(&mut self, actor: Actor, level: Level, duration: u32) {
        let request = Request {
            actor,
            level,
            duration,
            last_heartbeat: self.heartbeat,
            next_incident: 7,
        };
        let bucket = self.buckets[actor as usize];
        let before = self.state.effective(self.now);
        let Ok(outcome) = contain(self.state, bucket, self.now, &request) else {
            return;
        };
        let bound = actor.bound();
        assert!(level.is_raised() && duration <= bound.seconds(level) && duration > 0);
        assert!(!bound.heartbeat || self.now - self.heartbeat <= HEARTBEAT_MAX_AGE);
        let after = outcome.state.effective(self.now);
        assert!(after.level.rank() >= before.level.rank(), "containment never loosens");
        let opened = matches!(outcome.change, Change::Raised { opened: true, .. });
        if actor == Actor::Keeper && !opened {
            let queued = self.state.release_at;
            assert_eq!(outcome.state.release_at, queued, "a keeper cancels no release");
        } else {
            assert_eq!(outcome.state.release_at, 0, "a queued release is overtaken");
        }
        let shut = self.state.settled(self.now).held_until(Level::ReduceOnly);
        let kept = outcome.state.held_until(Level::ReduceOnly);
        assert!(
            shut <= self.now || kept >= shut,
            "what was closed until {shut} stays closed, not only until {kept}"
        );
        match outcome.change {
            Change::Nothing => {
                assert_eq!(
                    (after, outcome.bucket),
                    (before, bucket),
                    "nothing changes and nothing is spent"
                );
                assert!(outcome.state.held_until(level) >= self.now + u64::from(duration));
            }
            Change::Extended | Change::Raised { .. } => {
                assert_eq!(after.level, level);
                assert!(after.expires_at > self.now && after.expires_at <= self.now + u64::from(duration));
                let from = if outcome.change == Change::Extended {
                    before.expires_at
                } else {
                    self.now
                };
                if let Some(spec) = &bound.bucket {
                    let paid = (after.expires_at - from) * u64::from(spec.period);
                    assert_eq!(
                        outcome.bucket.spent,
                        bucket.leaked(spec, self.now).spent + paid,
                        "what is added is paid"
                    );
                }
                self.charged[actor as usize] += after.expires_at - from;
                let again = contain(outcome.state, outcome.bucket, self.now, &request);
                let clipped = after.expires_at < self.now + u64::from(duration);
                assert!(
                    clipped
                        || again
                            == Ok(Outcome {
                                change: Change::Nothing,
                                ..outcome
                            }),
                    "the second one changes nothing"
                );
            }
        }
        assert!(outcome.state.ceiling_at - outcome.state.since <= u64::from(CEILING));
        assert!(after.expires_at + u64::from(tail_seconds(after.level)) <= outcome.state.ceiling_at);
        self.state = outcome.state;
        self.buckets[actor as usize] = outcome.bucket;
    }

    fn check_budgets(&self) {
        let elapsed = self.now - START;
        for actor in [Actor::Keeper, Actor::Guardian] {
            let spec = actor.bound().bucket.expect("a budget");
            let most = u64::from(spec.capacity) + elapsed * u64::from(spec.capacity) / u64::from(spec.period) + 1;
            assert!(
                self.charged[actor as usize] <= most,
                "{actor:?} spent {} of {most}",
                self.charged[actor as usize]
            );
        }
        assert!(
            self.contained <= u64::from(CEILING) + self.normal,
            "{} s contained, {} s normal",
            self.contained,
            self.normal
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_actor_exceeds_its_bounds(operations in operations()) {
        let mut sim = Sim::new();
        for (wait, op) in &operations {
            sim.wait(*wait);
            sim.apply(op);
            sim.check_budgets();
            for action in Action::ALL {
                let granted = permission(sim.state.effective(sim.now).level, action);
                prop_assert!(action != Action::Repay || granted == Permission::Open);
            }
        }
        // Left alone, the scope is back at Normal by its ceiling.
        let ceiling = sim.state.ceiling_at.max(sim.now);
        prop_assert_eq!(sim.state.effective(ceiling).level, Level::Normal);
    }

    #[test]
    fn every_level_ends_even_the_governors(
        calls in prop::collection::vec((0u64..4_000_000, 0u8..4, level(), 1u32..3_000_000), 1..40),
    ) {
        let mut state = ScopeState::default();
        let mut now = START;
        for (wait, actor, level, duration) in calls {
            now += wait;
            let actor = [Actor::Trip, Actor::Keeper, Actor::Guardian, Actor::Governor][usize::from(actor)];
            let duration = duration % (actor.bound().seconds(level).max(1) + 1);
            let request = Request { actor, level, duration, last_heartbeat: now, next_incident: 1 };
            let Ok(outcome) = contain(state, Bucket::default(), now, &request) else { continue };
            state = outcome.state;
            let most = u64::from(Actor::Governor.bound().halted) + 3 * u64::from(STEP);
            prop_assert!(state.ceiling_at <= now + most.max(u64::from(CEILING)));
            prop_assert_eq!(state.effective(state.ceiling_at).level, Level::Normal);
            prop_assert_eq!(ScopeState::unpack(state.pack()), state);
        }
    }

    #[test]
    fn small_charges_equal_a_large_one(parts in prop::collection::vec(1u64..200, 1..30), gap in 0u64..5) {
        let spec = Actor::Keeper.bound().bucket.unwrap();
        let (mut one_by_one, mut now) = (Bucket::default(), START);
        let mut spent = 0;
        for part in &parts {
            now += gap;
            match one_by_one.charge(&spec, now, *part) {
                Ok(next) => {
                    one_by_one = next;
                    spent += part;
                }
                Err(error) => prop_assert!(matches!(error, BoundError::BudgetSpent { .. }), "another error"),
            }
            prop_assert_eq!(Bucket::unpack(one_by_one.pack()), one_by_one);
        }
        let leaked = (now - START) * u64::from(spec.capacity) / u64::from(spec.period);
        let left = one_by_one.available(&spec, now);
        prop_assert!(left >= u64::from(spec.capacity).saturating_sub(spent));
        prop_assert!(left <= (u64::from(spec.capacity) - spent + leaked).min(u64::from(spec.capacity)));
    }

    #[test]
    fn any_word_unpacks_to_something_that_ends(limbs in any::<[u64; 4]>(), now in 0u64..1 << 41) {
        let state = ScopeState::unpack(alloy_primitives::U256::from_limbs(limbs));
        let held = state.effective(now);
        prop_assert!(held.level == Level::Normal || held.expires_at > now);
        let _ = state.settled(now);
        let _ = state.raise(now, &cordon_core::scope::Raise { level: Level::Halted, duration: 900, next_incident: 1, governor: false });
    }

    #[test]
    fn the_levels_word_keeps_scopes_apart(marks in prop::collection::vec((0u8..=255, level()), 0..200)) {
        let mut word = LevelsWord::default();
        let mut wanted = [Level::Normal; 128];
        for (scope, level) in marks {
            word = word.with(scope, level);
            if let Some(slot) = wanted.get_mut(usize::from(scope)) {
                *slot = level;
            }
        }
        for (scope, level) in (0u8..).zip(wanted) {
            prop_assert_eq!(word.get(scope) == 0, level == Level::Normal);
        }
        prop_assert_eq!(word.get(128), 3);
    }
}

fn raised(level: Level, duration: u32, actor: Actor) -> ScopeState {
    let request = Request {
        actor,
        level,
        duration,
        last_heartbeat: START,
        next_incident: 1,
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
        duration: 1,
        last_heartbeat: START,
        next_incident: 2,
    };
    let halted = contain(state, Bucket::default(), START, &request).unwrap().state;
    assert_eq!(halted.effective(START).level, Level::Halted);
    assert_eq!(halted.effective(START + 1).level, Level::ReduceOnly);
    assert_eq!(halted.effective(START + 24 * 3600 - 1).level, Level::ReduceOnly);
    assert_eq!(halted.effective(START + 24 * 3600).level, Level::Throttled);
}

#[test]
fn a_second_of_budget_buys_seconds_and_not_hours() {
    let state = raised(Level::Halted, 1, Actor::Keeper);
    assert_eq!(state.effective(START + 4).level, Level::Normal);
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
        Err(BoundError::DurationBeyondRole { wanted: 0, most: 3600 })
    );
    assert_eq!(
        ask(Actor::Governor, Level::Grace, 60, 0),
        Err(BoundError::Scope(ScopeError::BadLevel))
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
fn the_keeper_runs_out_of_budget_and_gets_it_back() {
    let mut bucket = Bucket::default();
    let request = |level, duration, now| Request {
        actor: Actor::Keeper,
        level,
        duration,
        last_heartbeat: now,
        next_incident: 1,
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
        &request(Level::Throttled, 1, START),
    );
    assert_eq!(
        third,
        Err(BoundError::BudgetSpent {
            available: 0,
            wanted: 1
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
        Err(ScopeError::ReleaseTooEarly { release_at: at })
    );
    let trip = Request {
        actor: Actor::Trip,
        level: Level::ReduceOnly,
        duration: 3600,
        last_heartbeat: 0,
        next_incident: 2,
    };
    let overtaken = contain(state, Bucket::default(), START + 1, &trip).unwrap();
    assert_eq!((overtaken.change, overtaken.state.release_at), (Change::Nothing, 0));
    assert_eq!(overtaken.state.release(at), Err(ScopeError::ReleaseNotQueued));
    let released = state.release(at).unwrap();
    assert_eq!(
        (released.level, released.expires_at),
        (Level::Grace, at + u64::from(STEP))
    );
    assert_eq!(
        ScopeState::default().queue_release(START),
        Err(ScopeError::NothingToRelease)
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
    };
    let ceiling = START + u64::from(CEILING);
    loop {
        match contain(state, Bucket::default(), now, &trip(now)) {
            Ok(outcome) => state = outcome.state,
            Err(error) => {
                assert_eq!(
                    error,
                    BoundError::Scope(ScopeError::CeilingReached { ceiling_at: ceiling })
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
    };
    let held = contain(state, Bucket::default(), now, &governor).unwrap().state;
    assert_eq!(held.effective(now + 13 * 86_400).level, Level::ReduceOnly);
    // Right after a full week nothing is left; a day at Normal gives a day back.
    let refused = contain(state, Bucket::default(), ceiling, &trip(ceiling));
    assert!(matches!(
        refused,
        Err(BoundError::Scope(ScopeError::CeilingReached { .. }))
    ));
    let later = ceiling + 86_400;
    let again = contain(state, Bucket::default(), later, &trip(later)).unwrap().state;
    assert_eq!(again.ceiling_at, later + 86_400);
}

#[test]
fn an_incident_keeps_its_peak() {
    let incident = Incident {
        opened_at: START,
        closed_at: 0,
        scope: 127,
        opened_by: Actor::Guardian,
        rule: Some(u16::MAX),
        peak: Level::ReduceOnly,
        raises: 1,
        evidence: alloy_primitives::B256::repeat_byte(9),
    };
    let raised = incident.raised(Level::Halted).raised(Level::Throttled);
    assert_eq!((raised.peak, raised.raises), (Level::Halted, 3));
    let closed = Incident {
        closed_at: START + 5,
        rule: None,
        ..raised
    };
    for record in [incident, closed] {
        let (word, evidence) = record.pack();
        assert_eq!(Incident::unpack(word, evidence), Some(record));
    }
    assert_eq!(Incident::unpack(alloy_primitives::U256::ZERO, incident.evidence), None);
}
