//! A keeper that is killed: nothing decided is lost, nothing is done twice.

use std::os::unix::process::ExitStatusExt;

use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::{AlarmKind, IncidentState, Outcome};
use cordon_node::NodeConfig;
use serde_json::json;

use crate::board::GAUGE;
use crate::forks::is_another;
use crate::process::{Process, watching};
use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, Rules, World, at_most, outcomes, stop_board, until};

const CONTAINED: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)", r#"respond = "contain""#),
    stop_board!()
));

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_survives_a_crash_before_its_transaction_and_is_carried_out_once() {
    survives(&GAUGE_RULE).await;
}

// The guard judges no breach then: the block has to be judged first.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_to_contain_survives_a_crash_before_its_transaction_and_is_carried_out_once() {
    survives(&CONTAINED).await;
}

async fn survives(rules: &Rules) {
    let world = World::new(rules).await;
    let store = world.store().await;
    let mut process = Process::start(&world, &[("CORDON_FAIL_POINT", "after-decision")]);
    watching(&world, &store).await;
    until("the heartbeat is there", || async { world.nonce(HEARTBEAT).await == 1 }).await;
    let bad = world.set(GAUGE, 5_000).await;
    until("it is decided", || async {
        !store.open_intents().await.unwrap().is_empty()
    })
    .await;
    // It stands at the fail point: however long it is given, it sends nothing.
    let height = world.height().await;
    world.reach(height + 4).await;
    assert_eq!(process.ended(), None, "it still runs");
    assert_eq!(process.kill().signal(), Some(9), "SIGKILL");
    assert_eq!(world.nonce(KEEPER).await, 0, "nothing was sent");
    assert_eq!(world.level(1).await, ICordonGuard::Level::Normal);
    let decided = store.open_intents().await.unwrap();
    assert_eq!(decided.len(), 1, "but it was decided");
    let at = decided[0].block_hash;
    assert!(!store.is_done(at).await.unwrap(), "before the rest of its block");

    // The fail point stays on: it strikes decisions, not what is resumed.
    let _process = Process::start(&world, &[("CORDON_FAIL_POINT", "after-decision")]);
    until("it is contained", || async {
        world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    until("it is confirmed", || async {
        store.open_intents().await.unwrap().is_empty()
    })
    .await;
    let height = world.height().await;
    until("the missed blocks are evaluated", || async {
        store
            .window(1)
            .await
            .unwrap()
            .last()
            .is_some_and(|block| block.number >= height + 4)
    })
    .await;
    assert!(store.is_done(at).await.unwrap());
    assert_eq!(outcomes(&store).await, [Some(Outcome::Done)]);
    assert_eq!(world.nonce(KEEPER).await, 1, "once");
    let delayed = AlarmKind::ActionDelayed.name();
    let alarms = store.alarms().await.unwrap();
    assert!(!alarms.iter().any(|alarm| alarm.kind == delayed), "{alarms:?}");
    let incidents = store.incidents().await.unwrap();
    assert_eq!(incidents.len(), 1);
    assert_eq!(
        (incidents[0].state, incidents[0].first_bad_block),
        (IncidentState::Contained, bad)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sent_before_the_kill_is_found_and_not_sent_again() {
    // Mined by hand, so that the kill falls between broadcast and inclusion.
    let world = World::with(
        &GAUGE_RULE,
        NodeConfig {
            silent: true,
            ..NodeConfig::default()
        },
    )
    .await;
    let store = world.store().await;
    let mut process = Process::start(&world, &[]);
    watching(&world, &store).await;
    until("the heartbeat is out of the way", || async {
        world.nonce(HEARTBEAT).await == 1
    })
    .await;
    world.set(GAUGE, 5_000).await;
    until("it is contained", || async {
        world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    // It is recorded while it is sent; what was never recorded is somebody else's to the next run.
    until("the transaction is in the record", || async {
        let intents = store.intents().await.unwrap();
        !store.transactions_of(intents[0].id).await.unwrap().is_empty()
    })
    .await;
    process.kill();
    // Whatever the kill has interrupted, the next run ends it.
    let _process = Process::start(&world, &[]);
    world.rpc("evm_mine", json!([])).await;
    until("nothing is left to do", || async {
        let intents = store.intents().await.unwrap();
        intents.len() == 1 && intents[0].outcome == Some(Outcome::Done)
    })
    .await;
    assert_eq!(world.nonce(KEEPER).await, 1);
    assert_eq!(store.incidents().await.unwrap()[0].state, IncidentState::Contained);
}

/// The power goes when what contains is on its way, and takes all that the record has of the incident; so many blocks later it is back.
async fn power_cut(blocks: u64) {
    let world = World::new(&GAUGE_RULE).await;
    let store = world.store().await;
    let mut process = Process::start(&world, &[]);
    watching(&world, &store).await;
    process.kill();
    // The last one closes the log into the file.
    store.close().await;
    let file = world.dir.path().join("cordon.db");
    let kept = file.with_extension("kept");
    std::fs::copy(&file, &kept).unwrap();

    let mut process = Process::start(&world, &[]);
    let bad = world.set(GAUGE, 5_000).await;
    until("it is contained", || async {
        world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    process.kill();
    let raised = world.status(1).await;
    for left in ["db-wal", "db-shm"] {
        let _ = std::fs::remove_file(file.with_extension(left));
    }
    std::fs::rename(&kept, &file).unwrap();
    let height = world.height().await;
    world.reach(height + blocks).await;

    let _process = Process::start(&world, &[]);
    let store = world.store().await;
    until("the incident is in the record", || async {
        let incidents = store.incidents().await.unwrap();
        incidents
            .iter()
            .any(|incident| incident.state == IncidentState::Contained)
    })
    .await;
    until("the missed blocks are evaluated", || async {
        let window = store.window(1).await.unwrap();
        window.last().is_some_and(|block| block.number > height + blocks)
    })
    .await;
    assert!(store.open_intents().await.unwrap().is_empty(), "nothing is left to do");
    assert_eq!(world.nonce(KEEPER).await, 1, "once");
    assert_eq!(world.status(1).await.expiresAt, raised.expiresAt);
    let incidents = store.incidents().await.unwrap();
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].first_bad_block, bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_power_cut_takes_from_the_record_is_not_done_twice() {
    power_cut(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_power_cut_took_from_the_record_long_ago_is_not_done_twice() {
    power_cut(24).await;
}

/// A fork that is deeper than what is held in memory is taken back 64 blocks at a time: others that share the record wait for each part.
#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_killed_between_two_parts_of_a_deep_fork_takes_back_the_rest() {
    let world = World::new(&GAUGE_RULE).await;
    let store = world.store().await;
    let keeper = world
        .keeper_at_head(world.options(), store.clone(), World::signers())
        .await;
    world.rpc("evm_setIntervalMining", json!([0])).await;
    let snapshot = world.rpc("evm_snapshot", json!([])).await;
    let from = world.height().await + 1;
    let tip = async || store.window(1).await.unwrap()[0].number;
    world.rpc("anvil_mine", json!(["0x12c"])).await;
    let top = world.height().await;
    until("all blocks are done", || async { tip().await == top }).await;
    keeper.stop().await;
    let replaced = store.window(300).await.unwrap();
    assert_eq!(replaced[0].number, from);
    world.rpc("evm_revert", json!([snapshot])).await;
    is_another(&world.provider).await;
    world.rpc("anvil_mine", json!(["0x140"])).await;

    let mut process = Process::start(&world, &[("CORDON_FAIL_POINT", "after-revert")]);
    until("something is taken back", || async { tip().await < top }).await;
    assert_eq!(tip().await, top - 64);
    assert_eq!(process.kill().signal(), Some(9), "SIGKILL");
    let _process = Process::start(&world, &[]);
    let height = world.height().await;
    until("the other chain is done", || async { tip().await == height }).await;
    for block in replaced {
        assert!(!store.is_done(block.hash).await.unwrap(), "{block:?}");
    }
    let window = store.window(400).await.unwrap();
    assert!(window.windows(2).all(|pair| pair[1].parent == pair[0].hash), "no gap");
    assert!(window[0].number < from && height == top + 20, "from before the fork");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_passed_meanwhile_are_evaluated() {
    let world = World::new(&GAUGE_RULE).await;
    let mut keeper = world.keeper().await;
    let height = world.height().await;
    keeper.done(height).await;
    let store = keeper.store.clone();
    keeper.stop().await;
    let bad = world.set(GAUGE, 5_000).await;
    world.set(GAUGE, 1).await;
    let height = world.height().await;
    world.reach(height + 12).await;
    let mut keeper = world.keeper().await;
    keeper.done(height + 14).await;
    until("the past is caught up with", || async {
        store
            .incidents()
            .await
            .unwrap()
            .iter()
            .any(|incident| incident.state == IncidentState::Closed)
    })
    .await;
    let incident = keeper.incident().await;
    assert_eq!((incident.opened_block, incident.contained_block), (bad, None));
    let mut found = Vec::new();
    let options = world.options();
    let own = (&options, &world.compiled);
    let replayed = cordon_keeper::replay(own, None, (bad - 1, height), |one| {
        let is_decision = matches!(one.what, cordon_keeper::What::Decided(_));
        found.push((one.block.number, one.id.clone(), is_decision));
    })
    .await
    .unwrap();
    assert_eq!(found, [(bad, "gauge-low".to_owned(), true)], "the same over history");
    assert_eq!((replayed.blocks, replayed.unknown), (height - bad + 2, 0));
    // A looser bound, which no guard has adopted, would not have found it.
    let text = world
        .config
        .source
        .text()
        .replace("board.get(0) <= 100", "board.get(0) <= 1000000");
    let looser = cordon_client::Config::parse(&text, world.config.source.path()).unwrap();
    let other = (&options, &looser.compile().unwrap());
    let replayed = cordon_keeper::replay(own, Some(other), (bad - 1, height), |_| {})
        .await
        .unwrap();
    assert_eq!((replayed.added, replayed.removed, replayed.decisions), (0, 1, 1));
    let beyond = cordon_keeper::replay(own, None, (height, height + 1_000_000), |_| {}).await;
    assert!(beyond.unwrap_err().to_string().contains("does not have block"));
    assert_eq!(store.intents().await.unwrap()[0].outcome, Some(Outcome::HoldsAgain));
    assert_eq!(world.nonce(KEEPER).await, 0);
    keeper.stop().await;
}
