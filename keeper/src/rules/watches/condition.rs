//! Conditions of watches: rules whose parameters are what was found.

use alloy::primitives::{Address, B256};
use cordon_client::config::Condition;
use cordon_core::rule::error::Unknown;
use cordon_core::rule::eval::Verdict;

use crate::chain::{BlockRef, Rpc, RpcError};
use crate::rules::native::{Evaluated, NativeState};

/// Whether a condition is true of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    True,
    False,
    /// It could not be evaluated.
    Unknown(String),
}

/// A condition with the values that it looks at, by name.
pub(super) struct Question<'a> {
    pub(super) condition: Option<&'a Condition>,
    pub(super) words: Vec<B256>,
}

impl<'a> Question<'a> {
    /// Takes from `value` what the condition names.
    pub(super) fn new(condition: Option<&'a Condition>, value: impl Fn(&str) -> Option<B256>) -> Self {
        let fields = condition
            .map(|condition| condition.fields.as_slice())
            .unwrap_or_default();
        // A value that is missing leaves the list too short, which is `Unknown`.
        let words = fields.iter().map_while(|name| value(name)).collect();
        Self { condition, words }
    }
}

/// Judges all conditions on the state of a block; the answers are in their order. No condition is true of everything.
pub(super) async fn judge(rpc: &Rpc, block: &BlockRef, questions: &[Question<'_>]) -> Result<Vec<Judged>, RpcError> {
    let programs: Vec<Evaluated<'_>> = questions
        .iter()
        .filter_map(|question| {
            Some(Evaluated {
                program: &question.condition?.program,
                words: &question.words,
            })
        })
        .collect();
    let mut evaluations = NativeState::new(*block, Address::ZERO)
        .evaluate(rpc, &programs)
        .await?
        .into_iter();
    Ok(questions
        .iter()
        .map(|question| {
            if question.condition.is_none() {
                return Judged::True;
            }
            match evaluations.next() {
                Some(evaluation) => match evaluation.verdict {
                    Verdict::Holds => Judged::True,
                    Verdict::Breached => Judged::False,
                    Verdict::Unknown => Judged::Unknown(reason(evaluation.reason)),
                },
                None => Judged::Unknown(reason(Unknown::BadProgram.code())),
            }
        })
        .collect())
}

fn reason(code: u8) -> String {
    format!(
        "its condition could not be evaluated: {}",
        crate::rules::reason_text(code)
    )
}
