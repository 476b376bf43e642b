//! The report's text.

use std::fmt::{self, Write};
use std::time::Duration;

use cordon_core::action::{Action, ActionSet};

use super::RuleTexts;
use crate::clock::{spoken, utc, utc_ms};
use crate::record::{Closure, Incident};

/// An amount of an asset that the incident is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// What it is: `lost`, `at risk`, `saved`.
    pub what: String,
    /// Name of the asset.
    pub asset: String,
    /// The amount as people write it.
    pub amount: String,
    /// Where the number comes from.
    pub source: String,
}

/// The report of an incident in Markdown.
#[must_use]
pub fn markdown(incident: &Incident, amounts: &[Amount], rules: &RuleTexts) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(&mut out, incident, amounts, rules);
    out
}

fn write_report(out: &mut String, incident: &Incident, amounts: &[Amount], rules: &RuleTexts) -> fmt::Result {
    let title = incident.rule_name.as_deref().unwrap_or("raised on the chain");
    writeln!(out, "# Incident {}: {title} on {}\n", incident.id, incident.scope_name)?;
    summary(out, incident)?;
    breach(out, incident, rules)?;
    if !amounts.is_empty() {
        writeln!(
            out,
            "## Amounts\n\n| what | asset | amount | source |\n| --- | --- | --- | --- |"
        )?;
        for amount in amounts {
            let cells = [&amount.what, &amount.asset, &amount.amount, &amount.source].map(|text| cell(text));
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
        writeln!(out)?;
    }
    closed(out, incident)?;
    timeline(out, incident)?;
    transactions(out, incident)
}

fn summary(out: &mut String, incident: &Incident) -> fmt::Result {
    writeln!(out, "| | |\n| --- | --- |")?;
    let mut row = |name: &str, value: &str| writeln!(out, "| {name} | {} |", cell(value));
    row("Severity", incident.severity.name())?;
    row("State", incident.state.name())?;
    row("Chain", &incident.chain_id.to_string())?;
    let guard = match incident.guard.is_zero() {
        true => "none".to_owned(),
        false => incident.guard.to_string(),
    };
    row("Guard", &guard)?;
    if let Some(number) = incident.chain_incident {
        row("Number at the guard", &number.to_string())?;
    }
    row(
        "First bad block",
        &at(incident.first_bad_block, incident.first_bad_time),
    )?;
    row(
        "Detected",
        &format!(
            "{}; noticed {}",
            at(incident.opened_block, incident.opened_time),
            utc_ms(incident.opened_ms)
        ),
    )?;
    if let (Some(block), Some(time)) = (incident.contained_block, incident.contained_time) {
        let after = block.saturating_sub(incident.first_bad_block);
        row(
            "Contained",
            &format!("{}, {after} block(s) after the first bad one", at(block, time)),
        )?;
        row("Level by now", incident.level.name())?;
    }
    if let (Some(block), Some(time)) = (incident.ended_block, incident.ended_time) {
        row("Ended", &at(block, time))?;
    }
    for (name, latency) in [
        ("Head to decision", incident.head_to_decision),
        ("Decision to broadcast", incident.decision_to_broadcast),
        ("Broadcast to contained", incident.broadcast_to_contained),
    ] {
        if let Some(latency) = latency {
            row(name, &millis(latency))?;
        }
    }
    if let Some(number) = incident.configuration {
        row("Configuration at the start", &number.to_string())?;
    }
    writeln!(out)
}

fn breach(out: &mut String, incident: &Incident, rules: &RuleTexts) -> fmt::Result {
    let (Some(rule), Some(observed), Some(bound)) = (&incident.rule_name, incident.observed, incident.bound) else {
        let cause = match &incident.rule_name {
            Some(refusal) => format!("An adapter of the guard refused a transaction (`{refusal}`); see the timeline."),
            None => "The level was raised by an account, not by a rule; see the timeline.".to_owned(),
        };
        return writeln!(out, "## Cause\n\n{cause}\n");
    };
    let sign = |negative: bool| if negative { "-" } else { "" };
    writeln!(out, "## Rule\n")?;
    writeln!(out, "`{rule}` was breached at block {}.\n", incident.opened_block)?;
    if let Some(text) = rules.get(rule) {
        // Every line stands four columns in, so that nothing in the rule can end the block.
        for line in text.lines() {
            writeln!(out, "    {line}")?;
        }
        writeln!(
            out,
            "\nObserved and bound are the left and the right side of the comparison that decided, in the units of what was read; for \
             `near(a, b, tolerance)` they are `a` and `b`, which may differ by the tolerance.\n"
        )?;
    }
    writeln!(out, "| | value |\n| --- | --- |")?;
    writeln!(out, "| observed | {}{} |", sign(observed.negative), observed.magnitude)?;
    writeln!(out, "| bound | {}{} |", sign(bound.negative), bound.magnitude)?;
    for (number, word) in incident.witness.iter().enumerate() {
        writeln!(out, "| witness {} | `{word}` |", number.saturating_add(1))?;
    }
    writeln!(out)
}

fn closed(out: &mut String, incident: &Incident) -> fmt::Result {
    writeln!(out, "## What was closed for users\n")?;
    if incident.closures.is_empty() {
        return writeln!(out, "Nothing.\n");
    }
    writeln!(
        out,
        "| by | closed | from | until | for |\n| --- | --- | --- | --- | --- |"
    )?;
    for closure in &incident.closures {
        let until = match (closure.to_block, closure.to_time) {
            (Some(block), Some(time)) => at(block, time),
            _ => "still closed".to_owned(),
        };
        let lasted = closure
            .to_time
            .map_or_else(|| "-".to_owned(), |to| spoken(to.saturating_sub(closure.from_time)));
        let by = if closure.cause == "level" {
            "the guard's hooks".to_owned()
        } else {
            format!("`{}`", closure.cause)
        };
        let actions = names(closure.actions);
        writeln!(
            out,
            "| {by} | {actions} | {} | {until} | {lasted} |",
            at(closure.from_block, closure.from_time)
        )?;
    }
    writeln!(out)?;
    if incident
        .closures
        .iter()
        .any(|closure: &Closure| closure.actions.contains(Action::Repay))
    {
        writeln!(
            out,
            "**Repayment was closed meanwhile**: positions could not be rescued by their owners.\n"
        )?;
    }
    Ok(())
}

fn timeline(out: &mut String, incident: &Incident) -> fmt::Result {
    writeln!(
        out,
        "## Timeline\n\n| UTC | block | what | transaction |\n| --- | --- | --- | --- |"
    )?;
    for entry in &incident.timeline {
        let block = match (entry.block_number, entry.block_time) {
            (Some(number), Some(time)) => at(number, time),
            _ => String::new(),
        };
        let tx = entry.tx.map_or_else(String::new, |tx| format!("`{tx}`"));
        writeln!(
            out,
            "| {} | {block} | **{}**: {} | {tx} |",
            utc_ms(entry.at_ms),
            cell(&entry.kind),
            cell(&entry.text)
        )?;
    }
    writeln!(out)
}

fn transactions(out: &mut String, incident: &Incident) -> fmt::Result {
    writeln!(out, "## Transactions of the keeper\n")?;
    if incident.transactions.is_empty() {
        return writeln!(out, "None.");
    }
    writeln!(
        out,
        "| transaction | does | from | nonce | sent | status | block | gas | fee (wei) |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for tx in &incident.transactions {
        let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} |",
            tx.hash,
            tx.kind.name(),
            tx.sender,
            tx.nonce,
            utc_ms(tx.sent_ms),
            cell(&tx.status),
            number(tx.block_number),
            number(tx.gas_used),
            tx.fee.map_or_else(String::new, |fee| fee.to_string())
        )?;
    }
    Ok(())
}

fn at(block: u64, time: u64) -> String {
    format!("{block} ({})", utc(time))
}

fn millis(latency: Duration) -> String {
    format!("{}.{:03} ms", latency.as_millis(), latency.subsec_micros() % 1_000)
}

fn names(actions: ActionSet) -> String {
    let names: Vec<&str> = Action::ALL
        .into_iter()
        .filter(|action| actions.contains(*action))
        .map(Action::name)
        .collect();
    names.join(", ")
}

/// Text that cannot break out of a table cell, nor carry markup: parts of it come from the chain.
fn cell(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => " ".to_owned(),
            '|' => "\\|".to_owned(),
            '<' => "&lt;".to_owned(),
            c if c.is_control() => String::new(),
            c => c.to_string(),
        })
        .collect()
}
