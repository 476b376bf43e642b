//! The configuration: the exact text of every complaint.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::parse;

const FULL: &str = include_str!("data/full.toml");

/// The complaint about the full example with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    common::complaint(FULL, from, to)
}

/// Each case: name, what is replaced in the example, by what.
const WRONG: &[(&str, &str, &str)] = &[
    ("unknown_key", "robust = true", "robst = true"),
    ("unknown_section", "[keeper]", "[kepper]"),
    ("missing_key", "id = 42161\n", ""),
    ("wrong_type", "id = 42161", "id = \"42161\""),
    ("no_toml", "scopes = [\"protocol\",", "scopes = [\"protocol\""),
    (
        "no_endpoint",
        "rpc = [\"http://127.0.0.1:8545\", \"https://backup.example/key\"]",
        "rpc = []",
    ),
    (
        "short_retention",
        "reports = \"incidents\"",
        "reports = \"incidents\"\nretention = \"1 hour\"",
    ),
    (
        "short_stale_head",
        "reports = \"incidents\"",
        "reports = \"incidents\"\nstale_head = \"2 s\"",
    ),
    ("bad_endpoint", "https://backup.example/key", "ftp://backup.example/key"),
    ("bad_address", "0x00000000000000000000000000000000000000e0", "0x00e0"),
    (
        "zero_address",
        "0x00000000000000000000000000000000000000e0",
        "0x0000000000000000000000000000000000000000",
    ),
    (
        "bad_checksum",
        "0x00000000000000000000000000000000000000e0",
        "0xcEcba2F1DC234f70Dd89F2041029807F8D03A991",
    ),
    (
        "first_scope",
        "scopes = [\"protocol\", \"weth\"",
        "scopes = [\"weth\", \"protocol\"",
    ),
    (
        "duplicate_scope",
        "\"usdc\", \"vault\"]",
        "\"usdc\", \"weth\", \"vault\"]",
    ),
    (
        "unknown_finality",
        "id = \"weth-price-near-reference\"",
        "id = \"weth-price-near-reference\"\nfinality = \"save\"",
    ),
    (
        "rule_on_what_is_pending",
        "id = \"weth-price-near-reference\"",
        "id = \"weth-price-near-reference\"\nfinality = \"pending\"",
    ),
    ("unknown_scope", "scope = \"vault\"", "scope = \"valut\""),
    ("unknown_caller", "callers = [\"vault\"]", "callers = [\"valut\"]"),
    (
        "unknown_unit",
        "governor_delay = \"2 days\"",
        "governor_delay = \"2 dyas\"",
    ),
    (
        "matrix_closes_repayment",
        "governor_delay = \"2 days\"",
        "stricter = { Halted = [\"Repay\"] }",
    ),
    (
        "matrix_closes_an_exit",
        "governor_delay = \"2 days\"",
        "stricter = { Throttled = [\"Increase\", \"Withdraw\"] }",
    ),
    (
        "matrix_of_normal",
        "governor_delay = \"2 days\"",
        "stricter = { Normal = [\"Deposit\"] }",
    ),
    (
        "matrix_of_an_unknown_level",
        "governor_delay = \"2 days\"",
        "stricter = { Throtled = [\"Deposit\"] }",
    ),
    (
        "matrix_with_an_unknown_action",
        "governor_delay = \"2 days\"",
        "stricter = { Grace = [\"Deposti\"] }",
    ),
    (
        "short_delay",
        "governor_delay = \"2 days\"",
        "governor_delay = \"59 minutes\"",
    ),
    (
        "long_delay",
        "governor_delay = \"2 days\"",
        "governor_delay = \"20 weeks\"",
    ),
    (
        "plain_key",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = \"0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80\"",
    ),
    (
        "keystore_without_password",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { keystore = \"keeper.json\" }",
    ),
    (
        "two_secrets",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { env = \"A\", keystore = \"keeper.json\" }",
    ),
    (
        "service_without_address",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { web3signer = { env = \"URL\" } }",
    ),
    (
        "region_of_another_cloud",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { gcp_kms = \"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1\", region = \"eu-central-1\" }",
    ),
    (
        "name_of_no_aws_key",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { aws_kms = \"the key of the keeper\" }",
    ),
    (
        "no_region",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { aws_kms = \"alias/keeper\", region = \"Frankfurt\" }",
    ),
    (
        "endpoint_in_the_clear",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { aws_kms = \"alias/keeper\", endpoint = \"http://kms.example/\" }",
    ),
    (
        "endpoint_with_a_password",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { aws_kms = \"alias/keeper\", endpoint = \"https://me:s3cret@kms.example/\" }",
    ),
    (
        "key_of_gcp_without_its_version",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { gcp_kms = \"projects/p/locations/l/keyRings/r/cryptoKeys/k\" }",
    ),
    (
        "no_derivation_path",
        "key = { env = \"CORDON_KEEPER_KEY\" }",
        "key = { ledger = \"44/60/0\" }",
    ),
    (
        "heartbeat_by_hand",
        "heartbeat_key = { keystore = \"heartbeat.json\", password = { env = \"CORDON_HEARTBEAT_PASSWORD\" } }",
        "heartbeat_key = { ledger = \"m/44'/60'/0'/0/0\" }",
    ),
    ("contract_named_as_a_word", "weth_ref = {", "near = {"),
    ("contract_with_a_dash", "weth_ref = {", "weth-ref = {"),
    ("unknown_interface", "abi = \"erc4626\"", "abi = \"erc4662\""),
    ("missing_abi_file", "pool.json", "pol.json"),
    ("abi_file_without_abi", "pool.json", "no-abi.json"),
    (
        "malformed_signature",
        "function latestAnswer() view returns (int256)",
        "function latestAnswer( view returns (int256)",
    ),
    (
        "duplicate_invariant",
        "id = \"vault-backed\"",
        "id = \"account-solvent\"",
    ),
    (
        "duplicate_containment",
        "id = \"pause-pool\"",
        "id = \"restore-weth-source\"",
    ),
    ("id_with_a_space", "id = \"vault-backed\"", "id = \"vault backed\""),
    ("unknown_level", "level = \"Halted\"", "level = \"Haltd\""),
    ("normal_is_no_level", "level = \"Halted\"", "level = \"Normal\""),
    ("unknown_action", "check = [\"Withdraw\"]", "check = [\"Witdraw\"]"),
    ("unknown_severity", "severity = \"P3\"", "severity = \"P9\""),
    ("unknown_in_call", "in_call = \"shadow\"", "in_call = \"shadwo\""),
    ("unknown_respond", "severity = \"P3\"", "respond = \"contane\""),
    (
        "respond_without_level",
        "level = \"ReduceOnly\"\nseverity = \"P3\"",
        "respond = \"contain\"",
    ),
    (
        "contained_too_long",
        "level = \"ReduceOnly\"\nduration = \"30 minutes\"",
        "level = \"Halted\"\nduration = \"30 minutes\"\nrespond = \"contain\"",
    ),
    ("in_call_without_check", "check = [\"Withdraw\"]\n", ""),
    (
        "spot_halts",
        "level = \"ReduceOnly\"\nseverity = \"P3\"",
        "level = \"Halted\"",
    ),
    ("trip_too_long", "duration = \"30 minutes\"", "duration = \"2 hours\""),
    ("duration_without_level", "level = \"ReduceOnly\"\nduration", "duration"),
    (
        "malformed_parameter",
        "param = \"account: address\"",
        "param = \"account\"",
    ),
    (
        "unknown_type",
        "param = \"account: address\"",
        "param = \"account: adress\"",
    ),
    ("witness_without_param", "param = \"account: address\"\n", ""),
    ("unknown_witness_contract", "contract = \"pool\"", "contract = \"pol\""),
    ("unknown_field", "field = \"onBehalfOf\"", "field = \"onBehalf\""),
    ("field_of_another_type", "field = \"onBehalfOf\"", "field = \"amount\""),
    (
        "fields_and_parameters",
        "field = \"onBehalfOf\"",
        "field = [\"onBehalfOf\", \"user\"]",
    ),
    (
        "malformed_event",
        "event Borrow(address indexed reserve,",
        "event Borrow(address indexd reserve,",
    ),
    ("closes_repay_unaccepted", "accepts = [\"Repay\"]\n", ""),
    ("closes_repay_for_long", "max_duration = \"15 minutes\"\n", ""),
    (
        "closes_repay_for_days",
        "max_duration = \"15 minutes\"",
        "max_duration = \"2 days\"",
    ),
    (
        "accepts_what_is_not_closed",
        "closes = [\"Increase\"]",
        "closes = [\"Increase\"]\naccepts = [\"Repay\"]",
    ),
    (
        "accepts_another_action",
        "accepts = [\"Repay\"]",
        "accepts = [\"Repay\", \"Deposit\"]",
    ),
    ("gas_out_of_range", "gas = 400000", "gas = 400"),
    (
        "console_for_everybody",
        "listen = \"127.0.0.1:9464\"",
        "listen = \"0.0.0.0:9464\"",
    ),
    (
        "console_without_port",
        "listen = \"127.0.0.1:9464\"",
        "listen = \"localhost\"",
    ),
    ("unknown_service", "via = \"slack\"", "via = \"slak\""),
    (
        "plain_credential",
        "url = { env = \"SLACK_URL\" }",
        "url = \"https://hooks.slack.com/services/T0/B0/s3cret\"",
    ),
    (
        "two_credentials",
        "url = { env = \"SLACK_URL\" }",
        "url = { env = \"A\", file = \"b\" }",
    ),
    ("channel_without_credential", "url = { env = \"SLACK_URL\" }\n", ""),
    (
        "key_of_another_service",
        "chat = \"-1001234567890\"",
        "chat = \"-1001234567890\"\nkey = { env = \"A\" }",
    ),
    ("duplicate_channel", "id = \"pager\"", "id = \"chat\""),
    (
        "unknown_audience",
        "audience = \"management\"",
        "audience = \"managment\"",
    ),
    (
        "impatient_repetition",
        "repeat = \"30 minutes\"",
        "repeat = \"5 seconds\"",
    ),
    (
        "pager_repeats_by_itself",
        "key = { file = \"pagerduty-key\" }",
        "key = { file = \"pagerduty-key\" }\nrepeat = \"5 minutes\"",
    ),
    ("too_many_messages", "per_minute = 5", "per_minute = 5000"),
    (
        "server_with_a_path",
        "https://events.eu.pagerduty.com/",
        "https://events.eu.pagerduty.com/v2/enqueue",
    ),
    ("mail_in_the_open", "security = \"starttls\"", "security = \"none\""),
    ("no_mail_address", "risk@example.org", "risk at example.org"),
    (
        "nobody_gets_the_mail",
        "[\"chief@example.org\", \"risk@example.org\"]",
        "[]",
    ),
    ("username_alone", "password = { env = \"MAIL_PASSWORD\" }\n", ""),
    (
        "database_url_in_the_file",
        "\"cordon.db\"",
        "\"postgres://keeper:hunter2@db/cordon\"",
    ),
    ("quorum_of_none", "reports = \"incidents\"", "quorum = { rules = 0 }"),
    (
        "quorum_beyond_the_rules",
        "reports = \"incidents\"",
        "quorum = { rules = 2 }",
    ),
    (
        "quorum_beyond_the_endpoints",
        "reports = \"incidents\"",
        "quorum = { endpoints = 3 }",
    ),
    (
        "quorum_of_keepers_with_a_file",
        "reports = \"incidents\"",
        "quorum = { keepers = 2 }",
    ),
    (
        "quorum_of_an_unknown_kind",
        "reports = \"incidents\"",
        "quorum = { rule = 2 }",
    ),
    (
        "maintenance_of_an_unknown_invariant",
        "[[invariant]]\nid = \"weth-price-near-reference\"",
        "[[maintenance]]\nfrom = \"2026-11-21T08:00:00Z\"\nto = \"2026-11-21T09:00:00Z\"\ninvariants = \"account-solvnt\"\nreason = \"x\"\n\n[[invariant]]\nid = \"weth-price-near-reference\"",
    ),
    (
        "maintenance_of_an_invariant_for_days",
        "[[invariant]]\nid = \"weth-price-near-reference\"",
        "[[maintenance]]\nfrom = \"2026-11-21T08:00:00Z\"\nto = \"2026-11-22T08:00:01Z\"\ninvariants = [\"account-solvent\"]\nreason = \"x\"\n\n[[invariant]]\nid = \"weth-price-near-reference\"",
    ),
    (
        "endpoint_named_twice",
        "\"https://backup.example/key\"",
        "\"http://127.0.0.1:8545/\"",
    ),
    (
        "kept_endpoint_named_twice",
        "rpc = [\"http://127.0.0.1:8545\", \"https://backup.example/key\"]",
        "rpc = [{ env = \"RPC\" }, { file = \"rpc\" }, { env = \"RPC\" }]",
    ),
    (
        "endpoint_with_a_rate_of_none",
        "\"https://backup.example/key\"",
        "{ url = \"https://backup.example/key\", rate = 0 }",
    ),
    (
        "endpoint_with_a_rate_in_words",
        "\"https://backup.example/key\"",
        "{ env = \"RPC\", rate = \"10 a second\" }",
    ),
    (
        "endpoint_of_two_places",
        "\"https://backup.example/key\"",
        "{ url = \"https://backup.example/key\", file = \"rpc\", rate = 5 }",
    ),
    ("endpoint_of_no_place", "\"https://backup.example/key\"", "{ rate = 5 }"),
    (
        "limited_endpoint_that_is_no_url",
        "\"https://backup.example/key\"",
        "{ url = \"ftp://backup.example/key\", rate = 5 }",
    ),
    (
        "limited_endpoint_named_twice",
        "\"https://backup.example/key\"",
        "{ url = \"http://127.0.0.1:8545\", rate = 5 }",
    ),
    (
        "websocket_with_a_rate",
        "rpc = [\"http://127.0.0.1:8545\", \"https://backup.example/key\"]",
        "rpc = [\"http://127.0.0.1:8545\"]\nws = { env = \"WS\", rate = 5 }",
    ),
    (
        "endpoint_with_a_rate_of_too_many",
        "\"https://backup.example/key\"",
        "{ file = \"rpc\", rate = 100_001 }",
    ),
    (
        "endpoint_from_nowhere",
        "\"https://backup.example/key\"",
        "{ vault = \"RPC\" }",
    ),
    (
        "further_key_that_is_the_key",
        "reports = \"incidents\"",
        "more_keys = [{ env = \"OTHER\" }, { env = \"CORDON_KEEPER_KEY\" }]",
    ),
    (
        "further_key_named_twice",
        "reports = \"incidents\"",
        "more_keys = [{ env = \"OTHER\" }, { env = \"OTHER\" }]",
    ),
    ("unknown_severity", "severity = \"P1\"", "severity = \"P6\""),
    (
        "store_of_another_kind",
        "\"cordon.db\"",
        "{ mysql = { env = \"URL\" } }",
    ),
];

#[test]
fn every_complaint_says_what_and_where() {
    let complaints: Vec<String> = WRONG
        .iter()
        .map(|(name, from, to)| format!("## {name}\n\n{}\n", complaint(from, to)))
        .collect();
    insta::assert_snapshot!("complaints", complaints.join("\n"));
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_lines() {
    let text = FULL
        .replacen("scope = \"vault\"", "scope = \"valut\"", 1)
        .replacen("governor_delay = \"2 days\"", "governor_delay = \"soon\"", 1)
        .replacen("level = \"Halted\"", "level = \"Haltd\"", 1);
    insta::assert_snapshot!(parse(&text).unwrap_err());
}

#[test]
fn no_message_repeats_a_key() {
    let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let message = complaint("key = { env = \"CORDON_KEEPER_KEY\" }", &format!("key = \"{key}\""));
    assert!(!message.contains("ac0974"), "{message}");
    let message = complaint(
        "url = { env = \"SLACK_URL\" }",
        "url = \"https://hooks.example/T0/s3cret\"",
    );
    assert!(!message.contains("s3cret"), "{message}");
}
