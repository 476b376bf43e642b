//! What people read when a keeper does not start, in the exact words. A new kind of mistake does not compile here before it has a golden.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{Error, ErrorKind};
use std::path::Path;

use alloy::primitives::{Address, B256};
use cordon_client::config::{Credential, EndpointError, People, SecretError};
use cordon_keeper::chain::RpcError;
use cordon_keeper::record::{ApproveError, StoreError};
use cordon_keeper::respond::{FallbackError, KeyError};
use cordon_keeper::rules::ReadError;
use cordon_keeper::{Approvers, KeeperError, TokenError};

/// One of each variant of an error, with its name: the patterns have to be all that there are.
macro_rules! each {
    ($kind:ident { $($variant:ident $pattern:tt => $value:expr),+ $(,)? }) => {{
        fn _all_of_them(error: &$kind) {
            match error { $($kind::$variant $pattern => {}),+ }
        }
        vec![$((stringify!($variant), $value.to_string())),+]
    }};
}

fn listed(messages: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, text) in messages {
        writeln!(out, "## {name}\n\n{text}\n").unwrap();
    }
    out
}

fn account(byte: u8) -> Address {
    Address::repeat_byte(byte)
}

fn unset() -> SecretError {
    SecretError::Unset {
        variable: "TOKEN".to_owned(),
        what: "a credential",
    }
}

#[test]
fn why_a_keeper_does_not_start() {
    use KeeperError as E;
    let unreachable = || RpcError::Unreachable {
        method: "eth_chainId",
        reason: "connection refused".to_owned(),
    };
    let messages = each!(KeeperError {
        NoSection {} => E::NoSection,
        NothingToLookFor {} => E::NothingToLookFor,
        NoGuard {} => E::NoGuard,
        NoKey {} => E::NoKey,
        Key (_) => E::Key(KeyError::Secret(unset())),
        Fallback (_) => E::Fallback(FallbackError::Client { id: "safe".to_owned(), reason: "no TLS".to_owned() }),
        Endpoint (_) => E::Endpoint(EndpointError::Twice { first: 1, second: 3 }),
        SameAccount { .. } => E::SameAccount { account: account(1) },
        Rpc (_) => E::Rpc(unreachable()),
        Store (_) => E::Store(StoreError::InUse { path: "cordon.db".into() }),
        NoCode { .. } => E::NoCode { guard: account(2), chain_id: 42_161 },
        NotAGuard { .. } => E::NotAGuard { guard: account(2), what: "rulebook()", reason: "it reverts".to_owned() },
        OtherRulebook { .. } => E::OtherRulebook { adopted: B256::repeat_byte(3), compiled: B256::repeat_byte(4) },
        OtherRecord { .. } => E::OtherRecord { record: account(2), configured: account(3) },
        MissingRole { .. } => E::MissingRole { account: account(1), role: "Keeper", guard: account(2) },
        NoFunds { .. } => E::NoFunds { account: account(1), chain_id: 42_161 },
        NoHeartbeat { .. } => E::NoHeartbeat { who: "rule `gauge-low`".to_owned() },
        Read (_) => E::Read(ReadError::Gone { number: 7, hash: B256::repeat_byte(7) }),
        NoBlock { .. } => E::NoBlock { number: 7 },
        Differs { .. } => E::Differs { text: "rule 0 at block 7 differs".to_owned() },
        Console { .. } => E::Console {
            address: "127.0.0.1:9464".parse().unwrap(),
            reason: Error::new(ErrorKind::AddrInUse, "Address already in use"),
        },
    });
    insta::assert_snapshot!("keeper", listed(&messages));
}

#[test]
fn why_a_key_cannot_be_used() {
    use KeyError as E;
    let who = || "web3signer at https://signer.example".to_owned();
    let messages = each!(KeyError {
        Secret (_) => E::Secret(unset()),
        Client { .. } => E::Client { reason: "no TLS".to_owned() },
        NotBuilt { .. } => E::NotBuilt { place: "AWS KMS".to_owned(), feature: "aws-kms" },
        Unreachable { .. } => E::Unreachable { place: who(), reason: "connection refused".to_owned() },
        OtherAccount { .. } => E::OtherAccount { place: who(), held: account(1), configured: account(2) },
    });
    insta::assert_snapshot!("keys", listed(&messages));
}

#[test]
fn why_a_fallback_cannot_be_set_up() {
    use FallbackError as E;
    let id = || "council".to_owned();
    let messages = each!(FallbackError {
        Key { .. } => E::Key { id: id(), source: unset() },
        Client { .. } => E::Client { id: id(), reason: "no TLS".to_owned() },
    });
    insta::assert_snapshot!("fallbacks", listed(&messages));
}

#[test]
fn why_a_record_cannot_be_used() {
    use StoreError as E;
    let refused = || sqlx::Error::Io(Error::new(ErrorKind::ConnectionRefused, "Connection refused"));
    let messages = each!(StoreError {
        Open { .. } => E::Open { path: "cordon.db".into(), source: refused() },
        Connect { .. } => E::Connect { place: "db.example:5432".to_owned(), source: refused() },
        Url {} => E::Url,
        InUse { .. } => E::InUse { path: "cordon.db".into() },
        Lock { .. } => E::Lock {
            path: "cordon.db.lock".into(),
            source: Error::new(ErrorKind::PermissionDenied, "Permission denied"),
        },
        Secret (_) => E::Secret(unset()),
        Fenced { .. } => E::Fenced { held: Some(7), recorded: 8 },
        Migrate (_) => E::Migrate(sqlx::migrate::MigrateError::VersionMissing(9_999)),
        Sql (_) => E::Sql(refused()),
        Broken { .. } => E::Broken { step: "block" },
        Foreign { .. } => E::Foreign {
            held_chain: 1,
            held: account(1),
            wanted_chain: 42_161,
            wanted: account(2),
        },
        Damaged { .. } => E::Damaged { what: "block hash" },
        Range { .. } => E::Range { what: "block number", value: u64::MAX },
    });
    let none = E::Fenced {
        held: None,
        recorded: 8,
    };
    let text = format!("{}## Fenced, without a turn before\n\n{none}\n", listed(&messages));
    insta::assert_snapshot!("records", text);
}

#[test]
fn why_an_answer_is_not_taken() {
    use ApproveError as E;
    let step = || "halt".to_owned();
    let messages = each!(ApproveError {
        NotAsked { .. } => E::NotAsked { incident: 7, step: step(), open: "page, close".to_owned() },
        Ambiguous { .. } => E::Ambiguous { step: step() },
        NotOfRole { .. } => E::NotOfRole { who: "eve".to_owned(), role: "commander".to_owned() },
        Store (_) => E::Store(StoreError::Damaged { what: "step of a playbook" }),
    });
    insta::assert_snapshot!("approvals", listed(&messages));
}

#[test]
fn why_tokens_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        Credential::File(name.into())
    };
    let of = |tokens: &[(&str, Credential)]| {
        let people = People {
            roles: BTreeMap::new(),
            tokens: tokens
                .iter()
                .map(|(name, token)| ((*name).to_owned(), token.clone()))
                .collect(),
        };
        Approvers::new(&people, folder.path()).expect_err("a mistake")
    };
    let long = "a token that nobody guesses";
    let found = [
        of(&[("ada", Credential::File("missing".into()))]),
        of(&[("ada", write("short", "hunter2"))]),
        of(&[("ada", write("one", long)), ("bob", write("two", long))]),
    ];
    let [missing, short, shared] = &found;
    let messages = each!(TokenError {
        Credential { .. } => missing,
        Short { .. } => short,
        Shared { .. } => shared,
    });
    let text = listed(&messages).replace(&Path::new(folder.path()).display().to_string(), "");
    assert!(
        !text.contains("hunter2") && !text.contains(long),
        "no message has a token in it: {text}"
    );
    assert!(matches!(
        found,
        [
            TokenError::Credential { .. },
            TokenError::Short { .. },
            TokenError::Shared { .. }
        ]
    ));
    insta::assert_snapshot!("tokens", text);
}
