//! Replay over real blocks: what a change of rules, of the quorum and of watches would have added and removed.

use alloy::primitives::U256;
use cordon_client::Config;
use cordon_keeper::decide::Act;
use cordon_keeper::{Found, Options, Replayed, Side, What};

use crate::answers::PROTOCOL;
use crate::board::GAUGE;
use crate::world::World;

/// What was found: the block, the name, what it is, whose it is.
type Line = (u64, String, String, Side);

fn line(found: &Found) -> Line {
    let what = match &found.what {
        What::Decided(decision) if decision.act == Act::Shadow => "shadow".to_owned(),
        What::Decided(decision) => format!("{:?}", decision.act),
        What::Waiting(held) => held.why.clone(),
        What::Unknown => "unknown".to_owned(),
        What::Sighted(_) => "sighted".to_owned(),
    };
    (found.block.number, found.id.clone(), what, found.side)
}

/// Replays these blocks with the world's rules, and against what becomes of them by `change`.
async fn replayed(
    world: &World,
    quorum: u32,
    change: impl Fn(String) -> String,
    blocks: (u64, u64),
) -> (Vec<Line>, Replayed) {
    let mut options = world.options();
    options.quorum.rules = quorum;
    let text = change(world.config.source.text().to_owned());
    let other = Config::parse(&text, world.config.source.path()).unwrap_or_else(|error| panic!("{error}"));
    let against = (Options::from_config(&other).unwrap(), other.compile().unwrap());
    let mut lines = Vec::new();
    let own = (&options, &world.compiled);
    let replayed = cordon_keeper::replay(own, Some((&against.0, &against.1)), blocks, |found| {
        lines.push(line(found));
    })
    .await
    .unwrap();
    (lines, replayed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_what_a_change_of_rules_adds_and_removes() {
    let world = World::new(&PROTOCOL).await;
    let first = world.set(GAUGE, 5_000).await;
    let second = world.set(U256::from(2), 5_000).await;
    let last = world.set(U256::from(9), 7).await;
    world.reach(last + 1).await;
    let own = |number: u64, id: &str, what: &str, side: Side| (number, id.to_owned(), what.to_owned(), side);
    let waits = "1 of 2 rules are breached";

    // The quorum: the whole protocol waits for a second rule, which the other configuration does not.
    let (found, sums) = replayed(&world, 2, |text| text, (first - 1, last)).await;
    assert_eq!(
        found,
        [
            own(first, "gauge-low", waits, Side::Removed),
            own(first, "gauge-low", "Trip", Side::Added),
            own(second, "gauge-low", "Trip", Side::Removed),
            own(second, "other-low", "Trip", Side::Both),
        ]
    );
    assert_eq!((sums.added, sums.removed, sums.decisions), (1, 2, 2));

    // A bound that is looser, a rule in its place, and a watch.
    let change = |text: String| {
        let looser = text.replace("board.get(0) <= 100", "board.get(0) <= 9000");
        looser
            + r#"
[[invariant]]
id    = "both"
scope = "protocol"
rule  = "board.get(0) + board.get(2) <= 9999"
robust = true
level = "ReduceOnly"

[[watch]]
id       = "settings"
on       = "call"
at       = "board"
function = "function set(uint256 key, uint256 value)"
when     = "key == 9"
"#
    };
    let (found, sums) = replayed(&world, 1, change, (first - 1, last)).await;
    assert_eq!(
        found,
        [
            own(first, "gauge-low", "Trip", Side::Removed),
            own(second, "other-low", "Trip", Side::Both),
            own(second, "both", "Trip", Side::Added),
            own(last, "settings", "sighted", Side::Added),
        ]
    );
    assert_eq!((sums.added, sums.removed), (2, 1));

    // Nothing changes when nothing is changed; settled blocks are what every block of the past is.
    let (found, sums) = replayed(
        &world,
        1,
        |text| text.replace("robust   = true", "robust   = true\nfinality = \"finalized\""),
        (first - 1, last),
    )
    .await;
    assert!(found.iter().all(|line| line.3 == Side::Both), "{found:?}");
    assert_eq!((sums.added, sums.removed, sums.decisions, sums.unknown), (0, 0, 2, 0));
}
