//! Having the guard observe what rules compare with. The first observation decides where a stream begins, unless it is contradicted.

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolError};
use cordon_core::rule::{Int, Unknown};
use cordon_core::stream::Stored;

use crate::chain::{ChainError, explain};
use crate::compile::CompiledConfig;
use crate::deploy::{DeployError, StreamFailure};
use crate::guard::ICordonGuard;
use crate::operate::{events, order};
use crate::revert::revert_reason;
use crate::status::{StreamState, streams};

/// Most streams in a transaction that observes, so that it fits into a block.
pub const OBSERVED_AT_ONCE: usize = 16;

/// An observation that the guard has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The stream, as the rulebook numbers it.
    pub stream: u8,
    /// The value that the guard has read.
    pub value: Int,
    /// What counts of it: the fresh value of an anchor, the clipped observation of statistics.
    pub counted: Int,
}

/// Has the guard observe these streams. Those that are not due, frozen or unreadable are passed over, unless that is so of all. Returns
/// the transaction and what was observed.
pub async fn observe<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    streams: Vec<u8>,
) -> Result<(B256, Vec<Observed>), ChainError> {
    let call = ICordonGuard::observeCall { streams };
    let receipt = order(provider, from, guard, "observing streams", call.abi_encode()).await?;
    let observed = events::<ICordonGuard::StreamObserved>(&receipt, guard)
        .into_iter()
        .map(|event| Observed {
            stream: event.stream,
            value: Int::new(event.observedNegative, event.observed),
            counted: Int::new(event.freshNegative, event.fresh),
        })
        .collect();
    Ok((receipt.transaction_hash, observed))
}

/// The revert data with which the guard would refuse to observe this stream now; `None` when it would not.
///
/// # Errors
/// When the chain does not answer.
pub async fn observe_refused<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    stream: u8,
) -> Result<Option<Bytes>, ChainError> {
    let call = ICordonGuard::observeCall { streams: vec![stream] };
    let request = TransactionRequest::default()
        .with_from(from)
        .with_to(guard)
        .with_input(call.abi_encode());
    let Err(error) = provider.call(request).await else {
        return Ok(None);
    };
    let revert = error.as_error_resp().and_then(|payload| payload.as_revert_data());
    revert.map(Some).ok_or_else(|| explain("observing a stream", &error))
}

/// Has the guard make the first observation of every stream that has none, which anyone may ask for. Those that an incident freezes are
/// left alone. What contradicts such an observation takes its place at any time, and what agrees with it counts a period later: so somebody
/// who is honest, as a keeper, must look meanwhile. Returns what is stored then.
///
/// # Errors
/// [`DeployError::StreamsEmpty`] when one has no observation after that: it cannot be read, or its value is not within its bounds.
pub async fn begin_streams<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    compiled: &CompiledConfig,
) -> Result<Vec<StreamState>, DeployError> {
    let latest = BlockId::latest();
    let (mut empty, mut failures) = (Vec::new(), Vec::new());
    for state in streams(provider, guard, latest, compiled).await? {
        if state.stored.observed_at() > 0 || state.frozen_by.is_some() {
            continue;
        }
        match observe_refused(provider, from, guard, state.index).await? {
            None => empty.push(state.index),
            Some(revert) => failures.push(StreamFailure {
                index: state.index,
                reason: reason(&state, &revert),
                reads: state.reads,
            }),
        }
    }
    for batch in empty.chunks(OBSERVED_AT_ONCE) {
        observe(provider, from, guard, batch.to_vec()).await?;
    }
    if failures.is_empty() {
        return Ok(streams(provider, guard, latest, compiled).await?);
    }
    Err(DeployError::StreamsEmpty { guard, failures })
}

/// Why the guard does not observe a stream, in words.
fn reason(state: &StreamState, revert: &[u8]) -> String {
    let unknown = ICordonGuard::StreamUnreadable::abi_decode(revert)
        .ok()
        .and_then(|unreadable| Unknown::from_code(unreadable.reason));
    match (unknown, &state.stored) {
        (Some(Unknown::OutOfBounds), Stored::Anchor(spec, _)) => {
            let (low, high) = (spec.low.number(), spec.high.number());
            format!("its value is not within {low} and {high}, which the rule says: correct the bounds, or the unit")
        }
        (Some(unknown), _) => unknown.to_string(),
        (None, _) => revert_reason(revert),
    }
}
