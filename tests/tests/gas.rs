//! What the guard's calls cost, against their targets: measured by the same code as `docs/benchmarks.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use cordon_node::NodeConfig;
use cordon_tests::bench::landed::{self, COMMAND, FILE};
use cordon_tests::bench::targets::{CONTAIN, CONTAIN_CACHED, CONTAIN_ROW, HOOKS, TRIP};
use cordon_tests::bench::{Bench, root};

#[tokio::test(flavor = "multi_thread")]
async fn hooks_and_responses_keep_to_their_targets() {
    let bench = Bench::new(&root().unwrap(), NodeConfig::default()).await.unwrap();
    let hooks = bench.one_word().await.unwrap();
    println!("{hooks:?}, {} without the rule's read", hooks.own());
    assert!(hooks.own() <= HOOKS, "{hooks:?}");
    // With a gate that does nothing, or a rule that is not read, the figure would be met for nothing.
    let peer = bench.in_solidity().await.unwrap();
    println!("in Solidity {peer:?}");
    assert!(hooks.exit > 2_200 && peer.exit > 2_200, "{hooks:?}, {peer:?}");

    let gas = bench.responses().await.unwrap();
    bench.stop().await.unwrap();
    println!("{gas:?}");
    assert!(gas.trip <= TRIP && gas.trip_cached <= TRIP, "{gas:?}");
    assert!(gas.contain_cached <= CONTAIN_CACHED, "{gas:?}");
    // The target is missed, by what the landed figures say: not by more.
    let landed = landed::response(&landed::read(&root().unwrap()).unwrap(), CONTAIN_ROW).unwrap();
    assert!(
        gas.contain <= landed.max(CONTAIN),
        "`contain`, nothing cached, costs {} gas; {FILE} has {landed}, and its target is {CONTAIN}. Where more is meant, run {COMMAND} and \
         land the table with the change",
        gas.contain
    );
}
