//! The texts of a message: one for those who respond, another for those who answer for it.

use std::fmt::Write;

use cordon_core::action::{Action, ActionSet};

use super::message::{Origin, line, short, sighting};
use crate::clock::{spoken, utc, utc_ms};
use crate::record::{Incident, Notice, NoticeKind};

// Writing to a string cannot fail; the results are dropped below for this reason.

pub(super) fn technical(origin: &Origin, notice: &Notice, incident: Option<&Incident>) -> String {
    let mut out = format!("{}\n", line(&notice.text));
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "{name}: {}", line(&value));
    };
    row("when", utc_ms(notice.at_ms));
    row("where", place(origin));
    if let Some(block) = notice.block_number {
        row("block", block.to_string());
    }
    let sighting = sighting(notice);
    if let Some(tx) = sighting.as_ref().and_then(|facts| facts.get("tx")?.as_str()) {
        row("transaction", tx.to_owned());
    }
    if let Some(incident) = incident {
        row("incident", format!("{} ({})", incident.id, incident.state.name()));
        if let (Some(observed), Some(bound)) = (incident.observed, incident.bound) {
            let sign = |negative| if negative { "-" } else { "" };
            row("observed", format!("{}{}", sign(observed.negative), observed.magnitude));
            row("bound", format!("{}{}", sign(bound.negative), bound.magnitude));
        }
        for word in &incident.witness {
            row("witness", word.to_string());
        }
        row("first bad block", incident.first_bad_block.to_string());
        if let Some(block) = incident.contained_block {
            row(
                "contained in block",
                format!("{block}, level {}", incident.level.name()),
            );
        }
        for tx in &incident.transactions {
            row(tx.kind.name(), format!("{} ({})", tx.hash, tx.status));
        }
        for closure in &incident.closures {
            let from = utc(closure.from_time);
            let until = closure.to_time.map_or_else(|| "now".to_owned(), utc);
            row(
                "closed for users",
                format!(
                    "{} by {} from {from} until {until}",
                    actions(closure.actions),
                    closure.cause
                ),
            );
        }
    } else if matches!(notice.kind, NoticeKind::Alarm) {
        row(
            "what to do",
            format!("docs/keeper.md, alarm `{}`", short(&notice.topic)),
        );
    }
    if notice.kind.calls() {
        let _ = writeln!(out, "acknowledge: cordon keeper ack {} --by NAME", notice.topic);
    }
    out
}

fn place(origin: &Origin) -> String {
    match origin.guard.is_zero() {
        true => format!("chain {}, no guard", origin.chain_id),
        false => format!("chain {}, guard {}", origin.chain_id, origin.guard),
    }
}

pub(super) fn management(origin: &Origin, notice: &Notice, incident: Option<&Incident>) -> String {
    let mut out = String::new();
    let subject = line(&notice.subject);
    let sentence = match notice.kind {
        NoticeKind::Opened if origin.guard.is_zero() => {
            format!("A safety rule of {subject} was broken. Nothing is contained by itself: people have to act.")
        }
        NoticeKind::Opened => format!("A safety rule of {subject} was broken. The response has begun."),
        NoticeKind::Contained => format!("{subject} is contained: the protections of its level are in force."),
        NoticeKind::Reorged => {
            format!("The chain took a block back: the containment of {subject} is being made again.")
        }
        NoticeKind::Released => format!("The people in charge have released {subject}."),
        NoticeKind::Settled => format!("The containment of {subject} has run out and was taken back."),
        NoticeKind::Closed => format!("The incident on {subject} is closed."),
        NoticeKind::Stopped => format!("An attempt on {subject} was stopped before it took effect."),
        NoticeKind::Alarm => format!("The monitoring itself needs care: {}.", short(&notice.topic)),
        NoticeKind::Cleared => format!("The monitoring is well again: {}.", short(&notice.topic)),
        NoticeKind::Acknowledged | NoticeKind::Told | NoticeKind::Called => line(&notice.text),
        NoticeKind::Seen => format!("The watch {subject} has seen what it looks for."),
        NoticeKind::Retracted => format!("The chain took back what the watch {subject} had seen."),
    };
    let _ = writeln!(out, "{sentence}");
    let _ = writeln!(out, "Severity {}, {}.", notice.severity.name(), utc_ms(notice.at_ms));
    let Some(incident) = incident else { return out };
    let _ = writeln!(out, "Incident {}.", incident.id);
    if let Some(contained) = incident.contained_time {
        let after = contained.saturating_sub(incident.first_bad_time);
        let _ = writeln!(out, "Contained {} after the first bad block.", spoken(after));
    }
    let open: Vec<String> = incident
        .closures
        .iter()
        .filter(|closure| closure.to_time.is_none())
        .map(|closure| actions(closure.actions))
        .collect();
    if !open.is_empty() {
        let _ = writeln!(out, "Closed for users now: {}.", open.join(", "));
    } else if incident.closures.is_empty() {
        let _ = writeln!(out, "Nothing is closed for users.");
    } else {
        let _ = writeln!(out, "Everything is open for users again.");
    }
    out
}

pub(super) fn actions(set: ActionSet) -> String {
    let names: Vec<&str> = Action::ALL
        .into_iter()
        .filter(|action| set.contains(*action))
        .map(Action::name)
        .collect();
    names.join(", ")
}
