//! Watches: what waits for finality, and what waits in the mempool.

use alloy::primitives::U256;
use cordon_keeper::record::{NoticeKind, Step};
use serde_json::json;

use super::Stage;
use crate::board::GAUGE;
use crate::process::watching;
use crate::world::{GAUGE_RULE, until};

pub(super) const STEPS: &[Step] = &[Step::Release, Step::Pending];

const WATCHES: &str = r#"
[[watch]]
id       = "settings"
on       = "call"
at       = "board"
function = "function set(uint256 key, uint256 value)"
when     = "key == 9"
severity = "P1"
finality = "safe"

[[watch]]
id       = "waiting"
on       = "pending"
to       = "board"
function = "function set(uint256 key, uint256 value)"
when     = "key == 10"
severity = "P1"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_over_what_watches_find_tells_it_once() {
    let mut stage = Stage::new(&GAUGE_RULE, WATCHES).await;
    let process = stage.start(None);
    watching(&stage.world, &stage.store).await;
    stage.world.set(U256::from(9), 1).await;
    until("it waits to be safe", || async {
        !stage.store.sightings(Some("settings"), 10).await.unwrap().is_empty()
    })
    .await;
    drop(process);
    // Safe is what is 32 blocks deep.
    stage.world.rpc("anvil_mine", json!(["0x28"])).await;
    stage.dies_around(Step::Release).await;

    // What waits in the mempool is seen while it waits, or not at all: the other one is seen in its place.
    for (value, point) in [(1, "before-pending"), (2, "after-pending")] {
        let mut process = stage.start(Some(point));
        watching(&stage.world, &stage.store).await;
        // Until it looks into the mempool.
        for _ in 0..40 {
            stage.world.set(U256::from(10), value).await;
            if process.ended().is_some() {
                break;
            }
        }
        stage.death(&mut process, point).await;
    }
    assert_eq!(stage.store.sightings(Some("waiting"), 10).await.unwrap().len(), 1);
    stage.world.set(GAUGE, 5_000).await;
    stage.ends(STEPS).await;
    let notices = stage.store.notices(1_000).await.unwrap();
    for watch in ["watch:settings", "watch:waiting"] {
        let told = notices
            .iter()
            .filter(|n| n.topic == watch && n.kind == NoticeKind::Seen);
        assert_eq!(told.count(), 1, "{watch}");
        let calls = stage.inbox.messages().into_iter();
        let calls = calls.filter(|m| m["event"] == "trigger" && m["facts"]["topic"] == watch);
        assert_eq!(calls.count(), 1, "{watch}");
    }
}
