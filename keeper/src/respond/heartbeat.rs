//! The heartbeat: shown to the guard by a key of its own, and only while the keeper really sees the chain.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;

use super::account::Account;
use super::answer::describe_revert;
use super::deliver::{Call, DeliverError, DeliverSettings};
use super::delivery::Delivery;
use crate::alarm::Alarms;
use crate::chain::CallError;
use crate::health::Health;
use crate::record::AlarmKind;

/// Why a heartbeat was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The guard refuses it.
    #[error("the guard refuses the heartbeat of {account}: {reason}")]
    Refused {
        /// Sender.
        account: Address,
        /// The guard's reason.
        reason: String,
    },
    /// It could not be sent.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

/// Sends heartbeats.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub(crate) account: Account,
    pub(crate) guard: Address,
    pub(crate) settings: DeliverSettings,
    pub(crate) interval: Duration,
    pub(crate) alarms: Alarms,
    /// When the guard took the last one.
    pub(crate) last: LastBeat,
}

/// When the guard took the last heartbeat; `None` before the first. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastBeat(Arc<Mutex<Option<Instant>>>);

impl LastBeat {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(crate) fn age(&self) -> Option<Duration> {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed())
    }
}

/// After a failure the next attempt comes sooner than the interval.
const RETRY: Duration = Duration::from_secs(10);
/// While no block was evaluated yet.
const BEGINNING: Duration = Duration::from_millis(100);
const GAS: u64 = 2_000_000;

impl Heartbeat {
    /// Beats for ever, as long as `health` is well. What is dead must not look alive; what has only begun is not dead.
    pub async fn run(self, health: impl Fn() -> Health) {
        loop {
            let result = match health() {
                // On a chain without traffic the heartbeat may be the only transaction there is, and the next block waits for it. On one that
                // stands still it does not get through.
                Health::Well | Health::Idle(_) => self.beat().await.map_err(|error| error.to_string()),
                Health::Starting => {
                    tokio::time::sleep(BEGINNING).await;
                    continue;
                }
                Health::Ill(why) => Err(format!("no heartbeat is sent because {why}")),
            };
            match result {
                Ok(()) => {
                    self.last.note();
                    self.alarms.clear(AlarmKind::Heartbeat, "heartbeat").await;
                    if let Err(error) = self.account.look_at_balance().await {
                        tracing::debug!(%error, "what the heartbeat's account holds is not known");
                    }
                    tokio::time::sleep(self.interval).await;
                }
                Err(text) => {
                    self.alarms.raise(AlarmKind::Heartbeat, "heartbeat", &text, None).await;
                    tokio::time::sleep(RETRY.min(self.interval)).await;
                }
            }
        }
    }

    /// Sends one heartbeat and waits until it is in a block.
    ///
    /// # Errors
    /// See [`HeartbeatError`].
    pub async fn beat(&self) -> Result<(), HeartbeatError> {
        let call = Call {
            to: self.guard,
            data: Guard::heartbeatCall {}.abi_encode().into(),
            gas: GAS,
        };
        let account = self.account.address();
        match self.account.rehearse(&call).await {
            Ok(_) => {}
            Err(CallError::Reverted(data)) => {
                return Err(HeartbeatError::Refused {
                    account,
                    reason: describe_revert(&data),
                });
            }
            Err(CallError::Rpc(error)) => return Err(HeartbeatError::Deliver(error.into())),
        }
        let delivery = Delivery::unrecorded(&self.account, &self.settings, &call);
        let delivered = delivery.run(|_, _| {}).await?;
        if delivered.receipt.status() {
            return Ok(());
        }
        Err(HeartbeatError::Refused {
            account,
            reason: "the transaction was included and reverted".to_owned(),
        })
    }
}
