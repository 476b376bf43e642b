//! A playbook as it is written in `cordon.toml`.

use std::fmt::Write;

use super::{Act, Does, OnFailure, Playbook, Step, To};
use crate::config::format_duration;

/// The text of a playbook: a `[[playbook]]` table that [`crate::Config`] reads as the same playbook.
pub fn to_toml(playbook: &Playbook) -> String {
    let mut out = format!("[[playbook]]\nid = {}\n", quoted(&playbook.id));
    // Writing to a string cannot fail; the results are dropped for this reason.
    if let Some(description) = &playbook.description {
        let _ = writeln!(out, "description = {}", quoted(description));
    }
    if let Some(severity) = playbook.severity {
        let _ = writeln!(out, "severity = {}", quoted(severity.name()));
    }
    if !playbook.rules.is_empty() {
        let _ = writeln!(out, "rules = {}", list(&playbook.rules));
    }
    out.push_str("step = [\n");
    for step in &playbook.steps {
        let _ = writeln!(out, "  {},", inline(step));
    }
    out.push_str("]\n");
    out
}

fn inline(step: &Step) -> String {
    let mut pairs = vec![("id", quoted(&step.id))];
    match &step.does {
        Does::Act(act) => {
            pairs.push(("do", quoted(act.name())));
            details(act, &mut pairs);
        }
        Does::If {
            condition,
            then,
            otherwise,
        } => {
            pairs.push(("if", quoted(&condition.to_string())));
            pairs.push(("then", steps(then)));
            if !otherwise.is_empty() {
                pairs.push(("else", steps(otherwise)));
            }
        }
        Does::While {
            condition,
            most,
            steps: body,
        } => {
            pairs.push(("while", quoted(&condition.to_string())));
            pairs.push(("most", most.to_string()));
            pairs.push(("steps", steps(body)));
        }
        Does::Parallel(branches) => {
            let branches: Vec<String> = branches.iter().map(|branch| steps(branch)).collect();
            pairs.push(("parallel", format!("[{}]", branches.join(", "))));
        }
    }
    match &step.on_failure {
        OnFailure::Stop => {}
        OnFailure::GoOn => pairs.push(("on_failure", quoted("go-on"))),
        OnFailure::Run(handler) => pairs.push(("on_failure", steps(handler))),
    }
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn details(act: &Act, pairs: &mut Vec<(&'static str, String)>) {
    let duration = |seconds: u32| quoted(&format_duration(u64::from(seconds)));
    match act {
        Act::Contain { scope, level, seconds } => {
            scoped(scope.as_deref(), pairs);
            pairs.push(("level", quoted(level.name())));
            pairs.push(("for", duration(*seconds)));
        }
        Act::ContainSet { set } => pairs.push(("set", quoted(set))),
        Act::Retry { scope } => scoped(scope.as_deref(), pairs),
        Act::Notify { to, text } | Act::Page { to, text } => {
            told(to, pairs);
            pairs.push(("text", quoted(text)));
        }
        Act::Wait { seconds } => pairs.push(("for", duration(*seconds))),
        Act::Until { condition, within } => {
            pairs.push(("until", quoted(&condition.to_string())));
            pairs.push(("within", duration(*within)));
        }
        Act::Approve { role, text, within } => {
            pairs.push(("role", quoted(role)));
            pairs.push(("text", quoted(text)));
            pairs.push(("within", duration(*within)));
        }
        Act::Escalate { severity } => pairs.push(("severity", quoted(severity.name()))),
        Act::Note { text } => pairs.push(("text", quoted(text))),
        Act::Close => {}
    }
}

fn scoped(scope: Option<&str>, pairs: &mut Vec<(&'static str, String)>) {
    pairs.extend(scope.map(|scope| ("scope", quoted(scope))));
}

fn told(to: &To, pairs: &mut Vec<(&'static str, String)>) {
    if !to.channels.is_empty() {
        pairs.push(("channels", list(&to.channels)));
    }
    pairs.extend(to.audience.map(|audience| ("audience", quoted(audience.name()))));
}

fn steps(steps: &[Step]) -> String {
    let steps: Vec<String> = steps.iter().map(inline).collect();
    format!("[{}]", steps.join(", "))
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
