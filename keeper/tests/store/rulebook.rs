//! Another rulebook is adopted: its rules have the numbers of the old ones.

use alloy::primitives::B256;
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::{Act, Decision, RuleVerdict};
use cordon_keeper::record::{IncidentState, Witnessed};

use crate::fixture::*;

const NEXT: B256 = B256::repeat_byte(6);

fn tell() -> Decision {
    Decision {
        act: Act::Tell,
        level: Level::Normal,
        ..trip(0)
    }
}

fn of<'a>(verdicts: &'a [RuleVerdict], decisions: &'a [Decision]) -> Block<'a> {
    Block {
        verdicts,
        decisions,
        scopes: Some(&[]),
        ..Block::default()
    }
}

async fn what_was_told_of_a_rule_is_told_anew_of_the_next_of_its_number(f: Fixture) {
    let (breached, unknown) = ([verdict(0, Verdict::Breached)], [verdict(0, Verdict::Unknown)]);
    let decisions = [tell()];
    let named = [Witnessed {
        rule: 1,
        words: vec![B256::repeat_byte(1)],
        named: true,
    }];
    let old = Block {
        witnessed: &named,
        ..of(&breached, &decisions)
    };
    f.commit(&block(10, 0), old).await.unwrap();
    f.store.adopt(VERSION).await.unwrap();
    let recorded = |past: cordon_keeper::decide::Past| past.rules.get(&0).map_or(0, |own| own.recorded.len());
    assert_eq!(recorded(f.store.past(&[0], VERSION).await.unwrap()), 1);
    assert_eq!(f.store.witness_count(1).await.unwrap(), 1);
    assert_eq!(f.store.watched().await.unwrap()[0].rule, Some(0));

    let store = f.reopen().await;
    store.adopt(NEXT).await.unwrap();
    assert!(store.past(&[0], NEXT).await.unwrap().rules.is_empty());
    assert_eq!(store.witness_count(1).await.unwrap(), 1, "an account stays in sight");
    assert_eq!(store.watched().await.unwrap()[0].rule, None, "it is another rule");

    // The guard does not have it yet.
    f.commit_under(NEXT, &block(11, 0), of(&unknown, &[])).await.unwrap();
    assert_eq!(f.store.incidents().await.unwrap()[0].state, IncidentState::Open);
    f.commit_under(NEXT, &block(12, 0), of(&breached, &decisions))
        .await
        .unwrap();
    let mut incidents = f.store.incidents().await.unwrap();
    incidents.sort_by_key(|incident| incident.id);
    let states: Vec<IncidentState> = incidents.iter().map(|incident| incident.state).collect();
    assert_eq!(states, [IncidentState::Closed, IncidentState::Open]);
    let last = incidents[0].timeline.last().unwrap();
    assert!(last.text.starts_with("another rulebook was adopted"), "{}", last.text);
    // That is known after a restart, and goes by the first block as well.
    let store = f.reopen().await;
    store.adopt(NEXT).await.unwrap();
    assert_eq!(recorded(store.past(&[0], NEXT).await.unwrap()), 1);
    f.commit(&block(13, 0), of(&[], &[])).await.unwrap();
    assert_eq!(recorded(f.store.past(&[0], VERSION).await.unwrap()), 0);
}

/// As one of an older version, which did not note by whose numbers its breaches go: they are those of the rulebook that is found there first.
async fn a_record_that_names_no_rulebook_goes_by_the_first_and_tells_nothing_again(f: Fixture) {
    let breached = [verdict(0, Verdict::Breached)];
    f.commit(&block(10, 0), of(&breached, &[tell()])).await.unwrap();
    f.tamper("DELETE FROM rulebook").await;
    let recorded = |past: cordon_keeper::decide::Past| past.rules.get(&0).map_or(0, |own| own.recorded.len());
    let store = f.reopen().await;
    store.adopt(VERSION).await.unwrap();
    assert_eq!(recorded(store.past(&[0], VERSION).await.unwrap()), 1, "it was told");
    // From then on it is known, and those of another one are forgotten.
    let store = f.reopen().await;
    store.adopt(NEXT).await.unwrap();
    assert_eq!(recorded(store.past(&[0], NEXT).await.unwrap()), 0);
    store.adopt(VERSION).await.unwrap();
    assert_eq!(recorded(store.past(&[0], VERSION).await.unwrap()), 0);
}

async fn what_a_rule_of_its_number_says_does_not_end_an_incident(f: Fixture) {
    let (breached, holds) = ([verdict(0, Verdict::Breached)], [verdict(0, Verdict::Holds)]);
    let decisions = [trip(0)];
    let intent = f
        .commit(&block(10, 0), of(&breached, &decisions))
        .await
        .unwrap()
        .intents
        .remove(0);
    f.commit_under(NEXT, &block(11, 0), of(&holds, &[])).await.unwrap();
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!(incident.state, IncidentState::Open, "its action is on its way");
    assert!(!f.store.past(&[0], NEXT).await.unwrap().rules.contains_key(&0));
    f.store
        .finish(&intent, &done(block(11, 0), B256::repeat_byte(1)))
        .await
        .unwrap();
    assert_eq!(f.store.incidents().await.unwrap()[0].state, IncidentState::Contained);
}

on_both! {
    what_was_told_of_a_rule_is_told_anew_of_the_next_of_its_number
    a_record_that_names_no_rulebook_goes_by_the_first_and_tells_nothing_again
    what_a_rule_of_its_number_says_does_not_end_an_incident
}
