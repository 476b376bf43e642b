//! Playbooks of other tools: what is understood of them, and what is refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use cordon_client::config::Severity;
use cordon_client::playbook::{Act, Condition, Does, OnFailure, RuleSays, Standing, Step, cacao};
use cordon_core::Level;
use proptest::prelude::*;
use serde_json::{Value, json};

fn step(id: &str, does: Does) -> Step {
    Step {
        id: id.into(),
        does,
        on_failure: OnFailure::Stop,
    }
}

/// A playbook that another tool has written: manual commands for people.
fn foreign() -> Value {
    json!({
        "type": "playbook", "spec_version": "cacao-2.0",
        "id": "playbook--a0777575-5c4c-4710-9f01-15776103837f",
        "name": "Bridge drained: call the signers",
        "created_by": "identity--c0a3d9f2-18b7-4e55-8f64-7d2e90b1a5c3",
        "created": "2026-01-01T08:00:00.000Z", "modified": "2026-02-01T08:00:00.000Z",
        "labels": ["bridge"], "severity": 80,
        "workflow_start": "start--07bea005-4a36-4a77-bd1f-79a6e4682a13",
        "workflow": {
            "start--07bea005-4a36-4a77-bd1f-79a6e4682a13": {
                "type": "start", "on_completion": "action--1488a0ba-55ef-4c0d-9c4b-a5f7e4b40b4a" },
            "action--1488a0ba-55ef-4c0d-9c4b-a5f7e4b40b4a": {
                "type": "action", "name": "Call the signers", "delay": 5000, "timeout": 600000,
                "commands": [{ "type": "manual", "command": "Call all signers and have them pause the bridge" }],
                "agent": "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a",
                "on_success": "end--6b23c237-ade8-4d00-9aa1-75999738d557" },
            "end--6b23c237-ade8-4d00-9aa1-75999738d557": { "type": "end" }
        },
        "agent_definitions": {
            "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a": { "type": "group", "name": "Multisig signers" }
        }
    })
}

const FIRST: &str = "action--1488a0ba-55ef-4c0d-9c4b-a5f7e4b40b4a";

#[test]
fn a_manual_command_of_another_tool_is_asked_of_its_role() {
    let imported = cacao::import(&foreign().to_string()).unwrap();
    let wait = step("Call-the-signers", Does::Act(Act::Wait { seconds: 5 }));
    let steps = &imported.playbook.steps;
    assert_eq!(imported.playbook.id, "bridge-drained-call-the-signers");
    assert_eq!(imported.playbook.severity, Some(Severity::P1));
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].does, wait.does);
    assert_eq!(
        steps[1].does,
        Does::Act(Act::Approve {
            role: "multisig-signers".into(),
            text: "Call all signers and have them pause the bridge".into(),
            within: 600,
        })
    );
    assert_eq!(imported.notes, ["labels is not kept"]);
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut value = foreign();
        change(&mut value);
        cacao::import(&value.to_string()).unwrap_err().to_string()
    };
    let at = |value: &mut Value, key: &str, with: Value| value["workflow"][FIRST][key] = with;
    let messages = [
        refusal(&|value| value["spec_version"] = json!("cacao-1.1")),
        refusal(&|value| value["revoked"] = json!(true)),
        refusal(&|value| value["colour"] = json!("red")),
        refusal(&|value| value["playbook_variables"] = json!({ "__a__": { "type": "string" } })),
        refusal(&|value| value["modified"] = json!("2025-02-01T08:00:00.000Z")),
        refusal(&|value| value["created"] = json!("yesterday")),
        refusal(&|value| {
            value.as_object_mut().unwrap().remove("workflow");
        }),
        refusal(&|value| at(value, "commands", json!([{ "type": "bash", "command": "rm" }]))),
        refusal(&|value| {
            at(
                value,
                "commands",
                json!([{ "type": "http-api", "command": "POST /pause HTTP/1.1", "content_b64": "e30=" }]),
            )
        }),
        refusal(&|value| at(value, "agent", json!("group--11111111-fd20-4c4c-8fa7-e9a3b6c4fc5a"))),
        refusal(&|value| at(value, "on_success", json!(FIRST))),
        refusal(&|value| at(value, "on_success", json!("end--99999999-ade8-4d00-9aa1-75999738d557"))),
        refusal(&|value| {
            at(
                value,
                "on_completion",
                json!("end--6b23c237-ade8-4d00-9aa1-75999738d557"),
            )
        }),
        refusal(&|value| at(value, "timeout", json!(1_500))),
        refusal(&|value| {
            at(
                value,
                "step_variables",
                json!({ "name": { "type": "string", "value": "x" } }),
            )
        }),
        refusal(&|value| value["playbook_variables"] = json!({ "__host__": { "type": "string", "external": true } })),
        refusal(&|value| value["playbook_variables"] = json!({ "__n__": { "type": "integer", "value": "many" } })),
        refusal(&|value| {
            at(
                value,
                "commands",
                json!([{ "type": "manual", "command": "Call __whom__:value" }]),
            )
        }),
        refusal(&|value| at(value, "in_args", json!(["__whom__"]))),
        refusal(&|value| at(value, "out_args", json!(["__found__"]))),
        refusal(&|value| at(value, "targets", json!(["group--11111111-fd20-4c4c-8fa7-e9a3b6c4fc5a"]))),
        refusal(&|value| {
            value["playbook_variables"] = json!({ "__incident_level__": { "type": "string", "external": true } });
            at(
                value,
                "commands",
                json!([{ "type": "manual", "command": "It is at __incident_level__:value" }]),
            );
        }),
        refusal(&|value| {
            let play = "playbook-action--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
            at(value, "on_success", json!(play));
            value["workflow"][play] = json!({ "type": "playbook-action",
                "playbook_id": "playbook--a0777575-5c4c-4710-9f01-15776103837f" });
        }),
        refusal(&|value| {
            value["playbook_variables"] = json!({ "__kind__": { "type": "string", "value": "bridge" } });
            switched(value, "__kind__:value", &[("bridge", "bridge")]);
        }),
        refusal(&|value| {
            value["playbook_variables"] = json!({ "__incident_severity__": { "type": "string", "external": true } });
            switched(value, "__incident_severity__:value", &[("P1", "worst"), ("P9", "none")]);
        }),
        refusal(&|value| {
            value["playbook_variables"] = json!({ "__incident_severity__": { "type": "string", "external": true } });
            switched(value, "__incident_severity__:value", &[("default", "any")]);
        }),
        refusal(&|value| {
            at(
                value,
                "step_extensions",
                json!({ "extension-definition--11111111-ade8-4d00-9aa1-75999738d557": {} }),
            )
        }),
        refusal(&|value| {
            value["workflow"]["action--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a"] = value["workflow"][FIRST].clone();
        }),
        refusal(&|value| {
            let switch = "switch-condition--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
            at(value, "on_success", json!(switch));
            value["workflow"][switch] = json!({ "type": "switch-condition", "switch": "x", "cases": {} });
        }),
        refusal(&|value| {
            let branch = "if-condition--22222222-55ef-4c0d-9c4b-a5f7e4b40b4a";
            at(value, "on_success", json!(branch));
            value["workflow"][branch] = json!({ "type": "if-condition", "condition": "[ipv4-addr:value = '1.2.3.4']",
                "on_true": "end--6b23c237-ade8-4d00-9aa1-75999738d557", "on_completion": "end--6b23c237-ade8-4d00-9aa1-75999738d557" });
        }),
        cacao::import("[]").unwrap_err().to_string(),
        cacao::import("{").unwrap_err().to_string(),
    ];
    insta::assert_snapshot!("cacao_refusals", messages.join("\n\n---\n\n"));
}

fn uuid(number: usize) -> String {
    format!("{number:08x}-55ef-4c0d-9c4b-a5f7e4b40b4a")
}

/// Puts a switch behind the first step. Each case is a text that its role is asked.
fn switched(value: &mut Value, asked: &str, cases: &[(&str, &str)]) {
    let switch = format!("switch-condition--{}", uuid(1));
    let end = value["workflow"][FIRST]["on_success"].clone();
    value["workflow"][FIRST]["on_success"] = json!(switch);
    let mut targets = json!({});
    for (number, (case, text)) in (2..).zip(cases) {
        let (action, own_end) = (format!("action--{}", uuid(number)), format!("end--{}", uuid(number)));
        value["workflow"][&action] = json!({
            "type": "action", "name": *text, "agent": "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a",
            "commands": [{ "type": "manual", "command": *text }], "on_success": own_end,
        });
        value["workflow"][&own_end] = json!({ "type": "end" });
        targets[*case] = json!(action);
    }
    value["workflow"][&switch] =
        json!({ "type": "switch-condition", "name": "which", "switch": asked, "cases": targets, "on_success": end });
}

/// What `switched` asks of a role in a case.
fn asked(text: &str) -> Vec<Step> {
    vec![step(
        text,
        Does::Act(Act::Approve {
            role: "multisig-signers".into(),
            text: text.into(),
            within: 86_400,
        }),
    )]
}

#[test]
fn a_switch_is_one_branch_after_the_other_of_which_one_is_done() {
    let mut value = foreign();
    value["playbook_variables"] = json!({ "__incident_level__": { "type": "string", "external": true } });
    let cases = [("Halted", "closed"), ("ReduceOnly", "half"), ("default", "open")];
    switched(&mut value, "__incident_level__:value", &cases);
    let imported = cacao::import(&value.to_string()).unwrap();
    let level = |level| Condition::Level(cordon_client::playbook::Relation::Equal, level);
    let inner = Does::If {
        condition: level(Level::ReduceOnly),
        then: asked("half"),
        otherwise: asked("open"),
    };
    let outer = Does::If {
        condition: level(Level::Halted),
        then: asked("closed"),
        otherwise: vec![step("which-ReduceOnly", inner)],
    };
    assert_eq!(imported.playbook.steps[2], step("which", outer));
    // What is ours now goes out and comes in as the same.
    let exported = cacao::export(&imported.playbook, "2026-11-21T08:00:00.123Z").to_string();
    assert_eq!(cacao::import(&exported).unwrap().playbook, imported.playbook);
}

#[test]
fn variables_are_written_in_where_they_are_used() {
    let mut value = foreign();
    value["playbook_variables"] = json!({
        "__bridge__": { "type": "string", "value": "the eth bridge", "constant": true, "description": "which" },
        "__patience__": { "type": "integer", "value": "600" },
        "__incident_age__": { "type": "integer", "external": true },
        "__incident_state__": { "type": "string", "external": true },
        "__wanted__": { "type": "string", "value": "contained" },
    });
    let first = &mut value["workflow"][FIRST];
    first["commands"][0]["command"] = json!("Pause __bridge__:value with __hands__:value: key:value, __not one:value");
    first["step_variables"] = json!({ "__hands__": { "type": "string", "value": "four hands" } });
    first["in_args"] = json!(["__bridge__", "__hands__"]);
    let branch = format!("if-condition--{}", uuid(1));
    let end = first["on_success"].clone();
    first["on_success"] = json!(branch);
    let then = format!("action--{}", uuid(2));
    value["workflow"][&branch] = json!({
        "type": "if-condition", "name": "late", "on_true": then, "on_success": end,
        "condition": "[__incident_age__:value > __patience__:value AND __incident_state__:value != __wanted__:value]",
    });
    value["workflow"][&then] = json!({
        "type": "action", "name": "call", "agent": "group--7d9351e4-fd20-4c4c-8fa7-e9a3b6c4fc5a",
        "commands": [{ "type": "manual", "command": "call" }], "on_success": format!("end--{}", uuid(2)),
    });
    value["workflow"][format!("end--{}", uuid(2))] = json!({ "type": "end" });
    let imported = cacao::import(&value.to_string()).unwrap();
    let Does::Act(Act::Approve { text, .. }) = &imported.playbook.steps[1].does else {
        panic!("somebody is asked")
    };
    assert_eq!(text, "Pause the eth bridge with four hands: key:value, __not one:value");
    let Does::If { condition, .. } = &imported.playbook.steps[2].does else {
        panic!("a branch")
    };
    assert_eq!(condition.to_string(), "age > 10 minutes and state != contained");
    // Some tools write no brackets.
    let mut bare = value.clone();
    bare["workflow"][&branch]["condition"] = json!("__incident_age__:value <= 600");
    let bare = cacao::import(&bare.to_string()).unwrap().playbook;
    assert!(matches!(&bare.steps[2].does, Does::If { condition, .. } if condition.to_string() == "age <= 10 minutes"));
    assert!(
        matches!(condition, Condition::All(parts) if parts[1] == Condition::State(
        cordon_client::playbook::Relation::NotEqual, Standing::Contained))
    );
}

#[test]
fn a_request_of_another_tool_is_asked_of_a_person() {
    let mut value = foreign();
    let (soar, proxy) = (format!("soarca--{}", uuid(1)), format!("http-api--{}", uuid(2)));
    value["agent_definitions"] = json!({ &soar: { "type": "soarca", "name": "SOARCA http" } });
    value["target_definitions"] = json!({ &proxy: { "type": "http-api", "name": "the gateway", "port": "443",
        "address": { "url": ["https://gateway.example"] }, "authentication_info": format!("user-auth--{}", uuid(3)) } });
    value["authentication_info_definitions"] =
        json!({ format!("user-auth--{}", uuid(3)): { "type": "user-auth", "password": "hunter2" } });
    let first = &mut value["workflow"][FIRST];
    first["agent"] = json!(soar);
    first["targets"] = json!([proxy]);
    first["commands"] = json!([{ "type": "http-api", "command": "POST /pause HTTP/1.1",
        "headers": { "content-type": ["application/json"] }, "content": "{\"all\": true}" }]);
    let imported = cacao::import(&value.to_string()).unwrap();
    assert_eq!(
        imported.playbook.steps[1].does,
        Does::Act(Act::Approve {
            role: "soarca-http".into(),
            text: "Send the HTTP request `POST /pause HTTP/1.1`; content-type: application/json; with the content: {\"all\": true}\nTargets: the gateway (https://gateway.example)".into(),
            within: 600,
        })
    );
    let notes = imported.notes.join("\n");
    assert!(
        notes.contains("somebody of the role soarca-http is asked to"),
        "{notes}"
    );
    assert!(
        notes.contains("authentication_info_definitions is not kept") && !notes.contains("hunter2"),
        "{notes}"
    );
    // A command for a person that a machine was given has no role.
    value["workflow"][FIRST]["commands"][0]["type"] = json!("manual");
    value["workflow"][FIRST]["commands"][0]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key == "type" || key == "command");
    let error = cacao::import(&value.to_string()).unwrap_err().to_string();
    assert!(error.contains("a manual command is for people"), "{error}");
}

/// A fact with the names of its values.
fn fact() -> impl Strategy<Value = (&'static str, Vec<&'static str>)> {
    prop::sample::select(vec![
        ("__incident_severity__", Severity::ALL.map(Severity::name).to_vec()),
        (
            "__incident_level__",
            vec!["Normal", "Throttled", "ReduceOnly", "Halted"],
        ),
        ("__incident_state__", Standing::ALL.map(Standing::name).to_vec()),
        ("__incident_verdict__", RuleSays::ALL.map(RuleSays::name).to_vec()),
        ("__incident_acknowledged__", vec!["true", "false"]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever cases a switch has, it is read, each case is there once, and what is read survives the exchange.
    #[test]
    fn a_switch_survives_the_exchange((name, values) in fact(), chosen in any::<u8>(), default in any::<bool>()) {
        let mut cases: Vec<(&str, &str)> = values
            .iter()
            .enumerate()
            .filter(|(at, _)| *at == 0 || chosen >> at & 1 == 1)
            .map(|(_, value)| (*value, *value))
            .collect();
        if default {
            cases.push(("default", "otherwise"));
        }
        let mut value = foreign();
        value["playbook_variables"] = json!({ name: { "type": "string", "external": true } });
        switched(&mut value, name, &cases);
        let imported = cacao::import(&value.to_string()).unwrap().playbook;
        let exported = cacao::export(&imported, "2026-11-21T08:00:00.123Z");
        prop_assert_eq!(&cacao::import(&exported.to_string()).unwrap().playbook, &imported);
        let texts: Vec<&String> = imported.all_steps().into_iter().filter_map(|step| match &step.does {
            Does::Act(Act::Approve { text, .. }) => Some(text),
            _ => None,
        }).collect();
        prop_assert_eq!(texts.len(), cases.len() + 1);
        for (_, text) in cases {
            prop_assert_eq!(texts.iter().filter(|held| held.as_str() == text).count(), 1);
        }
    }
}
