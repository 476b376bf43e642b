//! What a node's answer to a broadcast means.

/// What a refused broadcast means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The node has it already.
    Known,
    /// The nonce is used.
    NonceUsed,
    /// One before it has not arrived, or not yet: it may wait, or be lost.
    Ahead,
    /// It offers too little, absolutely or to replace another.
    Underpriced,
    /// Anything else.
    Other,
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
    fn a_bump_is_more_than_an_eighth() {
        for fee in [0, 1, 7, 100, 2_000_000_000] {
            assert!(bumped(fee) > fee && bumped(fee) * 8 >= fee * 9, "{fee}");
        }
    }
}
