//! `[[containment_set]]`: what is read, what is refused and where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;

use alloy::primitives::{B256, keccak256};
use cordon_client::{Config, Level};
use cordon_core::rulebook::{Rulebook, set_name};

const HASH: &str = "0x0101010101010101010101010101010101010101010101010101010101010101";
const AROUND: &str = r#"
[chain]
id = 42161
rpc = ["http://127.0.0.1:8545"]
[guard]
scopes = ["protocol", "usdc", "weth"]
[contracts]
pool = { address = "0x794a61358D6845594F94dc1DB02A252b5b4814aD", abi = ["function paused() view returns (bool)", "function pause(bool on)"] }
[[containment]]
id = "pause-usdc"
scope = "usdc"
level = "ReduceOnly"
call = "pool.pause(true)"
done = "pool.paused()"
[keeper]
store = "cordon.db"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(&format!("{AROUND}{text}"), Path::new("cordon.toml")).map_err(|error| error.to_string())
}

fn set(id: &str, reviewed: &str, contain: &str) -> String {
    format!("[[containment_set]]\nid = \"{id}\"\nreviewed = \"{reviewed}\"\ncontain = [{contain}]\n")
}

fn order(scope: &str, level: &str, time: &str) -> String {
    format!("{{ scope = \"{scope}\", level = \"{level}\", for = \"{time}\" }}")
}

#[test]
fn a_set_is_part_of_the_rulebook() {
    let text = set("stop", HASH, &order("usdc", "Halted", "15 minutes"));
    let compiled = parse(&text).unwrap().compile().unwrap();
    let [stop] = compiled.sets.as_slice() else { panic!() };
    assert_eq!(stop.within(), ["keeper", "guardian", "governor"]);
    let book = Rulebook::decode(&compiled.code).unwrap();
    assert_eq!(book.sets.len(), 1);
    assert_eq!(
        (book.sets[0].name, book.sets[0].reviewed, &book.sets[0].orders),
        (set_name("stop").unwrap(), B256::repeat_byte(1), &stop.orders)
    );
    assert_eq!((stop.orders[0].scope, stop.orders[0].level), (1, Level::Halted));
    assert_ne!(compiled.code_hash(), parse("").unwrap().compile().unwrap().code_hash());
}

#[test]
fn what_is_wrong_with_a_set_is_said_at_its_place() {
    let usdc = || order("usdc", "ReduceOnly", "1 hour");
    // The line of `[[containment_set]]`; its id, the hash, and what is contained follow.
    let first = AROUND.lines().count() + 1;
    let long = "x".repeat(33);
    for (text, line, message) in [
        (
            set("two words", HASH, &usdc()),
            1,
            "`two words` cannot be the id of a containment set",
        ),
        (set(&long, HASH, &usdc()), 1, "is too long for a containment set"),
        (set("a", "0x01", &usdc()), 2, "`0x01` is no hash"),
        (set("a", &format!("0x{}", "00".repeat(32)), &usdc()), 2, "is no hash"),
        (set("a", HASH, ""), 1, "a containment set needs scopes to contain"),
        (
            set("a", HASH, &order("usd", "ReduceOnly", "1 hour")),
            3,
            "unknown scope `usd`",
        ),
        (
            set("a", HASH, &order("usdc", "Normal", "1 hour")),
            3,
            "unknown level `Normal`",
        ),
        (
            set("a", HASH, &order("usdc", "Halted", "29 days")),
            3,
            "a set holds a level for 1 minute to 4 weeks",
        ),
        (
            set("a", HASH, &order("usdc", "Halted", "59 seconds")),
            3,
            "a set holds a level for 1 minute to 4 weeks",
        ),
        (
            set("a", HASH, &format!("{}, {}", usdc(), usdc())),
            3,
            "the scope `usdc` is in the set already",
        ),
        (
            set("a", HASH, &usdc()) + &set("a", HASH, &usdc()),
            5,
            "the id `a` is taken",
        ),
        (
            set("a", HASH, &usdc()).replace("contain = ", "document = \"nowhere.md\"\ncontain = "),
            3,
            "the document cannot be read",
        ),
    ] {
        let error = parse(&text).expect_err(message);
        let place = format!("cordon.toml:{}:", first + line);
        assert!(
            error.contains(message) && error.contains(&place),
            "{message} at {place}\n{error}"
        );
    }
    // Levels without effect are found when it is compiled: no caller, and no call that serves the scope.
    let text = set("a", HASH, &format!("{}, {}", usdc(), order("weth", "Halted", "1 hour")));
    let error = parse(&text).unwrap().compile().unwrap_err().to_string();
    assert!(
        error.contains("the level Halted would have no effect on scope `weth`"),
        "{error}"
    );
    assert!(error.contains(&format!("cordon.toml:{}:", first + 3)), "{error}");
    // Nothing of it works without a guard.
    let watching = "[chain]\nid = 1\nrpc = [\"http://127.0.0.1:8545\"]\n".to_owned() + &set("a", HASH, "");
    let error = Config::parse(&watching, Path::new("cordon.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("a containment set needs the section [guard]"), "{error}");
    // Who could only be the governor is worth a warning.
    let config = parse(&set("a", HASH, &order("usdc", "Halted", "2 days"))).unwrap();
    assert!(
        config
            .warnings
            .iter()
            .any(|warning| warning.message.contains("only the governor"))
    );
}

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    let folder = std::env::temp_dir().join(format!("cordon-sets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let document = b"# Oracle failure\n\nStop borrowing in USDC.\n";
    std::fs::write(folder.join("review.md"), document).unwrap();
    let load = |reviewed: &str| {
        let text = set("a", reviewed, &order("usdc", "ReduceOnly", "1 hour"));
        let text = text.replace("reviewed", "document = \"review.md\"\nreviewed");
        std::fs::write(folder.join("cordon.toml"), format!("{AROUND}{text}")).unwrap();
        Config::load(folder.join("cordon.toml")).map_err(|error| error.to_string())
    };
    let hash = keccak256(document);
    assert_eq!(load(&hash.to_string()).unwrap().sets[0].reviewed, hash);
    for wrong in [HASH, "todo"] {
        let error = load(wrong).unwrap_err();
        assert!(error.contains(&hash.to_string()), "the right hash is told: {error}");
    }
    assert!(
        load(HASH)
            .unwrap_err()
            .contains("the document is not the one that was reviewed")
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_playbook_contains_sets_that_a_keeper_can() {
    let play = |set: &str| format!("[[playbook]]\nid = \"p\"\nstep = [{{ do = \"contain-set\", set = \"{set}\" }}]\n");
    let sets = set("short", HASH, &order("usdc", "ReduceOnly", "1 hour"))
        + &set("long", HASH, &order("usdc", "ReduceOnly", "2 hours"));
    let config = parse(&(sets.clone() + &play("short"))).unwrap();
    let playbook = &config.playbooks[0];
    assert!(playbook.contains() && playbook.uses_set("short") && !playbook.uses_set("long"));
    let written = cordon_client::playbook::to_toml(playbook);
    assert_eq!(&parse(&(sets.clone() + &written)).unwrap().playbooks[0], playbook);
    let error = parse(&(sets.clone() + &play("long"))).unwrap_err();
    assert!(
        error.contains("the containment set `long` is beyond a keeper"),
        "{error}"
    );
    let error = parse(&(sets.clone() + &play("shor"))).unwrap_err();
    assert!(error.contains("unknown containment set `shor`"), "{error}");
    let error = parse(&(sets + &play("short").replace("set = \"short\"", ""))).unwrap_err();
    assert!(error.contains("needs the key `set`"), "{error}");
}
