//! Many requests in one round trip.

use std::sync::{Mutex, PoisonError};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::client::BatchRequest;
use alloy::rpc::types::Header;
use alloy::transports::{TransportError, TransportErrorKind, TransportResult};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::is_busy;
use super::rpc::Rpc;
use super::{BlockRef, RpcError, aggregate};

/// Requests per round trip: what providers accept.
const PER_BATCH: usize = 100;
/// Headers that are asked for at once, however many are wanted.
const MOST_HEADERS: usize = 256;

/// Something that is asked of the state of a block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// What a call answers.
    Call {
        /// The contract.
        to: Address,
        /// The calldata.
        data: Bytes,
        /// Gas that it gets; the node's limit when `None`.
        gas: Option<u64>,
        /// Code and storage that the contract has for this call only.
        code: Option<(Bytes, Vec<(U256, B256)>)>,
    },
    /// Native balance in wei.
    Balance(Address),
    /// A word of storage.
    Storage(Address, B256),
    /// Hash of the code: that of nothing for an account without.
    CodeHash(Address),
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The contract reverted, with this data.
    Reverted(Bytes),
    /// The call ran out of gas.
    OutOfGas,
    /// The node refuses, in its words.
    Node(String),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of a call.
    Output(Bytes),
    /// Of everything else.
    Word(B256),
}

impl Question {
    fn method(&self) -> &'static str {
        match self {
            Self::Call { .. } => "eth_call",
            Self::Balance(_) => "eth_getBalance",
            Self::Storage(..) => "eth_getStorageAt",
            Self::CodeHash(_) => "eth_getCode",
        }
    }

    fn params(&self, block: B256) -> Value {
        let at = json!({ "blockHash": block });
        match self {
            Self::Call { to, data, gas, code } => {
                let mut call = json!({ "to": to, "input": data });
                if let (Some(gas), Some(object)) = (gas, call.as_object_mut()) {
                    object.insert("gas".to_owned(), json!(format!("{gas:#x}")));
                }
                match code {
                    None => json!([call, at]),
                    Some((code, storage)) => {
                        let words: serde_json::Map<String, Value> = storage
                            .iter()
                            .map(|(slot, word)| (B256::from(*slot).to_string(), json!(word)))
                            .collect();
                        let account = if words.is_empty() {
                            json!({ "code": code })
                        } else {
                            json!({ "code": code, "state": words })
                        };
                        json!([call, at, { to.to_string(): account }])
                    }
                }
            }
            Self::Balance(account) | Self::CodeHash(account) => json!([account, at]),
            Self::Storage(account, slot) => json!([account, slot, at]),
        }
    }

    fn answer(&self, value: &Value) -> Result<Answer, Refusal> {
        let malformed = || Refusal::Node(format!("{} was answered with what is no hex", self.method()));
        let text = value.as_str().ok_or_else(malformed)?;
        match self {
            Self::Call { .. } => text.parse().map(Answer::Output).map_err(|_| malformed()),
            Self::CodeHash(_) => {
                let code: Bytes = text.parse().map_err(|_| malformed())?;
                Ok(Answer::Word(keccak256(code)))
            }
            Self::Balance(_) | Self::Storage(..) => {
                let number: U256 = text.parse().map_err(|_| malformed())?;
                Ok(Answer::Word(number.into()))
            }
        }
    }
}

impl Rpc {
    /// Asks all questions of the state of a block, in as few round trips as may be; the answers are in their order.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers at all; a question that is refused is a [`Refusal`] of its own.
    pub async fn ask_many(
        &self,
        block: B256,
        questions: &[Question],
    ) -> Result<Vec<Result<Answer, Refusal>>, RpcError> {
        let (calls, others): (Vec<usize>, Vec<usize>) = (0..questions.len()).partition(|at| {
            let question = questions.get(*at);
            matches!(
                question,
                Some(Question::Call {
                    gas: Some(_),
                    code: None,
                    ..
                })
            )
        });
        let mut answers: Vec<Option<Result<Answer, Refusal>>> = vec![None; questions.len()];
        let parts = calls
            .chunks(aggregate::MOST)
            .map(|part| (part, true))
            .chain(others.chunks(PER_BATCH).map(|part| (part, false)));
        let asked = parts.map(|(part, is_calls)| self.ask_part(block, part, questions, is_calls));
        for part in futures::future::try_join_all(asked).await? {
            for (at, answer) in part {
                if let Some(slot) = answers.get_mut(at) {
                    *slot = Some(answer);
                }
            }
        }
        let none = || Err(Refusal::Node("it was not answered".to_owned()));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(none)).collect())
    }

    /// The answers to the questions at these positions, with the positions.
    async fn ask_part(
        &self,
        block: B256,
        positions: &[usize],
        questions: &[Question],
        is_calls: bool,
    ) -> Result<Vec<(usize, Result<Answer, Refusal>)>, RpcError> {
        let own: Vec<&Question> = positions.iter().filter_map(|at| questions.get(*at)).collect();
        let together = if is_calls && own.len() > 1 {
            self.ask_together(block, &own).await?
        } else {
            None
        };
        let answers = match together {
            Some(answers) => answers,
            None => self.ask_apart(block, &own).await?,
        };
        Ok(positions.iter().copied().zip(answers).collect())
    }

    /// All in one `eth_call`; `None` when the node does not take such a call, or it needs too much gas.
    async fn ask_together(
        &self,
        block: B256,
        questions: &[&Question],
    ) -> Result<Option<Vec<Result<Answer, Refusal>>>, RpcError> {
        let Some(question) = aggregate::question(questions) else {
            return Ok(None);
        };
        let answer = self.ask_apart(block, &[&question]).await?.pop();
        Ok(match answer {
            Some(Ok(Answer::Output(output))) => aggregate::answers(&output, questions.len()),
            _ => None,
        })
    }

    /// Headers of the first of these heights that the node has, in one round trip per hundred.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub(super) async fn headers(&self, numbers: std::ops::Range<u64>) -> Result<Vec<BlockRef>, RpcError> {
        const METHOD: &str = "eth_getBlockByNumber";
        let numbers: Vec<u64> = numbers.take(MOST_HEADERS).collect();
        let parts = numbers.chunks(PER_BATCH).map(|part| {
            self.ask(METHOD, move |provider| async move {
                let client = provider.client();
                let mut batch = BatchRequest::new(client);
                let mut waiters = Vec::with_capacity(part.len());
                for number in part {
                    let params = json!([format!("{number:#x}"), false]);
                    waiters.push(batch.add_call::<_, Option<Value>>(METHOD, &params)?);
                }
                batch.send().await?;
                let mut blocks = Vec::with_capacity(waiters.len());
                for waiter in waiters {
                    let header = waiter.await?;
                    let Some(block) = header.as_ref().and_then(BlockRef::from_json) else {
                        continue;
                    };
                    if let Some(header) = header.as_ref().and_then(|header| Header::deserialize(header).ok()) {
                        self.note_seal(&header);
                    }
                    blocks.push(block);
                }
                Ok(blocks)
            })
        });
        Ok(futures::future::try_join_all(parts).await?.concat())
    }

    async fn ask_apart(&self, block: B256, questions: &[&Question]) -> Result<Vec<Result<Answer, Refusal>>, RpcError> {
        let parts = questions.chunks(PER_BATCH).map(|part| self.ask_batch(block, part));
        Ok(futures::future::try_join_all(parts).await?.concat())
    }

    /// The answers of one batch. What one endpoint refuses, the next is asked; what all of them refuse is refused.
    async fn ask_batch(&self, block: B256, questions: &[&Question]) -> Result<Vec<Result<Answer, Refusal>>, RpcError> {
        let held: Mutex<Vec<Option<Result<Value, Refusal>>>> = Mutex::new(vec![None; questions.len()]);
        let held = &held;
        let asked = self.ask_past_refusals("a batch", |provider| async move {
            let is_open = |told: &Option<Result<Value, Refusal>>| matches!(told, None | Some(Err(Refusal::Node(_))));
            let open: Vec<(usize, &Question)> = {
                let held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let open = (0..).zip(questions).zip(held.iter());
                open.filter(|(_, told)| is_open(told))
                    .map(|((at, question), _)| (at, *question))
                    .collect()
            };
            let client = provider.client();
            let mut batch = BatchRequest::new(client);
            let mut waiters = Vec::with_capacity(open.len());
            for (at, question) in open {
                waiters.push((
                    at,
                    batch.add_call::<_, Value>(question.method(), &question.params(block))?,
                ));
            }
            batch.send().await?;
            let mut refusal = None;
            for (at, waiter) in waiters {
                let told = settled(waiter.await)?;
                if let Err(Refusal::Node(reason)) = &told {
                    refusal = Some(refused(reason));
                }
                if let Some(slot) = held.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
                    *slot = Some(told);
                }
            }
            refusal.map_or(Ok(()), Err)
        });
        match asked.await {
            // What stayed refused is among the answers.
            Ok(()) | Err(RpcError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let none = || Err(Refusal::Node("it was not answered".to_owned()));
        let told = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
        let told = told.into_iter().map(|told| told.unwrap_or_else(none));
        Ok(questions
            .iter()
            .zip(told)
            .map(|(question, told)| question.answer(&told?))
            .collect())
    }
}

/// The error by which the next endpoint is asked.
pub(super) fn refused(reason: &str) -> TransportError {
    let payload = serde_json::from_value(json!({ "code": 0, "message": reason }));
    payload.map_or_else(TransportErrorKind::custom, TransportError::ErrorResp)
}

/// An error of one request as a refusal of it; one of the endpoint stays an error.
fn settled(result: TransportResult<Value>) -> TransportResult<Result<Value, Refusal>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(TransportError::ErrorResp(payload)) if is_busy(payload.code, &payload.message) => {
            Err(TransportError::ErrorResp(payload))
        }
        Err(TransportError::ErrorResp(payload)) => {
            let message = payload.message.to_ascii_lowercase();
            Ok(Err(match payload.as_revert_data() {
                Some(data) => Refusal::Reverted(data),
                None if message.contains("out of gas") || message.contains("outofgas") => Refusal::OutOfGas,
                None if payload.code == 3 || is_failure(&message) => Refusal::Reverted(Bytes::new()),
                None => Refusal::Node(payload.message.into_owned()),
            }))
        }
        Err(error) => Err(error),
    }
}

/// Whether the node says, in the words of several, that the code failed without a reason.
fn is_failure(message: &str) -> bool {
    [
        "revert",
        "invalid opcode",
        "invalid jump",
        "stack underflow",
        "evm error",
    ]
    .iter()
    .any(|part| message.contains(part))
}
