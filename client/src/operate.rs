//! What people do with a guard by hand: trip, contain, contain a set, release, settle, heartbeat.

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};
use cordon_core::Level;

use crate::chain::{ChainError, code, explain, explain_call, send};
use crate::compile::{RuleMeta, SetMeta};
use crate::deploy::DeployError;
use crate::guard::ICordonGuard;

/// What a transaction has done to the level of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The level was raised.
    Raised,
    /// The level stays, for longer.
    Extended,
    /// The first breached observation of a spot rule was recorded; a second one raises the level.
    Observed,
    /// Nothing: the scope is at the level, or a stricter one, for long enough.
    Nothing,
}

/// What raising a scope has brought about, read from the receipt and then from the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// The transaction.
    pub transaction: B256,
    /// What it changed.
    pub change: Change,
    /// Level of the scope after it.
    pub level: Level,
    /// Number of the scope's incident; 0 when there is none.
    pub incident: u64,
    /// When the level steps down, Unix seconds; 0 when the scope is Normal.
    pub expires_at: u64,
    /// Numbers of the containment calls that ran.
    pub applied: Vec<u16>,
    /// Numbers of the containment calls whose effect was there already.
    pub not_needed: Vec<u16>,
    /// Numbers of the containment calls that failed.
    pub failed: Vec<u16>,
}

/// How far a release has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Queued now; it may be executed from then on (Unix seconds).
    Queued(u64),
    /// Was queued before; it may be executed from then on (Unix seconds).
    Waiting(u64),
    /// Executed: the scope is in Grace.
    Released,
}

/// Raises a scope by the authority of `from` for `duration` seconds. `evidence` is the hash of what led to it; zero when there
/// is none.
pub async fn contain<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    scope: u8,
    level: Level,
    duration: u32,
    evidence: B256,
) -> Result<Contained, ChainError> {
    let what = format!("containing scope {scope}");
    let wanted = ICordonGuard::Level::try_from(level as u8).map_err(|error| ChainError::Refused {
        what: what.clone(),
        reason: error.to_string(),
    })?;
    let call = ICordonGuard::containCall {
        scope,
        level: wanted,
        duration,
        evidence,
    };
    let receipt = order(provider, from, guard, &what, call.abi_encode()).await?;
    contained(provider, &receipt, guard, scope).await
}

/// Contains the scopes of a containment set by the authority of `from`: all, or the call fails and none is. One in which a stricter level
/// holds, or that is at its ceiling, is left as it is ([`Change::Nothing`]). Answers for each scope, in the order of the set, what has
/// become of it; the containment calls that ran are those of all scopes.
pub async fn contain_set<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    set: &SetMeta,
    evidence: B256,
) -> Result<Vec<(u8, Contained)>, ChainError> {
    let call = ICordonGuard::containSetCall {
        set: set.name,
        evidence,
    };
    let what = format!("containing the set {}", set.id);
    let receipt = order(provider, from, guard, &what, call.abi_encode()).await?;
    let mut scopes = Vec::new();
    for order in &set.orders {
        scopes.push((order.scope, contained(provider, &receipt, guard, order.scope).await?));
    }
    Ok(scopes)
}

/// What came of rehearsing a containment set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRehearsal {
    /// Numbers of the containment calls that the set runs.
    pub calls: Vec<u16>,
    /// Numbers of those that would have no effect now, or could not be undone.
    pub failing: Vec<u16>,
}

/// Has the guard make all containment calls of a set and undo them, in a call that changes nothing.
///
/// # Errors
/// [`ChainError`] when the guard does not know the set, or nobody answers.
pub async fn rehearse_set<P: Provider>(
    provider: &P,
    guard: Address,
    set: &SetMeta,
) -> Result<SetRehearsal, ChainError> {
    let what = format!("rehearsing the set {}", set.id);
    let error = match ICordonGuard::new(guard, provider).rehearseSet(set.name).call().await {
        Ok(_) => {
            return Err(ChainError::Refused {
                what,
                reason: "the call went through, which no rehearsal does: is this a guard?".into(),
            });
        }
        Err(error) => error,
    };
    let Some(told) = error.as_decoded_error::<ICordonGuard::SetRehearsed>() else {
        return Err(explain_call(&what, error));
    };
    let numbers = |bits: U256| (0u16..256).filter(|bit| bits.bit(usize::from(*bit))).collect();
    Ok(SetRehearsal {
        calls: numbers(told.calls),
        failing: numbers(told.failing),
    })
}

/// Makes the guard re-evaluate a rule and raise its scope when it is breached. `witness` has one word per parameter of the
/// rule. A spot rule's first breached observation is only recorded ([`Change::Observed`]), and this has to be repeated after
/// two seconds.
pub async fn trip<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    rule: &RuleMeta,
    witness: Vec<B256>,
) -> Result<Contained, ChainError> {
    let call = ICordonGuard::tripCall {
        rule: rule.index,
        witness,
    };
    let receipt = order(
        provider,
        from,
        guard,
        &format!("tripping the rule {}", rule.id),
        call.abi_encode(),
    )
    .await?;
    contained(provider, &receipt, guard, rule.scope).await
}

/// Runs once more the containment calls of a scope that failed or have not run.
pub async fn retry<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    scope: u8,
) -> Result<Contained, ChainError> {
    let call = ICordonGuard::retryContainmentCall { scope };
    let what = format!("retrying the containment of scope {scope}");
    let receipt = order(provider, from, guard, &what, call.abi_encode()).await?;
    contained(provider, &receipt, guard, scope).await
}

async fn contained<P: Provider>(
    provider: &P,
    receipt: &TransactionReceipt,
    guard: Address,
    scope: u8,
) -> Result<Contained, ChainError> {
    let is_raised = events::<ICordonGuard::LevelRaised>(receipt, guard)
        .iter()
        .any(|event| event.scope == scope);
    let is_extended = events::<ICordonGuard::LevelExtended>(receipt, guard)
        .iter()
        .any(|event| event.scope == scope);
    let change = if is_raised {
        Change::Raised
    } else if is_extended {
        Change::Extended
    } else if !events::<ICordonGuard::RuleObserved>(receipt, guard).is_empty() {
        Change::Observed
    } else {
        Change::Nothing
    };
    // What holds now, whoever brought it about.
    let status = scope_status(provider, guard, scope).await?;
    Ok(Contained {
        transaction: receipt.transaction_hash,
        change,
        level: Level::from_u8(status.level as u8).unwrap_or(Level::Halted),
        incident: status.incident,
        expires_at: status.expiresAt,
        applied: events::<ICordonGuard::ContainmentApplied>(receipt, guard)
            .iter()
            .map(|e| e.call)
            .collect(),
        not_needed: events::<ICordonGuard::ContainmentNotNeeded>(receipt, guard)
            .iter()
            .map(|e| e.call)
            .collect(),
        failed: events::<ICordonGuard::ContainmentFailed>(receipt, guard)
            .iter()
            .map(|e| e.call)
            .collect(),
    })
}

/// Brings the release of a scope one step further: queues it, or executes it when its delay has passed.
pub async fn release<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    scope: u8,
) -> Result<Release, ChainError> {
    let what = format!("releasing scope {scope}");
    let queued = release_at(provider, guard, scope).await?;
    if queued == 0 {
        let call = ICordonGuard::queueReleaseCall { scope };
        order(provider, from, guard, &what, call.abi_encode()).await?;
        return Ok(Release::Queued(release_at(provider, guard, scope).await?));
    }
    let head = provider
        .get_block(BlockId::latest())
        .await
        .map_err(|error| explain(&what, &error))?;
    if head.is_some_and(|head| head.header.timestamp < queued) {
        return Ok(Release::Waiting(queued));
    }
    let call = ICordonGuard::releaseCall { scope };
    order(provider, from, guard, &what, call.abi_encode()).await?;
    Ok(Release::Released)
}

async fn release_at<P: Provider>(provider: &P, guard: Address, scope: u8) -> Result<u64, ChainError> {
    Ok(scope_status(provider, guard, scope).await?.releaseAt)
}

async fn scope_status<P: Provider>(
    provider: &P,
    guard: Address,
    scope: u8,
) -> Result<ICordonGuard::ScopeStatus, ChainError> {
    let status = ICordonGuard::new(guard, provider).scopeStatus(scope).call().await;
    status.map_err(|error| explain_call("reading the scope's state", error))
}

/// Makes sure, before anything is sent, that a guard answers at `guard`, and returns the code hash of the rulebook that it goes
/// by: rules, scopes and containment calls are named by number, and the numbers are the rulebook's.
///
/// # Errors
/// [`DeployError::NoCode`] for an account without code, [`DeployError::Chain`] for a contract that is no guard.
pub async fn check_guard<P: Provider>(provider: &P, guard: Address) -> Result<B256, DeployError> {
    if code(provider, guard).await?.is_empty() {
        return Err(DeployError::NoCode(vec![("guard".into(), guard)]));
    }
    let adopted = ICordonGuard::new(guard, provider).rulebook().call().await;
    Ok(adopted
        .map_err(|error| explain_call("reading the guard's rulebook", error))?
        .codeHash)
}

/// Cancels the queued release of a scope. Returns the transaction.
pub async fn cancel_release<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    scope: u8,
) -> Result<B256, ChainError> {
    let call = ICordonGuard::cancelReleaseCall { scope };
    let what = format!("cancelling the release of scope {scope}");
    Ok(order(provider, from, guard, &what, call.abi_encode())
        .await?
        .transaction_hash)
}

/// Undoes, after expiry, what the guard did in a scope. Returns the numbers of the containment calls that were undone and of
/// those whose undoing failed.
pub async fn settle<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    scope: u8,
) -> Result<(Vec<u16>, Vec<u16>), ChainError> {
    let call = ICordonGuard::settleCall { scope };
    let receipt = order(
        provider,
        from,
        guard,
        &format!("settling scope {scope}"),
        call.abi_encode(),
    )
    .await?;
    Ok((
        events::<ICordonGuard::ContainmentUndone>(&receipt, guard)
            .iter()
            .map(|event| event.call)
            .collect(),
        events::<ICordonGuard::UndoFailed>(&receipt, guard)
            .iter()
            .map(|event| event.call)
            .collect(),
    ))
}

/// Takes back the announcement of this hash. Returns the transaction.
///
/// # Errors
/// When nothing of that hash is announced, or `from` may not take it back.
pub async fn cancel_announcement<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    hash: B256,
) -> Result<B256, ChainError> {
    let call = ICordonGuard::cancelAnnouncementCall { actionHash: hash };
    let what = format!("taking back the announcement {hash}");
    let receipt = order(provider, from, guard, &what, call.abi_encode()).await?;
    Ok(receipt.transaction_hash)
}

/// Shows the guard that the keeper lives. Returns the transaction.
pub async fn heartbeat<P: Provider>(provider: &P, from: Address, guard: Address) -> Result<B256, ChainError> {
    let call = ICordonGuard::heartbeatCall {};
    Ok(order(provider, from, guard, "the heartbeat", call.abi_encode())
        .await?
        .transaction_hash)
}

pub(crate) async fn order<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    what: &str,
    calldata: Vec<u8>,
) -> Result<TransactionReceipt, ChainError> {
    send(
        provider,
        what,
        TransactionRequest::default()
            .with_from(from)
            .with_to(guard)
            .with_input(calldata),
    )
    .await
}

pub(crate) fn events<E: SolEvent>(receipt: &TransactionReceipt, guard: Address) -> Vec<E> {
    receipt
        .logs()
        .iter()
        .filter(|log| log.address() == guard)
        .filter_map(|log| E::decode_log(&log.inner).ok())
        .map(|log| log.data)
        .collect()
}
