//! What the endpoints of a test suffer: faults by chance, per request, and each kind of them at least once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordon_testkit::{Dice, Fault, MessageFault};
use serde_json::json;

/// Weather at all endpoints of a test.
#[derive(Clone)]
pub(crate) struct Weather {
    now: Arc<AtomicU8>,
    /// How often each kind of fault came, over all endpoints.
    met: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

const CALM: u8 = 0;
const STORM: u8 = 1;
/// Every evaluation is refused: the state is not there.
const NO_STATE: u8 = 2;

/// What requests meet in a storm; how many of 100 do, and which method it is about when it is about one.
const FAULTS: [(&str, u64, Option<&str>); 16] = [
    ("slow", 6, None),
    ("cut", 4, None),
    ("cut after", 3, None),
    ("429", 4, None),
    ("502", 2, None),
    ("rate limit", 3, None),
    ("truncated", 3, None),
    ("page", 1, None),
    ("hang", 1, None),
    ("error", 2, None),
    ("no logs", 5, Some("eth_getLogs")),
    ("some logs", 5, Some("eth_getLogs")),
    ("some receipts", 15, Some("eth_getBlockReceipts")),
    ("stale head", 5, Some("eth_getBlockByNumber")),
    ("unknown block", 5, Some("eth_getBlockByHash")),
    ("empty call", 4, Some("eth_call")),
];

/// What messages of a subscription meet.
const MESSAGES: [(&str, u64); 6] = [
    ("message lost", 15),
    ("message overtaken", 15),
    ("message slow", 10),
    ("message garbage", 4),
    ("connection cut", 4),
    ("connection silent", 2),
];

impl Weather {
    pub(crate) fn calm() -> Self {
        Self {
            now: Arc::new(AtomicU8::new(CALM)),
            met: Arc::default(),
        }
    }

    pub(crate) fn set_calm(&self) {
        self.now.store(CALM, Ordering::SeqCst);
    }

    pub(crate) fn set_storm(&self) {
        self.now.store(STORM, Ordering::SeqCst);
    }

    pub(crate) fn set_no_state(&self) {
        self.now.store(NO_STATE, Ordering::SeqCst);
    }

    /// Kinds of faults that have not come yet.
    pub(crate) fn owed(&self) -> Vec<&'static str> {
        let met = self.met.lock().unwrap();
        let all = FAULTS.iter().map(|(kind, ..)| *kind);
        let all = all.chain(MESSAGES.iter().map(|(kind, _)| *kind));
        all.filter(|kind| !met.contains_key(kind)).collect()
    }

    /// How often each kind came.
    pub(crate) fn met(&self) -> BTreeMap<&'static str, usize> {
        self.met.lock().unwrap().clone()
    }

    /// The kind that chance has chosen of those that may come now; in one case of three one that has not come at all.
    fn choose(&self, dice: &mut Dice, kinds: impl Iterator<Item = (&'static str, u64)>) -> Option<&'static str> {
        let mut met = self.met.lock().unwrap();
        let (kinds, mut roll, hurry) = (kinds.collect::<Vec<_>>(), dice.below(100), dice.chance(33));
        let owed = kinds.iter().find(|(kind, _)| hurry && !met.contains_key(kind));
        let chosen = owed.or_else(|| {
            kinds.iter().find(|(_, share)| {
                let falls = roll < *share;
                roll = roll.saturating_sub(*share);
                falls
            })
        });
        let (kind, _) = *chosen?;
        *met.entry(kind).or_default() += 1;
        Some(kind)
    }

    /// What an HTTP endpoint does.
    pub(crate) fn endpoint(&self, seed: u64) -> impl Fn(usize, &str) -> Fault + Clone + Send + Sync + 'static + use<> {
        let (weather, dice) = (self.clone(), Arc::new(Mutex::new(Dice::new(seed))));
        move |_, request| match weather.now.load(Ordering::SeqCst) {
            CALM => Fault::None,
            NO_STATE if request.contains("\"eth_call\"") => Fault::Error(-32_000, "missing trie node"),
            NO_STATE => Fault::None,
            _ => weather.storm(&mut dice.lock().unwrap(), request),
        }
    }

    fn storm(&self, dice: &mut Dice, request: &str) -> Fault {
        let may = |about: Option<&str>| about.is_none_or(|method| request.contains(&format!("\"{method}\"")));
        let kinds = FAULTS.iter().filter(|(.., about)| may(*about));
        match self.choose(dice, kinds.map(|(kind, share, _)| (*kind, *share))) {
            Some("slow") => Fault::Slow(Duration::from_millis(dice.between(20, 400))),
            Some("cut") => Fault::Cut,
            Some("cut after") => Fault::CutAfter,
            Some("429") => Fault::Http(429),
            Some("502") => Fault::Http(502),
            Some("rate limit") => Fault::RateLimit,
            Some("truncated") => Fault::Truncated,
            Some("page") => Fault::Page,
            Some("hang") => Fault::Hang,
            Some("error") => Fault::Error(-32_603, "internal error"),
            Some("no logs") => Fault::Answer(json!([])),
            Some("some logs" | "some receipts") => Fault::Shorter,
            Some("stale head" | "unknown block") => Fault::Stale(dice.between(1, 20)),
            Some("empty call") => Fault::Answer(json!("0x")),
            Some(other) => panic!("{other} is no fault of a request"),
            None => Fault::None,
        }
    }

    /// What a WebSocket endpoint does.
    pub(crate) fn subscription(&self, seed: u64) -> impl Fn() -> MessageFault + Clone + Send + Sync + 'static + use<> {
        let (weather, dice) = (self.clone(), Arc::new(Mutex::new(Dice::new(seed))));
        move || {
            if weather.now.load(Ordering::SeqCst) != STORM {
                return MessageFault::None;
            }
            let mut dice = dice.lock().unwrap();
            match weather.choose(&mut dice, MESSAGES.into_iter()) {
                Some("message lost") => MessageFault::Lost,
                Some("message overtaken") => MessageFault::Overtaken,
                Some("message slow") => MessageFault::Slow(Duration::from_millis(dice.between(50, 600))),
                Some("message garbage") => MessageFault::Garbage,
                Some("connection cut") => MessageFault::Cut,
                Some("connection silent") => MessageFault::Silence,
                Some(other) => panic!("{other} is no fault of a message"),
                None => MessageFault::None,
            }
        }
    }
}
