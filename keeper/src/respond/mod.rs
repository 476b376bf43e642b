//! Carrying decisions out: simulated first, signed with nonce and fees that are at hand, sent to every endpoint, confirmed by
//! receipt, event and read-back; then the upkeep of what was contained, and the heartbeat.

mod account;
mod answer;
mod armory;
#[cfg(test)]
mod bench;
#[cfg(test)]
#[path = "../../tests/common/mod.rs"]
pub(crate) mod common;
mod confirm;
mod deliver;
#[cfg(test)]
mod deliver_tests;
mod delivery;
mod fill;
mod funds;
mod grounds;
mod heartbeat;
mod heed;
mod inclusion;
mod keys;
mod ladder;
#[cfg(test)]
mod lies_tests;
mod missing;
#[cfg(test)]
mod nonce_tests;
mod nonces;
mod observer;
mod offer;
mod pending;
mod queue;
mod race;
#[cfg(test)]
mod race_tests;
mod reason;
#[cfg(test)]
mod reason_tests;
mod rehearsal;
mod reserve;
mod responder;
mod schedule;
mod second;
mod signer;
mod upkeep;
mod verdict;
mod withdraw;

pub use account::{Account, AccountError, Armed};
pub use answer::{Refusal, classify_revert, describe_revert};
pub(crate) use armory::{Armory, Readiness};
pub use deliver::{Call, DeliverError, DeliverSettings, Delivered};
pub(crate) use heartbeat::LastBeat;
pub use heartbeat::{Heartbeat, HeartbeatError};
pub(crate) use keys::{KEYS, KeyWatch};
pub(crate) use ladder::Climber;
pub use ladder::{FallbackError, SafeFallback};
pub use observer::{ObserveError, Observer};
pub use queue::{Job, Queue};
pub use rehearsal::Rehearsal;
pub(crate) use responder::delayed_subject;
pub use responder::{GasPlan, Responder};
pub use signer::{HeldKey, KeyError, KeySigner, RemoteSigner};
pub use upkeep::Upkeep;
