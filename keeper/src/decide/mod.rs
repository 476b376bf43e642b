//! From verdicts to decisions. Everything here is a pure function of inputs that are stored with the block, so that a
//! replay decides the same.

mod facts;
mod judge;
pub mod ladder;
pub mod playbook;
pub(crate) mod quorum;

pub use facts::{
    Act, BlockFacts, Decision, Past, Reading, Refused, Response, RulePast, RulePolicy, RuleVerdict, ScopeReading,
};
pub(crate) use judge::strictest;
pub use judge::{LONGEST_REFUSAL, RENEW_FRACTION, decide, held};
pub use quorum::{Quorum, Support, Waiting, protocol_breaches};
