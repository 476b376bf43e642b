//! Anchors: the word, its encoding, and that nobody moves a stored value faster than its step, however often he observes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../common/mod.rs"]
mod common;
mod stored;
mod word;

use alloy_primitives::{Address, B256, U256};
use common::{Chain, error, rule};
use cordon_core::anchor::{Anchor, CATCH_UP, NotTaken, STALE, Spec, Stage, StreamId, TooSoon, key};
use cordon_core::incident::Reading;
use cordon_core::rule::program::op;
use cordon_core::rule::{Class, DecodeReason, Inputs, Int, Program, ReadError, Reader, Unknown, Verdict, evaluate};
use cordon_core::rulebook::{Problem, Rulebook};
use cordon_core::stream;
use proptest::prelude::*;

/// The stream of `anchor(…, 10 min, 0, 1e30)`.
fn spec() -> Spec {
    bounded(&int(0), &Int::from(U256::from(10).pow(U256::from(30))))
}

fn bounded(low: &Int, high: &Int) -> Spec {
    Spec {
        period: 600,
        step: 1_000,
        low: Reading::new(low),
        high: Reading::new(high),
    }
}
const T0: u64 = 1_700_000_000;

fn int(value: u64) -> Int {
    Int::from(value)
}

/// A stream that has been observed at one value for so long that its anchor is known at [`T0`].
fn settled(value: u64) -> Anchor {
    let mut anchor = Anchor::default();
    for at in [T0 - 1_800, T0 - 1_200, T0 - 600] {
        anchor = anchor.observe(&spec(), &int(value), at).unwrap();
    }
    anchor = anchor.observe(&spec(), &int(value), T0).unwrap();
    assert_eq!(anchor.value(T0), Ok(int(value)));
    anchor
}

fn too_soon(due: u64) -> NotTaken {
    NotTaken::TooSoon(TooSoon { due })
}
