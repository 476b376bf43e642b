//! What a budget buys: no sequence of calls, over several scopes, keeps more closed than what was paid for.

use crate::START;
use cordon_core::Level;
use cordon_core::bounds::{Actor, Bucket, Request, contain};
use cordon_core::scope::{CEILING, STEP, ScopeState};
use proptest::prelude::*;

/// Scope 0 is the whole protocol.
const SCOPES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Contain(Actor, usize, Level, u32),
    /// A guardian's release, queued and executed.
    Release(usize),
}

/// A guard's scopes and budgets, and the seconds that count.
struct Guard {
    now: u64,
    scopes: [ScopeState; SCOPES],
    buckets: [Bucket; 4],
    /// Per scope: seconds in which it was closed by itself or with scope 0, and in which it was not.
    closed: [u64; SCOPES],
    open: [u64; SCOPES],
    /// All seconds at `Throttled` or stricter, of each scope by itself, with the time at which they passed.
    raised: Vec<(u64, u64)>,
}

impl Guard {
    fn new() -> Self {
        Guard {
            now: START,
            scopes: [ScopeState::default(); SCOPES],
            buckets: [Bucket::default(); 4],
            closed: [0; SCOPES],
            open: [0; SCOPES],
            raised: Vec::new(),
        }
    }

    fn level(&self, scope: usize) -> Level {
        self.scopes[scope].effective(self.now).level
    }

    fn wait(&mut self, seconds: u64) {
        let until = self.now + seconds;
        while self.now < until {
            let ends = self.scopes.iter().map(|scope| scope.effective(self.now).expires_at);
            let next = ends.filter(|end| *end > self.now).min().unwrap_or(until).min(until);
            let passed = next - self.now;
            let whole = self.level(0) != Level::Normal;
            for scope in 0..SCOPES {
                let level = self.level(scope);
                if whole || level != Level::Normal {
                    self.closed[scope] += passed;
                } else {
                    self.open[scope] += passed;
                }
                if level.rank() >= Level::Throttled.rank() {
                    self.raised.push((next, passed));
                }
            }
            self.now = next;
        }
    }

    /// Answers what was paid.
    fn contain(&mut self, actor: Actor, scope: usize, level: Level, duration: u32) -> Option<u64> {
        let elsewhere = if scope == 0 {
            self.scopes.iter().map(|scope| scope.used(self.now)).max().unwrap_or(0)
        } else {
            self.scopes[0].used(self.now)
        };
        let request = Request {
            actor,
            level,
            duration,
            last_heartbeat: self.now,
            next_incident: 1,
            elsewhere,
        };
        let (before, bucket) = (self.scopes[scope], self.buckets[actor as usize]);
        let outcome = contain(before, bucket, self.now, &request).ok()?;
        let after = outcome.state;
        let paid = actor.bound().bucket.map(|spec| {
            let spent = outcome.bucket.spent - bucket.leaked(&spec, self.now).spent;
            spent / u64::from(spec.period)
        });
        self.scopes[scope] = after;
        self.buckets[actor as usize] = outcome.bucket;
        if let Some(paid) = paid {
            bought(before, after, self.now, level, paid);
        }
        paid
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Contain(actor, scope, level, duration) => {
                self.contain(actor, scope, level, duration);
            }
            Op::Release(scope) => {
                if let Ok(queued) = self.scopes[scope].queue_release(self.now) {
                    self.scopes[scope] = queued;
                    self.wait(queued.release_at.saturating_sub(self.now));
                    self.scopes[scope] = self.scopes[scope].release(self.now).unwrap_or(self.scopes[scope]);
                }
            }
        }
    }
}

/// Seconds from `now` on in which a scope is at `level` or stricter, if nothing else happens.
fn left(state: ScopeState, now: u64, level: Level) -> u64 {
    state.held_until(level).saturating_sub(now)
}

/// A call buys what was paid for and the steps down from it, each as long as what was paid, and nothing else: afterwards the
/// scope is where it would have been without the call.
fn bought(before: ScopeState, after: ScopeState, now: u64, level: Level, paid: u64) {
    let before = before.settled(now);
    let mut rungs = 1;
    let mut rung = Level::Halted;
    while rung != Level::Normal {
        let (was, is) = (left(before, now, rung), left(after, now, rung));
        assert!(is >= was, "{}: nothing is opened", rung.name());
        if rung.rank() > level.rank() {
            assert_eq!(is, was, "{} was not asked for", rung.name());
        } else {
            assert!(
                is - was <= rungs * paid,
                "{}: {} s for {paid} s of budget, {rungs} rungs",
                rung.name(),
                is - was
            );
            rungs += 1;
        }
        rung = rung.step_down();
    }
    let mut at = left(after, now, level);
    for _ in 0..3 {
        at += paid.min(u64::from(STEP));
    }
    let (with, without) = (after.effective(now + at), before.effective(now + at));
    assert_eq!((with.level, with.expires_at), (without.level, without.expires_at));
}

fn raised_level() -> impl Strategy<Value = Level> {
    prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted])
}

fn duration() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(1u32),
        Just(60),
        Just(900),
        Just(3600),
        60u32..3600,
        3600u32..86_400
    ]
}

fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0u64), 0u64..120, 600u64..4000, 3500u64..3600, 0u64..100_000]
}

fn op(actors: Vec<Actor>) -> impl Strategy<Value = (u64, Op)> {
    let contain = (prop::sample::select(actors), 0..SCOPES, raised_level(), duration())
        .prop_map(|(actor, scope, level, duration)| Op::Contain(actor, scope, level, duration));
    let op = prop_oneof![9 => contain, 1 => (0..SCOPES).prop_map(Op::Release)];
    (wait(), op)
}

/// The most that a budget of so many seconds at Throttled or stricter can be in a window: what it holds, what it gets back in the
/// window and in the time before of which something can last into it, and two steps down for each second.
fn most(actor: Actor, window: u64) -> u64 {
    let spec = actor.bound().bucket.expect("a budget");
    let lasts = u64::from(actor.bound().throttled) + 2 * u64::from(STEP);
    let back = (window + lasts) * u64::from(spec.capacity) / u64::from(spec.period) + 1;
    3 * (u64::from(spec.capacity) + back)
}

fn alone(actor: Actor, operations: &[(u64, Op)]) {
    let mut guard = Guard::new();
    for (wait, op) in operations {
        guard.wait(*wait);
        guard.apply(*op);
    }
    guard.wait(4 * 86_400);
    for window in [3600, 86_400, 7 * 86_400, 28 * 86_400] {
        let (mut first, mut sum) = (0, 0);
        for (at, seconds) in &guard.raised {
            sum += seconds;
            while guard.raised[first].0 + window <= *at {
                sum -= guard.raised[first].1;
                first += 1;
            }
            assert!(sum <= most(actor, window), "{sum} s in {window} s by {actor:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_keeper_closes_no_more_than_its_budget_allows(operations in prop::collection::vec(op(vec![Actor::Keeper]), 1..200)) {
        alone(Actor::Keeper, &operations);
    }

    #[test]
    fn a_guardian_closes_no_more_than_its_budget_allows(operations in prop::collection::vec(op(vec![Actor::Guardian]), 1..200)) {
        alone(Actor::Guardian, &operations);
    }

    #[test]
    fn the_ceiling_counts_scope_and_protocol_alike(
        operations in prop::collection::vec(op(vec![Actor::Trip, Actor::Trip, Actor::Keeper, Actor::Guardian]), 1..400),
    ) {
        let mut guard = Guard::new();
        for (wait, op) in operations {
            guard.wait(wait);
            guard.apply(op);
            for scope in 0..SCOPES {
                let (closed, open) = (guard.closed[scope], guard.open[scope]);
                prop_assert!(closed <= u64::from(CEILING) + open, "scope {}: {} s closed, {} s open", scope, closed, open);
            }
        }
    }
}

/// The reviewer's attack: an hour of closure for each second.
#[test]
fn short_halts_keep_nothing_closed() {
    for scopes in [&[2usize][..], &[0, 2]] {
        let mut guard = Guard::new();
        guard.contain(Actor::Keeper, 2, Level::ReduceOnly, 3600);
        for hour in 0..630 {
            guard.wait(3599);
            for duration in [1, 60] {
                guard.contain(Actor::Keeper, scopes[hour % scopes.len()], Level::Halted, duration);
            }
        }
        let days = 630 / 24 + 1;
        assert!(guard.closed[2] <= 4 * (7200 + days * 7200), "{} s", guard.closed[2]);
    }
}

#[test]
fn after_a_release_a_second_buys_a_second() {
    let mut guard = Guard::new();
    guard.contain(Actor::Guardian, 1, Level::ReduceOnly, 86_400);
    guard.apply(Op::Release(1));
    assert_eq!(guard.level(1), Level::Grace);
    let grace = guard.scopes[1].effective(guard.now);
    guard.wait(100);
    assert_eq!(guard.contain(Actor::Keeper, 1, Level::Halted, 60), Some(60));
    assert_eq!(guard.level(1), Level::Halted);
    guard.wait(60 + 60 + 60);
    assert_eq!(guard.scopes[1].effective(guard.now), grace, "where it would have been");
}

#[test]
fn trips_of_a_market_and_of_the_whole_protocol_in_turn_meet_one_ceiling() {
    let mut guard = Guard::new();
    for hour in 0..60 * 24 {
        guard.contain(Actor::Trip, hour / 100 % 2, Level::ReduceOnly, 3600);
        guard.wait(3600);
    }
    assert!(
        guard.closed[1] <= u64::from(CEILING) + guard.open[1],
        "{} s closed, {} s open",
        guard.closed[1],
        guard.open[1]
    );
    assert!(guard.closed[1] > u64::from(CEILING));
}
