//! Repayment is open in every reachable state: closed by the guard's calls for a bounded time whatever is sent in whatever order, and by
//! no rule that wants for gas.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{keccak256, Address, B256};
use common::{book, calls, Abi, Mood, World, ANYONE, BOOK, GOVERNOR, GUARDIAN, VAULT};
use cordon_core::{rule::Unknown, rulebook::Rulebook, Action, ActionSet};
use cordon_host::{layout, Host};

use cordon_logic::{abi::Refusal, Guard};

type Mock = Guard<cordon_host::mock::MockHost>;

/// The longest that one of the calls may last, and all of them in one go.
const LONGEST: u64 = 1800;
const TICK: u64 = 60;

/// The same pause as a call of three scopes, with longest times of their own.
fn paused_thrice() -> Rulebook {
    let mut book = book();
    let pause = book.containments[1].clone();
    for (scope, max_duration) in [(1, 900), (2, 1800)] {
        let mut again = pause.clone();
        (again.scope, again.max_duration) = (scope, max_duration);
        book.containments.push(again);
    }
    book
}

/// Makes a call; what a refused one has done is undone with it.
fn attempt<T>(world: &mut World, sender: Address, call: impl FnOnce(&mut Mock) -> Result<T, Refusal>) {
    world.done();
    let before = world.guard.host.storage.clone();
    if call(world.as_(sender)).is_ok() {
        world.done();
    } else {
        world.guard.host.cache.clear();
        world.guard.host.storage = before;
        world.guard.host.transient.remove(&layout::lock());
    }
}

fn settle_all(world: &mut World) {
    for scope in 0..3 {
        attempt(world, ANYONE, |guard| guard.settle(scope));
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One step of a sequence.
fn step(world: &mut World, random: &mut Random, books: &[Address]) {
    let scope = u8::try_from(random.below(3)).unwrap();
    match random.below(8) {
        0..=2 => {
            let (sender, most) = if random.below(4) == 0 {
                (GOVERNOR, 50)
            } else {
                (GUARDIAN, 5)
            };
            let duration = u32::try_from(300 * (1 + random.below(most))).unwrap();
            attempt(world, sender, |guard| guard.contain(scope, 3, duration, B256::ZERO));
        }
        3..=4 => attempt(world, ANYONE, |guard| guard.retry_containment(scope)),
        5 => attempt(world, GUARDIAN, |guard| guard.queue_release(scope)),
        6 => attempt(world, GUARDIAN, |guard| guard.release(scope)),
        _ if random.below(10) == 0 => {
            let book = books[usize::from(random.below(2) == 1)];
            attempt(world, GOVERNOR, |guard| {
                let hash = guard.host.code_hash(&book);
                guard.adopt_rulebook(book, hash)
            });
        }
        _ => {}
    }
}

/// T26: random sequences of halts, retries, releases and new rulebooks, settled by anyone as soon as there is something to settle.
#[test]
fn repayment_is_closed_for_a_bounded_time_whatever_is_sent() {
    for seed in 1..=8u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::unsealed();
        let code = paused_thrice().encode().unwrap();
        let thrice = Address::from_slice(&keccak256(&code)[..20]);
        world.guard.host.data_account(thrice, &code);
        attempt(&mut world, GOVERNOR, |guard| {
            let hash = guard.host.code_hash(&thrice);
            guard.adopt_rulebook(thrice, hash)
        });
        let mut closures: Vec<(u64, u64)> = Vec::new();
        for _ in 0..200 {
            for _ in 0..=random.below(3) {
                step(&mut world, &mut random, &[thrice, BOOK]);
            }
            settle_all(&mut world);
            for _ in 0..=random.below(10) {
                let from = world.guard.host.now;
                let paused = world.market.paused.get();
                world.pass(TICK);
                if paused {
                    match closures.last_mut().filter(|(_, end)| *end == from) {
                        Some((_, end)) => *end = from + TICK,
                        None => closures.push((from, from + TICK)),
                    }
                }
                settle_all(&mut world);
            }
        }
        assert!(!closures.is_empty(), "nothing was closed in sequence {seed}");
        for (at, (from, _)) in closures.iter().enumerate() {
            let mut closed = 0;
            for (begin, end) in &closures[at..] {
                closed += end - begin;
                let (most, window) = (LONGEST + (end - from) / 4, end - from);
                assert!(closed <= most, "closed for {closed} s of {window} s in sequence {seed}");
            }
        }
        assert!(
            closures.iter().all(|(begin, end)| end - begin <= LONGEST),
            "in sequence {seed}"
        );
    }
}

/// A repayment passes though the gas of its hook does not suffice for what a rule wants to know from before it; what is called within it
/// does not profit.
#[test]
fn a_starved_repayment_passes_and_lets_nothing_else_pass() {
    let mut world = World::new();
    let mut book = book();
    book.rules[2].check = ActionSet::EMPTY.with(Action::Repay).with(Action::Decrease);
    world.adopt(&book);
    let enter = |world: &mut World, action: Action| {
        let ticket = world
            .as_(VAULT)
            .enter([2, 0, 0], action as u8, &Address::ZERO, B256::ZERO);
        let ticket = ticket.unwrap();
        world.done();
        ticket
    };
    world.guard.host.gas = 100_000;
    let refused: Abi::OutOfGasFloor = world.as_refused(VAULT, |guard| {
        guard.enter([2, 0, 0], Action::Decrease as u8, &Address::ZERO, B256::ZERO)
    });
    assert!(refused.needed > 300_000 && refused.left == 100_000);
    let outer = enter(&mut world, Action::Repay);
    world.guard.host.gas = 30_000_000;
    world.price.set(Some(200));
    let inner = enter(&mut world, Action::Decrease);
    let unknown: Abi::RuleUnknown = world.as_refused(VAULT, |guard| guard.exit(inner));
    assert_eq!((unknown.rule, unknown.reason), (2, Unknown::OutOfGas.code()));
    world.as_(VAULT).exit(outer).unwrap();
}

/// An undo that never succeeds, and rulebooks adopted meanwhile: the first settlement afterwards looks at each once, later ones at none.
#[test]
fn adopted_rulebooks_do_not_pile_up_in_settling() {
    let reads = |books: u32| {
        let mut world = World::new();
        world.as_(GUARDIAN).contain(1, 2, 3600, B256::ZERO).unwrap();
        world.done();
        for extra in 0..books {
            let mut book = book();
            book.rules[0].duration = 600 + extra;
            world.adopt(&book);
        }
        world.pass(24 * 3600);
        world.market.mood.set(Mood::Reverts);
        for _ in 0..2 {
            world.as_(ANYONE).settle(1).unwrap();
            assert_eq!(world.events::<Abi::UndoFailed>().len(), 1);
        }
        let reads = world.guard.host.loads.get();
        // Written off, and over.
        world.announce(&Abi::writeOffCall { scope: 1 });
        world.as_(GOVERNOR).write_off(1).unwrap();
        assert_eq!(world.events::<Abi::UndoWrittenOff>()[0].call, calls::CLOSE);
        assert_eq!(world.events::<Abi::IncidentClosed>().len(), 1);
        assert!(world.market.closed.get());
        reads
    };
    assert_eq!(reads(1), reads(20));
}
