//! The configuration: mistakes that are made less often than those of `config_complaints`, and the exact text of each complaint, by group.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::complaint;

const FULL: &str = include_str!("data/full.toml");
const WATCHES: &str = include_str!("data/watches.toml");
const PLAYBOOKS: &str = include_str!("data/playbooks.toml");

/// A case: name, what is replaced in the example, by what.
type Case<'a> = (&'a str, &'a str, &'a str);

/// What is said of each case; a run of a character that fills half a line is shortened.
fn told(example: &str, cases: &[Case<'_>]) -> String {
    let complaints: Vec<String> = cases
        .iter()
        .map(|(name, from, to)| format!("## {name}\n\n{}\n", shortened(&complaint(example, from, to))))
        .collect();
    complaints.join("\n")
}

fn shortened(text: &str) -> String {
    let cut = |line: &str| -> String {
        match line.char_indices().nth(240) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line.to_owned(),
        }
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

#[test]
fn guard() {
    let many: Vec<String> = (0..128).map(|number| format!("\"scope-{number}\"")).collect();
    let many = format!("scopes = [\"protocol\", {}, \"weth\"", many.join(", "));
    let keeper = "0x00000000000000000000000000000000000000e2";
    let heartbeats = "heartbeats = [\"0x00000000000000000000000000000000000000e3\"]";
    let seals = format!("{heartbeats}\nseals = [\"{keeper}\"]");
    let guardian = format!("{heartbeats}\nseals = [\"0x00000000000000000000000000000000000000e1\"]");
    let cases: [Case<'_>; 7] = [
        ("too_many_scopes", "scopes = [\"protocol\", \"weth\"", &many),
        (
            "scope_with_a_space",
            "\"weth\", \"usdc\", \"vault\"]",
            "\"weth\", \"usd coin\", \"vault\"]",
        ),
        (
            "one_account_as_keeper_and_heartbeat",
            "0x00000000000000000000000000000000000000e3",
            keeper,
        ),
        ("one_account_as_keeper_and_seal", heartbeats, &seals),
        ("one_account_as_guardian_and_seal", heartbeats, &guardian),
        (
            "caller_named_twice",
            "callers = [\"vault\"]",
            "callers = [\"vault\", \"vault\"]",
        ),
        (
            "account_named_twice",
            "keepers = [\"0x00000000000000000000000000000000000000e2\"]",
            "keepers = [\"0x00000000000000000000000000000000000000e2\", \"0x00000000000000000000000000000000000000e2\"]",
        ),
    ];
    insta::assert_snapshot!("guard", told(FULL, &cases));
}

#[test]
fn rules() {
    let level = "robust = true\nlevel = \"ReduceOnly\"\nduration = \"30 minutes\"";
    let cases: [Case<'_>; 9] = [
        (
            "unknown_holder",
            "scope = \"weth\"\nrule",
            "scope = \"weth\"\nheld_by = \"keper\"\nrule",
        ),
        (
            "hook_that_checks_what_only_the_keeper_has",
            "check = [\"Withdraw\"]",
            "held_by = \"keeper\"\ncheck = [\"Withdraw\"]",
        ),
        (
            "tripped_rule_of_the_keeper",
            "scope = \"weth\"\nrule",
            "scope = \"weth\"\nheld_by = \"keeper\"\nrespond = \"trip\"\nrule",
        ),
        (
            "contained_for_less_than_a_minute",
            level,
            "robust = true\nlevel = \"ReduceOnly\"\nrespond = \"contain\"\nduration = \"30 seconds\"",
        ),
        (
            "parameter_that_is_no_name",
            "param = \"account: address\"",
            "param = \"1st: address\"",
        ),
        (
            "two_parameters_in_one_text",
            "param = \"account: address\"",
            "param = \"account: address, account: address\"",
        ),
        (
            "containment_for_more_than_a_week",
            "gas = 400000",
            "gas = 400000\nmax_duration = \"8 days\"",
        ),
        (
            "repayment_that_nobody_opens_again",
            "max_duration = \"15 minutes\"\nundo = [\n    { call = \"configurator.setReservePause(weth, false)\", undone = \"!data.getPaused(weth)\" },\n    { call = \"configurator.setReservePause(usdc, false)\", undone = \"!data.getPaused(usdc)\" },\n]",
            "max_duration = \"15 minutes\"",
        ),
        (
            "maintenance_without_a_reason",
            "[[notify]]",
            "[[maintenance]]\nfrom = \"today\"\nto = \"2026-11-21T08:00:00Z\"\n\n[[notify]]",
        ),
    ];
    insta::assert_snapshot!("rules", told(FULL, &cases));
}

#[test]
fn channels() {
    let cases: [Case<'_>; 8] = [
        ("mail_without_a_sender", "sender = \"cordon@example.org\"\n", ""),
        ("mail_without_a_host", "host = \"mail.example.org\"\n", ""),
        ("chat_without_a_number", "chat = \"-1001234567890\"\n", ""),
        ("channel_with_a_space", "id = \"own\"", "id = \"my own\""),
        (
            "template_for_nobody",
            "[[notify]]",
            "[[template]]\ntext = \"{subject}\"\n\n[[notify]]",
        ),
        (
            "template_for_an_unknown_channel",
            "[[notify]]",
            "[[template]]\nchannels = [\"pagr\"]\ntext = \"{subject}\"\n\n[[notify]]",
        ),
        (
            "credential_from_nowhere",
            "url = { env = \"SLACK_URL\" }",
            "url = { vault = \"SLACK_URL\" }",
        ),
        (
            "person_without_a_role",
            "[[notify]]",
            "[people]\nada = { token = { file = \"ada\" } }\n\n[[notify]]",
        ),
    ];
    insta::assert_snapshot!("channels", told(FULL, &cases));
}

#[test]
fn watches() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let artifact = |name: &str, content: &str| -> String {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let abi = r#"[{"type":"function","name":"invariant_x","inputs":[],"outputs":[],"stateMutability":"view"}]"#;
    let no_code = artifact(
        "no-code.json",
        &format!("{{\"abi\":{abi},\"bytecode\":{{\"object\":\"0x\"}}}}"),
    );
    let large = dir.join("large.json");
    let file = std::fs::File::create(&large).unwrap();
    file.set_len(17 * 1024 * 1024).unwrap();
    let large = large.to_str().unwrap().to_owned();
    let many: String = (0..2_001)
        .map(|number| format!("[[watch]]\nid = \"w{number}\"\non = \"code\"\nat = \"vault\"\n\n"))
        .collect();
    let many = format!("{many}[[maintenance]]");
    let cases: [Case<'_>; 7] = [
        ("artifact_without_code", "invariants.json", &no_code),
        ("artifact_too_large", "invariants.json", &large),
        ("too_many_watches", "[[maintenance]]", &many),
        (
            "changes_of_no_standard",
            "standards = [\"ownable\", \"access-control\", \"erc1967\", \"safe\", \"pausable\"]\n",
            "",
        ),
        (
            "empty_standards",
            "standards = [\"ownable\", \"access-control\", \"erc1967\", \"safe\", \"pausable\"]",
            "standards = []",
        ),
        (
            "anchor_in_a_condition",
            "when = \"word > 500\"",
            "when = \"word > anchor(usdc.totalSupply(), 10 min, 1, 1000)\"",
        ),
        (
            "condition_of_what_has_none",
            "id = \"vault-code\"",
            "id = \"vault-code\"\nwhen = \"1 < 2\"",
        ),
    ];
    let mut text = told(WATCHES, &cases).replace(dir.to_str().unwrap(), "…");
    // As many as the folder's name is long.
    while text.contains("^^") {
        text = text.replace("^^", "^");
    }
    insta::assert_snapshot!("watches", text);

    // Cheatcodes are no error: a contract may call them in functions that are not looked at.
    let cheating =
        format!("{{\"abi\":{abi},\"bytecode\":{{\"object\":\"0x7109709ecfa91a80626ff3989d68f67f5b1dd12d\"}}}}");
    let cheating = artifact("cheating.json", &cheating);
    let text = WATCHES
        .replace("invariants.json", &cheating)
        .replace("args = [\"vault\", \"18\"]\n", "");
    let warnings = common::parse(&text).unwrap().warnings;
    let told: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    insta::assert_snapshot!("cheatcodes", told.join("\n"));
}

#[test]
fn playbooks() {
    let deep = (0..12).fold("{ do = \"close\" }".to_owned(), |step, _| {
        format!("{{ if = \"acknowledged\", then = [ {step} ] }}")
    });
    let many = vec!["{ do = \"close\" }"; 300].join(", ");
    let long = format!("text = \"{}\"", "x".repeat(2_001));
    let close = "{ do = \"close\" }";
    let cases: [Case<'_>; 14] = [
        ("steps_too_deep", close, &deep),
        ("too_many_steps", close, &many),
        (
            "no_steps",
            "step = [\n  { do = \"note\", text = \"It is over.\" },\n]",
            "step = []",
        ),
        ("note_that_is_too_long", "text = \"It is over.\"", &long),
        ("note_that_says_nothing", "text = \"It is over.\"", "text = \"\""),
        (
            "parallel_of_one",
            "{ parallel = [",
            "{ parallel = [ [ { do = \"close\" } ] ] },\n  { parallel = [",
        ),
        ("if_without_then", close, "{ if = \"acknowledged\" }"),
        ("while_without_steps", close, "{ while = \"acknowledged\", most = 2 }"),
        ("wait_for_nothing", close, "{ do = \"wait\" }"),
        (
            "wait_until_for_ever",
            close,
            "{ do = \"wait\", until = \"acknowledged\" }",
        ),
        (
            "within_of_a_time",
            close,
            "{ do = \"wait\", for = \"1 minute\", within = \"2 minutes\" }",
        ),
        ("role_of_nobody", "commander = [\"ada\", \"grace\"]", "commander = []"),
        ("unknown_set", close, "{ do = \"contain-set\", set = \"all\" }"),
        ("duplicate_playbook", "id = \"short\"", "id = \"emergency\""),
    ];
    insta::assert_snapshot!("playbooks", told(PLAYBOOKS, &cases));
}

#[test]
fn conditions() {
    let cases: Vec<(&str, String)> = [
        ("nothing", ""),
        ("word_alone", "level"),
        ("comparison_with_nothing", "level <"),
        ("word_after_the_end", "acknowledged acknowledged"),
        ("open_bracket", "(acknowledged"),
        ("negation_of_nothing", "not"),
        ("age_without_unit", "age > 10"),
        ("unknown_state", "state = setled"),
        ("unknown_verdict", "verdict(vault-backed) = Hold"),
        ("verdict_of_nothing", "verdict() = Holds"),
        ("unknown_severity", "severity < P9"),
        ("odd_character", "level # Normal"),
    ]
    .into_iter()
    .map(|(name, condition)| {
        (
            name,
            format!("{{ if = \"{condition}\", then = [ {{ do = \"close\" }} ] }}"),
        )
    })
    .collect();
    let cases: Vec<Case<'_>> = cases
        .iter()
        .map(|(name, step)| (*name, "{ do = \"close\" }", step.as_str()))
        .collect();
    insta::assert_snapshot!("conditions", told(PLAYBOOKS, &cases));
}
