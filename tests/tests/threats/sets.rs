//! Containment sets: reviewed beforehand, called by name.

use std::path::PathBuf;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolError};
use cordon_client::Config;
use cordon_client::guard::ICordonGuard::{self, IncidentState, Level, Opener};
use cordon_core::rulebook::{init_code, set_name};

use crate::world::{ANYONE, BEATER, GOVERNOR, GUARDIAN, HOUR, KEEPER, MARKET, OTHER, World, contain, create, events};

const MORE: u8 = 3;

/// `calm` is all that a keeper can do, `long` and `strict` are each a step more, `slow` is lax; `stop` closes what containment calls close.
const SETS: &str = r#"
[[containment_set]]
id = "calm"
reviewed = "0x0101010101010101010101010101010101010101010101010101010101010101"
contain = [
    { scope = "market", level = "ReduceOnly", for = "1 hour" },
    { scope = "other", level = "Throttled", for = "45 minutes" },
    { scope = "more", level = "Halted", for = "15 minutes" },
]
[[containment_set]]
id = "long"
reviewed = "0x0202020202020202020202020202020202020202020202020202020202020202"
contain = [
    { scope = "market", level = "ReduceOnly", for = "1 hour" },
    { scope = "other", level = "ReduceOnly", for = "1 hour" },
    { scope = "more", level = "ReduceOnly", for = "1 minute" },
]
[[containment_set]]
id = "strict"
reviewed = "0x0303030303030303030303030303030303030303030303030303030303030303"
contain = [
    { scope = "other", level = "ReduceOnly", for = "1 minute" },
    { scope = "more", level = "Halted", for = "16 minutes" },
]
[[containment_set]]
id = "slow"
reviewed = "0x0606060606060606060606060606060606060606060606060606060606060606"
contain = [
    { scope = "other", level = "Throttled", for = "1 hour" },
    { scope = "more", level = "Throttled", for = "1 hour" },
]
[[containment_set]]
id = "stop"
reviewed = "0x0404040404040404040404040404040404040404040404040404040404040404"
contain = [
    { scope = "market", level = "ReduceOnly", for = "10 minutes" },
    { scope = "protocol", level = "Halted", for = "5 minutes" },
]
"#;

async fn world() -> World {
    let world = World::with(SETS).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world
}

fn name(text: &str) -> B256 {
    set_name(text).unwrap()
}

fn contain_set(text: &str) -> ICordonGuard::containSetCall {
    ICordonGuard::containSetCall {
        set: name(text),
        evidence: B256::repeat_byte(9),
    }
}

async fn levels(world: &World) -> [Level; 3] {
    [
        world.level(MARKET).await,
        world.level(OTHER).await,
        world.level(MORE).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_raises_each_scope_to_its_own_level_in_one_transaction() {
    let world = world().await;
    let receipt = world.ok(KEEPER, contain_set("calm")).await;
    assert_eq!(
        levels(&world).await,
        [Level::ReduceOnly, Level::Throttled, Level::Halted]
    );
    assert!(
        world.is_set(world.switch).await,
        "the containment call of the market ran"
    );
    let told = events::<ICordonGuard::SetContained>(&receipt);
    assert_eq!(
        told.iter()
            .map(|event| (event.set, event.by, event.reviewed))
            .collect::<Vec<_>>(),
        [(name("calm"), KEEPER, B256::repeat_byte(1))]
    );
    assert_eq!(events::<ICordonGuard::LevelRaised>(&receipt).len(), 3);
    let incident = world
        .ask(ANYONE, ICordonGuard::incidentCall { number: 2 })
        .await
        .unwrap();
    assert_eq!(
        (incident.scope, incident.state, incident.openedBy, incident.evidence),
        (OTHER, IncidentState::Contained, Opener::Keeper, B256::repeat_byte(9))
    );
    world.node.stop().await.unwrap();
}

/// The keeper's key is stolen: a set is no way around its levels, its durations, its budget, or its heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_buys_no_more_than_single_calls() {
    let world = world().await;
    // Sixteen minutes of Halted; the first scope alone would have passed.
    let beyond = world
        .refused::<_, ICordonGuard::DurationBeyondRole>(KEEPER, contain_set("strict"))
        .await;
    assert_eq!((beyond.wanted, beyond.most), (960, 900));
    // Two hours and a minute.
    let spent = world
        .refused::<_, ICordonGuard::BudgetSpent>(KEEPER, contain_set("long"))
        .await;
    assert_eq!((spent.available, spent.wanted), (0, 60));
    assert_eq!(levels(&world).await, [Level::Normal; 3], "refused as a whole");
    let stranger = world
        .refused::<_, ICordonGuard::MissingRole>(ANYONE, contain_set("calm"))
        .await;
    assert_eq!(stranger.caller, ANYONE);
    // All two hours at once: nothing is left for a single call, nor for another set.
    world.ok(KEEPER, contain_set("calm")).await;
    let more = world
        .refused::<_, ICordonGuard::BudgetSpent>(KEEPER, contain(0, Level::Throttled, 60))
        .await;
    assert!(more.available < 60, "{} s are left", more.available);
    world.pass(HOUR).await;
    let stale = world
        .refused::<_, ICordonGuard::HeartbeatStale>(KEEPER, contain_set("calm"))
        .await;
    assert_ne!(stale.last, 0);
    // A guardian may what the keeper may not.
    world.ok(GUARDIAN, contain_set("strict")).await;
    assert_eq!(world.level(MORE).await, Level::Halted);
    world.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_registered_is_refused_by_name() {
    let world = world().await;
    for other in ["cal", "calmer", "CALM"] {
        let unknown = world
            .refused::<_, ICordonGuard::UnknownSet>(GOVERNOR, contain_set(other))
            .await;
        assert_eq!(unknown.set, name(other));
        let rehearsal = ICordonGuard::rehearseSetCall { set: name(other) };
        let unknown = world.refused::<_, ICordonGuard::UnknownSet>(ANYONE, rehearsal).await;
        assert_eq!(unknown.set, name(other));
    }
    let zero = ICordonGuard::containSetCall {
        set: B256::ZERO,
        evidence: B256::ZERO,
    };
    world.refused::<_, ICordonGuard::UnknownSet>(KEEPER, zero).await;
    let none = ICordonGuard::containmentSetCall { set: name("none") };
    world.refused::<_, ICordonGuard::UnknownSet>(ANYONE, none).await;
    world.node.stop().await.unwrap();
}

/// A scope that is held already, or more strictly, or at its ceiling, keeps nobody from closing the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_held_already_does_not_stop_the_rest_of_a_set() {
    let world = world().await;
    // Halted steps down to Throttled, which then ends before the keeper wants it to.
    world.ok(GUARDIAN, contain(OTHER, Level::Halted, 300)).await;
    let answer = world.ask(KEEPER, contain_set("calm")).await.unwrap();
    assert_eq!(answer, [2, 0, 3], "the scope that is Halted was passed over");
    let receipt = world.ok(KEEPER, contain_set("calm")).await;
    assert_eq!(events::<ICordonGuard::LevelRaised>(&receipt).len(), 2);
    assert_eq!(levels(&world).await, [Level::ReduceOnly, Level::Halted, Level::Halted]);
    // Once more: each is held already, and nothing is raised.
    let receipt = world.ok(KEEPER, contain_set("calm")).await;
    assert!(events::<ICordonGuard::LevelRaised>(&receipt).is_empty());
    // When every scope is held more strictly, there is nothing that the call could do.
    let shut = world
        .refused::<_, ICordonGuard::NotTighter>(KEEPER, contain_set("slow"))
        .await;
    assert_eq!(
        (shut.scope, shut.current, shut.wanted),
        (OTHER, Level::Halted, Level::Throttled)
    );
    world.node.stop().await.unwrap();
}

/// The governor's key is stolen: what a name stands for changes with the rulebook, so that it takes the delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_cannot_be_changed_without_the_delay() {
    let world = world().await;
    let read = || world.ask(ANYONE, ICordonGuard::containmentSetCall { set: name("calm") });
    let before = read().await.unwrap();
    assert_eq!(before.reviewed, B256::repeat_byte(1));
    assert_eq!(
        before
            .orders
            .iter()
            .map(|order| (order.scope, order.level, order.duration))
            .collect::<Vec<_>>(),
        [
            (MARKET, Level::ReduceOnly, 3600),
            (OTHER, Level::Throttled, 2700),
            (MORE, Level::Halted, 900)
        ]
    );
    let names = world.ask(ANYONE, ICordonGuard::containmentSetsCall {}).await.unwrap();
    assert_eq!(names, ["calm", "long", "strict", "slow", "stop"].map(name));
    // A rulebook in which `calm` closes nothing but one scope for a minute.
    let weak = "[[containment_set]]\nid = \"calm\"\nreviewed = \"0x05050505050505050505050505050505050505050505050505050505050505ff\"\n\
         contain = [{ scope = \"more\", level = \"Throttled\", for = \"1 minute\" }]\n";
    let text = world.basis.clone() + weak;
    let compiled = Config::parse(&text, PathBuf::from("weak.toml"))
        .unwrap()
        .compile()
        .unwrap();
    let book: Address = create(&world.provider, Bytes::from(init_code(&compiled.code))).await;
    let adopt = ICordonGuard::adoptRulebookCall {
        book,
        codeHash: compiled.code_hash(),
    };
    let hash = keccak256(adopt.abi_encode());
    world
        .refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, adopt.clone())
        .await;
    world
        .ok(GOVERNOR, ICordonGuard::announceCall { actionHash: hash })
        .await;
    world
        .refused::<_, ICordonGuard::AnnouncementPending>(GOVERNOR, adopt.clone())
        .await;
    world.pass(HOUR - 60).await;
    world
        .refused::<_, ICordonGuard::AnnouncementPending>(GOVERNOR, adopt.clone())
        .await;
    assert_eq!(read().await.unwrap().reviewed, B256::repeat_byte(1));
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world.ok(KEEPER, contain_set("calm")).await;
    assert_eq!(
        levels(&world).await,
        [Level::ReduceOnly, Level::Throttled, Level::Halted]
    );
    world.pass(60).await;
    world.ok(GOVERNOR, adopt).await;
    assert_ne!(read().await.unwrap().reviewed, B256::repeat_byte(1));
    world
        .refused::<_, ICordonGuard::UnknownSet>(KEEPER, contain_set("strict"))
        .await;
    world.node.stop().await.unwrap();
}

/// A role that was revoked is seen before the set is needed, and rehearsing leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_would_fail_is_seen_before_the_incident() {
    let world = world().await;
    let rehearse = |text: &str| {
        let call = ICordonGuard::rehearseSetCall { set: name(text) };
        world.refused::<_, ICordonGuard::SetRehearsed>(ANYONE, call)
    };
    // `close` is call 0, `pause` call 1; the protocol's level runs both.
    let told = rehearse("stop").await;
    assert_eq!(
        (told.set, told.calls, told.failing),
        (name("stop"), U256::from(3), U256::ZERO)
    );
    let told = rehearse("calm").await;
    assert_eq!((told.calls, told.failing), (U256::from(1), U256::ZERO));
    assert!(!world.is_set(world.switch).await && !world.is_set(world.pause).await);
    // The switch takes no orders any more: it answers 0 to everything and keeps nothing.
    world.set_code(world.switch, vec![0x60, 0x20, 0x60, 0x00, 0xf3]).await;
    let told = rehearse("stop").await;
    assert_eq!((told.calls, told.failing), (U256::from(3), U256::from(1)));
    assert_eq!(levels(&world).await, [Level::Normal; 3]);
    world.node.stop().await.unwrap();
}

/// While the guard calls out, whom it calls contains nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_within_a_containment_call_is_refused() {
    let world = world().await;
    // The switch calls `containSet` on the guard, and reverts with what that answers.
    let call = contain_set("calm").abi_encode();
    let code = reentering(world.guard, &call);
    world.set_code(world.switch, code).await;
    // With a role of its own, so that only the lock stands in its way.
    let role = ICordonGuard::setRoleCall {
        role: ICordonGuard::Role::Guardian,
        account: world.switch,
        granted: true,
    };
    let hash = keccak256(role.abi_encode());
    world
        .ok(GOVERNOR, ICordonGuard::announceCall { actionHash: hash })
        .await;
    world.pass(HOUR).await;
    world.ok(GOVERNOR, role).await;
    let receipt = world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, 600)).await;
    let failed = events::<ICordonGuard::ContainmentFailed>(&receipt);
    let [failed] = failed.as_slice() else {
        panic!("{failed:?}")
    };
    assert_eq!(failed.reason, Bytes::from(ICordonGuard::Locked::SELECTOR.to_vec()));
    assert_eq!(levels(&world).await, [Level::ReduceOnly, Level::Normal, Level::Normal]);
    world.node.stop().await.unwrap();
}

/// EVM code that answers a lone selector with 0, and else calls `target` with `input` and reverts with what that answers.
fn reentering(target: Address, input: &[u8]) -> Vec<u8> {
    let length = u8::try_from(input.len()).unwrap();
    // A lone selector (4 bytes): return one word of zeros.
    let mut code = vec![
        0x60, 0x04, 0x36, 0x14, 0x15, 0x60, 0x0e, 0x57, 0x60, 0x20, 0x60, 0x00, 0xf3, 0x00, 0x5b,
    ];
    // CODECOPY(0, at, length); CALL(gas, target, 0, 0, length, 0, 0)
    let at = 0x0f + 6 + 36;
    code.extend([0x60, length, 0x60, u8::try_from(at).unwrap(), 0x5f, 0x39]);
    code.extend([0x5f, 0x5f, 0x60, length, 0x5f, 0x5f, 0x73]);
    code.extend(target);
    code.extend([0x5a, 0xf1, 0x3d, 0x5f, 0x5f, 0x3e, 0x3d, 0x5f, 0xfd]);
    code.resize(at, 0);
    code.extend_from_slice(input);
    code
}
