//! What a node's answer to a broadcast means.

use crate::chain::RpcError;

/// What a refused broadcast means. Of what several nodes say the first of these is heeded: that one has it, then what can be mended with the
/// same nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The node has it already.
    Known,
    /// One before it has not arrived, or not yet: it may wait, or be lost.
    Ahead,
    /// It offers too little, absolutely or to replace another.
    Underpriced,
    /// The nonce is used.
    NonceUsed,
    /// Anything else.
    Other,
}

/// What the nodes' answers mean together, and in whose words; `None` when none has refused it.
pub(super) fn judge_all(errors: &[RpcError]) -> Option<(Verdict, &str)> {
    let refusals = errors.iter().filter_map(|error| match error {
        RpcError::Refused { message, .. } => Some((judge(message), message.as_str())),
        _ => None,
    });
    refusals.min_by_key(|(verdict, _)| *verdict)
}

pub(super) fn judge(message: &str) -> Verdict {
    let message = message.to_ascii_lowercase();
    let has = |part: &str| message.contains(part);
    if has("already known") || has("already imported") || has("already in") || has("known transaction") {
        Verdict::Known
    } else if has("nonce too low") || has("nonce is too low") || has("old nonce") {
        Verdict::NonceUsed
    } else if has("nonce too high") || has("nonce is too high") || has("nonce gap") {
        Verdict::Ahead
    } else if has("underpriced") || has("less than block base fee") || has("max fee per gas less") || has("fee too low")
    {
        Verdict::Underpriced
    } else {
        Verdict::Other
    }
}

/// A fee a quarter higher: more than the eighth that nodes demand of a replacement.
pub(super) fn bumped(fee: u128) -> u128 {
    fee.saturating_add(fee / 4).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_several_nodes_are_understood() {
        for (message, verdict) in [
            ("already known", Verdict::Known),
            ("transaction already imported", Verdict::Known),
            ("nonce too low: address 0xf39F, tx: 1 state: 3", Verdict::NonceUsed),
            ("Nonce is too low", Verdict::NonceUsed),
            ("nonce too high: address 0xf39F, tx: 7 state: 3", Verdict::Ahead),
            ("replacement transaction underpriced", Verdict::Underpriced),
            ("max fee per gas less than block base fee", Verdict::Underpriced),
            ("insufficient funds for gas * price + value", Verdict::Other),
        ] {
            assert_eq!(judge(message), verdict, "{message}");
        }
    }

    #[test]
    fn that_a_node_has_it_is_heard_whoever_else_refuses_it() {
        let refused = |message: &str| RpcError::Refused {
            method: "eth_sendRawTransaction",
            code: -32_000,
            message: message.to_owned(),
        };
        let said = |messages: &[&str]| {
            let errors: Vec<RpcError> = messages.iter().map(|message| refused(message)).collect();
            judge_all(&errors).map(|(verdict, _)| verdict)
        };
        assert_eq!(said(&[]), None);
        assert_eq!(said(&["nonce too low", "already known"]), Some(Verdict::Known));
        assert_eq!(said(&["insufficient funds", "nonce too low"]), Some(Verdict::NonceUsed));
        assert_eq!(
            said(&["nonce too low", "max fee per gas less than block base fee"]),
            Some(Verdict::Underpriced)
        );
    }

    #[test]
    fn a_bump_is_more_than_an_eighth() {
        for fee in [0, 1, 7, 100, 2_000_000_000] {
            assert!(bumped(fee) > fee && bumped(fee) * 8 >= fee * 9, "{fee}");
        }
    }
}
