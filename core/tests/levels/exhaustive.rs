//! Every state that a scope, its budgets and the clock can get into within small bounds, by model checking. The model calls the
//! guard's own transition functions and keeps a scope as the word that the guard stores; only the choice of what is tried is small.

use crate::START;
use alloy_primitives::U256;
use cordon_core::bounds::{Actor, Bucket, Request, contain};
use cordon_core::rule::Verdict;
use cordon_core::scope::{CEILING, Change, RELEASE_DELAY, ScopeState, lets_release};
use cordon_core::{Action, Level, Permission, level::permission};
use stateright::{Checker, Model, Property};

/// What the guard stores, and what the properties count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    scope: U256,
    /// Budgets of keeper and guardian.
    buckets: [U256; 2],
    heartbeat: u64,
    /// Seconds that keeper and guardian have paid for.
    charged: [u64; 2],
    /// Seconds spent away from and at `Normal`.
    contained: u64,
    normal: u64,
    /// Seconds spent at `Throttled` or stricter.
    raised: u64,
    /// Whether a halt has expired into the next level.
    stepped_down: bool,
    /// The rule of the scope: whether it is breached, and the incident that it was tripped for last.
    breached: bool,
    tripped: u32,
    /// Number of the latest incident.
    incidents: u32,
    /// Whether the seal has not been used since it was armed.
    armed: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Wait(u64),
    Heartbeat,
    Contain(Actor, Level, u32),
    QueueRelease,
    CancelRelease,
    Release,
    /// The rule is breached, or holds again.
    Turn,
    /// The governor arms the seal again.
    Arm,
}

/// What a trip raises to, and for how long.
const RULE: (Level, u32) = (Level::ReduceOnly, 3600);

/// What is tried, and for how long.
struct Levels {
    waits: &'static [u64],
    requests: Vec<(Actor, Level, u32)>,
    horizon: u64,
    /// Whether heartbeats and releases are tried too.
    releases: bool,
    /// Whether the rule that a trip proves breached may hold too. Else it always is.
    turns: bool,
}

impl World {
    fn state(&self) -> ScopeState {
        ScopeState::unpack(self.scope)
    }

    fn level(&self) -> Level {
        self.state().effective(self.now).level
    }

    /// Time passes, rung by rung.
    fn wait(&mut self, seconds: u64) {
        let until = self.now + seconds;
        while self.now < until {
            let held = self.state().effective(self.now);
            let next = if held.level == Level::Normal {
                until
            } else {
                held.expires_at.min(until)
            };
            if held.level.is_raised() {
                self.raised += next - self.now;
            }
            if held.level == Level::Normal {
                self.normal += next - self.now;
            } else {
                self.contained += next - self.now;
            }
            self.now = next;
            let after = self.level();
            assert!(
                after == held.level || after == held.level.step_down(),
                "{held:?} to {after:?}"
            );
            self.stepped_down |= held.level == Level::Halted && after == Level::ReduceOnly;
        }
    }

    fn verdict(&self) -> Verdict {
        if self.breached {
            Verdict::Breached
        } else {
            Verdict::Holds
        }
    }

    /// Whether the rule, hooked to a withdrawal, refuses it.
    fn refuses_exits(&self) -> bool {
        let (level, duration) = RULE;
        self.breached && !self.state().governs(self.now, self.tripped, level, duration, || 0)
    }

    fn contain(&mut self, actor: Actor, level: Level, duration: u32) -> Option<()> {
        // The guard re-evaluates the rule, and takes the seal when it was used.
        if (actor == Actor::Trip && !self.breached) || (actor == Actor::Seal && !self.armed) {
            return None;
        }
        let slot = match actor {
            Actor::Keeper => Some(0),
            Actor::Guardian => Some(1),
            Actor::Trip | Actor::Governor | Actor::Seal => None,
        };
        let request = Request {
            actor,
            level,
            duration,
            last_heartbeat: self.heartbeat,
            next_incident: self.incidents + 1,
            elsewhere: 0,
        };
        let bucket = slot.map_or(Bucket::default(), |slot| Bucket::unpack(self.buckets[slot]));
        let before = self.state().effective(self.now);
        let outcome = contain(self.state(), bucket, self.now, &request).ok()?;
        let after = outcome.state.effective(self.now);
        assert!(after.level.rank() >= before.level.rank(), "containment never loosens");
        if let Some(slot) = slot {
            let from = match outcome.change {
                Change::Nothing => after.expires_at,
                Change::Extended => before.expires_at,
                Change::Raised { .. } => self.now,
            };
            self.charged[slot] += after.expires_at - from;
            self.buckets[slot] = outcome.bucket.pack();
        }
        self.incidents = self.incidents.max(outcome.state.incident);
        if actor == Actor::Trip {
            self.tripped = outcome.state.incident;
        }
        self.armed &= actor != Actor::Seal || outcome.change == Change::Nothing;
        self.scope = outcome.state.pack();
        Some(())
    }
}

impl Model for Levels {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let empty = Bucket::default().pack();
        vec![World {
            now: START,
            scope: ScopeState::default().pack(),
            buckets: [empty; 2],
            heartbeat: START,
            charged: [0; 2],
            contained: 0,
            normal: 0,
            raised: 0,
            stepped_down: false,
            breached: true,
            tripped: 0,
            incidents: 0,
            armed: true,
        }]
    }

    fn actions(&self, _: &World, steps: &mut Vec<Step>) {
        steps.extend(self.waits.iter().map(|seconds| Step::Wait(*seconds)));
        steps.extend(
            self.requests
                .iter()
                .map(|(actor, level, duration)| Step::Contain(*actor, *level, *duration)),
        );
        if self.turns {
            steps.push(Step::Turn);
        }
        if self.requests.iter().any(|(actor, ..)| *actor == Actor::Seal) {
            steps.push(Step::Arm);
        }
        if self.releases {
            steps.extend([Step::Heartbeat, Step::QueueRelease, Step::CancelRelease, Step::Release]);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let state = last.state();
        match step {
            Step::Wait(seconds) => world.wait(seconds),
            Step::Heartbeat => world.heartbeat = world.now,
            Step::Contain(actor, level, duration) => world.contain(actor, level, duration)?,
            Step::QueueRelease => world.scope = state.queue_release(world.now).ok()?.pack(),
            Step::CancelRelease => world.scope = state.cancel_release().ok()?.pack(),
            Step::Release => {
                // Without the rule's turns everything is tried, as if no robust rule were there.
                if self.turns && !lets_release(last.verdict(), false, || true) {
                    return None;
                }
                world.scope = state.release(world.now).ok()?.pack();
            }
            Step::Turn => world.breached = !last.breached,
            Step::Arm => world.armed = true,
        }
        (world != *last).then_some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= START + self.horizon
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("repayment is open", |_, world| {
                permission(world.level(), Action::Repay) == Permission::Open
            }),
            Property::<Self>::always("nothing is liquidated that cannot be repaid or closed", |_, world| {
                let passes = |action| permission(world.level(), action).passes();
                !passes(Action::Liquidate) || passes(Action::Repay) && passes(Action::Decrease)
            }),
            Property::<Self>::always("left alone, every level ends by its ceiling", |_, world| {
                let state = world.state();
                let end = state.ceiling_at.max(world.now);
                state.effective(end).level == Level::Normal
                    && (state.by_governor || state.ceiling_at - state.since <= CEILING.into())
            }),
            Property::<Self>::always(
                "without the governor, containment is followed by as much normality",
                |model, world| {
                    let governed = model.requests.iter().any(|(actor, ..)| *actor == Actor::Governor);
                    governed || world.contained <= u64::from(CEILING) + world.normal
                },
            ),
            Property::<Self>::always("no budget gives more than it holds and gets back", |_, world| {
                [Actor::Keeper, Actor::Guardian]
                    .into_iter()
                    .zip(world.charged)
                    .zip(world.buckets)
                    .all(|((actor, charged), bucket)| {
                        let spec = actor.bound().bucket.expect("a budget");
                        let (capacity, period) = (u64::from(spec.capacity), u64::from(spec.period));
                        let got_back = (world.now - START) * capacity;
                        Bucket::unpack(bucket).spent <= capacity * period
                            && charged * period <= capacity * period + got_back
                    })
            }),
            Property::<Self>::always(
                "a second of budget buys a second of each of three levels at most",
                |model, world| {
                    let paid_for = |(actor, ..): &(Actor, Level, u32)| actor.bound().bucket.is_some();
                    let charged: u64 = world.charged.iter().sum();
                    !model.requests.iter().all(paid_for) || world.raised <= 3 * charged
                },
            ),
            // Who stands before a hook that refuses because of a breach which was tripped before can trip it again; then its level governs.
            Property::<Self>::always(
                "a standing breach that was tripped shuts no exit for good",
                |_, world| {
                    let open = permission(world.level(), Action::Withdraw).passes();
                    if world.tripped == 0 || !open || !world.refuses_exits() {
                        return true;
                    }
                    let mut tripped = world.clone();
                    tripped.contain(Actor::Trip, RULE.0, RULE.1).is_some() && !tripped.refuses_exits()
                },
            ),
            Property::<Self>::always("the guard stores what it decided", |_, world| {
                world.state().pack() == world.scope
            }),
            Property::<Self>::always("a queued release waits", |_, world| {
                world.state().release_at <= world.now + u64::from(RELEASE_DELAY)
            }),
        ];
        if self.turns {
            properties.extend([
                Property::<Self>::sometimes("a breach refuses exits", |_, world| world.refuses_exits()),
                Property::<Self>::sometimes("at the ceiling a breach refuses none", |_, world| {
                    let governs = world.breached && world.tripped != 0 && !world.refuses_exits();
                    governs && world.state().effective(world.now).level == Level::Normal
                }),
            ]);
        }
        if self.releases {
            // The steps are fine enough to see what only lasts for an hour.
            properties.extend([
                Property::<Self>::sometimes("halted", |_, world| world.level() == Level::Halted),
                Property::<Self>::sometimes("in grace", |_, world| world.level() == Level::Grace),
                Property::<Self>::sometimes("stepped down from halted", |_, world| world.stepped_down),
            ]);
        }
        properties
    }
}

/// Tries all sequences of up to so many steps within the horizon.
fn check(model: Levels, steps: usize) {
    let checker = model.checker().target_max_depth(steps).spawn_bfs().join();
    println!(
        "{} states, {} steps deep at most",
        checker.unique_state_count(),
        checker.max_depth()
    );
    assert!(checker.is_done());
    checker.assert_properties();
}

/// All levels that an actor may raise to, each for as long as it may.
fn longest(actor: Actor) -> impl Iterator<Item = (Actor, Level, u32)> {
    let raised = Level::ALL.into_iter().filter(|level| level.is_raised());
    raised.map(move |level| (actor, level, actor.bound().seconds(level)))
}

#[test]
fn seven_steps_of_every_actor() {
    let actors = [Actor::Trip, Actor::Keeper, Actor::Guardian, Actor::Seal];
    let model = Levels {
        waits: &[900, 6 * 3600],
        requests: actors
            .into_iter()
            .flat_map(longest)
            .chain([(Actor::Keeper, Level::Halted, 60)])
            .collect(),
        horizon: 7 * 86_400,
        releases: true,
        turns: false,
    };
    check(model, 7);
}

/// Short halts over and under longer containment, with releases: all orders.
#[test]
fn nine_steps_of_stolen_keys() {
    let model = Levels {
        waits: &[59, 3600],
        requests: vec![
            (Actor::Keeper, Level::ReduceOnly, 3600),
            (Actor::Keeper, Level::Throttled, 60),
            (Actor::Keeper, Level::Halted, 60),
            (Actor::Guardian, Level::Halted, 7200),
        ],
        horizon: 86_400,
        releases: true,
        turns: false,
    };
    check(model, 9);
}

#[test]
fn ten_days_day_by_day() {
    let model = Levels {
        waits: &[86_400],
        requests: vec![
            (Actor::Guardian, Level::Halted, 86_400),
            (Actor::Trip, Level::ReduceOnly, 3600),
        ],
        horizon: 10 * 86_400,
        releases: false,
        turns: false,
    };
    check(model, usize::MAX);
}

/// A rule that is breached and mended, tripped, and outlasts the ceiling, with people who contain and release meanwhile.
#[test]
fn nine_days_of_a_standing_breach() {
    let model = Levels {
        waits: &[1800, 86_400, 3 * 86_400],
        requests: vec![
            (Actor::Trip, RULE.0, RULE.1),
            (Actor::Guardian, Level::Halted, 86_400),
            (Actor::Seal, Level::ReduceOnly, 3 * 86_400),
        ],
        horizon: 9 * 86_400,
        releases: false,
        turns: true,
    };
    check(model, 10);
}

#[test]
fn the_governor_for_nine_weeks() {
    let model = Levels {
        waits: &[7 * 86_400],
        requests: vec![
            (Actor::Governor, Level::Halted, 28 * 86_400),
            (Actor::Guardian, Level::Halted, 86_400),
            (Actor::Seal, Level::ReduceOnly, 3 * 86_400),
        ],
        horizon: 63 * 86_400,
        releases: false,
        turns: false,
    };
    check(model, usize::MAX);
}
