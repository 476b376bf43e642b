//! The governor's calls: made at once, or announced first when the guard is sealed.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolError, SolEvent};

use super::DeployError;
use crate::chain::{explain_call, send};
use crate::config::format_duration;
use crate::guard::ICordonGuard;

/// What the guard says about its governor.
pub(super) struct Governance {
    pub(super) governor: Address,
    pub(super) proposed: Address,
    pub(super) delay: u32,
    pub(super) is_sealed: bool,
}

/// A change of a sealed guard that waits for its time: announced now, or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What is to change, in words.
    pub change: String,
    /// Hash of the call, as it was announced.
    pub action_hash: B256,
    /// From when on the call passes, Unix seconds. Of one that was announced now: about then, the block's time and the delay.
    pub due: u64,
    /// Whether it was announced now.
    pub is_new: bool,
}

/// Why a sealed guard does not take a call yet.
enum Wait {
    /// It was not announced.
    NotAnnounced,
    /// It was, and is due at this time, Unix seconds.
    Pending(u64),
}

/// Makes the governor's calls of one deployment.
pub(super) struct Governor<'a, P> {
    pub(super) provider: &'a P,
    /// Who sends.
    pub(super) from: Address,
    pub(super) guard: Address,
    /// Whether what must be announced is announced now, instead of being an error.
    pub(super) announces: bool,
    /// What was announced.
    pub(super) announced: Vec<Announcement>,
}

impl<'a, P: Provider> Governor<'a, P> {
    pub(super) const fn new(provider: &'a P, from: Address, guard: Address) -> Self {
        Self {
            provider,
            from,
            guard,
            announces: false,
            announced: Vec::new(),
        }
    }

    pub(super) async fn governance(&self) -> Result<Governance, DeployError> {
        governance(self.provider, self.guard).await
    }

    /// Sends a governor's call. A sealed guard takes it only when it has been announced: that is done now, or what is missing is the error.
    /// One that was announced and is not due yet is noted, and holds up nothing else.
    pub(super) async fn govern(&mut self, change: &str, calldata: Vec<u8>) -> Result<(), DeployError> {
        let state = self.governance().await?;
        let (guard, from) = (self.guard, self.from);
        if state.governor != from {
            return Err(DeployError::NotGovernor {
                guard,
                governor: state.governor,
                from,
            });
        }
        let action_hash = keccak256(&calldata);
        let request = |calldata: Vec<u8>| {
            TransactionRequest::default()
                .with_from(from)
                .with_to(guard)
                .with_input(calldata)
        };
        let call = request(calldata);
        let wait = match state.is_sealed {
            true => waits(self.provider, &call).await,
            false => None,
        };
        if let Some(Wait::Pending(due)) = wait {
            self.announced.push(Announcement {
                change: change.to_owned(),
                action_hash,
                due,
                is_new: false,
            });
            return Ok(());
        }
        if wait.is_some() {
            if !self.announces {
                return Err(DeployError::Sealed {
                    guard,
                    change: change.to_owned(),
                    governor: state.governor,
                    delay: format_duration(state.delay.into()),
                    action_hash,
                });
            }
            let announce = ICordonGuard::announceCall {
                actionHash: action_hash,
            };
            let what = format!("announcing: {change}");
            let receipt = send(self.provider, &what, request(announce.abi_encode())).await?;
            let mut logs = receipt.logs().iter();
            let told = logs.find_map(|log| ICordonGuard::Announced::decode_log(&log.inner).ok());
            tracing::info!(%guard, %action_hash, "announced: {change}");
            self.announced.push(Announcement {
                change: change.to_owned(),
                action_hash,
                due: told.map_or(0, |event| event.data.executableAt),
                is_new: true,
            });
            return Ok(());
        }
        send(self.provider, change, call).await?;
        tracing::info!(%guard, "{change}");
        Ok(())
    }
}

pub(super) async fn governance<P: Provider>(provider: &P, guard: Address) -> Result<Governance, DeployError> {
    let state = ICordonGuard::new(guard, provider)
        .governor()
        .call()
        .await
        .map_err(|error| explain_call("reading the guard's governor", error))?;
    Ok(Governance {
        governor: state.current,
        proposed: state.proposed,
        delay: state.delay,
        is_sealed: state.isSealed,
    })
}

/// Whether the guard refuses the call because it was not announced, or is not due yet.
async fn waits<P: Provider>(provider: &P, request: &TransactionRequest) -> Option<Wait> {
    let error = provider.call(request.clone()).await.err()?;
    let revert = error.as_error_resp()?.as_revert_data()?;
    if ICordonGuard::NotAnnounced::abi_decode(&revert).is_ok() {
        return Some(Wait::NotAnnounced);
    }
    let pending = ICordonGuard::AnnouncementPending::abi_decode(&revert).ok()?;
    Some(Wait::Pending(pending.executableAt))
}
