//! Watches: a full example, and the exact text of every complaint.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy::primitives::{B256, U256, address};
use cordon_client::config::{Finality, Severity, Standard, Status, WatchKind};

use common::parse;

const FULL: &str = include_str!("data/watches.toml");

/// The complaint about the full example with `from` replaced by `to`.
fn complaint(from: &str, to: &str) -> String {
    common::complaint(FULL, from, to)
}

#[test]
fn every_kind_of_watch_is_read_and_needs_no_guard() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.guard.address, None);
    assert_eq!(config.keeper.as_ref().unwrap().key, None);
    let [transfer, call, whales, tank, slot, code, powers, own, waiting] = config.watches.as_slice() else {
        panic!("nine watches")
    };
    let vault = address!("0x00000000000000000000000000000000000000a9");
    assert!(matches!(&transfer.kind, WatchKind::Event { event, at } if event.name == "Transfer" && at.len() == 2));
    let when = transfer.when.as_ref().unwrap();
    assert_eq!(when.fields, ["to", "value"], "only what the condition names");
    assert_eq!(
        (transfer.severity, transfer.cooldown, transfer.shadow),
        (Severity::P2, 300, false)
    );
    assert!(matches!(&call.kind, WatchKind::Call { at, status: Status::Success, .. } if *at == [vault]));
    assert_eq!(
        call.when.as_ref().unwrap().fields,
        ["assets", "receiver", "owner", "tx_value"]
    );
    assert_eq!((call.severity, call.finality), (Severity::P3, Finality::Latest));
    assert_eq!(whales.finality, Finality::Safe);
    assert!(
        matches!(&whales.kind, WatchKind::Transaction { from, to, status: Status::Success } if from.is_empty() && to.len() == 2)
    );
    assert!(matches!(&tank.kind, WatchKind::Balance { at } if at.len() == 1));
    assert!(matches!(&slot.kind, WatchKind::Storage { slot, .. } if *slot == B256::with_last_byte(5)));
    assert!(matches!(&code.kind, WatchKind::Code { .. }));
    assert!(matches!(&powers.kind, WatchKind::Changes { standards, .. } if standards.len() == Standard::ALL.len()));
    let WatchKind::Invariants(contract) = &own.kind else {
        panic!("invariants")
    };
    let names: Vec<&str> = contract
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(names, ["invariantOfAll", "invariant_backed"]);
    assert_eq!(
        contract.creation.len(),
        17 + 64,
        "the code, then the constructor's arguments"
    );
    assert_eq!(contract.storage[1], (U256::from(1), B256::with_last_byte(42)));
    assert!(waiting.shadow);
    let [maintenance] = config.maintenance.as_slice() else {
        panic!("one window")
    };
    assert_eq!((maintenance.from, maintenance.to), (1_795_248_000, 1_795_253_400));
    assert!(maintenance.covers("powers", 1_795_248_000) && !maintenance.covers("powers", 1_795_253_400));
    assert!(!maintenance.covers("waiting", 1_795_250_000));
}

#[test]
fn events_of_the_standards_are_what_solidity_says() {
    for standard in Standard::ALL {
        for event in standard.events() {
            alloy::json_abi::Event::parse(event).unwrap_or_else(|error| panic!("{event}: {error}"));
        }
    }
    for (name, slot) in Standard::Erc1967.slots() {
        let hash: U256 = alloy::primitives::keccak256(format!("eip1967.proxy.{name}")).into();
        assert_eq!(B256::from(hash - U256::from(1)), *slot, "{name}");
    }
}

/// Each case: name, what is replaced in the example, by what.
const WRONG: &[(&str, &str, &str)] = &[
    ("unknown_kind", "on = \"event\"", "on = \"events\""),
    (
        "key_of_another_kind",
        "at = \"safe\"\nwhen",
        "at = \"safe\"\nslot = \"1\"\nwhen",
    ),
    (
        "no_event",
        "event = \"event Transfer(address indexed from, address indexed to, uint256 value)\"\n",
        "",
    ),
    (
        "malformed_event",
        "event Transfer(address indexed from,",
        "event Transfer(address indexd from,",
    ),
    (
        "malformed_function",
        "function withdraw(uint256 assets,",
        "function withdraw(uint256 assets",
    ),
    (
        "mistyped_type_of_event",
        "event Transfer(address indexed from,",
        "event Transfer(adress indexed from,",
    ),
    (
        "mistyped_type_of_function",
        "function withdraw(uint256 assets,",
        "function withdraw(unit256 assets,",
    ),
    ("unknown_contract", "at = [\"usdc\",", "at = [\"usdt\","),
    ("bad_address", "0x00000000000000000000000000000000000000c1", "0x00c1"),
    (
        "contract_named_twice",
        "to = [\"vault\", \"safe\"]",
        "to = [\"vault\", \"vault\"]",
    ),
    ("no_account", "at = \"safe\"\nwhen", "at = []\nwhen"),
    ("unknown_field", "value > usdc", "amount > usdc"),
    ("malformed_condition", "balance < 1e18 &&", "balance < && 1e18"),
    ("constant_condition", "word > 500", "1 > 2"),
    ("hook_condition", "word > 500", "word > entry(usdc.totalSupply())"),
    ("no_slot", "slot = \"0x05\"", "slot = \"fee\""),
    ("unknown_standard", "\"erc1967\"", "\"erc1976\""),
    ("unknown_status", "status = \"success\"", "status = \"succes\""),
    ("unknown_finality", "finality = \"safe\"", "finality = \"save\""),
    ("pending_finality", "finality = \"safe\"", "finality = \"pending\""),
    (
        "final_and_pending",
        "to = \"vault\"\nfunction",
        "to = \"vault\"\nfinality = \"safe\"\nfunction",
    ),
    ("duplicate_watch", "id = \"whales\"", "id = \"withdrawals\""),
    ("no_artifact", "invariants.json", "nothing.json"),
    ("artifact_without_invariants", "invariants.json", "pool.json"),
    ("missing_argument", "args = [\"vault\", \"18\"]", "args = [\"vault\"]"),
    (
        "bad_argument",
        "args = [\"vault\", \"18\"]",
        "args = [\"vault\", \"1800\"]",
    ),
    ("no_time", "from = \"2026-11-21T08:00:00Z\"", "from = \"tomorrow\""),
    (
        "backward_maintenance",
        "to = \"2026-11-21T09:30:00Z\"",
        "to = \"2026-11-21T07:30:00Z\"",
    ),
    (
        "maintenance_of_nothing",
        "watches = [\"powers\"]",
        "watches = [\"power\"]",
    ),
];

#[test]
fn complaints() {
    let complaints: Vec<String> = WRONG
        .iter()
        .map(|(name, from, to)| format!("## {name}\n\n{}\n", complaint(from, to)))
        .collect();
    insta::assert_snapshot!("watch_complaints", complaints.join("\n"));
}
