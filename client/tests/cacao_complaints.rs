//! What is said of playbooks of other tools that cannot be carried out, to the letter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fmt::Write;

use cordon_client::playbook::cacao;
use serde_json::{Value, json};

const START: &str = "start--07bea005-4a36-4a77-bd1f-79a6e4682a13";
const FIRST: &str = "action--1488a0ba-55ef-4c0d-9c4b-a5f7e4b40b4a";
const END: &str = "end--6b23c237-ade8-4d00-9aa1-75999738d557";
const IF: &str = "if-condition--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
const WHILE: &str = "while-condition--33333333-55ef-4c0d-9c4b-a5f7e4b40b4a";
const SIGNERS: &str = "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a";
/// The keeper's own extension.
const OURS: &str = "extension-definition--5f1d6c4e-6a2b-4c1e-9d0f-3b7e2a90c4d1";

/// Its name, and what is done to the playbook.
type Case<'a> = (&'a str, &'a dyn Fn(&mut Value));

/// A playbook of another tool with one step.
fn foreign() -> Value {
    json!({
        "type": "playbook", "spec_version": "cacao-2.0",
        "id": "playbook--a0777575-5c4c-4710-9f01-15776103837f",
        "name": "Call", "created_by": "identity--c0a3d9f2-18b7-4e55-8f64-7d2e90b1a5c3",
        "created": "2026-01-01T08:00:00.000Z", "modified": "2026-02-01T08:00:00.000Z",
        "workflow_start": START,
        "workflow": {
            START: { "type": "start", "on_completion": FIRST },
            FIRST: {
                "type": "action", "name": "Call", "commands": [{ "type": "manual", "command": "Call" }],
                "agent": SIGNERS, "on_success": END },
            END: { "type": "end" }
        },
        "agent_definitions": { SIGNERS: { "type": "group", "name": "Signers" } }
    })
}

/// The same with a step before the first that does it or not.
fn branch(value: &mut Value, then: &str, timeout: Option<u32>) {
    value["workflow"][START]["on_completion"] = json!(IF);
    value["workflow"][IF] = json!({ "type": "if-condition", "condition": "[x-cordon-incident:level >= 2]",
        "on_true": then, "on_false": FIRST });
    if let Some(timeout) = timeout {
        value["workflow"][IF]["timeout"] = json!(timeout);
    }
}

/// What is said of each case; of a line that fills a screen, its beginning.
fn told(cases: &[Case<'_>]) -> String {
    let mut out = String::new();
    for (name, change) in cases {
        let mut value = foreign();
        change(&mut value);
        let error = cacao::import(&value.to_string())
            .map(|_| ())
            .expect_err(name)
            .to_string();
        let lines = error.lines().map(|line| line.chars().take(240).collect::<String>());
        writeln!(out, "## {name}\n\n{}\n", lines.collect::<Vec<_>>().join("\n")).unwrap();
    }
    out
}

#[test]
fn playbooks_of_other_tools() {
    let cases: [Case<'_>; 9] = [
        ("condition_on_a_rule_without_a_name", &|value| {
            branch(value, FIRST, None);
            value["workflow"][IF]["condition"] = json!("[x-cordon-incident:verdict.'' = 'Breached']");
        }),
        ("target_with_an_unknown_variable", &|value| {
            value["target_definitions"] =
                json!({ "group--11111111-fd20-4c4c-8fa7-e9a3b6c4fc5a": { "type": "group", "name": "__whom__:value" } });
        }),
        ("no_action", &|value| {
            value["workflow"][START]["on_completion"] = json!(END)
        }),
        ("unknown_extension", &|value| {
            value["playbook_extensions"] = json!({ "extension-definition--11111111-ade8-4d00-9aa1-75999738d557": {} });
        }),
        ("number_for_a_text", &|value| value["name"] = json!(7)),
        ("text_for_a_truth", &|value| {
            value["playbook_variables"] = json!({ "__a__": { "type": "string", "external": "no" } });
        }),
        ("limit_of_a_branch", &|value| branch(value, FIRST, Some(1_000))),
        ("no_identifier", &|value| {
            value["workflow"]["first"] = json!({ "type": "end" })
        }),
        ("empty_branch", &|value| branch(value, END, None)),
    ];
    insta::assert_snapshot!("playbooks_of_other_tools", told(&cases));
}

#[test]
fn what_is_around_the_steps() {
    let definition = |version: &str| {
        json!({ OURS: { "type": "extension-definition", "name": "Cordon", "version": version,
        "created_by": "identity--c0a3d9f2-18b7-4e55-8f64-7d2e90b1a5c3", "schema": "https://cordon.example" } })
    };
    let cases: [Case<'_>; 19] = [
        ("exception_handler", &|value| value["workflow_exception"] = json!(FIRST)),
        ("signatures", &|value| value["signatures"] = json!([{}])),
        ("valid_from", &|value| {
            value["valid_from"] = json!("2026-01-01T08:00:00.000Z")
        }),
        ("valid_until", &|value| {
            value["valid_until"] = json!("2026-01-01T08:00:00.000Z")
        }),
        ("markings", &|value| {
            value["data_marking_definitions"] = json!({ "marking-tlp--1": {} })
        }),
        ("too_long", &|value| value["description"] = json!("x".repeat(1 << 20))),
        ("severity", &|value| value["severity"] = json!(101)),
        ("identity", &|value| value["created_by"] = json!("me")),
        ("newer_than_the_keeper", &|value| {
            value["extension_definitions"] = definition("2.0")
        }),
        ("extension_of_another_tool", &|value| {
            value["extension_definitions"] =
                json!({ "extension-definition--11111111-ade8-4d00-9aa1-75999738d557": {} });
        }),
        ("severity_to_start_at", &|value| {
            value["playbook_extensions"] = json!({ OURS: { "start_severity": "P9" } });
        }),
        ("agent_without_identifier", &|value| {
            value["agent_definitions"]["signers"] = json!({ "type": "signers", "name": "Signers" });
        }),
        ("agent_of_another_type", &|value| {
            value["agent_definitions"][SIGNERS]["type"] = json!("individual")
        }),
        ("agent_with_extensions", &|value| {
            value["agent_definitions"][SIGNERS]["agent_target_extensions"] = json!({ "a": {} });
        }),
        ("address_of_an_agent", &|value| {
            value["agent_definitions"][SIGNERS]["address"] = json!({ "url": "https://signers.example" });
        }),
        ("truth", &|value| {
            value["playbook_variables"] = json!({ "__a__": { "type": "bool", "value": "perhaps" } });
        }),
        ("list", &|value| {
            value["playbook_variables"] = json!({ "__a__": { "type": "list", "value": "[]" } })
        }),
        ("long_value", &|value| {
            value["playbook_variables"] = json!({ "__a__": { "type": "string", "value": "x".repeat(2_001) } });
        }),
        ("variables_are_no_object", &|value| {
            value["playbook_variables"] = json!(["__a__"])
        }),
    ];
    insta::assert_snapshot!("what_is_around_the_steps", told(&cases));
}

/// Puts a repetition behind the first step.
fn repeated(value: &mut Value, extensions: Value) {
    value["workflow"][START]["on_completion"] = json!(WHILE);
    value["workflow"][WHILE] = json!({ "type": "while-condition", "condition": "[x-cordon-incident:level >= 2]",
        "on_true": FIRST, "on_completion": "end--33333333-ade8-4d00-9aa1-75999738d557", "step_extensions": extensions });
    value["workflow"]["end--33333333-ade8-4d00-9aa1-75999738d557"] = json!({ "type": "end" });
}

#[test]
fn steps() {
    fn first(value: &mut Value, key: &str, with: Value) {
        value["workflow"][FIRST][key] = with;
    }
    fn command(value: &mut Value, with: Value) {
        first(value, "commands", json!([with]));
    }
    fn deep(value: &mut Value) {
        // Each is within the branch of the one before.
        let id = |number: u32| format!("if-condition--{number:08}-55ef-4c0d-9c4b-a5f7e4b40b4a");
        value["workflow"][START]["on_completion"] = json!(id(1));
        for number in 1..=9 {
            let (then, end) = match number {
                9 => (FIRST.to_owned(), END.to_owned()),
                _ => (id(number + 1), END.to_owned()),
            };
            value["workflow"][id(number)] = json!({ "type": "if-condition", "on_true": then, "on_completion": end,
                "condition": "[x-cordon-incident:level >= 2]" });
        }
    }
    let many = |value: &mut Value| {
        let id = |number: u32| format!("action--{number:08}-55ef-4c0d-9c4b-a5f7e4b40b4a");
        let step = value["workflow"][FIRST].clone();
        first(value, "on_success", json!(id(1)));
        for number in 1..=801 {
            let mut one = step.clone();
            one["on_success"] = json!(if number == 801 { END.to_owned() } else { id(number + 1) });
            value["workflow"][id(number)] = one;
        }
    };
    let cases: [Case<'_>; 19] = [
        ("no_command", &|value| first(value, "commands", json!([]))),
        ("encoded_command", &|value| {
            command(value, json!({ "type": "manual", "command_b64": "Q2FsbA==" }))
        }),
        ("headers", &|value| {
            command(
                value,
                json!({ "type": "http-api", "command": "GET /", "headers": { "accept": 7 } }),
            );
        }),
        ("long_command", &|value| {
            command(value, json!({ "type": "manual", "command": "x".repeat(2_001) }));
        }),
        ("manual_command_of_a_machine", &|value| {
            let machine = "http-api--11111111-fd20-4c4c-8fa7-e9a3b6c4fc5a";
            value["agent_definitions"][machine] = json!({ "type": "http-api", "name": "gateway" });
            first(value, "agent", json!(machine));
        }),
        ("arguments_are_no_list", &|value| {
            first(value, "in_args", json!("__a__"))
        }),
        ("agent_is_no_identifier", &|value| {
            first(value, "agent", json!("signers"))
        }),
        ("another_type", &|value| first(value, "type", json!("parallel"))),
        ("no_type_of_a_step", &|value| {
            let leap = "leap--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
            first(value, "on_success", json!(leap));
            value["workflow"][leap] = json!({ "type": "leap", "on_completion": END });
        }),
        ("parallel_of_one", &|value| {
            let parallel = "parallel--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
            value["workflow"][START]["on_completion"] = json!(parallel);
            value["workflow"][parallel] = json!({ "type": "parallel", "next_steps": [FIRST], "on_completion": END });
        }),
        ("case_is_no_identifier", &|value| {
            let switch = "switch-condition--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
            value["playbook_variables"] = json!({ "__incident_level__": { "type": "string", "external": true } });
            value["workflow"][START]["on_completion"] = json!(switch);
            value["workflow"][switch] = json!({ "type": "switch-condition", "switch": "__incident_level__:value",
                "cases": { "Halted": "first" }, "on_completion": END });
        }),
        ("repetition_without_a_bound", &|value| repeated(value, json!({}))),
        ("repetition_of_no_round", &|value| {
            repeated(value, json!({ OURS: { "most_rounds": 0 } }))
        }),
        ("too_many_rounds", &|value| {
            repeated(value, json!({ OURS: { "most_rounds": 101 } }))
        }),
        ("nested_too_deeply", &deep),
        ("too_many_steps", &many),
        ("unknown_doing", &|value| {
            first(value, "step_extensions", json!({ OURS: { "does": "pray" } }))
        }),
        ("target_of_the_keeper", &|value| {
            let target = "group--11111111-fd20-4c4c-8fa7-e9a3b6c4fc5a";
            value["target_definitions"] = json!({ target: { "type": "group", "name": "us" } });
            first(value, "targets", json!([target]));
            first(value, "step_extensions", json!({ OURS: { "does": "close" } }));
        }),
        ("unknown_names", &|value| {
            let ours = json!({ OURS: { "does": "contain", "level": "Closed", "seconds": 60 } });
            first(value, "step_extensions", ours);
            for (number, ours) in [
                json!({ "does": "page", "audience": "everybody", "text": "look" }),
                json!({ "does": "escalate", "severity": "P0" }),
            ]
            .into_iter()
            .enumerate()
            {
                let id = format!("action--{number:08}-55ef-4c0d-9c4b-a5f7e4b40b4a");
                let mut step = value["workflow"][FIRST].clone();
                step["step_extensions"] = json!({ OURS: ours });
                first(value, "on_success", json!(id));
                value["workflow"][id] = step;
            }
        }),
    ];
    insta::assert_snapshot!("steps", told(&cases));
}

#[test]
fn conditions() {
    let deep = format!("[{}x-cordon-incident:level >= 2{}]", "(".repeat(18), ")".repeat(18));
    let wide = format!("[{}]", vec!["x-cordon-incident:level >= 2"; 33].join(" AND "));
    let mut out = String::new();
    for (name, condition) in [
        ("no_brackets", "x-cordon-incident:level >= 2"),
        ("what_follows", "[x-cordon-incident:level >= 2 FOLLOWEDBY x]"),
        ("open_parenthesis", "[(x-cordon-incident:level >= 2]"),
        ("too_deep", &deep),
        ("too_wide", &wide),
        ("unknown_property", "[x-cordon-incident:colour = 'red']"),
        ("rule_without_an_end", "[x-cordon-incident:verdict.'peg = 'Breached']"),
        ("rule_without_an_end_at_all", "[x-cordon-incident:verdict.'peg]"),
        ("no_number", "[x-cordon-incident:age > 'old']"),
        ("no_level", "[x-cordon-incident:level >= 9]"),
        ("no_severity", "[x-cordon-incident:severity = 6]"),
        ("no_order", "[x-cordon-incident:state > 'open']"),
        ("no_value", "[x-cordon-incident:state = 'calm']"),
        ("no_truth", "[x-cordon-incident:acknowledged != true]"),
        ("quoted_value", "[x-cordon-incident:state = __quoted__:value]"),
    ] {
        let mut value = foreign();
        value["playbook_variables"] = json!({ "__quoted__": { "type": "string", "value": "it's" } });
        branch(&mut value, FIRST, None);
        value["workflow"][IF]["condition"] = json!(condition);
        let error = cacao::import(&value.to_string())
            .map(|_| ())
            .expect_err(name)
            .to_string();
        let place = "/condition: ";
        let said = error.lines().find_map(|line| Some(line.split_once(place)?.1));
        writeln!(out, "{name}: {}", said.unwrap_or(&error)).unwrap();
    }
    insta::assert_snapshot!("conditions", out);
}
