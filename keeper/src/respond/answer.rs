//! What the guard's answers mean for an intent.

use alloy::primitives::Bytes;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolEvent, SolInterface};
use cordon_client::guard::ICordonGuard as Guard;
use cordon_client::revert::revert_words;

use crate::clock::utc;
use crate::record::{IntentKind, set_text};
use crate::rules::{GuardEvent, GuardEventKind};

/// What a revert of a simulated or included call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The reason for the call is gone.
    HoldsAgain,
    /// What was wanted holds already, or something stricter.
    AlreadyHeld,
    /// Not before this Unix time in seconds.
    NotBefore(u64),
    /// It may pass later without anybody doing anything.
    Retry,
    /// It will not pass unless somebody changes something.
    Refused,
}

/// What a revert with `data` means for an intent of this kind.
#[must_use]
pub fn classify_revert(kind: IntentKind, data: &Bytes) -> Refusal {
    use Guard::ICordonGuardErrors as E;
    let Ok(error) = E::abi_decode(data) else {
        return Refusal::Retry;
    };
    match error {
        E::RuleHolds(_) => Refusal::HoldsAgain,
        E::NotTighter(_) => Refusal::AlreadyHeld,
        E::ObservedTooSoon(e) => Refusal::NotBefore(e.until),
        E::NothingToSettle(_) | E::NotExpired(_) if matches!(kind, IntentKind::Settle | IntentKind::Retry) => {
            Refusal::HoldsAgain
        }
        // A fresh heartbeat, another block, more gas or a finished call may let it pass.
        E::RuleUnknown(_) | E::HeartbeatStale(_) | E::Locked(_) | E::OutOfGasFloor(_) => Refusal::Retry,
        _ => Refusal::Refused,
    }
}

/// A revert of the guard in words.
#[must_use]
pub fn describe_revert(data: &Bytes) -> String {
    use Guard::ICordonGuardErrors as E;
    let Ok(error) = E::abi_decode(data) else {
        return match data.len() {
            0 => "the guard reverted without a reason (out of gas, or no guard at this address)".to_owned(),
            _ => format!("the guard reverted with {}", revert_words(data, &[])),
        };
    };
    match error {
        E::RuleHolds(_) => "the rule holds".to_owned(),
        E::RuleUnknown(e) => format!(
            "the rule could not be evaluated: {}",
            crate::rules::reason_text(e.reason)
        ),
        E::RuleNotTrippable(_) => "the rule cannot be tripped: it is a hook rule or raises no level".to_owned(),
        E::UnknownRule(e) => format!(
            "the guard's rulebook has no rule {}: compare `cordon guard status` with cordon.toml",
            e.rule
        ),
        E::UnknownSet(e) => format!(
            "the guard's rulebook has no containment set {}: compare `cordon guard status` with cordon.toml",
            set_text(&e.set)
        ),
        E::ObservedTooSoon(e) => format!("the second observation is not accepted before {}", utc(e.until)),
        E::NotTighter(e) => format!("a stricter level than wanted holds ({:?})", e.current),
        E::LevelHasNoEffect(_) => {
            "no hook and no containment call serves this level: add one to cordon.toml".to_owned()
        }
        E::CeilingReached(e) => {
            format!(
                "the scope may not be contained beyond {} without the governor",
                utc(e.ceilingAt)
            )
        }
        E::MissingRole(e) => format!(
            "{} does not have the role {:?}: the governor must grant it",
            e.caller, e.role
        ),
        E::HeartbeatStale(e) => format!(
            "the last heartbeat was at {}: the keeper has no power without a fresh one",
            utc(e.last)
        ),
        E::BudgetSpent(e) => format!(
            "the role's budget is spent: {} s are left, {} s were wanted",
            e.available, e.wanted
        ),
        E::DurationTooShort(e) => format!(
            "{} s are wanted, the role must ask for {} s at least",
            e.wanted, e.least
        ),
        E::DurationBeyondRole(e) => format!("{} s are wanted, the role may ask for {} s", e.wanted, e.most),
        E::NotExpired(e) => format!("the level has not expired (until {})", utc(e.expiresAt)),
        E::StreamUnreadable(e) => {
            let reason = crate::rules::reason_text(e.reason);
            format!("stream {} cannot be observed: {reason}", e.stream)
        }
        E::NothingToSettle(_) => "there is nothing to take back".to_owned(),
        E::NothingToRetry(_) => "no level is raised: there are no calls to make again".to_owned(),
        E::NoAnswer(e) => format!(
            "the guard's program {} did not answer, with gas enough: it has expired, and anybody can activate it again",
            e.program
        ),
        other => format!("the guard reverted with {}", name(&other)),
    }
}

/// Name and arguments of an error that has no sentence of its own.
fn name(error: &Guard::ICordonGuardErrors) -> String {
    let text = format!("{error:?}");
    // `Locked(Locked)` and `BadScope(BadScope { scope: 3, … })`: the outer name repeats the inner one.
    match text.split_once('(') {
        Some((_, inner)) => inner.strip_suffix(')').unwrap_or(inner).to_owned(),
        None => text,
    }
}

/// What an included transaction brought about, as its events say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// A level was raised or extended in the scope.
    pub(super) raised: bool,
    /// An observation of a spot rule was recorded.
    pub(super) observed: bool,
    /// A containment set was contained.
    pub(super) set: bool,
    /// A containment call or its undoing failed.
    pub(super) failed: bool,
    /// Something was taken back, or a level lowered.
    pub(super) settled: bool,
}

pub(super) fn effects(receipt: &TransactionReceipt, guard: alloy::primitives::Address, scope: u8) -> Effects {
    let mut effects = Effects::default();
    for (position, log) in (0..).zip(receipt.logs().iter().filter(|log| log.address() == guard)) {
        if log.topics().first() == Some(&Guard::RuleObserved::SIGNATURE_HASH) {
            effects.observed = true;
        }
        effects.set |= log.topics().first() == Some(&Guard::SetContained::SIGNATURE_HASH);
        let Some(event) = GuardEvent::decode(log, position) else {
            continue;
        };
        match event.kind {
            GuardEventKind::Raised { scope: s, .. } | GuardEventKind::Extended { scope: s, .. } if s == scope => {
                effects.raised = true;
            }
            GuardEventKind::Failed { .. } | GuardEventKind::UndoFailed { .. } => effects.failed = true,
            GuardEventKind::Undone { .. } | GuardEventKind::Lowered { .. } | GuardEventKind::Closed { .. } => {
                effects.settled = true;
            }
            _ => {}
        }
    }
    effects
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use alloy::primitives::{Address, B256};
    use alloy::sol_types::SolError;

    /// A receipt with a level of `scope` raised, in the words of `emitter`.
    fn raising(emitter: Address, scope: u8) -> TransactionReceipt {
        let raised = Guard::LevelRaised {
            scope,
            incident: 1,
            by: Address::ZERO,
            from: Guard::Level::Normal,
            to: Guard::Level::Halted,
            expiresAt: 9,
        };
        let mut receipt: serde_json::Value = serde_json::json!({
            "transactionHash": B256::ZERO, "transactionIndex": "0x0", "blockHash": B256::ZERO, "blockNumber": "0x1",
            "from": Address::ZERO, "to": emitter, "cumulativeGasUsed": "0x1", "gasUsed": "0x1", "effectiveGasPrice": "0x1",
            "contractAddress": null, "logs": [], "logsBloom": alloy::primitives::Bloom::ZERO, "status": "0x1", "type": "0x2",
        });
        let data = raised.encode_log_data();
        receipt["logs"] = serde_json::json!([{
            "address": emitter, "topics": data.topics(), "data": data.data, "blockHash": B256::ZERO, "blockNumber": "0x1",
            "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
        }]);
        serde_json::from_value(receipt).unwrap()
    }

    #[test]
    fn only_what_the_guard_itself_says_of_the_scope_is_an_effect() {
        let (guard, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        assert!(effects(&raising(guard, 3), guard, 3).raised);
        assert!(!effects(&raising(guard, 4), guard, 3).raised, "of another scope");
        assert_eq!(
            effects(&raising(other, 3), guard, 3),
            Effects::default(),
            "anybody can emit that"
        );
    }

    #[test]
    fn reverts_are_told_apart() {
        let holds = Guard::RuleHolds { rule: 1 }.abi_encode().into();
        let soon = Guard::ObservedTooSoon { rule: 1, until: 77 }.abi_encode().into();
        let role = Guard::MissingRole {
            role: Guard::Role::Keeper,
            caller: alloy::primitives::Address::ZERO,
        }
        .abi_encode()
        .into();
        let stale = Guard::HeartbeatStale { last: 5 }.abi_encode().into();
        let nothing: Bytes = Guard::NothingToSettle { scope: 1 }.abi_encode().into();
        assert_eq!(classify_revert(IntentKind::Trip, &holds), Refusal::HoldsAgain);
        assert_eq!(classify_revert(IntentKind::Trip, &soon), Refusal::NotBefore(77));
        assert_eq!(classify_revert(IntentKind::Contain, &role), Refusal::Refused);
        assert_eq!(classify_revert(IntentKind::Contain, &stale), Refusal::Retry);
        assert_eq!(classify_revert(IntentKind::Settle, &nothing), Refusal::HoldsAgain);
        assert_eq!(classify_revert(IntentKind::Trip, &Bytes::new()), Refusal::Retry);
        assert_eq!(
            classify_revert(IntentKind::Trip, &Bytes::from(vec![1, 2, 3, 4])),
            Refusal::Retry
        );
        assert!(describe_revert(&role).contains("Keeper"), "{}", describe_revert(&role));
        let panic: Bytes = alloy::sol_types::Panic::from(alloy::sol_types::PanicKind::Assert)
            .abi_encode()
            .into();
        assert_eq!(
            describe_revert(&panic),
            "the guard reverted with Panic 0x01: an assert failed"
        );
        let silent: Bytes = Guard::NoAnswer {
            program: alloy::primitives::Address::repeat_byte(9),
        }
        .abi_encode()
        .into();
        assert_eq!(
            classify_revert(IntentKind::Trip, &silent),
            Refusal::Refused,
            "till somebody activates it"
        );
        assert!(
            describe_revert(&silent).contains("has expired"),
            "{}",
            describe_revert(&silent)
        );
        let bad: Bytes = Guard::BadScope { scope: 3, count: 3 }.abi_encode().into();
        assert_eq!(
            describe_revert(&bad),
            "the guard reverted with BadScope { scope: 3, count: 3 }"
        );
        let lie: Bytes = Guard::StreamUnreadable { stream: 2, reason: 14 }.abi_encode().into();
        assert_eq!(
            describe_revert(&lie),
            "stream 2 cannot be observed: the value lies outside of the bounds of its stream"
        );
    }
}
