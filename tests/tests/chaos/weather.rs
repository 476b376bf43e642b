//! What the endpoints of a test suffer: faults by chance, per request.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordon_testkit::{Dice, Fault, MessageFault};
use serde_json::json;

/// Weather at all endpoints of a test.
#[derive(Clone)]
pub(crate) struct Weather(Arc<AtomicU8>);

const CALM: u8 = 0;
const STORM: u8 = 1;
/// Every evaluation is refused: the state is not there.
const NO_STATE: u8 = 2;

impl Weather {
    pub(crate) fn calm() -> Self {
        Self(Arc::new(AtomicU8::new(CALM)))
    }

    pub(crate) fn set_calm(&self) {
        self.0.store(CALM, Ordering::SeqCst);
    }

    pub(crate) fn set_storm(&self) {
        self.0.store(STORM, Ordering::SeqCst);
    }

    pub(crate) fn set_no_state(&self) {
        self.0.store(NO_STATE, Ordering::SeqCst);
    }

    /// What an HTTP endpoint does.
    pub(crate) fn endpoint(&self, seed: u64) -> impl Fn(usize, &str) -> Fault + Clone + Send + Sync + 'static + use<> {
        let (weather, dice) = (self.clone(), Arc::new(Mutex::new(Dice::new(seed))));
        move |_, request| match weather.0.load(Ordering::SeqCst) {
            CALM => Fault::None,
            NO_STATE if request.contains("\"eth_call\"") => Fault::Error(-32_000, "missing trie node"),
            NO_STATE => Fault::None,
            _ => storm(&mut dice.lock().unwrap(), request),
        }
    }

    /// What a WebSocket endpoint does.
    pub(crate) fn subscription(&self, seed: u64) -> impl Fn() -> MessageFault + Clone + Send + Sync + 'static + use<> {
        let (weather, dice) = (self.clone(), Arc::new(Mutex::new(Dice::new(seed))));
        move || {
            if weather.0.load(Ordering::SeqCst) != STORM {
                return MessageFault::None;
            }
            let mut dice = dice.lock().unwrap();
            match dice.below(100) {
                0..15 => MessageFault::Lost,
                15..30 => MessageFault::Overtaken,
                30..40 => MessageFault::Slow(Duration::from_millis(dice.between(50, 600))),
                40..44 => MessageFault::Cut,
                44..46 => MessageFault::Silence,
                _ => MessageFault::None,
            }
        }
    }
}

/// One request in three meets a fault.
fn storm(dice: &mut Dice, request: &str) -> Fault {
    let asks = |method: &str| request.contains(&format!("\"{method}\""));
    match dice.below(100) {
        0..6 => Fault::Slow(Duration::from_millis(dice.between(20, 400))),
        6..10 => Fault::Cut,
        10..13 => Fault::CutAfter,
        13..17 => Fault::Http(429),
        17..19 => Fault::Http(502),
        19..22 => Fault::RateLimit,
        22..25 => Fault::Truncated,
        25..26 => Fault::Page,
        26..27 => Fault::Hang,
        27..32 if asks("eth_getLogs") => Fault::Answer(json!([])),
        27..32 if asks("eth_getBlockByNumber") => Fault::Stale(dice.between(1, 20)),
        27..30 if asks("eth_chainId") => Fault::Answer(json!("0x1")),
        27..31 if asks("eth_call") => Fault::Answer(json!("0x")),
        27..29 => Fault::Error(-32_603, "internal error"),
        _ => Fault::None,
    }
}
