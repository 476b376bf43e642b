//! Streams: the guard reads and stores what rules compare with (`anchor`, `mean` and so on) when somebody asks it to. Anyone may; the
//! keeper does when an observation is due, by the account of the heartbeat where there is one.

use std::time::Duration;

use alloy::eips::BlockId;
use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;

use super::account::Account;
use super::answer::describe_revert;
use super::deliver::{Call, DeliverError, DeliverSettings};
use super::delivery::Delivery;
use crate::alarm::Alarms;
use crate::chain::{CallError, RpcError};
use crate::health::Health;
use crate::record::AlarmKind;

/// Why streams were not observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The guard could not be asked.
    #[error("the guard's streams cannot be read: {0}")]
    Unreadable(String),
    /// The guard refuses.
    #[error("the guard observes none of the streams that are due: {0}")]
    Refused(String),
    /// It could not be sent.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

impl From<RpcError> for ObserveError {
    fn from(error: RpcError) -> Self {
        ObserveError::Unreadable(error.to_string())
    }
}

/// Has the guard observe its streams.
#[derive(Debug, Clone)]
pub struct Observer {
    pub(crate) account: Account,
    pub(crate) guard: Address,
    pub(crate) settings: DeliverSettings,
    /// How many streams the rulebook has.
    pub(crate) streams: u8,
    pub(crate) alarms: Alarms,
}

/// Longest time between two looks: somebody else may have observed, or an incident may be over.
const LONGEST: Duration = Duration::from_secs(15);
/// Shortest time between two looks.
const SHORTEST: Duration = Duration::from_secs(1);
/// While the keeper does not see the chain.
const BLIND: Duration = Duration::from_secs(5);
/// Gas of a transaction, and of each stream in it besides: its reads and what it stores.
const GAS: u64 = 1_000_000;
const STREAM_GAS: u64 = 500_000;
/// Most streams in a transaction, so that it fits into a block.
const BATCH: usize = 16;

impl Observer {
    /// Observes for ever, as long as `health` is well.
    pub async fn run(self, health: impl Fn() -> Health) {
        const SUBJECT: &str = "streams";
        loop {
            if !matches!(health(), Health::Well) {
                tokio::time::sleep(BLIND).await;
                continue;
            }
            let wait = match self.round().await {
                Ok(wait) => {
                    self.alarms.clear(AlarmKind::Streams, SUBJECT).await;
                    wait
                }
                Err(error) => {
                    let text = format!(
                        "{error}; rules that compare with what the guard stores become Unknown when it is not renewed"
                    );
                    self.alarms.raise(AlarmKind::Streams, SUBJECT, &text, None).await;
                    LONGEST
                }
            };
            tokio::time::sleep(wait.clamp(SHORTEST, LONGEST)).await;
        }
    }

    /// Observes what is due. Answers how long to wait until something may be.
    ///
    /// # Errors
    /// See [`ObserveError`].
    pub async fn round(&self) -> Result<Duration, ObserveError> {
        let rpc = self.account.rpc();
        let now = rpc.latest().await?.timestamp;
        let (mut due, mut next) = (Vec::new(), u64::MAX);
        for index in 0..self.streams {
            let at = self.due_at(index).await?;
            if at <= now {
                due.push(index);
            } else {
                next = next.min(at.saturating_sub(now));
            }
        }
        for batch in due.chunks(BATCH) {
            next = next.min(self.observe(batch).await?.as_secs());
        }
        Ok(Duration::from_secs(next))
    }

    async fn due_at(&self, index: u8) -> Result<u64, ObserveError> {
        let data = Guard::streamCall { index }.abi_encode().into();
        let answer = self
            .account
            .rpc()
            .call(None, self.guard, data, None, BlockId::latest())
            .await
            .map_err(|error| ObserveError::Unreadable(error.to_string()))?;
        Guard::streamCall::abi_decode_returns(&answer)
            .map(|stream| stream.dueAt)
            .map_err(|error| ObserveError::Unreadable(error.to_string()))
    }

    /// Sends one observation if the guard would take it now. Answers when to look again.
    async fn observe(&self, streams: &[u8]) -> Result<Duration, ObserveError> {
        let count = u64::try_from(streams.len()).unwrap_or(u64::MAX);
        let call = Call {
            to: self.guard,
            data: Guard::observeCall {
                streams: streams.to_vec(),
            }
            .abi_encode()
            .into(),
            gas: GAS.saturating_add(STREAM_GAS.saturating_mul(count)),
        };
        match self.account.rehearse(&call).await {
            Ok(_) => {}
            Err(CallError::Reverted(data)) if is_expected(&data) => return Ok(LONGEST),
            Err(CallError::Reverted(data)) => return Err(ObserveError::Refused(describe_revert(&data))),
            Err(CallError::Rpc(error)) => return Err(ObserveError::Deliver(error.into())),
        }
        let delivery = Delivery::unrecorded(&self.account, &self.settings, &call);
        let delivered = delivery.run(|_, _| {}).await?;
        if !delivered.receipt.status() {
            // Somebody observed first, or an incident has begun: the next look tells.
            tracing::debug!(?streams, "the observation was included and reverted");
        }
        Ok(SHORTEST)
    }
}

/// Whether the guard only says that it is not the time: an incident freezes streams, and somebody else may have observed.
fn is_expected(revert: &[u8]) -> bool {
    use alloy::sol_types::SolError;
    let expected = [
        Guard::StreamNotDue::SELECTOR,
        Guard::StreamFrozen::SELECTOR,
        Guard::Locked::SELECTOR,
    ];
    expected.iter().any(|selector| revert.starts_with(selector))
}
