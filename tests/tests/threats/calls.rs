//! Targets that burn gas, calls that do the same, undo calls that can never succeed, and admins who act in an incident.

use std::fmt::Write as _;

use alloy::primitives::{Address, B256, U256, hex, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolError};
use cordon_client::guard::ICordonGuard::{self, Action, Level};

use crate::world::{ANYONE, DAY, DOORS, GOVERNOR, GUARDIAN, HOUR, LAST, MANY, MARKET, World, contain, events};

/// What a block holds on Arbitrum, and so the most that a transaction gets.
const BLOCK: u64 = 32_000_000;

/// Code that burns all gas it gets.
const BURNS: [u8; 4] = hex!("5b600056");

/// A scope by which forty doors are closed, at the default gas, and one more of another contract after them.
fn forty_doors() -> String {
    let abi = r#"abi = ["function closed(uint256 i) view returns (bool)", "function close(uint256 i, bool closed)"]"#;
    let mut text =
        format!("[contracts.doors]\naddress = \"{DOORS}\"\n{abi}\n[contracts.last]\naddress = \"{LAST}\"\n{abi}\n");
    for (contract, door) in (0..37).map(|door| ("doors", door)).chain([("last", 37)]) {
        write!(
            text,
            r#"
[[containment]]
id = "{contract}-{door}"
scope = "more"
level = "Halted"
call = "{contract}.close({door}, true)"
done = "{contract}.closed({door})"
closes = ["Withdraw"]
undo = [{{ call = "{contract}.close({door}, false)", undone = "!{contract}.closed({door})" }}]
"#
        )
        .unwrap();
    }
    text
}

async fn is_closed(world: &World, many: Address, door: u64) -> bool {
    let word = world.provider.get_storage_at(many, U256::from(door)).await.unwrap();
    word == U256::from(1)
}

async fn full<C: SolCall>(world: &World, from: Address, call: C) -> TransactionReceipt {
    world.send_with(from, world.guard, call.abi_encode(), BLOCK).await
}

/// T24: targets that burn their gas, in being read too, stop neither level nor incident, nor the calls of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_burns_its_gas_stops_neither_the_level_nor_other_calls() {
    let world = World::with(&forty_doors()).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    world.set_code(DOORS, BURNS.to_vec()).await;
    let contained = full(&world, GUARDIAN, contain(0, Level::Halted, DAY)).await;
    assert!(contained.status(), "the whole protocol must be containable");
    assert_eq!(world.level(0).await, Level::Halted);
    assert_eq!(world.status(0).await.incident, 1);
    assert!(world.is_set(world.switch).await && world.is_set(world.pause).await);
    let failed = events::<ICordonGuard::ContainmentFailed>(&contained);
    let left_over = |failed: &[ICordonGuard::ContainmentFailed]| {
        let starved = failed
            .iter()
            .filter(|event| event.reason.starts_with(&ICordonGuard::OutOfGasFloor::SELECTOR));
        starved.count()
    };
    assert_eq!(left_over(&failed), 1, "it says where it stopped");
    // Whoever gives less than all can do no such thing.
    let less = ICordonGuard::retryContainmentCall { scope: 0 }.abi_encode();
    assert!(!world.send_with(ANYONE, world.guard, less, 12_000_000).await.status());
    // Anyone goes on from there, and the honest one behind all the hostile ones gets its turn.
    let mut retries = 0;
    while !is_closed(&world, LAST, 37).await {
        let retried = full(&world, ANYONE, ICordonGuard::retryContainmentCall { scope: 0 }).await;
        assert!(retried.status());
        retries += 1;
        assert!(retries < 4, "it never gets its turn");
    }
    world.node.stop().await.unwrap();
}

/// T24: while the targets are honest one transaction contains everything, whoever sends it with whatever gas that suffices.
#[tokio::test(flavor = "multi_thread")]
async fn honest_targets_are_contained_and_opened_in_one_transaction() {
    let world = World::with(&forty_doors()).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    // With whatever gas: all of it, or nothing.
    for gas in [1_000_000, 3_000_000, BLOCK] {
        let input = contain(0, Level::Halted, DAY).abi_encode();
        let contained = world.send_with(GUARDIAN, world.guard, input, gas).await;
        assert!(events::<ICordonGuard::ContainmentFailed>(&contained).is_empty());
        assert_eq!(contained.status(), is_closed(&world, LAST, 37).await, "with {gas} gas");
        if contained.status() {
            break;
        }
    }
    assert!(is_closed(&world, LAST, 37).await);
    // And what some of them make impossible when it is over, the others do not wait for.
    world.set_code(DOORS, BURNS.to_vec()).await;
    world.pass(2 * DAY).await;
    let mut settled = 0;
    while world.is_set(world.switch).await || is_closed(&world, LAST, 37).await {
        assert!(
            full(&world, ANYONE, ICordonGuard::settleCall { scope: 0 })
                .await
                .status()
        );
        settled += 1;
        assert!(settled < 4, "it never gets its turn");
    }
    assert!(settled > 1);
    world.set_code(DOORS, MANY.to_vec()).await;
    while world.status(0).await.incident != 0 {
        assert!(
            full(&world, ANYONE, ICordonGuard::settleCall { scope: 0 })
                .await
                .status()
        );
    }
    assert!(!is_closed(&world, DOORS, 0).await && !is_closed(&world, DOORS, 36).await);
    world.node.stop().await.unwrap();
}

/// Four rules with one read each, hooked to Repay and others; with `entry`, read before the call.
fn burning_rules(entry: bool) -> String {
    let mut text = format!(
        "[contracts.doors]\naddress = \"{DOORS}\"\nabi = [\"function closed(uint256 i) view returns (uint256)\"]\n"
    );
    for door in 0..4 {
        let (bound, more) = if entry {
            (format!("entry(doors.closed({door}))"), "")
        } else {
            ("5".to_owned(), "robust = true\nlevel = \"ReduceOnly\"")
        };
        write!(
            text,
            r#"
[[invariant]]
id = "door-{door}"
scope = "more"
rule = "doors.closed({door}) <= {bound}"
check = ["Repay", "Settle", "Decrease"]
in_call = "revert"
{more}
"#
        )
        .unwrap();
    }
    text
}

/// T24, T26: rules that want for gas, in a hook that has its whole share, do not close repayment.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_burn_the_hooks_gas_do_not_close_repayment() {
    /// What `Guarded` gives to a hook, and what the chain asks for the call that stands for it here.
    const SHARE: u64 = 1_000_000 + 23_000;
    for entry in [false, true] {
        let world = World::with(&burning_rules(entry)).await;
        let passes = async |action: Action| {
            let (guard, enter) = world.enter(3, action);
            let Ok(ticket) = world.call_with(world.vault, guard, enter, SHARE).await else {
                return false;
            };
            let ticket = U256::from_be_slice(&ticket);
            let exit = ICordonGuard::exitCall { ticket }.abi_encode();
            // What is recorded before the call is looked for within the same transaction only.
            entry || world.call_with(world.vault, guard, exit, SHARE).await.is_ok()
        };
        for action in [Action::Repay, Action::Settle, Action::Decrease] {
            assert!(passes(action).await, "{action:?} is open on a quiet day");
        }
        world.set_code(DOORS, BURNS.to_vec()).await;
        assert!(passes(Action::Repay).await, "repayment never closes");
        assert!(passes(Action::Settle).await);
        assert!(!passes(Action::Decrease).await, "the floor stays for the others");
        world.node.stop().await.unwrap();
    }
}

/// The same pause as a call of a market and of the whole protocol.
const SAME_PAUSE: &str = r#"
[[containment]]
id = "pause-more"
scope = "more"
level = "Halted"
call = "pause.pause(true)"
done = "pause.paused()"
closes = ["Repay", "Liquidate"]
accepts = ["Repay"]
max_duration = "15 minutes"
undo = [{ call = "pause.pause(false)", undone = "!pause.paused()" }]
"#;

/// T26: two calls that do the same share their clock, across rulebooks too.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_pause_in_two_calls_keeps_repayment_closed_for_no_longer() {
    let world = World::with(SAME_PAUSE).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    world.ok(GUARDIAN, contain(0, Level::Halted, DAY)).await;
    world.ok(GUARDIAN, contain(3, Level::Halted, DAY)).await;
    assert!(world.is_set(world.pause).await);
    world.pass(900).await;
    world.ok(ANYONE, ICordonGuard::settleCall { scope: 0 }).await;
    for scope in [0, 3] {
        let _ = world
            .send(ANYONE, world.guard, ICordonGuard::settleCall { scope }.abi_encode())
            .await;
    }
    assert!(!world.is_set(world.pause).await);
    for scope in [0, 3] {
        world.ok(ANYONE, ICordonGuard::retryContainmentCall { scope }).await;
        assert!(
            !world.is_set(world.pause).await,
            "closed again under the other call's clock"
        );
    }
    world.node.stop().await.unwrap();
}

/// Undoing opens only what is still the guard's doing: what the admin opened in the incident and closed again is the admin's, once
/// anybody has noted it.
#[tokio::test(flavor = "multi_thread")]
async fn settling_does_not_open_what_the_admin_closed_during_the_incident() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    assert!(world.is_set(world.switch).await);
    world.set(world.switch, 0).await;
    let noted = world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert_eq!(events::<ICordonGuard::ContainmentOverruled>(&noted).len(), 1);
    assert_eq!(world.status(MARKET).await.applied, U256::ZERO);
    assert_eq!(world.level(MARKET).await, Level::ReduceOnly);
    world.set(world.switch, 1).await;
    world.pass(5 * HOUR).await;
    world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert!(world.is_set(world.switch).await, "the admin closed it");
    world.node.stop().await.unwrap();
}

/// The same when a call that failed to close again what the admin had opened is what saw it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_fails_notes_what_the_admin_opened() {
    let world = World::sealed().await;
    let honest = world.provider.get_code_at(world.switch).await.unwrap();
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    world.set(world.switch, 0).await;
    // It takes no calls of the guard any more.
    world
        .set_code(
            world.switch,
            hex!("36600414600b57600080fd5b60005460005260206000f3").into(),
        )
        .await;
    world
        .ok(ANYONE, ICordonGuard::retryContainmentCall { scope: MARKET })
        .await;
    world.set_code(world.switch, honest.to_vec()).await;
    world.set(world.switch, 1).await;
    world.pass(5 * HOUR).await;
    world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert!(world.is_set(world.switch).await, "the admin closed it");
    world.node.stop().await.unwrap();
}

/// An undo that can never succeed is written off by the governor, announced; then the incident ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_can_never_succeed_is_written_off() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    world
        .set_code(
            world.switch,
            hex!("36600414600b57600080fd5b60005460005260206000f3").into(),
        )
        .await;
    world.pass(5 * HOUR).await;
    let settled = world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert_eq!(events::<ICordonGuard::UndoFailed>(&settled).len(), 1);
    let write_off = || ICordonGuard::writeOffCall { scope: MARKET };
    world
        .refused::<_, ICordonGuard::NotGovernor>(GUARDIAN, write_off())
        .await;
    let told: ICordonGuard::NotAnnounced = world.refused(GOVERNOR, write_off()).await;
    assert_eq!(told.actionHash, keccak256(write_off().abi_encode()));
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: B256::from(told.actionHash),
            },
        )
        .await;
    world.pass(HOUR).await;
    let written = world.ok(GOVERNOR, write_off()).await;
    assert_eq!(events::<ICordonGuard::UndoWrittenOff>(&written).len(), 1);
    assert_eq!(events::<ICordonGuard::IncidentClosed>(&written).len(), 1);
    assert_eq!(world.status(MARKET).await.applied, U256::ZERO);
    assert!(world.is_set(world.switch).await, "it opens nothing");
    world.node.stop().await.unwrap();
}

/// Lists of unequal lengths are refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn rules_and_witnesses_must_be_as_many() {
    let world = World::sealed().await;
    let told: ICordonGuard::UnequalLengths = world
        .refused(
            ANYONE,
            ICordonGuard::tripManyCall {
                rules: vec![],
                witnesses: vec![vec![], vec![]],
            },
        )
        .await;
    assert_eq!((told.rules, told.witnesses), (U256::ZERO, U256::from(2)));
    let told: ICordonGuard::UnequalLengths = world
        .refused(
            ANYONE,
            ICordonGuard::evaluateManyCall {
                rules: vec![0],
                witnesses: vec![],
            },
        )
        .await;
    assert_eq!((told.rules, told.witnesses), (U256::from(1), U256::ZERO));
    world.node.stop().await.unwrap();
}
