//! Rules that are evaluated here, block after block, on a real anvil: whatever changes, and however, the verdicts are those of
//! reading everything anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, address, hex};
use cordon_client::Config;
use cordon_keeper::chain::{BlockRef, BlockSource, Key, Rpc};
use cordon_keeper::decide::RuleVerdict;
use cordon_keeper::rules::{Reader, Request, Watched};
use cordon_testkit::{Dice, Fault, RpcProxy};
use serde_json::json;

use boxes::{place, put_data, submit};
use common::Anvil;

const USER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const BOX: Address = address!("0x00000000000000000000000000000000b0000001");
const OTHER: Address = address!("0x00000000000000000000000000000000b0000002");
/// Delegates to the address in its slot 0.
const PROXY: Address = address!("0x00000000000000000000000000000000b0000003");
/// Answers its own balance.
const PURSE: Address = address!("0x00000000000000000000000000000000b0000004");
/// Answers the time.
const CLOCK: Address = address!("0x00000000000000000000000000000000b0000005");
/// Answers the number of the block.
const COUNTER: Address = address!("0x00000000000000000000000000000000b0000006");
const RICH: Address = address!("0x00000000000000000000000000000000b0000007");

const RULES: &str = r#"
[chain]
id = 31337
rpc = ["http://127.0.0.1:1"]
[guard]
scopes = ["protocol"]
callers = ["box"]
[contracts]
box = { address = "0x00000000000000000000000000000000b0000001", abi = ["function get(uint256 key) view returns (uint256)"] }
other = { address = "0x00000000000000000000000000000000b0000002", abi = ["function get(uint256 key) view returns (uint256)"] }
proxy = { address = "0x00000000000000000000000000000000b0000003", abi = ["function get(uint256 key) view returns (uint256)"] }
purse = { address = "0x00000000000000000000000000000000b0000004", abi = ["function get(uint256 key) view returns (uint256)"] }
clock = { address = "0x00000000000000000000000000000000b0000005", abi = ["function get(uint256 key) view returns (uint256)"] }
counter = { address = "0x00000000000000000000000000000000b0000006", abi = ["function get(uint256 key) view returns (uint256)"] }
rich = { address = "0x00000000000000000000000000000000b0000007", abi = [] }
"#;

fn config() -> Config {
    let rules = [
        "box.get(1) <= 50".to_owned(),
        "box.get(1) + other.get(2) <= other.get(3) + 100".to_owned(),
        "box.get(1) / other.get(2) <= 3".to_owned(),
        "box.get(other.get(2)) <= 50".to_owned(),
        "box.get(1) > 50 || other.get(3) <= 40".to_owned(),
        "proxy.get(1) <= 50".to_owned(),
        "purse.get(0) <= 50".to_owned(),
        "clock.get(0) <= 1900000000".to_owned(),
        "counter.get(0) <= 20".to_owned(),
        "eth(rich) <= 50".to_owned(),
        "codehash(other) == codehash(box)".to_owned(),
        "now <= 1900000000 || box.get(7) <= 50".to_owned(),
        "box.get(4) == 0".to_owned(),
    ];
    let mut text = RULES.to_owned();
    for (at, rule) in rules.iter().enumerate() {
        text += &format!(
            "[[invariant]]\nid = \"r{at}\"\nscope = \"protocol\"\nrule = \"{rule}\"\nlevel = \"ReduceOnly\"\n"
        );
    }
    Config::parse(&text, Path::new("cordon.toml")).unwrap()
}

fn programs() -> Vec<Vec<u8>> {
    let rules = config().compile().unwrap().rulebook.rules;
    rules.iter().map(|rule| rule.program.clone()).collect()
}

struct World {
    anvil: Anvil,
    rpc: Rpc,
    plain: Reader,
    here: Reader,
    requests: Vec<Request>,
}

impl World {
    async fn new() -> Self {
        let anvil = Anvil::start(&["--no-mining", "--slots-in-an-epoch", "1"]).await;
        for at in [BOX, OTHER] {
            place(&anvil, at).await;
        }
        // calldatacopy(0, 0, size); delegatecall(gas, sload(0), 0, size, 0, 0); returndatacopy; return
        let proxy = "0x366000600037600060003660006000545af4503d600060003e3d6000f3";
        let codes = [
            (PROXY, proxy),
            (PURSE, "0x4760005260206000f3"),
            (CLOCK, "0x4260005260206000f3"),
            (COUNTER, "0x4360005260206000f3"),
        ];
        for (at, code) in codes {
            anvil.rpc("anvil_setCode", json!([at, code])).await;
        }
        set(&anvil, PROXY, 0, U256::from_be_slice(BOX.as_slice())).await;
        set(&anvil, OTHER, 2, U256::from(1)).await;
        anvil.rpc("evm_mine", json!([])).await;
        let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), Duration::from_secs(5)).unwrap();
        let programs = programs();
        let requests = (0..u16::try_from(programs.len()).unwrap())
            .map(Request::plain)
            .collect();
        let programs = Arc::new(programs);
        let plain = Reader::new(rpc.clone(), Address::ZERO, Watched::default()).with_programs(Arc::clone(&programs), 0);
        let here = plain.clone().evaluating_here(programs);
        Self {
            anvil,
            rpc,
            plain,
            here,
            requests,
        }
    }

    async fn verdicts(&self, reader: &Reader, block: &BlockRef) -> Vec<RuleVerdict> {
        let mut verdicts = reader.read(block, &self.requests, &[]).await.unwrap().verdicts;
        verdicts.sort_by_key(|verdict| verdict.rule);
        verdicts
    }

    /// Asserts that both ways say the same of the newest block.
    async fn compare(&self, what: &str) {
        let block = self.rpc.latest().await.unwrap();
        let (plain, here) = (
            self.verdicts(&self.plain, &block).await,
            self.verdicts(&self.here, &block).await,
        );
        assert_eq!(plain, here, "block {}: {what}", block.number);
    }

    fn made(&self) -> u64 {
        self.here.here().unwrap().made
    }

    async fn mine(&self) {
        self.anvil.rpc("evm_mine", json!([])).await;
    }
}

async fn set(anvil: &Anvil, at: Address, slot: u64, value: U256) {
    let (slot, value) = (format!("{slot:#x}"), B256::from(value));
    anvil.rpc("anvil_setStorageAt", json!([at, slot, value])).await;
}

#[tokio::test]
async fn what_did_not_change_is_not_evaluated_again() {
    let world = World::new().await;
    world.compare("the first block").await;
    let status = world.here.here().unwrap();
    // The number of a block is known to the node alone.
    assert_eq!((status.keeper, status.guard, status.off.clone()), (12, 1, None));
    world.mine().await;
    world.compare("the time has changed").await;
    let made = world.made();
    world.mine().await;
    world.compare("nothing has changed").await;
    // What looks at the time: `clock`, `now`.
    assert!(world.made() - made <= 2, "{} evaluations", world.made() - made);
    let made = world.made();
    submit(&world.anvil, USER, OTHER, 0, &put_data(3, 77)).await;
    world.mine().await;
    world.compare("other.get(3)").await;
    // It is read by the second rule, and not by the fifth, whose left side decides.
    assert!(world.made() - made <= 4, "{} evaluations", world.made() - made);
}

#[tokio::test]
async fn words_are_those_of_the_block() {
    let world = World::new().await;
    set(&world.anvil, BOX, 9, U256::MAX).await;
    world.anvil.rpc("anvil_setBalance", json!([RICH, "0x2a"])).await;
    world.mine().await;
    let block = world.rpc.latest().await.unwrap();
    let mut keys: Vec<Key> = (0..7_000).map(|slot| Key::Slot(BOX, U256::from(slot))).collect();
    keys.extend([
        Key::Balance(RICH),
        Key::Code(BOX),
        Key::Slot(PROXY, U256::ZERO),
        Key::Code(RICH),
    ]);
    let inquiry = cordon_keeper::chain::Inquiry::of(&keys).unwrap();
    let words = world.rpc.words(block.hash, &inquiry).await.unwrap().unwrap();
    let code = world.rpc.codes(block.hash, &[BOX]).await.unwrap().unwrap();
    assert_eq!(
        (words[9], words[10], words[7_000]),
        (U256::MAX, U256::ZERO, U256::from(42))
    );
    assert_eq!(B256::from(words[7_001]), alloy::primitives::keccak256(&code[0]));
    assert_eq!(words[7_002], U256::from_be_slice(BOX.as_slice()));
    // The second time nothing is told but that all is the same.
    assert_eq!(world.rpc.words(block.hash, &inquiry).await.unwrap().unwrap(), words);
    // Not by hand: anvil counts that as a change of the newest block.
    submit(&world.anvil, USER, BOX, 0, &put_data(9, 0)).await;
    world.mine().await;
    let newest = world.rpc.latest().await.unwrap();
    assert_eq!(
        world.rpc.words(newest.hash, &inquiry).await.unwrap().unwrap()[9],
        U256::ZERO
    );
    assert_eq!(world.rpc.words(block.hash, &inquiry).await.unwrap().unwrap(), words);
    let unknown = world.rpc.words(B256::repeat_byte(1), &inquiry).await.unwrap();
    assert!(unknown.is_err());
}

/// One random change of the chain.
async fn change(world: &World, dice: &mut Dice) -> String {
    let anvil = &world.anvil;
    let key = dice.below(5);
    let value = dice.below(100);
    let at = [BOX, OTHER][usize::try_from(dice.below(2)).unwrap()];
    match dice.below(9) {
        0..=3 => {
            submit(anvil, USER, at, 0, &put_data(key, value)).await;
            format!("put({key}, {value}) at {at}")
        }
        4 => {
            set(anvil, at, key, U256::from(value)).await;
            format!("slot {key} of {at} set to {value} by hand")
        }
        5 => {
            let who = [RICH, PURSE][usize::try_from(dice.below(2)).unwrap()];
            anvil.rpc("anvil_setBalance", json!([who, format!("{value:#x}")])).await;
            format!("balance of {who} is {value}")
        }
        6 => {
            let target = [BOX, OTHER, RICH][usize::try_from(dice.below(3)).unwrap()];
            set(anvil, PROXY, 0, U256::from_be_slice(target.as_slice())).await;
            format!("the proxy leads to {target}")
        }
        7 => {
            let time = if dice.below(2) == 0 { 100 } else { 400_000_000 };
            anvil.rpc("evm_increaseTime", json!([time])).await;
            format!("{time} seconds")
        }
        _ => {
            let code = hex::encode_prefixed([
                0x60,
                u8::try_from(value).unwrap(),
                0x60,
                0,
                0x52,
                0x60,
                0x20,
                0x60,
                0,
                0xf3,
            ]);
            if dice.below(3) == 0 {
                anvil.rpc("anvil_setCode", json!([OTHER, code])).await;
            } else {
                place(anvil, OTHER).await;
            }
            "other code".to_owned()
        }
    }
}

#[tokio::test]
async fn no_change_of_the_state_is_missed() {
    let mut dice = Dice::from_environment("changes of the state");
    let world = World::new().await;
    // Deep enough for the reorgs.
    world.anvil.rpc("anvil_mine", json!(["0x8"])).await;
    world.compare("the first block").await;
    for _ in 0..60 {
        let mut what = String::new();
        if dice.below(6) == 0 {
            world.anvil.rpc("anvil_reorg", json!([1 + dice.below(3), []])).await;
            what += "a reorg; ";
        }
        for _ in 0..dice.below(3) {
            what += &change(&world, &mut dice).await;
            what += "; ";
        }
        for _ in 0..=dice.below(2) {
            world.mine().await;
        }
        world.compare(&what).await;
        if dice.below(4) == 0 {
            // Blocks may be read in any order.
            let newest = world.rpc.latest().await.unwrap().number;
            let older = world
                .rpc
                .by_number(newest.saturating_sub(dice.below(5)))
                .await
                .unwrap()
                .unwrap();
            let (plain, here) = (
                world.verdicts(&world.plain, &older).await,
                world.verdicts(&world.here, &older).await,
            );
            assert_eq!(plain, here, "block {} after block {newest}", older.number);
        }
    }
    let status = world.here.here().unwrap();
    assert_eq!((status.keeper, status.guard, status.off), (12, 1, None));
}

/// Reads three new blocks through an endpoint that refuses calls with `part` in them; answers why nothing is evaluated here after that.
async fn off_after_three(world: &World, part: &'static str, message: &'static str) -> Option<String> {
    let plan = move |_: usize, body: &str| match body.contains("eth_call") && body.contains(part) {
        true => Fault::Error(-32_000, message),
        false => Fault::None,
    };
    let proxy = RpcProxy::start(&world.anvil.http(), plan).await.unwrap();
    let rpc = Rpc::new(&[proxy.url()], world.anvil.chain_id(), Duration::from_secs(5)).unwrap();
    let programs = Arc::new(programs());
    let reader = Reader::new(rpc, Address::ZERO, Watched::default()).with_programs(Arc::clone(&programs), 0);
    let reader = reader.evaluating_here(programs);
    for _ in 0..3 {
        assert_eq!(reader.here().unwrap().off, None);
        world.mine().await;
        world.verdicts(&reader, &world.rpc.latest().await.unwrap()).await;
    }
    reader.here().unwrap().off
}

#[tokio::test]
async fn where_words_are_refused_nothing_is_evaluated_here_and_where_states_are_gone_it_is_again() {
    let world = World::new().await;
    let off = off_after_three(&world, "\"code\":\"0x", "too many arguments").await;
    assert!(off.is_some_and(|why| why.ends_with("too many arguments")));
    // Nothing but the lack of states: no word against the node.
    let off = off_after_three(&world, "", "missing trie node").await;
    assert_eq!(off, None);
}
