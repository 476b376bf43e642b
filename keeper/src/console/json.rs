//! What the record holds, as JSON. Big integers are decimal text: JSON's numbers would round them.

use cordon_core::action::{Action, ActionSet};
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use serde_json::{Value, json};

use crate::clock::utc_ms;
use crate::decide::RuleVerdict;
use crate::event::KeeperEvent;
use crate::record::{Alarm, Configuration, Incident, Intent, Names, Notice, PlaybookRun};
use crate::rules::reason_text;

fn int(int: Int) -> String {
    format!("{}{}", if int.negative { "-" } else { "" }, int.magnitude)
}

fn actions(set: ActionSet) -> Vec<&'static str> {
    Action::ALL
        .into_iter()
        .filter(|action| set.contains(*action))
        .map(Action::name)
        .collect()
}

pub(super) fn incident_in_short(incident: &Incident) -> Value {
    json!({
        "id": incident.id,
        "scope": incident.scope_name,
        "severity": incident.severity.name(),
        "state": incident.state.name(),
        "rule": incident.rule_name,
        "level": incident.level.name(),
        "opened": utc_ms(incident.opened_ms),
        "first_bad_block": incident.first_bad_block,
        "contained_block": incident.contained_block,
        "ended_block": incident.ended_block,
    })
}

/// What a rule in shadow would have done.
pub(super) fn shadowed(intent: &Intent, names: &Names) -> Value {
    json!({
        "at": utc_ms(intent.decided_ms),
        "block": intent.block_number,
        "rule": intent.rule.map(|rule| names.rule(rule)),
        "witness": intent.witness,
        "observed": int(intent.observed),
        "bound": int(intent.bound),
        "scope": names.scope(intent.scope),
        "level": intent.level.name(),
    })
}

pub(super) fn configuration(held: &Configuration) -> Value {
    json!({
        "number": held.number,
        "digest": held.digest,
        "since": (held.at_ms > 0).then(|| utc_ms(held.at_ms)),
    })
}

pub(super) fn playbook_run(run: &PlaybookRun) -> Value {
    let steps: Vec<Value> = run
        .steps
        .iter()
        .map(|step| {
            json!({
                "step": step.step,
                "status": step.status.name(),
                "begun": utc_ms(step.began_ms),
                "ended": step.ended_ms.map(utc_ms),
                "by": step.person,
                "detail": step.detail,
            })
        })
        .collect();
    json!({
        "playbook": run.playbook,
        "state": run.state,
        "begun": utc_ms(run.began_ms),
        "ended": run.ended_ms.map(utc_ms),
        "steps": steps,
    })
}

pub(super) fn incident(incident: &Incident) -> Value {
    let micros =
        |latency: Option<std::time::Duration>| latency.and_then(|latency| u64::try_from(latency.as_micros()).ok());
    let mut value = incident_in_short(incident);
    let more = json!({
        "chain_incident": incident.chain_incident,
        "configuration": incident.configuration,
        "witness": incident.witness,
        "observed": incident.observed.map(int),
        "bound": incident.bound.map(int),
        "latency_us": {
            "head_to_decision": micros(incident.head_to_decision),
            "decision_to_broadcast": micros(incident.decision_to_broadcast),
            "broadcast_to_contained": micros(incident.broadcast_to_contained),
        },
        "timeline": incident.timeline.iter().map(|entry| json!({
            "at": utc_ms(entry.at_ms),
            "block": entry.block_number,
            "kind": entry.kind,
            "text": entry.text,
            "transaction": entry.tx,
        })).collect::<Vec<_>>(),
        "transactions": incident.transactions.iter().map(|tx| json!({
            "hash": tx.hash,
            "does": tx.kind.name(),
            "from": tx.sender,
            "nonce": tx.nonce,
            "status": tx.status,
            "block": tx.block_number,
            "gas": tx.gas_used,
            "fee_wei": tx.fee.map(|fee| fee.to_string()),
        })).collect::<Vec<_>>(),
        "closed_for_users": incident.closures.iter().map(|closure| json!({
            "by": closure.cause,
            "actions": actions(closure.actions),
            "from_block": closure.from_block,
            "to_block": closure.to_block,
        })).collect::<Vec<_>>(),
    });
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
    value
}

pub(super) fn verdict(verdict: &RuleVerdict, names: &Names) -> Value {
    let reading = &verdict.reading;
    let name = match reading.verdict {
        Verdict::Holds => "holds",
        Verdict::Breached => "breached",
        Verdict::Unknown => "unknown",
    };
    json!({
        "rule": names.rule(verdict.rule),
        "witness": verdict.witness,
        "verdict": name,
        "observed": int(reading.observed),
        "bound": int(reading.bound),
        "reason": (reading.verdict == Verdict::Unknown).then(|| reason_text(reading.reason)),
    })
}

pub(super) fn alarm(alarm: &Alarm) -> Value {
    json!({
        "kind": alarm.kind,
        "subject": alarm.subject,
        "text": alarm.text,
        "block": alarm.block_number,
        "raised": utc_ms(alarm.raised_ms),
        "cleared": alarm.cleared_ms.map(utc_ms),
    })
}

pub(super) fn notice(notice: &Notice) -> Value {
    json!({
        "id": notice.id,
        "topic": notice.topic,
        "kind": notice.kind.name(),
        "severity": notice.severity.name(),
        "incident": notice.incident,
        "subject": notice.subject,
        "text": notice.text,
        "block": notice.block_number,
        "at": utc_ms(notice.at_ms),
    })
}

/// Name and content of an event.
pub(super) fn event(event: &KeeperEvent) -> (&'static str, Value) {
    match event {
        KeeperEvent::BlockDone { number, hash, .. } => ("block", json!({ "number": number, "hash": hash })),
        KeeperEvent::Decided {
            intent,
            incident,
            rule,
            scope,
            level,
            block,
            head_to_decision,
        } => (
            "decided",
            json!({ "intent": intent, "incident": incident, "rule": rule, "scope": scope, "level": level.name(),
                "block": block, "head_to_decision_ms": head_to_decision.as_secs_f64() * 1e3 }),
        ),
        KeeperEvent::Sighted { watch, block, text, .. } => {
            ("sighted", json!({ "watch": watch, "block": block, "text": text }))
        }
        KeeperEvent::Broadcast { intent, kind, tx, .. } => (
            "broadcast",
            json!({ "intent": intent, "does": kind.name(), "transaction": tx }),
        ),
        KeeperEvent::Contained {
            intent,
            incident,
            scope,
            level,
            tx,
            block,
            ..
        } => (
            "contained",
            json!({ "intent": intent, "incident": incident, "scope": scope, "level": level.name(), "transaction": tx,
                "block": block }),
        ),
        KeeperEvent::Finished {
            intent,
            kind,
            outcome,
            detail,
        } => (
            "finished",
            json!({ "intent": intent, "does": kind.name(), "outcome": outcome.name(), "detail": detail }),
        ),
        KeeperEvent::Alarm { kind, subject, text } => (
            "alarm",
            json!({ "kind": kind.name(), "subject": subject, "text": text }),
        ),
        KeeperEvent::AlarmCleared { kind, subject } => ("cleared", json!({ "kind": kind.name(), "subject": subject })),
    }
}
