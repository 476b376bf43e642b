//! What the chain makes the keeper do: walk over what it has evaluated ahead, take blocks back, forget, settle.

use alloy::primitives::U256;
use alloy::providers::Provider;
use cordon_keeper::record::{IncidentState, Outcome, Step};
use serde_json::json;

use super::Stage;
use crate::board::{GAUGE, STOPPED};
use crate::process::{PRUNE, watching};
use crate::world::{GAUGE_RULE, KEEPER, until};

pub(super) const CHAIN: &[Step] = &[Step::Advance, Step::Revert, Step::PruneBlocks, Step::PruneNotices];
pub(super) const SETTLE: &[Step] = &[Step::Plan];

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_over_old_and_replaced_blocks_leaves_none_out() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    let process = stage.start(None);
    watching(&stage.world, &stage.store).await;
    drop(process);
    // After a downtime the newest is evaluated first; the walk comes to it later.
    let height = stage.world.height().await;
    stage.world.reach(height + 12).await;
    stage.dies_around(Step::Advance).await;

    let process = stage.start(None);
    watching(&stage.world, &stage.store).await;
    drop(process);
    stage.replace_what_was_evaluated().await;
    stage.dies_around(Step::Revert).await;

    stage.variables.push((PRUNE.to_owned(), "8".to_owned()));
    stage.dies_around(Step::PruneBlocks).await;
    stage.dies_around(Step::PruneNotices).await;
    stage.world.set(GAUGE, 5_000).await;
    stage.ends(CHAIN).await;
}

impl Stage {
    /// A reorg that takes away the newest block of the record, and the two before it, however many have come since.
    async fn replace_what_was_evaluated(&self) {
        let tip = self.store.window(1).await.unwrap().pop().unwrap();
        let is_canonical = || async {
            let held = self.world.provider.get_block(tip.number.into()).await.unwrap();
            held.is_some_and(|block| block.header.hash == tip.hash)
        };
        // More blocks may come between the question and the reorg.
        while is_canonical().await {
            let depth = self.world.height().await - tip.number + 3;
            self.world.rpc("anvil_reorg", json!([depth, []])).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_it_settles_settles_once() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    let process = stage.start(None);
    watching(&stage.world, &stage.store).await;
    stage.world.set(GAUGE, 5_000).await;
    stage.contained().await;
    drop(process);
    stage.world.set(GAUGE, 1).await;
    stage.world.rpc("evm_increaseTime", json!([3 * 3_600])).await;
    stage.dies_around(Step::Plan).await;
    let _process = stage.start(None);
    until("the incident is closed", || async {
        stage.store.incidents().await.unwrap()[0].state == IncidentState::Closed
    })
    .await;
    stage.nothing_open().await;
    assert_eq!(
        stage.world.get(STOPPED).await,
        U256::ZERO,
        "what the guard did is undone"
    );
    assert_eq!(
        (stage.raised().await, stage.world.nonce(KEEPER).await),
        (1, 2),
        "a trip and a settlement"
    );
    let intents = stage.store.intents().await.unwrap();
    let done = intents.iter().filter(|intent| intent.outcome == Some(Outcome::Done));
    assert_eq!(done.count(), 2, "{intents:#?}");
    stage.nothing_told_as_two();
    stage.has_died_around(SETTLE);
}
