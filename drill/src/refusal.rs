//! An attack that was refused inside its transaction, as an incident that was over as soon as it began.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy::{primitives::Bytes, providers::Provider, sol_types::SolError};
use cordon_client::{config::Severity, guard::ICordonGuard};
use cordon_core::{level::Level, rule::value::Int};
use cordon_keeper::record::{Incident, IncidentState};

use crate::{abi, attack::Landed, error::DrillError, fork::Fork, live::CHAIN_ID, stage::Stage};

/// The scope of a drill's protocol; 0 is the whole of it.
const OWN_SCOPE: u8 = 1;

/// Why a transaction was refused.
enum Why {
    /// The guard's hook found this rule breached.
    Rule(ICordonGuard::RuleBreached),
    /// The guard's level closed the action, or an adapter refused it by itself.
    Named(&'static str),
}

/// The incident of what was bad since the block `first_bad` and `transaction`, which was refused; `None` when neither the guard nor an
/// adapter of it was what refused it. Its `rule` is `None` when it was no rule.
pub(crate) async fn incident(
    fork: &Fork,
    stage: &Stage,
    first_bad: u64,
    transaction: &Landed,
) -> Result<Option<Incident>, DrillError> {
    let Some(why) = reason(fork, transaction).await? else {
        return Ok(None);
    };
    let refused = transaction.block;
    let first_bad_time = fork.chain.timestamp(first_bad).await?;
    let refused_time = fork.chain.timestamp(refused).await?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let mut incident = Incident {
        id: 1,
        chain_id: CHAIN_ID,
        guard: stage.guard,
        scope: OWN_SCOPE,
        scope_name: stage.scopes.get(usize::from(OWN_SCOPE)).cloned().unwrap_or_default(),
        severity: Severity::P3,
        state: IncidentState::Closed,
        chain_incident: None,
        rule: None,
        rule_name: None,
        witness: Vec::new(),
        observed: None,
        bound: None,
        opened_ms: i64::try_from(now).unwrap_or(i64::MAX),
        opened_block: refused,
        opened_time: refused_time,
        first_bad_block: first_bad,
        first_bad_time,
        level: Level::Normal,
        contained_block: Some(refused),
        contained_time: Some(refused_time),
        ended_block: Some(refused),
        ended_time: Some(refused_time),
        head_to_decision: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
        configuration: None,
        timeline: Vec::new(),
        transactions: Vec::new(),
        closures: Vec::new(),
    };
    match why {
        Why::Rule(breach) => {
            let Some((rule, scope, severity)) = stage.rules.get(usize::from(breach.rule)).cloned() else {
                return Ok(None);
            };
            incident.scope = scope;
            incident.scope_name = stage.scopes.get(usize::from(scope)).cloned().unwrap_or_default();
            incident.severity = severity;
            incident.rule = Some(breach.rule);
            incident.rule_name = Some(rule);
            incident.observed = Some(value(breach.observedNegative, breach.observed));
            incident.bound = Some(value(breach.boundNegative, breach.bound));
        }
        Why::Named(error) => incident.rule_name = Some(error.to_owned()),
    }
    Ok(Some(incident))
}

const fn value(negative: bool, magnitude: alloy::primitives::U256) -> Int {
    Int { negative, magnitude }
}

/// What the transaction was reverted with, read from its trace: anywhere in it, for a protocol may wrap the error of a call.
async fn reason(fork: &Fork, landed: &Landed) -> Result<Option<Why>, DrillError> {
    let tracer = serde_json::json!({"tracer": "callTracer"});
    let trace: serde_json::Value = fork
        .chain
        .provider()
        .raw_request("debug_traceTransaction".into(), (landed.hash, tracer))
        .await
        .map_err(DrillError::rpc("tracing the refused transaction"))?;
    Ok(find(&trace))
}

/// The innermost of the errors that we know, depth first.
fn find(call: &serde_json::Value) -> Option<Why> {
    let inner = call.get("calls").and_then(serde_json::Value::as_array);
    if let Some(found) = inner.into_iter().flatten().find_map(find) {
        return Some(found);
    }
    call.get("error")?;
    let output = call.get("output")?.as_str()?;
    let data: Bytes = output.parse().ok()?;
    if let Ok(breach) = ICordonGuard::RuleBreached::abi_decode(&data) {
        return Some(Why::Rule(breach));
    }
    let selector = data.get(..4)?;
    let known = [
        (ICordonGuard::ActionClosed::SELECTOR, "ActionClosed"),
        (abi::ISafeTransactionGuard::NotScheduled::SELECTOR, "NotScheduled"),
    ];
    let named = known.into_iter().find(|(known, _)| selector == known);
    named.map(|(_, name)| Why::Named(name))
}
