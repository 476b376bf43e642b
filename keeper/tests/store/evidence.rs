//! Evidence: what was written is linked when it is written, and what was changed afterwards shows.

use cordon_keeper::record::{Evidence, EvidenceError};

use crate::fixture::{Block, Fixture, block, raised, trip};

async fn every_line_is_linked_and_a_changed_one_shows(f: Fixture) {
    let content = Block {
        decisions: &[trip(0)],
        ..Block::default()
    };
    f.commit(&block(10, 0), content).await.unwrap();
    f.store.note(1, "remark", "somebody looks at it").await.unwrap();
    // Another incident's lines lie between.
    let mut other = trip(1);
    other.scope = 0;
    let content = Block {
        decisions: &[other],
        ..Block::default()
    };
    f.commit(&block(11, 0), content).await.unwrap();
    let content = Block {
        events: &[raised(0)],
        ..Block::default()
    };
    f.commit(&block(12, 0), content).await.unwrap();
    // What a reorg does to an incident does not rewrite what was said of it.
    f.store.revert_blocks(&[block(12, 0)]).await.unwrap();

    let evidence = f.reopen().await.evidence(1).await.unwrap().unwrap();
    assert_eq!(evidence.verify(), Ok(()));
    let own = evidence.links.iter().filter(|link| link.line.is_some()).count();
    assert_eq!(own, f.store.incident(1).await.unwrap().unwrap().timeline.len());
    assert_eq!(evidence.links.len(), own + 2, "the other incident's lines are digests");

    let text = serde_json::to_string(&evidence).unwrap();
    let read: Evidence = serde_json::from_str(&text).unwrap();
    assert_eq!(read, evidence, "it survives being a file");
    let mut changed = read.clone();
    let line = changed.links.iter_mut().find_map(|link| link.line.as_mut()).unwrap();
    line.text.push('!');
    assert_eq!(changed.verify(), Err(EvidenceError::Changed { position: 1 }));
    line_digest(&mut changed);
    assert_eq!(
        changed.verify(),
        Err(EvidenceError::Broken),
        "a new digest does not fit the chain"
    );
    let mut left_out = read.clone();
    left_out.links.remove(2);
    assert_eq!(left_out.verify(), Err(EvidenceError::Broken));
    let mut swapped = read;
    swapped.links.swap(0, 1);
    assert_eq!(swapped.verify(), Err(EvidenceError::Broken));
    assert_eq!(f.store.evidence(77).await.unwrap(), None);
}

/// Makes the first line's digest fit its changed text.
fn line_digest(evidence: &mut Evidence) {
    let link = &mut evidence.links[0];
    link.digest = link.line.as_ref().unwrap().digest();
}

on_both! {
    every_line_is_linked_and_a_changed_one_shows
}
