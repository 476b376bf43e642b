//! What nodes mean when they do not take a transaction.

/// What a refused broadcast means, most hopeful first: of several endpoints' words the first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The node has it already.
    Known,
    /// It offers too little, absolutely or to replace another.
    Underpriced,
    /// The nonce is used.
    NonceUsed,
    /// One before it has not arrived, or not yet: it may wait, or be lost.
    Ahead,
    /// The account does not hold what the transaction may cost at most.
    Funds,
    /// Anything else.
    Other,
}

/// What a node's words mean.
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
    } else if has("insufficient funds") || has("insufficient balance") || has("doesn't have enough funds") {
        Verdict::Funds
    } else {
        Verdict::Other
    }
}

/// The most hopeful of several refusals, with its words; `None` of none.
pub(super) fn judge_all(refusals: &[String]) -> Option<(Verdict, &str)> {
    refusals
        .iter()
        .map(|words| (judge(words), words.as_str()))
        .min_by_key(|(verdict, _)| *verdict)
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
            ("insufficient funds for gas * price + value", Verdict::Funds),
            ("Insufficient funds for gas * price + value", Verdict::Funds),
            ("exceeds block gas limit", Verdict::Other),
        ] {
            assert_eq!(judge(message), verdict, "{message}");
        }
    }

    #[test]
    fn the_most_hopeful_of_several_refusals_counts() {
        let words = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let verdict = |all: &[&str]| judge_all(&words(all)).map(|(verdict, _)| verdict);
        assert_eq!(verdict(&[]), None);
        assert_eq!(verdict(&["no", "nonce too low", "already known"]), Some(Verdict::Known));
        let lie = ["nonce too low", "replacement transaction underpriced"];
        assert_eq!(verdict(&lie), Some(Verdict::Underpriced), "the nonce is open there");
        assert_eq!(verdict(&["insufficient funds", "nonce too high"]), Some(Verdict::Ahead));
    }
}
