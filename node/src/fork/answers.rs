//! Answers of the forked chain about its past, kept because they stay true.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, value::RawValue};

/// Methods whose answers about a block before the fork, or a transaction in it, never change. Traces and logs are not kept: they
/// are long, and seldom asked for twice.
const LASTING: [&str; 14] = [
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getHeaderByHash",
    "eth_getHeaderByNumber",
    "eth_getRawTransactionByBlockHashAndIndex",
    "eth_getRawTransactionByBlockNumberAndIndex",
    "eth_getRawTransactionByHash",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByHash",
    "eth_getTransactionReceipt",
];

/// The most bytes of all answers that are kept, questions included.
const MAX_BYTES: usize = 64 << 20;

/// The most bytes of one answer that is kept.
const MAX_ANSWER: usize = 4 << 20;

/// The answers that came last.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: HashMap<String, Box<RawValue>>,
    /// Questions in the order in which they were answered.
    order: VecDeque<String>,
    bytes: usize,
}

/// Whether an answer is about something that the chain has: what it does not have now it may have later, and a transaction that waits
/// will be mined.
pub(super) fn lasts(answer: &Value) -> bool {
    match answer {
        Value::Null => false,
        Value::Object(fields) => fields.get("blockNumber").is_none_or(|number| !number.is_null()),
        _ => true,
    }
}

impl Answers {
    /// The question as it is known here; `None` when its answer is not kept.
    pub(super) fn question(method: &str, params: &Value) -> Option<String> {
        LASTING.contains(&method).then(|| format!("{method} {params}"))
    }

    pub(super) fn get(&self, question: &str) -> Option<Box<RawValue>> {
        self.known.get(question).cloned()
    }

    /// Keeps an answer, and forgets the oldest ones where there are too many.
    pub(super) fn put(&mut self, question: String, answer: Box<RawValue>) {
        let size = cost(&question, &answer);
        if size > MAX_ANSWER || self.known.contains_key(&question) {
            return;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.order.push_back(question.clone());
        self.known.insert(question, answer);
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(answer) = self.known.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(cost(&oldest, &answer));
            }
        }
    }
}

/// Bytes that an answer takes: the question is held twice.
fn cost(question: &str, answer: &RawValue) -> usize {
    question.len().saturating_mul(2).saturating_add(answer.get().len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn long(letter: char) -> Box<RawValue> {
        RawValue::from_string(format!("\"{}\"", letter.to_string().repeat(MAX_ANSWER - 1_000))).unwrap()
    }

    #[test]
    fn what_came_first_is_forgotten_first() {
        let mut answers = Answers::default();
        let question = |index: usize| Answers::question("eth_getBlockByNumber", &json!([index])).unwrap();
        for index in 0..40 {
            answers.put(question(index), long('x'));
            assert!(answers.bytes <= MAX_BYTES);
        }
        assert!(answers.get(&question(0)).is_none());
        assert!(answers.get(&question(39)).is_some());
        assert_eq!(answers.known.len(), answers.order.len());
    }

    #[test]
    fn what_may_change_is_not_kept() {
        assert!(Answers::question("debug_traceTransaction", &json!([])).is_none());
        assert!(!lasts(&Value::Null));
        assert!(!lasts(&json!({ "hash": "0x1", "blockNumber": null })));
        assert!(lasts(&json!({ "number": "0x1" })));
        assert!(lasts(&json!({ "blockNumber": "0x1" })));
        let mut answers = Answers::default();
        let huge = RawValue::from_string(format!("\"{}\"", "x".repeat(MAX_ANSWER))).unwrap();
        answers.put("q".to_owned(), huge);
        assert!(answers.get("q").is_none());
    }
}
