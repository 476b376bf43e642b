//! Playbooks in cordon.toml: what is read, and what is wrong with it in the exact words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;

use cordon_client::Config;
use cordon_client::config::Severity;
use cordon_client::playbook::{Does, Playbook, cacao, to_toml};

const AROUND: &str = r#"
[chain]
id = 42161
rpc = ["http://127.0.0.1:8545"]
[guard]
scopes = ["protocol", "vault"]
[keeper]
store = "cordon.db"
[contracts]
vault = { address = "0x00000000000000000000000000000000000000a9", abi = "erc4626" }
[[invariant]]
id = "vault-backed"
scope = "vault"
rule = "vault.totalAssets() >= 1"
level = "ReduceOnly"
[[containment]]
id = "hold"
scope = "vault"
level = "ReduceOnly"
call = "vault.hold()"
done = "vault.totalAssets() >= 1"
[[notify]]
id = "chat"
via = "stdout"
[[notify]]
id = "chief"
via = "stdout"
audience = "management"
severity = "none"
[roles]
commander = ["ada", "grace"]
"#;

const FULL: &str = r#"
[[playbook]]
id = "emergency"
description = "What is done when the vault is not backed"
severity = "P2"
rules = ["vault-backed"]
step = [
  { do = "page", channels = ["chat"], text = "The vault is not backed." },
  { if = "level < ReduceOnly and age > 10 seconds", then = [
    { do = "retry", on_failure = "go-on" },
    { id = "raise", do = "contain", scope = "vault", level = "ReduceOnly", for = "30 minutes" },
  ], else = [ { do = "note", text = "It is held already." } ] },
  { parallel = [
    [ { do = "notify", audience = "management", text = "We look into it." } ],
    [ { id = "halt", do = "approve", role = "commander", text = "Halt the vault?", within = "10 minutes",
        on_failure = [ { do = "escalate", severity = "P1" } ] } ],
  ] },
  { while = "not acknowledged", most = 5, steps = [ { do = "wait", for = "5 minutes" }, { do = "page", text = "Still nobody." } ] },
  { do = "wait", until = "state = settled or state = released", within = "1 day" },
  { do = "close" },
]
"#;

fn parse(text: &str) -> Result<Config, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cordon.toml");
    let prefix = format!("{}/tests/data/", env!("CARGO_MANIFEST_DIR"));
    Config::parse(&format!("{AROUND}{text}"), path).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn one(text: &str) -> Playbook {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
    config.playbooks.into_iter().next().unwrap()
}

#[test]
fn a_playbook_is_read_whole() {
    let playbook = one(FULL);
    assert_eq!(playbook.id, "emergency");
    assert_eq!(playbook.severity, Some(Severity::P2));
    assert!(playbook.starts_at(Severity::P1, Some("vault-backed")));
    assert!(!playbook.starts_at(Severity::P3, Some("vault-backed")));
    assert!(!playbook.starts_at(Severity::P1, Some("another")));
    assert!(!playbook.starts_at(Severity::P1, None));
    assert!(playbook.contains());
    let ids: Vec<&str> = playbook.all_steps().iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "step-1",
            "step-2",
            "step-2-then-1",
            "raise",
            "step-2-else-1",
            "step-3",
            "step-3-branch-1-1",
            "halt",
            "halt-failed-1",
            "step-4",
            "step-4-steps-1",
            "step-4-steps-2",
            "step-5",
            "step-6"
        ]
    );
    let Does::If { condition, .. } = &playbook.steps[1].does else {
        panic!("a branch")
    };
    assert_eq!(condition.to_string(), "level < ReduceOnly and age > 10 seconds");
}

/// The complaint about the full playbook with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "the example has no {from}");
    match parse(&FULL.replacen(from, to, 1)) {
        Err(message) => message,
        Ok(_) => panic!("nothing wrong with {to}"),
    }
}

#[test]
fn complaints() {
    let messages: Vec<String> = [
        (r#"severity = "P2""#, r#"severity = "P9""#),
        (r#"rules = ["vault-backed"]"#, r#"rules = ["vault-baked"]"#),
        (r#"do = "retry""#, r#"do = "rety""#),
        (r#"do = "close""#, r#"when = "now""#),
        (r#"do = "close""#, r#"text = "x""#),
        (r#"do = "close""#, r#"do = "close", text = "x""#),
        (r#"scope = "vault", level"#, r#"scope = "vualt", level"#),
        (
            r#"level = "ReduceOnly", for = "30 minutes""#,
            r#"level = "Halted", for = "30 minutes""#,
        ),
        (r#"level = "ReduceOnly", for = "30 minutes""#, r#"level = "ReduceOnly""#),
        (r#"channels = ["chat"]"#, r#"channels = ["chatt"]"#),
        (r#"role = "commander""#, r#"role = "comander""#),
        (r#"within = "10 minutes""#, r#"within = "10 minuts""#),
        (r#"within = "10 minutes""#, r#"within = "0 minutes""#),
        (r#"level < ReduceOnly and"#, r#"level < ReducOnly and"#),
        (r#"level < ReduceOnly and"#, r#"levle < ReduceOnly and"#),
        (r#"state = settled or"#, r#"state > settled or"#),
        (
            r#"state = settled or state = released"#,
            r#"verdict(vault-baked) = Holds"#,
        ),
        (r#", most = 5"#, r#""#),
        (r#", most = 5"#, r#", most = 500"#),
        (r#"id = "halt""#, r#"id = "raise""#),
        (r#"on_failure = "go-on""#, r#"on_failure = "retry""#),
        (
            r#"for = "5 minutes" }"#,
            r#"for = "5 minutes", until = "acknowledged" }"#,
        ),
        (
            r#"else = [ { do = "note", text = "It is held already." } ]"#,
            r#"otherwise = []"#,
        ),
    ]
    .into_iter()
    .map(|(from, to)| complaint(from, to))
    .collect();
    insta::assert_snapshot!("playbook_complaints", messages.join("\n\n---\n\n"));
}

#[test]
fn routes_and_roles_are_checked() {
    let more = |text: &str| parse(text).err().unwrap_or_else(|| "nothing is wrong".to_owned());
    let watch = |rest: &str| format!("[[watch]]\nid = \"w\"\non = \"transaction\"\n{rest}\n");
    let messages = [
        more(&watch(r#"channels = ["chat", "chif"]"#)),
        more(&watch(r#"audience = "managers""#)),
        // The only channel for management is told nothing that does not name it.
        more(&watch(r#"audience = "management""#)),
        more("[people]\nadah = { token = { env = \"ADA\" } }"),
        more("[people]\nada = { token = \"s3cret\" }"),
    ];
    insta::assert_snapshot!("route_complaints", messages.join("\n\n---\n\n"));

    let config = parse(&watch(r#"channels = "chief""#)).unwrap();
    assert_eq!(config.watches[0].channels, ["chief"]);
    let config = parse(&watch(r#"audience = "technical""#)).unwrap();
    assert_eq!(config.watches[0].channels, ["chat"]);
    assert!(config.invariants[0].channels.is_empty());
    assert!(config.people.has("ada", "commander") && !config.people.has("eve", "commander"));
}

#[test]
fn playbooks_of_a_folder_are_read_and_their_problems_name_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(folder.path().join("plays")).unwrap();
        std::fs::write(folder.path().join("plays").join(name), text).unwrap();
    };
    let load = || {
        let text = AROUND.replace("store = \"cordon.db\"", "store = \"cordon.db\"\nplaybooks = \"plays\"");
        let path = folder.path().join("cordon.toml");
        let prefix = format!("{}/", folder.path().display());
        Config::parse(&text, path).map_err(|error| error.to_string().replace(&prefix, ""))
    };
    assert!(load().unwrap_err().contains("the folder cannot be read"));
    write("a.toml", "id = \"a\"\nstep = [{ do = \"close\" }]\n");
    write(
        "b.json",
        &cacao::export(&one(FULL), "2026-11-21T08:00:00.000Z").to_string(),
    );
    write("readme.md", "not a playbook");
    let ids: Vec<String> = load()
        .unwrap()
        .playbooks
        .into_iter()
        .map(|playbook| playbook.id)
        .collect();
    assert_eq!(ids, ["a", "emergency"]);

    write("a.toml", "id = \"a\"\nstep = [{ do = \"clse\" }]\n");
    write("c.json", r#"{ "type": "playbook" }"#);
    let message = load().unwrap_err();
    assert!(
        message.contains("plays/a.toml:2:16: unknown thing to do `clse`"),
        "{message}"
    );
    assert!(
        message.contains("plays/c.json: workflow_start: the property is missing"),
        "{message}"
    );
}

const FALLBACK: &str = r#"
[[fallback]]
id = "council"
scopes = ["vault"]
safe = "0x00000000000000000000000000000000000000a9"
deadline = "20 seconds"
signed = ["halt.json"]
service = "https://api.safe.global/tx-service/arb1"
service_key = { env = "SAFE_KEY" }
for = "2 hours"
"#;

#[test]
fn fallbacks_are_read_and_checked() {
    let config = parse(FALLBACK).unwrap();
    let fallback = &config.fallbacks[0];
    assert_eq!(
        (fallback.deadline, fallback.patience, fallback.scopes.as_slice()),
        (20, 120, &[1_u8][..])
    );
    assert!(fallback.serves(1) && !fallback.serves(0));
    assert!(fallback.signed[0].ends_with("tests/data/halt.json"));
    assert_eq!(fallback.proposal.as_ref().unwrap().duration, 7_200);
    let messages: Vec<String> = [
        ("scopes = [\"vault\"]", "scopes = [\"valt\"]"),
        ("00a9\"", "00\""),
        ("deadline = \"20 seconds\"", "deadline = \"1 second\""),
        ("\"https://api.safe.global/tx-service/arb1\"", "\"safe.global\""),
        ("for = \"2 hours\"", "for = \"3 days\""),
        ("service = \"https://api.safe.global/tx-service/arb1\"\n", ""),
        ("service_key = { env = \"SAFE_KEY\" }", "service_key = \"s3cret\""),
        (
            "signed = [\"halt.json\"]\nservice = \"https://api.safe.global/tx-service/arb1\"\nservice_key = { env = \"SAFE_KEY\" }\nfor = \"2 hours\"\n",
            "",
        ),
    ]
    .into_iter()
    .map(|(from, to)| {
        assert!(FALLBACK.contains(from), "{from}");
        parse(&FALLBACK.replacen(from, to, 1)).err().unwrap_or_else(|| panic!("nothing wrong with {to}"))
    })
    .collect();
    insta::assert_snapshot!("fallback_complaints", messages.join("\n\n---\n\n"));
}

fn step(id: &str, does: Does) -> Step {
    Step {
        id: id.into(),
        does,
        on_failure: OnFailure::Stop,
    }
}

// ---- the exchange ----

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{1,20}x", Just("He said \"no\", \\ and\nleft — ü".to_owned())]
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

#[test]
fn what_is_written_as_toml_is_read_as_the_same_playbook() {
    let playbook = one(FULL);
    assert_eq!(one(&to_toml(&playbook)), playbook);
    let mut odd = playbook;
    odd.description = Some("two\nlines \"quoted\" and a \\".into());
    assert_eq!(one(&to_toml(&odd)), odd);
    insta::assert_snapshot!("playbook_toml", to_toml(&odd));
}
