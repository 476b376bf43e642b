//! The governor adopts another rulebook while the keeper runs.

use alloy::primitives::U256;
use cordon_client::deploy::ensure_rulebook;
use cordon_client::guard::ICordonGuard;
use cordon_client::{CompiledConfig, Config};
use cordon_core::rule::eval::Verdict;
use cordon_keeper::record::{AlarmKind, IncidentState, Store};
use cordon_keeper::rules::OTHER_RULEBOOK;
use cordon_keeper::{Options, Signers};
use cordon_node::NodeConfig;
use serde_json::json;

use crate::board::GAUGE;
use crate::world::{GOVERNOR, KEEPER, Rules, World, at_most, key, stop_board, toml, until};

const RULES: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)"),
    at_most!("other-low", "market", "get(2)"),
    stop_board!()
));

/// The same rules with each other's numbers.
const TURNED: Rules = Rules(concat!(
    at_most!("other-low", "market", "get(2)"),
    at_most!("gauge-low", "market", "get(0)"),
    stop_board!()
));

/// The turned rules, compiled.
fn turned(world: &World) -> CompiledConfig {
    let (http, ws, chain) = (
        world.node.http_endpoint(),
        world.node.ws_endpoint(),
        world.node.chain_id(),
    );
    let text = toml(&http, &ws, chain, Some(world.guard), world.board, &TURNED);
    let config = Config::parse(&text, world.config.source.path()).unwrap();
    config.compile().unwrap()
}

async fn adopt(world: &World, rules: &CompiledConfig) {
    let governor = key(GOVERNOR).address();
    ensure_rulebook(&world.provider, governor, world.guard, rules)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_another_rulebook_mean_nothing_to_the_keeper() {
    let world = World::new(&RULES).await;
    let mut keeper = world.keeper().await;
    let height = world.height().await;
    keeper.done(height).await;
    adopt(&world, &turned(&world)).await;
    until("it is told", || is_told(&keeper.store)).await;
    let bad = world.set(GAUGE, 5_000).await;
    world.reach(bad + 6).await;
    until("the blocks are evaluated", || async {
        keeper.store.window(1).await.unwrap()[0].number >= bad + 4
    })
    .await;
    let tip = keeper.store.window(1).await.unwrap().remove(0);
    for verdict in keeper.store.verdicts(tip.hash).await.unwrap().unwrap() {
        let reading = (verdict.reading.verdict, verdict.reading.reason);
        assert_eq!(reading, (Verdict::Unknown, OTHER_RULEBOOK), "rule {}", verdict.rule);
    }
    assert_eq!(world.nonce(KEEPER).await, 0, "nothing is tripped");
    assert_eq!(world.level(1).await, ICordonGuard::Level::Normal);
    assert!(keeper.store.incidents().await.unwrap().is_empty());

    // What it was set up for is back: the breach that stands is found, and is the right rule's.
    adopt(&world, &world.compiled).await;
    keeper.contained().await;
    let incident = keeper.incident().await;
    assert_eq!(
        (incident.rule_name.as_deref(), incident.state),
        (Some("gauge-low"), IncidentState::Contained)
    );
    until("the alarm is cleared", || async { !is_told(&keeper.store).await }).await;
    keeper.stop().await;
}

/// What was told of rule 0 of one rulebook says nothing of rule 0 of the next, from the first block that is decided on: there may be no
/// other for a while.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_breached_in_the_first_block_by_another_rulebook_is_recorded_there() {
    let by_hand = NodeConfig {
        silent: true,
        ..NodeConfig::default()
    };
    let mut world = World::with(&RULES, by_hand).await;
    // In shadow a breach is recorded once while it stands.
    let in_shadow = |mut rules: CompiledConfig| {
        rules.rules.iter_mut().for_each(|rule| rule.shadow = true);
        rules
    };
    let next = in_shadow(turned(&world));
    world.compiled = in_shadow(world.compiled);
    let options = Options {
        cooldown: 0,
        ..world.options()
    };
    let store = world.store().await;
    // It sends nothing, so that no block comes of itself.
    let start = async |world: &World| {
        let signers = Signers::local(key(KEEPER), None);
        let keeper = world.keeper_with(options.clone(), store.clone(), signers);
        keeper.await.unwrap()
    };
    let found = async |all: usize| {
        until("the breaches are recorded", || async {
            store.shadowed(10).await.unwrap().len() == all
        })
        .await;
        let newest = store.shadowed(2).await.unwrap();
        let mut rules: Vec<_> = newest.iter().map(|intent| (intent.rule, intent.block_number)).collect();
        rules.sort_unstable();
        rules
    };
    let mut keeper = start(&world).await;
    keeper.done(world.height().await).await;
    let one = world.set(GAUGE, 5_000).await;
    let both = world.set(U256::from(2), 5_000).await;
    assert_eq!(found(2).await, [(Some(0), one), (Some(1), both)]);
    adopt(&world, &next).await;
    until("the rulebook is followed", || is_told(&store)).await;
    let height = world.height().await;
    until("all blocks are done", || async {
        store.window(1).await.unwrap()[0].number == height
    })
    .await;
    keeper.stop().await;

    world.compiled = next;
    let keeper = start(&world).await;
    world.rpc("anvil_mine", json!(["0x1"])).await;
    let first = height + 1;
    assert_eq!(found(4).await, [(Some(0), first), (Some(1), first)]);
    assert_eq!(world.height().await, first);
    keeper.stop().await;
}

async fn is_told(store: &Store) -> bool {
    let open = store.open_alarms().await.unwrap();
    open.iter().any(|(kind, _)| *kind == AlarmKind::RulebookChanged)
}
