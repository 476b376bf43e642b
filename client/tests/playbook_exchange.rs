//! Playbooks as CACAO 2.0 and back: what is exchanged is the same, whatever it is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;

use cordon_client::config::{Audience, Severity};
use cordon_client::playbook::{
    Act, Condition, Does, OnFailure, Playbook, Relation, RuleSays, Standing, Step, To, cacao,
};
use cordon_core::Level;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{1,20}x",
        Just("He said \"no\", \\ and\nleft — ü".to_owned()),
        // What other tools would take for a variable.
        Just("Read __this__:value aloud".to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let relation = prop::sample::select(Relation::ALL.to_vec());
    let same = prop::sample::select(vec![Relation::Equal, Relation::NotEqual]);
    let leaf = prop_oneof![
        (
            same.clone(),
            prop::option::of("[a-z][a-z0-9_-]{0,8}"),
            prop::sample::select(RuleSays::ALL.to_vec())
        )
            .prop_map(|(relation, rule, says)| Condition::Verdict { rule, relation, says }),
        (
            relation.clone(),
            prop::sample::select(vec![Level::Normal, Level::Throttled, Level::ReduceOnly, Level::Halted])
        )
            .prop_map(|(relation, level)| Condition::Level(relation, level)),
        (relation.clone(), prop::sample::select(Severity::ALL.to_vec()))
            .prop_map(|(relation, severity)| Condition::Severity(relation, severity)),
        (same, prop::sample::select(Standing::ALL.to_vec()))
            .prop_map(|(relation, standing)| Condition::State(relation, standing)),
        (relation, any::<u32>()).prop_map(|(relation, seconds)| Condition::Age(relation, seconds)),
        any::<bool>().prop_map(Condition::Acknowledged),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Condition::All),
            vec(inner, 2..4).prop_map(Condition::Any),
        ]
    })
}

fn to() -> impl Strategy<Value = To> {
    (
        vec("[a-z]{1,8}", 0..3),
        prop::option::of(prop::sample::select(Audience::ALL.to_vec())),
    )
        .prop_map(|(channels, audience)| To { channels, audience })
}

fn act() -> impl Strategy<Value = Act> {
    let scope = || prop::option::of("[a-z]{1,8}");
    let seconds = || 1_u32..1_000_000;
    prop_oneof![
        (
            scope(),
            prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted]),
            seconds()
        )
            .prop_map(|(scope, level, seconds)| Act::Contain { scope, level, seconds }),
        "[a-z-]{1,12}".prop_map(|set| Act::ContainSet { set }),
        scope().prop_map(|scope| Act::Retry { scope }),
        (to(), text()).prop_map(|(to, text)| Act::Notify { to, text }),
        (to(), text()).prop_map(|(to, text)| Act::Page { to, text }),
        seconds().prop_map(|seconds| Act::Wait { seconds }),
        (condition(), seconds()).prop_map(|(condition, within)| Act::Until { condition, within }),
        ("[a-z]{1,8}", text(), seconds()).prop_map(|(role, text, within)| Act::Approve { role, text, within }),
        prop::sample::select(Severity::ALL.to_vec()).prop_map(|severity| Act::Escalate { severity }),
        text().prop_map(|text| Act::Note { text }),
        Just(Act::Close),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let on_failure = prop_oneof![Just(OnFailure::Stop), Just(OnFailure::GoOn)];
    let leaf = (act(), on_failure.clone()).prop_map(|(act, on_failure)| Step {
        id: String::new(),
        does: Does::Act(act),
        on_failure,
    });
    let tree = leaf.prop_recursive(3, 16, 4, move |inner| {
        let list = || vec(inner.clone(), 1..4);
        let does = prop_oneof![
            (condition(), list(), vec(inner.clone(), 0..3)).prop_map(|(condition, then, otherwise)| Does::If {
                condition,
                then,
                otherwise,
            }),
            (condition(), 1_u32..100, list()).prop_map(|(condition, most, steps)| Does::While {
                condition,
                most,
                steps
            }),
            vec(list(), 2..4).prop_map(Does::Parallel),
        ];
        let on_failure = prop_oneof![on_failure.clone(), list().prop_map(OnFailure::Run)];
        (does, on_failure).prop_map(|(does, on_failure)| Step {
            id: String::new(),
            does,
            on_failure,
        })
    });
    vec(tree, 1..5)
}

/// Gives every step a name of its own.
fn named(mut steps: Vec<Step>, next: &mut u32) -> Vec<Step> {
    for step in &mut steps {
        *next += 1;
        step.id = format!("s{next}");
        let all = |steps: &mut Vec<Step>, next: &mut u32| *steps = named(std::mem::take(steps), next);
        match &mut step.does {
            Does::Act(_) => {}
            Does::If { then, otherwise, .. } => {
                all(then, next);
                all(otherwise, next);
            }
            Does::While { steps, .. } => all(steps, next),
            Does::Parallel(branches) => branches.iter_mut().for_each(|branch| all(branch, next)),
        }
        if let OnFailure::Run(handler) = &mut step.on_failure {
            all(handler, next);
        }
    }
    steps
}

fn playbook() -> impl Strategy<Value = Playbook> {
    (
        prop::option::of(text()),
        prop::option::of(prop::sample::select(Severity::ALL.to_vec())),
        vec("[a-z][a-z0-9-]{0,10}", 0..3),
        steps(),
    )
        .prop_map(|(description, severity, rules, steps)| Playbook {
            id: "drawn".into(),
            description,
            severity,
            rules,
            steps: named(steps, &mut 0),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_playbook_survives_the_exchange(playbook in playbook()) {
        let exported = cacao::export(&playbook, "2026-11-21T08:00:00.123Z");
        follows_the_standard(&exported);
        let imported = cacao::import(&exported.to_string()).unwrap();
        prop_assert_eq!(&imported.playbook, &playbook);
        prop_assert_eq!(cacao::export(&imported.playbook, "2026-11-21T08:00:00.123Z"), exported);
    }

    #[test]
    fn a_condition_is_read_as_it_is_written(condition in condition()) {
        prop_assert_eq!(Condition::parse(&condition.to_string()).unwrap(), condition);
    }

    #[test]
    fn no_text_is_more_than_a_refusal(text in ".{0,80}") {
        let _ = Condition::parse(&text);
        prop_assert!(cacao::import(&text).is_err());
    }

    /// Whatever is broken in a file, it is either read as a playbook or refused with at least one named problem.
    #[test]
    fn a_damaged_file_is_refused_by_name(playbook in playbook(), at in any::<prop::sample::Index>(), with in "[a-z0-9\":{}]") {
        let mut text = cacao::export(&playbook, "2026-11-21T08:00:00.123Z").to_string();
        let positions: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = positions[at.index(positions.len())];
        let width = text[at..].chars().next().unwrap().len_utf8();
        text.replace_range(at..at + width, &with);
        if let Err(error) = cacao::import(&text) {
            prop_assert!(!error.problems.is_empty());
        }
    }
}

/// The standard's own rules, from its published schemas: which properties an object has and must have, that identifiers
/// have their form and their type, that what is referred to is there, and that each branch ends at an end of its own.
fn follows_the_standard(playbook: &Value) {
    let has = |value: &Value, required: &[&str], optional: &[&str]| {
        let map = value.as_object().unwrap();
        for key in required {
            assert!(map.contains_key(*key), "{key} is missing in {value}");
        }
        for key in map.keys() {
            let known = required.iter().chain(optional).any(|known| known == key);
            assert!(known, "{key} does not belong into {value}");
        }
    };
    has(
        playbook,
        &[
            "type",
            "spec_version",
            "id",
            "name",
            "created_by",
            "created",
            "modified",
            "workflow_start",
            "workflow",
        ],
        &[
            "description",
            "playbook_types",
            "playbook_activities",
            "severity",
            "playbook_extensions",
            "agent_definitions",
            "extension_definitions",
        ],
    );
    let workflow = playbook["workflow"].as_object().unwrap();
    let agents = playbook["agent_definitions"].as_object().unwrap();
    let extensions = playbook["extension_definitions"].as_object().unwrap();
    assert!(!agents.is_empty() && !extensions.is_empty());
    let mut uuids = BTreeSet::new();
    let ids = workflow.keys().chain(agents.keys()).map(String::as_str);
    for id in ids.chain([playbook["id"].as_str().unwrap()]) {
        let (_, uuid) = id.split_once("--").unwrap();
        let groups: Vec<&str> = uuid.split('-').collect();
        assert_eq!(
            groups.iter().map(|group| group.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12],
            "{id}"
        );
        assert!(
            groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']),
            "{id}"
        );
        assert!(groups.concat().chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        assert!(uuids.insert(uuid.to_owned()), "{uuid} is used twice");
    }
    for definition in extensions.values() {
        has(
            definition,
            &["type", "name", "created_by", "schema", "version"],
            &["description"],
        );
    }
    let base = [
        "name",
        "on_completion",
        "on_success",
        "on_failure",
        "step_extensions",
        "timeout",
    ];
    let with = |more: &[&'static str]| base.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let mut ends = Vec::new();
    for (id, step) in workflow {
        let kind = step["type"].as_str().unwrap();
        assert!(id.starts_with(&format!("{kind}--")), "{id}");
        match kind {
            "start" => has(step, &["type", "on_completion"], &[]),
            "end" => has(step, &["type"], &[]),
            "action" => has(step, &["type", "commands", "agent"], &with(&[])),
            "if-condition" => has(step, &["type", "condition", "on_true"], &with(&["on_false"])),
            "while-condition" => has(step, &["type", "condition", "on_true"], &with(&[])),
            "parallel" => has(step, &["type", "next_steps"], &with(&[])),
            other => panic!("{other}"),
        }
        if kind != "end" {
            let both = step.get("on_completion").is_some() ^ step.get("on_success").is_some();
            assert!(
                both && (step.get("on_failure").is_none() || step.get("on_success").is_some()),
                "{step}"
            );
        }
        for key in ["on_completion", "on_success", "on_failure", "on_true", "on_false"] {
            if let Some(next) = step.get(key) {
                let next = next.as_str().unwrap();
                assert!(workflow.contains_key(next), "{next}");
                if next.starts_with("end--") {
                    ends.push(next.to_owned());
                }
            }
        }
        for next in step.get("next_steps").and_then(Value::as_array).into_iter().flatten() {
            assert!(workflow.contains_key(next.as_str().unwrap()));
        }
        for extension in step
            .get("step_extensions")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            assert!(extensions.contains_key(extension.0));
            for name in extension.1.as_object().unwrap().keys() {
                assert!(
                    name.len() >= 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                    "{name}"
                );
            }
        }
        if kind == "action" {
            let agent = step["agent"].as_str().unwrap();
            assert!(agents.contains_key(agent), "{agent}");
            for command in step["commands"].as_array().unwrap() {
                has(command, &["type", "command"], &["playbook_activity"]);
            }
        }
    }
    let distinct: BTreeSet<&String> = ends.iter().collect();
    let all = workflow.keys().filter(|id| id.starts_with("end--")).count();
    assert_eq!(distinct.len(), all, "an end that nothing leads to");
}
