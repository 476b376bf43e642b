//! The configuration: a full example, and what it means.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy::primitives::{Address, B256, Log, LogData, address, b256};
use alloy::sol_types::SolEvent;
use cordon_client::config::{Audience, Config, Credential, MailSecurity, Secret, Severity, StorePlace, Via};
use cordon_core::{Action, ActionSet, Level};

use common::parse;

const FULL: &str = include_str!("data/full.toml");

/// The complaint about the full example with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    common::complaint(FULL, from, to)
}

/// Whoever keeps a rule breached that no level governs in the stead of keeps others from settling.
#[test]
fn a_rule_that_can_keep_others_from_settling_is_told() {
    let told = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(FULL.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        let warnings = parse(&text).unwrap().warnings;
        warnings.iter().filter(|held| held.message.contains("settling")).count()
    };
    assert_eq!(told(&[]), 0);
    let hook = ("check = [\"Deposit\", \"Withdraw\"]", "check = [\"Settle\"]");
    assert_eq!(told(&[hook]), 1, "without a level");
    assert_eq!(
        told(&[hook, ("in_call = \"revert\"", "in_call = \"shadow\"")]),
        0,
        "counted only"
    );
    let state = ("check = [\"Withdraw\"]", "check = [\"Settle\"]");
    let reverts = ("in_call = \"shadow\"\n", "");
    let robust = ("in_call = \"shadow\"\n", "robust = true\n");
    assert_eq!(told(&[state, reverts]), 1, "spot");
    assert_eq!(told(&[state, robust]), 0, "its level governs once it was tripped");
}

#[test]
fn what_a_level_closes_besides_every_stricter_one_does() {
    let stricter = "governor_delay = \"2 days\"\n[guard.stricter]\nThrottled = [\"Liquidate\"]\nGrace = [\"Deposit\", \"Increase\"]";
    let config = parse(&FULL.replacen("governor_delay = \"2 days\"", stricter, 1)).unwrap();
    let told: Vec<_> = config.guard.matrix.beyond_default().collect();
    let liquidate = ActionSet::EMPTY.with(Action::Liquidate);
    assert_eq!(
        told,
        [
            (Level::Throttled, liquidate),
            (Level::ReduceOnly, liquidate),
            (Level::Grace, ActionSet::EMPTY.with(Action::Deposit))
        ]
    );
    // Grace closes Increase by default.
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(config.warnings[0].message, "Grace closes Increase anyway");
}

#[test]
fn the_full_example_is_read() {
    let config = parse(FULL).unwrap();
    assert!(config.warnings.is_empty());
    assert_eq!(config.chain.id, 42161);
    assert_eq!(config.chain.ws_url().unwrap().as_str(), "ws://127.0.0.1:8545/");
    assert_eq!(config.guard.scopes, ["protocol", "weth", "usdc", "vault"]);
    assert_eq!(
        config.guard.callers[0].address,
        address!("0x00000000000000000000000000000000000000a9")
    );
    assert_eq!(config.guard.governor_delay, 172_800);
    assert_eq!(config.scope("usdc"), Some(2));
    assert_eq!(config.scope_name(3), Some("vault"));
    assert_eq!(config.contracts.names().count(), 9);

    let keeper = config.keeper.as_ref().unwrap();
    assert_eq!(keeper.key, Some(Secret::Env("CORDON_KEEPER_KEY".into())));
    assert!(
        matches!(&keeper.heartbeat_key, Some(Secret::Keystore { password_env, .. })
        if password_env == "CORDON_HEARTBEAT_PASSWORD")
    );
    assert!(matches!(&keeper.store, StorePlace::File(path) if path.ends_with("tests/data/cordon.db")));
    assert_eq!(keeper.heartbeat_url, Some(Credential::File("deadman-url".into())));
    assert_eq!(keeper.console, "127.0.0.1:9464".parse().ok());

    let [price, account, share, backed] = config.invariants.as_slice() else {
        panic!("four invariants")
    };
    assert_eq!(
        (price.scope, price.level, price.robust, price.duration),
        (1, Some(Level::ReduceOnly), true, 1800)
    );
    assert_eq!(price.severity, Severity::P1);
    assert_eq!(account.params[0].name, "account");
    assert_eq!(
        share.check,
        ActionSet::EMPTY.with(Action::Deposit).with(Action::Withdraw)
    );
    assert!(!share.shadow && backed.shadow);
    assert_eq!((share.level, share.severity), (None, Severity::P2));

    let pause = &config.containments[2];
    assert_eq!(
        (pause.level, pause.max_duration, pause.gas),
        (Level::Halted, 900, 500_000)
    );
    assert!(pause.closes.contains(Action::Repay));
}

#[test]
fn a_quorum_is_read_and_a_maintenance_names_its_invariants() {
    let text = FULL
        .replacen("reports = \"incidents\"", "quorum = { endpoints = 2 }", 1)
        .replacen(
            "[contracts]",
            "[[maintenance]]\nfrom = \"1970-01-01T00:00:10Z\"\nto = \"1970-01-01T00:00:20Z\"\ninvariants = \"account-solvent\"\nreason = \"x\"\n\n[contracts]",
            1,
        );
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let quorum = config.keeper.unwrap().quorum;
    assert_eq!((quorum.rules, quorum.endpoints, quorum.keepers), (1, 2, 1));
    let [window] = config.maintenance.as_slice() else {
        panic!("one window")
    };
    assert!(window.names("account-solvent") && !window.names("weth-price-near-reference"));
    assert!(!window.covers("any-watch", 15), "watches are not named");
}

#[test]
fn channels_are_read_with_their_defaults() {
    let config = parse(FULL).unwrap();
    let [chat, pager, chief, bot, own] = config.notify.as_slice() else {
        panic!("five channels")
    };
    assert_eq!(
        (chat.severity, chat.audience, chat.after, chat.repeat, chat.per_minute),
        (Some(Severity::P3), Audience::Technical, 0, None, 20)
    );
    assert!(
        matches!(&pager.via, Via::PagerDuty { server, .. } if server.host_str() == Some("events.eu.pagerduty.com"))
    );
    assert_eq!(
        (chief.audience, chief.after, chief.repeat, chief.per_minute),
        (Audience::Management, 600, Some(1_800), 5)
    );
    assert!(matches!(&chief.via, Via::Email(mail) if mail.security == MailSecurity::StartTls && mail.port == 587));
    assert!(matches!(&bot.via, Via::Telegram { server, .. } if server.as_str() == "https://api.telegram.org/"));
    assert_eq!((own.via.name(), own.severity), ("webhook", Some(Severity::P4)));
}

alloy::sol! {
    event Borrow(address indexed reserve, address user, address indexed onBehalfOf, uint256 amount, uint8 interestRateMode, uint256 borrowRate, uint16 indexed referralCode);
}

#[test]
fn a_witness_is_read_from_its_event_only() {
    let config = parse(FULL).unwrap();
    let witness = config.invariants[1].witness.as_ref().unwrap();
    let event = Borrow {
        reserve: Address::repeat_byte(1),
        user: Address::repeat_byte(2),
        onBehalfOf: Address::repeat_byte(3),
        amount: "7".parse().unwrap(),
        interestRateMode: 2,
        borrowRate: "9".parse().unwrap(),
        referralCode: 0,
    };
    let log = |address| Log {
        address,
        data: event.encode_log_data(),
    };
    assert_eq!(
        witness.words(&log(witness.address)),
        Some(vec![b256!(
            "0x0000000000000000000000000303030303030303030303030303030303030303"
        )])
    );
    assert_eq!(
        witness.words(&log(Address::repeat_byte(9))),
        None,
        "another contract's event"
    );
    let mut other = log(witness.address);
    other.data = LogData::new_unchecked(vec![B256::repeat_byte(1)], other.data.data.clone());
    assert_eq!(witness.words(&other), None, "another event");
    let mut cut = log(witness.address);
    cut.data = LogData::new_unchecked(cut.data.topics().to_vec(), cut.data.data.slice(..40));
    assert_eq!(witness.words(&cut), None, "a malformed event");
}

#[test]
fn the_record_may_be_in_a_database_whose_url_is_written_elsewhere() {
    let changed = |to: &str| FULL.replacen("\"cordon.db\"", to, 1);
    let config = parse(&changed("{ postgres = { env = \"CORDON_DATABASE\" } }")).unwrap();
    assert_eq!(
        config.keeper.unwrap().store,
        StorePlace::Postgres(Credential::Env("CORDON_DATABASE".into()))
    );
}

#[test]
fn one_key_for_keeper_and_heartbeat_is_refused() {
    let text = FULL.replace("00e3", "00e2");
    let refused = parse(&text).unwrap_err().to_string();
    assert!(
        refused.contains("13:") && refused.contains("this account has the keeper role as well"),
        "{refused}"
    );
}

#[test]
fn witness_words_are_read_as_people_write_them() {
    let word = |ty: &str, text: &str| {
        let config = parse(
            &FULL
                .replace("account: address", &format!("account: {ty}"))
                .replace("witness = {", "# witness = {"),
        );
        config.unwrap().invariants[1].params[0].word(text)
    };
    let account = b256!("0x000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    assert_eq!(
        word("address", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        Some(account)
    );
    assert_eq!(word("address", "0xf39F"), None);
    assert_eq!(word("uint8", "7"), Some(B256::with_last_byte(7)));
    assert_eq!(word("uint8", "256"), None);
    assert_eq!(word("int24", "-1"), Some(B256::repeat_byte(0xff)));
    assert_eq!(word("bool", "true"), Some(B256::with_last_byte(1)));
}

#[test]
fn the_guards_address_is_put_where_it_belongs() {
    let guard = address!("0x00000000000000000000000000000000000000f0");
    assert_eq!(
        parse(FULL).unwrap().with_guard_address(guard),
        None,
        "there is one already"
    );
    let without = FULL.replace("address = \"0x00000000000000000000000000000000000000f0\"\n", "");
    let with = parse(&without).unwrap().with_guard_address(guard).unwrap();
    // The address is written with its checksum.
    assert_eq!(with.replace("00F0\"", "00f0\""), FULL, "and nothing else has changed");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load("/nowhere/cordon.toml").unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot read the configuration /nowhere/cordon.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn every_key_is_described() {
    let docs = include_str!("../../docs/config.md");
    // An unknown key far from all known ones is answered with the list of these.
    let places = [
        ("[chain]\n", "[zzzzzzzz]\n[chain]\n"),
        ("id = 42161\n", "id = 42161\nzzzzzzzz = 1\n"),
        ("callers = [", "zzzzzzzz = 1\ncallers = ["),
        ("store = ", "zzzzzzzz = 1\nstore = "),
        ("{ env = \"CORDON_KEEPER_KEY\" }", "{ zzzzzzzz = 1 }"),
        ("abi = \"erc4626\"", "zzzzzzzz = 1"),
        ("robust = true\n", "zzzzzzzz = 1\n"),
        ("witness = { ", "witness = { zzzzzzzz = 1, "),
        ("gas = 400000\n", "zzzzzzzz = 1\n"),
        ("undo = [{ ", "undo = [{ zzzzzzzz = 1, "),
        ("{ listen", "{ zzzzzzzz = 1, listen"),
        ("url = { env = \"SLACK_URL\" }", "zzzzzzzz = 1"),
        ("{ env = \"SLACK_URL\" }", "{ zzzzzzzz = 1 }"),
    ];
    let messages = places.into_iter().map(|(from, to)| complaint(from, to));
    // Sections that the example has not.
    let sections = [
        "[[watch]]\nzzzzzzzz = 1\n",
        "[[template]]\nzzzzzzzz = 1\n",
        "[[maintenance]]\nzzzzzzzz = 1\n",
        "[[fallback]]\nzzzzzzzz = 1\n",
        "[[containment_set]]\nzzzzzzzz = 1\n",
        "[[containment_set]]\nid = \"all\"\ncontain = [{ zzzzzzzz = 1 }]\n",
        "[people]\nada = { zzzzzzzz = 1 }\n",
        "[quorum]\nzzzzzzzz = 1\n",
    ];
    let more = sections
        .iter()
        .map(|section| match parse(&format!("{FULL}\n{section}")) {
            Err(message) => message,
            Ok(_) => panic!("nothing wrong with {section}"),
        });
    let mut keys = std::collections::BTreeSet::new();
    for message in messages.chain(more) {
        let (_, known) = message
            .split_once("known here: ")
            .unwrap_or_else(|| panic!("{message}"));
        keys.extend(known.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    assert!(keys.len() >= 80, "{} {keys:?}", keys.len());
    let missing: Vec<_> = keys
        .iter()
        .filter(|key| {
            !docs.contains(&format!("`{key}"))
                && !docs.contains(&format!("{key} = "))
                && !docs.contains(&format!("[{key}]"))
        })
        .collect();
    assert!(missing.is_empty(), "not in docs/config.md: {missing:?}");
}

#[test]
fn a_rule_that_nobody_has_values_for_is_warned_of() {
    let at = FULL.find("witness = { contract").unwrap();
    let line = FULL[at..].lines().next().unwrap();
    let text = FULL.replacen(line, "", 1);
    let warnings = parse(&text).unwrap().warnings;
    let told: Vec<(usize, &str)> = warnings.iter().map(|held| (held.line, held.message.as_str())).collect();
    assert_eq!(
        told,
        [(
            56,
            "a rule with `param` and no `witness`: the keeper has no values to evaluate it for, so that only who calls `trip` with the right ones finds a breach"
        )]
    );
    // When nobody else has it either, it would protect nothing.
    let alone = text.replacen(
        "scope = \"protocol\"\nparam",
        "scope = \"protocol\"\nheld_by = \"keeper\"\nrespond = \"contain\"\nparam",
        1,
    );
    let error = parse(&alone).unwrap_err().to_string();
    assert!(
        error.contains("no values to evaluate it for, and nobody else has it"),
        "{error}"
    );
}

#[test]
fn a_rule_that_checks_repayment_is_told_that_it_refuses_none() {
    let hooked = |more: &str| {
        let rule = "[[invariant]]\nid = \"late\"\nscope = \"vault\"\nrule = \"usdc.totalSupply() > 0\"\n";
        let text = format!("{FULL}\n{rule}{more}\n");
        let warnings = parse(&text).unwrap().warnings.into_iter();
        warnings.filter(|held| held.message.contains("refuses `Repay`")).count()
    };
    assert_eq!(hooked("check = [\"Withdraw\", \"Repay\"]"), 1);
    assert_eq!(hooked("check = [\"Repay\"]\nin_call = \"revert\""), 1);
    assert_eq!(hooked("check = [\"Withdraw\", \"Repay\"]\nin_call = \"shadow\""), 0);
    assert_eq!(hooked("check = [\"Withdraw\"]"), 0);
}
