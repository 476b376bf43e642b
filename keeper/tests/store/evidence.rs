//! Evidence: what was written is linked when it is written, and what was changed afterwards shows.

use std::fmt::Write;

use alloy::primitives::{Address, B256};
use cordon_keeper::record::{Evidence, EvidenceError, Link};
use sha2::{Digest, Sha256};

use crate::fixture::{Block, Fixture, block, raised, trip};

/// A record with two incidents, whose lines lie between each other.
async fn two_incidents(f: &Fixture) {
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
}

async fn every_line_is_linked_and_a_changed_one_shows(f: Fixture) {
    two_incidents(&f).await;
    let evidence = f.reopen().await.evidence(1).await.unwrap().unwrap();
    let proof = evidence.verify(None).unwrap();
    assert_eq!((proof.loose, proof.head), (0, evidence.to));
    let own = evidence.links.iter().filter(|link| link.line.is_some()).count();
    assert_eq!(own, f.store.incident(1).await.unwrap().unwrap().timeline.len());
    assert_eq!(evidence.links.len(), own + 2, "the other incident's lines are digests");
    let others = evidence.links.iter().filter(|link| link.incident == Some(2)).count();
    assert_eq!(others, 2, "whose lines they are is told");

    let text = serde_json::to_string(&evidence).unwrap();
    let read: Evidence = serde_json::from_str(&text).unwrap();
    assert_eq!(read, evidence, "it survives being a file");
    let mut changed = read.clone();
    let line = changed.links.iter_mut().find_map(|link| link.line.as_mut()).unwrap();
    line.text.push('!');
    assert_eq!(changed.verify(None), Err(EvidenceError::Changed { position: 1 }));
    line_digest(&mut changed);
    assert_eq!(
        changed.verify(None),
        Err(EvidenceError::Broken),
        "a new digest does not fit the chain"
    );
    let with = |change: &dyn Fn(&mut Evidence)| {
        let mut changed = read.clone();
        change(&mut changed);
        changed.verify(None).unwrap_err()
    };
    let foreign = read.links.iter().position(|link| link.line.is_none()).unwrap();
    assert_eq!(with(&|e| drop(e.links.remove(foreign))), EvidenceError::Broken);
    assert!(matches!(with(&|e| drop(e.links.remove(1))), EvidenceError::Gap { .. }));
    assert_eq!(with(&|e| e.links.swap(foreign, foreign + 1)), EvidenceError::Broken);
    assert_eq!(f.store.evidence(77).await.unwrap(), None);
}

async fn evidence_is_of_its_chain_guard_and_incident_alone(f: Fixture) {
    two_incidents(&f).await;
    let evidence = f.store.evidence(1).await.unwrap().unwrap();
    let with = |change: &dyn Fn(&mut Evidence)| {
        let mut changed = evidence.clone();
        change(&mut changed);
        changed.verify(None).unwrap_err()
    };
    assert_eq!(with(&|e| e.chain_id = 1), EvidenceError::Broken);
    assert_eq!(with(&|e| e.guard = Address::repeat_byte(9)), EvidenceError::Broken);
    assert_eq!(
        with(&|e| e.incident = 77),
        EvidenceError::Foreign {
            position: 1,
            incident: 1
        }
    );
    // An own line that is withheld, as such, as somebody else's, and with all that says whose it is left out.
    assert_eq!(
        with(&|e| e.links[1].line = None),
        EvidenceError::Withheld { position: 2 }
    );
    let as_other = |e: &mut Evidence| {
        e.links[1].line = None;
        e.links[1].incident = Some(2);
        for (nth, link) in (2..).zip(e.links.iter_mut().skip(2).filter(|link| link.line.is_some())) {
            link.nth = Some(nth);
        }
    };
    assert_eq!(with(&as_other), EvidenceError::Broken);
    let as_old = |e: &mut Evidence| {
        e.links[1].line = None;
        e.links[1].incident = None;
        e.links[1].nth = None;
    };
    assert_eq!(with(&as_old), EvidenceError::Broken);
    let withhold_all = |e: &mut Evidence| {
        e.incident = 77;
        e.links.iter_mut().for_each(|link| link.line = None);
    };
    assert_eq!(with(&withhold_all), EvidenceError::Ends);
    assert_eq!(with(&|e| e.links.clear()), EvidenceError::Ends);
    // Lines of others before its first, and behind its last, are none of its: who puts some there may leave some out.
    let other = f.store.evidence(2).await.unwrap().unwrap();
    let own = |held: &Link| {
        other
            .links
            .iter()
            .find(|link| link.line.is_some() && link.digest == held.digest)
    };
    let last = evidence.links.iter().rposition(|link| own(link).is_some()).unwrap();
    let told = |links: &[Link]| -> Vec<Link> {
        let as_other = |held: &Link| {
            own(held).cloned().unwrap_or(Link {
                line: None,
                ..held.clone()
            })
        };
        links.iter().map(as_other).collect()
    };
    let before = Evidence {
        from: evidence.from,
        links: told(&evidence.links[..=last]),
        ..other.clone()
    };
    assert_eq!(before.verify(None), Err(EvidenceError::Ends));
    let mut behind = other.clone();
    behind.links.push(told(&evidence.links[last + 1..=last + 1]).remove(0));
    behind.to = evidence_head(&behind);
    assert_eq!(behind.verify(None), Err(EvidenceError::Ends));
    // Cut off at its end, with a last hash that fits: nothing in the file shows it, a link that was noted does.
    let mut shorter = evidence.clone();
    shorter.links.pop();
    while shorter.links.last().is_some_and(|link| link.line.is_none()) {
        shorter.links.pop();
    }
    shorter.to = evidence_head(&shorter);
    assert!(shorter.verify(None).is_ok());
    let noted = evidence.to;
    assert_eq!(shorter.verify(Some(noted)), Err(EvidenceError::NotReached { noted }));
    assert!(evidence.verify(Some(noted)).is_ok());
    assert!(evidence.verify(Some(shorter.to)).is_ok(), "one that was noted earlier");
}

/// The hash that the links lead to.
fn evidence_head(evidence: &Evidence) -> B256 {
    let mut head = evidence.from;
    for link in &evidence.links {
        let mut hash = Sha256::new();
        hash.update(b"cordon evidence 2");
        hash.update(head);
        hash.update(evidence.chain_id.to_be_bytes());
        hash.update(evidence.guard);
        hash.update(link.incident.unwrap().to_be_bytes());
        hash.update(link.nth.unwrap().to_be_bytes());
        hash.update(link.digest);
        head = B256::from_slice(&hash.finalize());
    }
    head
}

async fn the_whole_record_is_verified(f: Fixture) {
    let nothing = f.store.verify_evidence(None).await.unwrap().unwrap();
    assert_eq!((nothing.links, nothing.head), (0, B256::ZERO));
    two_incidents(&f).await;
    let whole = f.store.verify_evidence(None).await.unwrap().unwrap();
    let lines = f.store.incident(1).await.unwrap().unwrap().timeline.len()
        + f.store.incident(2).await.unwrap().unwrap().timeline.len();
    assert_eq!((whole.links, whole.loose), (lines as u64, 0));
    let noted = f.store.evidence(1).await.unwrap().unwrap().to;
    assert!(f.store.verify_evidence(Some(noted)).await.unwrap().is_ok());
    let unknown = B256::repeat_byte(3);
    assert_eq!(
        f.store.verify_evidence(Some(unknown)).await.unwrap(),
        Err(EvidenceError::NotReached { noted: unknown })
    );
    // The last line of incident 1 is deleted: what is left of its evidence is whole in itself.
    f.tamper("DELETE FROM timeline WHERE id = (SELECT MAX(id) FROM timeline)")
        .await;
    assert!(f.store.evidence(1).await.unwrap().unwrap().verify(None).is_ok());
    let written = whole.links;
    assert_eq!(
        f.store.verify_evidence(None).await.unwrap(),
        Err(EvidenceError::Length {
            held: written - 1,
            written
        })
    );
    // A line that is written afterwards does not hide it.
    f.store.note(2, "remark", "later").await.unwrap();
    assert_eq!(
        f.store.verify_evidence(None).await.unwrap(),
        Err(EvidenceError::Unlinked { position: written })
    );
}

async fn another_end_than_that_of_the_lines_shows(f: Fixture) {
    two_incidents(&f).await;
    let other = f.literal(B256::repeat_byte(3));
    f.tamper(&format!("UPDATE evidence_head SET link = {other}")).await;
    let broken = f.store.verify_evidence(None).await.unwrap();
    assert_eq!(broken, Err(EvidenceError::Broken));
}

async fn a_changed_line_of_another_incident_shows(f: Fixture) {
    two_incidents(&f).await;
    f.tamper(
        "UPDATE timeline SET text = 'nothing happened' WHERE id = (SELECT MIN(id) FROM timeline WHERE incident = 2)",
    )
    .await;
    let position = f.store.evidence(1).await.unwrap().unwrap();
    let position = 1 + position.links.iter().position(|link| link.incident == Some(2)).unwrap() as u64;
    assert_eq!(
        f.store.verify_evidence(None).await.unwrap(),
        Err(EvidenceError::Unlinked { position })
    );
}

/// Makes the record one that was written before links bound more than the line and the link before it.
async fn make_old(f: &Fixture) {
    let mut head = B256::ZERO;
    let mut sql = String::new();
    let links: Vec<Link> = f.store.evidence(1).await.unwrap().unwrap().links;
    for (nth, link) in links.iter().enumerate() {
        let mut hash = Sha256::new();
        hash.update(head);
        hash.update(link.digest);
        head = B256::from_slice(&hash.finalize());
        let link = f.literal(head);
        let at = format!("(SELECT id FROM timeline ORDER BY id LIMIT 1 OFFSET {nth})");
        let _ = write!(sql, "UPDATE timeline SET link = {link} WHERE id = {at}; ");
    }
    sql.push_str("ALTER TABLE timeline DROP COLUMN nth; DROP TABLE evidence_head; ");
    sql.push_str("DELETE FROM _sqlx_migrations WHERE version = 95;");
    f.tamper(&sql).await;
}

async fn a_record_of_before_keeps_verifying_and_is_marked(f: Fixture) {
    two_incidents(&f).await;
    make_old(&f).await;
    let store = f.reopen().await;
    let old = store.verify_evidence(None).await.unwrap().unwrap();
    assert!(old.links > 0 && old.loose == old.links);
    let evidence = store.evidence(1).await.unwrap().unwrap();
    assert_eq!(evidence.verify(None).unwrap().loose, evidence.links.len() as u64);
    // As it was exported then: nothing but digests and lines.
    let mut then = serde_json::to_value(&evidence).unwrap();
    for link in then["links"].as_array_mut().unwrap() {
        link.as_object_mut()
            .unwrap()
            .retain(|key, _| key == "digest" || key == "line");
    }
    let then: Evidence = serde_json::from_value(then).unwrap();
    assert_eq!(then.verify(None).unwrap().loose, evidence.links.len() as u64);
    // What is written from now on is bound, and linked to what was there.
    store.note(1, "remark", "after the upgrade").await.unwrap();
    let mixed = store.verify_evidence(Some(old.head)).await.unwrap().unwrap();
    assert_eq!((mixed.links, mixed.loose), (old.links + 1, old.links));
    let mut evidence = store.evidence(1).await.unwrap().unwrap();
    assert!(evidence.verify(Some(old.head)).is_ok());
    evidence.guard = Address::repeat_byte(9);
    assert_eq!(evidence.verify(None), Err(EvidenceError::Broken));
}

/// Makes the first line's digest fit its changed text.
fn line_digest(evidence: &mut Evidence) {
    let link = &mut evidence.links[0];
    link.digest = link.line.as_ref().unwrap().digest();
}

on_both! {
    every_line_is_linked_and_a_changed_one_shows
    evidence_is_of_its_chain_guard_and_incident_alone
    the_whole_record_is_verified
    another_end_than_that_of_the_lines_shows
    a_changed_line_of_another_incident_shows
    a_record_of_before_keeps_verifying_and_is_marked
}
