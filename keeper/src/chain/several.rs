//! What is asked of every endpoint at once, because one of them may be behind, or lie.

use std::future::Future;
use std::time::Duration;

use alloy::primitives::{Address, Bytes};
use alloy::providers::{DynProvider, Provider};
use alloy::transports::TransportResult;
use futures::stream::{FuturesUnordered, StreamExt};

use super::RpcError;
use super::rpc::Rpc;

/// How long the others are waited for when one has answered: a slow endpoint must not hold up what is urgent.
const PATIENCE: Duration = Duration::from_millis(100);

/// What endpoints said to a transaction that none of them took.
#[derive(Debug)]
pub struct NotSent {
    /// The words of those that refused it.
    pub refusals: Vec<String>,
    /// Why another could not be asked, or did not answer: the transaction may have arrived there all the same.
    pub silent: Option<RpcError>,
}

/// How many transactions of an account are included, as several endpoints say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// What most of them have reached; the lower of two. No single endpoint can put it too high as long as another answers.
    pub agreed: u64,
    /// The highest.
    pub highest: u64,
}

impl Counts {
    /// `None` of no answers.
    fn of(mut answers: Vec<u64>) -> Option<Self> {
        answers.sort_unstable();
        let middle = answers.len().checked_sub(1)? / 2;
        Some(Self {
            agreed: *answers.get(middle)?,
            highest: *answers.last()?,
        })
    }
}

impl Rpc {
    /// Transactions of the account on the latest block: its next nonce.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers.
    pub async fn counts(&self, account: Address) -> Result<Counts, RpcError> {
        const METHOD: &str = "eth_getTransactionCount";
        let count = |provider: DynProvider| async move { provider.get_transaction_count(account).await };
        if self.in_turn().count() < 2 {
            let count = self.ask(METHOD, count).await?;
            return Ok(Counts {
                agreed: count,
                highest: count,
            });
        }
        Counts::of(self.ask_all(METHOD, count).await?).ok_or(RpcError::NoEndpoint)
    }

    /// Asks those that [`Rpc::ask`] would ask in turn, all at once. One answer at least, or the last failure.
    async fn ask_all<T, F, R>(&self, method: &'static str, request: R) -> Result<Vec<T>, RpcError>
    where
        F: Future<Output = TransportResult<T>>,
        R: Fn(DynProvider) -> F,
    {
        let mut asked: FuturesUnordered<_> = self
            .in_turn()
            .filter_map(|at| self.all_endpoints().nth(at))
            .filter(|endpoint| endpoint.busy_for().is_none())
            .map(|endpoint| {
                let request = request(endpoint.provider());
                async move {
                    self.verify_endpoint(endpoint).await?;
                    self.bounded(method, endpoint, request).await
                }
            })
            .collect();
        let mut answers = Vec::new();
        let mut last = RpcError::NoEndpoint;
        let mut until = None;
        loop {
            let next = match until {
                None => asked.next().await,
                Some(until) => tokio::time::timeout_at(until, asked.next()).await.ok().flatten(),
            };
            match next {
                Some(Ok(answer)) => {
                    answers.push(answer);
                    until.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
                }
                Some(Err(error)) => last = error,
                None if answers.is_empty() => return Err(last),
                None => return Ok(answers),
            }
        }
    }

    /// Sends signed bytes to every endpoint that is believed at once; the first that accepts them decides. The others get them all the same,
    /// also when nobody waits for the answer any more.
    ///
    /// # Errors
    /// [`NotSent`] when none accepts: the transaction may have arrived all the same where one is silent.
    pub async fn send_raw(&self, raw: &Bytes) -> Result<(), NotSent> {
        const METHOD: &str = "eth_sendRawTransaction";
        let mut sends: FuturesUnordered<_> = (0_usize..)
            .zip(self.all_endpoints())
            .filter(|(_, endpoint)| !endpoint.is_outvoted())
            .map(|(at, _)| {
                let (rpc, raw) = (self.clone(), raw.clone());
                // A task of its own: it ends by itself at the deadline.
                tokio::spawn(async move {
                    let Some(endpoint) = rpc.all_endpoints().nth(at) else {
                        return Err(RpcError::NoEndpoint);
                    };
                    rpc.verify_endpoint(endpoint).await?;
                    let provider = endpoint.provider();
                    let send = async move { provider.send_raw_transaction(&raw).await.map(drop) };
                    rpc.bounded(METHOD, endpoint, send).await
                })
            })
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
                Some(Ok(Ok(()))) => return Ok(()),
                Some(Ok(Err(RpcError::Refused { message, .. }))) => {
                    failure.refusals.push(message);
                    until.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
                }
                Some(Ok(Err(error))) => failure.silent = Some(error),
                // A task that has died says nothing.
                Some(Err(_)) => {}
                None => return Err(failure),
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_single_endpoint_puts_a_count_too_high() {
        let counts = |answers: &[u64]| Counts::of(answers.to_vec()).map(|counts| (counts.agreed, counts.highest));
        assert_eq!(counts(&[]), None);
        assert_eq!(counts(&[7]), Some((7, 7)));
        assert_eq!(counts(&[900, 7]), Some((7, 900)), "of two the lower");
        assert_eq!(counts(&[900, 7, 8]), Some((8, 900)));
        assert_eq!(
            counts(&[0, 8, 8]),
            Some((8, 8)),
            "nor does one that is behind hold it down"
        );
        assert_eq!(counts(&[900, 7, 8, 8]), Some((8, 900)));
    }
}
