//! Reorgs: what a record says of a branch is over with it, and what it says at the end is what the canonical chain says.

use alloy::primitives::{Address, B256};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_keeper::chain::BlockRef;
use cordon_keeper::decide::{RuleVerdict, ScopeReading};
use cordon_keeper::record::{Confirmation, Ground, Incident, IncidentState, Intent, NoticeKind, Outcome};
use cordon_keeper::rules::{GuardEvent, GuardEventKind};

use crate::fixture::*;

const OURS: B256 = B256::repeat_byte(0xaa);

fn held(level: Level) -> ScopeReading {
    ScopeReading {
        scope: 1,
        level,
        expires_at: 2_000_000,
        applied: true,
        incident: true,
        ..ScopeReading::default()
    }
}

/// What the guard logs when a transaction opens its incident `number` on a scope.
fn opened(tx: B256, number: u64, scope: u8) -> Vec<GuardEvent> {
    let raised = GuardEventKind::Raised {
        scope,
        from: Level::Normal,
        to: Level::ReduceOnly,
        expires_at: 2_000_000,
        incident: number,
        by: Address::repeat_byte(9),
    };
    let opened = GuardEventKind::Opened {
        incident: number,
        scope,
    };
    [opened, raised]
        .into_iter()
        .zip(0..)
        .map(|(kind, at)| GuardEvent { tx, ..event(at, kind) })
        .collect()
}

fn nothing_to_do(outcome: Outcome, block: BlockRef) -> Confirmation {
    Confirmation {
        outcome,
        included: None,
        judged_at: Some(block),
        ..done(block, OURS)
    }
}

const BREACHED: Verdict = Verdict::Breached;

impl Fixture {
    async fn bad(&self, block: &BlockRef, events: &[GuardEvent]) {
        let scopes = [held(Level::ReduceOnly)];
        let content = Block {
            verdicts: &[verdict(0, BREACHED)],
            events,
            scopes: Some(&scopes),
            ..Block::default()
        };
        self.commit(block, content).await.unwrap();
    }

    async fn good(&self, block: &BlockRef) {
        let verdicts: [RuleVerdict; 1] = [verdict(0, Verdict::Holds)];
        let content = Block {
            verdicts: &verdicts,
            scopes: Some(&[]),
            ..Block::default()
        };
        self.commit(block, content).await.unwrap();
    }

    /// A breach at block 100 of the first branch, decided on; its transaction is on its way.
    async fn breach(&self) -> Intent {
        let content = Block {
            verdicts: &[verdict(0, BREACHED)],
            decisions: &[trip(0)],
            scopes: Some(&[]),
            ..Block::default()
        };
        let commit = self.commit(&block(100, 1), content).await.unwrap();
        let intent = commit.intents[0].clone();
        self.store.record_sent(&intent, &sent(0xaa)).await.unwrap();
        intent
    }

    /// The trip lands in block 101, then both blocks vanish; on the other branch the rule holds when the keeper looks, so that
    /// the incident is closed there.
    async fn closed_on_the_other_branch(&self) -> Intent {
        let intent = self.breach().await;
        self.bad(&block(101, 1), &opened(OURS, 7, 1)).await;
        assert_eq!(self.only().await.state, IncidentState::Contained);
        self.store.revert_blocks(&[block(100, 1), block(101, 1)]).await.unwrap();
        assert_eq!(self.only().await.chain_incident, None, "the number went with its block");
        self.good(&block(100, 2)).await;
        let end = nothing_to_do(Outcome::HoldsAgain, block(100, 2));
        assert!(self.store.finish(&intent, &end).await.unwrap());
        self.good(&block(101, 2)).await;
        let incident = self.only().await;
        assert_eq!(
            (incident.state, incident.ended_block),
            (IncidentState::Closed, Some(101))
        );
        intent
    }

    async fn only(&self) -> Incident {
        let mut incidents = self.store.incidents().await.unwrap();
        assert_eq!(incidents.len(), 1, "{incidents:#?}");
        incidents.remove(0)
    }

    async fn states(&self) -> Vec<IncidentState> {
        let incidents = self.store.incidents().await.unwrap();
        incidents.iter().map(|incident| incident.state).collect()
    }
}

async fn an_incident_that_was_closed_on_a_branch_goes_on_when_our_transaction_lands_there(f: Fixture) {
    f.closed_on_the_other_branch().await;
    // Breach and trip come out of the pool again, in one block.
    f.bad(&block(102, 2), &opened(OURS, 7, 1)).await;
    let incident = f.only().await;
    assert_eq!(incident.state, IncidentState::Contained, "{incident:#?}");
    assert_eq!(incident.chain_incident, Some(7));
    assert_eq!((incident.contained_block, incident.ended_block), (Some(102), None));
    assert_eq!(incident.level, Level::ReduceOnly);
    let tx = &incident.transactions[0];
    assert_eq!((tx.status.as_str(), tx.block_number), ("succeeded", Some(102)));
    let mut told: Vec<NoticeKind> = f.store.notices(20).await.unwrap().iter().map(|n| n.kind).collect();
    told.reverse();
    assert_eq!(
        told,
        [
            NoticeKind::Opened,
            NoticeKind::Contained,
            NoticeKind::Reorged,
            NoticeKind::Closed,
            NoticeKind::Opened,
            NoticeKind::Contained
        ],
        "whoever was told that it is over is called again"
    );
    // It ends like any other.
    f.good(&block(103, 2)).await;
    assert_eq!(f.only().await.state, IncidentState::Closed);
}

async fn what_somebody_else_raises_after_the_close_is_an_incident_of_its_own(f: Fixture) {
    f.closed_on_the_other_branch().await;
    f.bad(&block(102, 2), &opened(B256::repeat_byte(0xdd), 7, 1)).await;
    assert_eq!(f.states().await, [IncidentState::Closed, IncidentState::Contained]);
}

async fn a_number_of_the_guard_is_another_incidents_on_another_branch(f: Fixture) {
    f.breach().await;
    f.bad(&block(101, 1), &opened(OURS, 7, 1)).await;
    f.store.revert_blocks(&[block(101, 1)]).await.unwrap();
    let events = opened(B256::repeat_byte(0xdd), 7, 0);
    let scopes = [ScopeReading {
        scope: 0,
        ..held(Level::ReduceOnly)
    }];
    let content = Block {
        events: &events,
        scopes: Some(&scopes),
        ..Block::default()
    };
    f.commit(&block(101, 2), content).await.unwrap();
    let incidents = f.store.incidents().await.unwrap();
    let told: Vec<_> = incidents.iter().map(|i| (i.scope, i.state, i.chain_incident)).collect();
    assert_eq!(
        told,
        [(1, IncidentState::Open, None), (0, IncidentState::Contained, Some(7))]
    );
}

async fn what_was_judged_on_a_block_that_vanished_is_looked_at_again(f: Fixture) {
    for outcome in [Outcome::HoldsAgain, Outcome::AlreadyHeld] {
        let intent = match f.store.open_intents().await.unwrap().pop() {
            Some(open) => open,
            None => f.breach().await,
        };
        f.commit(&block(101, 1), Block::default()).await.unwrap();
        let end = nothing_to_do(outcome, block(101, 1));
        assert!(f.store.finish(&intent, &end).await.unwrap());
        assert!(f.store.open_intents().await.unwrap().is_empty());
        let reopened = f.store.revert_blocks(&[block(101, 1)]).await.unwrap();
        assert_eq!(
            reopened.iter().map(|i| (i.id, i.outcome)).collect::<Vec<_>>(),
            [(intent.id, None)]
        );
        assert_eq!(f.store.open_intents().await.unwrap(), reopened);
        assert_eq!(f.only().await.state, IncidentState::Open);
    }
}

async fn an_end_in_a_block_that_is_gone_already_is_none(f: Fixture) {
    let intent = f.breach().await;
    f.good(&block(101, 2)).await;
    // The receipt was of a branch that the walk never came to.
    assert!(!f.store.finish(&intent, &done(block(101, 3), OURS)).await.unwrap());
    assert_eq!(f.store.open_intents().await.unwrap().len(), 1);
    assert_eq!(f.only().await.state, IncidentState::Open);
    // Or it came before the walk, which then goes another way.
    assert!(f.store.finish(&intent, &done(block(102, 3), OURS)).await.unwrap());
    assert_eq!(f.only().await.state, IncidentState::Contained);
    let commit = f.commit(&block(102, 2), Block::default()).await.unwrap();
    assert_eq!(commit.reopened.iter().map(|i| i.id).collect::<Vec<_>>(), [intent.id]);
    let incident = f.only().await;
    assert_eq!((incident.state, incident.contained_block), (IncidentState::Open, None));
    assert_eq!(incident.transactions[0].status, "orphaned");
    // The same when the block was evaluated ahead of its turn.
    f.ahead(&block(103, 2)).await;
    let early = Confirmation {
        included: None,
        judged_at: Some(block(104, 3)),
        ..done(block(104, 3), OURS)
    };
    assert!(f.store.finish(&intent, &early).await.unwrap());
    f.ahead(&block(104, 2)).await;
    let reopened = f.store.advance(&block(104, 2)).await.unwrap();
    assert_eq!(reopened.iter().map(|i| i.id).collect::<Vec<_>>(), [intent.id]);
}

async fn nothing_ends_at_a_block_that_is_evaluated_ahead_of_its_turn(f: Fixture) {
    let intent = f.breach().await;
    // The receipt comes before the walk, the block vanishes, and the head of the new branch is looked at first.
    assert!(f.store.finish(&intent, &done(block(101, 1), OURS)).await.unwrap());
    let holds = [verdict(0, Verdict::Holds)];
    let content = Block {
        verdicts: &holds,
        scopes: Some(&[]),
        ..Block::default()
    };
    f.ahead_with(&block(130, 2), content).await;
    assert_eq!(f.only().await.state, IncidentState::Contained);
    // The walk comes to where it had been contained: it is not, and is to be carried out again.
    let commit = f.commit(&block(101, 2), content).await.unwrap();
    assert_eq!(commit.reopened.len(), 1);
    assert_eq!(f.only().await.state, IncidentState::Open);
    f.ahead_with(&block(131, 2), content).await;
    let end = nothing_to_do(Outcome::HoldsAgain, block(131, 2));
    assert!(f.store.finish(&intent, &end).await.unwrap());
    f.ahead_with(&block(132, 2), content).await;
    assert_eq!(f.only().await.state, IncidentState::Open);
    f.good(&block(102, 2)).await;
    assert_eq!(f.only().await.state, IncidentState::Closed);
}

async fn a_level_that_a_vanished_block_had_lowered_is_held_again(f: Fixture) {
    f.breach().await;
    f.bad(&block(101, 1), &opened(OURS, 7, 1)).await;
    let lowered = [event(
        0,
        GuardEventKind::Lowered {
            scope: 1,
            from: Level::ReduceOnly,
            to: Level::Normal,
            incident: 7,
            by: Address::ZERO,
        },
    )];
    let content = Block {
        events: &lowered,
        ..Block::default()
    };
    f.commit(&block(102, 1), content).await.unwrap();
    assert_eq!(f.only().await.state, IncidentState::Settled);
    f.store.revert_blocks(&[block(102, 1)]).await.unwrap();
    f.bad(&block(102, 2), &[]).await;
    let incident = f.only().await;
    assert_eq!(
        (incident.state, incident.level, incident.ended_block),
        (IncidentState::Contained, Level::ReduceOnly, None)
    );
    // So that its expiry is noticed, which no event tells of.
    f.good(&block(103, 2)).await;
    assert_eq!(f.only().await.state, IncidentState::Closed);
}

async fn a_raised_scope_without_an_incident_gets_one_but_history_does_not(f: Fixture) {
    f.good(&block(99, 1)).await;
    f.bad(&block(100, 1), &[]).await;
    let incident = f.only().await;
    assert_eq!(
        (incident.state, incident.contained_block, incident.rule),
        (IncidentState::Contained, Some(100), None)
    );
    f.good(&block(110, 1)).await;
    assert_eq!(f.only().await.ended_block, Some(110));
    // Blocks before the end, evaluated late, belong to it.
    f.bad(&block(105, 1), &[]).await;
    f.bad(&block(106, 1), &opened(B256::repeat_byte(0xdd), 7, 1)).await;
    let incident = f.only().await;
    assert_eq!(
        (incident.state, incident.chain_incident),
        (IncidentState::Closed, Some(7))
    );
}

async fn a_release_that_was_queued_in_a_vanished_block_judges_nothing(f: Fixture) {
    let by = Address::repeat_byte(3);
    let queued = event(0, GuardEventKind::ReleaseQueued { scope: 1, at: 1, by });
    let cancelled = event(1, GuardEventKind::ReleaseCancelled { scope: 1, by });
    let released = || async { f.store.past(&[0], VERSION).await.unwrap().released };
    let with = |events| Block {
        events,
        ..Block::default()
    };
    f.commit(&block(100, 1), with(std::slice::from_ref(&queued)))
        .await
        .unwrap();
    f.commit(&block(101, 1), with(std::slice::from_ref(&cancelled)))
        .await
        .unwrap();
    assert!(released().await.is_empty());
    f.store.revert_blocks(&[block(101, 1)]).await.unwrap();
    assert_eq!(released().await, [(1, 100)].into());
    let again = [queued.clone(), cancelled.clone(), event(2, queued.kind.clone())];
    f.commit(&block(101, 2), with(&again)).await.unwrap();
    assert_eq!(released().await, [(1, 101)].into(), "in the order of the block");
    f.store.revert_blocks(&[block(100, 1), block(101, 2)]).await.unwrap();
    assert!(released().await.is_empty());
}

async fn what_is_left_of_a_decision_whose_block_vanished_is_what_the_other_branch_says(f: Fixture) {
    let intent = f.breach().await;
    let ground = async || f.store.ground(&intent).await.unwrap();
    assert_eq!(ground().await, Ground::Stands);
    for (branch, found, left) in [
        (2, BREACHED, Ground::Stands),
        (3, Verdict::Holds, Ground::Gone),
        (4, BREACHED, Ground::Stands),
    ] {
        f.store.revert_blocks(&[block(100, branch - 1)]).await.unwrap();
        assert_eq!(ground().await, Ground::Unjudged, "branch {branch} was not looked at");
        let verdicts = [verdict(1, BREACHED), verdict(0, found)];
        let content = Block {
            verdicts: &verdicts,
            scopes: Some(&[]),
            ..Block::default()
        };
        f.commit(&block(100, branch), content).await.unwrap();
        assert_eq!(ground().await, left, "branch {branch}");
    }
    // By another rulebook's numbers it is another breach.
    f.store.revert_blocks(&[block(100, 4)]).await.unwrap();
    let content = Block {
        verdicts: &[verdict(0, BREACHED)],
        scopes: Some(&[]),
        ..Block::default()
    };
    f.commit_under(B256::repeat_byte(6), &block(100, 5), content)
        .await
        .unwrap();
    assert_eq!(ground().await, Ground::Gone);
}

async fn what_is_left_of_a_decision_is_what_later_blocks_say(f: Fixture) {
    let intent = f.breach().await;
    let at = async |version: B256, number: u64, found: Verdict| {
        let content = Block {
            verdicts: &[verdict(0, found)],
            scopes: Some(&[]),
            ..Block::default()
        };
        f.commit_under(version, &block(number, 1), content).await.unwrap();
        f.store.ground(&intent).await.unwrap()
    };
    let unknown = Verdict::Unknown;
    assert_eq!(at(VERSION, 101, unknown).await, Ground::Stands, "it may last");
    assert_eq!(
        at(VERSION, 102, Verdict::Holds).await,
        Ground::Held { tip: block(102, 1) }
    );
    assert_eq!(at(VERSION, 103, unknown).await, Ground::Held { tip: block(103, 1) });
    assert_eq!(at(VERSION, 104, BREACHED).await, Ground::Stands, "it is back");
    let next = B256::repeat_byte(6);
    f.store.adopt(next).await.unwrap();
    assert_eq!(f.store.ground(&intent).await.unwrap(), Ground::Unjudged);
    assert_eq!(at(next, 105, BREACHED).await, Ground::Replaced, "by another rule");
}

on_both! {
    what_is_left_of_a_decision_is_what_later_blocks_say
    what_is_left_of_a_decision_whose_block_vanished_is_what_the_other_branch_says
    an_incident_that_was_closed_on_a_branch_goes_on_when_our_transaction_lands_there
    what_somebody_else_raises_after_the_close_is_an_incident_of_its_own
    a_number_of_the_guard_is_another_incidents_on_another_branch
    what_was_judged_on_a_block_that_vanished_is_looked_at_again
    an_end_in_a_block_that_is_gone_already_is_none
    nothing_ends_at_a_block_that_is_evaluated_ahead_of_its_turn
    a_level_that_a_vanished_block_had_lowered_is_held_again
    a_raised_scope_without_an_incident_gets_one_but_history_does_not
    a_release_that_was_queued_in_a_vanished_block_judges_nothing
}
