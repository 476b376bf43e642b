//! Signed bytes, sent to every endpoint at once. The first that takes them is enough to go on; what the others say is heard when they say it.

use std::collections::VecDeque;
use std::time::Duration;

use alloy::primitives::Bytes;
use alloy::providers::Provider;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::RpcError;
use super::rpc::Rpc;

const METHOD: &str = "eth_sendRawTransaction";
/// How long the others are waited for when one has refused.
const PATIENCE: Duration = Duration::from_millis(100);

/// What endpoints said to a transaction that none of them took.
#[derive(Debug)]
pub struct NotSent {
    /// The words of those that refused it.
    pub refusals: Vec<String>,
    /// Why another could not be asked, or did not answer: the transaction may have arrived there all the same.
    pub silent: Option<RpcError>,
}

/// What is still to be heard of a broadcast when an endpoint has taken it: the others may refuse it, and be right.
#[derive(Debug, Default)]
pub struct Rest {
    refused: VecDeque<String>,
    coming: FuturesUnordered<JoinHandle<Result<(), RpcError>>>,
}

impl Rest {
    /// The words of the next endpoint that refuses the transaction, as soon as it does; `None` when all have answered. Cancelling it loses
    /// nothing.
    pub async fn refusal(&mut self) -> Option<String> {
        loop {
            if let Some(words) = self.refused.pop_front() {
                return Some(words);
            }
            if let Ok(Err(RpcError::Refused { message, .. })) = self.coming.next().await? {
                return Some(message);
            }
        }
    }

    /// All refusals, of those that answer not much later.
    pub async fn refusals(mut self) -> Vec<String> {
        let (mut all, until) = (Vec::new(), Instant::now() + PATIENCE);
        while let Ok(Some(words)) = tokio::time::timeout_at(until, self.refusal()).await {
            all.push(words);
        }
        all
    }

    /// Adds what is to be heard of the same bytes, sent once more.
    pub fn extend(&mut self, other: Self) {
        self.refused.extend(other.refused);
        for answer in other.coming {
            self.coming.push(answer);
        }
    }
}

impl Rpc {
    /// Sends signed bytes to every endpoint that is believed at once; the first that accepts them decides. The others get them all the same,
    /// also when nobody waits for the answer any more.
    ///
    /// # Errors
    /// [`NotSent`] when none accepts: the transaction may have arrived all the same where one is silent.
    pub async fn send_raw(&self, raw: &Bytes) -> Result<Rest, NotSent> {
        let mut sends: FuturesUnordered<_> = (0_usize..)
            .zip(self.all_endpoints())
            .filter(|(_, endpoint)| !endpoint.is_outvoted())
            .map(|(at, _)| self.send_to(at, raw.clone()))
            .collect();
        let mut failure = NotSent {
            refusals: Vec::new(),
            silent: None,
        };
        let mut until = None;
        loop {
            let next = match until {
                None => sends.next().await,
                Some(until) => match tokio::time::timeout_at(until, sends.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        failure.silent.get_or_insert_with(|| RpcError::Unreachable {
                            method: METHOD,
                            reason: "an endpoint has not answered yet".to_owned(),
                        });
                        return Err(failure);
                    }
                },
            };
            match next {
                Some(Ok(Ok(()))) => {
                    return Ok(Rest {
                        refused: failure.refusals.into(),
                        coming: sends,
                    });
                }
                Some(Ok(Err(RpcError::Refused { message, .. }))) => {
                    failure.refusals.push(message);
                    until.get_or_insert_with(|| Instant::now() + PATIENCE);
                }
                Some(Ok(Err(error))) => failure.silent = Some(error),
                // A task that has died says nothing.
                Some(Err(_)) => {}
                None => return Err(failure),
            }
        }
    }

    /// In a task of its own, which ends by itself at the deadline.
    fn send_to(&self, at: usize, raw: Bytes) -> JoinHandle<Result<(), RpcError>> {
        let rpc = self.clone();
        tokio::spawn(async move {
            let Some(endpoint) = rpc.all_endpoints().nth(at) else {
                return Err(RpcError::NoEndpoint);
            };
            rpc.verify_endpoint(endpoint).await?;
            let provider = endpoint.provider();
            let send = async move { provider.send_raw_transaction(&raw).await.map(drop) };
            rpc.bounded(METHOD, endpoint, send).await
        })
    }
}

impl std::fmt::Display for NotSent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.refusals.first(), &self.silent) {
            (Some(words), _) => f.write_str(words),
            (None, Some(error)) => error.fmt(f),
            (None, None) => RpcError::NoEndpoint.fmt(f),
        }
    }
}

impl std::error::Error for NotSent {}
