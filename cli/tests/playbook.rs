//! `cordon keeper playbook`, `approve` and `refuse` beside a keeper that runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use alloy::providers::ext::AnvilApi;
use common::{Chain, Process, failure, run};
use serde_json::Value;

const PLAYBOOKS: &str = r#"
[roles]
commander = ["ada", "grace"]
scribe = ["bob"]

[[playbook]]
id = "emergency"
description = "What is done first"
step = [
  { id = "go", do = "approve", role = "commander", text = "Is it real?", within = "10 minutes" },
  { if = "level >= Halted", then = [{ do = "note", text = "It was real." }] },
]

[[playbook]]
id = "talk"
severity = "P2"
rules = ["little-ether"]
step = [
  { id = "go", do = "approve", role = "scribe", text = "Is the statement out?", within = "10 minutes",
    on_failure = [{ do = "note", text = "There is no statement." }] },
]
"#;

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asks again and again until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_approved_and_refused_from_the_command_line() {
    let chain = Chain::start().await;
    let path = chain.write_config(|text| text + PLAYBOOKS);
    let config = path.to_str().unwrap();
    chain.deploy_guard(&path).await;
    let list = || run(&["keeper", "playbook", "list", "--config", config]);
    let answer = |word: &str, incident: &str, step: &str, by: &str| {
        run(&["keeper", word, incident, step, "--by", by, "--config", config])
    };
    // Nothing has happened yet.
    for output in [list(), answer("approve", "1", "go", "ada")] {
        assert!(failure(&output).contains("has the keeper run?"), "{output:?}");
    }

    let mut command = common::keeper("run", &path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _keeper = Process(command.spawn().unwrap());
    until("the keeper has a record", || list().status.success());
    let text = said(&list());
    assert_eq!(
        text,
        "emergency: 3 steps, from severity any, all invariants\ntalk: 2 steps, from severity P2, little-ether\n"
    );
    chain.endow(common::PROTOCOL).await;
    let begun = Instant::now();
    loop {
        let text = said(&list());
        let waits = |what: &str| text.lines().any(|line| line.starts_with(what));
        if waits("incident 1: emergency/go waits for commander until ")
            && waits("incident 1: talk/go waits for scribe until ")
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "both are asked: {text}");
        // A keeper that has just begun looks from the next block on.
        chain.provider.anvil_mine(Some(1), None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    for (output, why) in [
        (
            answer("approve", "1", "gone", "ada"),
            "nothing is asked as `gone` at incident 1; open: go, go",
        ),
        (
            answer("approve", "7", "go", "ada"),
            "nothing is asked as `go` at incident 7; open: nothing",
        ),
        (
            answer("approve", "1", "go", "ada"),
            "several playbooks ask `go`: name one as PLAYBOOK/go",
        ),
        (
            answer("approve", "1", "emergency/go", "bob"),
            "bob does not have the role `commander`",
        ),
        (
            answer("refuse", "1", "talk/go", "ada"),
            "ada does not have the role `scribe`",
        ),
        (
            answer("approve", "1", "emergency/go", "Ada"),
            "Ada does not have the role `commander`",
        ),
    ] {
        let message = failure(&output);
        assert!(message.contains(why), "{message}");
    }
    // Written wrongly: who answers is missing, and the incident is no number.
    let nobody = run(&["keeper", "approve", "1", "go", "--config", config]);
    assert_eq!(nobody.status.code(), Some(2));
    assert_eq!(answer("approve", "first", "go", "ada").status.code(), Some(2));

    let approved = said(&answer("approve", "1", "emergency/go", "grace"));
    assert_eq!(approved, "emergency/go of incident 1 is approved by grace\n");
    // Only one is left of that name.
    let refused = said(&answer("refuse", "1", "go", "bob"));
    assert_eq!(refused, "talk/go of incident 1 is refused by bob\n");
    let message = failure(&answer("approve", "1", "emergency/go", "ada"));
    assert!(message.contains("open: nothing"), "an answer is taken once: {message}");
    assert!(!said(&list()).contains("waits for"));
    until("the keeper has gone on", || {
        let evidence = said(&run(&["keeper", "export", "1", "--config", config]));
        [
            "grace has approved: Is it real?",
            "bob has refused: Is the statement out?",
            "It was real.",
            "There is no statement.",
        ]
        .iter()
        .all(|line| evidence.contains(line))
    });
}

#[test]
fn playbooks_go_out_and_come_in_as_cacao() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cordon.toml");
    let config = path.to_str().unwrap();
    let guarded = common::config("http://127.0.0.1:1", 31337).replace(
        "[guard]\n",
        "[guard]\naddress = \"0x0000000000000000000000000000000000000011\"\n",
    );
    std::fs::write(&path, format!("{guarded}{PLAYBOOKS}")).unwrap();
    let export = |id: &str| run(&["keeper", "playbook", "export", id, "--config", config]);
    let import = |file: &str| run(&["keeper", "playbook", "import", file]);

    let exported: Value = serde_json::from_str(&said(&export("emergency"))).unwrap();
    assert_eq!(
        (&exported["type"], &exported["spec_version"]),
        (&"playbook".into(), &"cacao-2.0".into())
    );
    let file = folder.path().join("emergency.json");
    std::fs::write(&file, exported.to_string()).unwrap();
    let text = said(&import(file.to_str().unwrap()));
    assert!(
        text.starts_with("[[playbook]]\nid = \"emergency\"\ndescription = \"What is done first\"\n"),
        "{text}"
    );

    // In the place of the first, it is exported as the same again.
    let (before, after) = (
        PLAYBOOKS.find("[[playbook]]").unwrap(),
        PLAYBOOKS.rfind("[[playbook]]").unwrap(),
    );
    let same = format!("{guarded}{}{text}\n{}", &PLAYBOOKS[..before], &PLAYBOOKS[after..]);
    std::fs::write(&path, same).unwrap();
    let mut again: Value = serde_json::from_str(&said(&export("emergency"))).unwrap();
    for moment in ["created", "modified"] {
        again[moment] = exported[moment].clone();
    }
    assert_eq!(again, exported);

    let message = failure(&export("emergncy"));
    assert!(
        message.contains("no playbook `emergncy` in ") && message.contains(": emergency, talk"),
        "{message}"
    );
    for (text, why) in [
        ("{", "is no JSON"),
        ("[]", "playbook"),
        (&exported.to_string().replace("\"manual\"", "\"bash\""), "`bash`"),
        (&exported.to_string().replace("cacao-2.0", "cacao-3.0"), "cacao-3.0"),
    ] {
        std::fs::write(&file, text).unwrap();
        let message = failure(&import(file.to_str().unwrap()));
        assert!(message.contains("cannot import ") && message.contains(why), "{message}");
    }
    let message = failure(&import("/nowhere/playbook.json"));
    assert!(message.contains("cannot read /nowhere/playbook.json"), "{message}");
    std::fs::write(&path, guarded).unwrap();
    assert!(failure(&export("emergency")).contains("there are none"));
    let message = failure(&run(&[
        "keeper",
        "playbook",
        "list",
        "--config",
        "/nowhere/cordon.toml",
    ]));
    assert!(message.contains("cannot read the configuration"), "{message}");
}
