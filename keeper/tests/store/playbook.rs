//! Playbooks in the record: begun once, each step done once, whatever crashes in between.

use std::collections::BTreeMap;
use std::path::Path;

use alloy::primitives::B256;
use cordon_client::config::{Audience, People, Severity};
use cordon_client::playbook::Playbook;
use cordon_client::{Config, SetMeta};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rulebook::{Order, set_name};
use cordon_keeper::decide::playbook::StepStatus;
use cordon_keeper::decide::{Quorum, Response, RulePolicy};
use cordon_keeper::record::{
    ApproveError, Confirmation, IntentKind, NoticeKind, Outcome, PlayPlan, Played, Store, Subscription, set_orders,
};

use crate::fixture::{Block, Fixture, block, done, names, sent, trip, verdict};

const AROUND: &str = r#"
[[containment_set]]
id = "halt-all"
reviewed = "0x0909090909090909090909090909090909090909090909090909090909090909"
contain = [
    { scope = "weth", level = "ReduceOnly", for = "10 minutes" },
    { scope = "protocol", level = "Halted", for = "5 minutes" },
]
[chain]
id = 42161
rpc = ["http://127.0.0.1:8545"]
[guard]
scopes = ["protocol", "weth"]
[[notify]]
id = "chat"
via = "stdout"
[[notify]]
id = "chief"
via = "stdout"
audience = "management"
[roles]
commander = ["ada"]
scribe = ["bob"]
"#;

fn playbook(steps: &str) -> Playbook {
    let text = format!("{AROUND}[[playbook]]\nid = \"play\"\nstep = [\n{steps}\n]\n");
    let config = Config::parse(&text, Path::new("cordon.toml")).unwrap_or_else(|error| panic!("{error}"));
    config.playbooks.into_iter().next().unwrap()
}

pub(crate) fn plan(steps: &str) -> PlayPlan {
    PlayPlan {
        playbooks: vec![playbook(steps)],
        channels: vec![
            ("chat".into(), Audience::Technical),
            ("chief".into(), Audience::Management),
        ],
        sets: vec![SetMeta {
            id: "halt-all".into(),
            name: set_name("halt-all").unwrap(),
            reviewed: B256::repeat_byte(9),
            orders: vec![
                Order {
                    scope: 1,
                    level: Level::ReduceOnly,
                    duration: 600,
                },
                Order {
                    scope: 0,
                    level: Level::Halted,
                    duration: 300,
                },
            ],
        }],
        names: names(),
        version: B256::repeat_byte(5),
        quorum: Quorum::default(),
        policies: vec![policy(0, 1), policy(1, 0)],
    }
}

fn policy(index: u16, scope: u8) -> RulePolicy {
    RulePolicy {
        index,
        id: format!("rule-{index}"),
        scope,
        level: Level::ReduceOnly,
        duration: 3_600,
        severity: Severity::P1,
        robust: true,
        shadow: false,
        response: Response::Trip,
        cooldown: 10,
        maintenance: Vec::new(),
    }
}

pub(crate) fn people() -> People {
    People {
        roles: BTreeMap::from([
            ("commander".to_owned(), vec!["ada".to_owned()]),
            ("scribe".to_owned(), vec!["bob".to_owned()]),
        ]),
        tokens: BTreeMap::new(),
    }
}

/// An incident that rule `price` has opened; the intents of its trip are nobody's concern here.
pub(crate) async fn incident(store: &Fixture) -> i64 {
    let decisions = [trip(0)];
    let verdicts = [verdict(0, Verdict::Breached)];
    let content = Block {
        verdicts: &verdicts,
        decisions: &decisions,
        ..Block::default()
    };
    store.commit(&block(10, 0), content).await.unwrap();
    let incidents = store.store.incidents().await.unwrap();
    incidents.last().unwrap().id
}

/// Steps of the incident's only playbook with their states, and the state of the run.
pub(crate) async fn states(store: &Store, incident: i64) -> (Vec<(String, StepStatus)>, String) {
    let runs = store.playbook_runs(incident).await.unwrap();
    assert_eq!(runs.len(), 1);
    let steps = runs[0]
        .steps
        .iter()
        .map(|step| (step.step.clone(), step.status))
        .collect();
    (steps, runs[0].state.clone())
}

async fn told(store: &Store, kind: NoticeKind) -> Vec<String> {
    let notices = store.notices(100).await.unwrap();
    let of_kind = notices.iter().rev().filter(|notice| notice.kind == kind);
    of_kind.map(|notice| notice.text.clone()).collect()
}

async fn a_playbook_is_begun_once_and_each_step_done_once(store: Fixture) {
    let plan = plan(
        r#"{ do = "notify", text = "first" }, { do = "note", text = "second" },
           { if = "verdict = Breached", then = [{ do = "notify", audience = "management", text = "third" }] }"#,
    );
    assert_eq!(store.store.play(&plan).await.unwrap(), Played::default());
    let id = incident(&store).await;
    let played = store.store.play(&plan).await.unwrap();
    assert_eq!(played.incidents, [id]);
    let expected = vec![
        ("step-1".to_owned(), StepStatus::Done),
        ("step-2".to_owned(), StepStatus::Done),
        ("step-3".to_owned(), StepStatus::Done),
        ("step-3-then-1".to_owned(), StepStatus::Done),
    ];
    assert_eq!(states(&store.store, id).await, (expected.clone(), "done".to_owned()));
    // Another process that knows nothing of it.
    let again = store.reopen().await;
    assert_eq!(again.play(&plan).await.unwrap(), Played::default());
    assert_eq!(states(&again, id).await, (expected, "done".to_owned()));
    assert_eq!(told(&again, NoticeKind::Told).await, ["first", "third"]);
    let timeline = again.incident(id).await.unwrap().unwrap().timeline;
    let lines: Vec<&str> = timeline
        .iter()
        .filter(|line| line.kind == "playbook")
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(
        lines,
        [
            "play: begun",
            "play: step-1: done: first",
            "play: step-2: done: noted",
            "play: step-3: done: verdict = Breached: yes",
            "play: step-3-then-1: done: third",
            "play: done",
        ]
    );
    again.evidence(id).await.unwrap().unwrap().verify(None).unwrap();
}

async fn a_set_is_planned_with_what_it_raises(store: Fixture) {
    let plan = plan(r#"{ do = "contain-set", set = "halt-all" }, { do = "note", text = "halted" }"#);
    let id = incident(&store).await;
    let played = store.store.play(&plan).await.unwrap();
    let [intent] = played.intents.as_slice() else {
        panic!("one action")
    };
    assert_eq!((intent.kind, intent.incident), (IntentKind::ContainSet, Some(id)));
    assert_eq!(intent.witness[0], plan.sets[0].name);
    // What is confirmed is what was planned, in another process and whatever the configuration says then.
    let again = store.reopen().await;
    assert_eq!(again.play(&plan).await.unwrap(), Played::default());
    let open = again.open_intents().await.unwrap();
    let held = open.iter().find(|held| held.id == intent.id).unwrap();
    assert_eq!(set_orders(&held.witness).collect::<Vec<_>>(), plan.sets[0].orders);
    again.record_sent(intent, &sent(7)).await.unwrap();
    again
        .finish(intent, &done(block(11, 0), B256::repeat_byte(7)))
        .await
        .unwrap();
    again.play(&plan).await.unwrap();
    let (steps, state) = states(&again, id).await;
    assert_eq!((steps[0].1, state.as_str()), (StepStatus::Done, "done"));
}

async fn containment_is_planned_once_and_its_end_is_the_step_s(store: Fixture) {
    let plan = plan(
        r#"{ id = "hold", do = "contain", level = "Halted", for = "10 minutes" }, { do = "retry", scope = "protocol" }"#,
    );
    let id = incident(&store).await;
    let played = store.store.play(&plan).await.unwrap();
    let [intent] = played.intents.as_slice() else {
        panic!("one action")
    };
    assert_eq!(
        (
            intent.kind,
            intent.scope,
            intent.level,
            intent.duration,
            intent.incident
        ),
        (IntentKind::Contain, 1, Level::Halted, 600, Some(id))
    );
    // A crash before it was queued: it is among what is open, and not planned again.
    let again = store.reopen().await;
    assert_eq!(again.play(&plan).await.unwrap(), Played::default());
    let open = again.open_intents().await.unwrap();
    let contains = open.iter().filter(|intent| intent.kind == IntentKind::Contain);
    assert_eq!(contains.count(), 1);
    again.record_sent(intent, &sent(7)).await.unwrap();
    again
        .finish(intent, &done(block(11, 0), B256::repeat_byte(7)))
        .await
        .unwrap();
    let played = again.play(&plan).await.unwrap();
    assert_eq!(played.intents.len(), 1, "the next step is begun at once");
    assert_eq!(played.intents[0].kind, IntentKind::Retry);
    let (steps, state) = states(&again, id).await;
    assert_eq!(steps[0], ("hold".to_owned(), StepStatus::Done));
    assert_eq!((steps[1].1, state.as_str()), (StepStatus::Running, "running"));
    // The guard refuses the retry for good.
    let refused = Confirmation {
        outcome: Outcome::Refused,
        detail: "no role".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    };
    again.finish(&played.intents[0], &refused).await.unwrap();
    again.play(&plan).await.unwrap();
    let (steps, state) = states(&again, id).await;
    assert_eq!((steps[1].1, state.as_str()), (StepStatus::Failed, "failed"));
}

async fn an_approval_is_taken_from_its_role_only_and_once(store: Fixture) {
    let plan = plan(
        r#"{ id = "go", do = "approve", role = "commander", text = "Halt it?", within = "1 hour" }, { do = "note", text = "go" }"#,
    );
    let id = incident(&store).await;
    store.store.play(&plan).await.unwrap();
    let open = store.store.open_approvals().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].step.as_str(), open[0].role.as_str()), ("go", "commander"));
    let called = told(&store.store, NoticeKind::Called).await;
    assert!(
        called[0].contains(&format!("cordon keeper approve {id} go --by NAME")),
        "{called:?}"
    );
    let approve = |who: &'static str, step: &'static str| {
        let store = store.store.clone();
        async move { store.approve(&people(), (id, step), who, true).await }
    };
    assert!(matches!(
        approve("bob", "go").await,
        Err(ApproveError::NotOfRole { .. })
    ));
    assert!(matches!(
        approve("ada", "stop").await,
        Err(ApproveError::NotAsked { .. })
    ));
    assert_eq!(store.store.play(&plan).await.unwrap(), Played::default());
    assert_eq!(approve("ada", "play/go").await.unwrap().step, "go");
    assert!(matches!(approve("ada", "go").await, Err(ApproveError::NotAsked { .. })));
    store.store.play(&plan).await.unwrap();
    let runs = store.store.playbook_runs(id).await.unwrap();
    assert_eq!(
        (runs[0].state.as_str(), runs[0].steps[0].person.as_deref()),
        ("done", Some("ada"))
    );
    let timeline = store.store.incident(id).await.unwrap().unwrap().timeline;
    assert!(
        timeline
            .iter()
            .any(|line| line.kind == "approved" && line.text.contains("ada has approved"))
    );
}

async fn a_refusal_fails_the_step_and_its_handler_escalates(store: Fixture) {
    let plan = plan(
        r#"{ do = "escalate", severity = "P1" },
           { id = "go", do = "approve", role = "commander", text = "?", within = "1 hour",
             on_failure = [{ do = "page", channels = ["chief"], text = "refused" }] },
           { do = "note", text = "never" }"#,
    );
    let id = incident(&store).await;
    store.store.play(&plan).await.unwrap();
    store.store.approve(&people(), (id, "go"), "ada", false).await.unwrap();
    store.store.play(&plan).await.unwrap();
    let (steps, state) = states(&store.store, id).await;
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, state.as_str()), (vec!["step-1", "go", "go-failed-1"], "failed"));
    // The page goes to whom it names, and to nobody else.
    let channel = |name: &str| Subscription {
        channel: name.into(),
        severities: vec!["P1", "P2", "P3", "P4"],
        after_ms: 0,
        deaf_to: name.into(),
    };
    store.store.fan_out(&[channel("chat"), channel("chief")]).await.unwrap();
    let texts = |channel: &'static str| {
        let store = store.store.clone();
        async move {
            let due = store.due(channel).await.unwrap();
            due.into_iter().map(|due| due.notice.text).collect::<Vec<_>>()
        }
    };
    assert!(texts("chief").await.contains(&"refused".to_owned()));
    assert!(!texts("chat").await.contains(&"refused".to_owned()));
}

async fn what_is_worse_starts_the_playbooks_of_what_is_worse(store: Fixture) {
    let mut plan = plan(r#"{ do = "escalate", severity = "P1" }"#);
    plan.playbooks.push(Playbook {
        id: "worst".into(),
        severity: Some(Severity::P1),
        ..playbook(r#"{ do = "note", text = "x" }"#)
    });
    let decision = cordon_keeper::decide::Decision {
        severity: Severity::P3,
        ..trip(0)
    };
    let decisions = [decision];
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    store.commit(&block(10, 0), content).await.unwrap();
    store.store.play(&plan).await.unwrap();
    store.store.play(&plan).await.unwrap();
    let incident = store.store.incidents().await.unwrap().pop().unwrap();
    assert_eq!(incident.severity, Severity::P1);
    let runs = store.store.playbook_runs(incident.id).await.unwrap();
    let states: Vec<(&str, &str)> = runs
        .iter()
        .map(|run| (run.playbook.as_str(), run.state.as_str()))
        .collect();
    assert_eq!(states, [("play", "done"), ("worst", "done")]);
}

async fn an_incident_that_is_contained_is_not_closed_by_hand(store: Fixture) {
    let id = incident(&store).await;
    let intent = store.store.open_intents().await.unwrap().pop().unwrap();
    store.store.record_sent(&intent, &sent(7)).await.unwrap();
    store
        .store
        .finish(&intent, &done(block(10, 0), B256::repeat_byte(7)))
        .await
        .unwrap();
    store.store.play(&plan(r#"{ do = "close" }"#)).await.unwrap();
    assert_eq!(states(&store.store, id).await.1, "failed");
    assert_ne!(store.store.incident(id).await.unwrap().unwrap().state.name(), "closed");
}

async fn old_incidents_start_nothing(store: Fixture) {
    let id = incident(&store).await;
    store.store.play(&PlayPlan::default()).await.unwrap();
    assert_eq!(
        store.store.play(&plan(r#"{ do = "note", text = "x" }"#)).await.unwrap(),
        Played::default()
    );
    assert!(store.store.playbook_runs(id).await.unwrap().is_empty());
}

on_both! {
    a_playbook_is_begun_once_and_each_step_done_once
    containment_is_planned_once_and_its_end_is_the_step_s
    a_set_is_planned_with_what_it_raises
    an_approval_is_taken_from_its_role_only_and_once
    a_refusal_fails_the_step_and_its_handler_escalates
    what_is_worse_starts_the_playbooks_of_what_is_worse
    an_incident_that_is_contained_is_not_closed_by_hand
    old_incidents_start_nothing
}

/// Two keepers of a fleet: only the one that has the turn may go on.
#[tokio::test]
async fn a_keeper_without_the_turn_does_no_step() {
    let store = Fixture::postgres().await;
    let id = incident(&store).await;
    let plan = plan(r#"{ do = "notify", text = "once" }"#);
    let (first, second) = (store.reopen().await, store.reopen().await);
    first.require_lease();
    second.require_lease();
    let term = std::time::Duration::from_secs(30);
    assert!(first.campaign("first", term).await.unwrap().is_some());
    assert!(second.play(&plan).await.is_err(), "it does not have the turn");
    assert!(first.playbook_runs(id).await.unwrap().is_empty());
    first.play(&plan).await.unwrap();
    assert_eq!(told(&first, NoticeKind::Told).await, ["once"]);
}
