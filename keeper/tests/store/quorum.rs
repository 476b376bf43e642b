//! What waits for others to agree, and who has voted.

use alloy::primitives::B256;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::{Decision, Waiting};
use cordon_keeper::record::{IncidentState, NoticeKind};
use cordon_keeper::rules::Request;

use crate::fixture::*;

fn waiting(why: &str) -> Waiting {
    Waiting {
        decision: Decision { scope: 0, ..trip(0) },
        why: why.to_owned(),
    }
}

async fn what_waits_is_told_once_and_ends_with_its_reason(f: Fixture) {
    let breached = [verdict(0, Verdict::Breached)];
    for (number, why) in [(10, "1 of 2 rules"), (11, "1 of 2 rules"), (12, "1 of 2 keepers")] {
        let held = [waiting(why)];
        let content = Block {
            verdicts: &breached,
            waiting: &held,
            ..Block::default()
        };
        f.commit(&block(number, 0), content).await.unwrap();
    }
    assert!(f.store.intents().await.unwrap().is_empty(), "nothing is done");
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!((incident.scope, incident.state), (0, IncidentState::Open));
    assert_eq!(
        incident
            .timeline
            .iter()
            .map(|line| line.kind.as_str())
            .collect::<Vec<_>>(),
        ["waiting", "waiting"],
        "each thing that is missing once"
    );
    let told: Vec<NoticeKind> = f.store.notices(9).await.unwrap().iter().map(|n| n.kind).collect();
    assert_eq!(told, [NoticeKind::Alarm, NoticeKind::Opened]);
    let holds = [verdict(0, Verdict::Holds)];
    let content = Block {
        verdicts: &holds,
        ..Block::default()
    };
    f.commit(&block(13, 0), content).await.unwrap();
    let incident = f.store.incidents().await.unwrap().remove(0);
    assert_eq!(incident.state, IncidentState::Closed);
    assert!(
        f.store
            .alarms()
            .await
            .unwrap()
            .iter()
            .all(|alarm| alarm.cleared_ms.is_some())
    );
}

const BOOK: B256 = B256::repeat_byte(0xb0);

async fn votes_are_counted_by_keeper_and_can_be_taken_back(f: Fixture) {
    let words = [B256::repeat_byte(9)];
    let rule = (BOOK, 3);
    let vote = |keeper: &'static str, breached| {
        let store = f.store.clone();
        async move { store.vote(keeper, rule, &words, &block(10, 0), breached).await.unwrap() }
    };
    vote("a", true).await;
    vote("a", true).await;
    assert_eq!(f.store.voters(rule, &words).await.unwrap(), 1);
    assert_eq!(f.store.voters(rule, &[]).await.unwrap(), 0, "of another account");
    assert!(f.store.asked_by_others("a", BOOK).await.unwrap().is_empty());
    let asked = Request {
        rule: 3,
        witness: words.to_vec(),
    };
    assert_eq!(f.store.asked_by_others("b", BOOK).await.unwrap(), [asked]);
    vote("b", true).await;
    assert_eq!(f.store.voters(rule, &words).await.unwrap(), 2);
    vote("b", false).await;
    assert_eq!(f.store.voters(rule, &words).await.unwrap(), 1);
}

async fn a_vote_on_a_rule_is_none_on_the_rule_of_that_number_in_another_rulebook(f: Fixture) {
    let next = B256::repeat_byte(0xb1);
    let vote = |keeper: &'static str, version| {
        let store = f.store.clone();
        async move {
            store
                .vote(keeper, (version, 3), &[], &block(10, 0), true)
                .await
                .unwrap()
        }
    };
    vote("a", BOOK).await;
    vote("b", next).await;
    for version in [BOOK, next] {
        assert_eq!(f.store.voters((version, 3), &[]).await.unwrap(), 1, "{version}");
    }
    assert!(
        f.store.asked_by_others("a", BOOK).await.unwrap().is_empty(),
        "b asks about another rule"
    );
    assert_eq!(f.store.asked_by_others("b", BOOK).await.unwrap().len(), 1);
    // A keeper that goes over to the new rulebook votes anew.
    vote("a", next).await;
    assert_eq!(f.store.voters((next, 3), &[]).await.unwrap(), 2);
    assert_eq!(f.store.voters((BOOK, 3), &[]).await.unwrap(), 1);
}

async fn votes_are_forgotten_when_they_are_old(f: Fixture) {
    for keeper in ["a", "b"] {
        f.store.vote(keeper, (BOOK, 3), &[], &block(10, 0), true).await.unwrap();
    }
    while f.store.prune(3_600_000).await.unwrap() {}
    assert_eq!(f.store.voters((BOOK, 3), &[]).await.unwrap(), 2);
    // As if they were older than what is kept.
    while f.store.prune(-60_000).await.unwrap() {}
    assert_eq!(f.store.voters((BOOK, 3), &[]).await.unwrap(), 0);
}

async fn a_vote_counts_for_half_a_minute(f: Fixture) {
    let rule = (BOOK, 3);
    f.store.vote("a", rule, &[], &block(10, 0), true).await.unwrap();
    for (ago, counts) in [(25_000, 1), (31_000, 0)] {
        f.tamper(&format!("UPDATE votes SET at_ms = at_ms - {ago}")).await;
        assert_eq!(f.store.voters(rule, &[]).await.unwrap(), counts, "{ago} ms later");
        let asked = f.store.asked_by_others("b", BOOK).await.unwrap();
        assert_eq!(u32::try_from(asked.len()).unwrap(), counts, "{ago} ms later");
    }
    // Whoever finds it again has found it now.
    f.store.vote("a", rule, &[], &block(11, 0), true).await.unwrap();
    assert_eq!(f.store.voters(rule, &[]).await.unwrap(), 1);
}

on_both! {
    a_vote_counts_for_half_a_minute
    a_vote_on_a_rule_is_none_on_the_rule_of_that_number_in_another_rulebook
    what_waits_is_told_once_and_ends_with_its_reason
    votes_are_counted_by_keeper_and_can_be_taken_back
    votes_are_forgotten_when_they_are_old
}
