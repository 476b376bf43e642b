//! Random sequences of transitions.

use crate::START;
use cordon_core::bounds::{Actor, BoundError, Bucket, HEARTBEAT_MAX_AGE, Outcome, Request, contain};
use cordon_core::scope::{CEILING, Change, STEP, ScopeState, tail_seconds};
use cordon_core::{Action, Level, Permission, level::permission};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Contain(Actor, Level, u32),
    Heartbeat,
    QueueRelease,
    CancelRelease,
    Release,
    /// The governor arms the seal again.
    Arm,
}

/// All who may contain; the governor, who may go beyond the ceiling, in some sequences only.
fn actor(governed: bool) -> impl Strategy<Value = Actor> {
    let mut actors = vec![Actor::Trip, Actor::Keeper, Actor::Guardian, Actor::Seal];
    if governed {
        actors.push(Actor::Governor);
    }
    prop::sample::select(actors)
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(Level::ALL.to_vec())
}

fn operations() -> impl Strategy<Value = Vec<(u64, Op)>> {
    prop_oneof![3 => operations_of(false), 1 => operations_of(true)]
}

fn operations_of(governed: bool) -> impl Strategy<Value = Vec<(u64, Op)>> {
    let duration = prop_oneof![0u32..4000, 0u32..100_000, Just(900), Just(3600), Just(86_400)];
    let op = prop_oneof![
        6 => (actor(governed), level(), duration).prop_map(|(actor, level, duration)| Op::Contain(actor, level, duration)),
        3 => Just(Op::Heartbeat),
        1 => Just(Op::QueueRelease),
        1 => Just(Op::CancelRelease),
        1 => Just(Op::Release),
        1 => Just(Op::Arm),
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

/// A scope with a bucket for each actor, and what has been counted.
struct Sim {
    now: u64,
    state: ScopeState,
    buckets: [Bucket; 5],
    heartbeat: u64,
    /// Seconds charged to each actor.
    charged: [u64; 5],
    /// Whether the seal has not been used since it was armed.
    armed: bool,
    /// Whether the governor has contained the scope, beyond whatever bounds the others.
    governed: bool,
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
            buckets: [Bucket::default(); 5],
            heartbeat: 0,
            charged: [0; 5],
            armed: true,
            governed: false,
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
            Op::Arm => self.armed = true,
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
            elsewhere: 0,
        };
        if actor == Actor::Seal && !self.armed {
            return;
        }
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
        if matches!(actor, Actor::Keeper | Actor::Seal) && !opened {
            let queued = self.state.release_at;
            assert_eq!(
                outcome.state.release_at, queued,
                "neither a keeper nor a seal cancels a release"
            );
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
        self.armed &= actor != Actor::Seal || outcome.change == Change::Nothing;
        self.governed |= actor == Actor::Governor && outcome.change != Change::Nothing;
        assert!(self.governed || !outcome.state.by_governor);
        let bounded = outcome.state.ceiling_at - outcome.state.since <= u64::from(CEILING);
        assert!(bounded || outcome.state.by_governor);
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
            self.governed || self.contained <= u64::from(CEILING) + self.normal,
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
        calls in prop::collection::vec((0u64..4_000_000, 0u8..5, level(), 1u32..3_000_000), 1..40),
    ) {
        let mut state = ScopeState::default();
        let mut now = START;
        for (wait, actor, level, duration) in calls {
            now += wait;
            let actor = [Actor::Trip, Actor::Keeper, Actor::Guardian, Actor::Governor, Actor::Seal][usize::from(actor)];
            let duration = duration % (actor.bound().seconds(level).max(1) + 1);
            let request = Request { actor, level, duration, last_heartbeat: now, next_incident: 1, elsewhere: 0 };
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
        let _ = state.raise(now, &cordon_core::scope::Raise { level: Level::Halted, duration: 900, next_incident: 1, governor: false, budgeted: true, elsewhere: 0 });
    }
}
