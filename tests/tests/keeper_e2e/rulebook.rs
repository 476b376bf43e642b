//! The governor adopts another rulebook while the keeper runs.

use cordon_client::Config;
use cordon_client::deploy::ensure_rulebook;
use cordon_client::guard::ICordonGuard;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::record::{AlarmKind, IncidentState, Store};
use cordon_keeper::rules::OTHER_RULEBOOK;

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

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_another_rulebook_mean_nothing_to_the_keeper() {
    let world = World::new(&RULES).await;
    let mut keeper = world.keeper().await;
    let height = world.height().await;
    keeper.done(height).await;
    let (http, ws, chain) = (
        world.node.http_endpoint(),
        world.node.ws_endpoint(),
        world.node.chain_id(),
    );
    let text = toml(&http, &ws, chain, Some(world.guard), world.board, &TURNED);
    let turned = Config::parse(&text, world.config.source.path())
        .unwrap()
        .compile()
        .unwrap();
    let governor = key(GOVERNOR).address();

    ensure_rulebook(&world.provider, governor, world.guard, &turned)
        .await
        .unwrap();
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
    ensure_rulebook(&world.provider, governor, world.guard, &world.compiled)
        .await
        .unwrap();
    keeper.contained().await;
    let incident = keeper.incident().await;
    assert_eq!(
        (incident.rule_name.as_deref(), incident.state),
        (Some("gauge-low"), IncidentState::Contained)
    );
    until("the alarm is cleared", || async { !is_told(&keeper.store).await }).await;
    keeper.stop().await;
}

async fn is_told(store: &Store) -> bool {
    let open = store.open_alarms().await.unwrap();
    open.iter().any(|(kind, _)| *kind == AlarmKind::RulebookChanged)
}
