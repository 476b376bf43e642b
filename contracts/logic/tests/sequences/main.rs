//! Random sequences of everybody's calls over the whole guard: the real logic on the mock VM, beside a small reference of what each may
//! do. After every step no actor is beyond its bounds, every level ends, repayment is open, budgets add up, records and scopes agree;
//! in the end the governor undoes all of it.
//!
//! `CORDON_SEED=…` repeats what a run has printed, `CORDON_SEQUENCES=…` says how many sequences there are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod checks;
#[path = "../common/mod.rs"]
mod common;
mod ops;
mod recovery;
mod reference;
mod scene;
mod steps;

use checks::Clock;
use ops::{operations, Mood, Op};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use scene::Scene;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sequences of a run, unless `CORDON_SEQUENCES` says otherwise.
const SEQUENCES: u32 = 48;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays a sequence, and undoes it.
fn play(operations: &[Op], dead: bool) -> Scene {
    let (mut scene, mut clock) = (Scene::new(), Clock::default());
    for op in operations {
        scene.step(&mut clock, op);
        scene.check(&clock);
    }
    scene.recover(&mut clock, dead);
    // What others have closed or the governor has given up stays closed, and what cannot be read is nobody's to open.
    let other = |op: &Op| matches!(op, Op::Hand(..) | Op::Mood(Mood::Blind));
    let touched = dead || clock.given_up || operations.iter().any(other);
    let (closed, paused) = (scene.market.closed.get(), scene.market.paused.get());
    assert!(
        touched || !(closed || paused),
        "what the guard has closed is open again"
    );
    scene
}

#[test]
fn nobody_exceeds_his_bounds_and_the_governor_undoes_everything() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("CORDON_SEED").unwrap_or_else(|| u64::from(since.subsec_nanos()));
    let cases = number("CORDON_SEQUENCES").map_or(SEQUENCES, |cases| u32::try_from(cases).unwrap());
    println!("sequences: CORDON_SEED={seed} CORDON_SEQUENCES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&(operations(80), prop::bool::weighted(0.2)), |(operations, dead)| {
        play(&operations, dead);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("CORDON_SEED={seed} CORDON_SEQUENCES={cases}: {error}");
    }
}
