//! Containment in two steps, of a target that has levels of its own: a protocol that embeds the hooks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use alloy_primitives::{keccak256, U256};
use common::{Abi, World, ANYONE, FEED, GUARDIAN};
use cordon_core::{
    rule::compile,
    rulebook::{Containment, Rulebook, Undo},
    ActionSet, Level,
};
use std::{cell::Cell, rc::Rc};

fn set(level: u64) -> Vec<u8> {
    [&keccak256("set(uint256)")[..4], &U256::from(level).to_be_bytes::<32>()].concat()
}

fn step(level: Level, to: u64, done: &str, back: u64, undone: &str) -> Containment {
    let condition = |source: &str| compile(source, &[], &[], &common::Names).unwrap().program;
    Containment {
        scope: 1,
        level,
        target: FEED,
        calldata: set(to),
        gas: 200_000,
        closes: ActionSet::EMPTY,
        max_duration: 0,
        done: condition(done),
        undo: vec![Undo {
            target: FEED,
            calldata: set(back),
            undone: condition(undone),
        }],
    }
}

/// A guard whose scope 1 holds the level of a contract, and the level that the contract has.
fn world(containments: Vec<Containment>) -> (World, Rc<Cell<u64>>) {
    let mut world = World::new();
    let held = Rc::new(Cell::new(0));
    let level = held.clone();
    world.guard.host.contract(FEED, &[1], move |_, input, _| {
        if input.starts_with(&keccak256("value()")[..4]) {
            return Ok(U256::from(level.get()).to_be_bytes::<32>().to_vec());
        }
        level.set(input[35].into());
        Ok(Vec::new())
    });
    world.adopt(&Rulebook {
        containments,
        ..common::book()
    });
    (world, held)
}

/// The laxer level first, and each undone to the one below: then the contract steps down with the guard, and nothing outlives it.
#[test]
fn a_containment_of_two_levels_steps_down_with_the_guard() {
    let (mut world, held) = world(vec![
        step(Level::ReduceOnly, 2, "feed.value() >= 2", 0, "feed.value() == 0"),
        step(Level::Halted, 3, "feed.value() == 3", 2, "feed.value() != 3"),
    ]);
    world.as_(GUARDIAN).contain(1, 3, 900, Default::default()).unwrap();
    assert_eq!((held.get(), world.level(1)), (3, Level::Halted));
    world.pass(900);
    assert_eq!(
        (held.get(), world.level(1)),
        (3, Level::ReduceOnly),
        "until somebody settles"
    );
    world.as_(ANYONE).settle(1).unwrap();
    assert_eq!((held.get(), world.level(1)), (2, Level::ReduceOnly));
    world.as_refused::<Abi::NotExpired, _>(ANYONE, |guard| guard.settle(1));
    world.pass(900);
    world.as_(ANYONE).settle(1).unwrap();
    assert_eq!((held.get(), world.level(1)), (0, Level::Throttled));
}

/// The other way round the laxer call finds its work done, so that it is nobody's to undo, and what is left outlives the guard's level.
#[test]
fn the_stricter_level_first_leaves_the_laxer_one_in_force() {
    let (mut world, held) = world(vec![
        step(Level::Halted, 3, "feed.value() == 3", 2, "feed.value() != 3"),
        step(Level::ReduceOnly, 2, "feed.value() >= 2", 0, "feed.value() == 0"),
    ]);
    world.as_(GUARDIAN).contain(1, 3, 900, Default::default()).unwrap();
    assert_eq!(world.events::<Abi::ContainmentNotNeeded>().len(), 1);
    world.pass(5 * 3600);
    world.as_(ANYONE).settle(1).unwrap();
    assert_eq!(
        (held.get(), world.level(1)),
        (2, Level::Normal),
        "why the order matters"
    );
}
