//! What watches found: told once, in the transaction of its block; taken back with it; quiet when it has to be.

use alloy::primitives::B256;
use cordon_client::config::{Finality, Severity};
use cordon_keeper::record::{NoticeKind, StoredSighting};
use cordon_keeper::rules::{Pending, Sighting, Sightings, Unwatched};
use serde_json::json;

use crate::fixture::{Block, Fixture, block};

fn sighting(watch: &str, key: &str) -> Sighting {
    Sighting {
        watch: watch.to_owned(),
        key: key.to_owned(),
        severity: Severity::P2,
        finality: Finality::Latest,
        cooldown: 0,
        standing: false,
        silent: false,
        tx: Some(B256::repeat_byte(3)),
        text: format!("{watch} saw {key}"),
        facts: json!({ "value": "7" }),
        channels: vec![],
    }
}

async fn see(f: &Fixture, number: u64, fork: u8, found: Vec<Sighting>) {
    let sightings = Sightings {
        found,
        unwatched: Vec::new(),
    };
    let content = Block {
        sightings: Some(&sightings),
        ..Block::default()
    };
    f.commit(&block(number, fork), content).await.unwrap();
}

async fn told(f: &Fixture) -> Vec<(NoticeKind, String)> {
    let mut notices = f.store.notices(100).await.unwrap();
    notices.retain(|notice| notice.topic.starts_with("watch:"));
    notices.reverse();
    notices.into_iter().map(|notice| (notice.kind, notice.text)).collect()
}

fn states(mut found: Vec<StoredSighting>) -> Vec<(String, bool)> {
    found.reverse();
    found.into_iter().map(|one| (one.state, one.canonical)).collect()
}

async fn a_block_that_is_begun_again_tells_nothing_twice(f: Fixture) {
    for _ in 0..3 {
        see(
            &f,
            10,
            0,
            vec![sighting("whales", "log:1"), sighting("whales", "log:2")],
        )
        .await;
    }
    let told = told(&f).await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], (NoticeKind::Seen, "whales saw log:1".to_owned()));
    let notice = f.store.notices(1).await.unwrap().remove(0);
    let facts: serde_json::Value = serde_json::from_str(&notice.facts.unwrap()).unwrap();
    assert_eq!(
        (&facts["key"], &facts["found"]["value"]),
        (&json!("log:2"), &json!("7"))
    );
}

async fn what_is_taken_back_is_told_and_seen_again_when_its_block_returns(f: Fixture) {
    let quiet = Sighting {
        silent: true,
        ..sighting("shadow", "log:1")
    };
    see(&f, 110, 0, vec![sighting("whales", "log:1"), quiet.clone()]).await;
    f.store.revert_blocks(&[block(110, 0)]).await.unwrap();
    f.store.revert_blocks(&[block(110, 0)]).await.unwrap();
    see(&f, 110, 1, vec![sighting("whales", "log:9")]).await;
    f.store.revert_blocks(&[block(110, 1)]).await.unwrap();
    see(&f, 110, 0, vec![sighting("whales", "log:1"), quiet]).await;
    let kinds: Vec<NoticeKind> = told(&f).await.into_iter().map(|(kind, _)| kind).collect();
    use NoticeKind::{Retracted, Seen};
    assert_eq!(kinds, [Seen, Retracted, Seen, Retracted, Seen]);
    let states = states(f.store.sightings(Some("whales"), 10).await.unwrap());
    assert_eq!(states, [("told".to_owned(), true), ("retracted".to_owned(), false)]);
}

fn broken(standing: bool, silent: bool) -> Sighting {
    Sighting {
        standing,
        silent,
        ..sighting("solvency", "invariant:invariant_backed")
    }
}

async fn a_broken_invariant_is_told_once_for_as_long_as_it_lasts(f: Fixture) {
    see(&f, 10, 0, vec![broken(false, false)]).await;
    see(&f, 11, 0, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 1);
    // It holds; the block in which it breaks again is not looked at.
    see(&f, 12, 0, vec![]).await;
    let unwatched = Sightings {
        found: vec![],
        unwatched: vec![Unwatched {
            watch: "solvency".into(),
            reason: "the node refuses".into(),
        }],
    };
    let content = Block {
        sightings: Some(&unwatched),
        ..Block::default()
    };
    f.commit(&block(13, 0), content).await.unwrap();
    see(&f, 14, 0, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 2);
    f.commit(&block(15, 0), content).await.unwrap();
    see(&f, 16, 0, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 2, "who does not look does not see it hold");
    // It breaks again in maintenance, and is told after it.
    see(&f, 17, 0, vec![]).await;
    see(&f, 18, 0, vec![broken(false, true)]).await;
    see(&f, 19, 0, vec![broken(true, true)]).await;
    assert_eq!(told(&f).await.len(), 2);
    let rows = f.store.sightings(None, 100).await.unwrap().len();
    see(&f, 20, 0, vec![broken(true, true)]).await;
    assert_eq!(
        f.store.sightings(None, 100).await.unwrap().len(),
        rows,
        "it says nothing new"
    );
    see(&f, 120, 0, vec![broken(true, false)]).await;
    see(&f, 121, 0, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 3);
    // On another branch it is another one.
    f.store.revert_blocks(&[block(120, 0), block(121, 0)]).await.unwrap();
    see(&f, 120, 1, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 5, "retracted, and told of the other block");
}

async fn what_lasts_is_known_on_the_branch_that_it_was_told_on(f: Fixture) {
    see(&f, 110, 1, vec![broken(false, false)]).await;
    f.store.revert_blocks(&[block(110, 1)]).await.unwrap();
    assert_eq!(told(&f).await.len(), 2, "told, and taken back");
    // Its block is back, and it lasts.
    see(&f, 110, 1, vec![broken(false, false)]).await;
    see(&f, 111, 1, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 3);
    // What was silent is not told because its block is back.
    see(&f, 112, 1, vec![]).await;
    see(&f, 113, 1, vec![broken(false, true)]).await;
    f.store.revert_blocks(&[block(113, 1)]).await.unwrap();
    see(&f, 113, 1, vec![broken(false, true)]).await;
    see(&f, 114, 1, vec![broken(true, false)]).await;
    assert_eq!(told(&f).await.len(), 4, "when it may be");
}

async fn ahead_of_its_turn_nothing_that_lasts_begins_or_ends(f: Fixture) {
    let broken = |standing| Sighting {
        standing,
        ..sighting("solvency", "invariant:invariant_backed")
    };
    let ahead = async |number: u64, found: Vec<Sighting>| {
        let sightings = Sightings {
            found,
            unwatched: Vec::new(),
        };
        let content = Block {
            sightings: Some(&sightings),
            ..Block::default()
        };
        f.ahead_with(&block(number, 0), content).await;
    };
    // The blocks between may show when it began.
    ahead(50, vec![broken(true)]).await;
    assert_eq!(told(&f).await.len(), 0);
    see(&f, 10, 0, vec![broken(false)]).await;
    assert_eq!(told(&f).await.len(), 1);
    ahead(60, vec![]).await;
    see(&f, 11, 0, vec![broken(true)]).await;
    assert_eq!(told(&f).await.len(), 1, "it lasts here");
}

async fn what_somebody_has_seen_is_taken_back_and_counts_as_told(f: Fixture) {
    let cooling = |key: &str| Sighting {
        cooldown: 60,
        ..sighting("whales", key)
    };
    see(&f, 110, 1, vec![cooling("log:1")]).await;
    f.store.acknowledge("whales", "ada").await.unwrap();
    see(&f, 111, 1, vec![cooling("log:2")]).await;
    assert_eq!(told(&f).await.len(), 2, "within the cooldown of what was seen");
    f.store.revert_blocks(&[block(110, 1), block(111, 1)]).await.unwrap();
    // What the branch that is gone has told keeps nobody silent on this one.
    see(&f, 110, 2, vec![cooling("log:3")]).await;
    let kinds: Vec<NoticeKind> = told(&f).await.into_iter().map(|(kind, _)| kind).collect();
    use NoticeKind::{Acknowledged, Retracted, Seen};
    assert_eq!(kinds, [Seen, Acknowledged, Retracted, Seen]);
}

async fn a_cooldown_counts_block_time_and_only_what_was_told(f: Fixture) {
    let cooling = |key: &str| Sighting {
        cooldown: 5,
        ..sighting("whales", key)
    };
    let first = block(10, 0);
    for number in 10..=60 {
        see(&f, number, 0, vec![cooling("log:1")]).await;
    }
    let last = block(60, 0);
    let seconds = last.timestamp - first.timestamp;
    assert!(seconds >= 5, "the fixture's blocks take {seconds} s");
    let expected = usize::try_from(seconds / 5 + 1).unwrap();
    assert_eq!(told(&f).await.len(), expected, "once in five seconds, over {seconds}");
    assert_eq!(
        f.store.sightings(None, 1_000).await.unwrap().len(),
        51,
        "all of it is recorded"
    );
}

async fn finality_releases_what_is_still_on_the_chain(f: Fixture) {
    let waiting = |key: &str| Sighting {
        finality: Finality::Safe,
        ..sighting("whales", key)
    };
    see(&f, 110, 0, vec![waiting("log:1")]).await;
    see(&f, 111, 0, vec![waiting("log:2")]).await;
    f.store.revert_blocks(&[block(111, 0)]).await.unwrap();
    see(&f, 111, 1, vec![waiting("log:3")]).await;
    assert!(f.store.awaits(Finality::Safe).await.unwrap());
    assert!(!f.store.awaits(Finality::Finalized).await.unwrap());
    assert_eq!(f.store.release_sightings(Finality::Finalized, 200).await.unwrap(), 0);
    assert_eq!(f.store.release_sightings(Finality::Safe, 110).await.unwrap(), 1);
    assert_eq!(f.store.release_sightings(Finality::Safe, 111).await.unwrap(), 1);
    assert_eq!(f.store.release_sightings(Finality::Safe, 111).await.unwrap(), 0);
    let texts: Vec<String> = told(&f).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["whales saw log:1", "whales saw log:3"]);
    assert!(!f.store.awaits(Finality::Safe).await.unwrap());
}

async fn an_acknowledged_watch_is_open_again_with_the_next_that_it_sees(f: Fixture) {
    see(&f, 10, 0, vec![sighting("whales", "log:1")]).await;
    assert_eq!(f.store.acknowledge("whales", "ada").await.unwrap(), "watch:whales");
    assert!(f.store.open_topics().await.unwrap().is_empty());
    see(&f, 11, 0, vec![sighting("whales", "log:1")]).await;
    let open = f.store.open_topics().await.unwrap();
    assert_eq!(
        (open.len(), open[0].topic.as_str(), &open[0].acknowledged_by),
        (1, "watch:whales", &None)
    );
}

async fn a_watch_that_cannot_look_is_alarmed_until_it_can(f: Fixture) {
    let blind = Sightings {
        found: Vec::new(),
        unwatched: vec![Unwatched {
            watch: "whales".to_owned(),
            reason: "no receipts".to_owned(),
        }],
    };
    for number in 10..13 {
        let content = Block {
            sightings: Some(&blind),
            ..Block::default()
        };
        f.commit(&block(number, 0), content).await.unwrap();
    }
    let alarms = f.store.alarms().await.unwrap();
    assert_eq!(alarms.len(), 1);
    assert_eq!((alarms[0].kind.as_str(), alarms[0].cleared_ms), ("watch-unknown", None));
    assert!(alarms[0].text.contains("block 10: no receipts"));
    see(&f, 13, 0, Vec::new()).await;
    assert!(f.store.alarms().await.unwrap()[0].cleared_ms.is_some());
}

async fn a_pending_transaction_is_noted_once_whatever_the_newest_block_is(f: Fixture) {
    let pending = |number| Pending {
        sighting: sighting("waiting", "tx:1"),
        block: block(number, 0),
    };
    assert!(f.store.note_pending(&pending(10)).await.unwrap());
    assert!(!f.store.note_pending(&pending(11)).await.unwrap());
    assert_eq!(told(&f).await.len(), 1);
}

async fn several_blocks_are_stored_as_one(f: Fixture) {
    let blocks: Vec<_> = (10..15).map(|number| block(number, 0)).collect();
    f.commit_all(&blocks).await.unwrap();
    assert_eq!(f.store.window(10).await.unwrap(), blocks);
}

async fn what_is_old_is_forgotten_in_parts_and_what_waits_is_kept(f: Fixture) {
    let many = |from: u64, most: u64| {
        (from..from + most)
            .map(|n| sighting("all", &format!("tx:{n}")))
            .collect()
    };
    see(&f, 10, 0, many(0, 700)).await;
    let mut waiting = sighting("late", "log:1");
    waiting.finality = Finality::Finalized;
    see(&f, 11, 0, vec![waiting, sighting("all", "newest")]).await;
    let left = async || f.store.sightings(None, 10_000).await.unwrap();
    // However long it took to store them.
    assert!(!f.store.prune(3_600_000).await.unwrap());
    assert_eq!(left().await.len(), 702, "nothing is old");
    assert!(
        f.store.prune(-1_000).await.unwrap(),
        "there is more than is forgotten at once"
    );
    assert_eq!(left().await.len(), 202);
    assert!(!f.store.prune(-1_000).await.unwrap());
    let keys: Vec<String> = left().await.into_iter().map(|one| one.key).collect();
    assert_eq!(
        keys,
        ["newest", "log:1"],
        "the newest keeps its number from being given again"
    );
    // What is seen next is news, and what was kept is told when it is final.
    see(&f, 12, 0, vec![sighting("all", "tx:1")]).await;
    assert_eq!(f.store.release_sightings(Finality::Finalized, 11).await.unwrap(), 1);
    let told: Vec<String> = told(&f).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(told.last().unwrap(), "late saw log:1");
    assert!(told.contains(&"all saw tx:1".to_owned()));
}

on_both! {
    what_lasts_is_known_on_the_branch_that_it_was_told_on
    ahead_of_its_turn_nothing_that_lasts_begins_or_ends
    what_somebody_has_seen_is_taken_back_and_counts_as_told
    what_is_old_is_forgotten_in_parts_and_what_waits_is_kept
    a_block_that_is_begun_again_tells_nothing_twice
    a_broken_invariant_is_told_once_for_as_long_as_it_lasts
    what_is_taken_back_is_told_and_seen_again_when_its_block_returns
    a_cooldown_counts_block_time_and_only_what_was_told
    finality_releases_what_is_still_on_the_chain
    an_acknowledged_watch_is_open_again_with_the_next_that_it_sees
    a_watch_that_cannot_look_is_alarmed_until_it_can
    a_pending_transaction_is_noted_once_whatever_the_newest_block_is
    several_blocks_are_stored_as_one
}
