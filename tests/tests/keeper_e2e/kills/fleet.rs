//! Turns and votes of a fleet, which only a shared database has.

use cordon_client::config::SecretText;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::{Step, Store};
use cordon_testkit::Postgres;

use super::Stage;
use crate::answers::PROTOCOL;
use crate::process::{nothing_missing_nothing_twice, watching};
use crate::world::{KEEPER, OTHER, until};

pub(super) const STEPS: &[Step] = &[Step::Campaign, Step::Renew, Step::Resign, Step::Vote];

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_over_its_turn_or_its_vote_is_replaced_and_nothing_is_done_twice() {
    let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
    let mut stage = Stage::new(&PROTOCOL, "").await;
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let shared = "{ postgres = { env = \"CORDON_TEST_DATABASE\" } }\nquorum = { keepers = 2 }";
    std::fs::write(&stage.config, text.replace("\"cordon.db\"", shared)).unwrap();
    stage
        .variables
        .push(("CORDON_TEST_DATABASE".to_owned(), database.url()));
    let url = SecretText::new(database.url());
    stage.store = Store::connect(&url, stage.world.node.chain_id(), stage.world.guard)
        .await
        .unwrap();

    stage.dies_around(Step::Campaign).await;
    stage.dies_around(Step::Renew).await;
    for point in ["before-resign", "after-resign"] {
        let mut process = stage.start(Some(point));
        watching(&stage.world, &stage.store).await;
        process.signal("TERM");
        stage.death(&mut process, point).await;
    }
    // The one with the turn asks by its vote, and the breach waits for another that finds it too.
    stage.breaks_and_dies("before-vote").await;
    stage.dies("after-vote").await;
    assert_eq!(
        stage.world.level(0).await,
        ICordonGuard::Level::Normal,
        "nobody has agreed"
    );
    let _first = stage.start(None);
    watching(&stage.world, &stage.store).await;
    let _second = stage.start_as(OTHER, None);
    until("the whole protocol is contained", || async {
        stage.world.level(0).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    stage.nothing_open().await;
    nothing_missing_nothing_twice(&stage.world, &stage.store, &stage.inbox).await;
    stage.nothing_told_as_two();
    stage.has_died_around(STEPS);
    assert_eq!(stage.world.nonce(KEEPER).await + stage.world.nonce(OTHER).await, 1);
}
